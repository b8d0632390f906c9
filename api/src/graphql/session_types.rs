//! Types of sessions in the schema: the names of `proto/batuta/v1/session.proto`, in camelCase.

use async_graphql::{InputObject, SimpleObject};

use super::connection::PageInfo;
use super::long::Long;
use crate::service::{At, Page, parse, session};

/// Opens a session.
#[derive(Clone, Debug, PartialEq, Eq, InputObject)]
pub(super) struct OpenSessionInput {
    /// Lower bound of its life without a keep-alive.
    pub(super) ttl_ms: Long,
    /// Free text for people (host, process), shown in listings.
    #[graphql(default)]
    pub(super) metadata: String,
}

/// Renews a session.
#[derive(Clone, Debug, PartialEq, Eq, InputObject)]
pub(super) struct KeepAliveInput {
    /// The session.
    pub(super) session_id: String,
}

/// Ends a session.
#[derive(Clone, Debug, PartialEq, Eq, InputObject)]
pub(super) struct CloseSessionInput {
    /// The session.
    pub(super) session_id: String,
}

/// A session.
#[expect(clippy::struct_field_names, reason = "the wire contract names the field")]
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct Session {
    /// Names the session.
    pub(super) session_id: String,
    /// Where it lives.
    pub(super) namespace: String,
    /// Lower bound of its life without a keep-alive.
    pub(super) ttl_ms: Long,
    /// At least this long it lives from the answer's revision on.
    pub(super) remaining_ms: Long,
    /// RFC 3339 UTC, for people.
    pub(super) opened_at: String,
    /// RFC 3339 UTC, for people; decides nothing.
    pub(super) expires_at: String,
    /// Free text of its owner.
    pub(super) metadata: String,
    /// Grants it owns.
    pub(super) locks_held: Long,
    /// Acquisitions it has queued.
    pub(super) locks_waiting: Long,
    /// The answer is true at this revision.
    pub(super) revision: Long,
}

impl From<At<session::Session>> for Session {
    fn from(At { revision, value }: At<session::Session>) -> Self {
        Self {
            session_id: value.session_id.to_string(),
            namespace: value.namespace.to_string(),
            ttl_ms: Long(value.ttl_ms),
            remaining_ms: Long(value.remaining_ms),
            opened_at: value.opened_at,
            expires_at: value.expires_at,
            metadata: value.metadata,
            locks_held: Long(value.locks_held),
            locks_waiting: Long(value.locks_waiting),
            revision: Long(revision),
        }
    }
}

/// A session and where the listing goes on after it.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct SessionEdge {
    /// The session.
    pub(super) node: Session,
    /// Ask for what follows with it as `after`.
    pub(super) cursor: String,
}

/// A page of sessions, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct SessionConnection {
    /// The sessions.
    pub(super) edges: Vec<SessionEdge>,
    /// Whether there is more, and how to get it.
    pub(super) page_info: PageInfo,
    /// The answer is true at this revision.
    pub(super) revision: Long,
}

impl SessionConnection {
    /// The page that was asked for with `after`.
    pub(super) fn new(page: At<Page<session::Session>>, after: Option<&str>) -> Self {
        let At { revision, value: Page { items, next_cursor } } = page;
        let edge = |value: session::Session| SessionEdge {
            cursor: parse::session_cursor_text(value.session_id),
            node: Session::from(At { revision, value }),
        };
        let edges: Vec<SessionEdge> = items.into_iter().map(edge).collect();
        let ends = edges.first().zip(edges.last());
        let ends = ends.map(|(first, last)| (first.cursor.as_str(), last.cursor.as_str()));
        let page_info = PageInfo::new(after, ends, next_cursor);
        Self { edges, page_info, revision: Long(revision) }
    }
}

/// A renewed session.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct KeptAlive {
    /// The session.
    pub(super) session_id: String,
    /// It lives at least this long from when the request was sent.
    pub(super) ttl_ms: Long,
    /// The revision of the renewal.
    pub(super) revision: Long,
}

/// What went with a closed session.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct SessionClosed {
    /// Grants that were released.
    pub(super) released_locks: Long,
    /// Waits that were withdrawn.
    pub(super) cancelled_waits: Long,
    /// The one revision in which all of it happened.
    pub(super) revision: Long,
}
