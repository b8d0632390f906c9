//! Runs the same work against Batuta, etcd, ZooKeeper and Redis: three processes of each in turn, on the same
//! machine and disk. Batuta can take part twice, once with access off and once with access enforced.
//!
//! ```text
//! scripts/bench                                                 gets the peers, builds everything else, then compares
//! cargo run --profile dist -p bench -- compare --rows 1,7 --pairs 5
//! cargo run --profile dist -p bench -- compare --systems batuta,batuta-secured --rows 1,10 --out target/access
//! cargo run --profile dist -p bench -- limit
//! ```
//! The servers listen on loopback, keep their data in directories below `--data`, and are stopped when the
//! comparison ends, however it ends. Clients are tasks of this process; the clients of one simulated host
//! share one connection.

mod access;
mod batuta;
mod compare;
mod drive;
mod error;
mod etcd;
mod figures;
mod fronts;
mod histogram;
mod limit;
mod machine;
mod meter;
mod metrics;
mod process;
mod programs;
mod redis;
mod replicated;
mod report;
mod rows;
mod system;
mod zookeeper;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::compare::{Options, Places};
use crate::error::{Error, Result};

/// Fast with the many small messages of so many clients, whichever system they use.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Batuta against etcd, ZooKeeper and Redis.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the same work against each system, row by row, and writes docs/performance
    Compare(Box<Options>),
    /// Measures what the disk alone can do
    Limit(Places),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    // Whichever ends first, the other is dropped, which kills its servers.
    let done = tokio::select! {
        done = work(cli.command) => done,
        interrupted = interrupted() => interrupted,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn work(command: Command) -> Result<()> {
    match command {
        Command::Compare(options) => Box::pin(compare::compare(&options)).await,
        Command::Limit(places) => compare::limit(&places).await,
    }
}

async fn interrupted() -> Result<()> {
    let mut ends = Vec::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        ends.push(signal(kind).map_err(Error::io("listen for signals"))?);
    }
    futures_util::future::select_all(ends.iter_mut().map(|end| Box::pin(end.recv()))).await;
    Err(Error::other("interrupted; the servers are stopped"))
}
