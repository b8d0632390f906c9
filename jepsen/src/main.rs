//! The command line of the harness.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use batuta_jepsen::error::Result;
use batuta_jepsen::{proxy, report, run, sandbox};

/// Runs real Batuta clusters under real faults, and checks what their clients saw.
#[derive(Debug, Parser)]
#[command(name = "jepsen")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a workload under a nemesis and prints a verdict. Needs root.
    Run(run::RunArgs),
    /// The process that `run` starts inside the clients' namespace.
    #[command(hide = true)]
    Drive(run::DriveArgs),
    /// The proxy that `run` starts between nodes.
    #[command(hide = true)]
    Proxy(proxy::ProxyArgs),
    /// Checks a kept run again.
    Check {
        /// The directory of the run.
        dir: PathBuf,
    },
    /// Removes the namespaces and disks that killed runs left behind.
    Clean,
}

fn main() -> ExitCode {
    match command(Args::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("jepsen: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs a command; returns whether every promise held.
fn command(command: Command) -> Result<bool> {
    match command {
        Command::Run(args) => run::supervise(&args),
        Command::Drive(args) => run::drive(&args),
        Command::Proxy(args) => proxy::serve(&args),
        Command::Check { dir } => report::check_again(&dir),
        Command::Clean => {
            for namespace in sandbox::clean()? {
                println!("removed {namespace}");
            }
            Ok(true)
        }
    }
}
