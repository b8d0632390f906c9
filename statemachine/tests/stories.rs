//! Stories, each of which shows one promise.

#[path = "stories/access.rs"]
mod access;
#[path = "stories/actors.rs"]
mod actors;
mod common;
#[path = "stories/elections.rs"]
mod elections;

use std::sync::Arc;

use batuta_statemachine::cluster::{RaiseLevel, SetLimits};
use batuta_statemachine::lock::{
    Acquire, By, CancelScope, CancelWait, Downgrade, Extend, ForceRelease, Grant, GrantRef, LockPart,
    LockRequest, Mode, Owner, Release, Resize, Resized, ServingCall, SetMetadata, TokenStatus, WithdrawWaits,
};
use batuta_statemachine::register::AdvanceRegister;
use batuta_statemachine::session::{CloseSession, KeepAlive, OpenSession};
use batuta_statemachine::{
    Actor, ChangeKind, Command, Counts, DedupKey, Entry, LimitsPatch, LockId, Name, Namespace, Outcome,
    Rejection, ReleaseReason, Reply, Request, SessionEnd, SessionId, Stamp, State, WaitEnd, cluster, lock,
    session,
};

use common::request;

#[derive(Default)]
struct Story {
    state: State,
    now_ms: u64,
    changes: Vec<ChangeKind>,
    /// The revisions of the outcomes of the last entry.
    revisions: Vec<u64>,
}

impl Story {
    fn apply(&mut self, requests: Vec<Request>) -> Vec<Outcome> {
        let entry = Entry { stamp: Stamp { now_ms: self.now_ms, wall_ms: 1_700_000_000_000 }, requests };
        let applied = self.state.apply(self.state.revision() + 1, &entry);
        self.state.validate().unwrap();
        self.changes = applied.changes.into_iter().map(|change| change.kind).collect();
        self.revisions = applied.revisions;
        applied.outcomes
    }

    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        self.apply(Vec::new());
    }

    fn ask(&mut self, command: Command) -> Outcome {
        self.apply(vec![Request::new(None, command)]).remove(0)
    }

    fn ask_keyed(&mut self, dedup: DedupKey, command: Command) -> Outcome {
        self.apply(vec![request(Some(dedup), command)]).remove(0)
    }

    fn session(&mut self, ttl_ms: u64) -> SessionId {
        let command = OpenSession { namespace: Namespace::default(), ttl_ms, metadata: "story".to_owned() };
        match self.ask(Command::from(command)) {
            Ok(Reply::Session(session::Reply::SessionOpened(session::SessionOpened { session, .. }))) => {
                session
            }
            other => panic!("{other:?}"),
        }
    }

    fn granted(&mut self, command: Acquire) -> Grant {
        match self.ask(Command::from(command)) {
            Ok(Reply::Lock(lock::Reply::Acquired(lock::Acquired::Granted(grant)))) => {
                Arc::unwrap_or_clone(grant)
            }
            other => panic!("{other:?}"),
        }
    }

    fn queued(&mut self, command: Acquire) -> LockId {
        match self.ask(Command::from(command)) {
            Ok(Reply::Lock(lock::Reply::Acquired(lock::Acquired::Queued(wait)))) => wait.lock_id,
            other => panic!("{other:?}"),
        }
    }

    fn refused(&mut self, command: Acquire) -> Rejection {
        self.ask(Command::from(command)).unwrap_err()
    }

    fn release(&mut self, lock_id: LockId) -> Outcome {
        self.ask(Command::from(release_of(lock_id)))
    }

    fn token(&self, name: &str, token: u64) -> TokenStatus {
        self.state.check(&Namespace::default(), &self::name(name), token).status
    }

    fn is_granted(&self, lock_id: LockId) -> bool {
        self.state.grant(lock_id).is_some()
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn by_id(lock_id: LockId) -> GrantRef {
    By::Id { lock_id, name: None }.into()
}

fn release_of(lock_id: LockId) -> Release {
    Release { namespace: Namespace::default(), grant: by_id(lock_id) }
}

fn close_of(session: SessionId) -> CloseSession {
    CloseSession { namespace: Namespace::default(), session, lock_delay: false }
}

fn cancel_of(lock_id: LockId, call: Option<ServingCall>, scope: CancelScope) -> CancelWait {
    CancelWait { namespace: Namespace::default(), lock_id, call, scope }
}

fn want(names: &[&str], mode: Mode) -> Acquire {
    Acquire {
        namespace: Namespace::default(),
        requests: names.iter().map(|text| LockRequest { name: name(text), mode }).collect(),
        owner: Owner { session: None, label: String::new() },
        ttl_ms: Some(60_000),
        wait_ms: 0,
        lock_delay_ms: 0,
        reentrant: false,
        metadata: String::new(),
        call: None,
    }
}

fn exclusive(text: &str) -> Acquire {
    want(&[text], Mode::Exclusive)
}

fn waiting(command: Acquire) -> Acquire {
    Acquire { wait_ms: 30_000, ..command }
}

fn of(session: SessionId, command: Acquire) -> Acquire {
    Acquire { owner: Owner { session: Some(session), label: String::new() }, ttl_ms: None, ..command }
}

/// The n-th call at a node.
fn at(node_id: u64, number: u64, command: Acquire) -> Acquire {
    Acquire { call: Some(ServingCall { node_id, boot_id: 10 + node_id, number }), ..command }
}

fn lost(node_id: u64) -> Command {
    Command::from(WithdrawWaits { node_id, except_boot: None })
}

fn key(text: &str) -> DedupKey {
    DedupKey::Idempotency { namespace: Namespace::default(), key: text.to_owned() }
}

#[test]
fn tokens_rise_across_owners_and_names() {
    let mut story = Story::default();
    let mut last = 0;
    for text in ["a", "b", "a", "c/d", "a"] {
        let grant = story.granted(exclusive(text));
        assert!(grant.token > last);
        last = grant.token;
        story.release(grant.lock_id).unwrap();
        assert_eq!(story.token(text, last), TokenStatus::NotHeld);
    }
    let holder = story.granted(exclusive("a"));
    let waiter = story.queued(waiting(exclusive("a")));
    let later = story.granted(exclusive("b"));
    story.release(holder.lock_id).unwrap();
    let promoted = story.state.grant(waiter).unwrap();
    assert!(promoted.token > later.token, "the token is taken at the grant, not when it was asked for");
    assert_eq!(story.token("a", holder.token), TokenStatus::Superseded);
    assert_eq!(story.token("a", promoted.token), TokenStatus::Held);
}

#[test]
fn session_lives_its_ttl_after_the_last_keep_alive() {
    let mut story = Story::default();
    let session = story.session(10_000);
    story.pass(9_999);
    assert!(story.state.session(session).is_some());
    let kept = story.ask(Command::from(KeepAlive { sessions: vec![session] }));
    assert_eq!(
        kept,
        Ok(Reply::Session(session::Reply::KeptAlive(session::KeptAlive {
            deadlines_ms: vec![Some(19_999)]
        })))
    );
    story.now_ms = 5_000;
    story.ask(Command::from(KeepAlive { sessions: vec![session] })).unwrap();
    assert_eq!(story.state.now_ms(), 9_999, "a stamp that is behind does not turn time back");
    assert_eq!(story.state.session(session).unwrap().deadline_ms, 19_999);
    story.now_ms = 19_998;
    story.pass(0);
    assert!(story.state.session(session).is_some());
    story.pass(1);
    assert!(story.state.session(session).is_none());
    let late = story.ask(Command::from(KeepAlive { sessions: vec![session] }));
    assert_eq!(
        late,
        Ok(Reply::Session(session::Reply::KeptAlive(session::KeptAlive { deadlines_ms: vec![None] }))),
        "a session that ended stays ended"
    );
}

#[test]
fn session_end_is_one_entry_with_everything_owned() {
    let mut story = Story::default();
    let session = story.session(1_000);
    let first = story.granted(of(session, exclusive("a")));
    let second = story.granted(of(session, exclusive("b")));
    story.granted(exclusive("c"));
    let wait = story.queued(of(session, waiting(exclusive("c"))));
    let next = story.queued(waiting(exclusive("a")));
    story.pass(1_000);
    let ended = ReleaseReason::SessionEnded(SessionEnd::Expired);
    let told: Vec<String> = story
        .changes
        .iter()
        .map(|change| match change {
            ChangeKind::Lock(lock::Change::WaitEnded { wait, reason: WaitEnd::SessionEnded(_) }) => {
                format!("wait {}", wait.lock_id)
            }
            ChangeKind::Lock(lock::Change::LockReleased { grant, reason }) if *reason == ended => {
                format!("release {}", grant.lock_id)
            }
            ChangeKind::Session(session::Change::SessionEnded { reason: SessionEnd::Expired, .. }) => {
                "session".to_owned()
            }
            ChangeKind::Lock(lock::Change::LockGranted(grant)) => format!("grant {}", grant.lock_id),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        format!("wait {wait}"),
        format!("release {}", first.lock_id),
        format!("release {}", second.lock_id),
        "session".to_owned(),
        format!("grant {next}"),
    ];
    assert_eq!(told, expected);
}

#[test]
fn retry_reports_the_current_state_of_an_acquisition() {
    let mut story = Story::default();
    let key = || DedupKey::Idempotency { namespace: Namespace::default(), key: "k".to_owned() };
    let holder = story.granted(exclusive("a"));
    let ask = || Command::from(waiting(exclusive("a")));
    let Ok(Reply::Lock(lock::Reply::Acquired(lock::Acquired::Queued(wait)))) = story.ask_keyed(key(), ask())
    else {
        panic!("it waits")
    };
    let Ok(Reply::Lock(lock::Reply::Acquired(lock::Acquired::Queued(again)))) = story.ask_keyed(key(), ask())
    else {
        panic!("it still waits")
    };
    assert_eq!(again.lock_id, wait.lock_id);
    assert_eq!(story.state.counts().lock.waits, 1);
    story.release(holder.lock_id).unwrap();
    let Ok(Reply::Lock(lock::Reply::Acquired(lock::Acquired::Granted(grant)))) =
        story.ask_keyed(key(), ask())
    else {
        panic!("it is granted")
    };
    assert_eq!(grant.lock_id, wait.lock_id);
    let Ok(Reply::Lock(lock::Reply::Acquired(lock::Acquired::Granted(same)))) = story.ask_keyed(key(), ask())
    else {
        panic!("it is granted")
    };
    assert_eq!(same.token, grant.token);
    let other = story.ask_keyed(key(), Command::from(exclusive("b")));
    assert_eq!(other, Err(Rejection::KeyReused));
    story.release(grant.lock_id).unwrap();
    let ended = story.ask_keyed(key(), ask()).unwrap_err();
    assert_eq!(ended.code().as_str(), "grant_ended");
    let retention_ms = story.state.limits().retries.idempotency_retention_ms;
    story.pass(retention_ms);
    let Ok(Reply::Lock(lock::Reply::Acquired(lock::Acquired::Granted(fresh)))) =
        story.ask_keyed(key(), ask())
    else {
        panic!("the key is forgotten")
    };
    assert_ne!(fresh.lock_id, grant.lock_id);
}

#[test]
fn retry_has_the_revision_of_its_effect() {
    let mut story = Story::default();
    let session = story.session(60_000);
    let counted = |sequence| DedupKey::Sequence { session, sequence };
    let holder = story.granted(exclusive("a"));
    let ask = || Command::from(waiting(exclusive("a")));
    for (place, dedup) in [key("k"), counted(1)].into_iter().enumerate() {
        let Ok(Reply::Lock(lock::Reply::Acquired(lock::Acquired::Queued(wait)))) =
            story.ask_keyed(dedup.clone(), ask())
        else {
            panic!("it waits")
        };
        let queued = story.revisions.clone();
        assert_eq!(queued, [wait.lock_id.0.index]);
        story.pass(10);
        story.ask_keyed(dedup.clone(), ask()).unwrap();
        assert_eq!(story.revisions, queued, "{place}: when it was queued");
    }
    story.release(holder.lock_id).unwrap();
    let granted = story.revisions.clone();
    story.pass(10);
    let Ok(Reply::Lock(lock::Reply::Acquired(lock::Acquired::Granted(grant)))) =
        story.ask_keyed(key("k"), ask())
    else {
        panic!("it is granted")
    };
    assert_eq!(story.revisions, granted, "when it was granted");
    let release = || Command::from(release_of(grant.lock_id));
    story.ask_keyed(key("r"), release()).unwrap();
    let released = story.revisions.clone();
    story.pass(10);
    story.ask_keyed(key("r"), release()).unwrap();
    assert_eq!(story.revisions, released);
    story.ask_keyed(key("k"), ask()).unwrap_err();
    assert_eq!(story.revisions, [story.state.revision()], "that it ended is true now");
    // A replica that was restored from an image tells the same.
    let (header, records) = (story.state.image_header(), story.state.image_records().collect::<Vec<_>>());
    story.state = State::from_image(header, records, State::validate).unwrap();
    story.ask_keyed(key("r"), release()).unwrap();
    assert_eq!(story.revisions, released);
    story.ask_keyed(counted(1), ask()).unwrap();
    assert_eq!(story.revisions, released, "granted when the first one was given back");
}

#[test]
fn objects_of_another_namespace_are_refused() {
    let mut story = Story::default();
    let elsewhere = || Namespace::new("elsewhere").unwrap();
    let held = story.granted(exclusive("a")).lock_id;
    let waits = story.queued(waiting(exclusive("a")));
    for lock_id in [held, waits] {
        for name in [None, Some(name("a")), Some(name("b"))] {
            let by = By::Id { lock_id, name: name.clone() };
            let release = Release { namespace: elsewhere(), grant: by.into() };
            let extend = Extend { namespace: elsewhere(), lock_id, name, ttl_ms: 60_000 };
            let cancel = CancelWait { namespace: elsewhere(), ..cancel_of(lock_id, None, CancelScope::Wait) };
            let commands = [Command::from(release), Command::from(extend), Command::from(cancel)];
            for command in commands {
                assert_eq!(story.ask(command), Err(Rejection::Lock(lock::Refusal::ForeignLock { lock_id })));
            }
        }
    }
    assert_eq!(story.release(waits), Err(Rejection::Lock(lock::Refusal::LockNotHeld { lock_id: waits })));
    story.release(held).unwrap();
}

#[test]
fn session_elsewhere_is_not_closed() {
    let mut story = Story::default();
    let session = story.session(60_000);
    let close = |namespace: &str| {
        let namespace = Namespace::new(namespace).unwrap();
        Command::from(CloseSession { namespace, session, lock_delay: false })
    };
    let namespace = Namespace::default();
    assert_eq!(
        story.ask(close("elsewhere")),
        Err(Rejection::Session(session::Refusal::NamespaceMismatch { session, namespace }))
    );
    story.ask(close("default")).unwrap();
    assert_eq!(
        story.ask(close("elsewhere")),
        Err(Rejection::Session(session::Refusal::SessionNotFound { session }))
    );
}

#[test]
fn release_by_token_is_repeated_under_its_key() {
    let mut story = Story::default();
    let held = story.granted(exclusive("a"));
    let by = |token| {
        let grant = By::Token { name: name("a"), token }.into();
        Command::from(Release { namespace: Namespace::default(), grant })
    };
    let newest = held.token;
    assert_eq!(
        story.ask(by(newest + 1)),
        Err(Rejection::Lock(lock::Refusal::TokenSuperseded { token: newest + 1, newest })),
        "somebody else's token"
    );
    let released = story.ask_keyed(key("r"), by(newest)).unwrap();
    assert_eq!(
        released,
        Reply::Lock(lock::Reply::Released(lock::Released {
            lock_id: held.lock_id,
            token: newest,
            remaining_count: 0
        }))
    );
    let next = story.granted(exclusive("a"));
    assert_eq!(story.ask_keyed(key("r"), by(newest)), Ok(released), "the same answer");
    assert!(story.is_granted(next.lock_id), "and the effect once");
    assert_eq!(
        story.ask(by(newest)),
        Err(Rejection::Lock(lock::Refusal::TokenSuperseded { token: newest, newest: next.token }))
    );
}

#[test]
fn owner_cannot_withdraw_what_was_granted() {
    let mut story = Story::default();
    let held = story.granted(exclusive("a"));
    let waits = story.queued(waiting(exclusive("a")));
    let cancel = |lock_id| Command::from(cancel_of(lock_id, None, CancelScope::Wait));
    let refused = Rejection::Lock(lock::Refusal::AlreadyGranted { lock_id: held.lock_id, token: held.token });
    assert_eq!(story.ask(cancel(held.lock_id)), Err(refused));
    assert!(story.is_granted(held.lock_id));
    story.ask(cancel(waits)).unwrap();
    assert!(story.state.wait(waits).is_none());
    story.ask(cancel(waits)).unwrap();
}

#[test]
fn sessions_are_listed_by_namespace() {
    let mut story = Story::default();
    let mut open = |namespace: &str| {
        let namespace = Namespace::new(namespace).unwrap();
        let open = OpenSession { namespace, ttl_ms: 60_000, metadata: String::new() };
        match story.ask(Command::from(open)) {
            Ok(Reply::Session(session::Reply::SessionOpened(session::SessionOpened { session, .. }))) => {
                session
            }
            other => panic!("{other:?}"),
        }
    };
    let [a1, b1, a2, a3] = ["a", "b", "a", "a"].map(&mut open);
    let listed = |state: &State, namespace: &str, after, limit| {
        let namespace = Namespace::new(namespace).unwrap();
        state.sessions(&namespace, after, limit).into_iter().map(|view| view.session).collect::<Vec<_>>()
    };
    assert_eq!(listed(&story.state, "a", None, 2), [a1, a2]);
    assert_eq!(listed(&story.state, "a", Some(a2), 2), [a3]);
    assert_eq!(listed(&story.state, "a", Some(b1), 9), [a2, a3], "a cursor may be any id");
    assert_eq!(listed(&story.state, "b", None, 9), [b1]);
    assert!(listed(&story.state, "c", None, 9).is_empty());
    let close = CloseSession { namespace: Namespace::new("a").unwrap(), session: a2, lock_delay: false };
    story.ask(Command::from(close)).unwrap();
    assert_eq!(listed(&story.state, "a", None, 9), [a1, a3]);
}

#[test]
fn requests_that_add_nothing_are_recognised() {
    let mut story = Story::default();
    let key = |text: &str| Some(key(text));
    let namespace = Namespace::default;
    let session = story.session(60_000);
    let again = || Command::from(Acquire { reentrant: true, ..of(session, exclusive("mine")) });
    let open =
        || Command::from(OpenSession { namespace: namespace(), ttl_ms: 60_000, metadata: String::new() });
    let join = || Command::from(of(session, waiting(exclusive("a"))));
    let advance =
        |text: &str| Command::from(AdvanceRegister { namespace: namespace(), name: name(text), token: 1 });
    for (dedup, command) in [
        (None, open()),
        (key("open"), open()),
        (None, again()),
        (key("take"), Command::from(exclusive("a"))),
        (None, join()),
        (key("join"), Command::from(at(2, 1, waiting(exclusive("a"))))),
        (None, advance("r")),
    ] {
        let request = request(dedup, command);
        assert!(story.state.adds(&request), "{request:?}");
        story.apply(vec![request]).remove(0).unwrap();
    }
    let held = story.state.lock(&namespace(), &name("a"), 0).unwrap();
    let (lock_id, token) = (held.holders[0].lock_id, held.holders[0].token);
    let force = ForceRelease { namespace: namespace(), name: name("a"), token, reason: "stuck".to_owned() };
    let limits = SetLimits { patch: LimitsPatch { values: vec![("names_per_acquire_max".to_owned(), 3)] } };
    for (dedup, command) in [
        (key("open"), open()),
        (None, again()),
        (key("take"), Command::from(exclusive("a"))),
        (None, join()),
        (key("join"), Command::from(at(2, 2, waiting(exclusive("a"))))),
        (None, lost(3)),
        (None, advance("r")),
        (None, Command::from(KeepAlive { sessions: vec![session] })),
        (
            key("extend"),
            Command::from(Extend { namespace: namespace(), lock_id, name: None, ttl_ms: 90_000 }),
        ),
        (None, Command::from(limits)),
        (None, Command::from(force)),
        (None, Command::from(cancel_of(lock_id, None, CancelScope::WaitOrGrant))),
        (key("close"), Command::from(close_of(session))),
    ] {
        let request = request(dedup, command);
        assert!(!story.state.adds(&request), "{request:?}");
        story.apply(vec![request]).remove(0).unwrap();
    }
}

#[test]
fn remembered_answers_are_bounded_in_bytes() {
    let mut story = Story::default();
    let limit = |name: &str, value| {
        let patch = LimitsPatch { values: vec![(name.to_owned(), value)] };
        Command::from(SetLimits { patch })
    };
    story.ask(limit("metadata_bytes_max", 65_536)).unwrap();
    let held = story.granted(Acquire { metadata: "m".repeat(60_000), ..exclusive("a") });
    let extend = || {
        let (namespace, lock_id) = (Namespace::default(), held.lock_id);
        Command::from(Extend { namespace, lock_id, name: None, ttl_ms: 60_000 })
    };
    let keyed = |story: &mut Story, n: u64| {
        story.ask_keyed(key(&format!("k{n}")), extend()).unwrap();
        story.state.counts().idempotency_keys
    };
    let all = (0..30).map(|n| keyed(&mut story, n)).last();
    assert_eq!(all, Some(30), "they take less than the default bound");
    story.ask(limit("idempotency_bytes_max", 1 << 20)).unwrap();
    let kept = story.state.counts().idempotency_keys;
    assert_eq!(kept, 17, "a mebibyte of answers, each a little over 60,000 bytes");
    assert_eq!(keyed(&mut story, 30), kept, "the oldest made room for the newest");
    let request = |n: u64| request(Some(key(&format!("k{n}"))), Command::from(exclusive("b")));
    assert!(!story.state.adds(&request(30)) && !story.state.adds(&request(14)), "still remembered");
    assert!(story.state.adds(&request(13)), "forgotten");
    let (header, records) = (story.state.image_header(), story.state.image_records().collect::<Vec<_>>());
    let restored = State::from_image(header, records, State::validate).unwrap();
    assert_eq!(restored.hash(), story.state.hash());
}

#[test]
fn a_session_counts_its_requests() {
    let mut story = Story::default();
    let session = story.session(60_000);
    let window = story.state.limits().retries.session_window;
    let ask = |sequence| (DedupKey::Sequence { session, sequence }, of(session, exclusive("a")));
    let (key, command) = ask(2);
    let Ok(Reply::Lock(lock::Reply::Acquired(lock::Acquired::Granted(grant)))) =
        story.ask_keyed(key.clone(), Command::from(command.clone()))
    else {
        panic!("granted")
    };
    assert_eq!(
        story.ask_keyed(key, Command::from(command)),
        Ok(Reply::Lock(lock::Reply::Acquired(lock::Acquired::Granted(grant.clone()))))
    );
    let (early, _) = ask(1);
    let release = release_of(grant.lock_id);
    let released = story.ask_keyed(early.clone(), Command::from(release.clone())).unwrap();
    assert_eq!(
        story.ask_keyed(early, Command::from(release)),
        Ok(released),
        "out of order within the window"
    );
    let (key, command) = ask(window + 2);
    story.ask_keyed(key, Command::from(command.clone())).unwrap();
    let (old, _) = ask(2);
    let refused = story.ask_keyed(old, Command::from(command)).unwrap_err();
    assert_eq!(refused, Rejection::SequenceTooOld { sequence: 2, oldest: 3 });
}

#[test]
fn free_lock_leaves_nothing_behind() {
    let mut story = Story::default();
    let empty = story.state.counts();
    let session = story.session(1_000);
    let set = story.granted(of(session, want(&["a", "b", "c"], Mode::Shared)));
    let waiter = story.queued(waiting(exclusive("b")));
    story.ask(Command::from(cancel_of(waiter, None, CancelScope::WaitOrGrant))).unwrap();
    story.release(set.lock_id).unwrap();
    story.ask(Command::from(close_of(session))).unwrap();
    assert_eq!(story.state.counts(), empty);
    assert_eq!(empty, Counts::default());
    assert_eq!(story.state.namespaces().count(), 0);
    assert_eq!(story.state.next_deadline_ms(), None);
}

#[test]
fn readers_and_writers_are_not_starved() {
    let mut story = Story::default();
    let shared = || want(&["a"], Mode::Shared);
    let writer = story.granted(exclusive("a"));
    let reader_1 = story.queued(waiting(shared()));
    let writer_2 = story.queued(waiting(exclusive("a")));
    let reader_2 = story.queued(waiting(shared()));
    let position = |lock_id| story.state.wait(lock_id).map(|wait| wait.queue_position);
    assert_eq!([reader_1, writer_2, reader_2].map(position), [Some(0), Some(1), Some(2)]);
    story.release(writer.lock_id).unwrap();
    assert!(story.is_granted(reader_1) && story.is_granted(reader_2), "all waiting readers enter together");
    let reader_3 = story.queued(waiting(shared()));
    story.release(reader_1).unwrap();
    assert!(!story.is_granted(writer_2));
    story.release(reader_2).unwrap();
    assert!(story.is_granted(writer_2) && !story.is_granted(reader_3), "then the writer that waited");
    story.release(writer_2).unwrap();
    assert!(story.is_granted(reader_3));
}

#[test]
fn request_that_would_only_queue_is_recognised() {
    let mut story = Story::default();
    let behind = |story: &Story, acquire: Acquire| story.state.waits_behind(&Command::from(acquire));
    assert_eq!(behind(&story, waiting(exclusive("a"))), None, "it is free");
    let session = story.session(60_000);
    let held = story.granted(Acquire { reentrant: true, ..of(session, exclusive("a")) });
    assert_eq!(behind(&story, exclusive("a")), None, "who does not wait is refused");
    let again = Acquire { reentrant: true, ..of(session, waiting(exclusive("a"))) };
    assert_eq!(behind(&story, again), None, "its owner enters again");
    assert_eq!(behind(&story, waiting(exclusive("a"))), Some(0));
    story.queued(waiting(exclusive("a")));
    assert_eq!(behind(&story, waiting(exclusive("a"))), Some(1));
    assert_eq!(behind(&story, waiting(want(&["b", "a"], Mode::Exclusive))), Some(1), "one of two is enough");
    let release = release_of(held.lock_id);
    assert_eq!(story.state.waits_behind(&Command::from(release)), None);
}

#[test]
fn several_locks_are_taken_all_or_nothing() {
    let mut story = Story::default();
    let a = story.granted(exclusive("a"));
    assert_eq!(story.refused(want(&["b", "a"], Mode::Exclusive)).code().as_str(), "lock_held");
    assert!(story.state.lock(&Namespace::default(), &name("b"), 10).is_none());
    let set = story.queued(waiting(want(&["a", "b"], Mode::Exclusive)));
    let behind = story.queued(waiting(exclusive("b")));
    story.release(a.lock_id).unwrap();
    let grant = story.state.grant(set).unwrap();
    assert_eq!(story.token("a", grant.token), TokenStatus::Held);
    assert_eq!(story.token("b", grant.token), TokenStatus::Held);
    story.release(set).unwrap();
    assert!(story.is_granted(behind));
}

#[test]
fn deadlock_is_refused_and_its_cycle_named() {
    let mut story = Story::default();
    let (one, two) = (story.session(60_000), story.session(60_000));
    story.granted(of(one, exclusive("a")));
    story.granted(of(two, exclusive("b")));
    story.queued(of(one, waiting(exclusive("b"))));
    let Rejection::Lock(lock::Refusal::Deadlock { cycle }) = story.refused(of(two, waiting(exclusive("a"))))
    else {
        panic!("a cycle")
    };
    assert!(cycle[0].contains(&two.to_string()) && cycle[1].contains(&one.to_string()), "{cycle:?}");
    assert!(cycle.last().unwrap().contains(&two.to_string()), "{cycle:?}");
    let own = story.refused(of(two, waiting(exclusive("b"))));
    assert_eq!(own.code().as_str(), "deadlock", "an owner that waits for itself");
    let explained = story
        .state
        .explain(&Actor::Node, &Namespace::default(), &name("b"), &LockPart::first(10, 10))
        .unwrap();
    assert_eq!(explained.waiters[0].blockers[0].owner.session, Some(two));
}

#[test]
fn long_cycle_is_named_without_its_middle() {
    let mut story = Story::default();
    let sessions: Vec<SessionId> = (0..100).map(|_| story.session(60_000)).collect();
    for (number, session) in sessions.iter().enumerate() {
        story.granted(of(*session, exclusive(&number.to_string())));
    }
    for (number, session) in sessions.iter().enumerate().skip(1) {
        story.queued(of(*session, waiting(exclusive(&(number - 1).to_string()))));
    }
    let Rejection::Lock(lock::Refusal::Deadlock { cycle }) =
        story.refused(of(sessions[0], waiting(exclusive("99"))))
    else {
        panic!("a cycle")
    };
    assert_eq!(cycle.len(), 33, "{cycle:?}");
    assert_eq!(cycle[16], "… 69 more …");
    assert_eq!(cycle[0], sessions[0].to_string());
    assert!(cycle[32].contains(&sessions[0].to_string()), "{cycle:?}");
}

#[test]
fn holders_and_waiters_are_read_in_parts() {
    let mut story = Story::default();
    let permit = || want(&["s"], Mode::Semaphore { permits: 1, capacity: 5 });
    let held: Vec<Grant> = (0..5).map(|_| story.granted(permit())).collect();
    let queued: Vec<LockId> = (0..4).map(|_| story.queued(waiting(permit()))).collect();
    let mut part = LockPart::first(2, 3);
    let (mut holders, mut waiters) = (Vec::new(), Vec::new());
    for (holders_shown, waiters_shown) in [(2, 3), (2, 1), (1, 0), (0, 0)] {
        let view = story.state.lock_part(&Namespace::default(), &name("s"), &part).unwrap();
        assert_eq!((view.holders.len(), view.waiters.len()), (holders_shown, waiters_shown));
        assert_eq!((view.holder_count, view.waiter_count), (5, 4));
        holders.extend(view.holders.iter().map(|grant| grant.lock_id));
        waiters.extend(view.waiters.iter().map(|wait| wait.lock_id));
        part = LockPart {
            holders_after: holders.last().copied(),
            waiters_after: waiters.last().copied(),
            ..part
        };
    }
    assert_eq!(holders, held.iter().map(|grant| grant.lock_id).collect::<Vec<_>>());
    assert_eq!(waiters, queued);
    let found = story.state.holder(&Namespace::default(), &name("s"), held[3].token).unwrap();
    assert_eq!(found.lock_id, held[3].lock_id);
    assert!(story.state.holder(&Namespace::default(), &name("s"), 99).is_none());
}

#[test]
fn big_semaphore_request_is_not_starved() {
    let mut story = Story::default();
    let permits = |permits| want(&["s"], Mode::Semaphore { permits, capacity: 3 });
    let one = story.granted(permits(1));
    let two = story.granted(permits(1));
    let big = story.queued(waiting(permits(3)));
    let small = story.queued(waiting(permits(1)));
    assert!(!story.is_granted(small), "nobody overtakes the big request");
    story.release(one.lock_id).unwrap();
    story.release(two.lock_id).unwrap();
    assert!(story.is_granted(big) && !story.is_granted(small));
    assert_eq!(story.refused(exclusive("s")).code().as_str(), "mode_mismatch");
    let other = want(&["s"], Mode::Semaphore { permits: 1, capacity: 4 });
    assert_eq!(
        story.refused(other),
        Rejection::Lock(lock::Refusal::CapacityMismatch { name: name("s"), actual: 3 })
    );
    story.release(big).unwrap();
    assert!(story.is_granted(small));
}

#[test]
fn involuntary_loss_closes_the_lock_for_its_delay() {
    let mut story = Story::default();
    let session = story.session(1_000);
    story.granted(Acquire { lock_delay_ms: 5_000, ..of(session, exclusive("a")) });
    let waiter = story.queued(waiting(exclusive("a")));
    story.pass(1_000);
    assert!(!story.is_granted(waiter));
    let refused = story.refused(exclusive("a"));
    assert_eq!(refused, Rejection::Lock(lock::Refusal::LockDelayed { name: name("a"), remaining_ms: 5_000 }));
    story.pass(5_000);
    assert!(story.is_granted(waiter));
    story.release(waiter).unwrap();
    let session = story.session(60_000);
    let held = story.granted(Acquire { lock_delay_ms: 5_000, ..of(session, exclusive("a")) });
    story.release(held.lock_id).unwrap();
    story.granted(exclusive("a"));
}

#[test]
fn reentrant_owner_keeps_its_token() {
    let mut story = Story::default();
    let session = story.session(60_000);
    let again = || Acquire { reentrant: true, ..of(session, exclusive("a")) };
    let first = story.granted(again());
    let second = story.granted(again());
    assert_eq!((second.lock_id, second.token, second.count), (first.lock_id, first.token, 2));
    let left = story.release(first.lock_id);
    assert_eq!(
        left,
        Ok(lock::Released { lock_id: first.lock_id, token: first.token, remaining_count: 1 }.into())
    );
    assert_eq!(story.refused(exclusive("a")).code().as_str(), "lock_held");
    story.release(first.lock_id).unwrap();
    story.granted(exclusive("a"));
}

#[test]
fn refusal_names_the_limit() {
    let mut story = Story::default();
    let patch = |values: &[(&str, u64)]| LimitsPatch {
        values: values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
    };
    let limits = [
        ("grants_per_namespace_max", 2),
        ("waiters_per_lock_max", 1),
        ("sessions_per_namespace_max", 1),
        ("names_per_acquire_max", 2),
        ("name_bytes_max", 8),
        ("namespaces_max", 1),
    ];
    story.ask(Command::from(SetLimits { patch: patch(&limits) })).unwrap();
    story.granted(exclusive("a"));
    story.queued(waiting(exclusive("a")));
    let refused = |story: &mut Story, command| match story.ask(command).unwrap_err() {
        Rejection::LimitExceeded { limit, .. } => limit,
        Rejection::InvalidArgument { field, .. } => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&mut story, Command::from(exclusive("b"))), "grants_per_namespace_max");
    let more = SetLimits { patch: patch(&[("grants_per_namespace_max", 9)]) };
    story.ask(Command::from(more)).unwrap();
    assert_eq!(refused(&mut story, Command::from(waiting(exclusive("a")))), "waiters_per_lock_max");
    story.session(60_000);
    let open = |namespace: &str| {
        let namespace = Namespace::new(namespace).unwrap();
        Command::from(OpenSession { namespace, ttl_ms: 60_000, metadata: String::new() })
    };
    assert_eq!(refused(&mut story, open("default")), "sessions_per_namespace_max");
    assert_eq!(refused(&mut story, open("other")), "namespaces_max");
    assert_eq!(refused(&mut story, Command::from(want(&["x", "y", "z"], Mode::Shared))), "locks");
    assert_eq!(refused(&mut story, Command::from(exclusive("123456789"))), "name");
}

#[test]
fn page_of_locks_continues_after_the_previous_one() {
    let mut story = Story::default();
    for text in ["a/1", "a/2", "a/3", "b/1"] {
        story.granted(exclusive(text));
    }
    let filter =
        batuta_statemachine::lock::LockFilter { prefix: Some("a/".to_owned()), ..Default::default() };
    let part = LockPart::first(10, 10);
    let (first, next) = story.state.locks(&Namespace::default(), &filter, None, 2, &part);
    let names = |views: &[batuta_statemachine::lock::LockView]| -> Vec<String> {
        views.iter().map(|view| view.name.to_string()).collect()
    };
    assert_eq!(names(&first), ["a/1", "a/2"]);
    let (rest, end) = story.state.locks(&Namespace::default(), &filter, next.as_ref(), 2, &part);
    assert_eq!((names(&rest), end), (vec!["a/3".to_owned()], None));
}

#[test]
fn waits_of_a_lost_node_end_before_any_grant() {
    let mut story = Story::default();
    let held = story.granted(exclusive("a"));
    let dead: Vec<LockId> =
        (1..=4).map(|number| story.queued(at(3, number, waiting(exclusive("a"))))).collect();
    let alive = story.queued(at(1, 1, waiting(exclusive("a"))));
    assert_eq!(story.state.serving_boots(), [(1, 11), (3, 13)]);
    let restarted = WithdrawWaits { node_id: 3, except_boot: Some(13) };
    let none = story.ask(Command::from(restarted));
    assert_eq!(
        none,
        Ok(Reply::Lock(lock::Reply::WaitsWithdrawn(lock::WaitsWithdrawn { waits: 0 }))),
        "the run that lives keeps its waits"
    );
    let release = release_of(held.lock_id);
    let requests = vec![Request::new(None, lost(3)), Request::new(None, Command::from(release))];
    story.apply(requests).into_iter().for_each(|outcome| drop(outcome.unwrap()));
    assert!(story.is_granted(alive), "the first that lives is next");
    assert!(
        dead.into_iter().all(|lock_id| story.state.wait(lock_id).is_none() && !story.is_granted(lock_id))
    );
    assert_eq!(story.state.serving_boots(), [], "a one-shot lock has nobody to ask for it again");
}

#[test]
fn retry_returns_to_its_place_after_node_loss() {
    let mut story = Story::default();
    let held = story.granted(exclusive("a"));
    let ask = |number| Command::from(at(2, number, waiting(exclusive("a"))));
    let Ok(Reply::Lock(lock::Reply::Acquired(lock::Acquired::Queued(wait)))) =
        story.ask_keyed(key("k"), ask(1))
    else {
        panic!("it waits")
    };
    let behind = story.queued(at(1, 1, waiting(exclusive("a"))));
    story.ask(lost(2)).unwrap();
    assert!(story.state.wait(wait.lock_id).is_none());
    assert!(story.state.adds(&request(Some(key("k")), ask(2))), "the wait that is gone comes back");
    let Ok(Reply::Lock(lock::Reply::Acquired(lock::Acquired::Queued(again)))) =
        story.ask_keyed(key("k"), ask(2))
    else {
        panic!("it waits again")
    };
    assert_eq!((again.lock_id, again.queue_position), (wait.lock_id, 0));
    let returned = [story.state.revision()];
    assert_eq!(story.revisions, returned, "this is when it is queued, not the first time");
    story.pass(10);
    story.ask_keyed(key("k"), ask(2)).unwrap();
    assert_eq!(story.revisions, returned);
    story.release(held.lock_id).unwrap();
    assert!(story.is_granted(wait.lock_id) && !story.is_granted(behind));
    let Ok(Reply::Lock(lock::Reply::Acquired(lock::Acquired::Granted(grant)))) =
        story.ask_keyed(key("k"), ask(3))
    else {
        panic!("it is granted")
    };
    assert_eq!(grant.lock_id, wait.lock_id);
    story.release(grant.lock_id).unwrap();
    assert_eq!(
        story.ask_keyed(key("k"), ask(4)).unwrap_err().code().as_str(),
        "grant_ended",
        "it had its effect once"
    );
}

#[test]
fn replaced_call_cannot_end_a_wait() {
    let mut story = Story::default();
    story.granted(exclusive("a"));
    let ask = |node, number| Command::from(at(node, number, waiting(exclusive("a"))));
    let Ok(Reply::Lock(lock::Reply::Acquired(lock::Acquired::Queued(wait)))) =
        story.ask_keyed(key("k"), ask(3, 1))
    else {
        panic!("it waits")
    };
    story.ask_keyed(key("k"), ask(1, 1)).unwrap();
    let leave = |node, number| {
        let call = at(node, number, exclusive("a")).call;
        Command::from(cancel_of(wait.lock_id, call, CancelScope::Wait))
    };
    story.ask(leave(3, 1)).unwrap();
    assert!(story.state.wait(wait.lock_id).is_some(), "the other call waits on");
    story.ask_keyed(key("k"), ask(3, 2)).unwrap();
    story.ask(leave(3, 2)).unwrap();
    assert!(story.state.wait(wait.lock_id).is_some(), "a request that arrived late takes nothing away");
    story.ask(leave(1, 1)).unwrap();
    assert!(story.state.wait(wait.lock_id).is_none(), "nobody waits any more");
}

#[test]
fn repeated_request_of_an_owner_joins_its_wait() {
    let mut story = Story::default();
    let held = story.granted(exclusive("a"));
    let session = story.session(60_000);
    let ask = |node, number| at(node, number, of(session, waiting(exclusive("a"))));
    let wait = story.queued(ask(3, 1));
    assert_eq!(story.queued(ask(1, 1)), wait, "the same wait, not a deadlock with itself");
    assert!(story.state.was_replaced(wait, ask(3, 1).call.unwrap()), "one of the two calls is told");
    assert!(!story.state.was_replaced(wait, ask(1, 1).call.unwrap()));
    assert_eq!(story.state.counts().lock.waits, 1);
    story.ask(lost(3)).unwrap();
    assert!(story.state.wait(wait).is_some(), "the second call waits on");
    story.release(held.lock_id).unwrap();
    assert!(story.is_granted(wait));
    assert!(story.state.was_replaced(wait, ask(3, 1).call.unwrap()));
    assert!(!story.state.was_replaced(wait, ask(1, 1).call.unwrap()));
    assert_eq!(story.state.answered_elsewhere(&ask(2, 1)), Some(vec![1]), "its answer may be on its way");
    assert_eq!(story.state.answered_elsewhere(&ask(1, 2)), None, "the node that answered it knows");
    let refused = story.ask_keyed(key("k"), Command::from(ask(2, 1))).unwrap_err();
    assert_eq!(refused.code().as_str(), "deadlock", "while its node lives, its owner knows");
    story.ask(lost(1)).unwrap();
    assert_eq!(story.state.answered_elsewhere(&ask(2, 2)), Some(vec![]), "asked again it is told");
    let Ok(Reply::Lock(lock::Reply::Acquired(lock::Acquired::Granted(told)))) =
        story.ask_keyed(key("k"), Command::from(ask(2, 2)))
    else {
        panic!("it is told, also under the key of a refusal")
    };
    assert_eq!((told.lock_id, told.count), (wait, 1));
    assert_eq!(story.refused(ask(2, 3)).code().as_str(), "deadlock", "it is told once");
    let cancel = cancel_of(wait, ask(1, 1).call, CancelScope::WaitOrGrant);
    story.ask(Command::from(cancel)).unwrap();
    assert!(story.is_granted(wait), "the lost node takes nothing back");
}

fn downgrade(lock_id: LockId) -> Command {
    Command::from(Downgrade { namespace: Namespace::default(), grant: by_id(lock_id) })
}

fn resize(text: &str, capacity: u32) -> Command {
    Command::from(Resize { namespace: Namespace::default(), name: name(text), capacity })
}

fn permits(permits: u32, capacity: u32) -> Acquire {
    want(&["s"], Mode::Semaphore { permits, capacity })
}

#[test]
fn downgraded_lock_is_shared_with_the_readers_that_wait_and_kept_from_writers() {
    let mut story = Story::default();
    let held = story.granted(exclusive("a"));
    let writer = story.queued(waiting(exclusive("a")));
    let reader = story.queued(waiting(want(&["a"], Mode::Shared)));
    story.ask(downgrade(held.lock_id)).unwrap();
    assert!(story.is_granted(reader), "a reader goes past the writer, as when a writer leaves");
    assert!(!story.is_granted(writer));
    let now = story.state.grant(held.lock_id).unwrap();
    assert_eq!((now.token, now.requests[0].mode), (held.token, Mode::Shared), "the same grant");
    assert!(matches!(&story.changes[0], ChangeKind::Lock(lock::Change::LockChanged(grant)) if *grant == now));
    assert_eq!(story.token("a", held.token), TokenStatus::Held);
    story.ask(downgrade(held.lock_id)).unwrap();
    assert!(story.changes.is_empty(), "once is enough");
    story.release(held.lock_id).unwrap();
    story.release(reader).unwrap();
    assert!(story.is_granted(writer));
}

#[test]
fn downgrade_is_no_way_to_nowhere() {
    let mut story = Story::default();
    let counted = story.granted(permits(1, 2)).lock_id;
    let refused = story.ask(downgrade(counted)).unwrap_err();
    assert!(matches!(refused, Rejection::Lock(lock::Refusal::ModeMismatch { .. })), "{refused}");
    let session = story.session(60_000);
    let held = story.granted(Acquire { reentrant: true, ..of(session, exclusive("a")) });
    story.ask(downgrade(held.lock_id)).unwrap();
    let upgrade = story.refused(waiting(Acquire { reentrant: true, ..of(session, exclusive("a")) }));
    assert_eq!(upgrade.code().as_str(), "deadlock", "an owner that waits for itself");
}

#[test]
fn semaphore_that_grows_lets_waiters_in_at_once() {
    let mut story = Story::default();
    let held = story.granted(permits(2, 2));
    let waits = story.queued(waiting(permits(1, 2)));
    let resized = story.ask(resize("s", 3)).unwrap();
    let expected = Resized { name: name("s"), capacity: 3, permits_held: 3 };
    assert_eq!(resized, Reply::Lock(lock::Reply::Resized(expected)));
    assert!(story.is_granted(waits));
    let now = story.state.grant(held.lock_id).unwrap();
    assert_eq!(now.requests[0].mode, Mode::Semaphore { permits: 2, capacity: 3 }, "holders know it");
    let old = story.refused(permits(1, 2));
    assert!(matches!(old, Rejection::Lock(lock::Refusal::CapacityMismatch { actual: 3, .. })), "{old}");
}

#[test]
fn semaphore_that_shrinks_takes_nothing_away() {
    let mut story = Story::default();
    let [one, two] = [1, 2].map(|wanted| story.granted(permits(wanted, 3)).lock_id);
    let waits = story.queued(waiting(permits(1, 3)));
    let resized = story.ask(resize("s", 1)).unwrap();
    let expected = Resized { name: name("s"), capacity: 1, permits_held: 3 };
    assert_eq!(resized, Reply::Lock(lock::Reply::Resized(expected)));
    assert!(story.is_granted(one) && story.is_granted(two));
    story.release(two).unwrap();
    assert!(!story.is_granted(waits), "one of one is held");
    story.release(one).unwrap();
    assert!(story.is_granted(waits));
}

#[test]
fn resize_that_would_strand_a_waiter_is_refused() {
    let mut story = Story::default();
    assert_eq!(story.ask(resize("s", 1)).unwrap_err().code().as_str(), "lock_not_found");
    let session = story.session(60_000);
    let owner = |label: &str| Owner { session: Some(session), label: label.to_owned() };
    let of_owner = |label, acquire| Acquire { owner: owner(label), ttl_ms: None, ..acquire };
    story.granted(of_owner("ann", permits(1, 3)));
    story.granted(of_owner("cid", permits(1, 3)));
    story.granted(of_owner("bob", exclusive("a")));
    // Bob waits for what cid gives back; ann waits for bob.
    story.queued(waiting(of_owner("bob", permits(2, 3))));
    story.queued(waiting(of_owner("ann", exclusive("a"))));
    assert_eq!(story.ask(resize("s", 1)).unwrap_err().code().as_str(), "invalid_argument");
    // Of two permits bob would need ann's as well, and she waits for him.
    assert_eq!(story.ask(resize("s", 2)).unwrap_err().code().as_str(), "deadlock");
    let part = LockPart::first(9, 9);
    let view = story.state.lock_part(&Namespace::default(), &name("s"), &part).unwrap();
    assert_eq!(view.kind, lock::LockKind::Semaphore { capacity: 3, permits_free: 1 }, "nothing changed");
    assert_eq!(story.ask(resize("a", 2)).unwrap_err().code().as_str(), "mode_mismatch");
    assert_eq!(story.ask(resize("s", 0)).unwrap_err().code().as_str(), "invalid_argument");
}

#[test]
fn holder_changes_its_text_under_its_token() {
    let mut story = Story::default();
    let held = story.granted(exclusive("a"));
    let set = |token, text: &str| {
        let grant = By::Token { name: name("a"), token }.into();
        Command::from(SetMetadata { namespace: Namespace::default(), grant, metadata: text.to_owned() })
    };
    story.ask(set(held.token, "half done")).unwrap();
    let now = story.state.grant(held.lock_id).unwrap();
    assert_eq!(*now.metadata, *"half done");
    assert_eq!(story.changes, [ChangeKind::Lock(lock::Change::LockChanged(now))], "watchers see it");
    story.ask(set(held.token, "half done")).unwrap();
    assert!(story.changes.is_empty());
    let refused = story.ask(set(held.token + 1, "mine")).unwrap_err();
    assert_eq!(refused.code().as_str(), "token_superseded");
    let long = "x".repeat(5_000);
    assert_eq!(story.ask(set(held.token, &long)).unwrap_err().code().as_str(), "invalid_argument");
}

#[test]
fn session_that_names_itself_changes_only_what_it_owns() {
    let mut story = Story::default();
    let [ann, bob] = [(); 2].map(|()| story.session(60_000));
    let held = story.granted(of(ann, exclusive("a"))).lock_id;
    let grant = |session| GrantRef { session: Some(session), ..by_id(held) };
    let namespace = Namespace::default;
    let refused = Err(Rejection::Lock(lock::Refusal::NotOwner { lock_id: held, session: bob }));
    assert_eq!(story.ask(Command::from(Downgrade { namespace: namespace(), grant: grant(bob) })), refused);
    let set = SetMetadata { namespace: namespace(), grant: grant(bob), metadata: "b".to_owned() };
    assert_eq!(story.ask(Command::from(set)), refused);
    assert_eq!(story.ask(Command::from(Release { namespace: namespace(), grant: grant(bob) })), refused);
    assert!(story.is_granted(held));
    story.ask(Command::from(Release { namespace: namespace(), grant: grant(ann) })).unwrap();
    let alone = story.granted(exclusive("b")).lock_id;
    let grant = GrantRef { session: Some(bob), ..by_id(alone) };
    let refused = story.ask(Command::from(Release { namespace: namespace(), grant })).unwrap_err();
    assert_eq!(refused.code().as_str(), "not_owner", "a lock without a session is not its own");
}

#[test]
fn operator_who_closes_a_session_can_keep_its_locks_closed() {
    let mut story = Story::default();
    for (lock_delay, expected) in [(true, "lock_delayed"), (false, "granted")] {
        let session = story.session(60_000);
        story.granted(Acquire { lock_delay_ms: 5_000, ..of(session, exclusive("a")) });
        story.ask(Command::from(CloseSession { lock_delay, ..close_of(session) })).unwrap();
        let next = story.ask(Command::from(exclusive("a")));
        assert_eq!(next.map_or_else(|refused| refused.code().as_str(), |_| "granted"), expected);
        story.pass(5_000);
    }
}

fn raise(level: u32, version: &str) -> Command {
    Command::from(RaiseLevel { level, version: version.to_owned() })
}

#[test]
fn level_only_rises() {
    let mut story = Story::default();
    assert_eq!((story.state.level(), story.state.level_version()), (1, ""), "what every build knows");
    let raised = |level| Ok(Reply::Cluster(cluster::Reply::LevelRaised(cluster::LevelRaised { level })));
    assert_eq!(story.ask(raise(3, "0.3.0")), raised(3));
    let change = cluster::Change::LevelRaised { level: 3, version: "0.3.0".to_owned() };
    assert_eq!(story.changes, [ChangeKind::Cluster(change)]);
    for (level, version) in [(3, "0.9.0"), (2, "0.2.0"), (1, "0.1.0")] {
        assert_eq!(story.ask(raise(level, version)), raised(3), "it does not fall");
        assert!(story.changes.is_empty());
    }
    for (level, version) in [(0, "0.1.0"), (4, ""), (4, &"9".repeat(65))] {
        assert_eq!(story.ask(raise(level, version)).unwrap_err().code().as_str(), "invalid_argument");
    }
    let (header, records) = (story.state.image_header(), story.state.image_records().collect::<Vec<_>>());
    let restored = State::from_image(header, records, State::validate).unwrap();
    assert_eq!((restored.level(), restored.level_version()), (3, "0.3.0"), "a snapshot keeps it");
    assert_eq!(restored.hash(), story.state.hash());
}

#[test]
fn entry_has_the_level_of_its_newest_command() {
    let requests = |commands: Vec<Command>| Entry {
        stamp: Stamp::default(),
        requests: commands.into_iter().map(|command| Request::new(None, command)).collect(),
    };
    assert_eq!((requests(Vec::new()).level(), requests(Vec::new()).raises_level()), (1, None));
    let raises = requests(vec![raise(2, "0.2.0"), raise(7, "0.7.0"), Command::from(exclusive("a"))]);
    assert_eq!(raises.level(), 1, "every build knows the command that raises the level");
    assert_eq!(raises.raises_level().map(|raise| raise.level), Some(7));
}

#[test]
fn newer_limit_needs_its_level() {
    let mut story = Story::default();
    let set = || {
        let values = vec![("members_max".to_owned(), 5)];
        Command::from(SetLimits { patch: LimitsPatch { values } })
    };
    assert_eq!(set().level(), 2, "it is refused before it is proposed");
    assert_eq!(story.ask(set()).unwrap_err().code().as_str(), "invalid_argument", "as an older build says");
    story.ask(raise(2, "0.2.0")).unwrap();
    story.ask(set()).unwrap();
    assert_eq!(story.state.limits().cluster.members_max, 5);
}
