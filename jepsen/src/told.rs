//! What a watcher is told of one change, the same from every front and from a replay of the log.

use batuta_proto::v1;
use batuta_statemachine::lock::{Grant, LockRequest, Mode, Owner, Wait};
use batuta_statemachine::{
    Change, ChangeKind, ReleaseReason, SessionEnd, WaitEnd, cluster, lock, register, session,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its place in its revision.
    pub ordinal: u64,
    /// Its kind.
    pub kind: String,
    /// The session it belongs to; empty when there is none.
    pub session_id: String,
    /// The acquisition it is about; empty when there is none.
    pub lock_id: String,
    /// Why something ended.
    pub reason: String,
    /// The grant's token, or a register's value.
    pub token: u64,
    /// The count a re-entrant grant has left.
    pub count: u64,
    /// Names and modes it is about.
    pub names: Vec<(String, String)>,
    /// The owner's free text.
    pub metadata: String,
}

impl Told {
    /// From the JSON of REST and WebSocket.
    #[must_use]
    pub fn from_json(event: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let about = if event["grant"].is_null() { &event["waiter"] } else { &event["grant"] };
        let mut names: Vec<(String, String)> = Vec::new();
        for lock in about["locks"].as_array().into_iter().flatten() {
            names.push((text(&lock["name"]), text(&lock["mode"])));
        }
        if event["job"] == "register" {
            names.push((text(&event["name"]), String::new()));
        }
        let token = event["grant"]["fencing_token"].as_u64().or_else(|| event["high_water"].as_u64());
        let metadata =
            if event["grant"].is_null() { &event["metadata"] } else { &event["grant"]["metadata"] };
        Self {
            ordinal: event["ordinal"].as_u64().unwrap_or_default(),
            kind: text(&event["kind"]),
            session_id: text(&event["session_id"]),
            lock_id: text(&event["lock_id"]),
            reason: text(&event["reason"]),
            token: token.unwrap_or_default(),
            count: event["grant"]["count"].as_u64().unwrap_or_default(),
            names,
            metadata: text(metadata),
        }
    }

    /// From gRPC.
    #[must_use]
    pub fn from_wire(event: &v1::Event) -> Self {
        let of = |locks: &[v1::LockRequest]| -> Vec<(String, String)> {
            locks.iter().map(|lock| (lock.name.clone(), wire_mode(lock.mode()).to_owned())).collect()
        };
        let (grant, waiter, register) = (&event.grant, &event.waiter, &event.register);
        let names = grant
            .as_ref()
            .map(|grant| of(&grant.locks))
            .or_else(|| waiter.as_ref().map(|waiter| of(&waiter.locks)))
            .or_else(|| register.as_ref().map(|register| vec![(register.name.clone(), String::new())]));
        let high_water = register.as_ref().map_or(0, |register| register.high_water);
        Self {
            ordinal: event.ordinal.into(),
            kind: event.kind.clone(),
            session_id: event.session_id.clone(),
            lock_id: event.lock_id.clone(),
            reason: event.reason.clone(),
            token: grant.as_ref().map_or(high_water, |grant| grant.fencing_token),
            count: grant.as_ref().map_or(0, |grant| grant.count),
            names: names.unwrap_or_default(),
            metadata: grant.as_ref().map_or_else(|| event.metadata.clone(), |grant| grant.metadata.clone()),
        }
    }

    /// From the state machine.
    #[must_use]
    pub fn from_change(change: &Change) -> Self {
        let told =
            |kind: &str| Self { ordinal: change.ordinal.into(), kind: kind.to_owned(), ..Self::default() };
        match &change.kind {
            ChangeKind::Session(session::Change::SessionOpened { session, metadata, .. }) => {
                Self { session_id: session.to_string(), metadata: metadata.clone(), ..told("session_opened") }
            }
            ChangeKind::Session(session::Change::SessionEnded { session, reason }) => {
                let reason = if *reason == SessionEnd::Closed { "closed" } else { "expired" };
                Self { session_id: session.to_string(), reason: reason.to_owned(), ..told("session_ended") }
            }
            ChangeKind::Lock(lock::Change::LockQueued(wait)) => of_wait(told("lock_queued"), wait),
            ChangeKind::Lock(lock::Change::WaitEnded { wait, reason }) => {
                Self { reason: wait_end(*reason).to_owned(), ..of_wait(told("wait_ended"), wait) }
            }
            ChangeKind::Lock(lock::Change::LockGranted(grant)) => of_grant(told("lock_granted"), grant),
            ChangeKind::Lock(lock::Change::LockExtended(grant)) => of_grant(told("lock_extended"), grant),
            ChangeKind::Lock(lock::Change::LockReleased { grant, reason }) => {
                Self { reason: release_reason(reason).to_owned(), ..of_grant(told("lock_released"), grant) }
            }
            ChangeKind::Register(register::Change::RegisterChanged { name, high_water }) => {
                let kind = if high_water.is_some() { "register_advanced" } else { "register_deleted" };
                let names = vec![(name.to_string(), String::new())];
                Self { names, token: high_water.unwrap_or_default(), ..told(kind) }
            }
            ChangeKind::Cluster(cluster::Change::LimitsChanged) => told("limits_changed"),
            ChangeKind::Cluster(cluster::Change::NodeAllocated { .. }) => told("node_allocated"),
            ChangeKind::Cluster(cluster::Change::ClusterInitialised) => told("cluster_initialised"),
        }
    }
}

fn wire_mode(mode: v1::LockMode) -> &'static str {
    match mode {
        v1::LockMode::Shared => "shared",
        v1::LockMode::Semaphore => "semaphore",
        v1::LockMode::Exclusive | v1::LockMode::Unspecified => "exclusive",
    }
}

fn names(requests: &[LockRequest]) -> Vec<(String, String)> {
    let mode = |mode: Mode| mode.as_str().to_owned();
    requests.iter().map(|request| (request.name.to_string(), mode(request.mode))).collect()
}

fn session(owner: &Owner) -> String {
    owner.session.map(|session| session.to_string()).unwrap_or_default()
}

fn of_wait(told: Told, wait: &Wait) -> Told {
    let (session_id, lock_id) = (session(&wait.owner), wait.lock_id.to_string());
    Told { session_id, lock_id, names: names(&wait.requests), ..told }
}

fn of_grant(told: Told, grant: &Grant) -> Told {
    Told {
        session_id: session(&grant.owner),
        lock_id: grant.lock_id.to_string(),
        token: grant.token,
        count: grant.count,
        names: names(&grant.requests),
        metadata: grant.metadata.to_string(),
        ..told
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
    }
}
