//! Queues: many clients wait for few locks; some disconnect while they wait, some lose their session.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::client::{Ask, Client, FRONTS, Shared};

const EPOCH_NS: u64 = 4_000_000_000;

/// Runs one process of the workload.
pub(super) async fn process(mut client: Client) {
    while !client.stopped() {
        let name = format!("q/{}/{}", client.random.between(0, 2), client.shared.history.now() / EPOCH_NS);
        match client.random.between(0, 9) {
            0..=5 => wait(&mut client, &name).await,
            6..=7 => leave(&mut client, &name).await,
            8 => lose_session(&mut client, &name).await,
            _ => client.wander(),
        }
        let pause_ms = client.random.between(0, 30);
        client.sleep_ms(pause_ms).await;
    }
}

fn one_shot(client: &mut Client, name: &str) -> Value {
    json!({"name": name, "ttl_ms": client.random.between(1500, 3000), "wait_ms": client.random.between(1000, 3500)})
}

async fn wait(client: &mut Client, name: &str) {
    let acquire = one_shot(client, name);
    let key = client.perhaps_key(40);
    let Some(grant) = client.call(&Ask::new("acquire", acquire).keyed(key)).await.ok() else { return };
    let hold_ms = client.random.between(10, 60);
    client.sleep_ms(hold_ms).await;
    client.call(&Ask::new("release", json!({"name": name, "lock_id": grant["lock_id"]}))).await;
}

/// Disconnects while waiting.
async fn leave(client: &mut Client, name: &str) {
    let acquire = one_shot(client, name);
    let patience_ms = client.random.between(20, 400);
    client.call_and_leave(&Ask::new("acquire", acquire), patience_ms).await;
}

/// Closes the session of a wait.
async fn lose_session(client: &mut Client, name: &str) {
    let Some(session) = client.call(&Ask::new("open_session", json!({"ttl_ms": 2000}))).await.ok() else {
        return;
    };
    let mut twin = client.twin(1);
    let acquire = json!({"name": name, "session_id": session["session_id"], "wait_ms": 3000});
    let waiting = tokio::spawn(async move { twin.call(&Ask::new("acquire", acquire)).await });
    let pause_ms = client.random.between(30, 300);
    client.sleep_ms(pause_ms).await;
    client.call(&Ask::new("close_session", json!({"session_id": session["session_id"]}))).await;
    // The answer is in the history. A failed task has panicked, which must not be hidden.
    if let Err(error) = waiting.await {
        std::panic::resume_unwind(error.into_panic());
    }
}

/// Disconnects a client with a long wait on every node and front, while the cluster is healthy. An orphaned wait would be granted
/// the lock once its holder is gone, and keep it, so that the cluster would not become empty.
pub async fn leave_everywhere(shared: &Arc<Shared>) {
    const LONG_MS: u64 = 20 * 60 * 1000;
    let mut client = Client::new(shared, 2_000_000);
    for place in 0..shared.places {
        for front in FRONTS {
            client.connect(place, front);
            let name = format!("left/{place}/{front:?}");
            let held = client.call(&Ask::new("acquire", json!({"name": name, "ttl_ms": 60_000}))).await.ok();
            let waits = json!({"name": name, "ttl_ms": LONG_MS, "wait_ms": LONG_MS});
            client.call_and_leave(&Ask::new("acquire", waits), 300).await;
            if let Some(held) = held {
                client.call(&Ask::new("release", json!({"name": name, "lock_id": held["lock_id"]}))).await;
            }
        }
    }
}
