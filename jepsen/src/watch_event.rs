//! A change as a watcher sees it, in one form for every front and for the replay of the log.

use batuta_proto::v1;
use batuta_proto::v1::event::Facts;
use batuta_statemachine::lock::{Grant, LockRequest, Mode, OwnerRecord, Wait};
use batuta_statemachine::{
    Change, ChangeKind, ReleaseReason, SessionEnd, WaitEnd, access, cluster, lock, register, session,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One change of a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchEvent {
    /// The place of the change in its revision.
    pub ordinal: u64,
    /// The kind of the change, such as `lock_granted`.
    pub kind: String,
    /// The session that the change belongs to; empty when there is none.
    pub session_id: String,
    /// The acquisition that the change is about; empty when there is none.
    pub lock_id: String,
    /// Why the grant, wait or session ended; empty otherwise.
    pub reason: String,
    /// The grant's token, or a register's value.
    pub token: u64,
    /// The remaining count of a reentrant grant.
    pub count: u64,
    /// The names and modes that the change is about.
    pub names: Vec<(String, String)>,
    /// The metadata of the acquisition or session.
    pub metadata: String,
}

impl WatchEvent {
    /// Converts an event in the JSON of REST and WebSocket.
    #[must_use]
    pub fn from_json(event: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let facts = &event["facts"];
        if facts["candidate_id"].is_string() {
            return Self::of_election(event);
        }
        let about = if facts["grant"].is_null() { &facts["waiter"] } else { &facts["grant"] };
        let mut names: Vec<(String, String)> = Vec::new();
        for lock in about["locks"].as_array().into_iter().flatten() {
            names.push((text(&lock["name"]), text(&lock["mode"])));
        }
        // GraphQL distinguishes areas by type, the other fronts by `area`; only registers and resized semaphores have a name.
        for named in [facts, &facts["capacity"]] {
            if named["name"].is_string() {
                names.push((text(&named["name"]), String::new()));
            }
        }
        let token = facts["grant"]["fencing_token"].as_u64().or_else(|| facts["high_water"].as_u64());
        let token = token.or_else(|| facts["capacity"]["capacity"].as_u64());
        let metadata =
            if facts["grant"].is_null() { &facts["metadata"] } else { &facts["grant"]["metadata"] };
        Self {
            ordinal: event["ordinal"].as_u64().unwrap_or_default(),
            kind: text(&event["kind"]),
            session_id: text(&event["session_id"]),
            lock_id: text(&facts["lock_id"]),
            reason: text(&event["reason"]),
            token: token.unwrap_or_default(),
            count: facts["grant"]["count"].as_u64().unwrap_or_default(),
            names,
            metadata: text(metadata),
        }
    }

    /// Converts a change of an election in the JSON of REST and WebSocket.
    fn of_election(event: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (facts, kind) = (&event["facts"], text(&event["kind"]));
        let leader = &facts["leader"];
        Self {
            ordinal: event["ordinal"].as_u64().unwrap_or_default(),
            count: count_of(&kind, !leader.is_null()),
            kind,
            session_id: text(&event["session_id"]),
            lock_id: text(&facts["candidate_id"]),
            reason: text(&event["reason"]),
            token: leader["fencing_token"].as_u64().unwrap_or_default(),
            names: vec![(text(&facts["name"]), Mode::Election.as_str().to_owned())],
            metadata: text(&leader["value"]),
        }
    }

    /// Converts an event of gRPC.
    #[must_use]
    pub fn from_wire(event: &v1::Event) -> Self {
        let of = |locks: &[v1::LockRequest]| -> Vec<(String, String)> {
            locks.iter().map(|lock| (lock.name.clone(), wire_mode(lock.mode()).to_owned())).collect()
        };
        let base = Self {
            ordinal: event.ordinal.into(),
            kind: event.kind.clone(),
            session_id: event.session_id.clone(),
            reason: event.reason.clone(),
            ..Self::default()
        };
        match &event.facts {
            Some(Facts::Lock(v1::LockFacts { lock_id, grant: Some(grant), .. })) => Self {
                lock_id: lock_id.clone(),
                token: grant.fencing_token,
                count: grant.count,
                names: of(&grant.locks),
                metadata: grant.metadata.clone(),
                ..base
            },
            Some(Facts::Lock(v1::LockFacts { capacity: Some(resized), .. })) => {
                let names = vec![(resized.name.clone(), String::new())];
                Self { names, token: resized.capacity.into(), ..base }
            }
            Some(Facts::Lock(v1::LockFacts { lock_id, waiter, .. })) => {
                let names = waiter.as_ref().map(|waiter| of(&waiter.locks)).unwrap_or_default();
                Self { lock_id: lock_id.clone(), names, ..base }
            }
            Some(Facts::Election(v1::ElectionFacts { name, candidate_id, leader, .. })) => {
                let (token, metadata) = leader
                    .as_ref()
                    .map(|leader| (leader.fencing_token, leader.value.clone()))
                    .unwrap_or_default();
                let names = vec![(name.clone(), Mode::Election.as_str().to_owned())];
                let count = count_of(&event.kind, leader.is_some());
                Self { lock_id: candidate_id.clone(), token, count, names, metadata, ..base }
            }
            Some(Facts::Register(register)) => {
                let names = vec![(register.name.clone(), String::new())];
                Self { names, token: register.high_water.unwrap_or_default(), ..base }
            }
            Some(Facts::Session(session)) => Self { metadata: session.metadata.clone(), ..base },
            Some(Facts::Access(_) | Facts::Cluster(_)) | None => base,
        }
    }

    /// Converts a change of the state machine.
    #[must_use]
    pub fn from_change(change: &Change) -> Self {
        let base =
            |kind: &str| Self { ordinal: change.ordinal.into(), kind: kind.to_owned(), ..Self::default() };
        match &change.kind {
            ChangeKind::Session(session::Change::SessionOpened { session, metadata, .. }) => {
                Self { session_id: session.to_string(), metadata: metadata.clone(), ..base("session_opened") }
            }
            ChangeKind::Session(session::Change::SessionEnded { session, reason }) => {
                let reason = if *reason == SessionEnd::Closed { "closed" } else { "expired" };
                Self { session_id: session.to_string(), reason: reason.to_owned(), ..base("session_ended") }
            }
            ChangeKind::Lock(lock::Change::LockQueued(wait)) => of_wait(
                base(if wait.election().is_some() { "candidate_queued" } else { "lock_queued" }),
                wait,
            ),
            ChangeKind::Lock(lock::Change::WaitEnded { wait, reason }) => {
                let kind = if wait.election().is_some() { "candidate_gone" } else { "wait_ended" };
                Self { reason: wait_end(*reason).to_owned(), ..of_wait(base(kind), wait) }
            }
            ChangeKind::Lock(lock::Change::LockGranted(grant)) => {
                of_grant(base(if grant.election().is_some() { "elected" } else { "lock_granted" }), grant)
            }
            ChangeKind::Lock(lock::Change::LockExtended(grant)) => of_grant(
                base(if grant.election().is_some() { "leadership_extended" } else { "lock_extended" }),
                grant,
            ),
            ChangeKind::Lock(lock::Change::LockChanged(grant)) => {
                of_grant(base(if grant.election().is_some() { "proclaimed" } else { "lock_changed" }), grant)
            }
            ChangeKind::Lock(lock::Change::LockResized { name, capacity }) => {
                let names = vec![(name.to_string(), String::new())];
                Self { names, token: (*capacity).into(), ..base("lock_resized") }
            }
            ChangeKind::Lock(lock::Change::LockReleased { grant, reason }) => {
                let kind = if grant.election().is_some() { "leader_gone" } else { "lock_released" };
                Self { reason: release_reason(reason).to_owned(), ..of_grant(base(kind), grant) }
            }
            ChangeKind::Register(register::Change::RegisterChanged { name, high_water }) => {
                let kind = if high_water.is_some() { "register_advanced" } else { "register_deleted" };
                let names = vec![(name.to_string(), String::new())];
                Self { names, token: high_water.unwrap_or_default(), ..base(kind) }
            }
            ChangeKind::Access(change) => {
                Self { reason: access_reason(change).to_owned(), ..base(access_kind(change)) }
            }
            ChangeKind::Cluster(cluster::Change::LimitsChanged) => base("limits_changed"),
            ChangeKind::Cluster(cluster::Change::NodeAllocated { .. }) => base("node_allocated"),
            ChangeKind::Cluster(cluster::Change::ClusterInitialised) => base("cluster_initialised"),
            ChangeKind::Cluster(cluster::Change::LevelRaised { .. }) => base("level_raised"),
        }
    }
}

fn wire_mode(mode: v1::LockMode) -> &'static str {
    match mode {
        v1::LockMode::Shared => "shared",
        v1::LockMode::Semaphore => "semaphore",
        v1::LockMode::Election => "election",
        v1::LockMode::Exclusive | v1::LockMode::Unspecified => "exclusive",
    }
}

/// The count of a leadership, which watchers do not see: 1 while it is there.
fn count_of(kind: &str, leads: bool) -> u64 {
    u64::from(leads && kind != "leader_gone")
}

/// The kind of a change of access; nobody here looks further.
fn access_kind(change: &access::Change) -> &'static str {
    match change {
        access::Change::PrincipalChanged { .. } => "principal_changed",
        access::Change::PrincipalDeleted { .. } => "principal_deleted",
        access::Change::GroupChanged { .. } => "group_changed",
        access::Change::RoleChanged { .. } => "role_changed",
        access::Change::BindingAdded { .. } => "binding_added",
        access::Change::BindingEnded { .. } => "binding_ended",
        access::Change::TokenCreated { .. } => "token_created",
        access::Change::TokenEnded { .. } => "token_ended",
        access::Change::AccessModeChanged { .. } => "access_mode_changed",
    }
}

/// Why a binding or a credential ended.
fn access_reason(change: &access::Change) -> &'static str {
    match change {
        access::Change::BindingEnded { reason, .. } | access::Change::TokenEnded { reason, .. } => {
            reason.as_str()
        }
        _ => "",
    }
}

fn names(requests: &[LockRequest]) -> Vec<(String, String)> {
    let mode = |mode: Mode| mode.as_str().to_owned();
    requests.iter().map(|request| (request.name.to_string(), mode(request.mode))).collect()
}

fn session(owner: &OwnerRecord) -> String {
    owner.session.map(|session| session.to_string()).unwrap_or_default()
}

fn of_wait(base: WatchEvent, wait: &Wait) -> WatchEvent {
    let (session_id, lock_id) = (session(&wait.owner), wait.lock_id.to_string());
    WatchEvent { session_id, lock_id, names: names(&wait.requests), ..base }
}

fn of_grant(base: WatchEvent, grant: &Grant) -> WatchEvent {
    WatchEvent {
        session_id: session(&grant.owner),
        lock_id: grant.lock_id.to_string(),
        token: grant.token,
        count: grant.count,
        names: names(&grant.requests),
        metadata: grant.metadata.to_string(),
        ..base
    }
}

fn release_reason(reason: &ReleaseReason) -> &'static str {
    match reason {
        ReleaseReason::Released => "released",
        ReleaseReason::Expired => "expired",
        ReleaseReason::SessionEnded(SessionEnd::Closed) => "session_closed",
        ReleaseReason::SessionEnded(SessionEnd::Expired) => "session_expired",
        ReleaseReason::Forced { .. } => "forced",
    }
}

fn wait_end(reason: WaitEnd) -> &'static str {
    match reason {
        WaitEnd::TimedOut => "timed_out",
        WaitEnd::Cancelled => "cancelled",
        WaitEnd::SessionEnded(SessionEnd::Closed) => "session_closed",
        WaitEnd::SessionEnded(SessionEnd::Expired) => "session_expired",
        WaitEnd::NodeLost => "node_lost",
        WaitEnd::Denied => "permission_denied",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use batuta_statemachine::{LockId, Name, Namespace, Position, PrincipalId, SessionId};
    use serde_json::json;

    use super::*;

    #[test]
    fn leader_that_is_gone_is_the_same_on_every_front() {
        let at = |index| Position { index, ordinal: 0 };
        let grant = Grant {
            lock_id: LockId(at(9)),
            namespace: Namespace::default(),
            requests: [LockRequest { name: Name::new("e").unwrap(), mode: Mode::Election }].into(),
            owner: OwnerRecord {
                principal: PrincipalId::ANONYMOUS,
                session: Some(SessionId(at(7))),
                label: "o".into(),
            },
            token: 3,
            count: 0,
            granted_revision: 9,
            granted_wall_ms: 0,
            ttl_ms: None,
            deadline_ms: None,
            lock_delay_ms: 0,
            metadata: "v".into(),
        };
        let kind = lock::Change::LockReleased { grant: Arc::new(grant), reason: ReleaseReason::Released };
        let change = Change {
            revision: 12,
            ordinal: 2,
            namespace: Some(Namespace::default()),
            kind: ChangeKind::Lock(kind),
        };
        let in_log = WatchEvent::from_change(&change);
        assert_eq!((in_log.kind.as_str(), in_log.count, in_log.token), ("leader_gone", 0, 3));
        let leader = v1::Leader { fencing_token: 3, value: "v".to_owned(), ..Default::default() };
        let facts = v1::ElectionFacts {
            name: "e".to_owned(),
            candidate_id: "l-9.0".to_owned(),
            leader: Some(leader),
            ..Default::default()
        };
        let wire = v1::Event {
            ordinal: 2,
            kind: "leader_gone".to_owned(),
            session_id: "s-7.0".to_owned(),
            reason: "released".to_owned(),
            facts: Some(Facts::Election(facts)),
            ..Default::default()
        };
        assert_eq!(WatchEvent::from_wire(&wire), in_log);
        let leader = json!({"fencing_token": 3, "value": "v"});
        let facts = json!({"area": "election", "name": "e", "candidate_id": "l-9.0", "leader": leader});
        let told = json!({
            "ordinal": 2, "kind": "leader_gone", "session_id": "s-7.0", "reason": "released", "facts": facts,
        });
        assert_eq!(WatchEvent::from_json(&told), in_log);
    }
}
