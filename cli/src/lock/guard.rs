//! A process that ends the command when its keeper is gone.
//!
//! A keeper that is killed (`kill -9`, out of memory, a crash) can end nothing any more, and its lock goes to the next holder. So
//! beside each command runs a guard: a small process that waits at the end of a pipe whose other end only the keeper has.
//!
//! ```text
//! keeper ── "group 4711" ─► guard ── the keeper says "done" ──────────────► exits
//!                                 └─ the pipe ends without: TERM, grace, KILL ► exits
//! ```
//! The guard has a process group of its own and another name than the keeper: what is sent to a terminal's job, or to every process
//! of the program's name, does not reach it.

use std::io::{self, BufRead as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, kill_process, kill_process_group, test_kill_process, test_kill_process_group,
};

/// What the program is called when it is to be a guard: its argument 0.
pub const GUARD: &str = "lock-run-guard";

/// How often it is looked whether the command is gone.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What is to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// A whole process group.
    Group(Pid),
    /// One process, which shares its group with the keeper.
    Process(Pid),
}

impl Target {
    pub(super) fn send(self, signal: Signal) -> Result<(), Errno> {
        match self {
            Self::Group(group) => kill_process_group(group, signal),
            Self::Process(process) => kill_process(process, signal),
        }
    }

    /// As `timeout(1)` does: a command that is stopped hears a signal only when it goes on.
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
        // 1 and less are no process of ours: to a signal they would mean many more.
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
    /// Starts a guard with this program, before there is something to guard.
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

    /// From now on the end of this process is the end of the command.
    pub(super) fn watch(&mut self, target: Target) -> io::Result<()> {
        writeln!(self.words, "{}", target.word())
    }

    /// There is nothing left to guard.
    pub(super) fn dismiss(mut self) {
        // A guard that was killed guards nothing, and needs no word.
        let _ = writeln!(self.words, "done");
        drop(self.words);
        // It ends at once; nobody depends on when.
        let _ = self.child.try_wait();
    }
}

/// The program of this process, also when its file was replaced meanwhile.
pub(super) fn own_program() -> io::Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    if running.exists() { Ok(running.to_owned()) } else { std::env::current_exe() }
}

/// What a guard does: ends what it was told of when its keeper ends without a word. Arguments: the grace in milliseconds.
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
        // Last, because it may block, and whether anybody hears it or not.
        let _ = io::stderr()
            .write_all(b"batuta: the process that kept the lock was gone; its command was ended\n");
    }
    ExitCode::SUCCESS
}

fn end(target: Target, grace: Duration) {
    // What cannot be sent to is gone, or not ours to end.
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
