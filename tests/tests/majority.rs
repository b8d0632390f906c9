//! The answers of a node with and without contact to a majority; and that an election extends no TTL.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use batuta_tests::{Answer, Cluster, PATIENCE, Rest, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

const TTL_MS: u64 = 600_000;

async fn acquire(rest: &Rest, name: &str, ttl_ms: u64) -> Answer {
    let (key, body) = (format!("key-{name}"), json!({"name": name, "ttl_ms": ttl_ms}));
    let what = format!("{name} is granted");
    let answer = eventually(&what, || async {
        let answer = rest.post_with_key("/api/v1/locks", &key, &body).await?;
        (answer.status == 201).then_some(answer)
    });
    answer.await
}

async fn remaining_ms(rest: &Rest, name: &str) -> u64 {
    eventually(&format!("{name} is shown"), || async {
        let answer = rest.try_send("GET", &format!("/api/v1/locks/{name}"), &[], None).await.ok()?;
        answer.body["holders"][0]["remaining_ms"].as_u64()
    })
    .await
}

/// Cluster time between two grants with the same TTL, from their deadlines, in milliseconds.
async fn between_ms(rest: &Rest, first: &str, second: &str) -> u64 {
    let body = eventually("both locks are shown", || async {
        let answer = rest.try_send("GET", "/api/v1/locks", &[], None).await.ok()?;
        (answer.status == 200).then_some(answer.body)
    })
    .await;
    let locks = body["locks"].as_array().expect("a page of locks").clone();
    let of = |name: &str| {
        let lock = locks.iter().find(|lock| lock["name"] == name).expect("the lock");
        lock["holders"][0]["remaining_ms"].as_u64().expect("a deadline")
    };
    of(second).saturating_sub(of(first))
}

/// How the leader loses leadership.
#[derive(Clone, Copy, Debug)]
enum Goes {
    Killed,
    Stopped,
    HandsOver,
}

async fn time_goes_on_when_the_leader(goes: Goes) {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let other = cluster.follower().await;
    acquire(&cluster.nodes[other].rest, "first", TTL_MS).await;
    // Nothing is written in the meantime.
    let lived_ms = eventually("some seconds of cluster time have passed", || async {
        let lived_ms = TTL_MS - remaining_ms(&cluster.nodes[leader].rest, "first").await;
        (lived_ms >= 4_000).then_some(lived_ms)
    })
    .await;
    match goes {
        Goes::Killed => cluster.nodes[leader].kill(),
        Goes::Stopped => drop(cluster.nodes[leader].stop().await),
        Goes::HandsOver => {
            let name = cluster.nodes[other].name.clone();
            let to = json!({"member": name});
            let _ = cluster.nodes[other].rest.post("/api/v1/cluster/transfer-leader", &to).await.expect(200);
        }
    }
    let rest = &cluster.nodes[other].rest;
    acquire(rest, "second", TTL_MS).await;
    let between_ms = between_ms(rest, "first", "second").await;
    // The time between the last heartbeat and the leader's end may be lost, which is less than an election takes.
    assert!(
        between_ms + 1_500 >= lived_ms,
        "{goes:?}: {lived_ms} ms had passed, {between_ms} ms are left of them"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_leader_loses_no_cluster_time() {
    time_goes_on_when_the_leader(Goes::Killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_leader_loses_no_cluster_time() {
    time_goes_on_when_the_leader(Goes::Stopped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_transfer_loses_no_cluster_time() {
    time_goes_on_when_the_leader(Goes::HandsOver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_of_all_nodes_loses_little_time() {
    let mut cluster = Cluster::start(3).await;
    let place = cluster.follower().await;
    acquire(&cluster.nodes[place].rest, "first", TTL_MS).await;
    let before_ms = eventually("15 seconds of cluster time have passed", || async {
        let lived_ms = TTL_MS - remaining_ms(&cluster.nodes[place].rest, "first").await;
        (lived_ms >= 15_000).then_some(lived_ms)
    })
    .await;
    for node in &mut cluster.nodes {
        node.kill();
    }
    for place in 0..3 {
        cluster.launch(place, &[]);
    }
    acquire(&cluster.nodes[place].rest, "second", TTL_MS).await;
    let between_ms = between_ms(&cluster.nodes[place].rest, "first", "second").await;
    assert!(between_ms + 11_000 >= before_ms, "{before_ms} ms had passed, {between_ms} ms are left of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn remaining_time_counts_from_now() {
    let cluster = Cluster::start(3).await;
    for node in &cluster.nodes {
        acquire(&node.rest, &node.name, TTL_MS).await;
    }
    for node in &cluster.nodes {
        eventually("cluster time passes although nothing is written", || async {
            let at = cluster.nodes[0].status().await["last_log_index"].as_u64();
            let passed = TTL_MS - remaining_ms(&node.rest, &node.name).await >= 3_000;
            (passed && at.is_some()).then_some(())
        })
        .await;
    }
}

/// Waits for the answer to a call with a timeout of a minute, which must come much earlier.
async fn answered_early<E: std::fmt::Debug>(
    what: &str,
    call: impl Future<Output = Result<Answer, E>>,
) -> Answer {
    let answer = tokio::time::timeout(PATIENCE / 3, call).await;
    answer.unwrap_or_else(|_| panic!("{what} hangs")).unwrap_or_else(|error| panic!("{what}: {error:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_without_a_majority_are_refused_at_once() {
    let mut cluster = Cluster::start_with(3, &["--set=limits.request_timeout_ms=60000"]).await;
    for survivor_leads in [true, false] {
        let leader = cluster.leader().await;
        let survivor = if survivor_leads { leader } else { cluster.follower().await };
        let opened = json!({"ttl_ms": 600_000});
        let session = eventually("a session is opened", || async {
            let answer = cluster.nodes[survivor].rest.post_with_key("/api/v1/sessions", "s", &opened).await?;
            (answer.status == 201).then_some(answer)
        })
        .await;
        let session = session.text("session_id").to_owned();
        for place in (0..3).filter(|place| *place != survivor) {
            cluster.nodes[place].kill();
        }
        let rest = &cluster.nodes[survivor].rest;
        eventually("the node knows that no majority answers", || async {
            let answer = rest.try_send("GET", "/readyz", &[], None).await.ok()?;
            (answer.status == 503).then_some(())
        })
        .await;
        let body = json!({"name": "a", "ttl_ms": 1000});
        let keep_alive = format!("/api/v1/sessions/{session}/keep-alive");
        let write = answered_early("a write", rest.try_send("POST", "/api/v1/locks", &[], Some(&body))).await;
        let read = answered_early("a read", rest.try_send("GET", "/api/v1/locks/a", &[], None)).await;
        let kept = answered_early("a keep-alive", rest.try_send("PUT", &keep_alive, &[], None)).await;
        for (what, answer) in [("write", write), ("read", read), ("keep-alive", kept)] {
            // A call made before the leader noticed may have been proposed.
            assert_eq!(answer.code(), "no_leader", "survivor leads: {survivor_leads}, {what}: {answer:?}");
            assert_eq!(answer.body["retryable"], Value::Bool(true), "{what}: {answer:?}");
        }
        for place in (0..3).filter(|place| *place != survivor) {
            cluster.launch(place, &[]);
        }
        for node in &cluster.nodes {
            node.ready().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn node_without_contact_is_not_ready() {
    let mut cluster = Cluster::start(3).await;
    for node in &mut cluster.nodes {
        node.kill();
    }
    for place in 0..3 {
        cluster.launch(place, &[]);
        let rest = &cluster.nodes[place].rest;
        let first =
            eventually("it answers", || async { rest.try_send("GET", "/readyz", &[], None).await.ok() })
                .await;
        assert_eq!(first.status, 503, "{first:?}");
        for _ in 0..40 {
            let answer = rest.try_send("GET", "/readyz", &[], None).await.expect("it answers");
            assert_eq!(answer.status, 503, "{answer:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        cluster.nodes[place].kill();
    }
}

/// Writes through a node until `stop` is set. Returns how many writes were acknowledged.
async fn write_until(rest: Rest, worker: usize, stop: Arc<AtomicBool>) -> u64 {
    let mut done = 0;
    while !stop.load(Ordering::SeqCst) {
        let body = json!({"name": format!("load/{worker}/{done}"), "ttl_ms": 3_600_000});
        if rest
            .try_send("POST", "/api/v1/locks", &[], Some(&body))
            .await
            .is_ok_and(|answer| answer.status == 201)
        {
            done += 1;
        }
    }
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn returning_follower_is_ready_only_once_it_follows() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.follower().await;
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..8)
        .map(|worker| tokio::spawn(write_until(cluster.nodes[leader].rest.clone(), worker, stop.clone())))
        .collect();
    let away = cluster.nodes[follower].status().await["applied_index"].as_u64().expect("an index");
    cluster.nodes[follower].signal(Signal::STOP);
    let ahead = eventually("the other nodes are far ahead", || async {
        let applied = cluster.nodes[leader].status().await["applied_index"].as_u64()?;
        (applied > away + 600).then_some(applied)
    })
    .await;
    cluster.nodes[follower].signal(Signal::CONT);
    let applied = eventually("the follower is ready again", || async {
        let ready = cluster.nodes[follower].rest.try_send("GET", "/readyz", &[], None).await.ok()?;
        if ready.status != 200 {
            return None;
        }
        cluster.nodes[follower].status().await["applied_index"].as_u64()
    })
    .await;
    assert!(applied + 128 >= ahead, "ready at {applied}, the others were at {ahead} before it came back");
    stop.store(true, Ordering::SeqCst);
    for worker in load {
        assert!(worker.await.expect("a worker") > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_is_removed_while_followers_return() {
    let mut cluster = Cluster::start(5).await;
    let leader = cluster.leader().await;
    let away: Vec<usize> = (0..5).filter(|place| *place != leader).take(2).collect();
    for place in &away {
        cluster.nodes[*place].kill();
    }
    for number in 0..50 {
        acquire(&cluster.nodes[leader].rest, &format!("while-away/{number}"), TTL_MS).await;
    }
    for place in &away {
        cluster.launch(*place, &[]);
    }
    let asked = (0..5).find(|place| *place != leader && !away.contains(place)).expect("five nodes");
    let path = format!("/api/v1/cluster/members/{}", cluster.nodes[leader].name);
    let removed = cluster.nodes[asked].rest.delete(&path).await;
    assert_eq!(removed.status, 200, "{removed:?}");
    acquire(&cluster.nodes[asked].rest, "after", TTL_MS).await;
    let members = cluster.nodes[asked].status().await["members"].as_array().expect("members").len();
    assert_eq!(members, 4);
}
