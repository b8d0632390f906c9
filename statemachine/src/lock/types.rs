//! What locks are taken as, by whom, and what became of it.

use crate::session::SessionEnd;
use crate::{LockId, Name, Namespace, SessionId};

/// How a lock is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// One holder.
    Exclusive,
    /// Any number of holders, none of them exclusive.
    Shared,
    /// `permits` of a counted resource. The first request sets the capacity; a request that disagrees while the
    /// lock exists is refused.
    Semaphore {
        /// Permits this acquisition takes, from 1 to `capacity`.
        permits: u32,
        /// Permits there are in all.
        capacity: u32,
    },
}

/// One name of an acquisition and how it is wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockRequest {
    /// The lock.
    pub name: Name,
    /// The mode.
    pub mode: Mode,
}

/// Who asks for, waits for or holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The session it lives and dies with; `None` = a one-shot lock that lives by its own time to live.
    pub session: Option<SessionId>,
    /// A label inside the session (a thread, a job). Two labels of one session are two owners. A one-shot lock's
    /// label is for people only: every one-shot acquisition is an owner of its own.
    pub label: String,
}

impl Mode {
    /// The word the APIs use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exclusive => "exclusive",
            Self::Shared => "shared",
            Self::Semaphore { .. } => "semaphore",
        }
    }
}

/// A call that waits for an acquisition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServingCall {
    /// The node that answers the call.
    pub node_id: u64,
    /// Tells the runs of the node's process apart.
    pub boot_id: u64,
    /// Tells the calls of one run apart.
    pub number: u64,
}

/// A held acquisition, as replies, changes and listings show it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    /// Names this acquisition.
    pub lock_id: LockId,
    /// Where its locks live.
    pub namespace: Namespace,
    /// What it holds.
    pub requests: Box<[LockRequest]>,
    /// Who holds it.
    pub owner: Owner,
    /// The fencing token, the same for every name of the set. Below 2^53.
    pub token: u64,
    /// How often a re-entrant owner took it; 1 otherwise.
    pub count: u64,
    /// Revision of the grant.
    pub granted_revision: u64,
    /// Wall clock at the grant, for people.
    pub granted_wall_ms: u64,
    /// Time to live of a one-shot grant, milliseconds.
    pub ttl_ms: Option<u64>,
    /// Cluster time before which a one-shot grant does not expire.
    pub deadline_ms: Option<u64>,
    /// Lock-delay after an involuntary loss, milliseconds.
    pub lock_delay_ms: u64,
    /// Free text of the owner.
    pub metadata: Box<str>,
}

/// A queued acquisition, as replies, changes and listings show it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wait {
    /// Names this acquisition; the grant will have the same id.
    pub lock_id: LockId,
    /// Where its locks live.
    pub namespace: Namespace,
    /// What it wants.
    pub requests: Vec<LockRequest>,
    /// Who waits.
    pub owner: Owner,
    /// Cluster time before which the wait does not time out.
    pub deadline_ms: u64,
    /// Waiters ahead of it on the lock where most are ahead.
    pub queue_position: u64,
}

/// Why a grant ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReleaseReason {
    /// Its owner gave it back.
    Released,
    /// A one-shot grant's time to live ran out.
    Expired,
    /// Its session ended.
    SessionEnded(SessionEnd),
    /// An operator took it away.
    Forced {
        /// The operator's words.
        reason: String,
    },
}

/// Why a wait ended without a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WaitEnd {
    /// Its time ran out.
    TimedOut,
    /// Its owner withdrew it.
    Cancelled,
    /// Its session ended.
    SessionEnded(SessionEnd),
    /// The node it waited at was lost. Asked for again under its retry key, it is queued again where it was.
    NodeLost,
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
        }
    }
}

/// Bytes that the names of an acquisition take, with what is kept beside each.
fn requests_bytes(requests: &[LockRequest]) -> usize {
    requests.iter().map(|request| REQUEST_BYTES + request.name.as_str().len()).sum()
}

/// Bytes of a request beside its name. A number of its own: what is counted must not depend on the machine.
const REQUEST_BYTES: usize = 32;

impl Grant {
    /// Bytes of the texts it holds.
    pub(crate) fn text_bytes(&self) -> usize {
        requests_bytes(&self.requests) + self.owner.label.len() + self.metadata.len()
    }
}

impl Wait {
    /// Bytes of the texts it holds.
    pub(crate) fn text_bytes(&self) -> usize {
        requests_bytes(&self.requests) + self.owner.label.len()
    }
}

impl ReleaseReason {
    /// Bytes of the operator's words.
    pub(crate) fn text_bytes(&self) -> usize {
        if let Self::Forced { reason } = self { reason.len() } else { 0 }
    }
}
