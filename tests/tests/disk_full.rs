//! A disk that fills up: requests that add to the state are refused before the log is harmed, everything else works, and writes are
//! accepted again when there is room. When another voter has room, it takes over leadership and nothing is refused.

use std::time::Duration;

use batuta_proto::v1;
use batuta_proto::v1::hold_request::Request as Hold;
use batuta_proto::v1::hold_response::Event;
use batuta_proto::v1::lock_service_client::LockServiceClient;
use batuta_tests::{Cluster, PATIENCE, Rest, SmallDisk, eventually};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tonic::Streaming;
use tonic::transport::Channel;

/// A lock held over a stream.
struct Held {
    requests: mpsc::Sender<v1::HoldRequest>,
    answers: Streaming<v1::HoldResponse>,
}

impl Held {
    async fn open(grpc: &str) -> Self {
        let (requests, receiver) = mpsc::channel(4);
        let channel = Channel::from_shared(grpc.to_owned()).expect("a URL").connect_lazy();
        let locks = vec![v1::LockRequest { name: "over-a-stream".to_owned(), ..Default::default() }];
        let acquire = v1::AcquireRequest { locks, ttl_ms: Some(3_600_000), ..Default::default() };
        requests.send(v1::HoldRequest { request: Some(Hold::Acquire(acquire)) }).await.expect("room");
        let stream = stream::unfold(receiver, |mut receiver: mpsc::Receiver<_>| async {
            receiver.recv().await.map(|request| (request, receiver))
        });
        let answers = LockServiceClient::new(channel).hold(stream).await.expect("opens").into_inner();
        let mut held = Self { requests, answers };
        assert!(matches!(held.event().await, Event::Granted(_)));
        held
    }

    async fn event(&mut self) -> Event {
        let answer = tokio::time::timeout(PATIENCE, self.answers.message()).await.expect("in time");
        answer.expect("the stream goes on").and_then(|answer| answer.event).expect("an event")
    }

    async fn keep_alive(&mut self) -> Event {
        let request = Some(Hold::KeepAlive(v1::HoldKeepAlive {}));
        self.requests.send(v1::HoldRequest { request }).await.expect("room");
        self.event().await
    }
}

/// Checks that a node whose disk is nearly full accepts every request that reads, renews, changes or removes existing state.
async fn nothing_else_is_refused(rest: &Rest, kept: &Value, held: &mut Held) {
    let longer = json!({"lock_id": kept["lock_id"], "ttl_ms": 7_200_000});
    let extended = rest.put("/api/v1/locks/kept/extend", &longer).await.expect(200);
    assert_eq!(extended.number("ttl_ms"), 7_200_000);
    let Event::Kept(_) = held.keep_alive().await else { panic!("the keep-alive is accepted") };
    let token = kept["fencing_token"].as_u64().expect("a token");
    let newer = json!({"fencing_token": token + 1});
    let _ = rest.put("/api/v1/registers/old", &newer).await.expect(200);
    assert_eq!(rest.put("/api/v1/registers/new", &newer).await.expect(507).code(), "disk_full");
    let limit = json!({"limits": [{"name": "waiters_per_lock_max", "value": 9_000}]});
    let _ = rest.put("/api/v1/cluster/limits", &limit).await.expect(200);
    let check = format!("/api/v1/locks/kept/check?fencing_token={token}");
    assert_eq!(rest.get(&check).await.expect(200).body["current"], true);
}

/// Checks that status and probes report that writes are refused, and that the node stays ready.
async fn says_that_writes_are_refused(rest: &Rest) {
    for path in ["/readyz", "/healthz", "/api/v1/cluster"] {
        let told = rest.get(path).await.expect(200).body;
        let reason = told["writes_refused_reason"].as_str().unwrap_or_else(|| panic!("{path}: {told}"));
        assert!(reason.contains("disk"), "{path}: {reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disk_refuses_writes_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount(64 << 20) else { return };
    let mut cluster = Cluster::start_with(0, &["--set=storage.disk_free_min_bytes=16777216"]).await;
    let place = cluster.add("n1");
    cluster.place(place, disk.path().join("data"));
    cluster.launch(place, &[]);
    cluster.nodes[place].ready().await;
    let rest = cluster.nodes[place].rest.clone();
    let take = |name: &'static str| {
        let rest = rest.clone();
        async move { rest.post("/api/v1/locks", &json!({"name": name, "ttl_ms": 3_600_000})).await }
    };
    let kept = take("kept").await.expect(201);
    let given_back = take("given-back").await.expect(201);
    let mut held = Held::open(&cluster.nodes[place].grpc).await;
    let token = kept.number("fencing_token");
    let _ = rest.put("/api/v1/registers/old", &json!({"fencing_token": token})).await.expect(200);
    let wanted = json!({"name": "keyed", "ttl_ms": 3_600_000});
    let keyed = || rest.try_send("POST", "/api/v1/locks", &[("idempotency-key", "k")], Some(&wanted));
    let first = keyed().await.expect("answers").expect(201);

    let filler = disk.path().join("filler");
    std::fs::write(&filler, vec![1; 44 << 20]).expect("there is room for the filler");
    let refused = eventually("writes are refused", || async {
        let answer = take("refused").await;
        (answer.status >= 500).then_some(answer)
    })
    .await;
    assert_eq!(refused.code(), "disk_full", "{refused:?}");
    let again = keyed().await.expect("answers").expect(201);
    assert_eq!(again.body["lock_id"], first.body["lock_id"], "a retry adds nothing");
    says_that_writes_are_refused(&rest).await;
    nothing_else_is_refused(&rest, &kept.body, &mut held).await;
    let released = format!("/api/v1/locks/given-back?lock_id={}", given_back.text("lock_id"));
    let _ = rest.delete(&released).await.expect(200);
    let _ = rest.get("/api/v1/locks/kept").await.expect(200);

    std::fs::remove_file(&filler).expect("the filler is removed");
    let _ = eventually("writes are accepted again", || async {
        let answer = take("after").await;
        (answer.status == 201).then_some(answer)
    })
    .await;
    cluster.nodes[place].kill();
    cluster.launch(place, &[]);
    cluster.nodes[place].ready().await;
    let seen = rest.get("/api/v1/locks/kept").await.expect(200);
    assert_eq!(seen.body["holders"][0]["fencing_token"], kept.number("fencing_token"));
    assert_eq!(rest.get("/api/v1/locks/given-back").await.status, 404);
    assert_eq!(rest.get("/readyz").await.expect(200).body.get("writes_refused_reason"), None);
    drop(held);
    drop(cluster);
}

fn fill(disk: &SmallDisk) {
    std::fs::write(disk.path().join("filler"), vec![1; 44 << 20]).expect("there is room for the filler");
}

fn empty(disk: &SmallDisk) {
    std::fs::remove_file(disk.path().join("filler")).expect("the filler is removed");
}

/// Takes a new lock through each node, and returns the status codes.
async fn take_over_every_node(cluster: &Cluster, round: &str) -> Vec<u16> {
    let mut statuses = Vec::new();
    for node in &cluster.nodes {
        let lock = json!({"name": format!("{round}/{}", node.name), "ttl_ms": 3_600_000});
        statuses.push(node.rest.post("/api/v1/locks", &lock).await.status);
    }
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn voter_with_room_replaces_a_full_leader() {
    let mut disks = Vec::new();
    let mut cluster = Cluster::start_with(0, &["--set=storage.disk_free_min_bytes=16777216"]).await;
    for name in ["n1", "n2", "n3"] {
        let Some(disk) = SmallDisk::mount(64 << 20) else { return };
        let place = cluster.add(name);
        cluster.place(place, disk.path().join("data"));
        disks.push(disk);
    }
    for place in 0..3 {
        cluster.launch(place, &[]);
    }
    for node in &cluster.nodes {
        node.ready().await;
    }
    let first = cluster.leader().await;
    fill(&disks[first]);
    let second = eventually("another node leads", || async {
        let leader = cluster.leader().await;
        (leader != first).then_some(leader)
    })
    .await;
    assert_eq!(take_over_every_node(&cluster, "two have room").await, [201; 3]);
    let short = cluster.nodes[first].status().await;
    assert_eq!((&short["disk_full"], &short["ready"]), (&json!(true), &json!(true)));
    assert_eq!(short.get("writes_refused_reason"), None, "{short}");

    // All disks are full: leadership stays where it is, and every node says why writes are refused.
    for (place, disk) in disks.iter().enumerate().filter(|(place, _)| *place != first) {
        fill(disk);
        eventually("the node notices that its disk is full", || async {
            (cluster.nodes[place].status().await["disk_full"] == true).then_some(())
        })
        .await;
    }
    eventually("every node says that writes are refused", || async {
        for node in &cluster.nodes {
            node.status().await.get("writes_refused_reason")?;
        }
        Some(())
    })
    .await;
    // By then the leader has forgotten the room that a voter reported just before its disk filled up.
    let term = eventually("leadership stays", || async {
        let before = cluster.nodes[second].status().await["term"].clone();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let after = cluster.nodes[second].status().await["term"].clone();
        (before == after).then_some(after)
    })
    .await;
    for round in 0..20 {
        assert_eq!(take_over_every_node(&cluster, &format!("full {round}")).await, [507; 3]);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for node in &cluster.nodes {
        assert_eq!(node.status().await["term"], term, "{}: leadership moved", node.name);
        says_that_writes_are_refused(&node.rest).await;
    }

    // One node has room again and takes over leadership.
    let third = cluster.follower().await;
    empty(&disks[third]);
    eventually("the node with room leads", || async { (cluster.leader().await == third).then_some(()) })
        .await;
    assert_eq!(take_over_every_node(&cluster, "one has room").await, [201; 3]);
    cluster.converged().await;
    drop(cluster);
}
