//! The workload of the clients: many clients use few names, so that they conflict.

use std::sync::Arc;
use std::time::Duration;

use batuta_api::ApiError;
use batuta_api::service::acquire::AcquireRequest;
use batuta_api::service::election::{Campaign, Leadership};
use batuta_api::service::lock::Extend;
use batuta_api::service::session::OpenRequest;
use batuta_api::service::{CallContext, Consistency};
use batuta_statemachine::lock::{LockRequest, Mode, Owner};
use batuta_statemachine::{DedupKey, LockId, Name, Namespace, SessionId};
use rand::Rng as _;
use rand::rngs::StdRng;

use crate::access::Who;
use crate::client::{Answer, Call, CallEnd, Caller};
use crate::context::Context;
use crate::plan::{Stream, rng};

const LOCKS: [&str; 5] = ["a", "b", "c/d", "c/e", "f"];
/// One of them is a lock as well, at other times.
const ELECTIONS: [&str; 3] = ["e", "g/h", "a"];
const REGISTERS: [&str; 2] = ["r", "s"];
/// How often a call with a key is repeated when its outcome is unknown.
const TRIES: usize = 4;
const PATIENCE: Duration = Duration::from_secs(3);

struct Held {
    lock_id: LockId,
    token: u64,
    one_shot: bool,
}

/// A leadership that the client was told of, which it may have lost since.
struct Led {
    candidate: LockId,
    leadership: Leadership,
    one_shot: bool,
}

struct OwnSession {
    id: SessionId,
    next_sequence: u64,
}

struct Client {
    caller: Caller,
    rng: StdRng,
    session: Option<OwnSession>,
    held: Vec<Held>,
    led: Vec<Led>,
    /// The leadership that the client gave up last.
    given_up: Option<Leadership>,
    keys: u64,
}

/// Runs a client.
pub(crate) async fn live(context: Arc<Context>, number: usize) {
    let think_ms = context.plan.think_ms.clone();
    let rng = rng(context.plan.seed, Stream::Client(number));
    let by = Who::of_client(number);
    let caller = Caller { context: Arc::clone(&context), who: format!("c{number}"), by };
    let mut client =
        Client { caller, rng, session: None, held: Vec::new(), led: Vec::new(), given_up: None, keys: 0 };
    while !context.closing() {
        let pause = client.rng.random_range(think_ms.clone());
        tokio::time::sleep(Duration::from_millis(pause)).await;
        client.step().await;
    }
}

fn lock_name(text: &str) -> Name {
    // The names above are valid.
    Name::new(text).unwrap_or_else(|_| unreachable!("{text} is a valid name"))
}

impl Client {
    fn node(&mut self) -> usize {
        self.rng.random_range(0..self.caller.context.plan.nodes)
    }

    fn key(&mut self) -> DedupKey {
        self.keys += 1;
        if let Some(session) = self.session.as_mut()
            && self.rng.random_bool(0.3)
        {
            let sequence = session.next_sequence;
            session.next_sequence += 1;
            return DedupKey::Sequence { session: session.id, sequence };
        }
        let key = format!("{}-{}", self.caller.who, self.keys);
        DedupKey::Idempotency { namespace: Namespace::default(), key }
    }

    /// Makes a call, usually with a key, and with a key repeats it while its outcome is unknown.
    async fn write(&mut self, call: Call) -> CallEnd {
        let dedup = if self.rng.random_bool(0.7) { Some(self.key()) } else { None };
        let begun_ms = self.caller.context.now_ms();
        let within = Duration::from_millis(self.caller.context.plan.patience_ms);
        let mut end = CallEnd::NotSent;
        for _ in 0..TRIES {
            let under = CallContext { dedup: dedup.clone(), timeout: Some(within), ..self.caller.context() };
            let node = self.node();
            // Sometimes a caller hangs up early.
            let patience = if self.rng.random_bool(0.05) { Duration::from_millis(40) } else { 2 * within };
            let latest = self.caller.call(node, call.clone(), under, begun_ms, patience).await;
            let again = match latest {
                CallEnd::NotSent => true,
                CallEnd::Unknown => dedup.is_some(),
                CallEnd::Answer(_) | CallEnd::Refused(_) => false,
            };
            // If one attempt was unanswered, the outcome stays unknown even when the call cannot be repeated.
            if !(matches!(latest, CallEnd::NotSent) && matches!(end, CallEnd::Unknown)) {
                end = latest;
            }
            if !again || self.caller.context.closing() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(self.rng.random_range(10..300))).await;
        }
        end
    }

    async fn step(&mut self) {
        if self.session.is_none() && self.rng.random_bool(0.7) {
            return self.open().await;
        }
        match self.rng.random_range(0..100) {
            0..29 => self.acquire().await,
            29..49 => self.release().await,
            49..53 => self.extend().await,
            53..57 => self.change().await,
            57..62 => self.advance().await,
            62..71 => self.campaign().await,
            71..76 => self.proclaim().await,
            76..82 => self.resign().await,
            82..96 => self.read().await,
            _ => self.close().await,
        }
    }

    async fn open(&mut self) {
        let ttl_ms = self.rng.random_range(700..4_000);
        let metadata = format!("{}-session-{}", self.caller.who, self.keys);
        self.keys += 1;
        let end = self.write(Call::Open(OpenRequest { ttl_ms, metadata })).await;
        if let CallEnd::Answer(Answer::Opened(at)) = end {
            let id = at.value.session;
            self.session = Some(OwnSession { id, next_sequence: 1 });
            let seed = self.rng.random();
            tokio::spawn(keep_alive(self.caller.clone(), id, ttl_ms, seed));
        }
    }

    async fn close(&mut self) {
        let Some(session) = self.session.take() else { return };
        self.held.clear();
        self.led.retain(|led| led.one_shot);
        self.write(Call::Close(session.id)).await;
    }

    async fn acquire(&mut self) {
        let many = if self.rng.random_bool(0.15) { 2 } else { 1 };
        let first = self.rng.random_range(0..LOCKS.len());
        let requests = (0..many).map(|next| {
            let name = lock_name(LOCKS[(first + next) % LOCKS.len()]);
            let mode = match self.rng.random_range(0..10) {
                0..7 => Mode::Exclusive,
                7..9 => Mode::Shared,
                _ => Mode::Semaphore { permits: 1, capacity: 2 },
            };
            LockRequest { name, mode }
        });
        let requests = requests.collect();
        let session = self.session.as_ref().map(|session| session.id).filter(|_| self.rng.random_bool(0.7));
        self.keys += 1;
        let request = AcquireRequest {
            requests,
            owner: Owner { session, label: self.caller.who.clone() },
            ttl_ms: session.is_none().then(|| self.rng.random_range(500..2_500)),
            wait_ms: if self.rng.random_bool(0.4) { 0 } else { self.rng.random_range(100..2_500) },
            lock_delay_ms: if self.rng.random_bool(0.1) { 300 } else { 0 },
            reentrant: session.is_some() && self.rng.random_bool(0.1),
            metadata: format!("{}-lock-{}", self.caller.who, self.keys),
        };
        if let CallEnd::Answer(Answer::Granted(at)) = self.write(Call::Acquire(request)).await {
            let grant = at.value;
            self.held.push(Held {
                lock_id: grant.lock_id,
                token: grant.token,
                one_shot: grant.owner.session.is_none(),
            });
        }
    }

    async fn release(&mut self) {
        if self.held.is_empty() {
            return self.read().await;
        }
        let at = self.rng.random_range(0..self.held.len());
        let held = self.held.swap_remove(at);
        self.write(Call::Release(held.lock_id)).await;
    }

    async fn extend(&mut self) {
        let held = self.held.iter().filter(|held| held.one_shot).map(|held| held.lock_id);
        let led = self.led.iter().filter(|led| led.one_shot).map(|led| led.candidate);
        let Some(lock_id) = led.chain(held).next() else { return self.acquire().await };
        let request = Extend { lock_id, name: None, ttl_ms: self.rng.random_range(600..3_000) };
        if let CallEnd::Refused(ApiError::Rejected { .. }) = self.write(Call::Extend(request)).await {
            self.held.retain(|held| held.lock_id != lock_id);
            self.led.retain(|led| led.candidate != lock_id);
        }
    }

    fn text(&mut self, kind: &str) -> String {
        self.keys += 1;
        format!("{}-{kind}-{}", self.caller.who, self.keys)
    }

    async fn campaign(&mut self) {
        let session = self.session.as_ref().map(|session| session.id).filter(|_| self.rng.random_bool(0.7));
        let request = Campaign {
            name: lock_name(ELECTIONS[self.rng.random_range(0..ELECTIONS.len())]),
            value: self.text("value"),
            owner: Owner { session, label: self.caller.who.clone() },
            ttl_ms: session.is_none().then(|| self.rng.random_range(500..2_500)),
            wait_ms: if self.rng.random_bool(0.2) { 0 } else { self.rng.random_range(100..2_500) },
            lock_delay_ms: if self.rng.random_bool(0.1) { 300 } else { 0 },
        };
        let name = request.name.clone();
        if let CallEnd::Answer(Answer::Elected(at)) = self.write(Call::Campaign(request)).await {
            let leader = at.value;
            self.led.push(Led {
                candidate: leader.lock_id,
                leadership: Leadership { name, fencing_token: leader.token, session },
                one_shot: session.is_none(),
            });
        }
    }

    /// Proclaims a value; rarely as a leader that has resigned and does not know it.
    async fn proclaim(&mut self) {
        let late = self.given_up.take_if(|_| self.rng.random_bool(0.3));
        let Some(leadership) = late.or_else(|| self.led.last().map(|led| led.leadership.clone())) else {
            return self.campaign().await;
        };
        let value = self.text("value");
        let token = leadership.fencing_token;
        let end = self.write(Call::Proclaim(leadership, value)).await;
        if let CallEnd::Refused(ApiError::Rejected { .. }) = end {
            self.led.retain(|led| led.leadership.fencing_token != token);
        }
    }

    async fn resign(&mut self) {
        let Some(led) = self.led.pop() else { return self.campaign().await };
        self.given_up = Some(led.leadership.clone());
        self.write(Call::Resign(led.leadership)).await;
    }

    /// Downgrades a grant, or gives it another text.
    async fn change(&mut self) {
        let Some(held) = self.held.last() else { return self.acquire().await };
        let lock_id = held.lock_id;
        self.keys += 1;
        let text = format!("{}-text-{}", self.caller.who, self.keys);
        let downgrades = self.rng.random_bool(0.5);
        let call = if downgrades { Call::Downgrade(lock_id) } else { Call::SetMetadata(lock_id, text) };
        self.write(call).await;
    }

    async fn advance(&mut self) {
        let Some(held) = self.held.last() else { return self.acquire().await };
        let token = held.token;
        let name = lock_name(REGISTERS[self.rng.random_range(0..REGISTERS.len())]);
        self.write(Call::Advance { name, token }).await;
    }

    async fn read(&mut self) {
        let consistency =
            if self.rng.random_bool(0.75) { Consistency::Linearizable } else { Consistency::Stale };
        let call = if self.rng.random_bool(0.3) {
            Call::GetElection(lock_name(ELECTIONS[self.rng.random_range(0..ELECTIONS.len())]), consistency)
        } else if self.rng.random_bool(0.6) {
            Call::GetLock(lock_name(LOCKS[self.rng.random_range(0..LOCKS.len())]), consistency)
        } else {
            Call::GetRegister(lock_name(REGISTERS[self.rng.random_range(0..REGISTERS.len())]), consistency)
        };
        let node = self.node();
        let under = CallContext { timeout: Some(PATIENCE), ..self.caller.context() };
        self.caller.call(node, call, under, self.caller.context.now_ms(), 2 * PATIENCE).await;
    }
}

/// Keeps a session alive through any node, until the session has ended or the client stops renewing it.
async fn keep_alive(caller: Caller, session: SessionId, ttl_ms: u64, seed: u64) {
    use rand::SeedableRng as _;
    let mut rng = StdRng::seed_from_u64(seed);
    let caller = Caller { who: format!("{}k", caller.who), ..caller };
    while !caller.context.closing() && rng.random_bool(0.96) {
        let pause = rng.random_range(ttl_ms / 5..ttl_ms / 2);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let node = rng.random_range(0..caller.context.plan.nodes);
        let under = CallContext { timeout: Some(PATIENCE), ..caller.context() };
        let end = caller.call(node, Call::KeepAlive(session), under, caller.context.now_ms(), PATIENCE).await;
        if matches!(end, CallEnd::Refused(ApiError::Rejected { .. })) {
            return;
        }
    }
}
