//! The flags of `batuta server` and `batuta config`, and their conversion to a configuration.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use batuta_cli::write_out;
use batuta_config::Loaded;
use clap::{Args, Subcommand};

use crate::logging;
use crate::server::{self, ServerRun};

/// Flags that take precedence over the file and the environment.
#[derive(Args, Debug, Default)]
pub(crate) struct ConfigArgs {
    /// Configuration file (TOML).
    #[arg(long, env = "BATUTA_CONFIG")]
    config: Option<PathBuf>,
    /// The node's stable name.
    #[arg(long)]
    name: Option<String>,
    /// Where the node keeps its log and snapshots.
    #[arg(long)]
    data_dir: Option<String>,
    /// host:port of the REST API; port 0 takes a free port (here and below).
    #[arg(long)]
    rest: Option<String>,
    /// host:port of the gRPC API.
    #[arg(long)]
    grpc: Option<String>,
    /// host:port of the WebSocket API.
    #[arg(long)]
    ws: Option<String>,
    /// host:port for the other nodes.
    #[arg(long)]
    peer: Option<String>,
    /// The static set, this node included: name=host:port,…
    #[arg(long)]
    peers: Option<String>,
    /// Create the cluster only when this many members of the static set are up.
    #[arg(long)]
    bootstrap_expect: Option<String>,
    /// Join the cluster that answers at one of these peer addresses: host:port,…
    #[arg(long)]
    join: Option<String>,
    /// Log level: error, warn, info, debug or trace.
    #[arg(long)]
    log_level: Option<String>,
    /// Enforce access from the first entry of a cluster on that this node creates, with a bootstrap token as the only way in.
    #[arg(long)]
    secure: bool,
    /// Allow listening beyond loopback without TLS and, unless access is enforced, without authentication.
    #[arg(long)]
    insecure: bool,
    /// Any other key as section.key=value; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Arguments of `batuta server`.
#[derive(Args, Debug)]
pub(crate) struct ServerArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Write the node's addresses to this file (JSON) once the node is ready.
    #[arg(long)]
    ready_file: Option<PathBuf>,
    /// Stop when standard input ends.
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
    /// Behave as a build that knows the levels up to this one; for tests of upgrades.
    #[arg(long, hide = true, value_name = "LEVEL")]
    test_level: Option<u32>,
}

/// Subcommands of `batuta config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Checks the configuration as `server` would see it.
    Validate(ConfigArgs),
    /// Prints the effective configuration.
    Show {
        #[command(flatten)]
        config: ConfigArgs,
        /// Print the origin of each value next to it.
        #[arg(long)]
        origin: bool,
    },
}

impl ConfigArgs {
    fn overrides(&self) -> Result<Vec<(String, String)>, String> {
        let named = [
            ("node.name", &self.name),
            ("node.data_dir", &self.data_dir),
            ("listen.rest", &self.rest),
            ("listen.grpc", &self.grpc),
            ("listen.ws", &self.ws),
            ("listen.peer", &self.peer),
            ("cluster.peers", &self.peers),
            ("cluster.bootstrap_expect", &self.bootstrap_expect),
            ("cluster.join", &self.join),
            ("log.level", &self.log_level),
        ];
        let mut overrides: Vec<(String, String)> =
            named.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?))).collect();
        for (key, is_set) in [("access.secure", self.secure), ("security.insecure", self.insecure)] {
            if is_set {
                overrides.push((key.to_owned(), "true".to_owned()));
            }
        }
        for pair in &self.set {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| format!("--set {pair}: expected section.key=value"))?;
            overrides.push((key.to_owned(), value.to_owned()));
        }
        Ok(overrides)
    }

    fn load(&self) -> Result<Loaded, Box<dyn Error>> {
        let environment: Vec<_> = std::env::vars_os().collect();
        Ok(batuta_config::load(self.config.as_deref(), &environment, &self.overrides()?)?)
    }
}

/// How long to wait at the end for a reader of the log that does not read.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// Runs a node. If it stopped for another reason than being told to, the reason is its last line.
pub(crate) async fn run_server(args: ServerArgs) -> Result<ExitCode, Box<dyn Error>> {
    let loaded = args.config.load()?;
    let lines = logging::start(&loaded.config.log)?;
    let run = ServerRun {
        ready_file: args.ready_file,
        stop_with_stdin: args.stop_with_stdin,
        test_level: args.test_level,
    };
    let ended = server::run(loaded.config, run).await;
    if let Err(error) = &ended {
        lines.line(&format!("batuta: {error}"));
    }
    lines.flush(FLUSH_WITHIN);
    Ok(if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Checks or shows a configuration.
pub(crate) fn run_config(command: ConfigCommand) -> Result<(), Box<dyn Error>> {
    let written = match command {
        ConfigCommand::Validate(config) => {
            config.load()?;
            write_out(b"the configuration is valid\n")
        }
        ConfigCommand::Show { config, origin } => write_out(config.load()?.show(origin).as_bytes()),
    };
    written.map_err(|error| format!("standard output: {error}"))?;
    Ok(())
}
