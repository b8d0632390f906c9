//! Stories of elections. The promises are those of etcd's elections, of Curator's leader latch and leader selector, and of locks with
//! sessions and lock-delay in Consul.

use std::sync::Arc;

use batuta_statemachine::lock::{
    Acquire, By, CancelScope, Change, Extend, ForceRelease, Grant, GrantRef, LockFilter, LockKind, LockPart,
    LockRequest, LockView, Mode, Owner, Refusal, Release, SetMetadata,
};
use batuta_statemachine::{
    ChangeKind, Command, Counts, LockId, Namespace, Rejection, ReleaseReason, Reply, SessionEnd, SessionId,
    State, WaitEnd, lock,
};

use super::{
    Story, at, cancel_of, close_of, downgrade, exclusive, key, lost, name, of, resize, waiting, want,
};

/// A candidacy in the election `e`, which publishes a value once it is elected.
fn campaign(value: &str) -> Acquire {
    Acquire { metadata: value.to_owned(), ..want(&["e"], Mode::Election) }
}

fn labelled(session: SessionId, label: &str, command: Acquire) -> Acquire {
    Acquire { owner: Owner { session: Some(session), label: label.to_owned() }, ttl_ms: None, ..command }
}

fn under(token: u64) -> GrantRef {
    By::Leader { name: name("e"), token }.into()
}

fn proclaim(token: u64, value: &str) -> Command {
    let metadata = value.to_owned();
    Command::from(SetMetadata { namespace: Namespace::default(), grant: under(token), metadata })
}

fn resign(token: u64) -> Command {
    Command::from(Release { namespace: Namespace::default(), grant: under(token) })
}

fn depose(token: u64) -> Command {
    let reason = "stuck".to_owned();
    Command::from(ForceRelease { namespace: Namespace::default(), name: name("e"), token, reason })
}

impl Story {
    fn election(&self) -> Option<LockView> {
        self.state.lock(&Namespace::default(), &name("e"), 100)
    }

    /// The only leader of the election.
    fn leader(&self) -> Option<Arc<Grant>> {
        let mut holders = self.election()?.holders;
        assert!(holders.len() <= 1, "{holders:?}");
        holders.pop()
    }

    fn led_by(&self, candidate: LockId) -> bool {
        self.leader().is_some_and(|leader| leader.lock_id == candidate)
    }

    fn value(&self) -> Option<String> {
        self.leader().map(|leader| leader.metadata.to_string())
    }

    fn restart(&mut self) {
        let (header, records) = (self.state.image_header(), self.state.image_records().collect::<Vec<_>>());
        self.state = State::from_image(header, records, State::validate).unwrap();
    }
}

#[test]
fn candidates_are_elected_in_order() {
    let mut story = Story::default();
    let first = story.granted(campaign("0"));
    let candidates: Vec<LockId> =
        (1..5).map(|number| story.queued(waiting(campaign(&number.to_string())))).collect();
    let election = story.election().unwrap();
    assert_eq!(election.kind, LockKind::Election);
    let queue: Vec<(LockId, u64)> =
        election.waiters.iter().map(|wait| (wait.lock_id, wait.queue_position)).collect();
    assert_eq!(queue, candidates.iter().copied().zip(0..).collect::<Vec<_>>());
    assert_eq!(story.refused(campaign("late")).code().as_str(), "lock_held");
    let (mut token, mut revision) = (first.token, first.granted_revision);
    for (number, candidate) in (1..).zip(candidates) {
        story.ask(resign(token)).unwrap();
        let leader = story.leader().unwrap();
        assert_eq!((leader.lock_id, &*leader.metadata), (candidate, number.to_string().as_str()));
        assert!(leader.token > token && leader.granted_revision > revision);
        (token, revision) = (leader.token, leader.granted_revision);
    }
    story.ask(resign(token)).unwrap();
    assert_eq!(story.election(), None, "an election that nobody takes part in leaves nothing behind");
    assert_eq!(story.state.counts(), Counts::default());
}

#[test]
fn leader_that_resigns_hands_over_in_one_revision() {
    let mut story = Story::default();
    let old = story.granted(Acquire { lock_delay_ms: 5_000, ..campaign("old") });
    let next = story.queued(waiting(campaign("next")));
    story.ask(resign(old.token)).unwrap();
    let new = story.leader().unwrap();
    assert_eq!((new.lock_id, new.granted_revision), (next, story.state.revision()));
    let ended = Arc::new(Grant { count: 0, ..old });
    let told =
        [Change::LockReleased { grant: ended, reason: ReleaseReason::Released }, Change::LockGranted(new)];
    assert_eq!(story.changes, told.map(ChangeKind::Lock), "the old leader goes first");
}

#[test]
fn lost_leader_is_replaced_after_lock_delay() {
    let mut story = Story::default();
    let session = story.session(1_000);
    let lost =
        story.granted(Acquire { lock_delay_ms: 5_000, ..of(session, campaign("lost with its session")) });
    let next = story.queued(waiting(campaign("next")));
    story.pass(999);
    assert!(story.led_by(lost.lock_id), "a session keeps its leader for its whole TTL");
    story.pass(1);
    assert_eq!(story.leader(), None, "it may still believe that it leads");
    let refused = story.ask(proclaim(lost.token, "still me")).unwrap_err();
    assert_eq!(refused.code().as_str(), "token_superseded");
    let refused = story.refused(campaign("in a hurry"));
    assert_eq!(refused, Rejection::Lock(Refusal::LockDelayed { name: name("e"), remaining_ms: 5_000 }));
    story.restart();
    story.pass(4_999);
    assert_eq!(story.leader(), None);
    assert_eq!(story.election().unwrap().kind, LockKind::Election);
    story.pass(1);
    assert!(story.led_by(next));
}

#[test]
fn closed_election_is_not_a_lock_after_a_restart() {
    let mut story = Story::default();
    let leader = story.granted(Acquire { lock_delay_ms: 5_000, ..campaign("") });
    story.ask(depose(leader.token)).unwrap();
    for _ in 0..2 {
        let refused = story.refused(waiting(exclusive("e")));
        assert_eq!(
            refused,
            Rejection::Lock(Refusal::ModeMismatch { name: name("e"), actual: "election".into() })
        );
        let election = story.election().unwrap();
        assert_eq!((election.kind, election.delayed_until_ms), (LockKind::Election, Some(5_000)));
        story.restart();
    }
    story.pass(5_000);
    assert_eq!(story.election(), None);
    story.granted(exclusive("e"));
}

#[test]
fn proclaim_under_a_stale_token_is_refused() {
    let mut story = Story::default();
    let old = story.granted(campaign("old"));
    let next = story.queued(waiting(campaign("next")));
    story.ask(proclaim(old.token, "older")).unwrap();
    let leader = story.leader().unwrap();
    assert_eq!(story.changes, [ChangeKind::Lock(Change::LockChanged(Arc::clone(&leader)))]);
    assert_eq!((leader.token, leader.granted_revision), (old.token, old.granted_revision));
    assert_eq!(story.value().unwrap(), "older");
    story.ask(resign(old.token)).unwrap();
    let newest = story.leader().unwrap().token;
    let superseded = Err(Rejection::Lock(Refusal::TokenSuperseded { token: old.token, newest }));
    assert_eq!(story.ask(proclaim(old.token, "oldest")), superseded);
    assert_eq!(story.ask(resign(old.token)), superseded);
    assert_eq!(story.ask(depose(old.token)), superseded);
    assert!(story.led_by(next));
    assert_eq!(story.value().unwrap(), "next", "a value goes with its leader");
}

#[test]
fn leader_is_named_by_its_session_or_none() {
    let mut story = Story::default();
    let [ann, bob] = [(); 2].map(|()| story.session(60_000));
    let leader = story.granted(of(ann, campaign("ann")));
    let by = |session| GrantRef { session: Some(session), ..under(leader.token) };
    let set = |session| {
        let metadata = "changed".to_owned();
        Command::from(SetMetadata { namespace: Namespace::default(), grant: by(session), metadata })
    };
    let give_up = |session| Command::from(Release { namespace: Namespace::default(), grant: by(session) });
    let refused = Err(Rejection::Lock(Refusal::NotOwner { lock_id: leader.lock_id, session: bob }));
    assert_eq!(story.ask(set(bob)), refused);
    assert_eq!(story.ask(give_up(bob)), refused);
    assert_eq!(story.value().unwrap(), "ann");
    story.ask(set(ann)).unwrap();
    assert_eq!(story.value().unwrap(), "changed");
    story.ask(give_up(ann)).unwrap();
    assert_eq!(story.leader(), None);
}

#[test]
fn candidate_that_leaves_is_skipped() {
    let mut story = Story::default();
    let [leaving, staying] = [(); 2].map(|()| story.session(60_000));
    let leader = story.granted(campaign("leader"));
    let withdraws = story.queued(waiting(campaign("withdraws")));
    let closes = story.queued(of(leaving, waiting(campaign("closes its session"))));
    let times_out = story.queued(Acquire { wait_ms: 10, ..campaign("times out") });
    let vanishes = story.queued(at(2, 1, waiting(campaign("loses its node"))));
    let stays = story.queued(of(staying, waiting(campaign("stays"))));
    let end = |story: &Story, candidate: LockId, expected: WaitEnd| {
        let [ChangeKind::Lock(Change::WaitEnded { wait, reason }), ..] = &story.changes[..] else {
            panic!("{:?}", story.changes)
        };
        assert_eq!((wait.lock_id, *reason), (candidate, expected));
    };
    story.ask(Command::from(cancel_of(withdraws, None, CancelScope::Wait))).unwrap();
    end(&story, withdraws, WaitEnd::Cancelled);
    story.ask(Command::from(close_of(leaving))).unwrap();
    end(&story, closes, WaitEnd::SessionEnded(SessionEnd::Closed));
    story.pass(10);
    end(&story, times_out, WaitEnd::TimedOut);
    story.ask(lost(2)).unwrap();
    end(&story, vanishes, WaitEnd::NodeLost);
    assert_eq!(story.state.wait(stays).unwrap().queue_position, 0);
    story.ask(resign(leader.token)).unwrap();
    assert!(story.led_by(stays));
}

#[test]
fn election_and_lock_do_not_share_a_name() {
    let mut story = Story::default();
    let in_use = |name: &str, actual: &'static str| {
        Rejection::Lock(Refusal::ModeMismatch { name: self::name(name), actual: actual.into() })
    };
    let leader = story.granted(campaign(""));
    let permit = want(&["e"], Mode::Semaphore { permits: 1, capacity: 2 });
    for other in [exclusive("e"), want(&["e"], Mode::Shared), permit, want(&["free", "e"], Mode::Exclusive)] {
        assert_eq!(story.refused(waiting(other)), in_use("e", "election"));
    }
    let candidate = story.queued(waiting(campaign("")));
    story.ask(Command::from(cancel_of(candidate, None, CancelScope::Wait))).unwrap();
    assert_eq!(story.ask(downgrade(leader.lock_id)), Err(in_use("e", "election")));
    assert_eq!(story.ask(resize("e", 3)), Err(in_use("e", "election")));
    story.ask(resign(leader.token)).unwrap();
    assert_eq!(story.ask(resize("e", 3)).unwrap_err().code().as_str(), "lock_not_found");

    let held = story.granted(exclusive("e"));
    assert_eq!(story.refused(waiting(campaign(""))), in_use("e", "exclusive/shared"));
    story.release(held.lock_id).unwrap();
    let permit = story.granted(want(&["e"], Mode::Semaphore { permits: 1, capacity: 2 }));
    assert_eq!(story.refused(campaign("")), in_use("e", "semaphore"));
    story.release(permit.lock_id).unwrap();
    story.granted(campaign("free again"));
}

#[test]
fn holder_of_a_lock_does_not_lead() {
    let mut story = Story::default();
    let held = story.granted(Acquire { metadata: "a lock".to_owned(), ..exclusive("e") });
    let in_use =
        Err(Rejection::Lock(Refusal::ModeMismatch { name: name("e"), actual: "exclusive/shared".into() }));
    assert_eq!(story.ask(proclaim(held.token, "a leader")), in_use);
    assert_eq!(story.ask(resign(held.token)), in_use);
    assert_eq!(*story.state.grant(held.lock_id).unwrap().metadata, *"a lock");
    let other = story.ask(resign(held.token + 1)).unwrap_err();
    assert_eq!(other.code().as_str(), "token_superseded");
}

#[test]
fn campaign_is_for_one_election() {
    let mut story = Story::default();
    let with_lock = Acquire {
        requests: vec![
            LockRequest { name: name("e"), mode: Mode::Election },
            LockRequest { name: name("a"), mode: Mode::Exclusive },
        ],
        ..campaign("")
    };
    for command in [want(&["e", "f"], Mode::Election), with_lock] {
        let refused = story.refused(command);
        assert!(
            matches!(&refused, Rejection::InvalidArgument { field, .. } if field == "locks"),
            "{refused:?}"
        );
    }
    assert_eq!(story.election(), None);
}

#[test]
fn deadlock_through_an_election_and_a_lock_is_named() {
    let mut story = Story::default();
    let [ann, bob] = [(); 2].map(|()| story.session(60_000));
    story.granted(of(ann, campaign("ann")));
    story.granted(of(bob, exclusive("a")));
    story.queued(of(ann, waiting(exclusive("a"))));
    let Rejection::Lock(Refusal::Deadlock { cycle }) = story.refused(of(bob, waiting(campaign("bob"))))
    else {
        panic!("a cycle")
    };
    let expected = [bob.to_string(), format!("{ann} (in the way on e)"), format!("{bob} (in the way on a)")];
    assert_eq!(cycle, expected);
    let own = story.refused(of(ann, waiting(campaign("ann, again"))));
    assert_eq!(own.code().as_str(), "deadlock", "a leader that waits for its own resignation");
}

#[test]
fn one_session_stands_twice_under_two_labels() {
    let mut story = Story::default();
    let session = story.session(60_000);
    let leader = story.granted(labelled(session, "one", campaign("1")));
    let candidate = story.queued(labelled(session, "two", waiting(campaign("2"))));
    assert_eq!(story.queued(labelled(session, "two", waiting(campaign("2")))), candidate, "it stands once");
    assert_eq!(story.state.counts().lock.waits, 1);
    story.ask(resign(leader.token)).unwrap();
    assert!(story.led_by(candidate));
    let third = story.queued(labelled(session, "one", waiting(campaign("3"))));
    story.ask(Command::from(close_of(session))).unwrap();
    assert!(story.state.wait(third).is_none());
    assert_eq!(story.election(), None, "both went with their session");
}

#[test]
fn repeated_campaign_gets_the_same_leadership() {
    let mut story = Story::default();
    let leader = story.granted(campaign("leader"));
    let ask = || Command::from(waiting(campaign("again and again")));
    let Ok(Reply::Lock(lock::Reply::Acquired(lock::Acquired::Queued(wait)))) =
        story.ask_keyed(key("k"), ask())
    else {
        panic!("it stands")
    };
    story.ask_keyed(key("k"), ask()).unwrap();
    assert_eq!(story.election().unwrap().waiter_count, 1);
    story.ask_keyed(key("r"), resign(leader.token)).unwrap();
    story.restart();
    for value in ["again and again", "proclaimed"] {
        let Ok(Reply::Lock(lock::Reply::Acquired(lock::Acquired::Granted(elected)))) =
            story.ask_keyed(key("k"), ask())
        else {
            panic!("it leads")
        };
        assert_eq!((elected.lock_id, elected.count, &*elected.metadata), (wait.lock_id, 1, value));
        story.ask(proclaim(elected.token, "proclaimed")).unwrap();
    }
    story.ask_keyed(key("r"), resign(leader.token)).unwrap();
    assert!(story.led_by(wait.lock_id), "a repeated resignation takes nothing from the successor");
    let token = story.leader().unwrap().token;
    story.ask(resign(token)).unwrap();
    assert_eq!(story.ask_keyed(key("k"), ask()).unwrap_err().code().as_str(), "grant_ended");
    assert_eq!(story.leader(), None, "who resigned is not elected again by a retry");
}

#[test]
fn operator_takes_leadership_away_by_token() {
    let mut story = Story::default();
    let session = story.session(60_000);
    let leader = story.granted(Acquire { lock_delay_ms: 1_000, ..of(session, campaign("stuck")) });
    let next = story.queued(waiting(campaign("next")));
    let newest = leader.token;
    let superseded = Err(Rejection::Lock(Refusal::TokenSuperseded { token: newest + 1, newest }));
    assert_eq!(story.ask(depose(newest + 1)), superseded, "another leader than the one that was seen");
    story.ask(depose(newest)).unwrap();
    let forced = ReleaseReason::Forced { reason: "stuck".to_owned() };
    assert!(
        matches!(&story.changes[..], [ChangeKind::Lock(Change::LockReleased { reason, .. })] if *reason == forced),
        "{:?}",
        story.changes
    );
    assert!(story.state.session(session).is_some(), "its session lives on");
    assert_eq!(story.leader(), None);
    story.pass(1_000);
    assert!(story.led_by(next));
}

#[test]
fn leader_with_a_ttl_is_extended_by_its_candidacy() {
    let mut story = Story::default();
    let extend = |lock_id| {
        let namespace = Namespace::default();
        Command::from(Extend { namespace, lock_id, name: Some(name("e")), ttl_ms: 60_000 })
    };
    let leader = story.granted(campaign(""));
    let next = story.queued(Acquire { wait_ms: 200_000, ..campaign("") });
    story.pass(59_999);
    story.ask(extend(leader.lock_id)).unwrap();
    assert_eq!(story.ask(extend(next)).unwrap_err().code().as_str(), "lock_not_held", "it does not lead yet");
    story.pass(59_999);
    assert!(story.led_by(leader.lock_id));
    story.pass(1);
    assert!(story.led_by(next));
    assert_eq!(story.ask(extend(leader.lock_id)).unwrap_err().code().as_str(), "lock_not_held");
}

#[test]
fn elections_are_listed_among_locks_or_alone() {
    let mut story = Story::default();
    story.granted(want(&["a/election"], Mode::Election));
    story.granted(exclusive("a/lock"));
    let closed = story.granted(Acquire { lock_delay_ms: 1_000, ..want(&["b/closed"], Mode::Election) });
    let depose = ForceRelease {
        namespace: Namespace::default(),
        name: name("b/closed"),
        token: closed.token,
        reason: "stuck".to_owned(),
    };
    story.ask(Command::from(depose)).unwrap();
    let names = |filter: &LockFilter| {
        let part = LockPart::first(10, 10);
        let (locks, next) = story.state.locks(&Namespace::default(), filter, None, 10, &part);
        assert_eq!(next, None);
        locks.into_iter().map(|lock| lock.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&LockFilter::default()), ["a/election", "a/lock", "b/closed"]);
    let elections = LockFilter { elections: Some(true), ..LockFilter::default() };
    assert_eq!(names(&elections), ["a/election", "b/closed"]);
    assert_eq!(names(&LockFilter { elections: Some(false), ..LockFilter::default() }), ["a/lock"]);
    let below = LockFilter { prefix: Some("a/".to_owned()), ..elections };
    assert_eq!(names(&below), ["a/election"]);
}

#[test]
fn campaign_needs_the_level_of_elections() {
    for command in [Command::from(campaign("")), proclaim(1, ""), resign(1)] {
        assert_eq!(command.level(), 2, "an older member cannot apply it");
    }
    assert_eq!(Command::from(exclusive("e")).level(), 1);
}
