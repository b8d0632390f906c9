//! kill -9, restart and leadership transfer: nothing acknowledged is lost, and tokens only rise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use batuta_tests::{Cluster, Rest, eventually};
use serde_json::json;

/// Takes one lock after another until `stop` is set, each under its own key, through whichever node answers.
/// Returns every acknowledged grant: name → token.
async fn acquire_until(
    nodes: Vec<Rest>,
    worker: usize,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
) -> BTreeMap<String, u64> {
    let mut grants = BTreeMap::new();
    let mut turn = worker;
    for number in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let name = format!("w{worker}/{number}");
        let key = format!("key-{worker}-{number}");
        let body = json!({"name": name, "ttl_ms": 3_600_000});
        let answer = eventually(&format!("{name} is granted"), || {
            turn += 1;
            let rest = nodes[turn % nodes.len()].clone();
            let (key, body) = (key.clone(), body.clone());
            async move { rest.post_with_key("/api/v1/locks", &key, &body).await }
        })
        .await;
        assert_eq!(answer.status, 201, "a fresh name under a fresh key is granted: {answer:?}");
        grants.insert(name, answer.number("fencing_token"));
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
    grants
}

/// Checks that every acknowledged grant is there with its token, that no token occurs twice, and that the tokens of each worker rise.
async fn assert_all_there(rest: &Rest, grants: &[BTreeMap<String, u64>]) {
    let mut tokens = BTreeMap::new();
    for (name, token) in grants.iter().flatten() {
        assert_eq!(tokens.insert(*token, name), None, "token {token} was issued twice");
        let seen = rest.get(&format!("/api/v1/locks/{}", name.replace('/', "%2F"))).await.expect(200);
        assert_eq!(seen.body["holders"][0]["fencing_token"].as_u64(), Some(*token), "{name}: {seen:?}");
    }
    for worker in grants {
        let mut in_order: Vec<(u64, u64)> = worker
            .iter()
            .map(|(name, token)| {
                (name.rsplit('/').next().and_then(|n| n.parse().ok()).expect("a number"), *token)
            })
            .collect();
        in_order.sort_unstable();
        assert!(in_order.windows(2).all(|pair| pair[0].1 < pair[1].1), "tokens fell: {in_order:?}");
    }
}

async fn under_load(cluster: &mut Cluster, fault: impl AsyncFnOnce(&mut Cluster)) {
    let nodes: Vec<Rest> = cluster.nodes.iter().map(|node| node.rest.clone()).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0..4)
        .map(|worker| tokio::spawn(acquire_until(nodes.clone(), worker, stop.clone(), acknowledged.clone())))
        .collect();
    let more_than = |count: u64| {
        let acknowledged = acknowledged.clone();
        async move {
            eventually("the load goes on", || async {
                (acknowledged.load(Ordering::SeqCst) > count).then_some(())
            })
            .await;
        }
    };
    more_than(20).await;
    fault(cluster).await;
    more_than(acknowledged.load(Ordering::SeqCst) + 20).await;
    stop.store(true, Ordering::SeqCst);
    let mut grants = Vec::new();
    for worker in workers {
        grants.push(worker.await.expect("a worker"));
    }
    let reader = cluster.leader().await;
    assert_all_there(&cluster.nodes[reader].rest, &grants).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_killed_under_load() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    under_load(&mut cluster, async |cluster| cluster.nodes[leader].kill()).await;
    cluster.launch(leader, &[]);
    cluster.nodes[leader].ready().await;
    cluster.converged().await;
}

/// The election timeout is longer than the test waits, so only the refused connection can start the election.
#[tokio::test(flavor = "multi_thread")]
async fn dead_leader_is_replaced_before_the_election_timeout() {
    let slow = ["--set=raft.election_timeout_ms_min=60000", "--set=raft.election_timeout_ms_max=120000"];
    let mut cluster = Cluster::start_with(3, &slow).await;
    for round in 0..2 {
        let leader = cluster.leader().await;
        under_load(&mut cluster, async |cluster| cluster.nodes[leader].kill()).await;
        let next = cluster.leader().await;
        assert_ne!(next, leader, "round {round}");
        cluster.launch(leader, &[]);
        cluster.nodes[leader].ready().await;
    }
    cluster.converged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_is_killed_under_load() {
    let mut cluster = Cluster::start(3).await;
    let follower = cluster.follower().await;
    under_load(&mut cluster, async |cluster| cluster.nodes[follower].kill()).await;
    cluster.launch(follower, &[]);
    cluster.nodes[follower].ready().await;
    cluster.converged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_killed_nodes_start_again() {
    let mut cluster = Cluster::start(3).await;
    under_load(&mut cluster, async |cluster| {
        for node in &mut cluster.nodes {
            node.kill();
        }
        for place in 0..3 {
            cluster.launch(place, &[]);
        }
    })
    .await;
    cluster.converged().await;
}

/// An entry that a leader sent before it was killed may be missing on its own disk. If the leader led again in the same term, it would
/// give the same log id to another entry, and two nodes would apply different histories.
#[tokio::test(flavor = "multi_thread")]
async fn restarted_leader_leads_only_in_a_later_term() {
    let mut cluster = Cluster::start(3).await;
    for round in 0..3 {
        let leader = cluster.leader().await;
        let led = cluster.nodes[leader].status().await["term"].as_u64().expect("a term");
        cluster.nodes[leader].kill();
        cluster.launch(leader, &[]);
        let body = json!({"name": format!("round {round}"), "ttl_ms": 3_600_000});
        let rest = cluster.nodes[leader].rest.clone();
        let _ = eventually("the node accepts writes again", || {
            let (rest, body) = (rest.clone(), body.clone());
            async move { rest.post_with_key("/api/v1/locks", &format!("round {round}"), &body).await }
        })
        .await
        .expect(201);
        let term = cluster.nodes[leader].status().await["term"].as_u64().expect("a term");
        assert!(term > led, "term {led} went on after its leader was killed");
    }
    cluster.converged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_restart_loses_nothing_and_stops_in_time() {
    let mut cluster = Cluster::start(3).await;
    under_load(&mut cluster, async |cluster| {
        for place in 0..3 {
            let (code, took) = cluster.nodes[place].stop().await;
            assert_eq!(code, Some(0), "a node that is asked to stop exits with 0");
            assert!(took < Duration::from_secs(15), "a stop should take less than 10 s, and took {took:?}");
            cluster.launch(place, &[]);
            cluster.nodes[place].ready().await;
        }
    })
    .await;
    cluster.converged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn same_key_gives_the_same_lock_after_failover() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let body = json!({"name": "once", "ttl_ms": 3_600_000});
    let first =
        cluster.nodes[leader].rest.post_with_key("/api/v1/locks", "k1", &body).await.expect("an answer");
    cluster.nodes[leader].kill();
    let survivor = cluster.leader().await;
    let again = eventually("the retry is answered", || {
        let rest = cluster.nodes[survivor].rest.clone();
        let body = body.clone();
        async move { rest.post_with_key("/api/v1/locks", "k1", &body).await }
    })
    .await
    .expect(201);
    assert_eq!(again.text("lock_id"), first.text("lock_id"));
    assert_eq!(again.number("fencing_token"), first.number("fencing_token"));
    let other =
        eventually("another request under the key is answered", || {
            let rest = cluster.nodes[survivor].rest.clone();
            async move {
                rest.post_with_key("/api/v1/locks", "k1", &json!({"name": "other", "ttl_ms": 1000})).await
            }
        })
        .await;
    assert_eq!(other.code(), "key_reused", "{other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_stale_reads_and_livez_work_without_majority() {
    let mut cluster = Cluster::start(3).await;
    let _ = cluster.nodes[0]
        .rest
        .post("/api/v1/locks", &json!({"name": "seen", "ttl_ms": 3_600_000}))
        .await
        .expect(201);
    cluster.converged().await;
    let (survivor, others) = (0, [1, 2]);
    for place in others {
        cluster.nodes[place].kill();
    }
    let rest = &cluster.nodes[survivor].rest;
    let refused = rest.post("/api/v1/locks", &json!({"name": "new", "ttl_ms": 60_000})).await;
    assert!(
        ["no_leader", "outcome_unknown"].contains(&refused.code()),
        "without a majority there is no grant, and no claim that the request failed: {refused:?}"
    );
    let stale = rest.get("/api/v1/locks/seen?consistency=stale").await.expect(200);
    assert!(stale.number("revision") > 0);
    let _ = rest.get("/livez").await.expect(200);
    eventually("the lone node says it is not ready", || async {
        (rest.get("/readyz").await.status == 503).then_some(())
    })
    .await;
}
