//! Waits whose node is killed, restarted or paused: nobody waits behind callers that are gone, and nobody loses a place.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use batuta_client::v1;
use batuta_proto::v1::lock_service_client::LockServiceClient;
use batuta_tests::{Answer, Cluster, Rest, eventually, program};
use futures_util::{SinkExt as _, StreamExt as _};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

/// Longer than any test waits.
const LONG_MS: u64 = 600_000;

/// A cluster of three, a follower that will be lost, and the two nodes that stay.
struct Scene {
    cluster: Cluster,
    lost: usize,
    stays: [Rest; 2],
}

impl Scene {
    async fn start() -> Self {
        let cluster = Cluster::start(3).await;
        let lost = cluster.follower().await;
        Self::of(cluster, lost)
    }

    fn of(cluster: Cluster, lost: usize) -> Self {
        let stays = (0..3).filter(|place| *place != lost).map(|place| cluster.nodes[place].rest.clone());
        let stays = stays.collect::<Vec<_>>().try_into().expect("two others");
        Self { cluster, lost, stays }
    }

    fn lost(&self) -> &batuta_tests::Node {
        &self.cluster.nodes[self.lost]
    }

    async fn hold(&self, name: &str) -> String {
        let wanted = json!({"name": name, "ttl_ms": LONG_MS});
        self.stays[0].post("/api/v1/locks", &wanted).await.expect(201).text("lock_id").to_owned()
    }

    async fn release(&self, name: &str, lock_id: &str) {
        let _ = self.stays[0].delete(&format!("/api/v1/locks/{name}?lock_id={lock_id}")).await.expect(200);
    }

    async fn waiters(&self, name: &str, count: u64) {
        let path = format!("/api/v1/locks/{name}");
        eventually(&format!("{count} wait for {name}"), || async {
            (self.stays[0].get(&path).await.body["waiter_count"] == count).then_some(())
        })
        .await;
    }

    async fn session(&self) -> String {
        let opened = self.stays[1].post("/api/v1/sessions", &json!({"ttl_ms": LONG_MS})).await.expect(201);
        opened.text("session_id").to_owned()
    }
}

fn one_shot(name: &str) -> Value {
    json!({"name": name, "ttl_ms": 10_000, "wait_ms": LONG_MS})
}

/// Asks in the background; `None` when no answer came.
fn ask(rest: &Rest, key: Option<&str>, wanted: &Value) -> JoinHandle<Option<Answer>> {
    let (rest, key, wanted) = (rest.patient(), key.map(str::to_owned), wanted.clone());
    tokio::spawn(async move {
        let headers: Vec<(&str, &str)> = key.iter().map(|key| ("idempotency-key", key.as_str())).collect();
        rest.try_send("POST", "/api/v1/locks", &headers, Some(&wanted)).await.ok()
    })
}

async fn granted(call: JoinHandle<Option<Answer>>) -> Answer {
    call.await.expect("no panic").expect("an answer").expect(201)
}

fn command_line(nodes: &[&batuta_tests::Node], words: &[&str]) -> Child {
    let endpoints: Vec<&str> = nodes.iter().map(|node| node.grpc.as_str()).collect();
    let mut command = Command::new(program());
    command.args(["--endpoints", &endpoints.join(",")]).args(words);
    command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("the program under test runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_nodes_waiters_are_withdrawn_over_every_front() {
    let mut scene = Scene::start().await;
    let held = scene.hold("x").await;
    let rest = scene.lost().rest.clone();
    let mut calls = vec![ask(&rest, None, &one_shot("x")), ask(&rest, Some("k"), &one_shot("x"))];
    let grpc = scene.lost().grpc.clone();
    calls.push(tokio::spawn(async move {
        let mut client = LockServiceClient::connect(grpc).await.expect("connects");
        let lock = v1::LockRequest { name: "x".to_owned(), ..Default::default() };
        let wanted = v1::AcquireRequest {
            locks: vec![lock],
            ttl_ms: Some(10_000),
            wait_ms: LONG_MS,
            ..Default::default()
        };
        client.acquire(wanted).await.err()?;
        None
    }));
    let (mut ws, _) = tokio_tungstenite::connect_async(scene.lost().ws()).await.expect("connects");
    let wanted = json!({"op": "acquire", "id": "1", "name": "x", "ttl_ms": 10_000, "wait_ms": LONG_MS});
    ws.send(Message::text(wanted.to_string())).await.expect("sent");
    let told = tokio::spawn(async move { while let Some(Ok(_)) = ws.next().await {} });
    scene.waiters("x", 4).await;

    scene.cluster.nodes[scene.lost].kill();
    scene.waiters("x", 0).await;
    scene.release("x", &held).await;
    let next = json!({"name": "x", "ttl_ms": 10_000});
    let _ = scene.stays[1].post("/api/v1/locks", &next).await.expect(201);
    for call in calls {
        assert!(call.await.expect("no panic").is_none(), "its node is gone");
    }
    told.await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_leaders_waiters_are_withdrawn() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let mut scene = Scene::of(cluster, leader);
    let held = scene.hold("x").await;
    let calls =
        [ask(&scene.lost().rest, None, &one_shot("x")), ask(&scene.lost().rest, None, &one_shot("x"))];
    scene.waiters("x", 2).await;
    scene.cluster.nodes[scene.lost].kill();
    scene.waiters("x", 0).await;
    scene.release("x", &held).await;
    let _ = scene.stays[1].post("/api/v1/locks", &json!({"name": "x", "ttl_ms": 10_000})).await.expect(201);
    for call in calls {
        assert!(call.await.expect("no panic").is_none(), "its node is gone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_node_withdraws_what_its_earlier_run_queued() {
    let mut cluster = Cluster::start(1).await;
    let rest = cluster.nodes[0].rest.clone();
    let _ = rest.post("/api/v1/locks", &json!({"name": "x", "ttl_ms": LONG_MS})).await.expect(201);
    let calls = [ask(&rest, None, &one_shot("x")), ask(&rest, None, &one_shot("x"))];
    let waiters = |count: u64| {
        let rest = rest.clone();
        async move { (rest.get("/api/v1/locks/x").await.body["waiter_count"] == count).then_some(()) }
    };
    eventually("two wait", || waiters(2)).await;
    cluster.nodes[0].kill();
    cluster.launch(0, &[]);
    cluster.nodes[0].ready().await;
    eventually("nobody waits", || waiters(0)).await;
    for call in calls {
        assert!(call.await.expect("no panic").is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_node_takes_no_wait_away_that_moved() {
    let scene = Scene::start().await;
    let held = scene.hold("x").await;
    let first = ask(&scene.lost().rest, Some("k"), &one_shot("x"));
    scene.waiters("x", 1).await;
    scene.lost().signal(Signal::STOP);
    // The client gives up on the node, which does not see it yet, asks once more in vain, and goes to another.
    first.abort();
    let stale = ask(&scene.lost().rest, Some("k"), &one_shot("x"));
    tokio::time::sleep(Duration::from_millis(200)).await;
    stale.abort();
    let moved = ask(&scene.stays[1], Some("k"), &one_shot("x"));
    let behind = ask(&scene.stays[0], Some("behind"), &one_shot("x"));
    scene.waiters("x", 2).await;
    scene.lost().signal(Signal::CONT);
    scene.lost().ready().await;
    // What the node does for those who left is done before what it is asked now is answered, or a moment later.
    let _ =
        scene.lost().rest.post("/api/v1/locks", &json!({"name": "y", "ttl_ms": 10_000})).await.expect(201);
    tokio::time::sleep(Duration::from_secs(1)).await;
    scene.waiters("x", 2).await;
    scene.release("x", &held).await;
    let token = granted(moved).await.number("fencing_token");
    behind.abort();
    let check = scene.stays[0].get(&format!("/api/v1/locks/x/check?fencing_token={token}")).await.expect(200);
    assert_eq!(check.body["current"], true, "{check:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_finds_its_place_again_after_its_node_was_lost() {
    let scene = Scene::start().await;
    let held = scene.hold("x").await;
    let waits = ask(&scene.lost().rest, Some("k"), &one_shot("x"));
    scene.waiters("x", 1).await;
    let behind = ask(&scene.stays[0], Some("behind"), &one_shot("x"));
    scene.waiters("x", 2).await;
    scene.lost().signal(Signal::STOP);
    scene.waiters("x", 1).await;
    let again = ask(&scene.stays[1], Some("k"), &one_shot("x"));
    scene.waiters("x", 2).await;
    scene.lost().signal(Signal::CONT);
    let told = waits.await.expect("no panic").expect("the node is back");
    assert_eq!((told.status, told.code()), (503, "node_lost"), "{told:?}");
    scene.release("x", &held).await;
    let first = granted(again).await;
    scene.waiters("x", 1).await;
    scene.release("x", first.text("lock_id")).await;
    let second = granted(behind).await;
    assert!(second.number("fencing_token") > first.number("fencing_token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn lock_run_goes_on_waiting_when_its_node_is_paused() {
    let scene = Scene::start().await;
    let held = scene.hold("x").await;
    let nodes = &scene.cluster.nodes;
    let others = nodes.iter().enumerate().filter(|(place, _)| *place != scene.lost).map(|(_, node)| node);
    let order: Vec<&batuta_tests::Node> = std::iter::once(scene.lost()).chain(others).collect();
    let mut run = command_line(&order, &["lock", "run", "x", "--wait", "120s", "--", "true"]);
    scene.waiters("x", 1).await;
    scene.lost().signal(Signal::STOP);
    tokio::time::sleep(Duration::from_secs(9)).await;
    scene.lost().signal(Signal::CONT);
    scene.lost().ready().await;
    scene.release("x", &held).await;
    let status =
        eventually("the command ran", || std::future::ready(run.try_wait().expect("our own child"))).await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn session_that_asks_again_elsewhere_gets_its_wait() {
    let mut scene = Scene::start().await;
    let held = scene.hold("x").await;
    let session = scene.session().await;
    let wanted = json!({"name": "x", "session_id": session, "wait_ms": LONG_MS});
    let dead = ask(&scene.lost().rest, None, &wanted);
    scene.waiters("x", 1).await;
    scene.cluster.nodes[scene.lost].kill();
    let again = ask(&scene.stays[1], None, &wanted);
    tokio::time::sleep(Duration::from_millis(300)).await;
    scene.release("x", &held).await;
    let token = granted(again).await.number("fencing_token");
    let check = scene.stays[0].get(&format!("/api/v1/locks/x/check?fencing_token={token}")).await.expect(200);
    assert_eq!(check.body["current"], true, "{check:?}");
    assert!(dead.await.expect("no panic").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn session_is_told_what_it_holds_without_knowing() {
    let mut scene = Scene::start().await;
    let held = scene.hold("x").await;
    let session = scene.session().await;
    let wanted = json!({"name": "x", "session_id": session, "wait_ms": LONG_MS});
    let dead = ask(&scene.lost().rest, None, &wanted);
    scene.waiters("x", 1).await;
    // Stopped, it can not tell; killed, it never will.
    scene.lost().signal(Signal::STOP);
    scene.release("x", &held).await;
    let again = ask(&scene.stays[1], None, &wanted);
    tokio::time::sleep(Duration::from_millis(300)).await;
    scene.cluster.nodes[scene.lost].kill();
    let told = granted(again).await;
    let seen = scene.stays[0].get("/api/v1/locks/x").await.expect(200);
    assert_eq!(seen.body["holders"][0]["fencing_token"], told.number("fencing_token"), "{seen:?}");
    assert!(dead.await.expect("no panic").is_none());
    // It knows now: what it asks beside that waits for itself.
    assert_eq!(scene.stays[1].post("/api/v1/locks", &wanted).await.code(), "deadlock");
}
