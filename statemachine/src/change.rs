//! What an entry changed, in order: the source of every watch.

use std::sync::Arc;

use crate::lock::{Grant, LockRequest, Wait};
use crate::{Namespace, SessionId};

/// One change of the state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    /// Log index of the entry.
    pub revision: u64,
    /// Ordinal of the change inside the entry, from 0.
    pub ordinal: u32,
    /// Where it happened; `None` for changes of the cluster itself.
    pub namespace: Option<Namespace>,
    /// What happened.
    pub kind: ChangeKind,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionEnd {
    /// Its owner closed it.
    Closed,
    /// No keep-alive came in time.
    Expired,
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

impl SessionEnd {
    /// The word that events and errors use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Expired => "expired",
        }
    }
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

/// The kinds of change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// A session was opened.
    SessionOpened {
        /// Which.
        session: SessionId,
        /// Its time to live.
        ttl_ms: u64,
        /// Its free text.
        metadata: String,
    },
    /// A session ended; the ends of what it owned precede this in the same revision.
    SessionEnded {
        /// Which.
        session: SessionId,
        /// Why.
        reason: SessionEnd,
    },
    /// An acquisition was queued.
    LockQueued(Wait),
    /// An acquisition was granted, or a re-entrant count rose.
    LockGranted(Arc<Grant>),
    /// A one-shot grant was extended.
    LockExtended(Arc<Grant>),
    /// A grant ended, or a re-entrant count fell (then `grant.count` is what is left).
    LockReleased {
        /// The grant as it was, with the count that is left.
        grant: Arc<Grant>,
        /// Why.
        reason: ReleaseReason,
    },
    /// A wait ended without a grant.
    WaitEnded {
        /// The wait as it was; its place in the queue is gone, so it says 0.
        wait: Wait,
        /// Why.
        reason: WaitEnd,
    },
    /// A register rose or was deleted (`high_water` is `None`).
    RegisterChanged {
        /// Which.
        name: crate::Name,
        /// Its value now.
        high_water: Option<u64>,
    },
    /// The limits in force changed.
    LimitsChanged,
    /// A node id was given out.
    NodeAllocated {
        /// The id.
        node_id: u64,
        /// Who asked.
        node_name: String,
    },
    /// The cluster got its identity.
    ClusterInitialised,
}

/// Bytes of a change that holds no text.
const BYTES_MIN: usize = 256;

impl Change {
    /// About how much memory it takes, bytes: what a bounded history counts.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        let requests = |requests: &[LockRequest]| -> usize {
            requests.iter().map(|request| size_of::<LockRequest>() + request.name.as_str().len()).sum()
        };
        let grant =
            |grant: &Grant| requests(&grant.requests) + grant.owner.label.len() + grant.metadata.len();
        let text = match &self.kind {
            ChangeKind::SessionOpened { metadata, .. } => metadata.len(),
            ChangeKind::LockQueued(wait) | ChangeKind::WaitEnded { wait, .. } => {
                requests(&wait.requests) + wait.owner.label.len()
            }
            ChangeKind::LockGranted(held) | ChangeKind::LockExtended(held) => grant(held),
            ChangeKind::LockReleased { grant: held, reason } => {
                let words = if let ReleaseReason::Forced { reason } = reason { reason.len() } else { 0 };
                grant(held) + words
            }
            ChangeKind::RegisterChanged { name, .. } => name.as_str().len(),
            ChangeKind::NodeAllocated { node_name, .. } => node_name.len(),
            ChangeKind::SessionEnded { .. } | ChangeKind::LimitsChanged | ChangeKind::ClusterInitialised => 0,
        };
        BYTES_MIN + text
    }
}
