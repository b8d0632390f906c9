//! The same request under the same key, from several clients at once, through different nodes and fronts, and again later.

use serde_json::{Value, json};

use crate::client::{Ask, Client};

/// One process and its twins.
pub(super) async fn process(mut client: Client) {
    while !client.stopped() {
        let (key, mark) = (client.key(), client.key());
        let name = format!("again/{}", client.random.between(0, 7));
        let acquire = json!({
            "name": name, "ttl_ms": client.random.between(1500, 4000), "wait_ms": client.random.between(0, 1500),
            "metadata": mark,
        });
        let acquire = Ask::new("acquire", acquire).keyed(Some(key));
        let granted = together(&mut client, &acquire).await;
        if let Some(grant) = granted.first() {
            let pause_ms = client.random.between(0, 60);
            client.sleep_ms(pause_ms).await;
            let release = json!({"name": name, "lock_id": grant["lock_id"]});
            let key = client.key();
            together(&mut client, &Ask::new("release", release).keyed(Some(key))).await;
            // The grant has ended: the key finds that out, and gets no second grant.
            client.wander();
            client.call(&acquire).await;
        }
        if client.random.chance(20) {
            let key = client.key();
            together(&mut client, &Ask::new("open_session", json!({"ttl_ms": 1500})).keyed(Some(key))).await;
        }
        let pause_ms = client.random.between(0, 40);
        client.sleep_ms(pause_ms).await;
    }
}

/// Asks from two or three places at once; gives the answers.
async fn together(client: &mut Client, ask: &Ask) -> Vec<Value> {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..client.random.between(1, 2) {
        let mut twin = client.twin(number + 1);
        let ask = ask.clone();
        tasks.spawn(async move { twin.call(&ask).await.ok() });
    }
    let own = client.call(ask).await.ok();
    let others = tasks.join_all().await;
    own.into_iter().chain(others.into_iter().flatten()).collect()
}
