//! Writes the node's log to standard error. A line that cannot be written is lost and counted, and nothing
//! waits for a reader (`batuta_cli::lines`).

use std::error::Error;
use std::io::{self, IsTerminal as _};

use batuta_cli::lines::{Lines, Stream};
use batuta_config::validated::{Log, LogFormat};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::panics;

/// One event on its way to the lines; the subscriber writes each event in one piece.
struct Event<'a>(&'a Lines);

impl io::Write for Event<'_> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.write(event.to_vec());
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Creates the subscriber's writers.
struct Writer(Lines);

impl<'a> MakeWriter<'a> for Writer {
    type Writer = Event<'a>;

    fn make_writer(&'a self) -> Event<'a> {
        Event(&self.0)
    }
}

/// Starts logging, and makes a panic write a log line and end the process. `RUST_LOG` takes precedence over
/// the configured level; it can name modules. Logged lines are written at the latest when the returned lines
/// are flushed.
///
/// # Errors
/// `RUST_LOG` is malformed, or logging was started before.
pub(crate) fn start(log: &Log) -> Result<Lines, Box<dyn Error>> {
    let filter = match std::env::var_os("RUST_LOG") {
        Some(directives) => {
            let directives = directives.to_str().ok_or("RUST_LOG is not UTF-8; correct it, or remove it")?;
            EnvFilter::try_new(directives).map_err(|error| format!("RUST_LOG: {error}"))?
        }
        // openraft logs every step of an election at `info`; this node logs what an operator needs of that
        // itself.
        None => EnvFilter::try_new(format!("{},openraft=error", log.level.as_str()))?,
    };
    // At the highest level, so that no filter hides that lines are missing.
    let warn_lost = |_: &Lines, lost| {
        tracing::error!(lost, "log lines could not be written here: nobody read them, or there was no space");
    };
    let lines = Lines::start(Stream::Error, warn_lost)?;
    panics::end_the_process(lines.clone(), log.format);
    let writer = Writer(lines.clone());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(io::stderr().is_terminal())
        // The subscriber would print internal errors with a macro that panics.
        .log_internal_errors(false)
        .with_target(false);
    match log.format {
        LogFormat::Text => subscriber.try_init().map_err(|error| error.to_string())?,
        LogFormat::Json => subscriber.json().try_init().map_err(|error| error.to_string())?,
    }
    Ok(lines)
}
