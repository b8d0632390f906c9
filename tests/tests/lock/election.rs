//! Elections on clusters of real processes: nodes are killed under candidates, leaders and the cluster.

use std::time::{Duration, Instant};

use batuta_client::v1::object::Object;
use batuta_client::{CampaignOptions, Client, Observed, Observer, WatchItem, WatchOptions};
use batuta_proto::v1;
use batuta_proto::v1::election_service_client::ElectionServiceClient;
use batuta_proto::v1::lead_request::Request as Ask;
use batuta_proto::v1::lead_response::Event;
use batuta_tests::{Answer, Cluster, PATIENCE, Rest, eventually};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::Streaming;
use tonic::transport::Channel;

/// A time longer than any test waits.
const LONG_MS: u64 = 600_000;

async fn client(endpoints: Vec<String>) -> Client {
    let client = Client::builder().endpoints(endpoints).timeout(Duration::from_secs(30));
    client.connect().await.expect("connects")
}

async fn election(rest: &Rest, name: &str) -> Value {
    rest.get(&format!("/api/v1/elections/{name}")).await.expect(200).body
}

async fn campaign(rest: &Rest, name: &str, value: &str) -> Answer {
    let wanted = json!({"name": name, "value": value, "ttl_ms": LONG_MS});
    rest.post("/api/v1/elections", &wanted).await.expect(201)
}

/// Stands as a candidate in the background.
fn stand(rest: &Rest, name: &str, value: &str) -> JoinHandle<Option<Answer>> {
    let wanted = json!({"name": name, "value": value, "ttl_ms": LONG_MS, "wait_ms": LONG_MS});
    let rest = rest.patient();
    tokio::spawn(async move { rest.try_send("POST", "/api/v1/elections", &[], Some(&wanted)).await.ok() })
}

/// The answer to a candidate that was elected.
async fn elected(candidate: JoinHandle<Option<Answer>>) -> Answer {
    let answer = tokio::time::timeout(PATIENCE, candidate).await.expect("in time").expect("no panic");
    answer.expect("its node lives").expect(201)
}

async fn resign(rest: &Rest, name: &str, token: u64) {
    let _ = rest.delete(&format!("/api/v1/elections/{name}?fencing_token={token}")).await.expect(200);
}

async fn candidates(rest: &Rest, name: &str, count: u64) {
    eventually(&format!("{count} candidates stand in {name}"), || async {
        (election(rest, name).await["candidate_count"] == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn candidates_at_every_node_are_elected_in_order() {
    let cluster = Cluster::start(3).await;
    let nodes: Vec<Rest> = cluster.nodes.iter().map(|node| node.rest.clone()).collect();
    let mut token = campaign(&nodes[0], "e", "first").await.number("fencing_token");
    let mut standing = Vec::new();
    for round in 0..6 {
        let value = format!("candidate {round}");
        standing.push((value.clone(), stand(&nodes[round % 3], "e", &value)));
        candidates(&nodes[0], "e", round as u64 + 1).await;
    }
    for (round, (value, candidate)) in standing.into_iter().enumerate() {
        resign(&nodes[(round + 1) % 3], "e", token).await;
        let leader = elected(candidate).await;
        assert!(leader.number("fencing_token") > token, "tokens rise: {leader:?} after {token}");
        token = leader.number("fencing_token");
        for node in &nodes {
            let seen = election(node, "e").await;
            assert_eq!(seen["leader"]["fencing_token"], token, "{seen}");
            assert_eq!(seen["leader"]["value"], value.as_str(), "{seen}");
        }
    }
    resign(&nodes[0], "e", token).await;
    let seen = election(&nodes[1], "e").await;
    assert!(seen.get("leader").is_none() && seen["candidate_count"] == 0, "{seen}");
    cluster.converged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_nodes_lose_their_candidates_and_no_leader() {
    let mut cluster = Cluster::start(3).await;
    let stays = cluster.leader().await;
    let others: Vec<usize> = (0..3).filter(|&place| place != stays).collect();
    let [of_leader, of_candidate] = [others[0], others[1]];
    let rest = cluster.nodes[stays].rest.clone();
    let leader = campaign(&cluster.nodes[of_leader].rest, "e", "leader").await;
    let token = leader.number("fencing_token");
    let lost = stand(&cluster.nodes[of_candidate].rest, "e", "lost");
    candidates(&rest, "e", 1).await;
    let next = stand(&rest, "e", "next");
    candidates(&rest, "e", 2).await;

    cluster.nodes[of_candidate].kill();
    candidates(&rest, "e", 1).await;
    assert!(lost.await.expect("no panic").is_none(), "its node is dead");
    cluster.launch(of_candidate, &[]);
    cluster.nodes[of_candidate].ready().await;

    // The node through which the leader was elected keeps nothing that the leadership needs.
    cluster.nodes[of_leader].kill();
    let proclaimed = json!({"fencing_token": token, "value": "moved"});
    let changed =
        cluster.nodes[of_candidate].rest.put("/api/v1/elections/e/value", &proclaimed).await.expect(200);
    assert_eq!(changed.text("candidate_id"), leader.text("candidate_id"));
    assert_eq!(election(&rest, "e").await["leader"]["value"], "moved");
    resign(&rest, "e", token).await;
    let next = elected(next).await;
    assert_eq!(next.text("value"), "next");
    let late = rest.put("/api/v1/elections/e/value", &proclaimed).await;
    assert_eq!(late.code(), "token_superseded", "{late:?}");
    cluster.launch(of_leader, &[]);
    cluster.nodes[of_leader].ready().await;
    assert_eq!(election(&cluster.nodes[of_leader].rest, "e").await["leader"]["value"], "next");
    cluster.converged().await;
}

/// What is observed next, in short.
async fn observed(observer: &mut Observer) -> String {
    let next = tokio::time::timeout(PATIENCE, observer.next()).await.expect("in time").expect("goes on");
    match next {
        Observed::Current { leader, .. } => {
            format!("current {}", leader.map_or_else(|| "nobody".to_owned(), |leader| leader.value))
        }
        Observed::Elected { leader, .. } => format!("elected {}", leader.value),
        Observed::Proclaimed { leader, .. } => format!("proclaimed {}", leader.value),
        Observed::Gone { leader, reason, .. } => format!("gone {} {reason}", leader.value),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_and_candidate_outlive_the_leader_of_the_cluster() {
    let mut cluster = Cluster::start(3).await;
    let clients = [client(cluster.endpoints()).await, client(cluster.endpoints()).await];
    let mut observer = client(cluster.endpoints()).await.observe("e");
    assert_eq!(observed(&mut observer).await, "current nobody");
    let session = clients[0].open_session(Duration::from_secs(20)).await.expect("opens");
    let options = |value: &str| CampaignOptions { value: value.to_owned(), ..CampaignOptions::new("e") };
    let mut leader = session.campaign(options("one")).await.expect("is elected");
    assert_eq!(observed(&mut observer).await, "elected one");
    let candidate = tokio::spawn({
        let (client, options) = (clients[1].clone(), options("two"));
        let options = CampaignOptions { wait: Duration::from_mins(5), ..options };
        async move { client.campaign(options, Duration::from_secs(20)).await }
    });
    let place = cluster.leader().await;
    candidates(&cluster.nodes[place].rest, "e", 1).await;
    cluster.nodes[place].kill();
    let survivor = cluster.leader().await;
    let rest = cluster.nodes[survivor].rest.clone();
    leader.proclaim("one, after the failover").await.expect("leads on");
    assert_eq!(observed(&mut observer).await, "proclaimed one, after the failover");
    let seen = election(&rest, "e").await;
    assert_eq!(seen["leader"]["fencing_token"], leader.token(), "{seen}");
    candidates(&rest, "e", 1).await;
    let token = leader.token();
    leader.resign().await.expect("resigns");
    let next = tokio::time::timeout(PATIENCE, candidate).await.expect("in time").expect("no panic");
    let next = next.expect("is elected");
    assert!(next.token() > token);
    assert_eq!(observed(&mut observer).await, "gone one, after the failover released");
    assert_eq!(observed(&mut observer).await, "elected two");
    next.resign().await.expect("resigns");
    assert_eq!(observed(&mut observer).await, "gone two released");
    session.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_that_is_lost_with_its_session_is_replaced_after_lock_delay() {
    let cluster = Cluster::start(3).await;
    let rest = cluster.nodes[0].rest.clone();
    let since = Instant::now();
    let session = rest.post("/api/v1/sessions", &json!({"ttl_ms": 2_000})).await.expect(201);
    let session_id = session.text("session_id");
    let wanted = json!({"name": "e", "value": "lost", "session_id": session_id, "lock_delay_ms": 1_000});
    let lost = cluster.nodes[1].rest.post("/api/v1/elections", &wanted).await.expect(201);
    let next = elected(stand(&cluster.nodes[2].rest, "e", "next")).await;
    assert!(since.elapsed() > Duration::from_millis(2_900), "lock-delay follows the TTL");
    assert!(next.number("fencing_token") > lost.number("fencing_token"));
    let late = json!({"fencing_token": lost.number("fencing_token"), "value": "still here"});
    let late = rest.put("/api/v1/elections/e/value", &late).await;
    assert_eq!(late.code(), "token_superseded", "{late:?}");
    assert_eq!(election(&rest, "e").await["leader"]["value"], "next");
}

/// A leadership over a stream.
struct Leading {
    requests: mpsc::Sender<v1::LeadRequest>,
    answers: Streaming<v1::LeadResponse>,
}

impl Leading {
    async fn open(grpc: &str, value: &str, ttl_ms: u64) -> Self {
        let (requests, receiver) = mpsc::channel(4);
        let channel = Channel::from_shared(grpc.to_owned()).expect("a URL").connect_lazy();
        let campaign = v1::CampaignRequest {
            name: "e".to_owned(),
            value: value.to_owned(),
            ttl_ms: Some(ttl_ms),
            wait_ms: LONG_MS,
            ..Default::default()
        };
        let request = v1::LeadRequest { request: Some(Ask::Campaign(campaign)) };
        requests.send(request).await.expect("room");
        let stream = stream::unfold(receiver, |mut receiver: mpsc::Receiver<_>| async {
            receiver.recv().await.map(|request| (request, receiver))
        });
        let answers = ElectionServiceClient::new(channel).lead(stream).await.expect("opens").into_inner();
        Self { requests, answers }
    }

    /// Opens the stream, and waits until it leads.
    async fn elected(grpc: &str, value: &str, ttl_ms: u64) -> (Self, v1::Leader) {
        let mut leading = Self::open(grpc, value, ttl_ms).await;
        let leader = match leading.event().await {
            Event::Elected(leader) => leader,
            other => panic!("{other:?}"),
        };
        (leading, leader)
    }

    /// The next answer; `None` when the stream has ended.
    async fn next(&mut self) -> Option<Event> {
        let answer = tokio::time::timeout(PATIENCE, self.answers.message()).await.expect("in time");
        answer.expect("no error").map(|answer| answer.event.expect("an event"))
    }

    async fn event(&mut self) -> Event {
        self.next().await.expect("the stream goes on")
    }

    async fn ask(&mut self, request: Ask) -> Event {
        self.requests.send(v1::LeadRequest { request: Some(request) }).await.expect("room");
        self.event().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_over_a_stream_is_kept_proclaims_and_resigns() {
    let cluster = Cluster::start(3).await;
    let follower = cluster.follower().await;
    let rest = &cluster.nodes[follower].rest;
    let (mut leading, leader) = Leading::elected(&cluster.nodes[follower].grpc, "one", LONG_MS).await;
    assert_eq!((leader.name.as_str(), leader.value.as_str(), leader.ttl_ms), ("e", "one", Some(LONG_MS)));
    assert!(leader.session_id.is_empty());
    match leading.ask(Ask::KeepAlive(v1::LeadKeepAlive {})).await {
        Event::Kept(kept) => assert!((1..=LONG_MS).contains(&kept.remaining_ms), "{kept:?}"),
        other => panic!("{other:?}"),
    }
    match leading.ask(Ask::Proclaim(v1::LeadProclaim { value: "two".to_owned() })).await {
        Event::Proclaimed(proclaimed) => {
            assert_eq!((proclaimed.value.as_str(), proclaimed.fencing_token), ("two", leader.fencing_token));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(election(rest, "e").await["leader"]["value"], "two");
    let next = stand(rest, "e", "next");
    candidates(rest, "e", 1).await;
    match leading.ask(Ask::Resign(v1::LeadResign {})).await {
        Event::Resigned(resigned) => {
            assert_eq!(resigned.candidate_id, leader.candidate_id);
            assert_eq!(resigned.fencing_token, leader.fencing_token);
        }
        other => panic!("{other:?}"),
    }
    assert!(leading.next().await.is_none(), "the stream ends after the resignation");
    assert_eq!(elected(next).await.text("value"), "next");
}

#[tokio::test(flavor = "multi_thread")]
async fn loss_of_leadership_is_reported_on_its_stream() {
    let cluster = Cluster::start(3).await;
    let follower = cluster.follower().await;
    let rest = &cluster.nodes[cluster.leader().await].rest;
    for (query, reason, words) in [("?force=true&reason=stuck&", "forced", "stuck"), ("?", "released", "")] {
        let (mut leading, leader) = Leading::elected(&cluster.nodes[follower].grpc, "one", LONG_MS).await;
        let area = if reason == "forced" { "locks" } else { "elections" };
        let path = format!("/api/v1/{area}/e{query}fencing_token={}", leader.fencing_token);
        let _ = rest.delete(&path).await.expect(200);
        match leading.event().await {
            Event::Lost(lost) => assert_eq!((lost.reason.as_str(), lost.words.as_str()), (reason, words)),
            other => panic!("{other:?}"),
        }
        assert!(leading.next().await.is_none(), "the stream ends with the leadership");
    }
    let (mut leading, _) = Leading::elected(&cluster.nodes[follower].grpc, "silent", 1_000).await;
    match leading.event().await {
        Event::Lost(lost) => assert_eq!(lost.reason, "expired", "nobody kept it alive"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_stream_resigns() {
    let cluster = Cluster::start(3).await;
    let rest = cluster.nodes[0].rest.clone();
    let (leading, _) = Leading::elected(&cluster.nodes[1].grpc, "one", LONG_MS).await;
    let waits = tokio::spawn({
        let grpc = cluster.nodes[2].grpc.clone();
        async move { Leading::elected(&grpc, "two", LONG_MS).await }
    });
    candidates(&rest, "e", 1).await;
    drop(leading);
    let (leading, _) = tokio::time::timeout(PATIENCE, waits).await.expect("in time").expect("no panic");
    assert_eq!(election(&rest, "e").await["leader"]["value"], "two");
    let candidate = tokio::spawn({
        let grpc = cluster.nodes[0].grpc.clone();
        async move { Leading::elected(&grpc, "gone", LONG_MS).await }
    });
    candidates(&rest, "e", 1).await;
    candidate.abort();
    candidates(&rest, "e", 0).await;
    drop(leading);
    eventually("nobody leads", || async { election(&rest, "e").await.get("leader").is_none().then_some(()) })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_connection_keeps_leadership_for_its_ttl() {
    const TTL: Duration = Duration::from_secs(6);
    let mut cluster = Cluster::start(3).await;
    let follower = cluster.follower().await;
    let rest = cluster.nodes[cluster.leader().await].rest.clone();
    let ttl_ms = u64::try_from(TTL.as_millis()).expect("small");
    let (mut leading, leader) = Leading::elected(&cluster.nodes[follower].grpc, "one", ttl_ms).await;
    let next = stand(&rest, "e", "next");
    candidates(&rest, "e", 1).await;
    let sent = Instant::now();
    let kept = leading.ask(Ask::KeepAlive(v1::LeadKeepAlive {})).await;
    assert!(matches!(kept, Event::Kept(_)), "{kept:?}");
    cluster.nodes[follower].kill();
    let seen = election(&rest, "e").await;
    assert_eq!(seen["leader"]["fencing_token"], leader.fencing_token, "it may still be at work: {seen}");
    let next = elected(next).await;
    assert!(sent.elapsed() >= TTL.mul_f32(0.9), "only {:?} after its last sign of life", sent.elapsed());
    assert!(next.number("fencing_token") > leader.fencing_token);
}

/// The names of the objects of a snapshot, with what they are.
async fn snapshot(client: &Client, areas: &[&str]) -> Vec<String> {
    let mut watch = client.watch(WatchOptions::snapshot().areas(areas.iter().copied()));
    let mut found = Vec::new();
    loop {
        let item = tokio::time::timeout(PATIENCE, watch.next()).await.expect("in time").expect("goes on");
        let WatchItem::Snapshot { page, .. } = item else { panic!("{item:?}") };
        found.extend(page.objects.into_iter().map(|object| match object.object {
            Some(Object::Lock(lock)) => format!("lock {}", lock.name),
            Some(Object::Election(election)) => {
                let leader = election.leader.map(|leader| leader.value).unwrap_or_default();
                format!("election {} of {leader}, {} stand", election.name, election.candidate_count)
            }
            other => panic!("{other:?}"),
        }));
        if page.last {
            return found;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_tells_elections_from_locks() {
    let cluster = Cluster::start(1).await;
    let rest = &cluster.nodes[0].rest;
    let _ = campaign(rest, "b", "ann").await;
    let standing = stand(rest, "b", "bob");
    candidates(rest, "b", 1).await;
    for name in ["a", "c"] {
        cluster.take(0, name).await;
    }
    let client = client(cluster.endpoints()).await;
    let all = ["lock a", "election b of ann, 1 stand", "lock c"];
    assert_eq!(snapshot(&client, &[]).await, all);
    assert_eq!(snapshot(&client, &["lock", "election"]).await, all);
    assert_eq!(snapshot(&client, &["lock"]).await, ["lock a", "lock c"]);
    assert_eq!(snapshot(&client, &["election"]).await, all[1..2]);
    let listed = rest.get("/api/v1/locks").await.expect(200);
    let modes: Vec<&Value> =
        listed.body["locks"].as_array().expect("a list").iter().map(|lock| &lock["mode"]).collect();
    assert_eq!(modes, ["exclusive", "election", "exclusive"]);
    let listed = rest.get("/api/v1/elections").await.expect(200);
    assert_eq!(listed.body["elections"].as_array().map(Vec::len), Some(1), "{listed:?}");
    assert_eq!(listed.body["elections"][0]["leader"]["value"], "ann");
    standing.abort();
}
