//! Supervises a command that may run only while a lock is held, or an election is led.
//!
//! ```text
//! held? ─ no ───────────────────────────────────────────► Lost (nothing was started)
//!   └─ yes ─ spawn ─ exits, still held ─────────────────► Exited
//!                └── lost ─ TERM ─ the group is gone ───► Lost
//!                                └ grace over ─ KILL ───► Lost
//! ```
//! Invariant: when the command ends and what it needs is lost, the loss counts. A command that lost it has not succeeded, whatever
//! its exit code. The grace period counts from the loss, not from when this process notices it.
//!
//! Job control: the command has its own process group, in the background of the terminal. Its keeper stays in the foreground and
//! forwards the signals of the terminal. Every signal also continues a stopped command, as `timeout(1)` does, and
//! a stop is reported. With `--foreground`, both share the keeper's group.

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
use super::kept::Kind;
use super::signals::{Signals, name};
use crate::lines::Lines;

/// How often to check whether a process group that was asked to end has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How long to wait for the end of a killed process. A process in an uninterruptible device call may take longer.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// The command to run, and how.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    /// The program and its arguments.
    pub(crate) command: Vec<OsString>,
    /// Variables added to the environment.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// The time between TERM and KILL.
    pub(crate) grace: Duration,
    /// Whether the command stays in the terminal's foreground: it gets no process group of its own, and only the command itself is signalled.
    pub(crate) foreground: bool,
    /// The program of the guard, which ends the command when this process is killed. Without a guard the command goes on.
    pub(crate) guard: Option<PathBuf>,
    /// What the command needs, for messages.
    pub(crate) kind: Kind,
}

/// How the command ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The command ended by itself while the lock or leadership was held, as far as is known here.
    Exited(ExitStatus),
    /// The lock or leadership was lost; the command was ended, if it was ever started.
    Lost { loss: Loss, end: End },
    /// The command could not be started.
    NotStarted(io::Error),
    /// The command was started, but its exit status could not be read.
    Unwatched(io::Error),
}

/// How the command ended after a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The command was never started.
    NeverRan,
    /// The command ended on TERM.
    Terminated,
    /// The command had to be killed.
    Killed,
    /// Some process of the command still exists after KILL.
    Unkillable,
}

/// Runs `work` until it ends or `losing` resolves. Signals that arrive in the meantime are forwarded. Messages go to `lines`, which never
/// blocks.
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

/// The exit code that reports the status of the command.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    // Codes are 0 to 255 and signals 1 to 64. Any other status is unknown.
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Makes this process the parent of orphaned descendants from now on, so that it can reap them and see when the whole group has ended,
/// without depending on the init process. If the system refuses or does not support this, waiting for the group
/// merely takes longer.
fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// Notices when the command is stopped.
struct Stops {
    pid: Pid,
    /// The signal that a child has changed its state. Without it, stops are not noticed.
    children: Option<unix::Signal>,
}

impl Stops {
    /// Waits until the command is stopped, and returns the signal that stopped it. Cancel-safe.
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
    kind: Kind,
    lines: &'a Lines,
}

impl<'a> Running<'a> {
    fn start(work: &Work, lines: &'a Lines) -> io::Result<Self> {
        let (program, arguments) =
            work.command.split_first().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let unguarded = |error: io::Error| {
            lines.line(&format!("batuta: no guard could be started, so the command would go on if this process were killed: {error}"));
        };
        // Start the guard before the command, so that the command is unguarded only for as long as a write to a pipe takes.
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
        Ok(Self { child, pid, target, stops: Stops { pid, children }, guard, kind: work.kind, lines })
    }

    fn dismiss_guard(&mut self) {
        self.guard.take().into_iter().for_each(Guard::dismiss);
    }

    fn is_foreground(&self) -> bool {
        matches!(self.target, Target::Process(_))
    }

    /// Forwards a signal of this process to the command. In the foreground the terminal has already sent it to the command, but a
    /// stopped command has not received it.
    fn hand_on(&self, signal: Signal) {
        match signal {
            Signal::TSTP if self.is_foreground() => {}
            Signal::TSTP => self.lines.line(&format!(
                "batuta: Ctrl-Z is ignored, because a stop would lose {}. Ctrl-C ends the command",
                self.kind.noun()
            )),
            // These signals are for processes that read from the terminal or write to it; this process does neither.
            Signal::TTIN | Signal::TTOU => {}
            Signal::INT | Signal::QUIT if self.is_foreground() => self.send(Signal::CONT),
            signal => self.send(signal),
        }
    }

    fn send(&self, signal: Signal) {
        // Once the status is read, another process may have the id. A group keeps its id while it has members.
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

    /// Reports that the command was stopped, and what to do about it.
    fn stopped(&self, signal: Signal) {
        let (noun, run) = (self.kind.noun(), self.kind.command());
        let remedy = match signal {
            Signal::TSTP if self.is_foreground() => {
                // The shell does not notice that this job stopped, so it could not continue it.
                if let Err(error) = kill_current_process_group(Signal::CONT) {
                    self.lines.line(&format!("batuta: the command could not be continued: {error}"));
                }
                &format!(
                    "Ctrl-Z is ignored, because a stop would lose {noun}. The command was continued; Ctrl-C ends it"
                )
            }
            Signal::TTIN | Signal::TTOU if self.is_foreground() => {
                "it needs the terminal, and this job is in the background. Bring it to the foreground (fg)"
            }
            Signal::TTIN | Signal::TTOU => &format!(
                "it needs the terminal, which a command under `{run}` has only with --foreground. \
                 Ctrl-C ends it; then run it with `batuta {run} --foreground`"
            ),
            _ => "SIGCONT continues it",
        };
        self.lines.line(&format!(
            "batuta: the command was stopped by {}, and {noun} is still held: {remedy}",
            name(signal)
        ));
    }

    /// Whether a process of the command is left. The command's first process must have been reaped before.
    fn is_left(&self) -> bool {
        // Orphans of the command are children of this process. A dead one stays in the group until its
        // status is read.
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
