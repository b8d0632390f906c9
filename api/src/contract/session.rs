//! The public objects of sessions.

use async_graphql::{InputObject, SimpleObject};
use batuta_statemachine::SessionId;
use batuta_statemachine::session::SessionView;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Long;
use crate::service::session::{Closed, KeptAlive};
use crate::service::{At, Clock, Consistency, Page, parse, rfc3339};

/// Opens a session.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema, InputObject)]
#[serde(deny_unknown_fields)]
#[graphql(name = "OpenSessionInput")]
#[schema(example = json!({"ttl_ms": 15000, "metadata": "billing@host-3"}))]
pub(crate) struct OpenSessionRequest {
    /// The session lives at least this long without a keep-alive, in milliseconds.
    pub(crate) ttl_ms: Long,
    /// Free text for people (host, process), shown in listings.
    #[serde(default)]
    #[graphql(default)]
    pub(crate) metadata: String,
}

/// Renews a session.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema, InputObject)]
#[serde(deny_unknown_fields)]
#[graphql(name = "KeepAliveInput")]
pub(crate) struct KeepAliveRequest {
    /// The session.
    pub(crate) session_id: String,
}

/// Ends a session.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema, InputObject)]
#[serde(deny_unknown_fields)]
#[graphql(name = "CloseSessionInput")]
pub(crate) struct CloseSessionRequest {
    /// The session.
    pub(crate) session_id: String,
    /// Whether the locks of the session stay closed for their lock-delay, as when it had expired. For whoever closes the session of a
    /// process that may still be working.
    #[serde(default)]
    #[graphql(default)]
    pub(crate) lock_delay: bool,
}

/// Query of a closing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CloseSessionQuery {
    /// Whether the locks of the session stay closed for their lock-delay, as when it had expired. For whoever closes the session of a
    /// process that may still be working.
    #[serde(default)]
    pub(crate) lock_delay: bool,
}

/// A session.
#[expect(clippy::struct_field_names, reason = "the contract names the field")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "session_id": "s-12.0", "namespace": "default", "ttl_ms": 15000, "remaining_ms": 15000,
    "opened_at": "2026-11-23T10:00:00.000Z", "expires_at": "2026-11-23T10:00:15.000Z",
    "metadata": "billing@host-3", "locks_held": 0, "locks_waiting": 0
}))]
pub(crate) struct Session {
    /// The id of the session.
    pub(crate) session_id: String,
    /// The namespace of the session.
    pub(crate) namespace: String,
    /// The session lives at least this long without a keep-alive, in milliseconds.
    pub(crate) ttl_ms: Long,
    /// The session lives at least this long from the revision of the answer on, in milliseconds.
    pub(crate) remaining_ms: Long,
    /// When the session was opened. RFC 3339 UTC, for people.
    pub(crate) opened_at: String,
    /// When the session expires unless it is renewed. RFC 3339 UTC, for people; it decides nothing.
    pub(crate) expires_at: String,
    /// Free text of the owner.
    pub(crate) metadata: String,
    /// The number of grants that the session owns.
    pub(crate) locks_held: Long,
    /// The number of acquisitions that the session has queued.
    pub(crate) locks_waiting: Long,
}

/// A session, and the revision at which it is true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "session_id": "s-12.0", "namespace": "default", "ttl_ms": 15000, "remaining_ms": 15000,
    "opened_at": "2026-11-23T10:00:00.000Z", "expires_at": "2026-11-23T10:00:15.000Z",
    "metadata": "billing@host-3", "locks_held": 0, "locks_waiting": 0, "revision": 12
}))]
pub(crate) struct SessionAnswer {
    /// The session.
    #[serde(flatten)]
    #[graphql(flatten)]
    pub(crate) session: Session,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// A page of sessions, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"sessions": [], "next_cursor": "", "filtered": false, "revision": 40}))]
pub(crate) struct SessionPage {
    /// The sessions.
    pub(crate) sessions: Vec<Session>,
    /// The `cursor` of the next page; empty on the last page.
    pub(crate) next_cursor: String,
    /// Whether items may be missing because the caller may not see them.
    pub(crate) filtered: bool,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// A renewed session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({"session_id": "s-12.0", "ttl_ms": 15000, "revision": 44}))]
pub(crate) struct KeepAliveAnswer {
    /// The session.
    pub(crate) session_id: String,
    /// The session lives at least this long from when the request was sent, in milliseconds.
    pub(crate) ttl_ms: Long,
    /// The revision of the renewal.
    pub(crate) revision: Long,
}

/// The answer to closing a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({"released_locks": 2, "cancelled_waits": 0, "revision": 60}))]
pub(crate) struct CloseSessionAnswer {
    /// The number of grants that were released.
    pub(crate) released_locks: Long,
    /// The number of waits that were withdrawn.
    pub(crate) cancelled_waits: Long,
    /// The revision at which the session and everything it owned ended.
    pub(crate) revision: Long,
}

/// Query of a listing of sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListSessionsQuery {
    /// Page size: by default 100, at most 1,000. A page may be shorter, because its size in bytes is bounded, too.
    pub(crate) limit: Option<u32>,
    /// `next_cursor` of the previous page.
    pub(crate) cursor: Option<String>,
    /// The consistency of the read.
    #[serde(default)]
    #[param(inline)]
    pub(crate) consistency: Consistency,
}

impl Session {
    /// Converts a session as it is at an instant.
    pub(crate) fn seen(view: SessionView, clock: Clock) -> Self {
        Self {
            session_id: view.session.to_string(),
            namespace: view.namespace.to_string(),
            ttl_ms: Long(view.ttl_ms),
            remaining_ms: Long(clock.remaining_ms(view.deadline_ms)),
            opened_at: rfc3339(view.opened_wall_ms),
            expires_at: clock.text_of(view.deadline_ms),
            metadata: view.metadata,
            locks_held: Long(view.grants),
            locks_waiting: Long(view.waits),
        }
    }
}

impl From<At<SessionView>> for SessionAnswer {
    fn from(At { revision, clock, value }: At<SessionView>) -> Self {
        Self { session: Session::seen(value, clock), revision: Long(revision) }
    }
}

impl From<At<Page<SessionView, SessionId>>> for SessionPage {
    fn from(page: At<Page<SessionView, SessionId>>) -> Self {
        let At { revision, clock, value: Page { items, next, filtered } } = page;
        Self {
            sessions: items.into_iter().map(|view| Session::seen(view, clock)).collect(),
            next_cursor: next.map(parse::session_cursor_text).unwrap_or_default(),
            filtered,
            revision: Long(revision),
        }
    }
}

impl From<At<KeptAlive>> for KeepAliveAnswer {
    fn from(At { revision, value, .. }: At<KeptAlive>) -> Self {
        let KeptAlive { session, ttl_ms } = value;
        Self { session_id: session.to_string(), ttl_ms: Long(ttl_ms), revision: Long(revision) }
    }
}

impl From<At<Closed>> for CloseSessionAnswer {
    fn from(At { revision, value, .. }: At<Closed>) -> Self {
        let Closed { released_locks, cancelled_waits } = value;
        Self {
            released_locks: Long(released_locks),
            cancelled_waits: Long(cancelled_waits),
            revision: Long(revision),
        }
    }
}
