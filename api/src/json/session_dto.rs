//! Wire types of the session routes, as `proto/batuta/v1/session.proto` names them.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Consistency;
use crate::service::session;

/// Opens a session.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"ttl_ms": 15000, "metadata": "billing@host-3"}))]
pub(crate) struct OpenSessionRequest {
    /// Lower bound of its life without a keep-alive.
    pub(crate) ttl_ms: u64,
    /// Free text for people (host, process), shown in listings.
    #[serde(default)]
    pub(crate) metadata: String,
}

/// A session.
#[expect(clippy::struct_field_names, reason = "the wire contract names the field")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "session_id": "s-12.0", "namespace": "default", "ttl_ms": 15000, "remaining_ms": 15000,
    "opened_at": "2026-11-23T10:00:00.000Z", "expires_at": "2026-11-23T10:00:15.000Z",
    "metadata": "billing@host-3", "locks_held": 0, "locks_waiting": 0
}))]
pub(crate) struct Session {
    /// Names the session.
    pub(crate) session_id: String,
    /// Where it lives.
    pub(crate) namespace: String,
    /// Lower bound of its life without a keep-alive.
    pub(crate) ttl_ms: u64,
    /// At least this long it lives from the answer's revision on.
    pub(crate) remaining_ms: u64,
    /// RFC 3339 UTC, for people.
    pub(crate) opened_at: String,
    /// RFC 3339 UTC, for people; decides nothing.
    pub(crate) expires_at: String,
    /// Free text of its owner.
    pub(crate) metadata: String,
    /// Grants it owns.
    pub(crate) locks_held: u64,
    /// Acquisitions it has queued.
    pub(crate) locks_waiting: u64,
}

/// A session and the revision it is true at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "session_id": "s-12.0", "namespace": "default", "ttl_ms": 15000, "remaining_ms": 15000,
    "opened_at": "2026-11-23T10:00:00.000Z", "expires_at": "2026-11-23T10:00:15.000Z",
    "metadata": "billing@host-3", "locks_held": 0, "locks_waiting": 0, "revision": 12
}))]
pub(crate) struct SessionAnswer {
    /// The session.
    #[serde(flatten)]
    pub(crate) session: Session,
    /// The answer is true at this revision.
    pub(crate) revision: u64,
}

/// A page of sessions, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"sessions": [], "next_cursor": "", "revision": 40}))]
pub(crate) struct SessionPage {
    /// The sessions.
    pub(crate) sessions: Vec<Session>,
    /// Ask for the next page with it; empty on the last page.
    pub(crate) next_cursor: String,
    /// The answer is true at this revision.
    pub(crate) revision: u64,
}

/// A renewed session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"session_id": "s-12.0", "ttl_ms": 15000, "revision": 44}))]
pub(crate) struct KeepAliveAnswer {
    /// The session.
    pub(crate) session_id: String,
    /// It lives at least this long from when the request was sent.
    pub(crate) ttl_ms: u64,
    /// The revision of the renewal.
    pub(crate) revision: u64,
}

/// What went with a closed session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"released_locks": 2, "cancelled_waits": 0, "revision": 60}))]
pub(crate) struct CloseSessionAnswer {
    /// Grants that were released.
    pub(crate) released_locks: u64,
    /// Waits that were withdrawn.
    pub(crate) cancelled_waits: u64,
    /// The one revision in which all of it happened.
    pub(crate) revision: u64,
}

/// Query of a listing of sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListSessionsQuery {
    /// Page size, default 100, at most 1,000.
    pub(crate) limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
    /// How current the answer must be.
    #[serde(default)]
    #[param(inline)]
    pub(crate) consistency: Consistency,
}

/// Query of a read that has only the consistency to choose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReadQuery {
    /// How current the answer must be.
    #[serde(default)]
    #[param(inline)]
    pub(crate) consistency: Consistency,
}

/// No query parameters: any is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoQuery {}

impl From<session::Session> for Session {
    fn from(session: session::Session) -> Self {
        Self {
            session_id: session.session_id.to_string(),
            namespace: session.namespace.to_string(),
            ttl_ms: session.ttl_ms,
            remaining_ms: session.remaining_ms,
            opened_at: session.opened_at,
            expires_at: session.expires_at,
            metadata: session.metadata,
            locks_held: session.locks_held,
            locks_waiting: session.locks_waiting,
        }
    }
}
