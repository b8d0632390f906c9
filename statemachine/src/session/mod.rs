//! Sessions: one heartbeat keeps everything a client owns alive.

mod close;
mod keep_alive;
mod open;
mod record;

pub use record::SessionView;

pub(crate) use close::end_session;
pub(crate) use record::SessionRecord;

use crate::{Namespace, SessionId};

/// Opens a session. Reply: [`crate::Reply::SessionOpened`].
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
/// Reply: [`crate::Reply::KeptAlive`], one result per session, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// The sessions that called.
    pub sessions: Vec<SessionId>,
}

/// Ends a session and everything it owns, in this entry. Reply: [`crate::Reply::SessionClosed`]; refused with
/// `session_not_found`, `namespace_mismatch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseSession {
    /// Where the session lives.
    pub namespace: Namespace,
    /// The session.
    pub session: SessionId,
}
