//! Changes as answers show them.

use std::sync::Arc;
use std::sync::OnceLock;

use batuta_raft::RevisionChanges;
use batuta_statemachine::lock::{Grant, LockRequest, Wait};
use batuta_statemachine::{Change, ChangeKind, LockId, Name, Namespace, ReleaseReason, SessionId};
use bytes::Bytes;

use super::super::lock::{GrantInfo, Waiter};
use super::super::wall::Clock;

/// What a change is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Job {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
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

impl Job {
    /// Every job there is.
    pub const ALL: [Self; 4] = [Self::Lock, Self::Session, Self::Register, Self::Cluster];

    /// The word the APIs use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Session => "session",
            Self::Register => "register",
            Self::Cluster => "cluster",
        }
    }
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Self; 12] = [
        Self::SessionOpened,
        Self::SessionEnded,
        Self::LockQueued,
        Self::LockGranted,
        Self::LockExtended,
        Self::LockReleased,
        Self::WaitEnded,
        Self::RegisterAdvanced,
        Self::RegisterDeleted,
        Self::LimitsChanged,
        Self::NodeAllocated,
        Self::ClusterInitialised,
    ];

    /// The word the APIs use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SessionOpened => "session_opened",
            Self::SessionEnded => "session_ended",
            Self::LockQueued => "lock_queued",
            Self::LockGranted => "lock_granted",
            Self::LockExtended => "lock_extended",
            Self::LockReleased => "lock_released",
            Self::WaitEnded => "wait_ended",
            Self::RegisterAdvanced => "register_advanced",
            Self::RegisterDeleted => "register_deleted",
            Self::LimitsChanged => "limits_changed",
            Self::NodeAllocated => "node_allocated",
            Self::ClusterInitialised => "cluster_initialised",
        }
    }

    /// What it is about.
    #[must_use]
    pub fn job(self) -> Job {
        match self {
            Self::SessionOpened | Self::SessionEnded => Job::Session,
            Self::LockQueued
            | Self::LockGranted
            | Self::LockExtended
            | Self::LockReleased
            | Self::WaitEnded => Job::Lock,
            Self::RegisterAdvanced | Self::RegisterDeleted => Job::Register,
            Self::LimitsChanged | Self::NodeAllocated | Self::ClusterInitialised => Job::Cluster,
        }
    }
}

/// The facts of a change. Which are there follows from the kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Facts {
    /// Of `session_opened`.
    Opened {
        /// Its time to live.
        ttl_ms: u64,
        /// Its free text.
        metadata: String,
    },
    /// Of `lock_granted`, `lock_extended` and `lock_released` (the count that is left).
    Grant(Box<GrantInfo>),
    /// Of `lock_queued` and `wait_ended`.
    Wait(Box<Waiter>),
    /// Of `register_advanced` and `register_deleted` (nothing).
    Register {
        /// The register.
        name: Name,
        /// Its value now.
        high_water: Option<u64>,
    },
    /// Of `node_allocated`.
    Node {
        /// The id.
        node_id: u64,
        /// Who asked.
        node_name: String,
    },
    /// Nothing more than the kind.
    None,
}

/// The form in which a front sends an event: the first watcher who is sent it has it made, all others share it.
#[derive(Clone, Debug, Default)]
pub struct Rendered(OnceLock<Bytes>);

impl Rendered {
    /// The form, made now if nobody asked for it before.
    pub fn get(&self, make: impl FnOnce() -> Bytes) -> Bytes {
        self.0.get_or_init(make).clone()
    }
}

/// An event is the same whether it was sent before or not.
impl PartialEq for Rendered {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Rendered {}

/// One change as answers show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place inside its revision.
    pub ordinal: u32,
    /// Where it happened; `None` for changes of the cluster itself.
    pub namespace: Option<Namespace>,
    /// What happened.
    pub kind: Kind,
    /// The session it belongs to, if any.
    pub session: Option<SessionId>,
    /// Of an end: why, as one word.
    pub reason: Option<&'static str>,
    /// Of a forced release: the operator's words.
    pub words: Option<String>,
    /// The rest.
    pub facts: Facts,
    /// As gRPC sends it.
    pub grpc: Rendered,
}

impl Event {
    /// The acquisition it is about, if any.
    #[must_use]
    pub fn lock_id(&self) -> Option<LockId> {
        match &self.facts {
            Facts::Grant(info) => Some(info.grant.lock_id),
            Facts::Wait(wait) => Some(wait.lock_id),
            _ => None,
        }
    }

    /// The names it is about.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        let (requests, own): (&[LockRequest], Option<&Name>) = match &self.facts {
            Facts::Grant(info) => (&info.grant.requests, None),
            Facts::Wait(wait) => (&wait.requests, None),
            Facts::Register { name, .. } => (&[], Some(name)),
            Facts::Opened { .. } | Facts::Node { .. } | Facts::None => (&[], None),
        };
        requests.iter().map(|request| &request.name).chain(own)
    }

    /// The changes of a revision.
    pub(crate) fn of(entry: &RevisionChanges) -> impl Iterator<Item = Self> {
        Self::of_part(entry, 0)
    }

    /// The changes of a revision from an ordinal on.
    pub(crate) fn of_part(entry: &RevisionChanges, ordinal: u32) -> impl Iterator<Item = Self> {
        let clock = Clock { now_ms: entry.now_ms, wall_ms: entry.wall_ms };
        let wanted = entry.changes.iter().filter(move |change| change.ordinal >= ordinal);
        wanted.map(move |change| of_change(change, clock))
    }
}

fn of_change(change: &Change, clock: Clock) -> Event {
    let plain = |kind, facts| Event {
        ordinal: change.ordinal,
        namespace: change.namespace.clone(),
        kind,
        session: None,
        reason: None,
        words: None,
        facts,
        grpc: Rendered::default(),
    };
    let granted = |kind, grant: &Arc<Grant>| Event {
        session: grant.owner.session,
        ..plain(kind, Facts::Grant(Box::new(GrantInfo::new(Arc::clone(grant), clock))))
    };
    let waiting = |kind, wait: &Wait| Event {
        session: wait.owner.session,
        ..plain(kind, Facts::Wait(Box::new(super::super::view::waiter_of(wait.clone(), clock))))
    };
    match &change.kind {
        ChangeKind::SessionOpened { session, ttl_ms, metadata } => {
            let facts = Facts::Opened { ttl_ms: *ttl_ms, metadata: metadata.clone() };
            Event { session: Some(*session), ..plain(Kind::SessionOpened, facts) }
        }
        ChangeKind::SessionEnded { session, reason } => {
            let reason = Some(reason.as_str());
            Event { session: Some(*session), reason, ..plain(Kind::SessionEnded, Facts::None) }
        }
        ChangeKind::LockQueued(wait) => waiting(Kind::LockQueued, wait),
        ChangeKind::LockGranted(grant) => granted(Kind::LockGranted, grant),
        ChangeKind::LockExtended(grant) => granted(Kind::LockExtended, grant),
        ChangeKind::LockReleased { grant, reason } => {
            let words =
                if let ReleaseReason::Forced { reason } = reason { Some(reason.clone()) } else { None };
            Event { reason: Some(reason.as_str()), words, ..granted(Kind::LockReleased, grant) }
        }
        ChangeKind::WaitEnded { wait, reason } => {
            Event { reason: Some(reason.as_str()), ..waiting(Kind::WaitEnded, wait) }
        }
        ChangeKind::RegisterChanged { name, high_water } => {
            let kind = if high_water.is_some() { Kind::RegisterAdvanced } else { Kind::RegisterDeleted };
            plain(kind, Facts::Register { name: name.clone(), high_water: *high_water })
        }
        ChangeKind::LimitsChanged => plain(Kind::LimitsChanged, Facts::None),
        ChangeKind::NodeAllocated { node_id, node_name } => {
            plain(Kind::NodeAllocated, Facts::Node { node_id: *node_id, node_name: node_name.clone() })
        }
        ChangeKind::ClusterInitialised => plain(Kind::ClusterInitialised, Facts::None),
    }
}
