//! Sessions: kept alive for a while, then closed or left to expire. Their locks are read, and ended sessions are called again.

use serde_json::{Value, json};

use crate::client::{Answer, Ask, Client};

/// Runs one process of the workload.
pub(super) async fn process(mut client: Client) {
    while !client.stopped() {
        one(&mut client).await;
        if client.random.chance(30) {
            client.wander();
        }
    }
}

async fn one(client: &mut Client) {
    // Some live long enough to survive a pause of all nodes.
    let ttl_ms = if client.random.chance(75) {
        client.random.between(800, 2500)
    } else {
        client.random.between(4000, 8000)
    };
    let key = client.perhaps_key(50);
    let opened = client.call(&Ask::new("open_session", json!({ "ttl_ms": ttl_ms })).keyed(key)).await;
    let Some(session) = opened.ok() else { return };
    let session_id = session["session_id"].clone();
    let owns = json!({"name": format!("owned/{}", client.random.between(0, 5)), "session_id": session_id, "wait_ms": 500});
    if client.random.chance(70) {
        client.call(&Ask::new("acquire", owns)).await;
    }
    let about = json!({ "session_id": session_id });
    for _ in 0..client.random.between(0, 5) {
        let pause_ms = client.random.between(ttl_ms / 5, ttl_ms / 2);
        client.sleep_ms(pause_ms).await;
        if client.call(&Ask::new("keep_alive", about.clone())).await.is_refused("session_not_found") {
            break;
        }
    }
    if client.random.chance(30) {
        client.call(&Ask::new("close_session", about.clone())).await;
    } else {
        await_end(client, &about, ttl_ms).await;
    }
    call_the_dead(client, &about).await;
}

/// Reads a session that is not kept alive until it has expired.
async fn await_end(client: &mut Client, about: &Value, ttl_ms: u64) {
    let until_ns = client.shared.history.now() + (ttl_ms + 6000) * 1_000_000;
    while !client.stopped() && client.shared.history.now() < until_ns {
        let pause_ms = client.random.between(40, 200);
        client.sleep_ms(pause_ms).await;
        if client.call(&look(about)).await.is_refused("session_not_found") {
            return;
        }
    }
}

fn look(about: &Value) -> Ask {
    Ask::new("get_session", about.clone())
}

/// Calls an ended session, which must stay ended on every node.
async fn call_the_dead(client: &mut Client, about: &Value) {
    client.wander();
    let call = if client.random.chance(50) { Ask::new("keep_alive", about.clone()) } else { look(about) };
    // The history has the answer; the checker knows whether the session had ended by then.
    let _: Answer = client.call(&call).await;
}
