//! The guard: a process that ends the command when its keeper is killed.
//!
//! A killed keeper (`kill -9`, out of memory, a crash) cannot end its command, and its lock or leadership goes to the next. So each
//! command has a guard: a small process that waits at one end of a pipe whose other end only the keeper has.
//!
//! ```text
//! keeper ── "group 4711" ─► guard ── the keeper says "done" ──────────────► exits
//!                                 └─ the pipe ends without: TERM, grace, KILL ► exits
//! ```
//! The guard has its own process group and another name than the keeper, so signals to the terminal's job, or to every process
//! with the program's name, do not reach it.

use std::io::{self, BufRead as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, kill_process, kill_process_group, test_kill_process, test_kill_process_group,
};

/// Argument 0 of the program when it runs as a guard.
pub const GUARD: &str = "run-guard";

/// How often to check whether the command has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The processes to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// A whole process group.
    Group(Pid),
    /// A single process, which shares its group with the keeper.
    Process(Pid),
}

impl Target {
    pub(super) fn send(self, signal: Signal) -> Result<(), Errno> {
        match self {
            Self::Group(group) => kill_process_group(group, signal),
            Self::Process(process) => kill_process(process, signal),
        }
    }

    /// Sends a signal and continues the target, as `timeout(1)` does: a stopped process handles a signal only once it is continued.
    pub(super) fn send_and_continue(self, signal: Signal) -> Result<(), Errno> {
        self.send(signal)?;
        if signal == Signal::CONT || signal == Signal::KILL { Ok(()) } else { self.send(Signal::CONT) }
    }

    fn is_gone(self) -> bool {
        let found = match self {
            Self::Group(group) => test_kill_process_group(group),
            Self::Process(process) => test_kill_process(process),
        };
        found == Err(Errno::SRCH)
    }

    fn word(self) -> String {
        match self {
            Self::Group(group) => format!("group {}", group.as_raw_nonzero()),
            Self::Process(process) => format!("process {}", process.as_raw_nonzero()),
        }
    }

    fn parse(word: &str) -> Option<Self> {
        let (kind, id) = word.split_once(' ')?;
        // An id of 1 or less is never our process, and `kill` would take it to mean other processes.
        let id = id.parse().ok().filter(|id| *id > 1).and_then(Pid::from_raw)?;
        match kind {
            "group" => Some(Self::Group(id)),
            "process" => Some(Self::Process(id)),
            _ => None,
        }
    }
}

/// The keeper's end of a guard.
#[derive(Debug)]
pub(super) struct Guard {
    words: ChildStdin,
    child: Child,
}

impl Guard {
    /// Starts a guard with this program, before the command is started.
    pub(super) fn start(program: &Path, grace: Duration) -> io::Result<Self> {
        let mut child = Command::new(program)
            .arg0(GUARD)
            .arg(grace.as_millis().to_string())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()?;
        let words = child.stdin.take().ok_or_else(|| io::Error::other("the guard has no pipe"))?;
        Ok(Self { words, child })
    }

    /// Tells the guard what to end when this process ends.
    pub(super) fn watch(&mut self, target: Target) -> io::Result<()> {
        writeln!(self.words, "{}", target.word())
    }

    /// Tells the guard that the command has ended.
    pub(super) fn dismiss(mut self) {
        // A guard that was killed needs no message.
        let _ = writeln!(self.words, "done");
        drop(self.words);
        // The guard ends at once. Nothing depends on when.
        let _ = self.child.try_wait();
    }
}

/// The program of this process, even when its file has been replaced since the start.
pub(super) fn own_program() -> io::Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    if running.exists() { Ok(running.to_owned()) } else { std::env::current_exe() }
}

/// Runs the guard: ends its target when the keeper ends without saying `done`. Argument: the grace period in milliseconds.
#[must_use]
pub fn run(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    let grace = arguments.next().and_then(|grace| grace.to_str()?.parse().ok()).map(Duration::from_millis);
    let mut target = None;
    for line in io::stdin().lock().lines() {
        match line.as_deref() {
            Ok("done") => return ExitCode::SUCCESS,
            Ok(word) => target = Target::parse(word).or(target),
            Err(_) => break,
        }
    }
    if let Some(target) = target {
        end(target, grace.unwrap_or_default());
        // Written last, because it may block; a failure does not matter.
        let _ = io::stderr()
            .write_all(b"batuta: the process that ran the command has ended; the command was ended, too\n");
    }
    ExitCode::SUCCESS
}

fn end(target: Target, grace: Duration) {
    // If the signal cannot be sent, the target has ended, or belongs to somebody else.
    let _ = target.send_and_continue(Signal::TERM);
    let begun = Instant::now();
    while !target.is_gone() && begun.elapsed() < grace {
        std::thread::sleep(LOOK_INTERVAL);
    }
    let _ = target.send(Signal::KILL);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_survive_the_pipe() {
        let pid = Pid::from_raw(4711).unwrap();
        for target in [Target::Group(pid), Target::Process(pid)] {
            assert_eq!(Target::parse(&target.word()), Some(target));
        }
        for word in ["", "group", "group 0", "group 1", "group -1", "group x", "process 1", "all 5", "done"] {
            assert_eq!(Target::parse(word), None, "{word:?}");
        }
    }
}
