//! A command that may run only as long as something is held.
//!
//! ```text
//! held? ─ no ───────────────────────────────────────────► Lost (nothing was started)
//!   └─ yes ─ spawn ─ exits, still held ─────────────────► Exited
//!                └── lost ─ TERM ─ the group is gone ───► Lost
//!                                └ grace over ─ KILL ───► Lost
//! ```
//! Invariant: when both happened, the loss counts: a command whose lock was gone has not succeeded, whatever it says.
//! The grace runs from the moment of the loss, not from when this process came to see it.

use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;

use batuta_client::Loss;
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, kill_process, kill_process_group, test_kill_process_group, waitpgid,
};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::signals::Signals;

/// How often a process group that was told to end is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How long the end of a killed process is waited for: one that the kernel holds in a device call may outlive it.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// What to run.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    /// Program and arguments.
    pub(crate) command: Vec<OsString>,
    /// What is added to the environment.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// Between TERM and KILL.
    pub(crate) grace: Duration,
    /// Stay in the terminal's foreground: no process group of its own, so signals reach the command alone.
    pub(crate) foreground: bool,
}

/// How it ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The command ended by itself while the lock was held, as far as is known here.
    Exited(ExitStatus),
    /// The lock was lost; the command was ended, if it was ever started.
    Lost { loss: Loss, end: End },
    /// It could not be started.
    NotStarted(io::Error),
    /// It was started, and the kernel does not say how it ended.
    Unwatched(io::Error),
}

/// What became of the command after a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It was never started.
    NeverRan,
    /// TERM was enough.
    Terminated,
    /// It took KILL.
    Killed,
    /// It is still there: the kernel does not let go of it.
    Unkillable,
}

/// Runs `work` until it ends or `losing` resolves. Signals that come meanwhile are handed on.
pub(crate) async fn supervise(
    work: &Work,
    losing: impl Future<Output = Loss>,
    signals: &mut Signals,
) -> Ended {
    let mut losing = pin!(losing);
    tokio::select! {
        biased;
        loss = &mut losing => return Ended::Lost { loss, end: End::NeverRan },
        () = std::future::ready(()) => {}
    }
    let mut running = match Running::start(work) {
        Ok(running) => running,
        Err(error) => return Ended::NotStarted(error),
    };
    let loss = loop {
        tokio::select! {
            biased;
            loss = &mut losing => break loss,
            signal = signals.next() => running.hand_on(signal),
            status = running.child.wait() => return match status {
                Ok(status) => Ended::Exited(status),
                Err(error) => Ended::Unwatched(error),
            },
        }
    };
    let end = running.end(loss.since + work.grace, signals).await;
    Ended::Lost { loss, end }
}

/// The exit code that passes a status on.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    // Codes are 0 to 255 and signals 1 to 64; a status that is neither has ended in no known way.
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Makes this process the parent of what its descendants leave behind from now on, so that it sees when the whole group is gone and
/// does not depend on the machine's first process to clear the dead away. Where that is refused, or not known, the
/// group is merely waited for longer.
fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

struct Running {
    child: Child,
    pid: Pid,
    group: bool,
}

impl Running {
    fn start(work: &Work) -> io::Result<Self> {
        let (program, arguments) =
            work.command.split_first().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut command = Command::new(program);
        command.args(arguments).envs(work.environment.iter().map(|(name, value)| (name, value)));
        if !work.foreground {
            command.process_group(0);
        }
        let child = command.spawn()?;
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::Error::other("the new process has no id"))?;
        Ok(Self { child, pid, group: !work.foreground })
    }

    /// Sends a signal that this process got on to the command. In the foreground the terminal has told it already.
    fn hand_on(&self, signal: Signal) {
        if self.group || !matches!(signal, Signal::INT | Signal::QUIT) {
            self.send(signal);
        }
    }

    fn send(&self, signal: Signal) {
        let sent = if self.group {
            kill_process_group(self.pid, signal)
        } else if self.child.id().is_some() {
            kill_process(self.pid, signal)
        } else {
            Ok(())
        };
        match sent {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => {
                eprintln!("batuta: the command could not be sent signal {}: {error}", signal.as_raw());
            }
        }
    }

    /// Whether a process of the command is left. The first one must have been waited for: its status is its keeper's.
    fn is_left(&self) -> bool {
        // What the command left behind was handed to this process when its parent ended: a dead one stays in the
        // group until somebody asks for its status.
        while self.group && matches!(waitpgid(self.pid, WaitOptions::NOHANG), Ok(Some(_))) {}
        self.group && test_kill_process_group(self.pid) != Err(Errno::SRCH)
    }

    async fn end(&mut self, deadline: Instant, signals: &mut Signals) -> End {
        adopt_orphans();
        self.send(Signal::TERM);
        let mut waited = false;
        loop {
            if waited && !self.is_left() {
                return End::Terminated;
            }
            tokio::select! {
                biased;
                _ = self.child.wait(), if !waited => waited = true,
                () = sleep_until(deadline) => break,
                signal = signals.next() => self.hand_on(signal),
                () = sleep(LOOK_INTERVAL), if waited => {}
            }
        }
        self.send(Signal::KILL);
        let gone = async {
            let waited = self.child.wait().await;
            while self.is_left() {
                sleep(LOOK_INTERVAL).await;
            }
            waited
        };
        match timeout(KILLED_WITHIN, gone).await {
            Ok(Ok(_)) => End::Killed,
            Ok(Err(_)) | Err(_) => End::Unkillable,
        }
    }
}

#[cfg(test)]
#[path = "child_tests.rs"]
mod tests;
