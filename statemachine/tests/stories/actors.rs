//! Stories of callers: what one made is its own, and does not exist for others that name it.

use batuta_statemachine::access::{
    Bind, BindingId, CreateToken, Mode, Namespaces, NewToken, OnEnd, Pattern, PutPrincipal, PutRole, Rule,
    SecretHash, SetMode, SuspendPrincipal, TokenSecret, Unbind,
};
use batuta_statemachine::cluster::{AllocateNode, InitCluster, RaiseLevel, SetLimits};
use batuta_statemachine::lock::{
    Acquire, By, CancelScope, Extend, ForceRelease, GrantRef, LockPart, LockRequest, Refusal, SetMetadata,
};
use batuta_statemachine::register::{AdvanceRegister, DeleteRegister};
use batuta_statemachine::session::{KeepAlive, OpenSession};
use batuta_statemachine::{
    Actor, ChangeKind, Command, DedupKey, ImageRecord, LEVEL_MIN, LimitsPatch, LockId, Namespace, Outcome,
    PermissionSet, Position, Principal, PrincipalId, PrincipalName, Rejection, Reply, Request, RetryRecord,
    SessionId, State, TokenId, WaitEnd, access, lock, session,
};

use super::common::request;
use super::{
    Story, at, by_id, cancel_of, close_of, downgrade, exclusive, key, lost, name, of, release_of, resize,
    waiting, want,
};

/// A caller whose principal was made by this request of the first entry of [`enforced`].
fn caller(ordinal: u32) -> Actor {
    Actor::Caller { principal: PrincipalId(Position { index: 1, ordinal }), credential: None }
}

/// An editor.
fn ann() -> Actor {
    caller(1)
}

/// Another editor.
fn bob() -> Actor {
    caller(2)
}

/// A user without a role.
fn cyd() -> Actor {
    caller(3)
}

fn anonymous() -> Actor {
    Actor::Caller { principal: PrincipalId::ANONYMOUS, credential: None }
}

fn user(text: &str) -> Principal {
    Principal::User(PrincipalName::new(text).unwrap())
}

fn bind(who: &str, role: &str) -> Bind {
    Bind {
        subject: user(who).into(),
        role: PrincipalName::new(role).unwrap(),
        namespaces: Namespaces::All,
        names: Vec::new(),
        not_before_ms: None,
        not_after_ms: None,
        on_end: OnEnd::Keep,
        reason: String::new(),
    }
}

fn suspend(who: &str, end: bool) -> SuspendPrincipal {
    SuspendPrincipal { principal: user(who), end }
}

/// A state with access enforced, an administrator, and the callers of these stories.
fn enforced() -> Story {
    let mut story = Story::default();
    let users = ["root", "ann", "bob", "cyd"];
    let put = |text: &&str| PutPrincipal { principal: user(text), description: String::new() };
    story.obey(users.iter().map(|text| put(text).into()).collect());
    let secret = TokenSecret { id: TokenId::new("abcDEF012345").unwrap(), hash: SecretHash::new([7; 32]) };
    let token = NewToken { secret, label: String::new(), not_after_ms: None };
    story.obey(vec![
        bind("root", "admin").into(),
        CreateToken { principal: user("root"), token, narrowing: None }.into(),
        bind("ann", "editor").into(),
        bind("bob", "editor").into(),
        SetMode { mode: Mode::Enforce }.into(),
    ]);
    story
}

fn extend(lock_id: LockId) -> Extend {
    Extend { namespace: Namespace::default(), lock_id, name: None, ttl_ms: 90_000 }
}

fn rename(grant: GrantRef) -> SetMetadata {
    SetMetadata { namespace: Namespace::default(), grant, metadata: "x".to_owned() }
}

fn lock_of(outcome: Outcome) -> LockId {
    match outcome {
        Ok(Reply::Lock(lock::Reply::Acquired(acquired))) => acquired.lock_id(),
        other => panic!("{other:?}"),
    }
}

fn not_held(lock_id: LockId) -> Outcome {
    Err(Rejection::Lock(Refusal::LockNotHeld { lock_id }))
}

fn no_session(session: SessionId) -> Outcome {
    Err(Rejection::Session(session::Refusal::SessionNotFound { session }))
}

fn denied(outcome: &Outcome) -> bool {
    matches!(outcome, Err(Rejection::Access(access::Refusal::PermissionDenied { .. })))
}

impl Story {
    /// Has nodes do this.
    fn obey(&mut self, commands: Vec<Command>) {
        let requests = commands.into_iter().map(|command| Request::new(None, command)).collect();
        for outcome in self.apply(requests) {
            outcome.unwrap();
        }
    }

    /// Gives cyd a role of these permissions, each for a pattern of names.
    fn allow_cyd(&mut self, rules: &[(&str, &str)]) -> BindingId {
        let rule = |(permissions, names): &(&str, &str)| Rule {
            permissions: PermissionSet::parse(permissions).unwrap(),
            names: vec![Pattern::new(names).unwrap()],
        };
        let name = PrincipalName::new(&format!("role-{}", self.state.revision())).unwrap();
        let put = PutRole { name: name.clone(), rules: rules.iter().map(rule).collect() };
        self.obey(vec![put.into()]);
        match self.ask(Command::from(bind("cyd", name.as_str()))) {
            Ok(Reply::Access(access::Reply::Bound(bound))) => bound.binding,
            other => panic!("{other:?}"),
        }
    }

    fn ask_by(&mut self, actor: Actor, command: impl Into<Command>) -> Outcome {
        self.apply(vec![Request::new(None, command).by(actor)]).remove(0)
    }

    fn ask_keyed_by(&mut self, actor: Actor, dedup: DedupKey, command: impl Into<Command>) -> Outcome {
        self.apply(vec![request(Some(dedup), command.into()).by(actor)]).remove(0)
    }

    fn session_by(&mut self, actor: Actor) -> SessionId {
        let command =
            OpenSession { namespace: Namespace::default(), ttl_ms: 60_000, metadata: String::new() };
        match self.ask_by(actor, command) {
            Ok(Reply::Session(session::Reply::SessionOpened(opened))) => {
                assert_eq!(opened.principal, actor.principal());
                opened.session
            }
            other => panic!("{other:?}"),
        }
    }

    fn acquire_by(&mut self, actor: Actor, command: Acquire) -> LockId {
        let outcome = self.ask_by(actor, command);
        lock_of(outcome)
    }

    fn token_of(&self, lock_id: LockId) -> u64 {
        self.state.grant(lock_id).unwrap().token
    }
}

#[test]
fn what_a_caller_makes_is_its_own() {
    let mut story = enforced();
    let session = story.session_by(ann());
    let held = story.acquire_by(ann(), of(session, exclusive("a")));
    let one_shot = story.acquire_by(ann(), exclusive("b"));
    let queued = story.acquire_by(bob(), waiting(exclusive("b")));
    assert_eq!(story.state.session_owner(session), Some(ann().principal()));
    assert_eq!(story.state.session(session).unwrap().principal, ann().principal());
    assert_eq!(story.state.grant_owner(held), Some(ann().principal()));
    assert_eq!(story.state.grant_owner(one_shot), Some(ann().principal()));
    assert_eq!(story.state.grant_owner(queued), Some(bob().principal()));
    story.ask_by(ann(), release_of(one_shot)).unwrap();
    assert!(story.is_granted(queued));
    assert_eq!(story.state.grant(queued).unwrap().owner.principal, bob().principal(), "as it waited");
}

#[test]
fn a_session_of_another_caller_does_not_exist() {
    let mut story = enforced();
    let session = story.session_by(ann());
    assert_eq!(story.ask_by(bob(), of(session, exclusive("a"))), no_session(session));
    assert_eq!(story.ask_by(bob(), close_of(session)), no_session(session));
    let sequence = DedupKey::Sequence { session, sequence: 1 };
    let refused = story.ask_keyed_by(bob(), sequence.clone(), exclusive("a"));
    assert_eq!(refused, no_session(session));
    // Not even the namespace in which it lives is told.
    let elsewhere = Acquire { namespace: Namespace::new("other").unwrap(), ..of(session, exclusive("a")) };
    assert_eq!(story.ask_by(bob(), elsewhere), no_session(session));
    let first = story.ask_keyed_by(ann(), sequence, of(session, exclusive("a")));
    assert!(story.is_granted(lock_of(first)), "the sequence is still new to its owner");
}

#[test]
fn a_grant_of_another_caller_does_not_exist() {
    let mut story = enforced();
    let lock_id = story.acquire_by(ann(), exclusive("a"));
    let before = story.state.grant(lock_id);
    for command in [
        Command::from(release_of(lock_id)),
        downgrade(lock_id),
        Command::from(rename(by_id(lock_id))),
        Command::from(extend(lock_id)),
    ] {
        assert_eq!(story.ask_by(bob(), command), not_held(lock_id));
    }
    let token = story.token_of(lock_id);
    let by_token = || GrantRef::from(By::Token { name: name("a"), token });
    let refused = story.ask_by(bob(), rename(by_token())).unwrap_err();
    assert_eq!(
        refused,
        Rejection::Lock(Refusal::TokenSuperseded { token, newest: token }),
        "a token is no right"
    );
    assert!(refused.to_string().contains("another caller"));
    let cancelled = Ok(lock::Reply::WaitCancelled(lock::WaitCancelled { lock_id }).into());
    let cancel = cancel_of(lock_id, None, CancelScope::WaitOrGrant);
    assert_eq!(story.ask_by(bob(), cancel), cancelled, "as for one that ended");
    assert_eq!(story.state.grant(lock_id), before);
    story.ask_by(ann(), extend(lock_id)).unwrap();
    story.ask_by(ann(), rename(by_token())).unwrap();
    story.ask_by(ann(), release_of(lock_id)).unwrap();
    assert!(!story.is_granted(lock_id));
}

#[test]
fn a_wait_of_another_caller_cannot_be_withdrawn() {
    let mut story = enforced();
    story.acquire_by(ann(), exclusive("a"));
    let queued = story.acquire_by(ann(), waiting(exclusive("a")));
    story.ask_by(bob(), cancel_of(queued, None, CancelScope::Wait)).unwrap();
    assert!(story.state.wait(queued).is_some());
    story.ask_by(ann(), cancel_of(queued, None, CancelScope::Wait)).unwrap();
    assert!(story.state.wait(queued).is_none());
}

#[test]
fn nodes_act_for_owners() {
    let mut story = enforced();
    let session = story.session_by(ann());
    let held = story.acquire_by(ann(), of(session, exclusive("a")));
    // A lock that a node takes for a session belongs to whom the session belongs.
    let second = story.granted(of(session, exclusive("b"))).lock_id;
    assert_eq!(story.state.grant_owner(second), Some(ann().principal()));
    story.release(held).unwrap();
    story.ask(Command::from(close_of(session))).unwrap();
    assert!(!story.is_granted(second));
}

#[test]
fn what_nobody_owned_belongs_to_the_first_caller_that_names_it() {
    let mut story = enforced();
    let session = story.session(60_000);
    let held = story.granted(of(session, exclusive("a"))).lock_id;
    let one_shot = story.granted(exclusive("b")).lock_id;
    let queued = story.queued(of(session, waiting(exclusive("b"))));
    assert_eq!(story.state.session_owner(session), Some(PrincipalId::ANONYMOUS));
    story.ask_by(ann(), rename(by_id(held))).unwrap();
    for lock_id in [held, queued] {
        assert_eq!(story.state.grant_owner(lock_id), Some(ann().principal()), "with its whole session");
    }
    assert_eq!(story.ask_by(bob(), of(session, exclusive("d"))), no_session(session));
    assert_eq!(story.state.grant_owner(one_shot), Some(PrincipalId::ANONYMOUS), "nobody named it");
    story.ask_by(bob(), extend(one_shot)).unwrap();
    assert_eq!(story.state.grant_owner(one_shot), Some(bob().principal()));
    assert_eq!(story.ask_by(ann(), release_of(one_shot)), not_held(one_shot));
}

#[test]
fn a_key_is_its_callers_own() {
    let mut story = enforced();
    let ask = || exclusive("a");
    let mine = lock_of(story.ask_keyed_by(ann(), key("k"), ask()));
    let other = story.ask_keyed_by(bob(), key("k"), ask());
    assert!(matches!(other, Err(Rejection::Lock(Refusal::LockHeld { .. }))), "{other:?}");
    let other = story.ask_keyed(key("k"), Command::from(ask()));
    assert!(matches!(other, Err(Rejection::Lock(Refusal::LockHeld { .. }))), "{other:?}");
    let Actor::Caller { principal, .. } = ann() else { panic!("a caller") };
    let secret = TokenSecret { id: TokenId::new("012345abcDEF").unwrap(), hash: SecretHash::new([7; 32]) };
    let token = NewToken { secret, label: String::new(), not_after_ms: None };
    let credential = Some(token.secret.id);
    story.obey(vec![CreateToken { principal: user("ann"), token, narrowing: None }.into()]);
    let newer = Actor::Caller { principal, credential };
    assert_eq!(lock_of(story.ask_keyed_by(newer, key("k"), ask())), mine, "with another credential");
    let reused = story.ask_keyed_by(ann(), key("k"), exclusive("b"));
    assert_eq!(reused, Err(Rejection::KeyReused));
    let fresh = lock_of(story.ask_keyed_by(bob(), key("k"), exclusive("b")));
    assert_ne!(fresh, mine);
}

#[test]
fn a_lost_wait_returns_to_its_own_caller_only() {
    let mut story = enforced();
    let holder = story.acquire_by(ann(), exclusive("a"));
    let ask = |number| at(1, number, waiting(exclusive("a")));
    let queued = lock_of(story.ask_keyed_by(ann(), key("k"), ask(1)));
    story.ask(lost(1)).unwrap();
    assert!(story.state.wait(queued).is_none());
    let other = lock_of(story.ask_keyed_by(bob(), key("k"), ask(2)));
    assert_ne!(other, queued);
    let back = lock_of(story.ask_keyed_by(ann(), key("k"), ask(3)));
    assert_eq!(back, queued, "at its old place");
    assert_eq!(story.state.grant_owner(back), Some(ann().principal()));
    story.ask_by(ann(), release_of(holder)).unwrap();
    assert!(story.is_granted(queued) && !story.is_granted(other));
}

#[test]
fn only_nodes_do_the_work_of_nodes() {
    let mut story = enforced();
    let commands = [
        lost(1),
        Command::from(InitCluster { cluster_id: "c".to_owned(), next_node_id: 1 }),
        Command::from(AllocateNode { node_name: "n".to_owned() }),
        Command::from(RaiseLevel { level: 2, version: "0.2.0".to_owned() }),
    ];
    for command in commands {
        assert!(denied(&story.ask_keyed_by(ann(), key("k"), command)));
    }
    assert_eq!(story.state.counts().idempotency_keys, 0, "a denial is not remembered");
}

#[test]
fn keep_alive_of_a_caller_renews_its_own_and_adopts_what_nobody_owns() {
    let mut story = enforced();
    let own = story.session_by(ann());
    let nobodys = story.session_by(Actor::Node);
    let keep = |session| KeepAlive { sessions: vec![session] };
    let mut renewed = |actor, session| match story.ask_by(actor, keep(session)).unwrap() {
        Reply::Session(session::Reply::KeptAlive(kept)) => kept.deadlines_ms[0].is_some(),
        other => panic!("{other:?}"),
    };
    assert!(renewed(ann(), own) && !renewed(bob(), own), "a foreign session is as if it did not exist");
    assert!(renewed(bob(), nobodys) && !renewed(ann(), nobodys), "the first who renews it owns it");
    assert!(denied(&story.ask_by(Actor::ANONYMOUS, keep(own))));
    assert_eq!(story.state.session_owner(nobodys), Some(bob().principal()));
}

#[test]
fn a_request_that_names_its_caller_is_of_the_second_level() {
    let release = || Request::new(None, release_of(LockId(Position { index: 1, ordinal: 0 })));
    assert_eq!((release().level(), release().actor), (LEVEL_MIN, Actor::Node));
    assert_eq!(release().by(ann()).level(), 2);
    assert_eq!(release().by(ann()).by(Actor::Node).level(), LEVEL_MIN);
}

#[test]
fn snapshots_keep_owners() {
    let mut story = enforced();
    let session = story.session_by(ann());
    story.acquire_by(ann(), of(session, exclusive("a")));
    story.acquire_by(bob(), exclusive("b"));
    story.acquire_by(bob(), waiting(exclusive("a")));
    story.ask_keyed_by(ann(), key("k"), exclusive("b")).unwrap_err();
    story.ask_keyed_by(ann(), key("k"), exclusive("c")).unwrap();
    let records: Vec<ImageRecord> = story.state.image_records().collect();
    let keys = records.iter().filter_map(|record| match record {
        ImageRecord::Retry(RetryRecord::Idempotency { principal, .. }) => Some(*principal),
        _ => None,
    });
    assert_eq!(keys.collect::<Vec<_>>(), [ann().principal()]);
    let restored = State::from_image(story.state.image_header(), records, State::validate).unwrap();
    assert_eq!(restored.hash(), story.state.hash());
}

#[test]
fn an_owner_is_one_of_its_principal() {
    let mut story = enforced();
    let session = story.session_by(ann());
    let held = story.acquire_by(ann(), of(session, exclusive("a")));
    let again = Acquire { reentrant: true, ..of(session, exclusive("a")) };
    assert_eq!(story.acquire_by(ann(), again.clone()), held);
    assert_eq!(story.ask_by(bob(), again), no_session(session));
    // Two one-shot owners under one label are two owners, whoever they are.
    story.acquire_by(bob(), exclusive("b"));
    let first = story.acquire_by(ann(), of(session, waiting(exclusive("b"))));
    assert_eq!(
        story.acquire_by(ann(), of(session, waiting(exclusive("b")))),
        first,
        "takes over its own wait"
    );
}

#[test]
fn a_cycle_is_explained_to_whom_it_concerns() {
    let mut story = enforced();
    let (mine, other) = (story.session_by(ann()), story.session_by(bob()));
    story.acquire_by(ann(), of(mine, exclusive("a")));
    story.acquire_by(bob(), of(other, exclusive("b")));
    story.acquire_by(ann(), of(mine, waiting(exclusive("b"))));
    let refused = story.ask_by(bob(), of(other, waiting(exclusive("a"))));
    let Err(Rejection::Lock(Refusal::Deadlock { cycle })) = refused else { panic!("{refused:?}") };
    assert_eq!(cycle.len(), 3, "{cycle:?}");
    let explained =
        story.state.explain(&ann(), &Namespace::default(), &name("b"), &LockPart::first(10, 10)).unwrap();
    assert_eq!(explained.names_hidden, 0, "both may read all names");
}

#[test]
fn a_denial_is_not_remembered() {
    let mut story = enforced();
    let ask = || exclusive("a/1");
    assert!(denied(&story.ask_keyed_by(cyd(), key("k"), ask())));
    assert_eq!(story.state.counts().idempotency_keys, 0);
    story.allow_cyd(&[("lock:acquire", "a/**")]);
    let lock_id = lock_of(story.ask_keyed_by(cyd(), key("k"), ask()));
    assert!(story.is_granted(lock_id), "now it may, under the same key");
}

#[test]
fn who_lost_the_right_learns_no_old_answer() {
    let mut story = enforced();
    let binding = story.allow_cyd(&[("lock:acquire", "a")]);
    let lock_id = lock_of(story.ask_keyed_by(cyd(), key("k"), exclusive("a")));
    story.obey(vec![Unbind { binding }.into()]);
    assert!(denied(&story.ask_keyed_by(cyd(), key("k"), exclusive("a"))));
    assert!(story.is_granted(lock_id), "what it holds stays until its time is over");
    assert!(denied(&story.ask_by(cyd(), extend(lock_id))), "holding on is taking again");
    story.ask_keyed_by(cyd(), key("r"), release_of(lock_id)).unwrap();
    story.ask_keyed_by(cyd(), key("r"), release_of(lock_id)).unwrap();
    assert!(!story.is_granted(lock_id), "giving back needs no right, and neither does its retry");
}

#[test]
fn anonymous_callers_learn_nothing_of_what_nobody_owned() {
    let mut story = enforced();
    let lock_id = lock_of(story.ask_keyed(key("k"), Command::from(exclusive("a"))));
    assert!(denied(&story.ask_keyed_by(anonymous(), key("k"), exclusive("a"))), "not even under its key");
    assert_eq!(story.ask_by(anonymous(), release_of(lock_id)), not_held(lock_id));
    assert_eq!(
        story.ask_by(cyd(), release_of(lock_id)),
        not_held(lock_id),
        "who may not take it adopts nothing"
    );
    assert_eq!(story.state.grant_owner(lock_id), Some(PrincipalId::ANONYMOUS));
    story.ask_by(ann(), release_of(lock_id)).unwrap();
}

#[test]
fn waiter_that_lost_the_right_ends_when_its_turn_comes() {
    let mut story = enforced();
    let binding = story.allow_cyd(&[("lock:acquire", "a")]);
    let holder = story.acquire_by(ann(), exclusive("a"));
    let loses = lock_of(story.ask_keyed_by(cyd(), key("k"), waiting(exclusive("a"))));
    let next = story.acquire_by(bob(), waiting(exclusive("a")));
    story.obey(vec![Unbind { binding }.into()]);
    assert!(story.state.wait(loses).is_some(), "nobody looks before its turn");
    story.ask_by(ann(), release_of(holder)).unwrap();
    let ended = story.changes.iter().find_map(|change| match change {
        ChangeKind::Lock(lock::Change::WaitEnded { wait, reason }) => Some((wait.lock_id, *reason)),
        _ => None,
    });
    assert_eq!(ended, Some((loses, WaitEnd::Denied)));
    assert!(story.is_granted(next), "the next one goes");
    story.allow_cyd(&[("lock:acquire", "a")]);
    let told = story.ask_keyed_by(cyd(), key("k"), waiting(exclusive("a"))).unwrap_err();
    assert_eq!(told.code().as_str(), "permission_denied", "its own key tells how it ended: {told}");
}

#[test]
fn suspended_readers_let_the_others_in() {
    let mut story = enforced();
    story.allow_cyd(&[("lock:acquire", "**")]);
    let holder = story.acquire_by(ann(), exclusive("a"));
    let shared = || waiting(want(&["a"], batuta_statemachine::lock::Mode::Shared));
    let reader = story.acquire_by(bob(), shared());
    let suspended = story.acquire_by(cyd(), shared());
    let last = story.acquire_by(bob(), shared());
    story.obey(vec![suspend("cyd", false).into()]);
    story.ask_by(ann(), release_of(holder)).unwrap();
    assert!(story.is_granted(reader) && story.is_granted(last));
    assert_eq!(story.state.acquisition(suspended), lock::Acquisition::Unknown);
}

#[test]
fn suspension_ends_what_one_has() {
    let mut story = enforced();
    let session = story.session_by(ann());
    let held = story.acquire_by(ann(), of(session, exclusive("a")));
    let one_shot = story.acquire_by(ann(), exclusive("b"));
    let next = story.acquire_by(bob(), waiting(exclusive("b")));
    let queued = story.acquire_by(ann(), waiting(exclusive("b")));
    story.obey(vec![suspend("ann", true).into()]);
    assert_eq!(story.state.session(session), None);
    for lock_id in [held, one_shot, queued] {
        assert_eq!(story.state.acquisition(lock_id), lock::Acquisition::Unknown);
    }
    assert!(story.is_granted(next), "in the same entry");
    let refused = story.ask_by(ann(), exclusive("c")).unwrap_err();
    assert_eq!(refused.code().as_str(), "principal_suspended");
}

#[test]
fn every_name_of_a_set_needs_the_permission() {
    let mut story = enforced();
    story.allow_cyd(&[("lock:acquire", "a/**")]);
    let set = |names| want(names, batuta_statemachine::lock::Mode::Exclusive);
    story.ask_by(cyd(), set(&["a/1", "a/2"])).unwrap();
    let refused = story.ask_by(cyd(), set(&["a/3", "b/1"]));
    let Err(Rejection::Access(access::Refusal::PermissionDenied { name: missing, .. })) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(missing, Some(name("b/1")));
    let campaign = want(&["a/4"], batuta_statemachine::lock::Mode::Election);
    assert!(denied(&story.ask_by(cyd(), campaign.clone())), "to lead is another permission");
    story.allow_cyd(&[("election:campaign", "a/4")]);
    story.ask_by(cyd(), campaign).unwrap();
}

#[test]
fn commands_need_their_permissions() {
    let mut story = enforced();
    let namespace = Namespace::default;
    let theirs = story.session_by(bob());
    let semaphore = batuta_statemachine::lock::Mode::Semaphore { permits: 1, capacity: 2 };
    let pool = story.acquire_by(bob(), want(&["pool"], semaphore));
    let token = story.token_of(pool);
    let open = OpenSession { namespace: namespace(), ttl_ms: 60_000, metadata: String::new() };
    let limits = LimitsPatch { values: vec![("ttl_ms_min".to_owned(), 1)] };
    let force =
        ForceRelease { namespace: namespace(), name: name("pool"), token, reason: "stuck".to_owned() };
    let commands: [(&str, Command); 7] = [
        ("session:open", open.into()),
        ("lock:resize", resize("pool", 3)),
        ("register:advance", AdvanceRegister { namespace: namespace(), name: name("r"), token }.into()),
        ("register:delete", DeleteRegister { namespace: namespace(), name: name("r") }.into()),
        ("lock:force_release", force.into()),
        ("session:close_any", close_of(theirs).into()),
        ("cluster:limits", SetLimits { patch: limits }.into()),
    ];
    for (permission, command) in commands {
        let refused = story.ask_by(cyd(), command.clone());
        match permission {
            "session:close_any" => assert_eq!(refused, no_session(theirs), "it does not exist for others"),
            _ => assert!(denied(&refused), "{permission}: {refused:?}"),
        }
        story.allow_cyd(&[(permission, "**")]);
        story.ask_by(cyd(), command).unwrap();
    }
}

#[test]
fn who_may_not_read_a_name_is_not_told_of_it() {
    let mut story = enforced();
    story.allow_cyd(&[("lock:acquire", "**"), ("session:open", "**"), ("lock:read", "open/**")]);
    let (mine, other) = (story.session_by(cyd()), story.session_by(bob()));
    let held = story.acquire_by(cyd(), of(mine, exclusive("open/1")));
    story.acquire_by(bob(), of(other, exclusive("secret/1")));
    let set = want(&["open/1", "secret/2"], batuta_statemachine::lock::Mode::Exclusive);
    story.acquire_by(bob(), of(other, waiting(set)));
    let refused = story.ask_by(cyd(), of(mine, waiting(exclusive("secret/1"))));
    let Err(Rejection::Lock(Refusal::Deadlock { cycle })) = refused else { panic!("{refused:?}") };
    assert_eq!(cycle[1], "… hidden …", "{cycle:?}");
    assert!(cycle[2].ends_with("(in the way on open/1)"), "{cycle:?}");
    let explain = |story: &Story, actor| {
        let part = LockPart::first(10, 10);
        story.state.explain(&actor, &Namespace::default(), &name("open/1"), &part).unwrap()
    };
    let told = explain(&story, cyd());
    let names = |requests: &[LockRequest]| -> Vec<String> {
        requests.iter().map(|request| request.name.to_string()).collect()
    };
    assert_eq!(names(&told.waiters[0].wait.requests), ["open/1"]);
    assert_eq!(names(&told.lock.waiters[0].requests), ["open/1"]);
    assert_eq!(told.names_hidden, 1);
    assert_eq!(told.waiters[0].blockers[0].lock_id, held);
    let all = explain(&story, bob());
    assert_eq!((all.names_hidden, all.waiters[0].wait.requests.len()), (0, 2));
}

#[test]
fn a_wrong_token_tells_the_newest_only_to_whom_may_know_it() {
    let mut story = enforced();
    let lock_id = story.acquire_by(ann(), exclusive("a"));
    let token = story.token_of(lock_id);
    let grant = GrantRef::from(By::Token { name: name("a"), token: token + 1 });
    let newest = |outcome| match outcome {
        Err(Rejection::Lock(Refusal::TokenSuperseded { newest, .. })) => newest,
        other => panic!("{other:?}"),
    };
    assert_eq!(newest(story.ask_by(cyd(), rename(grant.clone()))), 0);
    assert_eq!(newest(story.ask_by(bob(), rename(grant))), token);
}

#[test]
fn nothing_is_refused_while_access_is_observed() {
    let mut story = enforced();
    let lock_id = story.acquire_by(ann(), exclusive("a"));
    let session = story.session_by(ann());
    story.obey(vec![SetMode { mode: Mode::Observe }.into()]);
    story.ask_by(cyd(), of(session, exclusive("b"))).unwrap();
    story.ask_by(anonymous(), extend(lock_id)).unwrap();
    assert_eq!(story.state.grant_owner(lock_id), Some(ann().principal()), "it stays its owner's");
    story.ask_by(bob(), release_of(lock_id)).unwrap();
    story.ask_by(anonymous(), close_of(session)).unwrap();
}
