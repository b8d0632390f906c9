//! Elections under contention: candidates with a TTL of their own and candidates of sessions, which lead, write under their token,
//! proclaim, and resign, or leave their leadership to expire. A leader that has resigned sometimes acts as if it had not.
//!
//! Names change every few seconds, for the same reasons as those of the workload `lock`.

use serde_json::{Value, json};

use crate::client::{Ask, Client};

/// How long a name is used.
const EPOCH_NS: u64 = 4_000_000_000;

/// Runs one process of the workload.
pub(super) async fn process(mut client: Client) {
    let mut candidacies = 0;
    while !client.stopped() {
        candidacies += 1;
        match client.random.between(0, 99) {
            0..=54 => alone(&mut client).await,
            55..=79 => with_session(&mut client, candidacies).await,
            80..=93 => look(&mut client).await,
            _ => client.wander(),
        }
        let pause_ms = client.random.between(0, 25);
        client.sleep_ms(pause_ms).await;
    }
}

fn name(client: &mut Client) -> String {
    format!("e/{}/{}", client.random.between(0, 2), client.shared.history.now() / EPOCH_NS)
}

/// Leads with a TTL of its own.
async fn alone(client: &mut Client) {
    let mut args = json!({"name": name(client), "ttl_ms": client.random.between(1500, 4000)});
    if client.random.chance(20) {
        args["lock_delay_ms"] = json!(client.random.between(50, 500));
    }
    let Some(leader) = campaign(client, &mut args).await else { return };
    if client.random.chance(15) {
        let extend = json!({
            "lock_id": leader["candidate_id"], "name": args["name"], "ttl_ms": client.random.between(1500, 4000),
        });
        client.call(&Ask::new("extend", extend)).await;
    }
    work(client, &leader).await;
    // Sometimes a leader does not resign.
    if client.random.chance(90) {
        resign(client, &leader).await;
    }
}

/// Leads with a session, which ends in one of several ways.
async fn with_session(client: &mut Client, candidacies: u64) {
    let open = json!({"ttl_ms": client.random.between(1500, 3000)});
    let key = client.perhaps_key(50);
    let Some(opened) = client.call(&Ask::new("open_session", open).keyed(key)).await.ok() else { return };
    // Its own label makes each candidacy one of its own.
    let owner = format!("p{}-{candidacies}", client.process);
    let mut args = json!({"name": name(client), "session_id": opened["session_id"], "owner": owner});
    let leader = campaign(client, &mut args).await;
    if let Some(leader) = &leader {
        work(client, leader).await;
        if client.random.chance(60) {
            resign(client, leader).await;
        }
    }
    if client.random.chance(70) {
        client.call(&Ask::new("close_session", json!({"session_id": opened["session_id"]}))).await;
    }
}

/// Stands as a candidate; returns the leader when it was elected.
async fn campaign(client: &mut Client, args: &mut Value) -> Option<Value> {
    let wait_ms = if client.random.chance(30) { 0 } else { client.random.between(100, 2000) };
    args["wait_ms"] = json!(wait_ms);
    let key = client.perhaps_key(50);
    client.call(&Ask::new("campaign", args.clone()).keyed(key)).await.ok()
}

/// Does what leaders do: writes to a register that keeps old leaders out, and proclaims.
async fn work(client: &mut Client, leader: &Value) {
    let (name, token) = (&leader["name"], &leader["fencing_token"]);
    if client.random.chance(30) {
        let write = json!({"name": name, "fencing_token": token});
        let key = client.perhaps_key(50);
        client.call(&Ask::new("advance_register", write).keyed(key)).await;
    }
    if client.random.chance(30) {
        let check = json!({"name": name, "fencing_token": token});
        client.call(&Ask::new("check", check)).await;
    }
    if client.random.chance(50) {
        proclaim(client, leader).await;
    }
    let lead_ms = client.random.between(0, 80);
    client.sleep_ms(lead_ms).await;
}

async fn proclaim(client: &mut Client, leader: &Value) {
    let value = format!("{} says {}", leader["candidate_id"], client.random.between(0, 999_999));
    let proclaim = json!({"name": leader["name"], "fencing_token": leader["fencing_token"], "value": value});
    let key = client.perhaps_key(50);
    client.call(&Ask::new("proclaim", proclaim).keyed(key)).await;
}

async fn resign(client: &mut Client, leader: &Value) {
    let key = client.perhaps_key(50);
    let resign = json!({"name": leader["name"], "fencing_token": leader["fencing_token"]});
    client.call(&Ask::new("resign", resign).keyed(key)).await;
    if client.random.chance(20) {
        proclaim(client, leader).await;
    }
}

/// Reads an election.
async fn look(client: &mut Client) {
    let name = name(client);
    client.call(&Ask::new("get_election", json!({ "name": name }))).await;
}
