//! What the commands of sessions answer, refuse and change.

use crate::job_macros::{job_replies, job_usage};
use crate::{Code, Namespace, SessionId};

/// A session is open.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionOpened {
    /// Names it.
    pub session: SessionId,
    /// Its time to live, milliseconds.
    pub ttl_ms: u64,
    /// Cluster time before which it does not expire.
    pub deadline_ms: u64,
    /// Wall clock of the entry, for people.
    pub opened_wall_ms: u64,
}

/// Keep-alives were taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeptAlive {
    /// Per session, in order: its new deadline in cluster time, `None` when it does not exist (any more).
    pub deadlines_ms: Vec<Option<u64>>,
}

/// A session is closed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionClosed {
    /// How many grants went with it.
    pub released_grants: u64,
    /// How many waits went with it.
    pub cancelled_waits: u64,
}

job_replies! {
    Session {
        /// A session is open.
        SessionOpened,
        /// Keep-alives were taken.
        KeptAlive,
        /// A session is closed.
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

/// Why a command of sessions is refused, or one that names a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
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
}

impl Refusal {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::SessionNotFound { .. } => Code::SessionNotFound,
            Self::NamespaceMismatch { .. } => Code::NamespaceMismatch,
        }
    }

    /// Bytes of the texts it holds.
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
        /// Its time to live.
        ttl_ms: u64,
        /// Its free text.
        metadata: String,
    },
    /// A session ended; the ends of what it owned precede this in the same revision.
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
