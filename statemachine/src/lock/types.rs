//! The types of locks: modes, owners, grants, waits, and their ends.

use crate::session::SessionEnd;
use crate::{LockId, Name, Namespace, PrincipalId, SessionId};

/// The mode in which a lock is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// One holder.
    Exclusive,
    /// Any number of shared holders.
    Shared,
    /// `permits` of a counted resource. The first request sets the capacity; while the lock exists, a request with another
    /// capacity is refused.
    Semaphore {
        /// The permits that this acquisition takes, from 1 to `capacity`.
        permits: u32,
        /// The total number of permits.
        capacity: u32,
    },
    /// The leadership of an election: one holder, as in [`Mode::Exclusive`]. An acquisition of it names nothing else.
    Election,
}

/// One lock of an acquisition, with its mode.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockRequest {
    /// The lock.
    pub name: Name,
    /// The mode.
    pub mode: Mode,
}

/// The owner that a command names: its caller, or a part of it. Who the caller is comes from the request ([`crate::Request::actor`]) and is
/// never said here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The session that keeps the lock alive; `None` for a one-shot lock, which has its own TTL.
    pub session: Option<SessionId>,
    /// A label within the session (a thread, for example). Two labels of one session are two owners. The label of a one-shot
    /// lock is only for people: every one-shot acquisition is its own owner.
    pub label: String,
}

/// The owner of a wait or grant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerRecord {
    /// The principal that asked for it; that of the session, if it has one.
    pub principal: PrincipalId,
    /// The session that keeps it alive; `None` for a one-shot lock.
    pub session: Option<SessionId>,
    /// The label within the session.
    pub label: Box<str>,
}

impl OwnerRecord {
    /// Whether a command of the same principal names this owner. A session has one principal, so the session tells whose it is.
    pub(crate) fn is(&self, named: &Owner) -> bool {
        self.session == named.session && *self.label == *named.label
    }
}

impl Mode {
    /// The word the APIs use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exclusive => "exclusive",
            Self::Shared => "shared",
            Self::Semaphore { .. } => "semaphore",
            Self::Election => "election",
        }
    }

    /// Whether a holder in this mode holds the lock alone.
    #[must_use]
    pub fn excludes(self) -> bool {
        matches!(self, Self::Exclusive | Self::Election)
    }
}

/// The election among these locks: its leadership is always asked for alone.
fn election_of(requests: &[LockRequest]) -> Option<&Name> {
    match requests {
        [LockRequest { name, mode: Mode::Election }] => Some(name),
        _ => None,
    }
}

/// A call that waits for an acquisition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServingCall {
    /// The node that answers the call.
    pub node_id: u64,
    /// The boot id of the node's process.
    pub boot_id: u64,
    /// The number of the call in that process.
    pub number: u64,
}

/// A held acquisition, as replies, changes and listings show it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    /// The id of the acquisition.
    pub lock_id: LockId,
    /// The namespace of its locks.
    pub namespace: Namespace,
    /// The held locks.
    pub requests: Box<[LockRequest]>,
    /// The owner.
    pub owner: OwnerRecord,
    /// The fencing token, which is the same for all locks of the grant. Below 2^53.
    pub token: u64,
    /// How often the owner has taken it; more than 1 only after re-entry.
    pub count: u64,
    /// The revision of the grant.
    pub granted_revision: u64,
    /// The wall clock at the grant, in milliseconds since the Unix epoch, for people.
    pub granted_wall_ms: u64,
    /// The TTL of a one-shot grant, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// The cluster time before which a one-shot grant does not expire, in milliseconds.
    pub deadline_ms: Option<u64>,
    /// How long the locks stay closed to others after an involuntary loss, in milliseconds.
    pub lock_delay_ms: u64,
    /// Free text of the owner.
    pub metadata: Box<str>,
}

/// A queued acquisition, as replies, changes and listings show it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wait {
    /// The id of the acquisition; the grant will have the same id.
    pub lock_id: LockId,
    /// The namespace of its locks.
    pub namespace: Namespace,
    /// The requested locks.
    pub requests: Vec<LockRequest>,
    /// The owner.
    pub owner: OwnerRecord,
    /// The cluster time before which the wait does not time out, in milliseconds.
    pub deadline_ms: u64,
    /// The number of waiters ahead of it, on the lock with the most.
    pub queue_position: u64,
}

/// Why a grant ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReleaseReason {
    /// The owner released it.
    Released,
    /// The TTL of a one-shot grant ran out.
    Expired,
    /// Its session ended.
    SessionEnded(SessionEnd),
    /// An operator took it away.
    Forced {
        /// The operator's reason.
        reason: String,
    },
}

/// Why a wait ended without a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WaitEnd {
    /// The longest wait was reached.
    TimedOut,
    /// The owner withdrew it.
    Cancelled,
    /// Its session ended.
    SessionEnded(SessionEnd),
    /// The node at which it waited was lost. A retry under its key queues it again at its old place.
    NodeLost,
    /// Its turn came, or its principal ended, and the caller no longer had the right to hold it.
    Denied,
}

impl ReleaseReason {
    /// The word that events and errors use.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Expired => "expired",
            Self::SessionEnded(SessionEnd::Closed) => "session_closed",
            Self::SessionEnded(SessionEnd::Expired) => "session_expired",
            Self::Forced { .. } => "forced",
        }
    }
}

impl WaitEnd {
    /// The word that events and errors use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::SessionEnded(SessionEnd::Closed) => "session_closed",
            Self::SessionEnded(SessionEnd::Expired) => "session_expired",
            Self::NodeLost => "node_lost",
            Self::Denied => "permission_denied",
        }
    }
}

/// The bytes of the locks of an acquisition, with their names.
fn requests_bytes(requests: &[LockRequest]) -> usize {
    requests.iter().map(|request| REQUEST_BYTES + request.name.as_str().len()).sum()
}

/// The bytes of a request besides its name. A fixed number, because the count must not depend on the machine.
const REQUEST_BYTES: usize = 32;

impl Grant {
    /// The election that the grant leads; `None` for a grant of locks.
    #[must_use]
    pub fn election(&self) -> Option<&Name> {
        election_of(&self.requests)
    }

    /// Bytes of the texts it holds.
    pub(crate) fn text_bytes(&self) -> usize {
        requests_bytes(&self.requests) + self.owner.label.len() + self.metadata.len()
    }
}

impl Wait {
    /// The election in which the wait is a candidacy; `None` for a wait for locks.
    #[must_use]
    pub fn election(&self) -> Option<&Name> {
        election_of(&self.requests)
    }

    /// Bytes of the texts it holds.
    pub(crate) fn text_bytes(&self) -> usize {
        requests_bytes(&self.requests) + self.owner.label.len()
    }
}

impl ReleaseReason {
    /// The bytes of the operator's reason.
    pub(crate) fn text_bytes(&self) -> usize {
        if let Self::Forced { reason } = self { reason.len() } else { 0 }
    }
}
