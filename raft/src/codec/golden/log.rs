//! Samples of log entries: every command, every kind of retry key.

use batuta_statemachine::cluster::{AllocateNode, InitCluster, RaiseLevel, SetLimits};
use batuta_statemachine::lock::{
    Acquire, By, CancelScope, CancelWait, Downgrade, Extend, ForceRelease, GrantRef, LockRequest, Mode,
    Release, Resize, SetMetadata, WithdrawWaits,
};
use batuta_statemachine::register::{AdvanceRegister, DeleteRegister};
use batuta_statemachine::session::{CloseSession, KeepAlive, OpenSession};
use batuta_statemachine::{
    Actor, Command, DedupKey, Entry, LimitsPatch, LockId, Namespace, Request, SessionId, Stamp,
};

use super::state::{at, caller, calls, name, owner, requests};
use super::{Sample, access};
use crate::codec::{self, decode_entry, encode_entry};

fn sessions() -> Vec<(&'static str, Command)> {
    let (namespace, session) = (Namespace::default(), SessionId(at(7)));
    vec![
        (
            "open_session",
            Command::from(OpenSession {
                namespace: namespace.clone(),
                ttl_ms: 10_000,
                metadata: "m".to_owned(),
            }),
        ),
        ("keep_alive", Command::from(KeepAlive { sessions: vec![session, SessionId(at(9))] })),
        (
            "close_session",
            Command::from(CloseSession { namespace: namespace.clone(), session, lock_delay: false }),
        ),
        (
            "close_session_with_lock_delay",
            Command::from(CloseSession { namespace, session, lock_delay: true }),
        ),
    ]
}

fn acquire() -> Acquire {
    Acquire {
        namespace: Namespace::default(),
        requests: requests(),
        owner: owner(),
        ttl_ms: Some(60_000),
        wait_ms: 5_000,
        lock_delay_ms: 15,
        reentrant: true,
        metadata: "m".to_owned(),
        call: calls().first().copied(),
    }
}

fn campaign() -> Acquire {
    let requests = vec![LockRequest { name: name(), mode: Mode::Election }];
    Acquire { requests, reentrant: false, ..acquire() }
}

fn locks() -> Vec<(&'static str, Command)> {
    let (namespace, lock_id) = (Namespace::default(), LockId(at(9)));
    let cancel =
        |call, scope| Command::from(CancelWait { namespace: namespace.clone(), lock_id, call, scope });
    let release = |by: By| Command::from(Release { namespace: namespace.clone(), grant: GrantRef::from(by) });
    let of_session = |by| GrantRef { by, session: Some(SessionId(at(7))) };
    vec![
        ("acquire", Command::from(acquire())),
        ("campaign", Command::from(campaign())),
        ("cancel_wait", cancel(None, CancelScope::Wait)),
        ("cancel_wait_or_grant", cancel(calls().first().copied(), CancelScope::WaitOrGrant)),
        ("cancel_call", cancel(calls().first().copied(), CancelScope::Call)),
        ("withdraw_waits", Command::from(WithdrawWaits { node_id: 3, except_boot: Some(4) })),
        ("release_by_id", release(By::Id { lock_id, name: None })),
        ("release_by_id_and_name", release(By::Id { lock_id, name: Some(name()) })),
        ("release_by_token", release(By::Token { name: name(), token: 11 })),
        (
            "extend",
            Command::from(Extend { namespace: namespace.clone(), lock_id, name: Some(name()), ttl_ms: 9 }),
        ),
        (
            "force_release",
            Command::from(ForceRelease {
                namespace: namespace.clone(),
                name: name(),
                token: 11,
                reason: "stuck".to_owned(),
            }),
        ),
        (
            "release_of_a_session",
            Command::from(Release {
                namespace: namespace.clone(),
                grant: of_session(By::Id { lock_id, name: None }),
            }),
        ),
        (
            "downgrade",
            Command::from(Downgrade {
                namespace: namespace.clone(),
                grant: of_session(By::Id { lock_id, name: Some(name()) }),
            }),
        ),
        (
            "set_metadata",
            Command::from(SetMetadata {
                namespace: namespace.clone(),
                grant: By::Token { name: name(), token: 11 }.into(),
                metadata: "m".to_owned(),
            }),
        ),
        ("resign", release(By::Leader { name: name(), token: 11 })),
        (
            "proclaim",
            Command::from(SetMetadata {
                namespace: namespace.clone(),
                grant: of_session(By::Leader { name: name(), token: 11 }),
                metadata: "m".to_owned(),
            }),
        ),
        ("resize", Command::from(Resize { namespace, name: name(), capacity: 12 })),
    ]
}

fn registers() -> Vec<(&'static str, Command)> {
    let (namespace, name) = (Namespace::default(), name());
    let advance = AdvanceRegister { namespace: namespace.clone(), name: name.clone(), token: 11 };
    vec![
        ("advance_register", Command::from(advance)),
        ("delete_register", Command::from(DeleteRegister { namespace, name })),
    ]
}

fn cluster() -> Vec<(&'static str, Command)> {
    let values = vec![("name_bytes_max".to_owned(), 64)];
    vec![
        ("init_cluster", Command::from(InitCluster { cluster_id: "c0ffee".to_owned(), next_node_id: 4 })),
        ("allocate_node", Command::from(AllocateNode { node_name: "n3".to_owned() })),
        ("set_limits", Command::from(SetLimits { patch: LimitsPatch { values } })),
        ("raise_level", Command::from(RaiseLevel { level: 2, version: "0.2.0".to_owned() })),
    ]
}

fn sample(name: &str, request: Request) -> Sample {
    let entry = Entry { stamp: Stamp { now_ms: 5, wall_ms: 1_700_000_000_000 }, requests: vec![request] };
    let read = |bytes: &[u8]| decode_entry(bytes).expect("decodes");
    Sample::new(format!("entry/{name}"), "Entry", entry, encode_entry, read)
}

pub(super) fn samples() -> Vec<Sample> {
    let commands = sessions().into_iter().chain(locks()).chain(registers()).chain(cluster());
    let commands = commands.chain(access::commands());
    let mut samples: Vec<Sample> = commands
        .map(|(name, command)| sample(name, Request::new(None, command).by(Actor::ANONYMOUS)))
        .collect();
    // A request with a key carries a fingerprint, which must not change either.
    let key = DedupKey::Idempotency { namespace: Namespace::default(), key: "k".to_owned() };
    samples.push(sample(
        "acquire_under_a_key",
        codec::request(Some(key), Command::from(acquire())).by(Actor::ANONYMOUS),
    ));
    let key = DedupKey::Sequence { session: SessionId(at(7)), sequence: 12 };
    let release = Release {
        namespace: Namespace::default(),
        grant: By::Id { lock_id: LockId(at(9)), name: None }.into(),
    };
    samples.push(sample(
        "release_by_sequence",
        codec::request(Some(key), Command::from(release)).by(Actor::ANONYMOUS),
    ));
    for (name, actor) in [("acquire_by_a_caller", caller()), ("acquire_by_a_node", Actor::Node)] {
        samples.push(sample(name, Request::new(None, acquire()).by(actor)));
    }
    samples
}
