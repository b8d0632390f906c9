//! The replies, refusals and changes of sessions.

use crate::job_macros::{job_replies, job_usage};
use crate::{Code, Namespace, PrincipalId, SessionId};

/// A session was opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionOpened {
    /// The id of the session.
    pub session: SessionId,
    /// The TTL, in milliseconds.
    pub ttl_ms: u64,
    /// The cluster time before which it does not expire, in milliseconds.
    pub deadline_ms: u64,
    /// The wall clock of the entry, in milliseconds since the Unix epoch, for people.
    pub opened_wall_ms: u64,
    /// The principal that owns it.
    pub principal: PrincipalId,
}

/// Sessions were renewed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeptAlive {
    /// The new deadline of each session, in order, in milliseconds of cluster time; `None` when the session does not exist (any more).
    pub deadlines_ms: Vec<Option<u64>>,
}

/// A session was closed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionClosed {
    /// The number of grants that were released.
    pub released_grants: u64,
    /// The number of waits that were cancelled.
    pub cancelled_waits: u64,
}

job_replies! {
    Session {
        /// A session was opened.
        SessionOpened,
        /// Sessions were renewed.
        KeptAlive,
        /// A session was closed.
        SessionClosed,
    }
}

impl Reply {
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::SessionOpened(_) | Self::SessionClosed(_) => 0,
            Self::KeptAlive(KeptAlive { deadlines_ms }) => 16 * deadlines_ms.len(),
        }
    }
}

job_usage! {
    /// Open sessions.
    sessions,
}

/// Why a command is refused that names a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The session does not exist: it was never opened, was closed, or expired.
    #[error("session {session} does not exist: it was closed, expired, or never opened here; open a new one")]
    SessionNotFound {
        /// The given id.
        session: SessionId,
    },
    /// The session is in another namespace.
    #[error("session {session} lives in namespace {namespace}; nothing spans two namespaces")]
    NamespaceMismatch {
        /// The session.
        session: SessionId,
        /// The namespace of the session.
        namespace: Namespace,
    },
}

impl Refusal {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::SessionNotFound { .. } => Code::SessionNotFound,
            Self::NamespaceMismatch { .. } => Code::NamespaceMismatch,
        }
    }

    /// The bytes of its texts.
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::SessionNotFound { .. } => 0,
            Self::NamespaceMismatch { namespace, .. } => namespace.as_str().len(),
        }
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionEnd {
    /// Its owner closed it.
    Closed,
    /// No keep-alive came in time.
    Expired,
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

/// The changes of sessions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// A session was opened.
    SessionOpened {
        /// The session that was opened.
        session: SessionId,
        /// The TTL, in milliseconds.
        ttl_ms: u64,
        /// The free text of the session.
        metadata: String,
    },
    /// A session ended. The ends of the objects that it owned precede this change in the same revision.
    SessionEnded {
        /// The session that ended.
        session: SessionId,
        /// Why it ended.
        reason: SessionEnd,
    },
}

impl Change {
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::SessionOpened { metadata, .. } => metadata.len(),
            Self::SessionEnded { .. } => 0,
        }
    }
}
