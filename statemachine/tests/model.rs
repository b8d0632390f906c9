//! Random histories against a naive model: same answers, same holders, every invariant after every step.
//!
//! The model shares no code with the state machine: plain vectors, looked through from end to end, obviously right.

use batuta_statemachine::cluster::{InitCluster, SetLimits};
use batuta_statemachine::lock::{
    AbandonWait, Acquire, AdvanceRegister, CancelWait, Extend, ForceRelease, LockRequest, Mode, Owner,
    Release,
};
use batuta_statemachine::session::{CloseSession, KeepAlive, OpenSession};
use batuta_statemachine::{
    Applied, Command, DedupKey, Entry, LimitsPatch, LockId, Name, Namespace, Outcome, Position, Reply,
    Request, SessionId, Stamp, State,
};
use proptest::prelude::*;

const TTL_MS: u64 = 1000;

/// A step of a history; small numbers stand for the n-th session, grant, name.
#[derive(Clone, Debug)]
enum Step {
    Pass {
        ms: u64,
    },
    Open,
    KeepAlive {
        session: usize,
    },
    Close {
        session: usize,
    },
    Acquire {
        session: Option<usize>,
        wants: Vec<(usize, u8)>,
        wait_ms: u64,
        lock_delay_ms: u64,
        reentrant: bool,
    },
    Release {
        lock: usize,
    },
    Abandon {
        lock: usize,
    },
    Cancel {
        lock: usize,
    },
    Extend {
        lock: usize,
    },
    Force {
        lock: usize,
    },
    Advance {
        token: u64,
    },
    Retry,
}

fn step() -> impl Strategy<Value = Step> {
    let wants = prop::collection::vec((0..4_usize, 0..3_u8), 1..3);
    prop_oneof![
        2 => (0..400_u64).prop_map(|ms| Step::Pass { ms }),
        1 => Just(Step::Open),
        2 => (0..4_usize).prop_map(|session| Step::KeepAlive { session }),
        1 => (0..4_usize).prop_map(|session| Step::Close { session }),
        8 => (prop::option::weighted(0.8, 0..4_usize), wants, prop_oneof![Just(0), 1..2000_u64],
              prop_oneof![4 => Just(0), 1 => 1..500_u64], any::<bool>())
            .prop_map(|(session, wants, wait_ms, lock_delay_ms, reentrant)| {
                Step::Acquire { session, wants, wait_ms, lock_delay_ms, reentrant }
            }),
        5 => (0..12_usize).prop_map(|lock| Step::Release { lock }),
        1 => (0..12_usize).prop_map(|lock| Step::Cancel { lock }),
        1 => (0..12_usize).prop_map(|lock| Step::Abandon { lock }),
        1 => (0..12_usize).prop_map(|lock| Step::Extend { lock }),
        1 => (0..12_usize).prop_map(|lock| Step::Force { lock }),
        1 => (0..12_u64).prop_map(|token| Step::Advance { token }),
        1 => Just(Step::Retry),
    ]
}

/// Three names are exclusive or shared, the fourth is a semaphore of three permits.
fn mode(name: usize, kind: u8) -> Mode {
    match (name, kind) {
        (3, kind) => Mode::Semaphore { permits: u32::from(kind) + 1, capacity: 3 },
        (_, 0) => Mode::Shared,
        _ => Mode::Exclusive,
    }
}

#[derive(Clone, Debug)]
struct Asked {
    id: LockId,
    session: Option<SessionId>,
    wants: Vec<(usize, Mode)>,
    ends_at: Option<u64>,
    delay: u64,
    token: u64,
    count: u64,
}

#[derive(Default)]
struct Model {
    now: u64,
    token: u64,
    sessions: Vec<(SessionId, u64)>,
    held: Vec<Asked>,
    waiting: Vec<Asked>,
    delays: Vec<(usize, u64)>,
    register: Option<u64>,
}

impl Model {
    fn free_for(&self, asked: &Asked, readers_first: &[usize]) -> bool {
        asked.wants.iter().all(|(name, mode)| {
            let holders: Vec<Mode> = modes_on(&self.held, *name);
            let ahead: Vec<Asked> =
                self.waiting.iter().filter(|other| other.id < asked.id).cloned().collect();
            let ahead = modes_on(&ahead, *name);
            if self.delays.iter().any(|(delayed, _)| delayed == name) {
                return false;
            }
            match mode {
                Mode::Exclusive => holders.is_empty() && ahead.is_empty(),
                Mode::Shared => {
                    !holders.contains(&Mode::Exclusive)
                        && (readers_first.contains(name) || !ahead.contains(&Mode::Exclusive))
                }
                Mode::Semaphore { permits, capacity } => {
                    let used: u32 = holders.iter().map(|mode| permits_of(*mode)).sum();
                    ahead.is_empty() && used + permits <= *capacity
                }
            }
        })
    }

    fn grant(&mut self, mut asked: Asked) -> u64 {
        self.token += 1;
        asked.token = self.token;
        asked.count = 1;
        asked.ends_at = asked.session.is_none().then_some(self.now + TTL_MS);
        self.held.push(asked);
        self.token
    }

    /// Lets everyone go who may, readers of names that an exclusive holder just left first, names in order.
    fn settle(&mut self, left: &[(usize, bool)]) {
        let readers_first: Vec<usize> =
            left.iter().filter(|(_, turn)| *turn).map(|(name, _)| *name).collect();
        let mut dirty: Vec<usize> = left.iter().map(|(name, _)| *name).collect();
        while let Some(name) = dirty.iter().copied().min() {
            dirty.retain(|other| *other != name);
            let on_name = |asked: &Asked| asked.wants.iter().any(|(other, _)| *other == name);
            let shared = |asked: &Asked| asked.wants.contains(&(name, Mode::Shared));
            if readers_first.contains(&name) {
                let ids: Vec<LockId> =
                    self.waiting.iter().filter(|asked| shared(asked)).map(|a| a.id).collect();
                for id in ids {
                    self.grant_if_free(id, &readers_first, &mut dirty);
                }
            }
            loop {
                let next = self.waiting.iter().find(|asked| on_name(asked) && self.free_for(asked, &[]));
                let Some(id) = next.map(|asked| asked.id) else { break };
                self.grant_if_free(id, &[], &mut dirty);
            }
        }
    }

    fn grant_if_free(&mut self, id: LockId, readers_first: &[usize], dirty: &mut Vec<usize>) {
        let Some(place) = self.waiting.iter().position(|asked| asked.id == id) else { return };
        if self.free_for(&self.waiting[place].clone(), readers_first) {
            let asked = self.waiting.remove(place);
            dirty.extend(asked.wants.iter().map(|(name, _)| *name));
            self.grant(asked);
        }
    }

    /// Takes a grant away; gives the names left and whether an exclusive holder left them.
    fn take(&mut self, id: LockId, involuntary: bool) -> Vec<(usize, bool)> {
        let Some(place) = self.held.iter().position(|asked| asked.id == id) else { return Vec::new() };
        let asked = self.held.remove(place);
        if involuntary && asked.delay > 0 {
            for (name, _) in &asked.wants {
                let until = self.now + asked.delay;
                match self.delays.iter_mut().find(|(other, _)| other == name) {
                    Some(delay) => delay.1 = delay.1.max(until),
                    None => self.delays.push((*name, until)),
                }
            }
        }
        asked.wants.iter().map(|(name, mode)| (*name, *mode == Mode::Exclusive)).collect()
    }

    fn end_session(&mut self, session: SessionId, involuntary: bool) {
        self.sessions.retain(|(other, _)| *other != session);
        let mut left = Vec::new();
        let waits: Vec<Asked> = self.waiting.iter().filter(|a| a.session == Some(session)).cloned().collect();
        self.waiting.retain(|asked| asked.session != Some(session));
        left.extend(waits.iter().flat_map(|asked| asked.wants.iter().map(|(name, _)| (*name, false))));
        let ids: Vec<LockId> =
            self.held.iter().filter(|a| a.session == Some(session)).map(|a| a.id).collect();
        for id in ids {
            left.extend(self.take(id, involuntary));
        }
        self.settle(&left);
    }

    /// Ends what is due, one by one, earliest first; sessions before grants before delays before waits.
    fn expire(&mut self) {
        loop {
            let sessions = self.sessions.iter().map(|(id, at)| (*at, 0, id.0, 0));
            let grants = self.held.iter().filter_map(|a| Some((a.ends_at?, 1, a.id.0, 0)));
            let delays = self.delays.iter().map(|(name, at)| (*at, 2, Position::default(), *name));
            let waits = self.waiting.iter().filter_map(|a| Some((a.ends_at?, 3, a.id.0, 0)));
            let next = sessions.chain(grants).chain(delays).chain(waits).min();
            let Some((at, kind, id, name)) = next.filter(|(at, ..)| *at <= self.now) else { break };
            match kind {
                0 => self.end_session(SessionId(id), true),
                1 => {
                    let left = self.take(LockId(id), true);
                    self.settle(&left);
                }
                2 => {
                    self.delays.retain(|delay| *delay != (name, at));
                    self.settle(&[(name, false)]);
                }
                _ => self.withdraw(LockId(id)),
            }
        }
    }

    fn withdraw(&mut self, id: LockId) {
        let Some(place) = self.waiting.iter().position(|asked| asked.id == id) else { return };
        let asked = self.waiting.remove(place);
        let left: Vec<(usize, bool)> = asked.wants.iter().map(|(name, _)| (*name, false)).collect();
        self.settle(&left);
    }

    /// Whether `session`, waiting with `asked`, would wait for itself: a plain reachability over sessions.
    fn deadlocks(&self, asked: &Asked) -> bool {
        let Some(start) = asked.session else { return false };
        let mut frontier: Vec<Asked> = vec![asked.clone()];
        let mut seen: Vec<SessionId> = Vec::new();
        while let Some(waiter) = frontier.pop() {
            for (name, mode) in &waiter.wants {
                let holders = self.held.iter().filter(|held| {
                    held.wants.iter().any(|(other, held_mode)| {
                        other == name
                            && match mode {
                                Mode::Exclusive => true,
                                Mode::Shared => *held_mode == Mode::Exclusive,
                                Mode::Semaphore { permits, capacity } => {
                                    capacity - permits_of(*held_mode) < *permits
                                }
                            }
                    })
                });
                let ahead = self.waiting.iter().filter(|other| {
                    other.id < waiter.id
                        && other.wants.iter().any(|(wanted, wanted_mode)| {
                            wanted == name && (*mode != Mode::Shared || *wanted_mode != Mode::Shared)
                        })
                });
                for blocker in holders.chain(ahead) {
                    let Some(session) = blocker.session else { continue };
                    if session == start {
                        return true;
                    }
                    if !seen.contains(&session) {
                        seen.push(session);
                        let waits = self.waiting.iter().filter(|other| other.session == Some(session));
                        frontier.extend(waits.cloned());
                    }
                }
            }
        }
        false
    }

    fn acquire(&mut self, asked: Asked, wait_ms: u64, reentrant: bool) -> String {
        let mut sorted = asked.wants.clone();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return "invalid_argument".to_owned();
        }
        if let Some(session) = asked.session
            && !self.sessions.iter().any(|(open, _)| *open == session)
        {
            return "session_not_found".to_owned();
        }
        if asked.session.is_none() && reentrant {
            return "invalid_argument".to_owned();
        }
        if reentrant {
            let again = self.held.iter_mut().find(|held| {
                let mut theirs = held.wants.clone();
                theirs.sort_unstable();
                held.session == asked.session && theirs == sorted
            });
            if let Some(held) = again {
                held.count += 1;
                return format!("granted {} x{}", held.token, held.count);
            }
        }
        if self.free_for(&asked, &[]) {
            return format!("granted {} x1", self.grant(asked));
        }
        if wait_ms == 0 {
            let closed = asked
                .wants
                .iter()
                .find(|want| !self.free_for(&Asked { wants: vec![**want], ..asked.clone() }, &[]));
            let name = closed.map(|(name, _)| *name);
            let delayed = self.delays.iter().any(|(delayed, _)| Some(*delayed) == name);
            let held = name.is_some_and(|name| !modes_on(&self.held, name).is_empty());
            return if delayed && !held { "lock_delayed" } else { "lock_held" }.to_owned();
        }
        if self.deadlocks(&asked) {
            return "deadlock".to_owned();
        }
        let ends_at = Some(self.now + wait_ms);
        self.waiting.push(Asked { ends_at, ..asked });
        "queued".to_owned()
    }

    fn release(&mut self, id: LockId) -> String {
        let Some(held) = self.held.iter_mut().find(|asked| asked.id == id) else {
            return "lock_not_held".to_owned();
        };
        held.count -= 1;
        let (token, count) = (held.token, held.count);
        if count == 0 {
            let left = self.take(id, false);
            self.settle(&left);
        }
        format!("released {token} x{count}")
    }
}

fn modes_on(asked: &[Asked], name: usize) -> Vec<Mode> {
    asked
        .iter()
        .flat_map(|a| a.wants.iter())
        .filter(|(other, _)| *other == name)
        .map(|(_, mode)| *mode)
        .collect()
}

fn permits_of(mode: Mode) -> u32 {
    if let Mode::Semaphore { permits, .. } = mode { permits } else { 0 }
}

fn told(outcome: &Outcome) -> String {
    match outcome {
        Ok(Reply::Granted(grant)) => format!("granted {} x{}", grant.token, grant.count),
        Ok(Reply::Queued(_)) => "queued".to_owned(),
        Ok(Reply::Released { token, remaining_count, .. }) => format!("released {token} x{remaining_count}"),
        Ok(Reply::KeptAlive(deadlines)) => format!("kept {}", deadlines.iter().flatten().count()),
        Ok(Reply::RegisterAdvanced { high_water }) => format!("register {high_water}"),
        Ok(_) => "ok".to_owned(),
        Err(rejection) => rejection.code().to_owned(),
    }
}

/// What a state is made of.
fn objects(state: &State) -> u64 {
    let counts = state.counts();
    counts.sessions + counts.grants + counts.waits + counts.registers
}

fn name(number: usize) -> Name {
    Name::new(&format!("n/{number}")).expect("a valid name")
}

/// One history, run on both.
struct Run {
    state: State,
    model: Model,
    sessions: Vec<SessionId>,
    locks: Vec<LockId>,
    last: Option<(Request, String, u64)>,
    keys: u64,
    log: Vec<Entry>,
}

impl Run {
    fn apply(&mut self, pass_ms: u64, requests: Vec<Request>) -> Applied {
        let now_ms = self.model.now + pass_ms;
        let entry = Entry { stamp: Stamp { now_ms, wall_ms: 1 }, requests };
        self.log.push(entry.clone());
        self.model.now = now_ms;
        self.model.expire();
        self.state.apply(self.log.len() as u64, &entry)
    }

    /// Where the next entry's only request stands.
    fn next(&self) -> Position {
        Position { index: self.log.len() as u64 + 1, ordinal: 0 }
    }

    fn ask(&mut self, command: Command, expected: impl FnOnce(&mut Model) -> String) {
        self.keys += 1;
        let key = DedupKey::Idempotency { namespace: Namespace::default(), key: self.keys.to_string() };
        let request = Request::new(Some(key), command);
        let foreseen = self.state.waits_behind(&request.command).is_some();
        let (adds, before) = (self.state.adds(&request), objects(&self.state));
        let Applied { outcomes, revisions, .. } = self.apply(0, vec![request.clone()]);
        let expected = expected(&mut self.model);
        assert_eq!(revisions, [self.log.len() as u64]);
        assert!(adds || objects(&self.state) <= before, "{request:?} was said to add nothing");
        assert_eq!(told(&outcomes[0]), expected, "{request:?}");
        if let Ok(reply) = &outcomes[0] {
            assert_eq!(foreseen, matches!(reply, Reply::Queued(_)), "{request:?}");
        }
        self.last = Some((request, expected, self.log.len() as u64));
    }

    fn step(&mut self, step: &Step) {
        let id = |places: &[LockId], n: usize| places.get(n % places.len().max(1)).copied();
        let namespace = Namespace::default();
        match step {
            Step::Pass { ms } => {
                self.last = None;
                self.apply(*ms, Vec::new());
            }
            Step::Open => {
                let session = SessionId(self.next());
                self.sessions.push(session);
                let command = OpenSession { namespace, ttl_ms: TTL_MS, metadata: String::new() };
                self.ask(Command::OpenSession(command), |model| {
                    model.sessions.push((session, model.now + TTL_MS));
                    "ok".to_owned()
                });
            }
            Step::KeepAlive { session } => {
                let Some(session) = self.sessions.get(*session).copied() else { return };
                self.ask(Command::KeepAlive(KeepAlive { sessions: vec![session] }), |model| {
                    let now = model.now;
                    let open = model.sessions.iter_mut().find(|(open, _)| *open == session);
                    let kept = open.map(|open| open.1 = now + TTL_MS).is_some();
                    format!("kept {}", u8::from(kept))
                });
            }
            Step::Close { session } => {
                let Some(session) = self.sessions.get(*session).copied() else { return };
                self.ask(Command::CloseSession(CloseSession { session }), |model| {
                    if !model.sessions.iter().any(|(open, _)| *open == session) {
                        return "session_not_found".to_owned();
                    }
                    model.end_session(session, false);
                    "ok".to_owned()
                });
            }
            Step::Acquire { session, wants, wait_ms, lock_delay_ms, reentrant } => {
                let session = session.and_then(|session| self.sessions.get(session).copied());
                self.acquire(session, wants, *wait_ms, *lock_delay_ms, *reentrant);
            }
            Step::Release { lock } => {
                let Some(lock_id) = id(&self.locks, *lock) else { return };
                let command = Release { namespace, lock_id, name: None };
                self.ask(Command::Release(command), |model| model.release(lock_id));
            }
            Step::Cancel { lock } => {
                let Some(lock_id) = id(&self.locks, *lock) else { return };
                self.ask(Command::CancelWait(CancelWait { lock_id }), |model| {
                    model.withdraw(lock_id);
                    let left = model.take(lock_id, false);
                    model.settle(&left);
                    "ok".to_owned()
                });
            }
            Step::Abandon { lock } => {
                let Some(lock_id) = id(&self.locks, *lock) else { return };
                self.ask(Command::AbandonWait(AbandonWait { lock_id }), |model| {
                    model.withdraw(lock_id);
                    "ok".to_owned()
                });
            }
            Step::Extend { lock } => {
                let Some(lock_id) = id(&self.locks, *lock) else { return };
                let command = Extend { namespace, lock_id, name: None, ttl_ms: TTL_MS };
                self.ask(Command::Extend(command), |model| {
                    let now = model.now;
                    match model.held.iter_mut().find(|asked| asked.id == lock_id) {
                        None => "lock_not_held".to_owned(),
                        Some(asked) if asked.session.is_some() => "owned_by_session".to_owned(),
                        Some(asked) => {
                            asked.ends_at = asked.ends_at.max(Some(now + TTL_MS));
                            "ok".to_owned()
                        }
                    }
                });
            }
            Step::Force { lock } => {
                let held = id(&self.locks, *lock).and_then(|lock_id| self.state.grant(lock_id));
                let Some(grant) = held else { return };
                let (token, name) = (grant.token, grant.requests[0].name.clone());
                let command = ForceRelease { namespace, name, token, reason: "test".to_owned() };
                self.ask(Command::ForceRelease(command), |model| {
                    let left = model.take(grant.lock_id, true);
                    model.settle(&left);
                    format!("released {token} x0")
                });
            }
            Step::Advance { token } => {
                let command = AdvanceRegister { namespace, name: name(0), token: *token };
                self.ask(Command::AdvanceRegister(command), |model| match model.register {
                    _ if *token == 0 || *token > model.token => "invalid_argument".to_owned(),
                    Some(newest) if newest > *token => "token_superseded".to_owned(),
                    _ => {
                        model.register = Some(*token);
                        format!("register {token}")
                    }
                });
            }
            Step::Retry => self.retry(),
        }
    }

    fn acquire(
        &mut self,
        session: Option<SessionId>,
        wants: &[(usize, u8)],
        wait_ms: u64,
        lock_delay_ms: u64,
        reentrant: bool,
    ) {
        let id = LockId(self.next());
        self.locks.push(id);
        let wants: Vec<(usize, Mode)> =
            wants.iter().map(|(number, kind)| (*number, mode(*number, *kind))).collect();
        let requests =
            wants.iter().map(|(number, mode)| LockRequest { name: name(*number), mode: *mode }).collect();
        let command = Acquire {
            namespace: Namespace::default(),
            requests,
            owner: Owner { session, label: String::new() },
            ttl_ms: session.is_none().then_some(TTL_MS),
            wait_ms,
            lock_delay_ms,
            reentrant,
            metadata: String::new(),
        };
        let asked = Asked { id, session, wants, ends_at: None, delay: lock_delay_ms, token: 0, count: 0 };
        self.ask(Command::Acquire(command), |model| model.acquire(asked, wait_ms, reentrant));
    }

    /// The last request again under its key, at once: the same answer, and nothing happens.
    fn retry(&mut self) {
        let Some((request, answer, revision)) = self.last.clone() else { return };
        let repeats = ["lock_held", "lock_delayed"];
        if repeats.contains(&answer.as_str()) {
            return;
        }
        let before = self.state.counts();
        assert!(!self.state.adds(&request), "a retry adds nothing: {request:?}");
        let Applied { outcomes, revisions, .. } = self.apply(0, vec![request]);
        assert_eq!(told(&outcomes[0]), answer, "a retry gets the same answer");
        assert_eq!(revisions, [revision], "a retry tells the revision of the effect");
        assert_eq!(self.state.counts(), before, "a retry has no effect");
    }

    fn compare(&self) {
        self.state.validate().unwrap();
        let mut held: Vec<(LockId, u64, u64)> =
            self.model.held.iter().map(|asked| (asked.id, asked.token, asked.count)).collect();
        held.sort_unstable();
        let seen: Vec<(LockId, u64, u64)> = self
            .locks
            .iter()
            .filter_map(|id| self.state.grant(*id))
            .map(|grant| (grant.lock_id, grant.token, grant.count))
            .collect();
        assert_eq!(seen, held);
        assert_eq!(self.state.counts().grants, held.len() as u64);
        let waiting: Vec<LockId> = self.model.waiting.iter().map(|asked| asked.id).collect();
        let seen: Vec<LockId> =
            self.locks.iter().copied().filter(|id| self.state.wait(*id).is_some()).collect();
        assert_eq!(seen, waiting);
        assert_eq!(self.state.counts().sessions, self.model.sessions.len() as u64);
    }
}

fn run(steps: &[Step]) {
    let mut run = Run {
        state: State::default(),
        model: Model::default(),
        sessions: Vec::new(),
        locks: Vec::new(),
        last: None,
        keys: 0,
        log: Vec::new(),
    };
    let limits = LimitsPatch { values: vec![("ttl_ms_min".to_owned(), 1)] };
    let init = InitCluster { cluster_id: "c".to_owned(), next_node_id: 4 };
    let setup = [Command::InitCluster(init), Command::SetLimits(SetLimits { patch: limits })];
    run.apply(0, setup.into_iter().map(|command| Request::new(None, command)).collect());
    for step in steps {
        run.step(step);
        run.compare();
    }
    replicas_agree(&run.state, &run.log);
}

/// Determinism: another replica, one that went through an image halfway, and this one have the same state.
fn replicas_agree(state: &State, log: &[Entry]) {
    let mut replica = State::default();
    let mut restored = State::default();
    for (index, entry) in (1..).zip(log) {
        let applied = replica.apply(index, entry);
        if index == log.len() as u64 / 2 {
            restored = State::from_image(restored.image_header(), restored.image_records(), State::validate)
                .unwrap();
        }
        assert_eq!(restored.apply(index, entry), applied);
    }
    assert_eq!(replica.hash(), state.hash());
    assert_eq!(restored.hash(), state.hash());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2500, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_goes_as_the_model_says(steps in prop::collection::vec(step(), 1..60)) {
        run(&steps);
    }
}
