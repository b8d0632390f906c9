//! The signals that a command under a lock is to hear instead of its keeper.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Handed on to the command.
const HANDED_ON: [Signal; 6] =
    [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM, Signal::USR1, Signal::USR2];

/// Caught and dropped: a keeper that is stopped from the keyboard would keep nothing alive.
const DROPPED: [Signal; 1] = [Signal::TSTP];

/// Signals as they come.
#[derive(Debug)]
pub(crate) struct Signals(mpsc::UnboundedReceiver<Signal>);

impl Signals {
    /// Catches from now on what would have ended this process.
    pub(crate) fn catch() -> io::Result<Self> {
        let (sender, receiver) = mpsc::unbounded_channel();
        for caught in HANDED_ON.into_iter().chain(DROPPED) {
            let mut stream = signal(SignalKind::from_raw(caught.as_raw()))?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    if !DROPPED.contains(&caught) && sender.send(caught).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Self(receiver))
    }

    /// Signals that somebody else sends.
    #[cfg(test)]
    pub(crate) fn of(receiver: mpsc::UnboundedReceiver<Signal>) -> Self {
        Self(receiver)
    }

    /// The next one. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Signal {
        match self.0.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}

/// How people call it.
pub(crate) fn name(signal: Signal) -> String {
    let known = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::TERM, "SIGTERM"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::USR2, "SIGUSR2"),
    ];
    let known = known.iter().find(|(known, _)| *known == signal);
    known.map_or_else(|| format!("signal {}", signal.as_raw()), |(_, name)| (*name).to_owned())
}
