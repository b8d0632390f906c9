//! What the node writes about itself, to standard error.

use std::io::IsTerminal as _;

use batuta_config::validated::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

/// Starts logging. `RUST_LOG` stands above the configured level: it can name modules.
///
/// # Errors
/// When `RUST_LOG` is malformed or logging was started before.
pub(crate) fn start(log: &Log) -> Result<(), Box<dyn std::error::Error>> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) => EnvFilter::try_new(directives)?,
        // openraft tells every step of an election at `info`; what an operator needs of it, this node says itself.
        Err(_) => EnvFilter::try_new(format!("{},openraft=error", log.level.as_str()))?,
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    match log.format {
        LogFormat::Text => lines.try_init().map_err(|error| error.to_string())?,
        LogFormat::Json => lines.json().try_init().map_err(|error| error.to_string())?,
    }
    Ok(())
}
