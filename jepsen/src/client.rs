//! A client process: makes calls to one node through one front, one at a time, and records the answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use batuta_tests::Rest;
use batuta_tests::conformance::{
    Driver, GraphqlDriver, GrpcDriver, Operation as Call, Outcome, Refusal, RestDriver, WsDriver,
};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::access::{Key, Keys};
use crate::cluster::PORTS;
use crate::history::{Event, History, Kind};
use crate::random::Random;
use crate::sandbox::address;
use crate::workload::Stores;

/// How long a client waits for an answer, in addition to the wait that it requested.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a request with a key is attempted before the client gives up.
const ATTEMPTS_MAX: u32 = 12;
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// The fronts; gRPC counts twice, with single calls and with many in one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// The REST API.
    Rest,
    /// The GraphQL API over HTTP.
    Graphql,
    /// The gRPC API, one call at a time.
    Grpc,
    /// The gRPC API, many calls in one stream.
    Pipeline,
    /// The WebSocket API.
    Ws,
}

/// All fronts.
pub const FRONTS: [Front; 5] = [Front::Rest, Front::Graphql, Front::Grpc, Front::Ws, Front::Pipeline];
/// The fronts of clients with keys: those whose calls are single HTTP requests.
const FRONTS_WITH_KEY: [Front; 2] = [Front::Rest, Front::Graphql];

impl Front {
    /// Makes a driver for this front of the node at a place. Only calls over HTTP/1 carry the key.
    #[must_use]
    pub fn driver(self, place: usize, key: Option<&Key>) -> Box<dyn Driver> {
        let at = address(place);
        let rest = || {
            let rest = Rest::new(&format!("http://{at}:{}", PORTS[0]));
            match key {
                Some(key) => rest.with_token(key.expose()),
                None => rest,
            }
        };
        match self {
            Self::Rest => Box::new(RestDriver(rest())),
            Self::Graphql => Box::new(GraphqlDriver {
                rest: rest(),
                socket: format!("ws://{at}:{}/graphql", PORTS[0]),
                socket_only: false,
            }),
            Self::Grpc => Box::new(GrpcDriver::new(&format!("http://{at}:{}", PORTS[1]))),
            Self::Pipeline => Box::new(GrpcDriver::pipelined(&format!("http://{at}:{}", PORTS[1]))),
            Self::Ws => Box::new(WsDriver(format!("ws://{at}:{}/ws/v1", PORTS[2]))),
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Rest | Self::Graphql => PORTS[0],
            Self::Grpc | Self::Pipeline => PORTS[1],
            Self::Ws => PORTS[2],
        }
    }
}

/// State shared by all clients of a run.
pub struct Shared {
    /// The history, in which they record everything.
    pub history: History,
    /// The number of nodes they may call.
    pub places: usize,
    /// The seed that decides what they do.
    pub seed: u64,
    /// Cancelled when they must stop.
    pub stop: CancellationToken,
    /// The stores that some of them protect with locks.
    pub stores: Stores,
    /// The place of the node through which the last lock was granted.
    pub holder: AtomicUsize,
    /// The keys of the clients, in a run with access.
    pub keys: Option<Keys>,
}

impl Shared {
    /// The key of a client process, in a run with access.
    fn key_of(&self, process: u64) -> Option<&Key> {
        self.keys.as_ref()?.of_process(process)
    }

    /// The fronts that a client may use.
    fn fronts(&self) -> &'static [Front] {
        if self.keys.is_some() { &FRONTS_WITH_KEY } else { &FRONTS }
    }
}

/// A request to a front.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The operation's name, such as `acquire`.
    pub f: &'static str,
    /// The fields of the request.
    pub args: Value,
    /// The retry key, if any.
    pub key: Option<String>,
}

impl Ask {
    /// Makes a request without a key.
    #[must_use]
    pub fn new(f: &'static str, args: Value) -> Self {
        Self { f, args, key: None }
    }

    /// Returns the same request with a key.
    #[must_use]
    pub fn keyed(self, key: Option<String>) -> Self {
        Self { key, ..self }
    }
}

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The request was executed.
    Ok(Value),
    /// The request was refused with this code and had no effect.
    Refused(String),
    /// The outcome is unknown.
    Unknown,
    /// The connection was refused, so nothing was sent.
    NotAsked,
}

impl Answer {
    /// Returns the answer if the request was executed.
    #[must_use]
    pub fn ok(self) -> Option<Value> {
        if let Self::Ok(value) = self { Some(value) } else { None }
    }

    /// Whether the request was refused with this code.
    #[must_use]
    pub fn is_refused(&self, code: &str) -> bool {
        matches!(self, Self::Refused(found) if found == code)
    }
}

/// The outcome of one attempt.
enum Attempt {
    Done(Value),
    /// Refused: it had no effect and never will.
    Refused(String),
    /// Not executed, but the next attempt may be.
    NotNow(String),
    Unknown(String),
}

/// A client process.
pub struct Client {
    /// The number of the process in the history.
    pub process: u64,
    /// The random numbers that decide what it does.
    pub random: Random,
    /// The state shared with the other clients.
    pub shared: Arc<Shared>,
    place: usize,
    front: Front,
    driver: Box<dyn Driver>,
    /// The last request got no answer, so check that the node accepts connections before the next request.
    suspect: bool,
    keys: u64,
}

impl Client {
    /// Makes a client process. Its number decides with which node and front it begins, so that few processes cover all of them.
    #[must_use]
    pub fn new(shared: &Arc<Shared>, process: u64) -> Self {
        let number = usize::try_from(process).unwrap_or_default();
        let fronts = shared.fronts();
        let (place, front) =
            (number % shared.places, fronts[(number / shared.places + number) % fronts.len()]);
        Self {
            process,
            random: Random::new(shared.seed, process + 1),
            shared: Arc::clone(shared),
            place,
            front,
            driver: front.driver(place, shared.key_of(process)),
            suspect: false,
            keys: 0,
        }
    }

    /// Whether the run is over.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.shared.stop.is_cancelled()
    }

    /// Switches to a random node and front.
    pub fn wander(&mut self) {
        let fronts = self.shared.fronts();
        let (place, front) = (self.random.place(self.shared.places), *self.random.one_of(fronts));
        self.connect(place, front);
    }

    /// Switches to this node and front.
    pub fn connect(&mut self, place: usize, front: Front) {
        let driver = front.driver(place, self.shared.key_of(self.process));
        (self.place, self.front, self.driver) = (place, front, driver);
        self.suspect = false;
    }

    /// Makes another client of the same seed at another node, for concurrent calls. `number` distinguishes it from other twins.
    #[must_use]
    pub fn twin(&mut self, number: u64) -> Self {
        let fronts = self.shared.fronts();
        let (place, front) = (self.random.place(self.shared.places), *self.random.one_of(fronts));
        let mut twin = Self::new(&self.shared, self.process + number * 1000);
        twin.connect(place, front);
        twin
    }

    /// Makes a call and disconnects after `patience_ms` without waiting for the answer.
    pub async fn call_and_leave(&mut self, ask: &Ask, patience_ms: u64) {
        if self.suspect && !self.listens().await {
            self.sleep_ms(200).await;
            return;
        }
        let op = self.shared.history.op();
        let ask = marked(ask, op);
        let invoke = self.whom(self.event(Kind::Invoke, op));
        self.shared.history.write(Event {
            f: ask.f.to_owned(),
            args: ask.args.clone(),
            key: ask.key.clone(),
            ..invoke
        });
        let patience = Duration::from_millis(patience_ms);
        let (kind, value, error) = match tokio::time::timeout(patience, self.attempt(&ask)).await {
            Ok(Attempt::Done(value)) => (Kind::Ok, value, String::new()),
            Ok(Attempt::Refused(code) | Attempt::NotNow(code)) => (Kind::Fail, Value::Null, code),
            Ok(Attempt::Unknown(why)) => (Kind::Info, Value::Null, why),
            Err(_) => (Kind::Info, Value::Null, "left".to_owned()),
        };
        self.suspect |= error.starts_with(Refusal::NO_ANSWER) || error == Refusal::UNREACHABLE;
        self.shared.history.write(Event { value, error, ..self.event(kind, op) });
    }

    /// Makes a unique key.
    pub fn key(&mut self) -> String {
        self.keys += 1;
        format!("p{}-{}-{}", self.process, self.keys, self.shared.seed)
    }

    /// Makes a unique key in `percent` of 100 cases.
    pub fn perhaps_key(&mut self, percent: u64) -> Option<String> {
        self.random.chance(percent).then(|| self.key())
    }

    /// Sleeps, at most until the run is over.
    pub async fn sleep_ms(&self, ms: u64) {
        let sleep = tokio::time::sleep(Duration::from_millis(ms));
        self.shared.stop.run_until_cancelled(sleep).await;
    }

    fn event(&self, kind: Kind, op: u64) -> Event {
        Event { p: Some(self.process), op: Some(op), ..Event::new(kind) }
    }

    fn whom(&self, event: Event) -> Event {
        Event { node: format!("n{}", self.place + 1), front: self.driver.front().to_owned(), ..event }
    }

    /// Makes a call, and with a key repeats it until the outcome is known.
    pub async fn call(&mut self, ask: &Ask) -> Answer {
        if self.front == Front::Ws && ask.f == "get_session" {
            // WebSocket has no call that reads a session.
            self.connect(self.place, Front::Rest);
        }
        if self.suspect && !self.listens().await {
            self.sleep_ms(200).await;
            return Answer::NotAsked;
        }
        self.suspect = false;
        let op = self.shared.history.op();
        let invoke = self.whom(self.event(Kind::Invoke, op));
        let ask = &marked(ask, op);
        let (f, args, key) = (ask.f.to_owned(), ask.args.clone(), ask.key.clone());
        self.shared.history.write(Event { f, args, key, ..invoke });
        let mut unknown = String::new();
        for attempt in 1..=ATTEMPTS_MAX {
            if attempt > 1 {
                self.shared.history.write(self.whom(self.event(Kind::Attempt, op)));
            }
            match self.attempt(ask).await {
                Attempt::Done(value) => {
                    if matches!(ask.f, "acquire" | "campaign") {
                        self.shared.holder.store(self.place, Ordering::Relaxed);
                    }
                    self.shared.history.write(Event { value: value.clone(), ..self.event(Kind::Ok, op) });
                    return Answer::Ok(value);
                }
                // If the refusal is not remembered, an earlier attempt may still be executed.
                Attempt::Refused(code) if unknown.is_empty() || is_remembered(&code) => {
                    return self.refused(op, code);
                }
                Attempt::NotNow(code) if unknown.is_empty() => return self.refused(op, code),
                Attempt::Unknown(why) => {
                    self.suspect = true;
                    unknown = why;
                }
                Attempt::Refused(why) | Attempt::NotNow(why) => unknown = format!("{unknown}, then {why}"),
            }
            if ask.key.is_none() || (self.stopped() && attempt > 3) {
                break;
            }
            self.connect((self.place + 1) % self.shared.places, self.front);
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        self.shared.history.write(Event { error: unknown, ..self.event(Kind::Info, op) });
        Answer::Unknown
    }

    fn refused(&mut self, op: u64, code: String) -> Answer {
        self.suspect |= code == Refusal::UNREACHABLE;
        self.shared.history.write(Event { error: code.clone(), ..self.event(Kind::Fail, op) });
        Answer::Refused(code)
    }

    async fn attempt(&self, ask: &Ask) -> Attempt {
        let args: Map<String, Value> = serde_json::from_value(ask.args.clone()).unwrap_or_default();
        let wait = Duration::from_millis(ask.args["wait_ms"].as_u64().unwrap_or_default());
        let call = Call { name: ask.f.to_owned(), args, key: ask.key.clone() };
        match tokio::time::timeout(PATIENCE + wait, self.driver.call(call)).await {
            Err(_) => Attempt::Unknown("no answer in time".to_owned()),
            Ok(outcome) => judge(outcome),
        }
    }

    async fn listens(&self) -> bool {
        let connect = tokio::net::TcpStream::connect((address(self.place), self.front.port()));
        matches!(tokio::time::timeout(Duration::from_secs(1), connect).await, Ok(Ok(_)))
    }
}

/// Adds a mark to an acquisition, by which it is found in the log whatever its client was told.
fn marked(ask: &Ask, op: u64) -> Ask {
    let mut ask = ask.clone();
    let field = match ask.f {
        "acquire" => "metadata",
        "campaign" => "value",
        _ => return ask,
    };
    if ask.args[field].is_null() {
        ask.args[field] = Value::from(format!("op {op}"));
    }
    ask
}

fn judge(outcome: Outcome) -> Attempt {
    let code = match outcome {
        Ok(value) => return Attempt::Done(value),
        Err(Refusal { code, .. }) => code,
    };
    match code.as_str() {
        Refusal::UNREACHABLE | "no_leader" | "overloaded" | "shutting_down" | "disk_full" => {
            Attempt::NotNow(code)
        }
        // A wait with a key stays queued when its node drains, and returns to its place when its node was lost.
        "outcome_unknown" | "internal" | "draining" | "node_lost" => Attempt::Unknown(code),
        _ if code.starts_with(Refusal::NO_ANSWER) => Attempt::Unknown(code),
        _ => Attempt::Refused(code),
    }
}

/// Whether a retry under the same key gets this refusal again, whatever happened in between.
fn is_remembered(code: &str) -> bool {
    !matches!(
        code,
        "lock_held"
            | "lock_delayed"
            | "limit_exceeded"
            | "unauthenticated"
            | "permission_denied"
            | "principal_suspended"
            | "token_expired"
            | "token_revoked"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_final_refusals_count_as_refused() {
        let refused =
            |code: &str| judge(Err(Refusal { code: code.to_owned(), field: None, details: Value::Null }));
        assert!(matches!(refused("lock_held"), Attempt::Refused(_)));
        assert!(matches!(refused("no_leader"), Attempt::NotNow(_)));
        assert!(matches!(judge(Err(Refusal::unreachable())), Attempt::NotNow(_)));
        assert!(matches!(judge(Err(Refusal::no_answer("reset"))), Attempt::Unknown(_)));
        assert!(matches!(refused("outcome_unknown"), Attempt::Unknown(_)));
        assert!(!is_remembered("lock_held") && is_remembered("wait_timeout"));
        assert!(!is_remembered("permission_denied"), "the right may have been there at the first attempt");
    }
}
