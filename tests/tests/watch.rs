//! Watches through failover: a watcher sees exactly what happened.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use batuta_client::v1::{self, Event};
use batuta_client::{Client, WatchItem, WatchOptions};
use batuta_proto::v1::watch_service_client::WatchServiceClient;
use batuta_tests::{Cluster, Node, PATIENCE, Rest, eventually, program};
use rustix::process::Signal;
use serde_json::json;
use tonic_types::StatusExt as _;

async fn client(endpoints: Vec<String>) -> Client {
    let client = Client::builder().endpoints(endpoints).timeout(Duration::from_secs(30));
    client.connect().await.expect("connects")
}

/// Collects the changes of a watch up to the revision `until`, as (revision, ordinal, kind).
async fn collect(client: &Client, options: WatchOptions, until: u64) -> Vec<(u64, u32, String)> {
    let mut watch = client.watch(options.progress(Duration::from_millis(100)));
    let mut seen = Vec::new();
    loop {
        let item = tokio::time::timeout(PATIENCE, watch.next()).await.expect("in time").expect("goes on");
        let (revision, events, more) = match item {
            WatchItem::Changes { revision, events, more } => (revision, events, more),
            WatchItem::Progress { revision } => (revision, Vec::new(), false),
            WatchItem::Snapshot { .. } => panic!("no snapshot was asked for"),
        };
        seen.extend(told(revision, &events).into_iter().filter(|(revision, ..)| *revision <= until));
        if revision >= until && !more {
            return seen;
        }
    }
}

fn told(revision: u64, events: &[Event]) -> Vec<(u64, u32, String)> {
    events.iter().map(|event| (revision, event.ordinal, event.kind.clone())).collect()
}

/// Takes and releases locks through all nodes until `stop` is set. Returns how many grants were acknowledged.
async fn busy(nodes: Vec<Rest>, stop: Arc<AtomicBool>) -> u64 {
    let mut granted = 0;
    for number in 0_usize.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let body = json!({"name": format!("w/{number}"), "ttl_ms": 3_600_000});
        let mut turn = number;
        let answer = eventually("a grant", || {
            turn += 1;
            let (rest, body) = (nodes[turn % nodes.len()].clone(), body.clone());
            async move { rest.post_with_key("/api/v1/locks", &format!("k{number}"), &body).await }
        })
        .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        granted += 1;
    }
    granted
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_sees_every_change_once_through_failover() {
    let mut cluster = Cluster::start(3).await;
    let endpoints = cluster.endpoints();
    let client = client(endpoints.clone()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let nodes: Vec<Rest> = cluster.nodes.iter().map(|node| node.rest.clone()).collect();
    let load = tokio::spawn(busy(nodes, Arc::clone(&stop)));
    let (tell, mut progress) = tokio::sync::watch::channel(0_usize);
    let watcher = {
        let mut watch = client.watch(WatchOptions::now().progress(Duration::from_millis(200)));
        tokio::spawn(async move {
            let (mut begin, mut seen, mut last) = (None, Vec::new(), 0);
            loop {
                match watch.next().await.expect("the watch goes on") {
                    WatchItem::Changes { revision, events, .. } => {
                        assert!(revision > last, "{revision} after {last}");
                        last = revision;
                        seen.extend(told(revision, &events));
                    }
                    WatchItem::Progress { revision } => {
                        begin.get_or_insert(revision);
                        assert!(revision >= last, "{revision} after {last}");
                        last = revision;
                    }
                    WatchItem::Snapshot { .. } => panic!("no snapshot was asked for"),
                }
                if tell.send(seen.len()).is_err() {
                    return (begin.expect("says where it begins"), last, seen);
                }
            }
        })
    };
    // The client prefers the leader, so the watch is there.
    for _ in 0..2 {
        let before = *progress.borrow();
        progress.wait_for(|count| *count > before + 20).await.expect("the watch goes on");
        let leader = cluster.leader().await;
        cluster.nodes[leader].kill();
        let before = *progress.borrow();
        progress.wait_for(|count| *count > before + 20).await.expect("the watch continues at another node");
        cluster.launch(leader, &[]);
        cluster.nodes[leader].ready().await;
    }
    stop.store(true, Ordering::SeqCst);
    let granted = load.await.expect("the load ends");
    drop(progress);
    let (begin, end, seen) = watcher.await.expect("the watcher ends");
    cluster.converged().await;
    // Every node has the same history, and the watcher has seen it.
    let mut grants = 0;
    for endpoint in endpoints {
        let own = self::client(vec![endpoint]).await;
        let whole = collect(&own, WatchOptions::from_revision(begin + 1), end).await;
        assert_eq!(whole, seen);
        grants = whole.iter().filter(|(.., kind)| kind == "lock_granted").count() as u64;
    }
    assert!(grants > 80 && grants <= granted, "{grants} of {granted} grants are before the end of the watch");
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_restarts_from_a_snapshot_after_an_install() {
    let mut cluster = Cluster::start_with(3, &["--set=raft.snapshot_entries=100"]).await;
    let follower = cluster.follower().await;
    let leader = cluster.leader().await;
    let rest = cluster.nodes[leader].rest.clone();
    let take = async |from: u32, to: u32| {
        for number in from..to {
            let body = json!({"name": format!("held/{number}"), "ttl_ms": 3_600_000});
            let _ = rest.post("/api/v1/locks", &body).await.expect(201);
        }
    };
    take(0, 3).await;
    cluster.converged().await;
    let seen = cluster.nodes[follower].status().await["applied_index"].as_u64().expect("an index");
    cluster.nodes[follower].kill();
    take(3, 400).await;
    let _ = rest.post("/api/v1/cluster/snapshot", &json!({})).await;
    eventually("the leader's log starts after the follower's last entry", || async {
        let purged = cluster.nodes[leader].status().await["purged_index"].as_u64()?;
        (purged > seen).then_some(())
    })
    .await;
    cluster.launch(follower, &[]);
    cluster.nodes[follower].ready().await;
    cluster.converged().await;
    let own = client(vec![cluster.nodes[follower].grpc.clone()]).await;
    let pinned =
        cluster.nodes[follower].rest.get(&format!("/api/v1/watch/poll?from_revision={seen}&wait_ms=0")).await;
    assert_eq!((pinned.status, pinned.code()), (410, "compacted"), "{pinned:?}");
    let mut watch = own.watch(WatchOptions::snapshot().prefix("held/"));
    let mut locks = 0;
    loop {
        match tokio::time::timeout(PATIENCE, watch.next()).await.expect("in time").expect("goes on") {
            WatchItem::Snapshot { page, .. } => {
                locks += page.objects.len();
                if page.last {
                    break;
                }
            }
            other => panic!("the snapshot comes first: {other:?}"),
        }
    }
    assert_eq!(locks, 400);
}

/// Opens a watch of everything on this node, and waits for its first message.
async fn pinned_watch(node: &Node) -> tonic::Streaming<v1::WatchResponse> {
    let mut service = WatchServiceClient::connect(node.grpc.clone()).await.expect("connects");
    let request = v1::WatchRequest { areas: vec!["lock".to_owned()], progress_ms: 100, ..Default::default() };
    let mut stream = service.watch(request).await.expect("a watch").into_inner();
    let _ = stream.message().await.expect("stands").expect("the first message");
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn open_watch_reports_the_gap_of_a_snapshot_install() {
    let cluster = Cluster::start_with(3, &["--set=raft.snapshot_entries=100"]).await;
    let follower = &cluster.nodes[cluster.follower().await];
    let leader = &cluster.nodes[cluster.leader().await];
    cluster.converged().await;
    let mut stream = pinned_watch(follower).await;
    let had = follower.status().await["last_log_index"].as_u64().expect("an index");
    follower.signal(Signal::STOP);
    let mut tokens = Vec::new();
    for number in 0..400 {
        let body = json!({"name": format!("held/{number}"), "ttl_ms": 3_600_000});
        tokens.push(leader.rest.post("/api/v1/locks", &body).await.expect(201).number("fencing_token"));
    }
    let _ = leader.rest.post("/api/v1/cluster/snapshot", &json!({})).await.expect(200);
    eventually("the entries that the follower lacks are purged, including those in flight", || async {
        leader.status().await["purged_index"].as_u64().filter(|purged| *purged > had + 200)
    })
    .await;
    follower.signal(Signal::CONT);
    // Changes before the gap arrive in order and complete; then the gap is reported.
    let (mut seen, mut told_to) = (Vec::new(), had);
    let status = loop {
        match tokio::time::timeout(PATIENCE, stream.message()).await.expect("in time") {
            Ok(Some(message)) => {
                told_to = told_to.max(message.revision);
                if let Some(v1::watch_response::Item::Changes(changes)) = message.item {
                    seen.extend(changes.events.iter().map(|event| {
                        let Some(v1::event::Facts::Lock(facts)) = &event.facts else { panic!("locks only") };
                        facts.grant.as_ref().map(|grant| grant.fencing_token).expect("grants only")
                    }));
                }
            }
            Ok(None) => panic!("the watch ended without an error after {} changes", seen.len()),
            Err(status) => break status,
        }
    };
    let info = status.get_details_error_info().expect("details");
    assert_eq!(info.reason, "compacted", "{status:?}");
    assert!(seen.len() < 400, "no change was skipped");
    assert_eq!(seen, tokens[..seen.len()]);
    let oldest: u64 = info.metadata["oldest_revision"].parse().expect("a revision");
    assert!(
        oldest > told_to + 1,
        "there is a gap between the last reported revision, {told_to}, and {oldest}"
    );
    // The same node accepts a new watch from there, or with a snapshot.
    let again = format!("/api/v1/watch/poll?from_revision={oldest}&wait_ms=0");
    let _ = follower.rest.get(&again).await.expect(200);
    cluster.converged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn command_line_prints_changes_from_a_revision() {
    let cluster = Cluster::start(1).await;
    let rest = &cluster.nodes[0].rest;
    let granted = rest.post("/api/v1/locks", &json!({"name": "a/1", "ttl_ms": 60_000})).await.expect(201);
    let _ = rest.post("/api/v1/locks", &json!({"name": "b/1", "ttl_ms": 60_000})).await.expect(201);
    let _ = rest.post("/api/v1/locks", &json!({"name": "a/2", "ttl_ms": 60_000})).await.expect(201);
    let from = format!("--from={}", granted.number("revision"));
    let words = ["-o", "json", "watch", "--prefix=a/", &from, "--limit=2"];
    let output = Command::new(program())
        .args(words)
        .env("BATUTA_ENDPOINTS", cluster.endpoints().join(","))
        .stdin(Stdio::null())
        .output()
        .expect("runs");
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<serde_json::Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON line"))
        .collect();
    let names: Vec<&str> = lines
        .iter()
        .map(|line| line["facts"]["grant"]["locks"][0]["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(names, ["a/1", "a/2"]);
}
