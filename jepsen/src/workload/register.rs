//! High-water registers: advanced with old and new tokens, read on every node, deleted.

use serde_json::json;

use crate::client::{Ask, Client};

const EPOCH_NS: u64 = 5_000_000_000;
/// How many tokens a process remembers; it also presents old ones.
const TOKENS_MAX: usize = 12;

/// Runs one process of the workload.
pub(super) async fn process(mut client: Client) {
    let mut tokens: Vec<u64> = Vec::new();
    while !client.stopped() {
        let name = format!("reg/{}/{}", client.random.between(0, 3), client.shared.history.now() / EPOCH_NS);
        match client.random.between(0, 99) {
            0..=19 => tokens.extend(token(&mut client).await),
            20..=54 if !tokens.is_empty() => {
                let token = *client.random.one_of(&tokens);
                let advance = json!({"name": name, "fencing_token": token});
                let key = client.perhaps_key(50);
                client.call(&Ask::new("advance_register", advance).keyed(key)).await;
            }
            55..=59 => {
                let key = client.perhaps_key(50);
                client.call(&Ask::new("delete_register", json!({ "name": name })).keyed(key)).await;
            }
            60..=94 => drop(client.call(&Ask::new("get_register", json!({ "name": name }))).await),
            _ => client.wander(),
        }
        if tokens.len() > TOKENS_MAX {
            tokens.remove(0);
        }
        let pause_ms = client.random.between(0, 25);
        client.sleep_ms(pause_ms).await;
    }
}

/// Takes a lock that nobody else wants, and returns its token.
async fn token(client: &mut Client) -> Option<u64> {
    let name = format!("tokens/{}", client.process);
    let acquire = json!({"name": name, "ttl_ms": 1000, "wait_ms": 1000});
    let grant = client.call(&Ask::new("acquire", acquire)).await.ok()?;
    client.call(&Ask::new("release", json!({"name": name, "lock_id": grant["lock_id"]}))).await;
    grant["fencing_token"].as_u64()
}
