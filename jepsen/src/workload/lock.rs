//! Locks of every mode under contention: one-shot and owned by sessions; released, left to expire, or lost with their session.
//!
//! Names change every few seconds, so that the history of one name stays short enough for a linearizability check, and so that
//! old names are abandoned and new ones appear all the time.

use serde_json::{Value, json};

use crate::client::{Ask, Client};

/// How long a name is used.
const EPOCH_NS: u64 = 4_000_000_000;

/// A session that the process keeps alive itself.
struct Session {
    id: String,
}

/// Runs one process of the workload.
pub(super) async fn process(mut client: Client) {
    let mut session: Option<Session> = None;
    while !client.stopped() {
        match client.random.between(0, 99) {
            0..=49 => one_shot(&mut client).await,
            50..=54 => several(&mut client).await,
            55..=79 => session = with_session(&mut client, session).await,
            80..=93 => look(&mut client).await,
            _ => client.wander(),
        }
        let pause_ms = client.random.between(0, 25);
        client.sleep_ms(pause_ms).await;
    }
}

/// Chooses a name and a mode.
fn wanted(client: &mut Client) -> Value {
    let epoch = client.shared.history.now() / EPOCH_NS;
    match client.random.between(0, 9) {
        0..=5 => json!({"name": format!("m/{}/{epoch}", client.random.between(0, 2))}),
        6..=7 => {
            let mode = if client.random.chance(65) { "shared" } else { "exclusive" };
            json!({"name": format!("r/{}/{epoch}", client.random.between(0, 1)), "mode": mode})
        }
        _ => json!({
            "name": format!("s/{}/{epoch}", client.random.between(0, 1)), "mode": "semaphore",
            "permits": client.random.between(1, 2), "capacity": 3,
        }),
    }
}

fn wait_ms(client: &mut Client) -> u64 {
    if client.random.chance(45) { 0 } else { client.random.between(100, 2000) }
}

async fn one_shot(client: &mut Client) {
    let mut args = wanted(client);
    args["ttl_ms"] = json!(client.random.between(1500, 4000));
    args["wait_ms"] = json!(wait_ms(client));
    if client.random.chance(20) {
        args["lock_delay_ms"] = json!(client.random.between(50, 500));
    }
    let key = client.perhaps_key(50);
    let Some(grant) = client.call(&Ask::new("acquire", args.clone()).keyed(key)).await.ok() else { return };
    if client.random.chance(15) {
        let extend = json!({
            "lock_id": grant["lock_id"], "name": args["name"], "ttl_ms": client.random.between(1500, 4000),
        });
        client.call(&Ask::new("extend", extend)).await;
    }
    hold(client, &args, &grant).await;
    // Sometimes a holder does not release its lock.
    if client.random.chance(92) {
        release(client, &args, &grant).await;
    }
}

/// Takes several locks, all or nothing, under one token.
async fn several(client: &mut Client) {
    let epoch = client.shared.history.now() / EPOCH_NS;
    let mut numbers = [0, 1, 2];
    client.random.shuffle(&mut numbers);
    let count = client.random.place(2) + 2;
    let locks: Vec<Value> =
        numbers[..count].iter().map(|number| json!({"name": format!("m/{number}/{epoch}")})).collect();
    let ttl_ms = client.random.between(1500, 4000);
    let args = json!({"locks": locks, "ttl_ms": ttl_ms, "wait_ms": wait_ms(client)});
    let key = client.perhaps_key(50);
    let Some(grant) = client.call(&Ask::new("acquire", args).keyed(key)).await.ok() else { return };
    let hold_ms = client.random.between(0, 80);
    client.sleep_ms(hold_ms).await;
    release(client, &json!({"name": locks[0]["name"]}), &grant).await;
}

async fn hold(client: &mut Client, args: &Value, grant: &Value) {
    if client.random.chance(30) {
        let check = json!({"name": args["name"], "fencing_token": grant["fencing_token"]});
        client.call(&Ask::new("check", check)).await;
    }
    let hold_ms = client.random.between(0, 80);
    client.sleep_ms(hold_ms).await;
}

async fn release(client: &mut Client, args: &Value, grant: &Value) {
    let key = client.perhaps_key(50);
    let release = json!({"lock_id": grant["lock_id"], "name": args["name"]});
    client.call(&Ask::new("release", release).keyed(key)).await;
}

/// Takes locks under a session, new or kept, and leaves both in one of several ways.
async fn with_session(client: &mut Client, session: Option<Session>) -> Option<Session> {
    let session = if let Some(session) = session {
        let kept = client.call(&Ask::new("keep_alive", json!({"session_id": session.id}))).await;
        if kept.is_refused("session_not_found") {
            return None;
        }
        session
    } else {
        let open = json!({"ttl_ms": client.random.between(1500, 3000)});
        let key = client.perhaps_key(50);
        let opened = client.call(&Ask::new("open_session", open).keyed(key)).await.ok()?;
        Session { id: opened["session_id"].as_str()?.to_owned() }
    };
    let mut args = wanted(client);
    args["session_id"] = json!(session.id);
    args["wait_ms"] = json!(wait_ms(client));
    let key = client.perhaps_key(50);
    let granted = client.call(&Ask::new("acquire", args.clone()).keyed(key)).await.ok();
    if let Some(grant) = &granted {
        hold(client, &args, grant).await;
    }
    match client.random.between(0, 9) {
        0..=5 => {
            if let Some(grant) = &granted {
                release(client, &args, grant).await;
            }
            Some(session)
        }
        6..=7 => {
            client.call(&Ask::new("close_session", json!({"session_id": session.id}))).await;
            None
        }
        8 => None,
        _ => Some(session),
    }
}

/// Reads a lock.
async fn look(client: &mut Client) {
    let name = wanted(client)["name"].clone();
    client.call(&Ask::new("get_lock", json!({ "name": name }))).await;
}
