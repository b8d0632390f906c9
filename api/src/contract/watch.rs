//! Objects of watches.

use async_graphql::{SimpleObject, Union};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Long;
use super::lock::{Grant, Lock, Waiter};
use super::register::Register;
use super::session::Session;
use crate::ApiError;
use crate::service::watch::{self as service, FilterRequest, Item, Kind, Start, WatchRequest};
use crate::service::{CallContext, Clock, Consistency};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "ordinal": 0, "namespace": "default", "kind": "register_advanced",
    "facts": {"job": "register", "name": "orders/42", "high_water": 17}
}))]
pub(crate) struct Event {
    /// The place of the change inside its revision, from 0.
    pub(crate) ordinal: u32,
    /// Where it happened; left out for changes of the cluster itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
    /// What happened.
    pub(crate) kind: Kind,
    /// The session the change belongs to, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_id: Option<String>,
    /// Why something ended: `released`, `expired`, `forced`, `closed`, `session_closed`, `session_expired`, `timed_out`,
    /// `cancelled` or `node_lost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The rest, by what the change is about.
    pub(crate) facts: Facts,
}

/// The facts of a change, by what it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, Union)]
#[serde(tag = "job", rename_all = "snake_case")]
pub(crate) enum Facts {
    /// Of a lock.
    Lock(Box<LockFacts>),
    /// Of a session.
    Session(SessionFacts),
    /// Of a register.
    Register(RegisterFacts),
    /// Of the cluster itself.
    Cluster(ClusterFacts),
}

/// The facts of a change of locks: a grant or a waiter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
pub(crate) struct LockFacts {
    /// The acquisition.
    pub(crate) lock_id: String,
    /// The grant as it is now; of a release, as it was, with the count that is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grant: Option<Grant>,
    /// The queued acquisition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) waiter: Option<Waiter>,
    /// Of a forced release: the operator's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) words: Option<String>,
}

/// The facts of a change of sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
pub(crate) struct SessionFacts {
    /// Of a session that was opened: its time to live, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl_ms: Option<Long>,
    /// Of a session that was opened: free text of its owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<String>,
}

/// The facts of a change of registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
pub(crate) struct RegisterFacts {
    /// Name of the register.
    pub(crate) name: String,
    /// The highest token the register has seen; left out when the register was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) high_water: Option<Long>,
}

/// The facts of a change of the cluster itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
pub(crate) struct ClusterFacts {
    /// The node id that was given out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node_id: Option<Long>,
    /// Name of the node that got it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node_name: Option<String>,
    /// The level that the cluster has reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) level: Option<u32>,
    /// The first version of Batuta with that level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
}

/// What one revision changed. A large revision comes in several parts, all with its `revision`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({"revision": 1544, "events": [{
    "ordinal": 0, "namespace": "default", "kind": "register_advanced",
    "facts": {"job": "register", "name": "orders/42", "high_water": 17}
}]}))]
pub(crate) struct Changes {
    /// Log index of the entry.
    pub(crate) revision: Long,
    /// The changes in order, at least one.
    pub(crate) events: Vec<Event>,
    /// True when more changes of this revision follow. The revision is complete with the part that does not say so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub(crate) more: bool,
}

/// An object of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, Union)]
#[serde(tag = "job", rename_all = "snake_case")]
pub(crate) enum SnapshotObject {
    /// A session.
    Session(Session),
    /// A lock. One with a cursor to its next holders comes again with them.
    Lock(Box<Lock>),
    /// A register.
    Register(Register),
}

/// A part of the objects at one revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "revision": 1544, "objects": [{"job": "register", "name": "orders/42", "high_water": 17}], "last": true
}))]
pub(crate) struct SnapshotPage {
    /// The revision all objects are true at; the same on every page.
    pub(crate) revision: Long,
    /// Sessions, oldest first; then locks, then registers, in name order.
    pub(crate) objects: Vec<SnapshotObject>,
    /// Whether changes come next.
    pub(crate) last: bool,
}

/// Every change up to this revision that the watch wants has been sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({"revision": 1544}))]
pub(crate) struct Progress {
    /// The revision.
    pub(crate) revision: Long,
}

/// What a watcher gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, Union)]
#[serde(untagged)]
pub(crate) enum WatchItem {
    /// Only at the beginning.
    Snapshot(SnapshotPage),
    /// What one revision changed.
    Changes(Changes),
    /// While nothing happens.
    Progress(Progress),
}

/// Query of a watch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WatchQuery {
    /// About what, comma-separated: `lock`, `session`, `register`, `cluster`. Default: everything.
    #[param(example = "lock,session")]
    #[serde(default)]
    pub(crate) jobs: String,
    /// Only these kinds of change, comma-separated.
    #[param(example = "lock_granted,lock_released")]
    #[serde(default)]
    pub(crate) kinds: String,
    /// Names that start with this text.
    #[param(example = "orders/")]
    #[serde(default)]
    pub(crate) prefix: String,
    /// One name; not together with `prefix`.
    #[serde(default)]
    pub(crate) name: String,
    /// What belongs to this session.
    #[serde(default)]
    pub(crate) session_id: String,
    /// Begin with this revision; default: with what happens from now on. Over REST, `Last-Event-ID` goes before it.
    pub(crate) from_revision: Option<Long>,
    /// Begin with the objects as they are; not together with `from_revision`.
    #[serde(default)]
    pub(crate) snapshot: bool,
    /// How often an idle watch says how far it is, milliseconds: 100 to 3,600,000, default 5,000.
    pub(crate) progress_ms: Option<Long>,
    /// How current a beginning without `from_revision` must be.
    #[serde(default)]
    #[param(inline)]
    pub(crate) consistency: Consistency,
}

/// Query of a long poll.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PollQuery {
    /// About what, comma-separated: `lock`, `session`, `register`, `cluster`. Default: everything.
    #[param(example = "lock,session")]
    #[serde(default)]
    pub(crate) jobs: String,
    /// Only these kinds of change, comma-separated.
    #[param(example = "lock_granted,lock_released")]
    #[serde(default)]
    pub(crate) kinds: String,
    /// Names that start with this text.
    #[param(example = "orders/")]
    #[serde(default)]
    pub(crate) prefix: String,
    /// One name; not together with `prefix`.
    #[serde(default)]
    pub(crate) name: String,
    /// What belongs to this session.
    #[serde(default)]
    pub(crate) session_id: String,
    /// `next_revision` of the poll before. Without it the answer comes at once and says where to begin.
    pub(crate) from_revision: Option<Long>,
    /// `next_ordinal` of the poll before, where it has one: changes of `from_revision` before it are left out.
    #[serde(default)]
    pub(crate) from_ordinal: u32,
    /// How long to wait for a change, milliseconds; default 30,000, at most 60,000; 0 = answer at once.
    pub(crate) wait_ms: Option<Long>,
}

/// What a long poll found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"changes": [], "next_revision": 1545, "revision": 1544}))]
pub(crate) struct PollAnswer {
    /// Empty when nothing happened in time.
    pub(crate) changes: Vec<Changes>,
    /// The `from_revision` of the next poll.
    pub(crate) next_revision: Long,
    /// The `from_ordinal` of the next poll. Present only when the answer ends within a revision: its last changes have `more`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_ordinal: Option<u32>,
    /// Every change up to this revision that the poll wants has been sent.
    pub(crate) revision: Long,
}

impl WatchQuery {
    /// The request of the use case, for the namespace of a call.
    pub(crate) fn read(&self, context: &CallContext) -> Result<WatchRequest, ApiError> {
        let filter = FilterRequest {
            jobs: service::words("jobs", &self.jobs)?,
            kinds: service::words("kinds", &self.kinds)?,
            prefix: &self.prefix,
            name: &self.name,
            session_id: &self.session_id,
        };
        Ok(WatchRequest {
            filter: filter.read(context.namespace.clone())?,
            start: Start::parse(self.from_revision.map(u64::from), self.snapshot)?,
            from_ordinal: 0,
            consistency: self.consistency,
            progress_ms: self.progress_ms.map(u64::from),
        })
    }
}

impl PollQuery {
    /// The request of the use case, for the namespace of a call.
    pub(crate) fn read(self, context: &CallContext) -> Result<WatchRequest, ApiError> {
        let Self { jobs, kinds, prefix, name, session_id, from_revision, from_ordinal: _, wait_ms: _ } = self;
        let query =
            WatchQuery { jobs, kinds, prefix, name, session_id, from_revision, ..WatchQuery::default() };
        query.read(context)
    }
}

impl WatchItem {
    /// The name of its server-sent event.
    pub(crate) fn event_name(&self) -> &'static str {
        match self {
            Self::Snapshot(_) => "snapshot",
            Self::Changes(_) => "changes",
            Self::Progress(_) => "progress",
        }
    }

    /// The revision behind which a watch that has this goes on; `None` within a snapshot or a revision.
    pub(crate) fn resume_after(&self) -> Option<u64> {
        let revision = match self {
            Self::Snapshot(page) => page.last.then_some(page.revision),
            Self::Changes(changes) => (!changes.more).then_some(changes.revision),
            Self::Progress(progress) => Some(progress.revision),
        };
        revision.map(u64::from)
    }
}

impl From<&service::Event> for Event {
    fn from(event: &service::Event) -> Self {
        Self {
            ordinal: event.ordinal,
            namespace: event.namespace.as_ref().map(ToString::to_string),
            kind: event.kind,
            session_id: event.session.map(|session| session.to_string()),
            reason: event.reason.map(str::to_owned),
            facts: Facts::seen(&event.facts, event.clock),
        }
    }
}

impl Facts {
    fn seen(facts: &service::Facts, clock: Clock) -> Self {
        match facts {
            service::Facts::Grant { grant, words } => Self::Lock(Box::new(LockFacts {
                lock_id: grant.lock_id.to_string(),
                grant: Some(Grant::seen(grant, clock)),
                waiter: None,
                words: words.clone(),
            })),
            service::Facts::Wait(wait) => Self::Lock(Box::new(LockFacts {
                lock_id: wait.lock_id.to_string(),
                grant: None,
                waiter: Some(Waiter::seen(wait, clock)),
                words: None,
            })),
            service::Facts::SessionOpened { ttl_ms, metadata } => {
                Self::Session(SessionFacts { ttl_ms: Some(Long(*ttl_ms)), metadata: Some(metadata.clone()) })
            }
            service::Facts::SessionEnded => Self::Session(SessionFacts { ttl_ms: None, metadata: None }),
            service::Facts::Register { name, high_water } => {
                Self::Register(RegisterFacts { name: name.to_string(), high_water: high_water.map(Long) })
            }
            service::Facts::Node { node_id, node_name } => Self::Cluster(ClusterFacts {
                node_id: Some(Long(*node_id)),
                node_name: Some(node_name.clone()),
                ..ClusterFacts::default()
            }),
            service::Facts::Level { level, version } => Self::Cluster(ClusterFacts {
                level: Some(*level),
                version: Some(version.clone()),
                ..ClusterFacts::default()
            }),
            service::Facts::Cluster => Self::Cluster(ClusterFacts::default()),
        }
    }
}

impl From<&service::Batch> for Changes {
    fn from(batch: &service::Batch) -> Self {
        let events = batch.events.iter().map(|event| Event::from(event.as_ref())).collect();
        Self { revision: Long(batch.revision), events, more: batch.more }
    }
}

impl From<service::SnapshotPage> for SnapshotPage {
    fn from(page: service::SnapshotPage) -> Self {
        let service::SnapshotPage { revision, clock, objects, last } = page;
        let object = |object| match object {
            service::Object::Session(view) => SnapshotObject::Session(Session::seen(view, clock)),
            service::Object::Lock(lock) => SnapshotObject::Lock(Box::new(Lock::seen(&lock, clock))),
            service::Object::Register(register) => SnapshotObject::Register(register.into()),
        };
        Self { revision: Long(revision), objects: objects.into_iter().map(object).collect(), last }
    }
}

impl From<Item> for WatchItem {
    fn from(item: Item) -> Self {
        match item {
            Item::Snapshot(page) => Self::Snapshot(page.into()),
            Item::Changes(batch) => Self::Changes(Changes::from(&batch)),
            Item::Progress { revision } => Self::Progress(Progress { revision: Long(revision) }),
        }
    }
}
