//! The same request under the same key, from several clients concurrently, through different nodes and fronts, and again later.

use serde_json::{Value, json};

use crate::client::{Ask, Client};

/// Runs one process of the workload with its twins.
pub(super) async fn process(mut client: Client) {
    while !client.stopped() {
        if client.random.chance(20) {
            leave_and_return(&mut client).await;
            continue;
        }
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
            // The grant has ended: a retry reports that, and gets no second grant.
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

/// Waits for a lock, disconnects, and asks again at once under the same key at another node, while the lock
/// becomes free. A grant must then stay: the node that saw the connection end must not withdraw it.
async fn leave_and_return(client: &mut Client) {
    let name = format!("return/{}", client.process);
    let held = client.call(&Ask::new("acquire", json!({"name": name, "ttl_ms": 4000}))).await.ok();
    let Some(held) = held else { return };
    let (key, mark) = (client.key(), client.key());
    let acquire = json!({"name": name, "ttl_ms": 4000, "wait_ms": 3000, "metadata": mark});
    let acquire = Ask::new("acquire", acquire).keyed(Some(key));
    let mut twin = client.twin(1);
    let release = json!({"name": name, "lock_id": held["lock_id"]});
    let waits_ms = client.random.between(20, 150);
    let frees_ms = waits_ms + client.random.between(0, 30);
    let frees = async {
        tokio::time::sleep(std::time::Duration::from_millis(frees_ms)).await;
        twin.call(&Ask::new("release", release)).await
    };
    let returns = async {
        client.call_and_leave(&acquire, waits_ms).await;
        client.wander();
        client.call(&acquire).await
    };
    let (_, granted) = tokio::join!(frees, returns);
    let Some(grant) = granted.ok() else { return };
    let hold_ms = client.random.between(100, 700);
    client.sleep_ms(hold_ms).await;
    let check = json!({"name": name, "fencing_token": grant["fencing_token"]});
    client.call(&Ask::new("check", check)).await;
    client.call(&Ask::new("release", json!({"name": name, "lock_id": grant["lock_id"]}))).await;
}

/// Makes the same call from two or three clients concurrently, and returns the answers.
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
