//! Access: clients take, wait for, read and release locks with the keys of three principals, while an administrator takes the rights of one
//! after the other away and gives them back.
//!
//! The administrator makes one change at a time and repeats it under one key until it is made, so that no late attempt undoes a later change.
//! The history has each change as a call of the administrator: `take_right` and `return_right`, with the number of the worker.

use std::sync::Arc;
use std::time::Duration;

use batuta_tests::Rest;
use serde_json::{Value, json};

use crate::access::{Keys, WORKERS, binding_of, name_of};
use crate::client::{Ask, Client, Shared};
use crate::cluster::PORTS;
use crate::history::{Event, Kind};
use crate::random::Random;
use crate::sandbox::address;

/// The number of the administrator's process in the history.
pub const ADMIN: u64 = 3_000_000;
/// A name is used for this long.
const EPOCH_NS: u64 = 4_000_000_000;
/// How long the administrator waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs one process of the workload.
pub(super) async fn process(mut client: Client) {
    while !client.stopped() {
        match client.random.between(0, 99) {
            0..=54 => take(&mut client).await,
            55..=64 => under_session(&mut client).await,
            65..=94 => {
                let name = name(&mut client);
                client.call(&Ask::new("get_lock", json!({ "name": name }))).await;
            }
            _ => client.wander(),
        }
        let pause_ms = client.random.between(0, 25);
        client.sleep_ms(pause_ms).await;
    }
}

fn name(client: &mut Client) -> String {
    let epoch = client.shared.history.now() / EPOCH_NS;
    format!("m/{}/{epoch}", client.random.between(0, 2))
}

async fn take(client: &mut Client) {
    let wait_ms = if client.random.chance(40) { 0 } else { client.random.between(100, 2000) };
    let args = json!({
        "name": name(client), "ttl_ms": client.random.between(1500, 4000), "wait_ms": wait_ms,
    });
    hold(client, args).await;
}

async fn under_session(client: &mut Client) {
    let open = json!({"ttl_ms": client.random.between(1500, 3000)});
    let Some(opened) = client.call(&Ask::new("open_session", open)).await.ok() else { return };
    let args = json!({"name": name(client), "session_id": opened["session_id"], "wait_ms": 500});
    hold(client, args).await;
    client.call(&Ask::new("close_session", json!({"session_id": opened["session_id"]}))).await;
}

/// Takes a lock, holds it for a moment and releases it.
async fn hold(client: &mut Client, args: Value) {
    let key = client.perhaps_key(50);
    let Some(grant) = client.call(&Ask::new("acquire", args.clone()).keyed(key)).await.ok() else { return };
    let hold_ms = client.random.between(0, 80);
    client.sleep_ms(hold_ms).await;
    let release = json!({"lock_id": grant["lock_id"], "name": args["name"]});
    let key = client.perhaps_key(50);
    client.call(&Ask::new("release", release).keyed(key)).await;
}

/// How a right is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The only binding of the worker is deleted.
    Unbind,
    /// The worker is suspended. It keeps what it owns, because the checks of TTLs and of the referee count on it.
    Suspend,
}

/// A change of access over REST.
struct Change {
    method: &'static str,
    path: String,
    body: Option<Value>,
}

impl Change {
    fn take(way: Way, worker: u64, binding: &str) -> Self {
        match way {
            Way::Unbind => {
                Self { method: "DELETE", path: format!("/api/v1/access/bindings/{binding}"), body: None }
            }
            Way::Suspend => Self::of_service(worker, "suspend", json!({"keep_sessions": true})),
        }
    }

    fn give_back(way: Way, worker: u64) -> Self {
        match way {
            Way::Unbind => Self {
                method: "POST",
                path: "/api/v1/access/bindings".to_owned(),
                body: Some(binding_of(worker)),
            },
            Way::Suspend => Self::of_service(worker, "resume", json!({})),
        }
    }

    fn of_service(worker: u64, verb: &str, body: Value) -> Self {
        let path = format!("/api/v1/access/services/{}/{verb}", name_of(worker));
        Self { method: "POST", path, body: Some(body) }
    }
}

/// The administrator.
struct Admin {
    shared: Arc<Shared>,
    random: Random,
    keys: Keys,
    /// How many changes it has begun.
    changes: u64,
}

/// Takes rights away and gives them back until the run is over.
pub(super) async fn administrate(shared: Arc<Shared>, keys: Keys) {
    let random = Random::new(shared.seed, ADMIN);
    let mut admin = Admin { shared, random, keys, changes: 0 };
    while admin.interlude().await.is_some() {}
}

impl Admin {
    /// Takes the right of a worker away, and gives it back after a while. `None` when the run is over.
    async fn interlude(&mut self) -> Option<()> {
        self.pause(300, 2_000).await?;
        let worker = self.random.between(0, WORKERS - 1);
        let way = if self.random.chance(50) { Way::Unbind } else { Way::Suspend };
        let place = usize::try_from(worker).ok()?;
        let binding = self.keys.bindings.get(place)?.clone();
        self.change("take_right", worker, &Change::take(way, worker, &binding)).await?;
        self.pause(300, 4_000).await?;
        let answer = self.change("return_right", worker, &Change::give_back(way, worker)).await?;
        if way == Way::Unbind {
            answer["binding_id"].as_str()?.clone_into(self.keys.bindings.get_mut(place)?);
        }
        Some(())
    }

    /// Sleeps. `None` when the run is over.
    async fn pause(&mut self, least_ms: u64, most_ms: u64) -> Option<()> {
        let pause = Duration::from_millis(self.random.between(least_ms, most_ms));
        self.shared.stop.run_until_cancelled(tokio::time::sleep(pause)).await
    }

    /// Makes a change, and repeats it at any node until it is made. `None` when the run is over, or the change was refused.
    async fn change(&mut self, f: &str, worker: u64, change: &Change) -> Option<Value> {
        self.changes += 1;
        let key = format!("admin-{}-{}", self.changes, self.shared.seed);
        let op = self.shared.history.op();
        let event = |kind| Event { p: Some(ADMIN), op: Some(op), ..Event::new(kind) };
        let args = json!({"worker": worker, "path": change.path});
        self.shared.history.write(Event {
            f: f.to_owned(),
            front: "REST".to_owned(),
            args,
            key: Some(key.clone()),
            ..event(Kind::Invoke)
        });
        loop {
            let place = self.random.place(self.shared.places);
            match self.attempt(place, change, &key).await {
                Some((200..300, value)) => {
                    self.shared.history.write(Event { value: value.clone(), ..event(Kind::Ok) });
                    return Some(value);
                }
                // Too many requests, or a credential that this node does not know yet.
                Some((status @ 400..500, value)) if !matches!(status, 401 | 429) => {
                    let code = value["code"].as_str().unwrap_or_default();
                    self.shared.history.write(Event { error: code.to_owned(), ..event(Kind::Fail) });
                    return None;
                }
                _ => {}
            }
            if self.pause(50, 400).await.is_none() {
                let error = "the run is over".to_owned();
                self.shared.history.write(Event { error, ..event(Kind::Info) });
                return None;
            }
        }
    }

    /// The status and the body of an answer; `None` without one.
    async fn attempt(&self, place: usize, change: &Change, key: &str) -> Option<(u16, Value)> {
        let rest = Rest::new(&format!("http://{}:{}", address(place), PORTS[0]));
        let rest = rest.with_token(self.keys.admin.expose());
        let headers = [("idempotency-key", key)];
        let call = rest.try_send(change.method, &change.path, &headers, change.body.as_ref());
        let answer = tokio::time::timeout(PATIENCE, call).await.ok()?.ok()?;
        Some((answer.status, answer.body))
    }
}
