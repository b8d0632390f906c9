//! The commands of sessions.

use crate::job_macros::job_commands;
use crate::session::{KeptAlive, SessionClosed, SessionOpened};
use crate::{Namespace, SessionId};

/// Opens a session. Reply: [`SessionOpened`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSession {
    /// Where the session lives; what it owns lives there too.
    pub namespace: Namespace,
    /// Lower bound of how long it lives without a keep-alive, milliseconds.
    pub ttl_ms: u64,
    /// Free text for people (host, process), shown in listings.
    pub metadata: String,
}

/// Renews sessions: one entry carries many sessions that called one after the other.
/// Reply: [`KeptAlive`], one result per session, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// The sessions that called.
    pub sessions: Vec<SessionId>,
}

/// Ends a session and everything it owns, in this entry. Reply: [`SessionClosed`]; refused with
/// `session_not_found`, `namespace_mismatch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseSession {
    /// Where the session lives.
    pub namespace: Namespace,
    /// The session.
    pub session: SessionId,
    /// Whether its locks stay closed for their lock-delay, as when the session had expired: whoever closes the session of a process
    /// that may still be working asks for it.
    pub lock_delay: bool,
}

job_commands! {
    Session {
        /// Opens a session.
        OpenSession => SessionOpened,
        /// Renews sessions.
        KeepAlive => KeptAlive,
        /// Ends a session.
        CloseSession => SessionClosed,
    }
}
