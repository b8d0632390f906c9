//! Tailors the help, so that a command shows only the options it uses.

use clap::{Arg, Command};

/// The shared options that a command and its subcommands use.
fn used_by(command: &str) -> &'static [&'static str] {
    match command {
        "lock" | "elect" | "session" | "register" | "watch" | "access" => {
            &["endpoints", "namespace", "token_file", "timeout", "output"]
        }
        // These commands are about nodes and principals, which belong to no namespace.
        "cluster" | "health" | "whoami" => &["endpoints", "token_file", "timeout", "output"],
        // A login needs no credential, and the kept one is what ends.
        "login" | "logout" => &["endpoints", "timeout", "output"],
        _ => &[],
    }
}

/// Hides shared options from the help of commands that do not use them. These commands still accept the options, which may be anywhere on
/// the command line.
#[must_use]
pub fn tailored(command: Command) -> Command {
    let shared: Vec<Arg> = command.get_arguments().filter(|option| option.is_global_set()).cloned().collect();
    let names: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        let used = used_by(&name);
        let unused = shared.iter().filter(|option| !used.contains(&option.get_id().as_str()));
        // A command's own option is not inherited.
        let hidden: Vec<Arg> = unused.map(|option| option.clone().hide(true)).collect();
        command.mut_subcommand(name, |subcommand| subcommand.args(hidden))
    })
}
