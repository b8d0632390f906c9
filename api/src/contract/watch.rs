//! The public objects of watches.

use async_graphql::{SimpleObject, Union};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Long;
use super::election::{Candidate, Election, Leader};
use super::lock::{Grant, Lock, Waiter};
use super::register::Register;
use super::session::Session;
use crate::ApiError;
use crate::service::watch::{self as service, FilterRequest, Item, Kind, Start, WatchRequest};
use crate::service::{CallContext, Clock, Consistency};

/// A change of the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "ordinal": 0, "namespace": "default", "kind": "register_advanced",
    "facts": {"area": "register", "name": "orders/42", "high_water": 17}
}))]
pub(crate) struct Event {
    /// The place of the change inside its revision, from 0.
    pub(crate) ordinal: u32,
    /// The namespace of the change; left out for changes of the cluster itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
    /// The kind of the change.
    pub(crate) kind: Kind,
    /// The session the change belongs to, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_id: Option<String>,
    /// Why a grant, wait or session ended: `released`, `expired`, `forced`, `closed`, `session_closed`, `session_expired`,
    /// `timed_out`, `cancelled` or `node_lost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The facts of the change, by area.
    pub(crate) facts: Facts,
}

/// The facts of a change, by area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, Union)]
#[serde(tag = "area", rename_all = "snake_case")]
pub(crate) enum Facts {
    /// The facts of a change of locks.
    Lock(Box<LockFacts>),
    /// The facts of a change of elections.
    Election(Box<ElectionFacts>),
    /// The facts of a change of sessions.
    Session(SessionFacts),
    /// The facts of a change of registers.
    Register(RegisterFacts),
    /// The facts of a change of access.
    Access(Box<AccessFacts>),
    /// The facts of a change of the cluster itself.
    Cluster(ClusterFacts),
}

/// The facts of a change of locks: a grant, a waiter, or the capacity of a semaphore.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
pub(crate) struct LockFacts {
    /// The id of the acquisition. Absent when a semaphore was resized.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lock_id: Option<String>,
    /// The grant after the change. After a release: the grant as it was, with the remaining count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grant: Option<Grant>,
    /// The queued acquisition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) waiter: Option<Waiter>,
    /// Of a forced release: the operator's reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) words: Option<String>,
    /// Of a semaphore that was resized.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) capacity: Option<Capacity>,
}

/// The capacity of a semaphore that was resized; every grant and every wait that names the semaphore has it from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
pub(crate) struct Capacity {
    /// The semaphore.
    pub(crate) name: String,
    /// Permits there are now.
    pub(crate) capacity: u32,
}

/// The facts of a change of elections: a leader or a candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
pub(crate) struct ElectionFacts {
    /// Name of the election.
    pub(crate) name: String,
    /// The id of the candidacy.
    pub(crate) candidate_id: String,
    /// The leader after the change. When it is gone: the leader as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) leader: Option<Leader>,
    /// The candidate that was queued, or is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) candidate: Option<Candidate>,
    /// Of a forced release: the operator's reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) words: Option<String>,
}

/// The facts of a change of sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
pub(crate) struct SessionFacts {
    /// Of a session that was opened: its TTL, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl_ms: Option<Long>,
    /// Of a session that was opened: the free text of its owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<String>,
}

/// The facts of a change of registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
pub(crate) struct RegisterFacts {
    /// Name of the register.
    pub(crate) name: String,
    /// The highest fencing token that the register has seen; left out when the register was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) high_water: Option<Long>,
}

/// The facts of a change of access: who may do what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
pub(crate) struct AccessFacts {
    /// The principal, group or other subject: `user/ann`, `service/billing`, `group/payments` or `anonymous`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
    /// The id of the principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) principal_id: Option<String>,
    /// Whether the principal is suspended now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub(crate) suspended: bool,
    /// The role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<String>,
    /// The binding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) binding_id: Option<String>,
    /// The public id of the credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) credential_id: Option<String>,
    /// What the credential is for: `key`, `login` or `bootstrap`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) credential_kind: Option<String>,
    /// The mode now: `off`, `observe` or `enforce`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<String>,
    /// Whether the group or role was deleted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub(crate) deleted: bool,
    /// The id of the principal that made the change; left out when a node did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) made_by: Option<String>,
}

/// The facts of a change of the cluster itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
pub(crate) struct ClusterFacts {
    /// The node id that was allocated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node_id: Option<Long>,
    /// Name of the node that got the id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node_name: Option<String>,
    /// The level that the cluster has reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) level: Option<u32>,
    /// The first version of Batuta with that level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
}

/// The changes of one revision. A large revision comes in several parts, all with its `revision`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({"revision": 1544, "events": [{
    "ordinal": 0, "namespace": "default", "kind": "register_advanced",
    "facts": {"area": "register", "name": "orders/42", "high_water": 17}
}]}))]
pub(crate) struct Changes {
    /// The revision: the log index of the entry.
    pub(crate) revision: Long,
    /// The changes, in order; at least one.
    pub(crate) events: Vec<Event>,
    /// Whether more changes of this revision follow. The revision is complete with the part that lacks this.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub(crate) more: bool,
}

/// An object of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, Union)]
#[serde(tag = "area", rename_all = "snake_case")]
pub(crate) enum SnapshotObject {
    /// A session.
    Session(Session),
    /// A lock. A lock with a cursor to its next holders is repeated with them.
    Lock(Box<Lock>),
    /// An election.
    Election(Box<Election>),
    /// A register.
    Register(Register),
}

/// A page of the objects at one revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "revision": 1544, "objects": [{"area": "register", "name": "orders/42", "high_water": 17}], "last": true
}))]
pub(crate) struct SnapshotPage {
    /// The revision at which all objects are true; it is the same on every page.
    pub(crate) revision: Long,
    /// Sessions, oldest first; then locks and elections, and then registers, in order of their names.
    pub(crate) objects: Vec<SnapshotObject>,
    /// Whether this is the last page, so that changes follow.
    pub(crate) last: bool,
}

/// Progress of an idle watch: all selected changes up to this revision have been sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({"revision": 1544}))]
pub(crate) struct Progress {
    /// The revision: the log index of the entry.
    pub(crate) revision: Long,
}

/// An item of a watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, Union)]
#[serde(untagged)]
pub(crate) enum WatchItem {
    /// A page of the snapshot, only at the start.
    Snapshot(SnapshotPage),
    /// The changes of one revision, or a part of them.
    Changes(Changes),
    /// Progress without changes.
    Progress(Progress),
}

/// Query of a watch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WatchQuery {
    /// Only changes of these areas, comma-separated: `lock`, `election`, `session`, `register`, `access`, `cluster`. By default, all.
    #[param(example = "lock,session")]
    #[serde(default)]
    pub(crate) areas: String,
    /// Only changes of these kinds, comma-separated.
    #[param(example = "lock_granted,lock_released")]
    #[serde(default)]
    pub(crate) kinds: String,
    /// Only changes of names that start with this prefix.
    #[param(example = "orders/")]
    #[serde(default)]
    pub(crate) prefix: String,
    /// Only changes of this name; not together with `prefix`.
    #[serde(default)]
    pub(crate) name: String,
    /// Only changes that belong to this session.
    #[serde(default)]
    pub(crate) session_id: String,
    /// The first revision to send; by default, changes from now on. Over REST, `Last-Event-ID` takes precedence.
    pub(crate) from_revision: Option<Long>,
    /// Starts with the current objects; not together with `from_revision`.
    #[serde(default)]
    pub(crate) snapshot: bool,
    /// How often an idle watch reports its progress, in milliseconds: 100 to 3,600,000; by default 5,000.
    pub(crate) progress_ms: Option<Long>,
    /// The consistency of a start without `from_revision`.
    #[serde(default)]
    #[param(inline)]
    pub(crate) consistency: Consistency,
}

/// Query of a long poll.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PollQuery {
    /// Only changes of these areas, comma-separated: `lock`, `election`, `session`, `register`, `access`, `cluster`. By default, all.
    #[param(example = "lock,session")]
    #[serde(default)]
    pub(crate) areas: String,
    /// Only changes of these kinds, comma-separated.
    #[param(example = "lock_granted,lock_released")]
    #[serde(default)]
    pub(crate) kinds: String,
    /// Only changes of names that start with this prefix.
    #[param(example = "orders/")]
    #[serde(default)]
    pub(crate) prefix: String,
    /// Only changes of this name; not together with `prefix`.
    #[serde(default)]
    pub(crate) name: String,
    /// Only changes that belong to this session.
    #[serde(default)]
    pub(crate) session_id: String,
    /// `next_revision` of the previous poll. Without it the poll answers at once with the revision to start at.
    pub(crate) from_revision: Option<Long>,
    /// `next_ordinal` of the previous poll, if it had one: changes of `from_revision` before it are left out.
    #[serde(default)]
    pub(crate) from_ordinal: u32,
    /// How long to wait for a change, in milliseconds: by default 30,000, at most 60,000; 0 answers at once.
    pub(crate) wait_ms: Option<Long>,
}

/// The answer to a long poll.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"changes": [], "next_revision": 1545, "revision": 1544}))]
pub(crate) struct PollAnswer {
    /// The changes; empty when nothing happened in time.
    pub(crate) changes: Vec<Changes>,
    /// The `from_revision` of the next poll.
    pub(crate) next_revision: Long,
    /// The `from_ordinal` of the next poll. Present only when the answer ends within a revision: its last changes have `more`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_ordinal: Option<u32>,
    /// All selected changes up to this revision have been sent.
    pub(crate) revision: Long,
}

impl WatchQuery {
    /// The request of the use case, for the namespace of a call.
    pub(crate) fn read(&self, context: &CallContext) -> Result<WatchRequest, ApiError> {
        let filter = FilterRequest {
            areas: service::words("areas", &self.areas)?,
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
        let Self { areas, kinds, prefix, name, session_id, from_revision, from_ordinal: _, wait_ms: _ } =
            self;
        let query =
            WatchQuery { areas, kinds, prefix, name, session_id, from_revision, ..WatchQuery::default() };
        query.read(context)
    }
}

impl WatchItem {
    /// The name of the server-sent event for this item.
    pub(crate) fn event_name(&self) -> &'static str {
        match self {
            Self::Snapshot(_) => "snapshot",
            Self::Changes(_) => "changes",
            Self::Progress(_) => "progress",
        }
    }

    /// The revision after which a watch with this item resumes; `None` within a snapshot or a revision.
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
            service::Facts::Grant { grant, words } => match grant.election() {
                Some(name) => Self::Election(Box::new(ElectionFacts {
                    name: name.to_string(),
                    candidate_id: grant.lock_id.to_string(),
                    leader: Some(Leader::seen(grant, clock)),
                    candidate: None,
                    words: words.clone(),
                })),
                None => Self::Lock(Box::new(LockFacts {
                    lock_id: Some(grant.lock_id.to_string()),
                    grant: Some(Grant::seen(grant, clock)),
                    words: words.clone(),
                    ..LockFacts::default()
                })),
            },
            service::Facts::Wait(wait) => match wait.election() {
                Some(name) => Self::Election(Box::new(ElectionFacts {
                    name: name.to_string(),
                    candidate_id: wait.lock_id.to_string(),
                    leader: None,
                    candidate: Some(Candidate::seen(wait, clock)),
                    words: None,
                })),
                None => Self::Lock(Box::new(LockFacts {
                    lock_id: Some(wait.lock_id.to_string()),
                    waiter: Some(Waiter::seen(wait, clock)),
                    ..LockFacts::default()
                })),
            },
            service::Facts::Capacity { name, capacity } => {
                let capacity = Some(Capacity { name: name.to_string(), capacity: *capacity });
                Self::Lock(Box::new(LockFacts { capacity, ..LockFacts::default() }))
            }
            service::Facts::SessionOpened { ttl_ms, metadata } => {
                Self::Session(SessionFacts { ttl_ms: Some(Long(*ttl_ms)), metadata: Some(metadata.clone()) })
            }
            service::Facts::SessionEnded => Self::Session(SessionFacts { ttl_ms: None, metadata: None }),
            service::Facts::Register { name, high_water } => {
                Self::Register(RegisterFacts { name: name.to_string(), high_water: high_water.map(Long) })
            }
            service::Facts::Access(facts) => Self::Access(Box::new(AccessFacts {
                subject: facts.subject.clone(),
                principal_id: facts.principal_id.map(|id| id.to_string()),
                suspended: facts.suspended,
                role: facts.role.clone(),
                binding_id: facts.binding_id.clone(),
                credential_id: facts.credential_id.clone(),
                credential_kind: facts.credential_kind.map(str::to_owned),
                mode: facts.mode.map(str::to_owned),
                deleted: facts.deleted,
                made_by: facts.made_by.map(|id| id.to_string()),
            })),
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
            service::Object::Election(election) => {
                SnapshotObject::Election(Box::new(Election::seen(&election, clock)))
            }
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
