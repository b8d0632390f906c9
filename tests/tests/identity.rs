//! Node identity: second processes of one node, data of another cluster, missing files, and removed nodes.

use std::time::{Duration, Instant};

use batuta_tests::{Cluster, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A limit far below the timeouts of the calls in these tests.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Waits until a node answers that it is not ready for this reason.
async fn not_ready(cluster: &Cluster, place: usize, what: &str) {
    let node = &cluster.nodes[place];
    eventually(&format!("{} is not ready: {what}", node.name), || async {
        let answer = node.rest.try_send("GET", "/api/v1/cluster", &[], None).await.ok()?;
        answer.body["not_ready_reason"].as_str()?.contains(what).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn second_process_of_a_node_is_refused() {
    let mut cluster = Cluster::start(0).await;
    cluster.keep_logs();
    for name in ["n1", "n2", "n3"] {
        cluster.add(name);
    }
    for place in 0..3 {
        cluster.launch(place, &[]);
    }
    for node in &cluster.nodes {
        node.ready().await;
    }
    let original = cluster.follower().await;
    // If both started together, either process might stay.
    eventually("the original process is the older one", || async {
        (cluster.nodes[original].status().await["uptime_ms"].as_u64() > Some(1_000)).then_some(())
    })
    .await;
    let copy = cluster.copy(original);
    let others: Vec<usize> = (0..3).filter(|&place| place != original).collect();
    // The copy is configured with its own address and one other member.
    let peers = cluster.peers(&[copy, others[0]]);
    cluster.spawn(copy, &[&peers]);
    assert_ne!(cluster.nodes[copy].ends().await, Some(0));
    let (first, second) = (cluster.nodes[original].peer_address(), cluster.nodes[copy].peer_address());
    for place in [original, copy] {
        let log = cluster.nodes[place].log();
        for part in ["two processes are node", &first, &second] {
            assert!(log.contains(part), "{} does not say {part}: {log}", cluster.nodes[place].name);
        }
    }
    cluster.take(original, "after").await;
    cluster.nodes.truncate(3);
    cluster.converged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_one_of_two_processes_continues() {
    let mut cluster = Cluster::start(3).await;
    cluster.keep_logs();
    let original = cluster.follower().await;
    cluster.nodes[original].kill();
    let copy = cluster.copy(original);
    let peers = |own: usize| {
        let mut places: Vec<usize> = (0..3).filter(|&place| place != original).collect();
        places.push(own);
        places
    };
    let (first, second) = (cluster.peers(&peers(original)), cluster.peers(&peers(copy)));
    cluster.spawn(original, &[&first]);
    cluster.spawn(copy, &[&second]);
    at_most_one_goes_on(&cluster, original, copy).await;
}

/// Checks that one of two processes of a node ends. The other is a working member, unless the first has already acknowledged an entry that
/// the other never had: a copy without that entry must not go on, so the other process ends as well, with that reason.
async fn at_most_one_goes_on(cluster: &Cluster, original: usize, copy: usize) {
    let ended = eventually("one of the two ends", || async {
        [original, copy].into_iter().find(|&place| cluster.nodes[place].ended())
    })
    .await;
    let other = if ended == original { copy } else { original };
    let node = &cluster.nodes[other];
    let works = eventually("the other process is ready or ends", || async {
        if node.ended() {
            return Some(false);
        }
        let answer = node.rest.try_send("GET", "/readyz", &[], None).await.ok()?;
        (answer.status == 200).then_some(true)
    })
    .await;
    if works {
        cluster.take(other, "after").await;
    } else {
        let log = node.log();
        assert!(
            log.contains("but it had acknowledged entry"),
            "{} ended for another reason: {log}",
            node.name
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn node_with_a_paused_old_process_starts_elsewhere() {
    let mut cluster = Cluster::start(3).await;
    cluster.keep_logs();
    let original = cluster.follower().await;
    cluster.nodes[original].signal(Signal::STOP);
    let copy = cluster.copy(original);
    let mut places: Vec<usize> = (0..3).filter(|&place| place != original).collect();
    places.push(copy);
    let peers = cluster.peers(&places);
    cluster.spawn(copy, &[&peers]);
    cluster.nodes[copy].ready().await;
    cluster.nodes[original].signal(Signal::CONT);
    // The new process is safe one second after the others accepted it as the member; until then the old process may win.
    at_most_one_goes_on(&cluster, original, copy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_refuses_data_of_another_cluster() {
    let a = Cluster::start(3).await;
    let mut b = Cluster::start(3).await;
    let id = |status: Value| status["cluster_id"].as_str().expect("an id").to_owned();
    let (cluster_a, cluster_b) = (id(a.nodes[0].status().await), id(b.nodes[0].status().await));
    let place = b.follower().await;
    b.nodes[place].kill();
    b.keep_logs();
    let own = b.nodes[place].peer_address();
    let name = b.nodes[place].name.clone();
    let join = format!("--join={}", a.nodes[0].peer_address());
    let (x, y) = (a.nodes[1].peer_address(), a.nodes[2].peer_address());
    let peers = format!("--peers={name}={own},x={x},y={y}");
    for arguments in [join, peers] {
        b.spawn(place, &[&arguments]);
        assert_ne!(b.nodes[place].ends().await, Some(0), "{arguments}");
        let log = b.nodes[place].log();
        assert!(log.contains(&cluster_a) && log.contains(&cluster_b), "the log names both clusters: {log}");
    }
    // One wrong address among correct ones is reported and does no harm.
    let right = (0..3).find(|&other| other != place).expect("another");
    let peers = format!("{},x={x}", b.peers(&[place, right]));
    b.spawn(place, &[&peers]);
    b.nodes[place].says("belongs to another cluster").await;
    b.nodes[place].ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_without_a_cluster_to_join_says_so() {
    let mut cluster = Cluster::start(0).await;
    cluster.keep_logs();
    let place = cluster.add("n1");
    let nobody = cluster.add("nobody");
    let address = cluster.nodes[nobody].peer_address();
    cluster.spawn(place, &[&format!("--join={address},no-such-host.invalid:7100")]);
    cluster.nodes[place].says(&format!("{address}: connection refused")).await;
    cluster.nodes[place].says("no-such-host.invalid:7100").await;
    not_ready(&cluster, place, &format!("{address}: connection refused")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_founders_are_named() {
    let mut cluster = Cluster::start(0).await;
    cluster.keep_logs();
    for name in ["n1", "n2", "n3"] {
        cluster.add(name);
    }
    cluster.launch(0, &[]);
    cluster.launch(1, &[]);
    let missing = format!("n3 at {}: connection refused", cluster.nodes[2].peer_address());
    for place in [0, 1] {
        cluster.nodes[place].says(&missing).await;
        not_ready(&cluster, place, &missing).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn node_without_identity_or_snapshot_does_not_start() {
    let mut cluster = Cluster::start_with(3, &["--set=raft.snapshot_entries=10"]).await;
    let place = cluster.follower().await;
    for number in 0..40 {
        cluster.take(place, &format!("many/{number}")).await;
    }
    let _ = cluster.nodes[place].rest.post("/api/v1/cluster/snapshot", &json!({})).await.expect(200);
    eventually("log entries are purged", || async {
        cluster.nodes[place].status().await["purged_index"].as_u64().filter(|purged| *purged > 0)
    })
    .await;
    let known = cluster.nodes[0].status().await["members"].clone();
    cluster.nodes[place].kill();
    let data_dir = cluster.nodes[place].data_dir.clone();

    let (identity, aside) = (data_dir.join("identity"), data_dir.join("identity.aside"));
    std::fs::rename(&identity, &aside).expect("moved");
    let said = cluster.refuses_to_start(place, "--log-level=warn");
    assert!(said.contains("identity") && said.contains("missing"), "{said}");
    assert!(said.contains("joins again"), "says what to do: {said}");
    std::fs::rename(&aside, &identity).expect("moved");

    let snapshots = data_dir.join("snapshots");
    std::fs::rename(&snapshots, data_dir.join("aside")).expect("moved");
    let said = cluster.refuses_to_start(place, "--log-level=warn");
    assert!(said.contains("there is no snapshot") && said.contains("joins again"), "{said}");
    std::fs::remove_dir_all(&snapshots).expect("the new snapshots");
    std::fs::rename(data_dir.join("aside"), &snapshots).expect("moved");

    // An unfinished snapshot does not matter.
    std::fs::write(snapshots.join("snapshot-9-9.tmp"), "").expect("written");
    cluster.launch(place, &[]);
    cluster.nodes[place].ready().await;
    let ids = |members: &Value| -> Vec<u64> {
        let members = members.as_array().expect("members");
        members.iter().filter_map(|member| member["node_id"].as_u64()).collect()
    };
    let now = cluster.nodes[0].status().await["members"].clone();
    assert_eq!(ids(&now), ids(&known), "the cluster is as it was");
}

/// Removes a node, and waits until the node knows.
async fn remove(cluster: &Cluster, place: usize) {
    let name = &cluster.nodes[place].name;
    let by = (0..cluster.nodes.len()).find(|&other| other != place).expect("another");
    let removed = cluster.nodes[by].rest.delete(&format!("/api/v1/cluster/members/{name}")).await;
    assert_eq!(removed.status, 200, "{removed:?}");
    not_ready(cluster, place, "was removed from the cluster").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_node_refuses_every_call_at_once() {
    let mut cluster = Cluster::start(3).await;
    let place = cluster.follower().await;
    let holder = cluster.leader().await;
    cluster.take(holder, "held").await;
    let rest = cluster.nodes[place].rest.clone();
    let waiting = tokio::spawn({
        let rest = rest.clone();
        async move {
            let body = json!({"name": "held", "ttl_ms": 60_000, "wait_ms": 25_000});
            rest.post("/api/v1/locks", &body).await
        }
    });
    eventually("the wait is queued", || async {
        (cluster.nodes[holder].status().await["waiters"] == 1).then_some(())
    })
    .await;
    remove(&cluster, place).await;
    let waited = waiting.await.expect("it is answered");
    assert_eq!((waited.status, waited.code()), (503, "node_removed"), "{waited:?}");

    let lock = json!({"name": "x", "ttl_ms": 1000});
    let another = format!("/api/v1/cluster/members/{}", cluster.nodes[holder].name);
    let calls: [(&str, &str, Option<&Value>); 6] = [
        ("POST", "/api/v1/locks", Some(&lock)),
        ("GET", "/api/v1/locks/held", None),
        ("GET", "/api/v1/locks/held?consistency=stale", None),
        ("GET", "/api/v1/locks", None),
        ("GET", "/api/v1/watch?from_revision=1", None),
        ("DELETE", &another, None),
    ];
    // Also after a restart, when other members have to tell it.
    for again in [false, true] {
        if again {
            cluster.nodes[place].kill();
            cluster.launch(place, &[]);
            not_ready(&cluster, place, "was removed from the cluster").await;
        }
        for (method, path, body) in calls {
            let begun = Instant::now();
            let answer = rest.try_send(method, path, &[], body).await.expect("an answer");
            assert_eq!((answer.status, answer.code()), (503, "node_removed"), "{method} {path}: {answer:?}");
            assert!(begun.elapsed() < AT_ONCE, "{method} {path} took {:?}", begun.elapsed());
        }
        let _ = rest.get("/livez").await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_node_does_not_return_by_moving() {
    let mut cluster = Cluster::start(3).await;
    let place = cluster.follower().await;
    cluster.nodes[place].kill();
    let by = cluster.leader().await;
    let name = cluster.nodes[place].name.clone();
    let _ = cluster.nodes[by].rest.delete(&format!("/api/v1/cluster/members/{name}")).await.expect(200);
    cluster.move_peer(place);
    cluster.launch(place, &[]);
    not_ready(&cluster, place, "was removed from the cluster").await;
    let members = cluster.nodes[by].status().await["members"].clone();
    assert_eq!(members.as_array().map(Vec::len), Some(2), "{members}");
}
