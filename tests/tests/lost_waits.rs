//! Waits whose node is killed, restarted or paused, over every front: no waiter is blocked by callers that are gone, and no waiter
//! loses its place.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use batuta_tests::conformance::{
    Driver, GraphqlDriver, GrpcDriver, Operation, Outcome, RestDriver, WsDriver,
};
use batuta_tests::{Cluster, Node, PATIENCE, Rest, eventually, program};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// A time longer than any test waits.
const LONG_MS: u64 = 600_000;

type Front = fn(&Node) -> Box<dyn Driver>;

/// Every front, with the name of the lock that its waiters wait for.
const FRONTS: &[(&str, Front)] = &[
    ("rest", |node| Box::new(RestDriver(node.rest.patient()))),
    ("grpc", |node| Box::new(GrpcDriver::new(&node.grpc))),
    ("pipeline", |node| Box::new(GrpcDriver::pipelined(&node.grpc))),
    ("ws", |node| Box::new(WsDriver(node.ws()))),
    ("graphql", |node| {
        Box::new(GraphqlDriver { rest: node.rest.patient(), socket: node.graphql(), socket_only: true })
    }),
];

/// A cluster of three nodes: one that will be lost, and two that stay.
struct Scene {
    cluster: Cluster,
    lost: usize,
    stays: [usize; 2],
}

impl Scene {
    async fn start() -> Self {
        let cluster = Cluster::start(3).await;
        let lost = cluster.follower().await;
        Self::of(cluster, lost)
    }

    fn of(cluster: Cluster, lost: usize) -> Self {
        let stays: Vec<usize> = (0..3).filter(|place| *place != lost).collect();
        Self { cluster, lost, stays: stays.try_into().expect("two others") }
    }

    fn lost(&self) -> &Node {
        &self.cluster.nodes[self.lost]
    }

    fn stays(&self, which: usize) -> &Node {
        &self.cluster.nodes[self.stays[which]]
    }

    fn rest(&self) -> &Rest {
        &self.stays(0).rest
    }

    async fn hold(&self, name: &str) -> String {
        let wanted = json!({"name": name, "ttl_ms": LONG_MS});
        self.rest().post("/api/v1/locks", &wanted).await.expect(201).text("lock_id").to_owned()
    }

    async fn release(&self, name: &str, lock_id: &str) {
        let _ = self.rest().delete(&format!("/api/v1/locks/{name}?lock_id={lock_id}")).await.expect(200);
    }

    async fn waiters(&self, name: &str, count: u64) {
        let path = format!("/api/v1/locks/{name}");
        eventually(&format!("{count} wait for {name}"), || async {
            (self.rest().get(&path).await.body["waiter_count"] == count).then_some(())
        })
        .await;
    }

    /// The body of an acquisition that waits, with a new session as its owner.
    async fn of_a_session(&self, name: &str) -> Value {
        let opened = self.rest().post("/api/v1/sessions", &json!({"ttl_ms": LONG_MS})).await.expect(201);
        json!({"name": name, "session_id": opened.text("session_id"), "wait_ms": LONG_MS})
    }

    /// Checks that the lock is held with this token.
    async fn is_held(&self, name: &str, token: &Value) {
        let seen = self.rest().get(&format!("/api/v1/locks/{name}")).await.expect(200);
        assert_eq!(seen.body["holders"][0]["fencing_token"], *token, "{name}: {seen:?}");
    }
}

fn one_shot(name: &str) -> Value {
    json!({"name": name, "ttl_ms": 10_000, "wait_ms": LONG_MS})
}

/// Makes a call in the background.
fn ask(front: Front, node: &Node, key: Option<&str>, wanted: &Value) -> JoinHandle<Outcome> {
    let operation = Operation {
        name: "acquire".to_owned(),
        args: wanted.as_object().expect("fields").clone(),
        key: key.map(str::to_owned),
    };
    tokio::spawn(front(node).call(operation))
}

async fn told(name: &str, call: JoinHandle<Outcome>) -> Outcome {
    let told = tokio::time::timeout(PATIENCE, call).await;
    told.unwrap_or_else(|_| panic!("{name}: no answer within {PATIENCE:?}")).expect("no panic")
}

/// Waits for a call to be granted, and returns the grant.
async fn granted(name: &str, call: JoinHandle<Outcome>) -> Value {
    told(name, call).await.unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"))
}

async fn is_lost(name: &str, call: JoinHandle<Outcome>) {
    let told = told(name, call).await;
    assert!(told.is_err(), "{name}: its node is lost, but the call was answered with {told:?}");
}

fn lock_run(nodes: &[&Node], name: &str) -> Child {
    let endpoints: Vec<&str> = nodes.iter().map(|node| node.grpc.as_str()).collect();
    let mut command = Command::new(program());
    command.args(["--endpoints", &endpoints.join(",")]);
    command.args(["lock", "run", name, "--wait", "120s", "--", "true"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("the program under test runs")
}

/// Kills a node with waiters over every front. When the holder releases, the next caller at another node gets the lock.
async fn killed(mut scene: Scene) {
    let held = scene.hold("x").await;
    let mut calls = Vec::new();
    for (name, front) in FRONTS {
        calls.push((name, ask(*front, scene.lost(), None, &one_shot("x"))));
        calls.push((name, ask(*front, scene.lost(), Some(name), &one_shot("x"))));
    }
    scene.waiters("x", calls.len() as u64).await;
    scene.cluster.nodes[scene.lost].kill();
    scene.waiters("x", 0).await;
    scene.release("x", &held).await;
    let next = json!({"name": "x", "ttl_ms": 10_000});
    let _ = scene.stays(1).rest.post("/api/v1/locks", &next).await.expect(201);
    for (name, call) in calls {
        is_lost(name, call).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_followers_waiters_are_withdrawn() {
    killed(Scene::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_leaders_waiters_are_withdrawn() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    killed(Scene::of(cluster, leader)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_node_withdraws_what_its_earlier_run_queued() {
    let mut cluster = Cluster::start(1).await;
    let rest = cluster.nodes[0].rest.clone();
    let _ = rest.post("/api/v1/locks", &json!({"name": "x", "ttl_ms": LONG_MS})).await.expect(201);
    let node = &cluster.nodes[0];
    let calls = FRONTS.iter().map(|(name, front)| (name, ask(*front, node, None, &one_shot("x"))));
    let calls: Vec<_> = calls.collect();
    let waiters = |count: usize| {
        let rest = rest.clone();
        async move { (rest.get("/api/v1/locks/x").await.body["waiter_count"] == count).then_some(()) }
    };
    eventually("all wait", || waiters(FRONTS.len())).await;
    cluster.nodes[0].kill();
    cluster.launch(0, &[]);
    cluster.nodes[0].ready().await;
    eventually("nobody waits", || waiters(0)).await;
    for (name, call) in calls {
        is_lost(name, call).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_node_withdraws_no_moved_wait() {
    let scene = Scene::start().await;
    let mut first = Vec::new();
    let mut held = Vec::new();
    for (name, front) in FRONTS {
        held.push(scene.hold(name).await);
        first.push(ask(*front, scene.lost(), Some(name), &one_shot(name)));
        scene.waiters(name, 1).await;
    }
    scene.lost().pause();
    // The clients give up on the paused node, which does not notice, try it once more in vain, and go to another node.
    first.iter().for_each(JoinHandle::abort);
    let stale = FRONTS.iter().map(|(name, front)| ask(*front, scene.lost(), Some(name), &one_shot(name)));
    let stale: Vec<_> = stale.collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    stale.iter().for_each(JoinHandle::abort);
    let moved = FRONTS.iter().map(|(name, front)| ask(*front, scene.stays(1), Some(name), &one_shot(name)));
    let moved: Vec<_> = moved.collect();
    // A later call at the same node is queued, so the calls before it are queued, too.
    let last = ask(FRONTS[0].1, scene.stays(1), None, &one_shot(FRONTS[0].0));
    scene.waiters(FRONTS[0].0, 2).await;
    last.abort();
    scene.lost().signal(Signal::CONT);
    scene.lost().ready().await;
    // The node withdraws for the clients that left before it answers this call, or a moment later.
    let other = json!({"name": "other", "ttl_ms": 10_000});
    let _ = scene.lost().rest.post("/api/v1/locks", &other).await.expect(201);
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (((name, _), call), held) in FRONTS.iter().zip(moved).zip(held) {
        scene.waiters(name, 1).await;
        scene.release(name, &held).await;
        let token = granted(name, call).await["fencing_token"].clone();
        scene.is_held(name, &token).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn key_keeps_its_place_when_its_node_is_lost() {
    finds_its_place(Scene::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn key_keeps_its_place_when_the_leader_is_paused() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    finds_its_place(Scene::of(cluster, leader)).await;
}

/// Pauses a node until its waits are withdrawn. A client that asks again under its key is ahead of the waiters behind it.
async fn finds_its_place(scene: Scene) {
    let mut calls = Vec::new();
    for (name, front) in FRONTS {
        let held = scene.hold(name).await;
        let first = ask(*front, scene.lost(), Some(name), &one_shot(name));
        scene.waiters(name, 1).await;
        let behind = ask(*front, scene.stays(0), None, &one_shot(name));
        scene.waiters(name, 2).await;
        calls.push((name, front, held, first, behind));
    }
    scene.lost().pause();
    for (name, ..) in FRONTS {
        scene.waiters(name, 1).await;
    }
    let again = FRONTS.iter().map(|(name, front)| ask(*front, scene.stays(1), Some(name), &one_shot(name)));
    let again: Vec<_> = again.collect();
    for (name, ..) in FRONTS {
        scene.waiters(name, 2).await;
    }
    scene.lost().signal(Signal::CONT);
    for ((name, _, held, first, behind), again) in calls.into_iter().zip(again) {
        let told = told(name, first).await.expect_err("its wait was withdrawn");
        assert_eq!(told.code, "node_lost", "{name}");
        scene.release(name, &held).await;
        let first = granted(name, again).await;
        scene.waiters(name, 1).await;
        scene.release(name, first["lock_id"].as_str().expect("an id")).await;
        let second = granted(name, behind).await;
        assert!(second["fencing_token"].as_u64() > first["fencing_token"].as_u64(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lock_run_keeps_waiting_when_its_node_is_paused() {
    let scene = Scene::start().await;
    let held = scene.hold("x").await;
    let mut run = lock_run(&[scene.lost(), scene.stays(0), scene.stays(1)], "x");
    scene.waiters("x", 1).await;
    scene.lost().pause();
    tokio::time::sleep(Duration::from_secs(9)).await;
    scene.lost().signal(Signal::CONT);
    scene.lost().ready().await;
    scene.release("x", &held).await;
    let status =
        eventually("the command ran", || std::future::ready(run.try_wait().expect("our own child"))).await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn session_finds_its_wait_at_another_node() {
    let mut scene = Scene::start().await;
    let mut calls = Vec::new();
    for (name, front) in FRONTS {
        let held = scene.hold(name).await;
        let wanted = scene.of_a_session(name).await;
        let dead = ask(*front, scene.lost(), None, &wanted);
        scene.waiters(name, 1).await;
        calls.push((name, front, held, wanted, dead));
    }
    scene.cluster.nodes[scene.lost].kill();
    for (name, front, held, wanted, dead) in calls {
        let again = ask(*front, scene.stays(1), None, &wanted);
        is_lost(name, dead).await;
        scene.waiters(name, 1).await;
        scene.release(name, &held).await;
        let token = granted(name, again).await["fencing_token"].clone();
        scene.is_held(name, &token).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn session_learns_of_an_unseen_grant() {
    let mut scene = Scene::start().await;
    let mut calls = Vec::new();
    for (name, front) in FRONTS {
        let held = scene.hold(name).await;
        let wanted = scene.of_a_session(name).await;
        let dead = ask(*front, scene.lost(), None, &wanted);
        scene.waiters(name, 1).await;
        calls.push((name, front, held, wanted, dead));
    }
    // A paused node cannot withdraw the waits; a killed node never will.
    scene.lost().pause();
    let mut asked = Vec::new();
    for (name, front, held, wanted, dead) in calls {
        scene.release(name, &held).await;
        let again = ask(*front, scene.stays(1), None, &wanted);
        asked.push((name, front, wanted, dead, again));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    scene.cluster.nodes[scene.lost].kill();
    for (name, front, wanted, dead, again) in asked {
        let token = granted(name, again).await["fencing_token"].clone();
        scene.is_held(name, &token).await;
        is_lost(name, dead).await;
        // The session owns the lock now, so any other acquisition of it would wait for itself.
        let refused = ask(*front, scene.stays(1), None, &wanted).await.expect("no panic");
        assert_eq!(refused.expect_err("it is held").code, "deadlock", "{name}");
    }
}
