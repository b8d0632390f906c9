//! `batuta lock run`: holds a lock while a command runs.

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use batuta_client::{Error, Lock, LockOptions, Session, SessionState};
use clap::Args;
use rustix::process::Signal;
use tokio::time::timeout;

use super::acquire::ModeArgs;
use super::child::{End, Ended, Work, exit_code, supervise};
use super::guard::own_program;
use super::signals::{Signals, name as signal_name};
use crate::Global;
use crate::duration::parse;
use crate::failure::{Failure, exit};
use crate::lines::{Lines, Stream};

/// How often to check whether an operator took the lock away.
const POLL: Duration = Duration::from_secs(1);
/// The longest lock-delay that a cluster allows by default.
const LOCK_DELAY_MAX: Duration = Duration::from_mins(1);
/// How long to wait for the session to close. If it cannot be closed, it expires after its TTL.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// How long to wait at the end for a reader that does not read.
const SAY_WITHIN: Duration = Duration::from_secs(1);

const CHECK_IT: &str = "What the command did last may not have been protected: check it by its fencing token, then \
                        run it again.";

/// The arguments of `batuta lock run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The lock.
    name: String,
    #[command(flatten)]
    mode: ModeArgs,
    /// How long the lock is held when the cluster loses contact with this process.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse)]
    ttl: Duration,
    /// How long to wait for the lock; 0 answers at once.
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = parse)]
    wait: Duration,
    /// The time between TERM and KILL when the lock is lost.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse)]
    grace: Duration,
    /// How long the lock stays closed to others after a loss [default: --grace and a second, at most 60s, so that
    /// the command has ended before the next holder begins].
    #[arg(long, value_name = "DURATION", value_parser = parse)]
    lock_delay: Option<Duration>,
    /// A label of the owner, for people.
    #[arg(long, value_name = "LABEL", default_value = "", hide_default_value = true)]
    owner: String,
    /// Keep the command in the terminal's foreground, so that it can read from the terminal. It gets no process group
    /// of its own, and processes that it starts are not signalled.
    #[arg(long)]
    foreground: bool,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl RunArgs {
    fn options(&self) -> LockOptions {
        let lock_delay = self
            .lock_delay
            .unwrap_or_else(|| self.grace.saturating_add(Duration::from_secs(1)).min(LOCK_DELAY_MAX));
        LockOptions {
            locks: vec![self.mode.request(self.name.clone())],
            owner: self.owner.clone(),
            wait: self.wait,
            lock_delay,
            poll: POLL,
            ..LockOptions::exclusive(self.name.clone())
        }
    }

    fn work(&self, token: u64, lock_id: &str) -> Work {
        Work {
            command: self.command.clone(),
            environment: vec![
                ("BATUTA_LOCK_NAME", self.name.clone()),
                ("BATUTA_LOCK_TOKEN", token.to_string()),
                ("BATUTA_LOCK_ID", lock_id.to_owned()),
            ],
            grace: self.grace,
            foreground: self.foreground,
            guard: own_program().ok(),
        }
    }
}

/// Takes the lock, runs the command, and releases the lock.
pub(crate) async fn run(global: &Global, args: RunArgs) -> Result<u8, Failure> {
    let mut signals = Signals::catch()
        .map_err(|error| Failure::new(exit::INTERNAL, "internal", format!("cannot catch signals: {error}")))
        .map_err(|failure| not_acquired(&args.name, failure))?;
    let lines = Lines::for_people(Stream::Error)
        .map_err(|error| Failure::new(exit::INTERNAL, "internal", format!("cannot start a thread: {error}")))
        .map_err(|failure| not_acquired(&args.name, failure))?;
    let held = hold(global, &args, &mut signals).await;
    let (session, lock) = held.map_err(|failure| not_acquired(&args.name, failure))?;
    let ended = keep(&args, session, lock, &mut signals, &lines).await;
    lines.flush(SAY_WITHIN);
    ended
}

/// Runs the command while the lock is held.
async fn keep(
    args: &RunArgs,
    session: Session,
    lock: Lock,
    signals: &mut Signals,
    lines: &Lines,
) -> Result<u8, Failure> {
    let work = args.work(lock.token(), lock.lock_id());
    let end = match supervise(&work, lock.loss(), signals, lines).await {
        Ended::Lost { loss, end } => {
            leave(session).await;
            return Err(lost(&args.name, &loss.reason, end));
        }
        Ended::Exited(status) => Ok(exit_code(status)),
        Ended::NotStarted(error) => Err(not_started(&args.command, &error)),
        Ended::Unwatched(error) => {
            let message = format!("it is unknown how the command ended: {error}");
            Err(Failure::new(exit::INTERNAL, "internal", message))
        }
    };
    // Only the cluster knows whether an operator took the lock away since the last check.
    let released = lock.release().await;
    leave(session).await;
    match released {
        Ok(()) => end,
        Err(error) => Err(unconfirmed(&args.name, error, end)),
    }
}

/// Opens a session and takes the lock with it.
async fn hold(global: &Global, args: &RunArgs, signals: &mut Signals) -> Result<(Session, Lock), Failure> {
    let open = async { global.connect().await?.open_session(args.ttl).await.map_err(Failure::from) };
    let session = tokio::select! {
        biased;
        session = open => session?,
        signal = signals.next_to_end() => return Err(interrupted(signal)),
    };
    let taken = tokio::select! {
        biased;
        lock = session.acquire(args.options()) => lock.map_err(Failure::from),
        signal = signals.next_to_end() => Err(interrupted(signal)),
    };
    match taken {
        Ok(lock) => Ok((session, lock)),
        Err(failure) => {
            leave(session).await;
            Err(failure)
        }
    }
}

/// Closes the session if it still exists. If that fails, the session expires after its TTL. The outcome does not
/// depend on it, so nothing is reported.
async fn leave(session: Session) {
    let alive = *session.state().borrow() == SessionState::Alive;
    if alive {
        let _ = timeout(LEAVE_WITHIN, session.close()).await;
    }
}

fn interrupted(signal: Signal) -> Failure {
    let message = format!("{} arrived before the lock was acquired", signal_name(signal));
    Failure::new(exit::NOT_ACQUIRED, "interrupted", message)
}

fn not_acquired(name: &str, failure: Failure) -> Failure {
    let message = format!("{name} was not acquired and nothing was run: {}", failure.message);
    Failure { message, ..failure.exit(exit::NOT_ACQUIRED) }
}

fn not_started(command: &[OsString], error: &io::Error) -> Failure {
    let program = command.first().map(|program| program.to_string_lossy()).unwrap_or_default();
    let message = format!("cannot run {program}: {error}");
    match error.kind() {
        io::ErrorKind::NotFound => Failure::new(exit::NO_COMMAND, "command_not_found", message),
        _ => Failure::new(exit::NOT_EXECUTABLE, "command_not_executable", message),
    }
}

/// The failure when the lock was lost while the command ran, or before.
fn lost(name: &str, reason: &Error, end: End) -> Failure {
    let end = match end {
        End::NeverRan => "nothing was run",
        End::Terminated => "the command was terminated",
        End::Killed => "the command did not end on TERM and was killed",
        End::Unkillable => "the command was killed, and some of its processes have not ended yet",
    };
    let failure =
        Failure::new(exit::LOST, &reason.code, format!("{name} was lost, {end}: {}", reason.message));
    Failure { details: reason.details.clone(), ..failure }.remedy(CHECK_IT)
}

/// The failure when the command ended, but the release that would have proved that the lock was held failed.
fn unconfirmed(name: &str, error: Error, end: Result<u8, Failure>) -> Failure {
    let ended = match end {
        Ok(code) => format!("the command ended with exit code {code}"),
        // Nothing ran, so nothing ran unprotected.
        Err(failure) => return failure,
    };
    let message = if is_gone(&error.code) {
        format!("{name} was lost before the command ended ({ended}): {}", error.message)
    } else {
        format!("it is unknown whether {name} was held until the command ended ({ended}): {}", error.message)
    };
    let failure = Failure::from(error);
    Failure { message, ..failure.exit(exit::LOST) }.remedy(CHECK_IT)
}

/// Whether this code means that the grant, or its session, has ended.
fn is_gone(code: &str) -> bool {
    code.starts_with("session_") || matches!(code, "lock_not_held" | "lock_not_found" | "grant_ended")
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
