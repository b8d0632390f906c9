//! Types of changes in the schema: the names of `proto/batuta/v1/watch.proto`, in camelCase.

use async_graphql::{Enum, SimpleObject, Union};

use super::lock_types::{Grant, Lock, Waiter};
use super::long::Long;
use super::register::Register;
use super::session_types::Session;
use crate::service::At;
use crate::service::watch::{self, Facts, Item};

/// What a change is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "watch::Job")]
pub(super) enum Job {
    /// Locks: acquisitions and their ends.
    Lock,
    /// Sessions.
    Session,
    /// High-water registers.
    Register,
    /// The cluster itself; belongs to no namespace.
    Cluster,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "watch::Kind")]
pub(super) enum ChangeKind {
    /// A session was opened.
    SessionOpened,
    /// A session ended.
    SessionEnded,
    /// An acquisition was queued.
    LockQueued,
    /// An acquisition was granted, or a re-entrant count rose.
    LockGranted,
    /// A one-shot grant was extended.
    LockExtended,
    /// A grant ended, or a re-entrant count fell.
    LockReleased,
    /// A wait ended without a grant.
    WaitEnded,
    /// A register rose.
    RegisterAdvanced,
    /// A register was deleted.
    RegisterDeleted,
    /// The limits in force changed.
    LimitsChanged,
    /// A node id was given out.
    NodeAllocated,
    /// The cluster got its identity.
    ClusterInitialised,
}

/// One change. Which fields are there follows from its kind.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct Event {
    /// Its place inside its revision, from 0.
    ordinal: u32,
    /// Where it happened; null for changes of the cluster itself.
    namespace: Option<String>,
    /// What it is about.
    job: Job,
    /// What happened.
    kind: ChangeKind,
    /// The session it belongs to.
    session_id: Option<String>,
    /// The acquisition it is about.
    lock_id: Option<String>,
    /// Of an end: `released`, `expired`, `forced`, `closed`, `session_closed`, `session_expired`, `timed_out`, `cancelled` or `node_lost`.
    reason: Option<String>,
    /// Of a forced release: the operator's words.
    words: Option<String>,
    /// The grant as it is now; of a release, as it was, with the `count` that is left.
    grant: Option<Grant>,
    /// The queued acquisition.
    waiter: Option<Waiter>,
    /// Of a session: its time to live.
    ttl_ms: Option<Long>,
    /// Of a session: its free text.
    metadata: Option<String>,
    /// The register.
    name: Option<String>,
    /// Its value.
    high_water: Option<Long>,
    /// The id that was given out.
    node_id: Option<Long>,
    /// To whom.
    node_name: Option<String>,
}

/// What one revision changed. A large revision comes in several of them, all with its `revision`.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct Changes {
    /// Log index of the entry.
    revision: Long,
    /// In order, not empty.
    events: Vec<Event>,
    /// Whether more changes of this revision follow. Only behind the one without it is the revision complete.
    more: bool,
}

/// A part of the objects at one revision.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct SnapshotPage {
    /// What they are true at; the same on every page.
    revision: Long,
    /// Sessions, oldest first.
    sessions: Vec<Session>,
    /// Locks in name order. One with a `nextHoldersCursor` comes again with its next holders.
    locks: Vec<Lock>,
    /// Registers in name order.
    registers: Vec<Register>,
    /// Whether changes come next.
    last: bool,
}

/// Everything wanted up to this revision was told.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct Progress {
    /// It.
    revision: Long,
}

/// What a watcher gets.
#[derive(Clone, Debug, PartialEq, Eq, Union)]
pub(super) enum WatchItem {
    /// Only at the beginning.
    Snapshot(SnapshotPage),
    /// What one revision changed.
    Changes(Changes),
    /// While nothing happens.
    Progress(Progress),
}

impl Event {
    /// An event of this revision.
    fn new(revision: u64, event: &watch::Event) -> Self {
        let mut wire = Self {
            ordinal: event.ordinal,
            namespace: event.namespace.as_ref().map(ToString::to_string),
            job: event.kind.job().into(),
            kind: event.kind.into(),
            session_id: event.session.map(|session| session.to_string()),
            lock_id: event.lock_id().map(|lock_id| lock_id.to_string()),
            reason: event.reason.map(str::to_owned),
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
                wire.ttl_ms = Some(Long(*ttl_ms));
                wire.metadata = Some(metadata.clone());
            }
            Facts::Grant(info) => wire.grant = Some(At { revision, value: info.as_ref().clone() }.into()),
            Facts::Wait(wait) => wire.waiter = Some(wait.as_ref().clone().into()),
            Facts::Register { name, high_water } => {
                wire.name = Some(name.to_string());
                wire.high_water = high_water.map(Long);
            }
            Facts::Node { node_id, node_name } => {
                wire.node_id = Some(Long(*node_id));
                wire.node_name = Some(node_name.clone());
            }
            Facts::None => {}
        }
        wire
    }
}

impl From<watch::SnapshotPage> for SnapshotPage {
    fn from(page: watch::SnapshotPage) -> Self {
        let revision = page.revision;
        let sessions = page.sessions.into_iter().map(|value| Session::from(At { revision, value }));
        let locks = page.locks.into_iter().map(|value| Lock::from(At { revision, value }));
        let registers =
            page.registers.into_iter().map(|(name, value)| Register::new(&name, At { revision, value }));
        Self {
            revision: Long(revision),
            sessions: sessions.collect(),
            locks: locks.collect(),
            registers: registers.collect(),
            last: page.last,
        }
    }
}

impl From<Item> for WatchItem {
    fn from(item: Item) -> Self {
        match item {
            Item::Snapshot(page) => Self::Snapshot(page.into()),
            Item::Changes(watch::Batch { revision, events, more }) => Self::Changes(Changes {
                revision: Long(revision),
                events: events.iter().map(|event| Event::new(revision, event)).collect(),
                more,
            }),
            Item::Progress { revision } => Self::Progress(Progress { revision: Long(revision) }),
        }
    }
}
