//! Every command survives its encoding. Bytes that are damaged or of a newer build are refused, never guessed.

use batuta_proto::internal as wire;
use batuta_raft::codec::{self, DecodeError, decode_entry, encode_entry};
use batuta_statemachine::access::{
    Bind, BindingId, CreateToken, ExtendBinding, Namespaces, Narrowing, NewToken, OnEnd, PasswordHash,
    Pattern, PutGroup, PutRole, RotateToken, Rule, SecretHash, SetPassword, Subject, TokenSecret, Unbind,
};
use batuta_statemachine::cluster::{AllocateNode, InitCluster, RaiseLevel, SetLimits};
use batuta_statemachine::lock::{
    Acquire, By, CancelScope, CancelWait, Downgrade, Extend, ForceRelease, GrantRef, LockRequest, Mode,
    Owner, Release, Resize, ServingCall, SetMetadata, WithdrawWaits,
};
use batuta_statemachine::register::{AdvanceRegister, DeleteRegister};
use batuta_statemachine::session::{CloseSession, KeepAlive, OpenSession};
use batuta_statemachine::{
    Actor, Command, DedupKey, Entry, LEVEL_MIN, LimitsPatch, LockId, Name, Namespace, Permission, Position,
    Principal, PrincipalId, PrincipalName, Request, SessionId, Stamp, TokenId,
};
use proptest::prelude::*;
use prost::Message as _;

fn name() -> impl Strategy<Value = Name> {
    "[a-zä]{1,8}(/[0-9]{1,3}){0,2}".prop_map(|text| Name::new(&text).expect("a valid name"))
}

fn namespace() -> impl Strategy<Value = Namespace> {
    "[a-z][a-z0-9-]{0,8}".prop_map(|text| Namespace::new(&text).expect("a valid namespace"))
}

fn position() -> impl Strategy<Value = Position> {
    (any::<u64>(), any::<u32>()).prop_map(|(index, ordinal)| Position { index, ordinal })
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        Just(Mode::Exclusive),
        Just(Mode::Shared),
        Just(Mode::Election),
        (any::<u32>(), any::<u32>()).prop_map(|(permits, capacity)| Mode::Semaphore { permits, capacity }),
    ]
}

fn acquire() -> impl Strategy<Value = Acquire> {
    let requests =
        prop::collection::vec((name(), mode()).prop_map(|(name, mode)| LockRequest { name, mode }), 0..4);
    let owner = (prop::option::of(position().prop_map(SessionId)), ".{0,6}");
    let times = (prop::option::of(any::<u64>()), any::<u64>(), any::<u64>());
    let told = (any::<bool>(), ".{0,9}", call());
    (namespace(), requests, owner, times, told).prop_map(
        |(
            namespace,
            requests,
            (session, label),
            (ttl_ms, wait_ms, lock_delay_ms),
            (reentrant, metadata, call),
        )| {
            Acquire {
                namespace,
                requests,
                owner: Owner { session, label },
                ttl_ms,
                wait_ms,
                lock_delay_ms,
                reentrant,
                metadata,
                call,
            }
        },
    )
}

fn call() -> impl Strategy<Value = Option<ServingCall>> {
    let call = (any::<u64>(), any::<u64>(), any::<u64>());
    prop::option::of(call.prop_map(|(node_id, boot_id, number)| ServingCall { node_id, boot_id, number }))
}

fn scope() -> impl Strategy<Value = CancelScope> {
    prop_oneof![Just(CancelScope::Wait), Just(CancelScope::WaitOrGrant), Just(CancelScope::Call)]
}

fn grant_ref() -> impl Strategy<Value = GrantRef> {
    let by = prop_oneof![
        (position(), prop::option::of(name())).prop_map(|(at, name)| By::Id { lock_id: LockId(at), name }),
        (name(), any::<u64>()).prop_map(|(name, token)| By::Token { name, token }),
        (name(), any::<u64>()).prop_map(|(name, token)| By::Leader { name, token }),
    ];
    (by, prop::option::of(position().prop_map(SessionId))).prop_map(|(by, session)| GrantRef { by, session })
}

fn lock_command() -> impl Strategy<Value = Command> {
    let held = || (namespace(), position().prop_map(LockId), prop::option::of(name()));
    let named = || (namespace(), name(), any::<u64>());
    prop_oneof![
        acquire().prop_map(Command::from),
        (namespace(), position(), call(), scope()).prop_map(|(namespace, at, call, scope)| {
            Command::from(CancelWait { namespace, lock_id: LockId(at), call, scope })
        }),
        (any::<u64>(), prop::option::of(any::<u64>()))
            .prop_map(|(node_id, except_boot)| { Command::from(WithdrawWaits { node_id, except_boot }) }),
        (namespace(), grant_ref()).prop_map(|(namespace, grant)| Command::from(Release { namespace, grant })),
        (namespace(), grant_ref())
            .prop_map(|(namespace, grant)| Command::from(Downgrade { namespace, grant })),
        (namespace(), grant_ref(), ".{0,9}").prop_map(|(namespace, grant, metadata)| {
            Command::from(SetMetadata { namespace, grant, metadata })
        }),
        (namespace(), name(), any::<u32>()).prop_map(|(namespace, name, capacity)| Command::from(Resize {
            namespace,
            name,
            capacity
        })),
        (held(), any::<u64>()).prop_map(|((namespace, lock_id, name), ttl_ms)| {
            Command::from(Extend { namespace, lock_id, name, ttl_ms })
        }),
        (named(), ".{0,9}").prop_map(|((namespace, name, token), reason)| {
            Command::from(ForceRelease { namespace, name, token, reason })
        }),
        named().prop_map(|(namespace, name, token)| {
            Command::from(AdvanceRegister { namespace, name, token })
        }),
        named().prop_map(|(namespace, name, _)| Command::from(DeleteRegister { namespace, name })),
    ]
}

fn word() -> impl Strategy<Value = PrincipalName> {
    "[a-z0-9][a-z0-9._@-]{0,9}".prop_map(|text| PrincipalName::new(&text).expect("a valid name"))
}

fn principal() -> impl Strategy<Value = Principal> {
    prop_oneof![word().prop_map(Principal::User), word().prop_map(Principal::Service)]
}

fn patterns() -> impl Strategy<Value = Vec<Pattern>> {
    let pattern = prop_oneof![Just("**"), Just("a/b"), Just("a/**"), Just("x/{principal}/**")];
    let pattern = pattern.prop_map(|text| Pattern::new(text).expect("a valid pattern"));
    prop::collection::vec(pattern, 0..4)
}

fn namespaces() -> impl Strategy<Value = Namespaces> {
    prop_oneof![Just(Namespaces::All), prop::collection::vec(namespace(), 0..3).prop_map(Namespaces::Listed),]
}

fn key() -> impl Strategy<Value = NewToken> {
    let time = prop::option::of(any::<u64>());
    ("[a-zA-Z0-9]{12}", any::<[u8; 32]>(), ".{0,9}", time).prop_map(|(id, hash, label, not_after_ms)| {
        let id = TokenId::new(&id).expect("a valid id");
        NewToken { secret: TokenSecret { id, hash: SecretHash::new(hash) }, label, not_after_ms }
    })
}

fn access_command() -> impl Strategy<Value = Command> {
    let subject = prop_oneof![
        Just(Subject::Anonymous),
        principal().prop_map(Subject::from),
        word().prop_map(Subject::Group),
    ];
    let time = || prop::option::of(any::<u64>());
    let narrowing = (prop::collection::vec(word(), 0..3), namespaces(), patterns())
        .prop_map(|(roles, namespaces, names)| Narrowing { roles, namespaces, names });
    let permissions = prop::collection::vec(prop::sample::select(Permission::ALL.to_vec()), 0..9);
    let rule = (permissions, patterns())
        .prop_map(|(permissions, names)| Rule { permissions: permissions.into_iter().collect(), names });
    let on_end = prop_oneof![Just(OnEnd::Keep), Just(OnEnd::EndSessions)];
    let bind = (subject, word(), namespaces(), patterns(), (time(), time()), on_end, ".{0,9}");
    prop_oneof![
        bind.prop_map(|(subject, role, namespaces, names, (not_before_ms, not_after_ms), on_end, reason)| {
            Command::from(Bind {
                subject,
                role,
                namespaces,
                names,
                not_before_ms,
                not_after_ms,
                on_end,
                reason,
            })
        }),
        position().prop_map(|at| Command::from(Unbind { binding: BindingId(at) })),
        (position(), time(), ".{0,9}").prop_map(|(at, not_after_ms, reason)| {
            Command::from(ExtendBinding { binding: BindingId(at), not_after_ms, reason })
        }),
        (principal(), key(), prop::option::of(narrowing)).prop_map(|(principal, token, narrowing)| {
            Command::from(CreateToken { principal, token, narrowing })
        }),
        (key(), key(), any::<u64>()).prop_map(|(old, new, overlap_ms)| {
            Command::from(RotateToken { token: old.secret.id, new: new.secret, overlap_ms })
        }),
        (word(), prop::collection::vec(principal(), 0..3))
            .prop_map(|(name, members)| Command::from(PutGroup { name, members })),
        (word(), prop::collection::vec(rule, 0..3))
            .prop_map(|(name, rules)| Command::from(PutRole { name, rules })),
        (principal(), ".{0,9}", time()).prop_map(|(principal, phc, expected_version)| {
            let phc = PasswordHash::new(&phc);
            Command::from(SetPassword { principal, phc, expected_version })
        }),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let session = || position().prop_map(SessionId);
    prop_oneof![
        5 => lock_command(),
        3 => access_command(),
        1 => (namespace(), any::<u64>(), ".{0,9}").prop_map(|(namespace, ttl_ms, metadata)| {
            Command::from(OpenSession { namespace, ttl_ms, metadata })
        }),
        1 => prop::collection::vec(session(), 0..5)
            .prop_map(|sessions| Command::from(KeepAlive { sessions })),
        1 => (namespace(), session(), any::<bool>()).prop_map(|(namespace, session, lock_delay)| {
            Command::from(CloseSession { namespace, session, lock_delay })
        }),
        1 => (".{0,9}", any::<u64>()).prop_map(|(cluster_id, next_node_id)| {
            Command::from(InitCluster { cluster_id, next_node_id })
        }),
        1 => ".{0,9}".prop_map(|node_name| Command::from(AllocateNode { node_name })),
        1 => (any::<u32>(), ".{0,9}").prop_map(|(level, version)| Command::from(RaiseLevel { level, version })),
        1 => prop::collection::vec((".{0,9}", any::<u64>()), 0..4)
            .prop_map(|values| Command::from(SetLimits { patch: LimitsPatch { values } })),
    ]
}

fn actor() -> impl Strategy<Value = Actor> {
    let credential = "[a-zA-Z0-9]{12}".prop_map(|text| TokenId::new(&text).expect("a valid id"));
    let caller = (position().prop_map(PrincipalId), prop::option::of(credential));
    prop_oneof![
        Just(Actor::Node),
        caller.prop_map(|(principal, credential)| Actor::Caller { principal, credential }),
        Just(Actor::Caller { principal: PrincipalId::ANONYMOUS, credential: None }),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let dedup = prop_oneof![
        (position(), any::<u64>())
            .prop_map(|(at, sequence)| DedupKey::Sequence { session: SessionId(at), sequence }),
        (namespace(), ".{0,9}").prop_map(|(namespace, key)| DedupKey::Idempotency { namespace, key }),
    ];
    let request = (prop::option::of(dedup), actor(), command())
        .prop_map(|(dedup, actor, command)| codec::request(dedup, command).by(actor));
    (any::<u64>(), any::<u64>(), prop::collection::vec(request, 0..4))
        .prop_map(|(now_ms, wall_ms, requests)| Entry { stamp: Stamp { now_ms, wall_ms }, requests })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_entry_survives_its_encoding(entry in entry()) {
        let bytes = encode_entry(&entry);
        prop_assert_eq!(decode_entry(&bytes).expect("our own bytes"), entry);
    }

    #[test]
    fn damaged_bytes_never_panic(entry in entry(), place in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut bytes = encode_entry(&entry);
        if !bytes.is_empty() {
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            if let Ok(other) = decode_entry(&bytes) {
                prop_assert_eq!(decode_entry(&encode_entry(&other)).expect("our own bytes"), other);
            }
            let _cut = decode_entry(&bytes[..place]);
        }
    }
}

#[test]
fn commands_of_a_newer_build_are_refused() {
    let unknown_command = wire::Request { dedup: None, actor: None, command: None };
    let key = wire::DedupKey { key: None, fingerprint: 0 };
    let unknown_key = wire::Request {
        dedup: Some(key),
        actor: None,
        command: Some(wire::request::Command::RenewSessions(wire::RenewSessions::default())),
    };
    let request = wire::LockRequest { name: "a".to_owned(), mode: 99, permits: 0, capacity: 0 };
    let acquire = wire::Acquire {
        namespace: "default".to_owned(),
        requests: vec![request],
        owner: Some(wire::Owner::default()),
        ..wire::Acquire::default()
    };
    let unknown_mode =
        wire::Request { dedup: None, actor: None, command: Some(wire::request::Command::Acquire(acquire)) };
    for request in [unknown_command, unknown_key, unknown_mode] {
        let bytes = wire::Entry { now_ms: 1, wall_ms: 1, requests: vec![request] }.encode_to_vec();
        let error = decode_entry(&bytes).expect_err("a guess would let replicas diverge");
        assert!(matches!(error, DecodeError::Unknown(_)), "{error}");
        assert!(error.to_string().contains("newer version"), "{error}");
    }
}

/// The bytes of format 1, written out: their meaning must never change.
#[test]
fn an_entry_of_format_1_is_still_read() {
    let bytes = [
        0x08, 0x05, 0x10, 0x07, 0x1a, 0x18, 0xb2, 0x01, 0x15, 0x0a, 0x07, b'd', b'e', b'f', b'a', b'u', b'l',
        b't', 0x12, 0x04, 0x08, 0x09, 0x10, 0x02, 0x1a, 0x04, b'a', b'/', b'4', b'2',
    ];
    let release = Release {
        namespace: Namespace::default(),
        grant: By::Id {
            lock_id: LockId(Position { index: 9, ordinal: 2 }),
            name: Some(Name::new("a/42").expect("a valid name")),
        }
        .into(),
    };
    let requests = vec![Request::new(None, Command::from(release)).by(Actor::ANONYMOUS)];
    let entry = Entry { stamp: Stamp { now_ms: 5, wall_ms: 7 }, requests };
    assert_eq!(encode_entry(&entry), bytes);
    assert_eq!(decode_entry(&bytes).expect("a fixture"), entry);
}

/// The bytes of an acquisition written before `Acquire.call` existed.
#[test]
fn acquisition_without_a_call_is_still_read() {
    let bytes = [
        0x08, 0x05, 0x10, 0x07, 0x1a, 0x19, 0xa2, 0x01, 0x16, 0x0a, 0x07, b'd', b'e', b'f', b'a', b'u', b'l',
        b't', 0x12, 0x05, 0x0a, 0x01, b'a', 0x10, 0x01, 0x1a, 0x00, 0x20, 0x09, 0x28, 0x04,
    ];
    let name = Name::new("a").expect("a valid name");
    let acquire = Acquire {
        namespace: Namespace::default(),
        requests: vec![LockRequest { name, mode: Mode::Exclusive }],
        owner: Owner { session: None, label: String::new() },
        ttl_ms: Some(9),
        wait_ms: 4,
        lock_delay_ms: 0,
        reentrant: false,
        metadata: String::new(),
        call: None,
    };
    let requests = vec![Request::new(None, Command::from(acquire)).by(Actor::ANONYMOUS)];
    let entry = Entry { stamp: Stamp { now_ms: 5, wall_ms: 7 }, requests };
    assert_eq!(encode_entry(&entry), bytes);
    assert_eq!(decode_entry(&bytes).expect("a fixture"), entry);
}

/// Otherwise a retry through another call would not be recognised.
#[test]
fn fingerprint_does_not_depend_on_the_call() {
    let acquire = |call| Acquire {
        namespace: Namespace::default(),
        requests: Vec::new(),
        owner: Owner { session: None, label: String::new() },
        ttl_ms: Some(9),
        wait_ms: 4,
        lock_delay_ms: 0,
        reentrant: false,
        metadata: String::new(),
        call,
    };
    let key = || DedupKey::Idempotency { namespace: Namespace::default(), key: "k".to_owned() };
    let call = ServingCall { node_id: 1, boot_id: 2, number: 3 };
    let [one, two] = [None, Some(call)].map(|call| codec::request(Some(key()), Command::from(acquire(call))));
    assert_eq!(one.dedup, two.dedup);
}

/// Otherwise the retry of a call that draws a secret, or counts a time from its own clock, would be refused as another request.
#[test]
fn fingerprint_does_not_depend_on_the_attempt() {
    let print = |command: Command| {
        let key = DedupKey::Idempotency { namespace: Namespace::default(), key: "k".to_owned() };
        codec::request(Some(key), command).dedup
    };
    let secret = |number: u8| TokenSecret {
        id: TokenId::new(&format!("{number:012}")).expect("valid"),
        hash: SecretHash::new([number; SecretHash::LENGTH]),
    };
    let binding = BindingId(Position { index: 7, ordinal: 0 });
    let attempt = |number: u8, role: &str, overlap_ms: u64| {
        let not_after_ms = Some(u64::from(number));
        let role = PrincipalName::new(role).expect("valid");
        let bind = Bind {
            subject: Subject::Anonymous,
            role: role.clone(),
            namespaces: Namespaces::All,
            names: Vec::new(),
            not_before_ms: None,
            not_after_ms,
            on_end: OnEnd::Keep,
            reason: "r".to_owned(),
        };
        let token = NewToken { secret: secret(number), label: role.to_string(), not_after_ms };
        [
            print(bind.into()),
            print(ExtendBinding { binding, not_after_ms, reason: role.to_string() }.into()),
            print(CreateToken { principal: Principal::User(role), token, narrowing: None }.into()),
            print(RotateToken { token: secret(9).id, new: secret(number), overlap_ms }.into()),
        ]
    };
    assert_eq!(attempt(1, "viewer", 5), attempt(2, "viewer", 5));
    for (one, other) in attempt(1, "viewer", 5).into_iter().zip(attempt(1, "editor", 6)) {
        assert_ne!(one, other, "another request under the same key");
    }
}

fn keep_alive(ids: &[(u64, u32)]) -> Request {
    let sessions = ids.iter().map(|&(index, ordinal)| SessionId(Position { index, ordinal })).collect();
    Request::new(None, Command::from(KeepAlive { sessions }))
}

#[test]
fn ascending_sessions_take_three_bytes_each() {
    let ids: Vec<(u64, u32)> = (0..1000).map(|n| (5_000_000 + u64::from(n / 40), n % 512)).collect();
    let entry = Entry { stamp: Stamp { now_ms: 5, wall_ms: 7 }, requests: vec![keep_alive(&ids)] };
    let bytes = encode_entry(&entry);
    assert!(bytes.len() < 3 * ids.len(), "{}", bytes.len());
    assert_eq!(decode_entry(&bytes).expect("our own bytes"), entry);
}

#[test]
fn half_of_a_session_id_is_refused() {
    let halves = wire::RenewSessions { index_steps: vec![9, 1], ordinals: vec![2] };
    let request = wire::Request {
        dedup: None,
        actor: None,
        command: Some(wire::request::Command::RenewSessions(halves)),
    };
    let bytes = wire::Entry { now_ms: 1, wall_ms: 1, requests: vec![request] }.encode_to_vec();
    assert!(matches!(decode_entry(&bytes), Err(DecodeError::Missing(_))));
}

#[test]
fn who_asks_is_no_part_of_the_command() {
    let (key, mine) = (DedupKey::Idempotency { namespace: Namespace::default(), key: "k".to_owned() }, 17);
    let ask = || codec::request(Some(key.clone()), KeepAlive { sessions: Vec::new() });
    let principal = PrincipalId(Position { index: mine, ordinal: 0 });
    let caller = Actor::Caller { principal, credential: TokenId::new("abcDEF012345").ok() };
    assert_eq!(ask().by(caller).dedup, ask().dedup, "a retry may come with another credential");
    assert_eq!((ask().level(), ask().by(caller).level()), (LEVEL_MIN, 2));
    // A command cannot say whose it is: such a field does not exist, and is not kept.
    let owner = wire::Owner { session: None, label: "o".to_owned() };
    let with_principal = wire::OwnerRecord {
        session: None,
        label: "o".to_owned(),
        principal: Some(wire::Position { index: mine, ordinal: 0 }),
    };
    let read = wire::Owner::decode(with_principal.encode_to_vec().as_slice()).expect("decodes");
    assert_eq!(read, owner);
}

#[test]
fn a_credential_of_another_form_is_refused() {
    let actor = wire::Actor { principal: None, credential: "short".to_owned(), node: false };
    let request = wire::Request {
        dedup: None,
        actor: Some(actor),
        command: Some(wire::request::Command::RenewSessions(wire::RenewSessions::default())),
    };
    let bytes = wire::Entry { now_ms: 1, wall_ms: 1, requests: vec![request] }.encode_to_vec();
    assert!(matches!(decode_entry(&bytes), Err(DecodeError::Unknown(_))));
}
