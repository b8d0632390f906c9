//! Help that shows what a command uses, and nothing else.

use clap::{Arg, Command};

/// The shared options that a command uses; its subcommands use the same.
fn used_by(command: &str) -> &'static [&'static str] {
    match command {
        "lock" | "session" | "register" | "watch" => &["endpoints", "namespace", "timeout", "output"],
        // Both are about nodes, which are in no namespace.
        "cluster" | "health" => &["endpoints", "timeout", "output"],
        _ => &[],
    }
}

/// Hides the options that all commands share from the help of those that do not use them. They are accepted there all the same: they stand
/// anywhere on the command line.
#[must_use]
pub fn tailored(command: Command) -> Command {
    let shared: Vec<Arg> = command.get_arguments().filter(|option| option.is_global_set()).cloned().collect();
    let names: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        let used = used_by(&name);
        let unused = shared.iter().filter(|option| !used.contains(&option.get_id().as_str()));
        // An option that a command has itself is not inherited.
        let hidden: Vec<Arg> = unused.map(|option| option.clone().hide(true)).collect();
        command.mut_subcommand(name, |subcommand| subcommand.args(hidden))
    })
}
