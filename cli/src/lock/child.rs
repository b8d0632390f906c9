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
//!
//! Jobs: the command has a process group of its own, in the background of the terminal, while its keeper stays in the foreground and
//! hands on what the terminal sends. A command that is stopped is continued with every signal it gets, as `timeout(1)` does, and
//! that it is stopped is said. In the foreground (`--foreground`) both share the keeper's group.

use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;

use batuta_client::Loss;
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_current_process_group, test_kill_process_group,
    waitid, waitpgid,
};
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::guard::{Guard, Target};
use super::signals::{Signals, name};
use crate::lines::Lines;

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
    /// The program that ends the command when this process is gone; without one the command goes on then.
    pub(crate) guard: Option<PathBuf>,
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

/// Runs `work` until it ends or `losing` resolves. Signals that come meanwhile are handed on. What there is to say goes to `lines`,
/// which never holds this up.
pub(crate) async fn supervise(
    work: &Work,
    losing: impl Future<Output = Loss>,
    signals: &mut Signals,
    lines: &Lines,
) -> Ended {
    let mut losing = pin!(losing);
    tokio::select! {
        biased;
        loss = &mut losing => return Ended::Lost { loss, end: End::NeverRan },
        () = std::future::ready(()) => {}
    }
    let mut running = match Running::start(work, lines) {
        Ok(running) => running,
        Err(error) => return Ended::NotStarted(error),
    };
    let loss = loop {
        tokio::select! {
            biased;
            loss = &mut losing => break loss,
            signal = signals.next() => running.hand_on(signal),
            status = running.child.wait() => {
                running.dismiss_guard();
                return match status {
                    Ok(status) => Ended::Exited(status),
                    Err(error) => Ended::Unwatched(error),
                };
            }
            stop = running.stops.next() => running.stopped(stop),
        }
    };
    let end = running.end(loss.since + work.grace, signals).await;
    running.dismiss_guard();
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

/// When the command is stopped.
struct Stops {
    pid: Pid,
    /// Some child has changed its state. Without it stops are not noticed.
    children: Option<unix::Signal>,
}

impl Stops {
    /// The signal that stopped the command. Cancel-safe.
    async fn next(&mut self) -> Signal {
        loop {
            let looks = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
            if let Ok(Some(status)) = waitid(WaitId::Pid(self.pid), looks)
                && let Some(signal) = status.stopping_signal().and_then(Signal::from_named_raw)
            {
                return signal;
            }
            match &mut self.children {
                Some(children) => children.recv().await,
                None => std::future::pending().await,
            };
        }
    }
}

struct Running<'a> {
    child: Child,
    pid: Pid,
    target: Target,
    stops: Stops,
    guard: Option<Guard>,
    lines: &'a Lines,
}

impl<'a> Running<'a> {
    fn start(work: &Work, lines: &'a Lines) -> io::Result<Self> {
        let (program, arguments) =
            work.command.split_first().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let unguarded = |error: io::Error| {
            lines.line(&format!("batuta: the command would go on if this process were killed: {error}"));
        };
        // Before the command, so that it is never there alone for longer than a pipe takes.
        let guard = work.guard.as_deref().map(|guard| Guard::start(guard, work.grace));
        let mut guard = guard.and_then(|guard| guard.map_err(unguarded).ok());
        let children = unix::signal(SignalKind::child()).ok();
        let mut command = Command::new(program);
        command.args(arguments).envs(work.environment.iter().map(|(name, value)| (name, value)));
        if !work.foreground {
            command.process_group(0);
        }
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                guard.into_iter().for_each(Guard::dismiss);
                return Err(error);
            }
        };
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::Error::other("the new process has no id"))?;
        let target = if work.foreground { Target::Process(pid) } else { Target::Group(pid) };
        if let Some(Err(error)) = guard.as_mut().map(|guard| guard.watch(target)) {
            unguarded(error);
        }
        Ok(Self { child, pid, target, stops: Stops { pid, children }, guard, lines })
    }

    fn dismiss_guard(&mut self) {
        self.guard.take().into_iter().for_each(Guard::dismiss);
    }

    fn is_foreground(&self) -> bool {
        matches!(self.target, Target::Process(_))
    }

    /// Sends a signal that this process got on to the command. In the foreground the terminal has told it already, but a command
    /// that is stopped has not heard it.
    fn hand_on(&self, signal: Signal) {
        match signal {
            Signal::TSTP if self.is_foreground() => {}
            Signal::TSTP => self.lines.line(
                "batuta: a stop from the keyboard is not obeyed: the lock would be lost. Ctrl-C ends the command",
            ),
            // Meant for whoever reads from the terminal or writes to it, which this process does not.
            Signal::TTIN | Signal::TTOU => {}
            Signal::INT | Signal::QUIT if self.is_foreground() => self.send(Signal::CONT),
            signal => self.send(signal),
        }
    }

    fn send(&self, signal: Signal) {
        // Once its status is known, its id may be another's; a group lives on with its members.
        if self.is_foreground() && self.child.id().is_none() {
            return;
        }
        match self.target.send_and_continue(signal) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => {
                self.lines.line(&format!("batuta: the command could not be sent {}: {error}", name(signal)));
            }
        }
    }

    /// Says that the command was stopped, and what can be done about it.
    fn stopped(&self, signal: Signal) {
        let remedy = match signal {
            Signal::TSTP if self.is_foreground() => {
                // The shell does not see this job stop, and would not offer to continue it.
                if let Err(error) = kill_current_process_group(Signal::CONT) {
                    self.lines.line(&format!("batuta: the command could not be continued: {error}"));
                }
                "a stop from the keyboard is not obeyed: the lock would be lost. It was continued; Ctrl-C ends it"
            }
            Signal::TTIN | Signal::TTOU if self.is_foreground() => {
                "it wants the terminal, and this job is in the background. Bring it to the foreground (fg)"
            }
            Signal::TTIN | Signal::TTOU => {
                "it wants the terminal, which a command under `lock run` has only with --foreground. \
                 Ctrl-C ends it; then run it with `batuta lock run --foreground`"
            }
            _ => "SIGCONT lets it go on",
        };
        self.lines.line(&format!(
            "batuta: the command was stopped by {}, and the lock is still held: {remedy}",
            name(signal)
        ));
    }

    /// Whether a process of the command is left. The first one must have been waited for: its status is its keeper's.
    fn is_left(&self) -> bool {
        // What the command left behind was handed to this process when its parent ended: a dead one stays in the
        // group until somebody asks for its status.
        let group = !self.is_foreground();
        while group && matches!(waitpgid(self.pid, WaitOptions::NOHANG), Ok(Some(_))) {}
        group && test_kill_process_group(self.pid) != Err(Errno::SRCH)
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
                stop = self.stops.next(), if !waited => self.stopped(stop),
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
