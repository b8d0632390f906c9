//! Why commands of locks are refused.

use std::borrow::Cow;

use crate::lock::{ReleaseReason, WaitEnd};
use crate::session::SessionEnd;
use crate::{Code, LockId, Name, SessionId};

/// Why a command of locks is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Someone else holds the lock, or waits ahead, and the request does not wait.
    #[error("{name} is held; set wait_ms to queue for it")]
    LockHeld {
        /// The first name that is not free.
        name: Name,
        /// Tokens of its holders, oldest first, at most 16.
        holder_tokens: Vec<u64>,
        /// The number of waiters queued on it.
        waiters: u64,
    },
    /// The lock is closed after an involuntary loss.
    #[error("{name} was lost by its holder and stays closed for {remaining_ms} ms (lock-delay)")]
    LockDelayed {
        /// The lock.
        name: Name,
        /// How long it stays closed, in milliseconds.
        remaining_ms: u64,
    },
    /// The grant does not exist (any more) under that id and name.
    #[error("{lock_id} does not hold the lock: it was released, expired, or never granted")]
    LockNotHeld {
        /// The given id.
        lock_id: LockId,
    },
    /// The acquisition is in another namespace than the request.
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
        /// The fencing token of the grant.
        token: u64,
    },
    /// The grant that was requested earlier under the same key has since ended.
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
        /// The cycle, from the requesting owner back to itself, as `owner waits for name` steps for people. A cycle of more than
        /// 32 steps lacks its middle.
        cycle: Vec<String>,
    },
    /// The lock exists as another kind (a semaphore, an election, or exclusive and shared).
    #[error("{name} is in use as {actual}; a name has one kind while it is held or waited for")]
    ModeMismatch {
        /// The lock.
        name: Name,
        /// `semaphore`, `election` or `exclusive/shared`.
        actual: Cow<'static, str>,
    },
    /// The semaphore exists with another capacity.
    #[error("semaphore {name} has capacity {actual}; ask with that capacity, or wait until it is free")]
    CapacityMismatch {
        /// The lock.
        name: Name,
        /// The capacity of the semaphore.
        actual: u32,
    },
    /// A session keeps this grant alive; it has no TTL of its own.
    #[error("{lock_id} lives with session {session}; keep the session alive instead of extending the lock")]
    OwnedBySession {
        /// The grant.
        lock_id: LockId,
        /// The session of the grant.
        session: SessionId,
    },
    /// The session that names itself does not own the grant.
    #[error(
        "{lock_id} does not belong to session {session}; only its own session, or a call without session_id, may change it"
    )]
    NotOwner {
        /// The grant.
        lock_id: LockId,
        /// The session that was named.
        session: SessionId,
    },
    /// Nobody holds the lock or waits for it.
    #[error("lock {name} is free: nobody holds it or waits for it")]
    NotInUse {
        /// The lock.
        name: Name,
    },
    /// The token is not (or no longer) the newest.
    #[error("{}", superseded_text(*token, *newest))]
    TokenSuperseded {
        /// The given token.
        token: u64,
        /// The newest known for that name (0 when the lock is free).
        newest: u64,
    },
}

fn superseded_text(token: u64, newest: u64) -> String {
    match newest {
        0 => format!("token {token} does not hold the lock: the lock is free"),
        newest if newest == token => format!("token {token} is that of another caller"),
        newest if newest > token => format!("token {token} is superseded; the newest is {newest}"),
        newest => format!("token {token} does not hold the lock; the newest token that does is {newest}"),
    }
}

impl Refusal {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::LockHeld { .. } => Code::LockHeld,
            Self::LockDelayed { .. } => Code::LockDelayed,
            Self::LockNotHeld { .. } => Code::LockNotHeld,
            Self::ForeignLock { .. } => Code::NamespaceMismatch,
            Self::AlreadyGranted { .. } => Code::AlreadyGranted,
            Self::GrantEnded { .. } => Code::GrantEnded,
            Self::WaitEnded { reason: WaitEnd::TimedOut, .. } => Code::WaitTimeout,
            Self::WaitEnded { reason: WaitEnd::Cancelled, .. } => Code::WaitCancelled,
            Self::WaitEnded { reason: WaitEnd::SessionEnded(SessionEnd::Closed), .. } => Code::SessionClosed,
            Self::WaitEnded { reason: WaitEnd::SessionEnded(SessionEnd::Expired), .. } => {
                Code::SessionExpired
            }
            Self::WaitEnded { reason: WaitEnd::NodeLost, .. } => Code::NodeLost,
            Self::WaitEnded { reason: WaitEnd::Denied, .. } => Code::PermissionDenied,
            Self::Deadlock { .. } => Code::Deadlock,
            Self::ModeMismatch { .. } => Code::ModeMismatch,
            Self::CapacityMismatch { .. } => Code::CapacityMismatch,
            Self::OwnedBySession { .. } => Code::OwnedBySession,
            Self::NotOwner { .. } => Code::NotOwner,
            Self::NotInUse { .. } => Code::LockNotFound,
            Self::TokenSuperseded { .. } => Code::TokenSuperseded,
        }
    }

    /// The bytes of its texts.
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::LockHeld { name, holder_tokens, .. } => name.as_str().len() + 8 * holder_tokens.len(),
            Self::LockDelayed { name, .. }
            | Self::ModeMismatch { name, .. }
            | Self::CapacityMismatch { name, .. }
            | Self::NotInUse { name } => name.as_str().len(),
            Self::GrantEnded { reason, .. } => reason.text_bytes(),
            Self::Deadlock { cycle } => cycle.iter().map(String::len).sum(),
            Self::LockNotHeld { .. }
            | Self::ForeignLock { .. }
            | Self::AlreadyGranted { .. }
            | Self::WaitEnded { .. }
            | Self::OwnedBySession { .. }
            | Self::NotOwner { .. }
            | Self::TokenSuperseded { .. } => 0,
        }
    }
}
