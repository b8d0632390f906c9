//! Every answer and every record of an image survives its encoding.

use std::sync::Arc;

use batuta_statemachine::lock::{Grant, LockRequest, Mode, Owner, ServingCall, Wait};
use batuta_statemachine::{
    Ended, ImageRecord, LockId, Name, Namespace, Outcome, Position, Rejection, ReleaseReason,
    RememberedReply, Reply, SessionEnd, SessionId, WaitEnd,
};

use super::{image_record, image_record_to_wire, outcome, outcome_to_wire};

fn at(index: u64) -> Position {
    Position { index, ordinal: 3 }
}

fn name() -> Name {
    Name::new("orders/42").expect("valid")
}

fn requests() -> Vec<LockRequest> {
    let modes = [Mode::Exclusive, Mode::Shared, Mode::Semaphore { permits: 2, capacity: 5 }];
    modes.into_iter().map(|mode| LockRequest { name: name(), mode }).collect()
}

fn owner() -> Owner {
    Owner { session: Some(SessionId(at(7))), label: "worker".to_owned() }
}

fn grant() -> Grant {
    Grant {
        lock_id: LockId(at(9)),
        namespace: Namespace::default(),
        requests: requests().into(),
        owner: owner(),
        token: 11,
        count: 2,
        granted_revision: 9,
        granted_wall_ms: 1_700_000_000_000,
        ttl_ms: Some(0),
        deadline_ms: None,
        lock_delay_ms: 5,
        metadata: "m".into(),
    }
}

fn replies() -> Vec<Reply> {
    let wait = Wait {
        lock_id: LockId(at(10)),
        namespace: Namespace::default(),
        requests: requests(),
        owner: Owner { session: None, label: String::new() },
        deadline_ms: 99,
        queue_position: 4,
    };
    vec![
        Reply::SessionOpened { session: SessionId(at(1)), ttl_ms: 2, deadline_ms: 3, opened_wall_ms: 4 },
        Reply::KeptAlive(vec![Some(0), None, Some(7)]),
        Reply::SessionClosed { released_grants: 1, cancelled_waits: 2 },
        Reply::Granted(Arc::new(grant())),
        Reply::Queued(wait),
        Reply::WaitCancelled { lock_id: LockId(at(2)) },
        Reply::Released { lock_id: LockId(at(3)), token: 5, remaining_count: 1 },
        Reply::Extended(Arc::new(grant())),
        Reply::RegisterAdvanced { high_water: 0 },
        Reply::RegisterDeleted { high_water: 8 },
        Reply::ClusterInitialised,
        Reply::NodeAllocated { node_id: 0 },
        Reply::LimitsSet,
        Reply::WaitsWithdrawn { waits: 3 },
    ]
}

fn release_reasons() -> Vec<ReleaseReason> {
    vec![
        ReleaseReason::Released,
        ReleaseReason::Expired,
        ReleaseReason::SessionEnded(SessionEnd::Closed),
        ReleaseReason::SessionEnded(SessionEnd::Expired),
        ReleaseReason::Forced { reason: "stuck".to_owned() },
    ]
}

fn wait_ends() -> Vec<WaitEnd> {
    vec![
        WaitEnd::TimedOut,
        WaitEnd::Cancelled,
        WaitEnd::SessionEnded(SessionEnd::Closed),
        WaitEnd::SessionEnded(SessionEnd::Expired),
        WaitEnd::NodeLost,
    ]
}

fn rejections() -> Vec<Rejection> {
    let lock_id = LockId(at(5));
    let session = SessionId(at(6));
    let mut all = vec![
        Rejection::InvalidArgument { field: "ttl_ms".into(), problem: "is missing".to_owned() },
        Rejection::LimitExceeded { limit: "a_max".into(), max: 3, remedy: "wait".into() },
        Rejection::SessionNotFound { session },
        Rejection::NamespaceMismatch { session, namespace: Namespace::default() },
        Rejection::LockHeld { name: name(), holder_tokens: vec![1, 2], waiters: 3 },
        Rejection::LockDelayed { name: name(), remaining_ms: 4 },
        Rejection::LockNotHeld { lock_id },
        Rejection::ForeignLock { lock_id },
        Rejection::Deadlock { cycle: vec!["a".to_owned(), "b".to_owned()] },
        Rejection::ModeMismatch { name: name(), actual: "semaphore".into() },
        Rejection::CapacityMismatch { name: name(), actual: 9 },
        Rejection::OwnedBySession { lock_id, session },
        Rejection::TokenSuperseded { token: 1, newest: 2 },
        Rejection::RegisterNotFound { name: name() },
        Rejection::KeyReused,
        Rejection::SequenceTooOld { sequence: 1, oldest: 2 },
        Rejection::AlreadyInitialised { cluster_id: "c0ffee".to_owned() },
    ];
    all.extend(release_reasons().into_iter().map(|reason| Rejection::GrantEnded { lock_id, reason }));
    all.extend(wait_ends().into_iter().map(|reason| Rejection::WaitEnded { lock_id, reason }));
    all
}

/// Fails to compile when a variant is added that the lists above may lack.
fn is_listed(outcome: &Outcome) {
    match outcome {
        Ok(
            Reply::SessionOpened { .. }
            | Reply::KeptAlive(_)
            | Reply::SessionClosed { .. }
            | Reply::Granted(_)
            | Reply::Queued(_)
            | Reply::WaitCancelled { .. }
            | Reply::Released { .. }
            | Reply::Extended(_)
            | Reply::RegisterAdvanced { .. }
            | Reply::RegisterDeleted { .. }
            | Reply::ClusterInitialised
            | Reply::NodeAllocated { .. }
            | Reply::LimitsSet
            | Reply::WaitsWithdrawn { .. },
        )
        | Err(
            Rejection::InvalidArgument { .. }
            | Rejection::LimitExceeded { .. }
            | Rejection::SessionNotFound { .. }
            | Rejection::NamespaceMismatch { .. }
            | Rejection::LockHeld { .. }
            | Rejection::LockDelayed { .. }
            | Rejection::LockNotHeld { .. }
            | Rejection::ForeignLock { .. }
            | Rejection::GrantEnded { .. }
            | Rejection::WaitEnded { .. }
            | Rejection::Deadlock { .. }
            | Rejection::ModeMismatch { .. }
            | Rejection::CapacityMismatch { .. }
            | Rejection::OwnedBySession { .. }
            | Rejection::TokenSuperseded { .. }
            | Rejection::RegisterNotFound { .. }
            | Rejection::KeyReused
            | Rejection::SequenceTooOld { .. }
            | Rejection::AlreadyInitialised { .. },
        ) => {}
    }
}

#[test]
fn every_outcome_survives_its_encoding() {
    let all = replies().into_iter().map(Ok).chain(rejections().into_iter().map(Err));
    for answer in all {
        is_listed(&answer);
        assert_eq!(outcome(outcome_to_wire(&answer)).expect("decodes"), answer);
    }
}

fn calls() -> Vec<ServingCall> {
    let call = |number| ServingCall { node_id: 3, boot_id: u64::MAX, number };
    vec![call(1), call(2)]
}

fn records() -> Vec<ImageRecord> {
    let (namespace, session) = (Namespace::default(), SessionId(at(1)));
    let mut all = vec![
        ImageRecord::Session {
            session,
            namespace: namespace.clone(),
            ttl_ms: 1,
            deadline_ms: 2,
            opened_wall_ms: 3,
            metadata: "m".to_owned(),
            window_floor: 4,
        },
        ImageRecord::Grant(grant()),
        ImageRecord::Wait {
            lock_id: LockId(at(2)),
            namespace: namespace.clone(),
            requests: requests(),
            owner: owner(),
            ttl_ms: Some(5),
            lock_delay_ms: 6,
            metadata: String::new(),
            deadline_ms: 7,
            calls: calls(),
        },
        ImageRecord::Unconfirmed { lock_id: LockId(at(3)), calls: calls(), at_ms: 8 },
        ImageRecord::Unconfirmed { lock_id: LockId(at(4)), calls: Vec::new(), at_ms: 0 },
        ImageRecord::Delay { namespace: namespace.clone(), name: name(), capacity: Some(0), until_ms: 8 },
        ImageRecord::Register { namespace: namespace.clone(), name: name(), high_water: 9 },
        ImageRecord::Sequence {
            session,
            sequence: 10,
            fingerprint: u64::MAX,
            revision: 16,
            reply: RememberedReply::Acquisition(LockId(at(11))),
        },
        ImageRecord::Idempotency {
            namespace,
            key: "k".to_owned(),
            fingerprint: 12,
            position: at(13),
            at_ms: 14,
            reply: RememberedReply::Outcome(Err(Rejection::KeyReused)),
        },
    ];
    let ended =
        release_reasons().into_iter().map(Ended::Grant).chain(wait_ends().into_iter().map(Ended::Wait));
    all.extend(ended.map(|ended| ImageRecord::Ended { lock_id: LockId(at(15)), ended }));
    all
}

#[test]
fn every_record_of_an_image_survives_its_encoding() {
    for record in records() {
        match &record {
            ImageRecord::Session { .. }
            | ImageRecord::Grant(_)
            | ImageRecord::Wait { .. }
            | ImageRecord::Unconfirmed { .. }
            | ImageRecord::Delay { .. }
            | ImageRecord::Register { .. }
            | ImageRecord::Ended { .. }
            | ImageRecord::Sequence { .. }
            | ImageRecord::Idempotency { .. } => {}
        }
        assert_eq!(image_record(image_record_to_wire(&record)).expect("decodes"), record);
    }
}
