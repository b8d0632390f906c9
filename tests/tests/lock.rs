//! Locks over REST on a cluster of three real processes, from every node.

#[path = "lock/election.rs"]
mod election;

use batuta_tests::{Cluster, eventually};
use serde_json::json;

fn percent(name: &str) -> String {
    name.replace('/', "%2F")
}

#[tokio::test(flavor = "multi_thread")]
async fn lock_is_taken_contended_and_released_on_every_node() {
    let cluster = Cluster::start(3).await;
    let mut last_token = 0;
    for (place, node) in cluster.nodes.iter().enumerate() {
        let name = format!("orders/{place}");
        let path = format!("/api/v1/locks/{}", percent(&name));
        let granted =
            node.rest.post("/api/v1/locks", &json!({"name": name, "ttl_ms": 60_000})).await.expect(201);
        let token = granted.number("fencing_token");
        assert!(token > last_token, "tokens rise: {token} after {last_token}");
        last_token = token;
        for other in &cluster.nodes {
            let refused =
                other.rest.post("/api/v1/locks", &json!({"name": name, "ttl_ms": 60_000})).await.expect(409);
            assert_eq!(refused.code(), "lock_held");
            assert_eq!(refused.content_type, "application/problem+json");
            let check = other.rest.get(&format!("{path}/check?fencing_token={token}")).await.expect(200);
            assert_eq!(check.body["current"], true, "{check:?}");
            let seen = other.rest.get(&path).await.expect(200);
            assert_eq!(seen.body["holders"][0]["fencing_token"], token, "{seen:?}");
        }
        let other = &cluster.nodes[(place + 1) % 3];
        let lock_id = granted.text("lock_id");
        let _ = other.rest.delete(&format!("{path}?lock_id={lock_id}")).await.expect(200);
        let check = node.rest.get(&format!("{path}/check?fencing_token={token}")).await.expect(200);
        assert_eq!(check.body["current"], false);
        let again = node.rest.delete(&format!("{path}?lock_id={lock_id}")).await;
        assert_eq!(again.code(), "lock_not_held");
    }
    cluster.converged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn next_waiter_is_granted_and_vanished_waiter_removed() {
    let cluster = Cluster::start(3).await;
    let [first, second, third] = [0, 1, 2].map(|place| cluster.nodes[place].rest.clone());
    let held = first.post("/api/v1/locks", &json!({"name": "hot", "ttl_ms": 60_000})).await.expect(201);

    let vanishing = tokio::spawn({
        let third = third.clone();
        async move {
            third.post("/api/v1/locks", &json!({"name": "hot", "ttl_ms": 60_000, "wait_ms": 60_000})).await
        }
    });
    let waiter_count = |rest: batuta_tests::Rest| async move {
        rest.get("/api/v1/locks/hot").await.body["waiter_count"].as_u64()
    };
    eventually("the waiter is queued", || async {
        (waiter_count(first.clone()).await == Some(1)).then_some(())
    })
    .await;
    vanishing.abort();
    eventually("the vanished client's wait is withdrawn", || async {
        (waiter_count(first.clone()).await == Some(0)).then_some(())
    })
    .await;

    let waiting = tokio::spawn({
        let second = second.clone();
        async move {
            second.post("/api/v1/locks", &json!({"name": "hot", "ttl_ms": 60_000, "wait_ms": 60_000})).await
        }
    });
    eventually("the second waiter is queued", || async {
        (waiter_count(third.clone()).await == Some(1)).then_some(())
    })
    .await;
    let _ = third.delete(&format!("/api/v1/locks/hot?lock_id={}", held.text("lock_id"))).await.expect(200);
    let granted = waiting.await.expect("the waiting task").expect(201);
    assert!(granted.number("fencing_token") > held.number("fencing_token"));

    let timed_out =
        first.post("/api/v1/locks", &json!({"name": "hot", "ttl_ms": 60_000, "wait_ms": 300})).await;
    assert_eq!(timed_out.code(), "wait_timeout", "{timed_out:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_session_releases_everything_in_one_revision() {
    let cluster = Cluster::start(3).await;
    let rest = &cluster.nodes[1].rest;
    let session = rest.post("/api/v1/sessions", &json!({"ttl_ms": 2_000})).await.expect(201);
    let session_id = session.body["session_id"].as_str().expect("a session id").to_owned();
    for name in ["a", "b", "c"] {
        let _ =
            rest.post("/api/v1/locks", &json!({"name": name, "session_id": session_id})).await.expect(201);
    }
    let held = |count: usize| {
        let rest = rest.clone();
        async move {
            let list = rest.get("/api/v1/locks").await.expect(200);
            let locks = list.body["locks"].as_array().expect("a list").len();
            assert!(
                locks == 3 || locks == 0,
                "a session's locks are released together, never one by one: {list:?}"
            );
            (locks == count).then_some(())
        }
    };
    assert!(held(3).await.is_some());
    eventually("the session and its locks have expired", || held(0)).await;
    let gone = rest.put(&format!("/api/v1/sessions/{session_id}/keep-alive"), &json!({})).await;
    assert_eq!(gone.code(), "session_not_found", "a dead session never revives: {gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_lock_and_registers_work() {
    let cluster = Cluster::start(1).await;
    let rest = &cluster.nodes[0].rest;
    for _ in 0..2 {
        let _ = rest
            .post("/api/v1/locks", &json!({"name": "s", "mode": "shared", "ttl_ms": 60_000}))
            .await
            .expect(201);
        let permit = json!({"name": "p", "mode": "semaphore", "permits": 1, "capacity": 2, "ttl_ms": 60_000});
        let _ = rest.post("/api/v1/locks", &permit).await.expect(201);
    }
    let third = json!({"name": "p", "mode": "semaphore", "permits": 1, "capacity": 2, "ttl_ms": 60_000});
    assert_eq!(rest.post("/api/v1/locks", &third).await.code(), "lock_held");
    let other_capacity =
        json!({"name": "p", "mode": "semaphore", "permits": 1, "capacity": 3, "ttl_ms": 60_000});
    assert_eq!(rest.post("/api/v1/locks", &other_capacity).await.code(), "capacity_mismatch");

    let set = json!({"locks": [{"name": "m/1"}, {"name": "m/2"}], "ttl_ms": 60_000});
    let granted = rest.post("/api/v1/locks", &set).await.expect(201);
    let overlapping = json!({"locks": [{"name": "m/2"}, {"name": "m/3"}], "ttl_ms": 60_000});
    assert_eq!(rest.post("/api/v1/locks", &overlapping).await.code(), "lock_held");
    assert_eq!(rest.get("/api/v1/locks/m%2F3").await.status, 404, "all or nothing");

    let token = granted.number("fencing_token");
    let wrong =
        rest.delete(&format!("/api/v1/locks/m%2F1?force=true&fencing_token={}&reason=test", token + 1)).await;
    assert_eq!(wrong.code(), "token_superseded", "{wrong:?}");
    let _ = rest
        .delete(&format!("/api/v1/locks/m%2F1?force=true&fencing_token={token}&reason=operator"))
        .await
        .expect(200);

    let mut sessions = Vec::new();
    for name in ["d/1", "d/2"] {
        let session = rest.post("/api/v1/sessions", &json!({"ttl_ms": 60_000})).await.expect(201);
        let id = session.body["session_id"].as_str().expect("an id").to_owned();
        let _ = rest.post("/api/v1/locks", &json!({"name": name, "session_id": id})).await.expect(201);
        sessions.push(id);
    }
    let waiting = tokio::spawn({
        let (rest, id) = (rest.clone(), sessions[0].clone());
        async move {
            rest.post("/api/v1/locks", &json!({"name": "d/2", "session_id": id, "wait_ms": 60_000})).await
        }
    });
    eventually("the first waits", || async {
        (rest.get("/api/v1/locks/d%2F2").await.body["waiter_count"] == 1).then_some(())
    })
    .await;
    let cycle = rest
        .post("/api/v1/locks", &json!({"name": "d/1", "session_id": sessions[1], "wait_ms": 60_000}))
        .await;
    assert_eq!(cycle.code(), "deadlock", "{cycle:?}");
    waiting.abort();

    let _ = rest.put("/api/v1/registers/disk", &json!({"fencing_token": token})).await.expect(200);
    let old = rest.put("/api/v1/registers/disk", &json!({"fencing_token": token - 1})).await;
    assert_eq!(old.code(), "token_superseded");
}

/// A waiting client loses its connection, asks again at once at another node under the same key, and is granted the lock. The first node,
/// which sees the connection end, must not withdraw the grant. The test runs many rounds, because the lock has to become free at just
/// the right moment.
#[tokio::test(flavor = "multi_thread")]
async fn retry_on_another_node_keeps_its_grant() {
    let cluster = Cluster::start(3).await;
    let [first, second, third] = [0, 1, 2].map(|place| cluster.nodes[place].rest.clone());
    let mut granted = 0;
    for round in 0..60 {
        let (name, key) = (format!("again/{round}"), format!("round-{round}"));
        let path = format!("/api/v1/locks/{}", percent(&name));
        let held = first.post("/api/v1/locks", &json!({"name": name, "ttl_ms": 60_000})).await.expect(201);
        let wanted = json!({"name": name, "ttl_ms": 60_000, "wait_ms": 10_000});
        let waiting = tokio::spawn({
            let (second, wanted, key) = (second.clone(), wanted.clone(), key.clone());
            async move { second.post_with_key("/api/v1/locks", &key, &wanted).await }
        });
        eventually("the wait is queued", || async {
            let lock = first.get(&path).await;
            (lock.body["waiter_count"] == 1).then_some(())
        })
        .await;
        waiting.abort();
        let release = format!("{path}?lock_id={}", held.text("lock_id"));
        let (again, _) =
            tokio::join!(third.post_with_key("/api/v1/locks", &key, &wanted), first.delete(&release));
        let again = again.expect("the third node answers");
        if again.status != 201 {
            assert_eq!(again.code(), "wait_cancelled", "{again:?}");
            continue;
        }
        granted += 1;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let token = again.number("fencing_token");
        let check = third.get(&format!("{path}/check?fencing_token={token}")).await.expect(200);
        assert_eq!(check.body["current"], true, "round {round}: {again:?}, and then {check:?}");
    }
    assert!(granted > 0, "the wait was always withdrawn first, which proves nothing");
    cluster.converged().await;
}
