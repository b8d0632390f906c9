//! Runs a command for as long as a lock is held, or an election is led.

mod child;
mod guard;
mod kept;
mod signals;

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use batuta_client::{Error, Session, SessionState};
use clap::Args;
use rustix::process::Signal;
use tokio::time::timeout;

use self::child::{End, Ended, Work, exit_code, supervise};
use self::guard::own_program;
pub use self::guard::{GUARD, run as run_guard};
pub(crate) use self::kept::{Campaign, Wanted};
use self::kept::{Kept, Kind};
pub use self::signals::Ignored;
use self::signals::{Signals, name as signal_name};
use crate::Global;
use crate::duration::parse;
use crate::failure::{Failure, exit};
use crate::lines::{Lines, Stream};

/// How often to check whether an operator took the lock or leadership away.
pub(crate) const POLL: Duration = Duration::from_secs(1);
/// The longest lock-delay that a cluster allows by default.
const LOCK_DELAY_MAX: Duration = Duration::from_mins(1);
/// How long to wait for the session to close. If it cannot be closed, it expires after its TTL.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// How long to wait at the end for a reader that does not read.
const SAY_WITHIN: Duration = Duration::from_secs(1);

const CHECK_IT: &str = "What the command did last may not have been protected: check it by its fencing token, then \
                        run it again.";

/// The command to run, and how.
#[derive(Args, Debug)]
pub(crate) struct CommandArgs {
    /// How long the session, and what it holds, lasts when the cluster loses contact with this process.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse)]
    ttl: Duration,
    /// The time between TERM and KILL after a loss.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse)]
    grace: Duration,
    /// How long the name stays closed to others after a loss [default: --grace and a second, at most 60s, so that
    /// the command has ended before the next one begins].
    #[arg(long, value_name = "DURATION", value_parser = parse)]
    lock_delay: Option<Duration>,
    /// A label of the owner, for people.
    #[arg(long, value_name = "LABEL", default_value = "", hide_default_value = true)]
    pub(crate) owner: String,
    /// Keep the command in the terminal's foreground, so that it can read from the terminal. It gets no process group
    /// of its own, and processes that it starts are not signalled.
    #[arg(long)]
    foreground: bool,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl CommandArgs {
    /// The lock-delay that was asked for, or one that covers the grace period.
    pub(crate) fn lock_delay(&self) -> Duration {
        self.lock_delay
            .unwrap_or_else(|| self.grace.saturating_add(Duration::from_secs(1)).min(LOCK_DELAY_MAX))
    }

    fn work(&self, kind: Kind, environment: Vec<(&'static str, String)>) -> Work {
        Work {
            command: self.command.clone(),
            environment,
            grace: self.grace,
            foreground: self.foreground,
            guard: own_program().ok(),
            kind,
        }
    }
}

/// Takes what the command needs, runs the command, and gives it back.
pub(crate) async fn run(global: &Global, args: CommandArgs, wanted: Wanted) -> Result<u8, Failure> {
    let refused = |failure| not_acquired(&wanted.subject(), failure);
    let mut signals = Signals::catch()
        .map_err(|error| Failure::new(exit::INTERNAL, "internal", format!("cannot catch signals: {error}")))
        .map_err(refused)?;
    let lines = Lines::for_people(Stream::Error)
        .map_err(|error| Failure::new(exit::INTERNAL, "internal", format!("cannot start a thread: {error}")))
        .map_err(refused)?;
    let (session, kept) = take(global, args.ttl, &wanted, &mut signals).await.map_err(refused)?;
    let work = args.work(wanted.kind(), kept.environment());
    let ended = keep(&work, &wanted.subject(), (session, kept), &mut signals, &lines).await;
    lines.flush(SAY_WITHIN);
    ended
}

/// Runs the command while the lock or leadership is held.
async fn keep(
    work: &Work,
    subject: &str,
    (session, kept): (Session, Kept),
    signals: &mut Signals,
    lines: &Lines,
) -> Result<u8, Failure> {
    let end = match supervise(work, kept.loss(), signals, lines).await {
        Ended::Lost { loss, end } => {
            leave(session).await;
            return Err(lost(subject, &loss.reason, end));
        }
        Ended::Exited(status) => Ok(exit_code(status)),
        Ended::NotStarted(error) => Err(not_started(&work.command, &error)),
        Ended::Unwatched(error) => {
            let message = format!("it is unknown how the command ended: {error}");
            Err(Failure::new(exit::INTERNAL, "internal", message))
        }
    };
    // Only the cluster knows whether an operator took it away since the last check.
    let given_back = kept.give_back().await;
    leave(session).await;
    match given_back {
        Ok(()) => end,
        Err(error) => Err(unconfirmed(subject, error, end)),
    }
}

/// Opens a session and takes the lock or leadership with it.
async fn take(
    global: &Global,
    ttl: Duration,
    wanted: &Wanted,
    signals: &mut Signals,
) -> Result<(Session, Kept), Failure> {
    let open = async { global.connect().await?.open_session(ttl).await.map_err(Failure::from) };
    let session = tokio::select! {
        biased;
        session = open => session?,
        signal = signals.next_to_end() => return Err(interrupted(wanted.kind(), signal)),
    };
    let taken = tokio::select! {
        biased;
        kept = wanted.take(&session) => kept.map_err(Failure::from),
        signal = signals.next_to_end() => Err(interrupted(wanted.kind(), signal)),
    };
    match taken {
        Ok(kept) => Ok((session, kept)),
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

fn interrupted(kind: Kind, signal: Signal) -> Failure {
    let message = format!("{} arrived before {} was acquired", signal_name(signal), kind.noun());
    Failure::new(exit::NOT_ACQUIRED, "interrupted", message)
}

fn not_acquired(subject: &str, failure: Failure) -> Failure {
    let message = format!("{subject} was not acquired and nothing was run: {}", failure.message);
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

/// The failure when the lock or leadership was lost while the command ran, or before.
fn lost(subject: &str, reason: &Error, end: End) -> Failure {
    let end = match end {
        End::NeverRan => "nothing was run",
        End::Terminated => "the command was terminated",
        End::Killed => "the command did not end on TERM and was killed",
        End::Unkillable => "the command was killed, and some of its processes have not ended yet",
    };
    let failure =
        Failure::new(exit::LOST, &reason.code, format!("{subject} was lost, {end}: {}", reason.message));
    Failure { details: reason.details.clone(), ..failure }.remedy(CHECK_IT)
}

/// The failure when the command ended, but giving back failed, which would have proved that nothing was lost.
fn unconfirmed(subject: &str, error: Error, end: Result<u8, Failure>) -> Failure {
    let ended = match end {
        Ok(code) => format!("the command ended with exit code {code}"),
        // Nothing ran, so nothing ran unprotected.
        Err(failure) => return failure,
    };
    let message = if error.is_gone() {
        format!("{subject} was lost before the command ended ({ended}): {}", error.message)
    } else {
        format!(
            "it is unknown whether {subject} was held until the command ended ({ended}): {}",
            error.message
        )
    };
    let failure = Failure::from(error);
    Failure { message, ..failure.exit(exit::LOST) }.remedy(CHECK_IT)
}

#[cfg(test)]
mod tests;
