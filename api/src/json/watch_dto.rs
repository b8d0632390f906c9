//! Wire types of watches.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Consistency;
use super::lock_dto::{Grant, Lock, Waiter};
use super::session_dto::Session;
use crate::service::watch::{self, Facts, Item};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "ordinal": 0, "namespace": "default", "job": "register", "kind": "register_advanced", "name": "orders/42", "high_water": 17
}))]
pub(crate) struct Event {
    /// Its place inside its revision, from 0.
    pub(crate) ordinal: u32,
    /// Where it happened; absent for changes of the cluster itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
    /// `lock`, `session`, `register` or `cluster`.
    pub(crate) job: &'static str,
    /// `session_opened`, `session_ended`, `lock_queued`, `lock_granted`, `lock_extended`, `lock_released`, `wait_ended`,
    /// `register_advanced`, `register_deleted`, `limits_changed`, `node_allocated` or `cluster_initialised`.
    pub(crate) kind: &'static str,
    /// The session it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_id: Option<String>,
    /// The acquisition it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lock_id: Option<String>,
    /// Of an end: `released`, `expired`, `forced`, `closed`, `session_closed`, `session_expired`, `timed_out`, `cancelled` or `node_lost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'static str>,
    /// Of a forced release: the operator's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) words: Option<String>,
    /// The grant as it is now; of a release, as it was, with the `count` that is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grant: Option<Grant>,
    /// The queued acquisition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) waiter: Option<Waiter>,
    /// Of a session: its time to live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl_ms: Option<u64>,
    /// Of a session: its free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<String>,
    /// The register.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// Its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) high_water: Option<u64>,
    /// The id that was given out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node_id: Option<u64>,
    /// To whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node_name: Option<String>,
}

/// What one revision changed. A large revision comes in several of them, all with its `revision`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"revision": 1544, "events": []}))]
pub(crate) struct Changes {
    /// Log index of the entry.
    pub(crate) revision: u64,
    /// In order, not empty.
    pub(crate) events: Vec<Event>,
    /// True when more changes of this revision follow, else absent: only behind the one without it is the revision complete.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub(crate) more: bool,
}

/// A register of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"name": "orders/42", "high_water": 17}))]
pub(crate) struct Register {
    /// The register.
    pub(crate) name: String,
    /// Its value.
    pub(crate) high_water: u64,
}

/// A part of the objects at one revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"revision": 1544, "sessions": [], "locks": [], "registers": [], "last": true}))]
pub(crate) struct SnapshotPage {
    /// What they are true at; the same on every page.
    pub(crate) revision: u64,
    /// Sessions, oldest first.
    pub(crate) sessions: Vec<Session>,
    /// Locks in name order. One with a `next_holders_cursor` comes again with its next holders.
    pub(crate) locks: Vec<Lock>,
    /// Registers in name order.
    pub(crate) registers: Vec<Register>,
    /// Whether changes come next.
    pub(crate) last: bool,
}

/// Everything wanted up to this revision was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"revision": 1544}))]
pub(crate) struct Progress {
    /// It.
    pub(crate) revision: u64,
}

/// What a watcher gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Message {
    /// Only at the beginning.
    Snapshot(SnapshotPage),
    /// What one revision changed.
    Changes(Changes),
    /// While nothing happens.
    Progress(Progress),
}

impl Message {
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
        match self {
            Self::Snapshot(page) => page.last.then_some(page.revision),
            Self::Changes(changes) => (!changes.more).then_some(changes.revision),
            Self::Progress(progress) => Some(progress.revision),
        }
    }
}

impl From<&watch::Event> for Event {
    fn from(event: &watch::Event) -> Self {
        let mut wire = Self {
            ordinal: event.ordinal,
            namespace: event.namespace.as_ref().map(ToString::to_string),
            job: event.kind.job().as_str(),
            kind: event.kind.as_str(),
            session_id: event.session.map(|session| session.to_string()),
            lock_id: event.lock_id().map(|lock_id| lock_id.to_string()),
            reason: event.reason,
            words: event.words.clone(),
            grant: None,
            waiter: None,
            ttl_ms: None,
            metadata: None,
            name: None,
            high_water: None,
            node_id: None,
            node_name: None,
        };
        match &event.facts {
            Facts::Opened { ttl_ms, metadata } => {
                wire.ttl_ms = Some(*ttl_ms);
                wire.metadata = Some(metadata.clone());
            }
            Facts::Grant(info) => wire.grant = Some(info.as_ref().clone().into()),
            Facts::Wait(wait) => wire.waiter = Some(wait.as_ref().clone().into()),
            Facts::Register { name, high_water } => {
                wire.name = Some(name.to_string());
                wire.high_water = *high_water;
            }
            Facts::Node { node_id, node_name } => {
                wire.node_id = Some(*node_id);
                wire.node_name = Some(node_name.clone());
            }
            Facts::None => {}
        }
        wire
    }
}

impl From<&watch::Batch> for Changes {
    fn from(batch: &watch::Batch) -> Self {
        let events = batch.events.iter().map(|event| Event::from(event.as_ref())).collect();
        Self { revision: batch.revision, events, more: batch.more }
    }
}

impl From<Item> for Message {
    fn from(item: Item) -> Self {
        match item {
            Item::Snapshot(page) => Self::Snapshot(SnapshotPage {
                revision: page.revision,
                sessions: page.sessions.into_iter().map(Session::from).collect(),
                locks: page.locks.into_iter().map(Lock::from).collect(),
                registers: page
                    .registers
                    .into_iter()
                    .map(|(name, high_water)| Register { name: name.to_string(), high_water })
                    .collect(),
                last: page.last,
            }),
            Item::Changes(batch) => Self::Changes(Changes::from(&batch)),
            Item::Progress { revision } => Self::Progress(Progress { revision }),
        }
    }
}

/// Query of a watch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
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
    /// Names that start with it.
    #[param(example = "orders/")]
    #[serde(default)]
    pub(crate) prefix: String,
    /// One name; not together with `prefix`.
    #[serde(default)]
    pub(crate) name: String,
    /// What belongs to this session.
    #[serde(default)]
    pub(crate) session_id: String,
    /// Begin with this revision; default: with what happens from now on. `Last-Event-ID` goes before it.
    pub(crate) from_revision: Option<u64>,
    /// Begin with the objects as they are; not together with `from_revision`.
    #[serde(default)]
    pub(crate) snapshot: bool,
    /// How often an idle watch says how far it is; default 5,000.
    pub(crate) progress_ms: Option<u64>,
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
    /// Names that start with it.
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
    pub(crate) from_revision: Option<u64>,
    /// `next_ordinal` of the poll before, where it has one: changes of `from_revision` before it are left out.
    #[serde(default)]
    pub(crate) from_ordinal: u32,
    /// How long to wait for a change; default 30,000, at most 60,000; 0 = answer at once.
    pub(crate) wait_ms: Option<u64>,
}

/// What a long poll found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"changes": [], "next_revision": 1545, "revision": 1544}))]
pub(crate) struct PollAnswer {
    /// Empty when nothing happened in time.
    pub(crate) changes: Vec<Changes>,
    /// Poll on with it as `from_revision`.
    pub(crate) next_revision: u64,
    /// Poll on with it as `from_ordinal`, too. Present only when the answer ends within a revision: its last changes have `more`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_ordinal: Option<u32>,
    /// Everything wanted up to this revision was told.
    pub(crate) revision: u64,
}
