//! Samples of outcomes, and of the state as snapshots store it.

use std::sync::Arc;

use batuta_proto::internal as wire;
use batuta_statemachine::access;
use batuta_statemachine::lock::{
    Grant, LockRequest, Mode, Owner, OwnerRecord, ServingCall, Wait, WaitRecord,
};
use batuta_statemachine::{
    Actor, Ended, ImageHeader, ImageRecord, LEVEL_MIN, Limits, LockId, Name, Namespace, Outcome, Permission,
    Position, Principal, PrincipalId, PrincipalName, Rejection, ReleaseReason, RememberedReply, Reply,
    RetryRecord, SessionEnd, SessionId, TokenId, WaitEnd, cluster, lock, register, session,
};
use prost::Message as _;

use super::Sample;
use crate::codec::{
    image_header, image_header_to_wire, image_record, image_record_to_wire, outcome, outcome_to_wire,
};

pub(super) fn at(index: u64) -> Position {
    Position { index, ordinal: 3 }
}

pub(super) fn name() -> Name {
    Name::new("orders/42").expect("valid")
}

pub(super) fn requests() -> Vec<LockRequest> {
    let modes = [Mode::Exclusive, Mode::Shared, Mode::Semaphore { permits: 2, capacity: 5 }];
    modes.into_iter().map(|mode| LockRequest { name: name(), mode }).collect()
}

pub(super) fn owner() -> Owner {
    Owner { session: Some(SessionId(at(7))), label: "worker".to_owned() }
}

/// The owner of a record whose principal is not stored.
fn nobody() -> OwnerRecord {
    let Owner { session, label } = owner();
    OwnerRecord { principal: PrincipalId::ANONYMOUS, session, label: label.into() }
}

fn somebody() -> OwnerRecord {
    OwnerRecord { principal: PrincipalId(at(17)), ..nobody() }
}

pub(super) fn token() -> TokenId {
    TokenId::new("abcDEF012345").expect("valid")
}

pub(super) fn caller() -> Actor {
    Actor::Caller { principal: PrincipalId(at(17)), credential: Some(token()) }
}

pub(super) fn calls() -> Vec<ServingCall> {
    let call = |number| ServingCall { node_id: 3, boot_id: u64::MAX, number };
    vec![call(1), call(2)]
}

fn grant() -> Grant {
    Grant {
        lock_id: LockId(at(9)),
        namespace: Namespace::default(),
        requests: requests().into(),
        owner: nobody(),
        token: 11,
        count: 2,
        granted_revision: 9,
        granted_wall_ms: 1_700_000_000_000,
        ttl_ms: Some(0),
        deadline_ms: Some(77),
        lock_delay_ms: 5,
        metadata: "m".into(),
    }
}

fn replies() -> Vec<(&'static str, Reply)> {
    let wait = Wait {
        lock_id: LockId(at(10)),
        namespace: Namespace::default(),
        requests: requests(),
        owner: OwnerRecord { principal: PrincipalId::ANONYMOUS, session: None, label: "".into() },
        deadline_ms: 99,
        queue_position: 4,
    };
    let opened = Reply::Session(session::Reply::SessionOpened(session::SessionOpened {
        session: SessionId(at(1)),
        ttl_ms: 2,
        deadline_ms: 3,
        opened_wall_ms: 4,
        principal: PrincipalId::ANONYMOUS,
    }));
    vec![
        ("session_opened", opened),
        (
            "kept_alive",
            Reply::Session(session::Reply::KeptAlive(session::KeptAlive {
                deadlines_ms: vec![Some(0), None, Some(7)],
            })),
        ),
        (
            "session_closed",
            Reply::Session(session::Reply::SessionClosed(session::SessionClosed {
                released_grants: 1,
                cancelled_waits: 2,
            })),
        ),
        ("granted", Reply::Lock(lock::Reply::Acquired(lock::Acquired::Granted(Arc::new(grant()))))),
        ("queued", Reply::Lock(lock::Reply::Acquired(lock::Acquired::Queued(wait)))),
        (
            "wait_cancelled",
            Reply::Lock(lock::Reply::WaitCancelled(lock::WaitCancelled { lock_id: LockId(at(2)) })),
        ),
        (
            "released",
            Reply::Lock(lock::Reply::Released(lock::Released {
                lock_id: LockId(at(3)),
                token: 5,
                remaining_count: 1,
            })),
        ),
        ("extended", Reply::Lock(lock::Reply::Extended(lock::Extended { grant: Arc::new(grant()) }))),
        (
            "register_advanced",
            Reply::Register(register::Reply::RegisterAdvanced(register::RegisterAdvanced { high_water: 6 })),
        ),
        (
            "register_deleted",
            Reply::Register(register::Reply::RegisterDeleted(register::RegisterDeleted { high_water: 0 })),
        ),
        (
            "cluster_initialised",
            Reply::Cluster(cluster::Reply::ClusterInitialised(cluster::ClusterInitialised)),
        ),
        (
            "node_allocated",
            Reply::Cluster(cluster::Reply::NodeAllocated(cluster::NodeAllocated { node_id: 4 })),
        ),
        ("limits_set", Reply::Cluster(cluster::Reply::LimitsSet(cluster::LimitsSet))),
        ("level_raised", Reply::Cluster(cluster::Reply::LevelRaised(cluster::LevelRaised { level: 2 }))),
        ("waits_withdrawn", Reply::Lock(lock::Reply::WaitsWithdrawn(lock::WaitsWithdrawn { waits: 3 }))),
    ]
}

fn replies_to_holders() -> Vec<(&'static str, Reply)> {
    let grant = Arc::new(grant());
    let resized = lock::Resized { name: name(), capacity: 8, permits_held: 9 };
    let downgraded = lock::Downgraded { grant: Arc::clone(&grant) };
    vec![
        ("downgraded", Reply::Lock(lock::Reply::Downgraded(downgraded))),
        ("metadata_set", Reply::Lock(lock::Reply::MetadataSet(lock::MetadataSet { grant }))),
        ("resized", Reply::Lock(lock::Reply::Resized(resized))),
    ]
}

/// Replies that tell whose something is.
fn replies_with_owners() -> Vec<(&'static str, Reply)> {
    let opened = session::SessionOpened {
        session: SessionId(at(1)),
        ttl_ms: 2,
        deadline_ms: 3,
        opened_wall_ms: 4,
        principal: PrincipalId(at(17)),
    };
    let granted = lock::Acquired::Granted(Arc::new(Grant { owner: somebody(), ..grant() }));
    vec![
        ("session_opened_by_a_principal", Reply::Session(session::Reply::SessionOpened(opened))),
        ("granted_to_a_principal", Reply::Lock(lock::Reply::Acquired(granted))),
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
        WaitEnd::Denied,
    ]
}

fn rejections() -> Vec<Rejection> {
    let lock_id = LockId(at(5));
    let session = SessionId(at(6));
    vec![
        Rejection::InvalidArgument { field: "ttl_ms".into(), problem: "is missing".to_owned() },
        Rejection::LimitExceeded { limit: "a_max".into(), max: 3, remedy: "wait".into() },
        Rejection::Session(session::Refusal::SessionNotFound { session }),
        Rejection::Session(session::Refusal::NamespaceMismatch { session, namespace: Namespace::default() }),
        Rejection::Lock(lock::Refusal::LockHeld { name: name(), holder_tokens: vec![1, 2], waiters: 3 }),
        Rejection::Lock(lock::Refusal::LockDelayed { name: name(), remaining_ms: 4 }),
        Rejection::Lock(lock::Refusal::LockNotHeld { lock_id }),
        Rejection::Lock(lock::Refusal::AlreadyGranted { lock_id, token: 7 }),
        Rejection::Lock(lock::Refusal::Deadlock { cycle: vec!["a".to_owned(), "b".to_owned()] }),
        Rejection::Lock(lock::Refusal::ModeMismatch { name: name(), actual: "semaphore".into() }),
        Rejection::Lock(lock::Refusal::CapacityMismatch { name: name(), actual: 9 }),
        Rejection::Lock(lock::Refusal::OwnedBySession { lock_id, session }),
        Rejection::Lock(lock::Refusal::NotOwner { lock_id, session }),
        Rejection::Lock(lock::Refusal::NotInUse { name: name() }),
        Rejection::Lock(lock::Refusal::TokenSuperseded { token: 1, newest: 2 }),
        Rejection::Register(register::Refusal::RegisterNotFound { name: name() }),
        Rejection::KeyReused,
        Rejection::SequenceTooOld { sequence: 1, oldest: 2 },
        Rejection::Cluster(cluster::Refusal::AlreadyInitialised { cluster_id: "c0ffee".to_owned() }),
    ]
}

fn ann() -> Principal {
    Principal::User(PrincipalName::new("ann").expect("valid"))
}

fn permission_denied(name: Option<Name>) -> access::Refusal {
    access::Refusal::PermissionDenied {
        principal: ann(),
        permission: Permission::LockAcquire,
        namespace: Namespace::default(),
        name,
    }
}

fn outcomes() -> Vec<(String, Outcome)> {
    let lock_id = LockId(at(5));
    let replies = replies().into_iter().chain(replies_to_holders()).chain(replies_with_owners());
    let replies = replies.chain(super::access::replies());
    let replies = replies.map(|(name, reply)| (name.to_owned(), Ok(reply)));
    let rejections = rejections().into_iter().chain(super::access::rejections());
    let rejections = rejections.map(|rejection| (rejection.code().to_string(), Err(rejection)));
    // These refusals are added by hand: they share a code with another refusal, or have several codes.
    let foreign = ("foreign_lock".to_owned(), Err(Rejection::Lock(lock::Refusal::ForeignLock { lock_id })));
    let denied =
        [("permission_denied_without_a_name".to_owned(), Err(Rejection::Access(permission_denied(None))))];
    let grants = release_reasons().into_iter().map(|reason| {
        (
            format!("grant_ended_{}", reason.as_str()),
            Err(Rejection::Lock(lock::Refusal::GrantEnded { lock_id, reason })),
        )
    });
    let waits = wait_ends().into_iter().map(|reason| {
        (
            format!("wait_ended_{}", reason.as_str()),
            Err(Rejection::Lock(lock::Refusal::WaitEnded { lock_id, reason })),
        )
    });
    replies.chain(rejections).chain([foreign]).chain(denied).chain(grants).chain(waits).collect()
}

fn records() -> Vec<(&'static str, ImageRecord)> {
    let (namespace, session) = (Namespace::default(), SessionId(at(1)));
    let opened = session::Record {
        session,
        namespace: namespace.clone(),
        ttl_ms: 1,
        deadline_ms: 2,
        opened_wall_ms: 3,
        metadata: "m".to_owned(),
        window_floor: 4,
        principal: PrincipalId::ANONYMOUS,
    };
    let opened_by = session::Record { principal: PrincipalId(at(17)), ..opened.clone() };
    let wait = WaitRecord {
        namespace: namespace.clone(),
        requests: requests(),
        owner: nobody(),
        actor: Actor::ANONYMOUS,
        ttl_ms: Some(5),
        lock_delay_ms: 6,
        metadata: "m".to_owned(),
        deadline_ms: 7,
        calls: calls(),
    };
    let wait_of = WaitRecord { owner: somebody(), actor: caller(), ..wait.clone() };
    let unconfirmed =
        |index, calls, at_ms| lock::Record::Unconfirmed { lock_id: LockId(at(index)), calls, at_ms };
    let delay = |capacity, election| lock::Record::Delay {
        namespace: Namespace::default(),
        name: name(),
        capacity,
        election,
        until_ms: 8,
    };
    let register = register::Record { namespace: namespace.clone(), name: name(), high_water: 9 };
    let sequence = RetryRecord::Sequence {
        session,
        sequence: 10,
        fingerprint: u64::MAX,
        revision: 16,
        reply: RememberedReply::Acquisition(LockId(at(11))),
    };
    let idempotency = |principal| RetryRecord::Idempotency {
        principal,
        namespace: namespace.clone(),
        key: "k".to_owned(),
        fingerprint: 12,
        position: at(13),
        at_ms: 14,
        reply: RememberedReply::Outcome(Err(Rejection::KeyReused)),
    };
    vec![
        ("session", opened.into()),
        ("grant", lock::Record::Grant(grant()).into()),
        ("wait", lock::Record::Wait { lock_id: LockId(at(2)), wait }.into()),
        ("unconfirmed", unconfirmed(3, calls(), 8).into()),
        ("unclaimed", unconfirmed(4, Vec::new(), 0).into()),
        ("delay", delay(Some(5), false).into()),
        ("delay_of_an_election", delay(None, true).into()),
        ("register", register.into()),
        ("sequence", sequence.into()),
        ("idempotency", idempotency(PrincipalId::ANONYMOUS).into()),
        ("session_of_a_principal", opened_by.into()),
        ("grant_of_a_principal", lock::Record::Grant(Grant { owner: somebody(), ..grant() }).into()),
        ("wait_of_a_principal", lock::Record::Wait { lock_id: LockId(at(2)), wait: wait_of }.into()),
        ("idempotency_of_a_principal", idempotency(PrincipalId(at(17))).into()),
    ]
}

fn all_records() -> Vec<(String, ImageRecord)> {
    let lock_id = LockId(at(15));
    let ended = |name: String, ended| (name, ImageRecord::from(RetryRecord::Ended { lock_id, ended }));
    let grants = release_reasons()
        .into_iter()
        .map(|reason| ended(format!("ended_grant_{}", reason.as_str()), Ended::Grant(reason)));
    let waits = wait_ends()
        .into_iter()
        .map(|reason| ended(format!("ended_wait_{}", reason.as_str()), Ended::Wait(reason)));
    let records = records().into_iter().chain(super::access::records());
    let records = records.map(|(name, record)| (name.to_owned(), record));
    records.chain(grants).chain(waits).collect()
}

fn header() -> ImageHeader {
    let mut limits = Limits::default();
    limits.common.name_bytes_max = 64;
    ImageHeader {
        revision: 1,
        now_ms: 2,
        wall_ms: 3,
        limits,
        cluster_id: Some("c0ffee".to_owned()),
        next_node_id: 4,
        last_token: 5,
        level: LEVEL_MIN,
        level_version: String::new(),
    }
}

pub(super) fn samples() -> Vec<Sample> {
    let outcomes = outcomes().into_iter().map(|(name, answer)| {
        let write = |answer: &Outcome| outcome_to_wire(answer).encode_to_vec();
        let read = |bytes: &[u8]| outcome(wire::Outcome::decode(bytes).expect("decodes")).expect("is known");
        Sample::new(format!("outcome/{name}"), "Outcome", answer, write, read)
    });
    let records = all_records().into_iter().map(|(name, record)| {
        let write = |record: &ImageRecord| image_record_to_wire(record).encode_to_vec();
        let read = |bytes: &[u8]| {
            image_record(wire::ImageRecord::decode(bytes).expect("decodes")).expect("is known")
        };
        Sample::new(format!("record/{name}"), "ImageRecord", record, write, read)
    });
    // Only one limit is written, so that a build that adds limits still has the same bytes.
    let write = |header: &ImageHeader| {
        let mut header = image_header_to_wire(header);
        header.limits.retain(|limit| limit.name == "name_bytes_max");
        header.encode_to_vec()
    };
    let read =
        |bytes: &[u8]| image_header(wire::ImageHeader::decode(bytes).expect("decodes")).expect("is known");
    let raised = ImageHeader { level: 2, level_version: "0.2.0".to_owned(), ..header() };
    let headers = [("header", header()), ("header_of_a_raised_level", raised)]
        .map(|(name, header)| Sample::new(name, "ImageHeader", header, write, read));
    outcomes.chain(records).chain(headers).collect()
}
