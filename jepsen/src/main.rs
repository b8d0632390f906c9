//! The program.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use batuta_jepsen::error::Result;
use batuta_jepsen::{proxy, report, run, sandbox};

/// Real Batuta clusters under real faults, and checkers of what their clients saw.
#[derive(Debug, Parser)]
#[command(name = "jepsen")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a workload under a nemesis and gives a verdict. Needs root.
    Run(run::RunArgs),
    /// What `run` starts inside of the clients' namespace.
    #[command(hide = true)]
    Drive(run::DriveArgs),
    /// What `run` puts between nodes.
    #[command(hide = true)]
    Proxy(proxy::ProxyArgs),
    /// Checks a run again that was kept.
    Check {
        /// Its directory.
        dir: PathBuf,
    },
    /// Takes down what runs left behind that were killed.
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

/// Whether everything held.
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
