//! The binary `batuta`: a node (`server`), a cluster on loopback (`dev`), and the commands that talk to a
//! cluster.

mod access;
mod audit;
mod connection;
mod dev;
mod dev_data;
mod front;
mod logging;
mod panics;
mod ready;
mod server;
mod server_args;
mod signals;

use std::ffi::OsStr;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::access::recover_command;
use crate::server_args::{ConfigCommand, ServerArgs};

/// A request makes many small allocations of short life: measured, the processor time of all servers is 6 to
/// 8 % lower than with the C library's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A self-contained coordination cluster: locks that cannot lie, sessions, one replicated log.
#[derive(Debug, Parser)]
#[command(name = "batuta", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    global: batuta_cli::Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one node.
    Server(Box<ServerArgs>),
    /// Runs a whole cluster on loopback, each node a child process.
    Dev(dev::DevArgs),
    /// Checks or shows a node's configuration.
    #[command(subcommand)]
    Config(Box<ConfigCommand>),
    /// Prints the GraphQL schema that a node serves.
    Schema,
    #[command(flatten)]
    Client(Box<batuta_cli::Command>),
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    if arguments.next().as_deref() == Some(OsStr::new(batuta_cli::GUARD)) {
        return batuta_cli::run_guard(arguments);
    }
    panics::end_the_command();
    let matches = command_line().get_matches();
    match recover_command::asked(&matches) {
        None => {}
        Some(Ok(args)) => {
            return recover_command::run(&args)
                .map_or_else(|error| failed(error.as_ref()), |()| ExitCode::SUCCESS);
        }
        Some(Err(error)) => error.format(&mut command_line()).exit(),
    }
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.format(&mut command_line()).exit(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers()).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let code = runtime.block_on(run(cli));
    // A thread that reads standard input cannot be interrupted; the exit must not wait for it.
    runtime.shutdown_background();
    code
}

/// The command line, in which the help of each command shows only the options that it uses.
fn command_line() -> clap::Command {
    batuta_cli::tailored(recover_command::added(Cli::command()))
}

/// Threads that serve clients; consensus has a thread of its own.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| (processors.get() - 1).max(1))
}

async fn run(cli: Cli) -> ExitCode {
    let done = |()| ExitCode::SUCCESS;
    let outcome: Result<ExitCode, Box<dyn std::error::Error>> = match cli.command {
        Command::Server(args) => server_args::run_server(*args).await,
        Command::Dev(args) => dev::run(args).await.map(done).map_err(Into::into),
        Command::Config(command) => server_args::run_config(*command).map(done),
        Command::Schema => print_schema().map(done).map_err(Into::into),
        Command::Client(command) => return batuta_cli::run(cli.global, *command, command_line()).await,
    };
    outcome.unwrap_or_else(|error| failed(error.as_ref()))
}

fn print_schema() -> Result<(), String> {
    let written = batuta_cli::write_out(batuta_api::graphql::schema_sdl().as_bytes());
    written.map(|_| ()).map_err(|error| format!("standard output: {error}"))
}

fn failed(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    // When standard error cannot be written, only the exit code remains.
    let _ = writeln!(std::io::stderr(), "batuta: {error}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_commands_hide_client_options_in_help() {
        command_line().debug_assert();
        for words in [
            &["server"][..],
            &["dev"],
            &["config"],
            &["config", "show"],
            &["config", "validate"],
            &["schema"],
            &["completion"],
            &["access", "recover"],
        ] {
            let line = ["batuta"].into_iter().chain(words.iter().copied()).chain(["--help"]);
            let help = command_line().try_get_matches_from(line).expect_err("help").to_string();
            assert!(help.contains("Usage: batuta"), "{help}");
            for option in ["--endpoints", "--namespace", "--timeout", "--output", "Cluster:"] {
                assert!(!help.contains(option), "{words:?} shows {option}: {help}");
            }
        }
    }
}
