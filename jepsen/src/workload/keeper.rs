//! Sessions and one-shot locks with a short TTL that the real Rust client keeps alive. The client knows all nodes, so it may
//! lose a lock only when no majority answers.
//!
//! ```text
//! process 0, 1, … (one per node)   witness: calls its node all the time, so that the history shows when the cluster answered
//! the others, two per name         hold ── check ── check ── release, while the other one waits or asks again
//! ```
//! A holder records when it starts to rely on its lock ([`HELD`]) and when its client reports the lock as lost ([`LOST`]).

use std::time::Duration;

use batuta_client::v1::{AcquireRequest, CheckRequest, LockMode, LockRequest, ReleaseRequest, TokenStatus};
use batuta_client::{Client as Cluster, Error, LockOptions, Loss, SessionState};
use batuta_statemachine::LockId;
use serde_json::{Value, json};

use crate::client::{Ask, Client};
use crate::cluster::PORTS;
use crate::history::{Event, Kind};
use crate::sandbox::address;

/// The note that a holder relies on a lock from now on.
pub const HELD: &str = "held";
/// The note that a client reported a session or a lock as lost.
pub const LOST: &str = "lost";

/// Range of TTLs, in milliseconds: shorter than every pause of this workload, longer than an election.
const TTL_MS: (u64, u64) = (3000, 4000);
const HOLD_MS: (u64, u64) = (6000, 14_000);
const WAIT_MS: u64 = 6000;
const CALL_WITHIN: Duration = Duration::from_secs(5);

/// A holder: a process of the harness, and the client under test.
struct Holder {
    client: Client,
    cluster: Cluster,
    name: String,
}

/// A lock that is held.
struct Held {
    lock_id: String,
    token: u64,
    ttl_ms: u64,
}

/// Runs one process of the workload.
pub(super) async fn process(client: Client) {
    let witnesses = client.shared.places as u64;
    if client.process < witnesses {
        return witness(client).await;
    }
    let name = format!("keep/{}", (client.process - witnesses) / 2);
    let endpoints: Vec<String> =
        (0..client.shared.places).map(|place| format!("{}:{}", address(place), PORTS[1])).collect();
    while !client.stopped() {
        let builder = Cluster::builder().endpoints(endpoints.clone()).timeout(CALL_WITHIN);
        match builder.connect().await {
            Ok(cluster) => return Holder { client, cluster, name }.live().await,
            Err(_) => client.sleep_ms(200).await,
        }
    }
}

/// Reads a lock that nobody takes from one node. The answers show when a majority answered, independently of the clients under test.
async fn witness(mut client: Client) {
    while !client.stopped() {
        client.call(&Ask::new("check", json!({"name": "witness", "fencing_token": 1}))).await;
        let pause_ms = client.random.between(60, 120);
        client.sleep_ms(pause_ms).await;
    }
}

impl Holder {
    async fn live(mut self) {
        while !self.client.stopped() {
            let ttl_ms = self.client.random.between(TTL_MS.0, TTL_MS.1);
            if self.client.random.chance(50) {
                self.with_session(ttl_ms).await;
            } else {
                self.one_shot(ttl_ms).await;
            }
            let pause_ms = self.client.random.between(20, 200);
            self.client.sleep_ms(pause_ms).await;
        }
    }

    /// Waits for the lock and holds it under a session.
    async fn with_session(&mut self, ttl_ms: u64) {
        let Ok(session) = self.cluster.open_session(Duration::from_millis(ttl_ms)).await else { return };
        let ending = loss_of(session.state());
        tokio::pin!(ending);
        let args = json!({"name": self.name, "session_id": session.id(), "wait_ms": WAIT_MS});
        let (op, args) = self.invoke("acquire", args);
        let request = AcquireRequest {
            locks: vec![LockRequest {
                name: self.name.clone(),
                mode: LockMode::Exclusive.into(),
                ..LockRequest::default()
            }],
            session_id: session.id().to_owned(),
            wait_ms: WAIT_MS,
            metadata: args["metadata"].as_str().unwrap_or_default().to_owned(),
            ..AcquireRequest::default()
        };
        let answer = tokio::select! {
            answer = self.cluster.acquire_detached(request, None) => answer,
            loss = &mut ending => {
                self.end(op, Kind::Info, Value::Null, "its session is lost");
                return self.note_loss(&loss, "", ttl_ms);
            }
            () = self.client.shared.stop.cancelled() => {
                return self.end(op, Kind::Info, Value::Null, "left");
            }
        };
        let Some((grant, revision)) =
            self.answered(op, answer).and_then(|answer| answer.grant.map(|grant| (grant, answer.revision)))
        else {
            return;
        };
        let held = Held { lock_id: grant.lock_id, token: grant.fencing_token, ttl_ms };
        self.granted(op, &held, revision);
        self.hold(&held, ending).await;
        // The session owns nothing else. If it cannot be closed, it ends by itself.
        let _ = session.close().await;
    }

    /// Takes the lock as a one-shot lock if it is free, and lets the client extend it.
    async fn one_shot(&mut self, ttl_ms: u64) {
        let args = json!({"name": self.name, "ttl_ms": ttl_ms, "metadata": ""});
        let (op, _) = self.invoke("acquire", args);
        let options = LockOptions::exclusive(self.name.clone());
        let answer = self.cluster.acquire(options, Duration::from_millis(ttl_ms)).await;
        let Some(lock) = self.answered(op, answer) else {
            let pause_ms = self.client.random.between(100, 400);
            return self.client.sleep_ms(pause_ms).await;
        };
        let held = Held { lock_id: lock.lock_id().to_owned(), token: lock.token(), ttl_ms };
        // It did not wait, so the entry in its id granted it.
        let revision = lock.lock_id().parse::<LockId>().map(|id| id.0.index).unwrap_or_default();
        self.granted(op, &held, revision);
        self.hold(&held, lock.loss()).await;
    }

    fn granted(&self, op: u64, held: &Held, revision: u64) {
        let value = json!({"lock_id": held.lock_id, "fencing_token": held.token, "revision": revision});
        self.end(op, Kind::Ok, value, "");
        let value = json!({
            "name": self.name, "lock_id": held.lock_id, "fencing_token": held.token, "ttl_ms": held.ttl_ms,
        });
        self.client.shared.history.write(Event { f: HELD.to_owned(), value, ..self.event(Kind::Note) });
    }

    /// Relies on the lock for a while, checks now and then whether its token is the newest, and releases the lock.
    async fn hold(&mut self, held: &Held, ending: impl Future<Output = Loss>) {
        tokio::pin!(ending);
        let hold_ms = self.client.random.between(HOLD_MS.0, HOLD_MS.1);
        let over = tokio::time::sleep(Duration::from_millis(hold_ms));
        tokio::pin!(over);
        loop {
            let pause_ms = self.client.random.between(150, 400);
            tokio::select! {
                loss = &mut ending => return self.note_loss(&loss, &held.lock_id, held.ttl_ms),
                () = &mut over => break,
                () = self.client.shared.stop.cancelled() => break,
                () = self.check_after(held, pause_ms) => {}
            }
        }
        let (op, _) = self.invoke("release", json!({"name": self.name, "lock_id": held.lock_id}));
        let request = ReleaseRequest {
            lock_id: held.lock_id.clone(),
            name: self.name.clone(),
            ..ReleaseRequest::default()
        };
        if let Some(answer) = self.answered(op, self.cluster.release(request).await) {
            let value = json!({
                "lock_id": answer.lock_id, "fencing_token": answer.fencing_token, "revision": answer.revision,
            });
            self.end(op, Kind::Ok, value, "");
        }
    }

    async fn check_after(&self, held: &Held, pause_ms: u64) {
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        let (op, _) = self.invoke("check", json!({"name": self.name, "fencing_token": held.token}));
        let request =
            CheckRequest { name: self.name.clone(), fencing_token: held.token, ..CheckRequest::default() };
        let Some(answer) = self.answered(op, self.cluster.check(request).await) else { return };
        let status = match answer.status() {
            TokenStatus::Held => "held",
            TokenStatus::Superseded => "superseded",
            TokenStatus::NotHeld => "not_held",
            TokenStatus::Unspecified => "unspecified",
        };
        let value = json!({
            "status": status, "newest_token": answer.newest_token, "revision": answer.revision,
        });
        self.end(op, Kind::Ok, value, "");
    }

    fn event(&self, kind: Kind) -> Event {
        Event { p: Some(self.client.process), ..Event::new(kind) }
    }

    /// Records a request; an acquisition gets a mark by which it is found in the log.
    fn invoke(&self, f: &str, mut args: Value) -> (u64, Value) {
        let op = self.client.shared.history.op();
        if f == "acquire" && args["metadata"].is_null() {
            args["metadata"] = Value::from(format!("op {op}"));
        }
        self.client.shared.history.write(Event {
            op: Some(op),
            f: f.to_owned(),
            node: "all".to_owned(),
            front: "Rust client".to_owned(),
            args: args.clone(),
            ..self.event(Kind::Invoke)
        });
        (op, args)
    }

    fn end(&self, op: u64, kind: Kind, value: Value, error: &str) {
        let error = error.to_owned();
        self.client.shared.history.write(Event { op: Some(op), value, error, ..self.event(kind) });
    }

    /// Returns the answer for the caller to record; a failure is recorded here.
    fn answered<T>(&self, op: u64, answer: Result<T, Error>) -> Option<T> {
        answer
            .map_err(|error| {
                let kind = if is_certain(&error.code) { Kind::Fail } else { Kind::Info };
                self.end(op, kind, Value::Null, &error.code);
            })
            .ok()
    }

    fn note_loss(&self, loss: &Loss, lock_id: &str, ttl_ms: u64) {
        let history = &self.client.shared.history;
        let ago = u64::try_from(loss.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let value = json!({
            "name": self.name, "lock_id": lock_id, "ttl_ms": ttl_ms, "since": history.now().saturating_sub(ago),
            "reason": loss.reason.to_string(),
        });
        let note = format!("{} lost {}: {}", self.client.process, self.name, loss.reason);
        println!("{:7.2}s {note}", Duration::from_nanos(history.now()).as_secs_f64());
        history.write(Event { f: LOST.to_owned(), value, note, ..self.event(Kind::Note) });
    }
}

/// Whether a refusal means that the call had no effect and never will. The client repeats calls by itself, so any other failure may follow
/// an attempt that is still in flight.
fn is_certain(code: &str) -> bool {
    matches!(code, "wait_timeout" | "deadlock" | "lock_not_held" | "session_not_found")
}

async fn loss_of(mut state: tokio::sync::watch::Receiver<SessionState>) -> Loss {
    let ended = |state: &SessionState| matches!(state, SessionState::Lost(_));
    match state.wait_for(ended).await.map(|state| state.clone()) {
        Ok(SessionState::Lost(loss)) => loss,
        // The caller drops the session afterwards.
        _ => std::future::pending().await,
    }
}
