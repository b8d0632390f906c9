//! Wire types of the session routes, as `proto/batuta/v1/session.proto` names them.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::Consistency;

/// Opens a session.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"ttl_ms": 15000, "metadata": "billing@host-3"}))]
pub(super) struct OpenSessionRequest {
    /// Lower bound of its life without a keep-alive.
    pub(super) ttl_ms: u64,
    /// Free text for people (host, process), shown in listings.
    #[serde(default)]
    pub(super) metadata: String,
}

/// A session.
#[expect(clippy::struct_field_names, reason = "the wire contract names the field")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "session_id": "s-12.0", "namespace": "default", "ttl_ms": 15000, "remaining_ms": 15000,
    "opened_at": "2026-11-23T10:00:00.000Z", "expires_at": "2026-11-23T10:00:15.000Z",
    "metadata": "billing@host-3", "locks_held": 0, "locks_waiting": 0
}))]
pub(super) struct Session {
    /// Names the session.
    pub(super) session_id: String,
    /// Where it lives.
    pub(super) namespace: String,
    /// Lower bound of its life without a keep-alive.
    pub(super) ttl_ms: u64,
    /// At least this long it lives from the answer's revision on.
    pub(super) remaining_ms: u64,
    /// RFC 3339 UTC, for people.
    pub(super) opened_at: String,
    /// RFC 3339 UTC, for people; decides nothing.
    pub(super) expires_at: String,
    /// Free text of its owner.
    pub(super) metadata: String,
    /// Grants it owns.
    pub(super) locks_held: u64,
    /// Acquisitions it has queued.
    pub(super) locks_waiting: u64,
}

/// A session and the revision it is true at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "session_id": "s-12.0", "namespace": "default", "ttl_ms": 15000, "remaining_ms": 15000,
    "opened_at": "2026-11-23T10:00:00.000Z", "expires_at": "2026-11-23T10:00:15.000Z",
    "metadata": "billing@host-3", "locks_held": 0, "locks_waiting": 0, "revision": 12
}))]
pub(super) struct SessionAnswer {
    /// The session.
    #[serde(flatten)]
    pub(super) session: Session,
    /// The answer is true at this revision.
    pub(super) revision: u64,
}

/// A page of sessions, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"sessions": [], "next_cursor": "", "revision": 40}))]
pub(super) struct SessionPage {
    /// The sessions.
    pub(super) sessions: Vec<Session>,
    /// Ask for the next page with it; empty on the last page.
    pub(super) next_cursor: String,
    /// The answer is true at this revision.
    pub(super) revision: u64,
}

/// A renewed session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"session_id": "s-12.0", "ttl_ms": 15000, "revision": 44}))]
pub(super) struct KeepAliveAnswer {
    /// The session.
    pub(super) session_id: String,
    /// It lives at least this long from when the request was sent.
    pub(super) ttl_ms: u64,
    /// The revision of the renewal.
    pub(super) revision: u64,
}

/// What went with a closed session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"released_locks": 2, "cancelled_waits": 0, "revision": 60}))]
pub(super) struct CloseSessionAnswer {
    /// Grants that were released.
    pub(super) released_locks: u64,
    /// Waits that were withdrawn.
    pub(super) cancelled_waits: u64,
    /// The one revision in which all of it happened.
    pub(super) revision: u64,
}

/// Query of a listing of sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListSessionsQuery {
    /// Page size, default 100, at most 1,000.
    pub(super) limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
    /// How current the answer must be.
    #[serde(default)]
    #[param(inline)]
    pub(super) consistency: Consistency,
}

/// Query of a read that has only the consistency to choose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReadQuery {
    /// How current the answer must be.
    #[serde(default)]
    #[param(inline)]
    pub(super) consistency: Consistency,
}

/// No query parameters: any is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoQuery {}
