//! Renders changes as events for answers.

use std::sync::Arc;
use std::sync::OnceLock;

use batuta_raft::RevisionChanges;
use batuta_statemachine::lock::{Grant, LockRequest, Wait};
use batuta_statemachine::{
    Change, ChangeKind, LockId, Name, Namespace, PrincipalId, ReleaseReason, SessionId, access, cluster,
    lock, register, session,
};
use bytes::Bytes;

use super::super::Clock;
use crate::ApiError;

/// The area that a change belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, async_graphql::Enum)]
pub enum Area {
    /// Locks: acquisitions and their ends.
    Lock,
    /// Elections: leaders and candidates.
    Election,
    /// Sessions.
    Session,
    /// High-water registers.
    Register,
    /// Access: who may do what; belongs to no namespace.
    Access,
    /// The cluster itself; belongs to no namespace.
    Cluster,
}

/// The kind of a change.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, utoipa::ToSchema, async_graphql::Enum,
)]
#[serde(rename_all = "snake_case")]
#[schema(as = ChangeKind)]
#[graphql(name = "ChangeKind")]
pub enum Kind {
    /// A session was opened.
    SessionOpened,
    /// A session ended.
    SessionEnded,
    /// An acquisition was queued.
    LockQueued,
    /// An acquisition was granted, or a reentrant count rose.
    LockGranted,
    /// A one-shot grant was extended.
    LockExtended,
    /// A holder downgraded its locks, or replaced its text.
    LockChanged,
    /// A semaphore has another capacity.
    LockResized,
    /// A grant ended, or a reentrant count fell.
    LockReleased,
    /// A wait ended without a grant.
    WaitEnded,
    /// A candidate was queued in an election.
    CandidateQueued,
    /// A candidate was elected.
    Elected,
    /// A leader replaced its value.
    Proclaimed,
    /// A leadership with a TTL of its own was extended.
    LeadershipExtended,
    /// A leader resigned or lost its leadership.
    LeaderGone,
    /// A candidate left without being elected.
    CandidateGone,
    /// A register was advanced.
    RegisterAdvanced,
    /// A register was deleted.
    RegisterDeleted,
    /// A principal was made, described, suspended or resumed, or has a new password.
    PrincipalChanged,
    /// A principal was deleted.
    PrincipalDeleted,
    /// A group was made, filled or deleted.
    GroupChanged,
    /// A role was made, changed or deleted.
    RoleChanged,
    /// A binding was made, or its end was moved.
    BindingAdded,
    /// A binding ended.
    BindingEnded,
    /// A credential was made.
    TokenCreated,
    /// A credential ended.
    TokenEnded,
    /// The mode of access changed.
    AccessModeChanged,
    /// The limits in force changed.
    LimitsChanged,
    /// A node id was allocated.
    NodeAllocated,
    /// The cluster got its identity.
    ClusterInitialised,
    /// Every member knows the requests up to a level.
    LevelRaised,
}

impl Area {
    /// All areas.
    pub const ALL: [Self; 6] =
        [Self::Lock, Self::Election, Self::Session, Self::Register, Self::Access, Self::Cluster];

    /// The word the APIs use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Election => "election",
            Self::Session => "session",
            Self::Register => "register",
            Self::Access => "access",
            Self::Cluster => "cluster",
        }
    }
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 30] = [
        Self::SessionOpened,
        Self::SessionEnded,
        Self::LockQueued,
        Self::LockGranted,
        Self::LockExtended,
        Self::LockChanged,
        Self::LockResized,
        Self::LockReleased,
        Self::WaitEnded,
        Self::CandidateQueued,
        Self::Elected,
        Self::Proclaimed,
        Self::LeadershipExtended,
        Self::LeaderGone,
        Self::CandidateGone,
        Self::RegisterAdvanced,
        Self::RegisterDeleted,
        Self::PrincipalChanged,
        Self::PrincipalDeleted,
        Self::GroupChanged,
        Self::RoleChanged,
        Self::BindingAdded,
        Self::BindingEnded,
        Self::TokenCreated,
        Self::TokenEnded,
        Self::AccessModeChanged,
        Self::LimitsChanged,
        Self::NodeAllocated,
        Self::ClusterInitialised,
        Self::LevelRaised,
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
            Self::LockChanged => "lock_changed",
            Self::LockResized => "lock_resized",
            Self::LockReleased => "lock_released",
            Self::WaitEnded => "wait_ended",
            Self::CandidateQueued => "candidate_queued",
            Self::Elected => "elected",
            Self::Proclaimed => "proclaimed",
            Self::LeadershipExtended => "leadership_extended",
            Self::LeaderGone => "leader_gone",
            Self::CandidateGone => "candidate_gone",
            Self::RegisterAdvanced => "register_advanced",
            Self::RegisterDeleted => "register_deleted",
            Self::PrincipalChanged => "principal_changed",
            Self::PrincipalDeleted => "principal_deleted",
            Self::GroupChanged => "group_changed",
            Self::RoleChanged => "role_changed",
            Self::BindingAdded => "binding_added",
            Self::BindingEnded => "binding_ended",
            Self::TokenCreated => "token_created",
            Self::TokenEnded => "token_ended",
            Self::AccessModeChanged => "access_mode_changed",
            Self::LimitsChanged => "limits_changed",
            Self::NodeAllocated => "node_allocated",
            Self::ClusterInitialised => "cluster_initialised",
            Self::LevelRaised => "level_raised",
        }
    }

    /// The kind of the change that ends this grant.
    pub(crate) fn of_end(grant: &Grant) -> Self {
        Self::LockReleased.told_of(grant.election())
    }

    /// The kind by which a change of a lock is told: with an election, that of the leader or the candidate.
    fn told_of(self, election: Option<&Name>) -> Self {
        match (election, self) {
            (Some(_), Self::LockQueued) => Self::CandidateQueued,
            (Some(_), Self::LockGranted) => Self::Elected,
            (Some(_), Self::LockExtended) => Self::LeadershipExtended,
            (Some(_), Self::LockChanged) => Self::Proclaimed,
            (Some(_), Self::LockReleased) => Self::LeaderGone,
            (Some(_), Self::WaitEnded) => Self::CandidateGone,
            (_, other) => other,
        }
    }

    /// The area that this kind of change belongs to.
    #[must_use]
    pub fn area(self) -> Area {
        match self {
            Self::SessionOpened | Self::SessionEnded => Area::Session,
            Self::LockQueued
            | Self::LockGranted
            | Self::LockExtended
            | Self::LockChanged
            | Self::LockResized
            | Self::LockReleased
            | Self::WaitEnded => Area::Lock,
            Self::CandidateQueued
            | Self::Elected
            | Self::Proclaimed
            | Self::LeadershipExtended
            | Self::LeaderGone
            | Self::CandidateGone => Area::Election,
            Self::RegisterAdvanced | Self::RegisterDeleted => Area::Register,
            Self::PrincipalChanged
            | Self::PrincipalDeleted
            | Self::GroupChanged
            | Self::RoleChanged
            | Self::BindingAdded
            | Self::BindingEnded
            | Self::TokenCreated
            | Self::TokenEnded
            | Self::AccessModeChanged => Area::Access,
            Self::LimitsChanged | Self::NodeAllocated | Self::ClusterInitialised | Self::LevelRaised => {
                Area::Cluster
            }
        }
    }
}

/// The facts of a change, by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Facts {
    /// Of `session_opened`.
    SessionOpened {
        /// The TTL of the session, in milliseconds.
        ttl_ms: u64,
        /// The free text of the session.
        metadata: String,
    },
    /// Of `session_ended`, which has only the session and the reason.
    SessionEnded,
    /// Of `lock_granted`, `lock_extended`, `lock_changed` and `lock_released`; of elections: `elected`, `proclaimed`, `leadership_extended` and
    /// `leader_gone`.
    Grant {
        /// The grant after the change. After a release: the grant as it was, with the remaining count.
        grant: Arc<Grant>,
        /// Of a forced release: the operator's reason.
        words: Option<String>,
    },
    /// Of `lock_queued` and `wait_ended`; of elections: `candidate_queued` and `candidate_gone`.
    Wait(Box<Wait>),
    /// Of `lock_resized`.
    Capacity {
        /// The semaphore.
        name: Name,
        /// Permits there are now.
        capacity: u32,
    },
    /// Of `register_advanced` and `register_deleted` (no value).
    Register {
        /// The register.
        name: Name,
        /// The value of the register after the change.
        high_water: Option<u64>,
    },
    /// Of the changes of access.
    Access(Box<AccessFacts>),
    /// Of `node_allocated`.
    Node {
        /// The node id.
        node_id: u64,
        /// The name of the node that got the id.
        node_name: String,
    },
    /// Of `level_raised`.
    Level {
        /// The level of the cluster.
        level: u32,
        /// The first version of Batuta with this level.
        version: String,
    },
    /// Of other changes of the cluster, which have only the kind.
    Cluster,
}

/// The facts of a change of access; what does not belong to its kind is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessFacts {
    /// The principal, group or other subject, such as `user/ann`.
    pub subject: Option<String>,
    /// The id of the principal.
    pub principal_id: Option<PrincipalId>,
    /// Whether the principal is suspended now.
    pub suspended: bool,
    /// The role.
    pub role: Option<String>,
    /// The binding.
    pub binding_id: Option<String>,
    /// The public id of the credential.
    pub credential_id: Option<String>,
    /// What the credential is for.
    pub credential_kind: Option<&'static str>,
    /// The mode now.
    pub mode: Option<&'static str>,
    /// Whether the group or role was deleted.
    pub deleted: bool,
    /// Who made the change; absent when a node did.
    pub made_by: Option<PrincipalId>,
}

impl AccessFacts {
    /// The bytes of its texts.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        [&self.subject, &self.role, &self.binding_id, &self.credential_id]
            .into_iter()
            .flatten()
            .map(String::len)
            .sum()
    }
}

/// The encoded form of an event. It is made for the first watcher that gets the event, and shared by all others.
#[derive(Clone, Debug, Default)]
pub struct Rendered(OnceLock<Bytes>);

impl Rendered {
    /// Returns the encoded form; `make` is called if it does not exist yet.
    pub fn get(&self, make: impl FnOnce() -> Bytes) -> Bytes {
        self.0.get_or_init(make).clone()
    }
}

/// Events are equal whether or not they have been encoded.
impl PartialEq for Rendered {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Rendered {}

/// A change, as answers show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The place of the change in its revision.
    pub ordinal: u32,
    /// The namespace; `None` for changes of the cluster itself.
    pub namespace: Option<Namespace>,
    /// The kind of the change.
    pub kind: Kind,
    /// The session that the change belongs to, if any.
    pub session: Option<SessionId>,
    /// Why a grant, wait or session ended, in one word.
    pub reason: Option<&'static str>,
    /// The instant of the revision.
    pub clock: Clock,
    /// The facts of the change.
    pub facts: Facts,
    /// The form for gRPC.
    pub grpc: Rendered,
}

impl Event {
    /// The acquisition that the change is about, if any.
    #[must_use]
    pub fn lock_id(&self) -> Option<LockId> {
        match &self.facts {
            Facts::Grant { grant, .. } => Some(grant.lock_id),
            Facts::Wait(wait) => Some(wait.lock_id),
            _ => None,
        }
    }

    /// The names that the change is about.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        let (requests, own): (&[LockRequest], Option<&Name>) = match &self.facts {
            Facts::Grant { grant, .. } => (&grant.requests, None),
            Facts::Wait(wait) => (&wait.requests, None),
            Facts::Register { name, .. } | Facts::Capacity { name, .. } => (&[], Some(name)),
            Facts::SessionOpened { .. }
            | Facts::SessionEnded
            | Facts::Access(_)
            | Facts::Node { .. }
            | Facts::Level { .. }
            | Facts::Cluster => (&[], None),
        };
        requests.iter().map(|request| &request.name).chain(own)
    }

    /// The change without the names that are left out, for a watcher that may not see all of a set.
    pub(super) fn with_names(&self, keep: impl Fn(&Name) -> bool) -> Self {
        let mut event = Self { grpc: Rendered::default(), ..self.clone() };
        let kept = |requests: &[LockRequest]| -> Vec<LockRequest> {
            requests.iter().filter(|request| keep(&request.name)).cloned().collect()
        };
        match &mut event.facts {
            Facts::Grant { grant, .. } => {
                let requests = kept(&grant.requests).into();
                Arc::make_mut(grant).requests = requests;
            }
            Facts::Wait(wait) => wait.requests = kept(&wait.requests),
            _ => {}
        }
        event
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
        clock,
        facts,
        grpc: Rendered::default(),
    };
    let granted = |kind: Kind, grant: &Arc<Grant>| Event {
        session: grant.owner.session,
        ..plain(kind.told_of(grant.election()), Facts::Grant { grant: Arc::clone(grant), words: None })
    };
    let waiting = |kind: Kind, wait: &Wait| Event {
        session: wait.owner.session,
        ..plain(kind.told_of(wait.election()), Facts::Wait(Box::new(wait.clone())))
    };
    match &change.kind {
        ChangeKind::Session(session::Change::SessionOpened { session, ttl_ms, metadata }) => {
            let facts = Facts::SessionOpened { ttl_ms: *ttl_ms, metadata: metadata.clone() };
            Event { session: Some(*session), ..plain(Kind::SessionOpened, facts) }
        }
        ChangeKind::Session(session::Change::SessionEnded { session, reason }) => {
            let reason = Some(reason.as_str());
            Event { session: Some(*session), reason, ..plain(Kind::SessionEnded, Facts::SessionEnded) }
        }
        ChangeKind::Lock(lock::Change::LockQueued(wait)) => waiting(Kind::LockQueued, wait),
        ChangeKind::Lock(lock::Change::LockGranted(grant)) => granted(Kind::LockGranted, grant),
        ChangeKind::Lock(lock::Change::LockExtended(grant)) => granted(Kind::LockExtended, grant),
        ChangeKind::Lock(lock::Change::LockChanged(grant)) => granted(Kind::LockChanged, grant),
        ChangeKind::Lock(lock::Change::LockResized { name, capacity }) => {
            plain(Kind::LockResized, Facts::Capacity { name: name.clone(), capacity: *capacity })
        }
        ChangeKind::Lock(lock::Change::LockReleased { grant, reason }) => {
            let words =
                if let ReleaseReason::Forced { reason } = reason { Some(reason.clone()) } else { None };
            let facts = Facts::Grant { grant: Arc::clone(grant), words };
            Event { reason: Some(reason.as_str()), facts, ..granted(Kind::LockReleased, grant) }
        }
        ChangeKind::Lock(lock::Change::WaitEnded { wait, reason }) => {
            Event { reason: Some(reason.as_str()), ..waiting(Kind::WaitEnded, wait) }
        }
        ChangeKind::Register(register::Change::RegisterChanged { name, high_water }) => {
            let kind = if high_water.is_some() { Kind::RegisterAdvanced } else { Kind::RegisterDeleted };
            plain(kind, Facts::Register { name: name.clone(), high_water: *high_water })
        }
        ChangeKind::Access(change) => {
            let (kind, reason, facts) = access_facts(change);
            Event { reason, ..plain(kind, Facts::Access(Box::new(facts))) }
        }
        ChangeKind::Cluster(cluster::Change::LimitsChanged) => plain(Kind::LimitsChanged, Facts::Cluster),
        ChangeKind::Cluster(cluster::Change::NodeAllocated { node_id, node_name }) => {
            plain(Kind::NodeAllocated, Facts::Node { node_id: *node_id, node_name: node_name.clone() })
        }
        ChangeKind::Cluster(cluster::Change::ClusterInitialised) => {
            plain(Kind::ClusterInitialised, Facts::Cluster)
        }
        ChangeKind::Cluster(cluster::Change::LevelRaised { level, version }) => {
            plain(Kind::LevelRaised, Facts::Level { level: *level, version: version.clone() })
        }
    }
}

fn access_facts(change: &access::Change) -> (Kind, Option<&'static str>, AccessFacts) {
    use access::Change;

    let by = |made_by: &Option<PrincipalId>| AccessFacts { made_by: *made_by, ..AccessFacts::default() };
    match change {
        Change::PrincipalChanged { id, principal, suspended, by: made_by } => {
            let (subject, principal_id) = (Some(principal.to_string()), Some(*id));
            let facts = AccessFacts { subject, principal_id, suspended: *suspended, ..by(made_by) };
            (Kind::PrincipalChanged, None, facts)
        }
        Change::PrincipalDeleted { id, principal, by: made_by } => {
            let (subject, principal_id) = (Some(principal.to_string()), Some(*id));
            (Kind::PrincipalDeleted, None, AccessFacts { subject, principal_id, ..by(made_by) })
        }
        Change::GroupChanged { group, deleted, by: made_by } => {
            let subject = Some(format!("group/{group}"));
            (Kind::GroupChanged, None, AccessFacts { subject, deleted: *deleted, ..by(made_by) })
        }
        Change::RoleChanged { role, deleted, by: made_by } => {
            let role = Some(role.to_string());
            (Kind::RoleChanged, None, AccessFacts { role, deleted: *deleted, ..by(made_by) })
        }
        Change::BindingAdded { binding, subject, role, by: made_by } => {
            let (binding_id, subject) = (Some(binding.to_string()), Some(subject.to_string()));
            let role = Some(role.to_string());
            (Kind::BindingAdded, None, AccessFacts { subject, role, binding_id, ..by(made_by) })
        }
        Change::BindingEnded { binding, subject, role, reason, by: made_by } => {
            let (binding_id, subject) = (Some(binding.to_string()), Some(subject.to_string()));
            let role = Some(role.to_string());
            let facts = AccessFacts { subject, role, binding_id, ..by(made_by) };
            (Kind::BindingEnded, Some(reason.as_str()), facts)
        }
        Change::TokenCreated { token, kind, principal, by: made_by } => {
            let (credential_id, subject) = (Some(token.to_string()), Some(principal.to_string()));
            let credential_kind = Some(kind.as_str());
            let facts = AccessFacts { subject, credential_id, credential_kind, ..by(made_by) };
            (Kind::TokenCreated, None, facts)
        }
        Change::TokenEnded { token, kind, principal, reason, by: made_by } => {
            let (credential_id, subject) = (Some(token.to_string()), Some(principal.to_string()));
            let credential_kind = Some(kind.as_str());
            let facts = AccessFacts { subject, credential_id, credential_kind, ..by(made_by) };
            (Kind::TokenEnded, Some(reason.as_str()), facts)
        }
        Change::AccessModeChanged { mode, by: made_by } => {
            (Kind::AccessModeChanged, None, AccessFacts { mode: Some(mode.as_str()), ..by(made_by) })
        }
    }
}

/// A word of the APIs in a filter.
pub trait Word: Copy + 'static {
    /// All words.
    const WORDS: &'static [Self];

    /// The text of the word.
    fn text(self) -> &'static str;
}

impl Word for Area {
    const WORDS: &'static [Self] = &Self::ALL;

    fn text(self) -> &'static str {
        self.as_str()
    }
}

impl Word for Kind {
    const WORDS: &'static [Self] = &Self::ALL;

    fn text(self) -> &'static str {
        self.as_str()
    }
}

/// Parses words separated by commas; empty words are ignored.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn words<T: Word>(field: &str, text: &str) -> Result<Vec<T>, ApiError> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(|text| word(field, text)).collect()
}

/// Parses one word.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn word<T: Word>(field: &str, text: &str) -> Result<T, ApiError> {
    T::WORDS.iter().copied().find(|known| known.text() == text).ok_or_else(|| {
        let known: Vec<&str> = T::WORDS.iter().map(|known| known.text()).collect();
        let shown: String = text.chars().take(64).collect();
        ApiError::invalid(field, format!("does not know {shown:?}; there are {}", known.join(", ")))
    })
}
