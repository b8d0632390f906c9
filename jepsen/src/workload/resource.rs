//! A resource under a lock: counters that clients read, think about, and write back. One store accepts every write; the other refuses
//! tokens older than the newest it has seen. Holders sometimes think for longer than their lock lives. Then the first
//! store must lose updates, or the harness could not see the difference; the second must not.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::client::{Ask, Client};

const TTL_MS: u64 = 1000;

/// A counter in a store.
#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    value: u64,
    /// Accepted writes.
    taken: u64,
    newest_token: u64,
}

/// The two stores; each has a counter per lock name.
#[derive(Debug, Default)]
pub struct Stores {
    blind: Mutex<BTreeMap<String, Counter>>,
    fenced: Mutex<BTreeMap<String, Counter>>,
}

type Store = Mutex<BTreeMap<String, Counter>>;

fn with<T>(store: &Store, name: &str, what: impl FnOnce(&mut Counter) -> T) -> T {
    // No code that holds the lock can panic halfway through a change.
    let mut counters = store.lock().unwrap_or_else(PoisonError::into_inner);
    what(counters.entry(name.to_owned()).or_default())
}

impl Stores {
    /// How many updates each store accepted, and how many it still has.
    #[must_use]
    pub fn summary(&self) -> Value {
        let sum = |store: &Store| {
            let counters = store.lock().unwrap_or_else(PoisonError::into_inner);
            let taken: u64 = counters.values().map(|counter| counter.taken).sum();
            let kept: u64 = counters.values().map(|counter| counter.value).sum();
            json!({"taken": taken, "kept": kept})
        };
        json!({"blind": sum(&self.blind), "fenced": sum(&self.fenced)})
    }
}

/// Runs one process of the workload.
pub(super) async fn process(mut client: Client) {
    while !client.stopped() {
        let name = format!("res/{}", client.random.between(0, 2));
        let key = client.perhaps_key(50);
        let acquire = json!({"name": name, "ttl_ms": TTL_MS, "wait_ms": 2000});
        if let Some(grant) = client.call(&Ask::new("acquire", acquire).keyed(key)).await.ok() {
            let token = grant["fencing_token"].as_u64().unwrap_or_default();
            update(&mut client, &name, token).await;
            client.call(&Ask::new("release", json!({"name": name, "lock_id": grant["lock_id"]}))).await;
        }
        if client.random.chance(10) {
            client.wander();
        }
        let pause_ms = client.random.between(0, 40);
        client.sleep_ms(pause_ms).await;
    }
}

async fn update(client: &mut Client, name: &str, token: u64) {
    let shared = std::sync::Arc::clone(&client.shared);
    let stores = &shared.stores;
    let blind = with(&stores.blind, name, |counter| counter.value);
    // A read fences, too: it supersedes every earlier reader.
    let fenced = with(&stores.fenced, name, |counter| {
        let admitted = token >= counter.newest_token;
        counter.newest_token = counter.newest_token.max(token);
        admitted.then_some(counter.value)
    });
    let long = client.random.chance(12);
    let think_ms =
        if long { client.random.between(TTL_MS + 200, TTL_MS * 3) } else { client.random.between(0, 40) };
    tokio::time::sleep(std::time::Duration::from_millis(think_ms)).await;
    with(&stores.blind, name, |counter| {
        counter.value = blind + 1;
        counter.taken += 1;
    });
    let Some(fenced) = fenced else { return };
    with(&stores.fenced, name, |counter| {
        if token >= counter.newest_token {
            counter.value = fenced + 1;
            counter.taken += 1;
            counter.newest_token = token;
        }
    });
}
