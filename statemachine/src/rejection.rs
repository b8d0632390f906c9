//! Why a command is refused. A refusal changes nothing but the memory of having answered.

use std::borrow::Cow;

use crate::{Code, LockId, Name, Namespace, ReleaseReason, SessionEnd, SessionId, WaitEnd};

/// Why a command is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Rejection {
    /// A field breaks a rule.
    #[error("{field}: {problem}")]
    InvalidArgument {
        /// The field as the APIs spell it.
        field: Cow<'static, str>,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// A bound of [`crate::Limits`] is reached.
    #[error("limit {limit} reached: {max}; {remedy}")]
    LimitExceeded {
        /// Field name of [`crate::Limits`].
        limit: Cow<'static, str>,
        /// Its value.
        max: u64,
        /// What to do.
        remedy: Cow<'static, str>,
    },
    /// No such session: never opened, closed or expired.
    #[error("session {session} does not exist: it was closed, expired, or never opened here; open a new one")]
    SessionNotFound {
        /// The id given.
        session: SessionId,
    },
    /// The session lives in another namespace.
    #[error("session {session} lives in namespace {namespace}; nothing spans two namespaces")]
    NamespaceMismatch {
        /// The session.
        session: SessionId,
        /// Where it lives.
        namespace: Namespace,
    },
    /// Someone else holds it, or waits ahead, and the request does not wait.
    #[error("lock {name} is held; set wait_ms to queue for it")]
    LockHeld {
        /// The first name that is not free.
        name: Name,
        /// Tokens of its holders, oldest first, at most 16.
        holder_tokens: Vec<u64>,
        /// Waiters queued on it.
        waiters: u64,
    },
    /// The lock is closed after an involuntary loss.
    #[error("lock {name} was lost by its holder and stays closed for {remaining_ms} ms (lock-delay)")]
    LockDelayed {
        /// The lock.
        name: Name,
        /// How long it stays closed.
        remaining_ms: u64,
    },
    /// The grant does not exist (any more) under that id and name.
    #[error("{lock_id} does not hold the lock: it was released, expired, or never granted")]
    LockNotHeld {
        /// The id given.
        lock_id: LockId,
    },
    /// The acquisition lives in another namespace than the request.
    #[error("acquisition {lock_id} lives in another namespace than the call; nothing spans two namespaces")]
    ForeignLock {
        /// The acquisition.
        lock_id: LockId,
    },
    /// The wait that was to be withdrawn was granted.
    #[error(
        "acquisition {lock_id} waits no more: it holds its lock, under token {token}; release it instead"
    )]
    AlreadyGranted {
        /// The acquisition.
        lock_id: LockId,
        /// Its fencing token.
        token: u64,
    },
    /// A grant that was asked for earlier under the same key has ended since.
    #[error("acquisition {lock_id} was granted and has ended since ({}); ask again under a new key", .reason.as_str())]
    GrantEnded {
        /// The acquisition.
        lock_id: LockId,
        /// How it ended.
        reason: ReleaseReason,
    },
    /// The wait ended without a grant.
    #[error("acquisition {lock_id} ended without a grant ({})", .reason.as_str())]
    WaitEnded {
        /// The acquisition.
        lock_id: LockId,
        /// How it ended.
        reason: WaitEnd,
    },
    /// Waiting would close a cycle.
    #[error("waiting would deadlock: {}", .cycle.join(" -> "))]
    Deadlock {
        /// The cycle, from the asking owner back to itself, as `owner waits for name` steps for people. A cycle of more than
        /// 32 steps is without its middle.
        cycle: Vec<String>,
    },
    /// The lock exists as another kind (semaphore against exclusive or shared).
    #[error("lock {name} is in use as {actual}; a lock has one kind while it is held or waited for")]
    ModeMismatch {
        /// The lock.
        name: Name,
        /// `semaphore` or `exclusive/shared`.
        actual: Cow<'static, str>,
    },
    /// The semaphore exists with another capacity.
    #[error("semaphore {name} has capacity {actual}; ask with that capacity, or wait until it is free")]
    CapacityMismatch {
        /// The lock.
        name: Name,
        /// Its capacity.
        actual: u32,
    },
    /// A session keeps this grant alive; it has no time to live of its own.
    #[error("{lock_id} lives with session {session}; keep the session alive instead of extending the lock")]
    OwnedBySession {
        /// The grant.
        lock_id: LockId,
        /// Its session.
        session: SessionId,
    },
    /// The token is not (or no longer) the newest.
    #[error("{}", superseded_text(*token, *newest))]
    TokenSuperseded {
        /// The token given.
        token: u64,
        /// The newest known for that name (0 when the lock is free).
        newest: u64,
    },
    /// No such register.
    #[error("register {name} does not exist")]
    RegisterNotFound {
        /// Its name.
        name: Name,
    },
    /// The key was used for another request.
    #[error(
        "the idempotency key (or session sequence) was used before for a different request; use a new one"
    )]
    KeyReused,
    /// The sequence fell out of the session's window; the outcome is no longer known.
    #[error("sequence {sequence} is older than the session's window (oldest remembered: {oldest})")]
    SequenceTooOld {
        /// The sequence given.
        sequence: u64,
        /// The oldest that is remembered.
        oldest: u64,
    },
    /// The cluster has its identity already.
    #[error("the cluster is already initialised as {cluster_id}")]
    AlreadyInitialised {
        /// Its id.
        cluster_id: String,
    },
}

fn superseded_text(token: u64, newest: u64) -> String {
    match newest {
        0 => format!("token {token} does not hold the lock: the lock is free"),
        newest if newest > token => format!("token {token} is superseded; the newest is {newest}"),
        newest => format!("token {token} does not hold the lock; the newest token that does is {newest}"),
    }
}

impl Rejection {
    /// The stable code of `docs/errors.md`.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::InvalidArgument { .. } => Code::InvalidArgument,
            Self::LimitExceeded { .. } => Code::LimitExceeded,
            Self::SessionNotFound { .. } => Code::SessionNotFound,
            Self::NamespaceMismatch { .. } | Self::ForeignLock { .. } => Code::NamespaceMismatch,
            Self::LockHeld { .. } => Code::LockHeld,
            Self::LockDelayed { .. } => Code::LockDelayed,
            Self::LockNotHeld { .. } => Code::LockNotHeld,
            Self::AlreadyGranted { .. } => Code::AlreadyGranted,
            Self::GrantEnded { .. } => Code::GrantEnded,
            Self::WaitEnded { reason: WaitEnd::TimedOut, .. } => Code::WaitTimeout,
            Self::WaitEnded { reason: WaitEnd::Cancelled, .. } => Code::WaitCancelled,
            Self::WaitEnded { reason: WaitEnd::SessionEnded(SessionEnd::Closed), .. } => Code::SessionClosed,
            Self::WaitEnded { reason: WaitEnd::SessionEnded(SessionEnd::Expired), .. } => {
                Code::SessionExpired
            }
            Self::WaitEnded { reason: WaitEnd::NodeLost, .. } => Code::NodeLost,
            Self::Deadlock { .. } => Code::Deadlock,
            Self::ModeMismatch { .. } => Code::ModeMismatch,
            Self::CapacityMismatch { .. } => Code::CapacityMismatch,
            Self::OwnedBySession { .. } => Code::OwnedBySession,
            Self::TokenSuperseded { .. } => Code::TokenSuperseded,
            Self::RegisterNotFound { .. } => Code::RegisterNotFound,
            Self::KeyReused => Code::KeyReused,
            Self::SequenceTooOld { .. } => Code::SequenceTooOld,
            Self::AlreadyInitialised { .. } => Code::AlreadyInitialised,
        }
    }

    /// Whether the same request, sent again later, may succeed: see [`Code::retryable`].
    #[must_use]
    pub fn retryable(&self) -> bool {
        self.code().retryable()
    }
}
