//! Catches the signals that a keeper forwards to its command.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Signals forwarded to the command. Each but the last ends a keeper that still waits.
const HANDED_ON: [Signal; 7] =
    [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM, Signal::USR1, Signal::USR2, Signal::CONT];

/// Signals with which a terminal stops jobs. They are caught and ignored: a stopped keeper would lose what it keeps.
const STOPS: [Signal; 3] = [Signal::TSTP, Signal::TTIN, Signal::TTOU];

/// Receives the caught signals.
#[derive(Debug)]
pub(crate) struct Signals(mpsc::UnboundedReceiver<Signal>);

impl Signals {
    /// Starts to catch the signals that would end or stop this process. Signals that the process was started with as ignored (by
    /// `nohup`; INT and QUIT for background jobs of a script) stay ignored, by this process and by the command.
    pub(crate) fn catch() -> io::Result<Self> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let ignored = Ignored::of_this_process();
        for caught in HANDED_ON.into_iter().chain(STOPS).filter(|caught| !ignored.contains(*caught)) {
            let mut stream = signal(SignalKind::from_raw(caught.as_raw()))?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    if sender.send(caught).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Self(receiver))
    }

    /// Receives signals from a channel, for tests.
    #[cfg(test)]
    pub(crate) fn of(receiver: mpsc::UnboundedReceiver<Signal>) -> Self {
        Self(receiver)
    }

    /// Waits for the next signal. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Signal {
        match self.0.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }

    /// Waits for the next signal that ends a keeper without a command. Cancel-safe.
    pub(crate) async fn next_to_end(&mut self) -> Signal {
        loop {
            let signal = self.next().await;
            if signal != Signal::CONT && !STOPS.contains(&signal) {
                return signal;
            }
        }
    }
}

/// The signals that this process was started with as ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ignored {
    /// One bit per signal, signal 1 first.
    mask: u64,
}

impl Ignored {
    /// Reads the current mask; call it before handlers are installed. If the system does not provide the mask, no signal counts as ignored.
    #[must_use]
    pub fn of_this_process() -> Self {
        let status = std::fs::read("/proc/self/status").unwrap_or_default();
        Self::parse(&String::from_utf8_lossy(&status))
    }

    fn parse(status: &str) -> Self {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        Self { mask: mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default() }
    }

    /// Whether this signal is ignored.
    #[must_use]
    pub fn contains(self, signal: Signal) -> bool {
        let place = u32::try_from(signal.as_raw() - 1).unwrap_or(u32::MAX);
        self.mask.checked_shr(place).is_some_and(|rest| rest & 1 == 1)
    }
}

/// The name of a signal, for people.
pub(crate) fn name(signal: Signal) -> String {
    let known = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::TERM, "SIGTERM"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::CONT, "SIGCONT"),
        (Signal::STOP, "SIGSTOP"),
        (Signal::TSTP, "SIGTSTP"),
        (Signal::TTIN, "SIGTTIN"),
        (Signal::TTOU, "SIGTTOU"),
    ];
    let known = known.iter().find(|(known, _)| *known == signal);
    known.map_or_else(|| format!("signal {}", signal.as_raw()), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_mask() {
        let ignored = Ignored::parse(
            "Name:\tbatuta\nSigBlk:\t0000000000000007\nSigIgn:\t0000000000001003\nSigCgt:\t0\n",
        );
        for (signal, expected) in [
            (Signal::HUP, true),
            (Signal::INT, true),
            (Signal::QUIT, false),
            (Signal::TERM, false),
            (Signal::PIPE, true),
        ] {
            assert_eq!(ignored.contains(signal), expected, "{signal:?}");
        }
        for status in ["", "SigIgn:\n", "SigIgn:\tnothing\n"] {
            assert_eq!(Ignored::parse(status).mask, 0, "{status:?}");
        }
    }
}
