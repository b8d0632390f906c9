//! `batuta completion`: prints completion scripts for shells.

use clap::Args;
use clap_complete::Shell;

use crate::failure::{Failure, exit};
use crate::output::write_out;

/// The arguments of `batuta completion`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  source <(batuta completion bash)")]
pub struct CompletionArgs {
    /// The shell that will read the script.
    shell: Shell,
}

pub(crate) fn print(args: &CompletionArgs, mut command: clap::Command) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "batuta", &mut script);
    write_out(&script)?;
    Ok(exit::DONE)
}
