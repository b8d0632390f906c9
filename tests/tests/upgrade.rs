//! Rolling upgrades: nodes that run as an older build (`--test-level`) are replaced one by one under load. What is newer is refused until
//! all are upgraded, and works from then on; an older build does not come back after that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use batuta_client::{Client, Lock, LockOptions};
use batuta_tests::{Answer, Cluster, Node, eventually};
use serde_json::{Value, json};

const OLD: u64 = 1;
const NEW: u64 = 2;
const OLD_BUILD: &str = "--test-level=1";
/// Clients that write while the nodes are upgraded.
const WRITERS: usize = 4;
const PAUSE: Duration = Duration::from_millis(25);

/// Three nodes of the older build, which form a cluster of its level.
async fn old_cluster() -> Cluster {
    let mut cluster = Cluster::start(0).await;
    cluster.keep_logs();
    for name in ["n1", "n2", "n3"] {
        cluster.add(name);
    }
    for place in 0..3 {
        cluster.launch(place, &[OLD_BUILD]);
    }
    for node in &cluster.nodes {
        node.ready().await;
    }
    cluster
}

/// Asks for something that came with the newer level.
async fn ask_newer(node: &Node) -> Answer {
    let limits = json!({"limits": [{"name": "members_max", "value": 7}]});
    node.rest.put("/api/v1/cluster/limits", &limits).await
}

/// Stands in an election, which came with the newer level as well.
async fn campaign(node: &Node) -> Answer {
    let wanted = json!({"name": format!("leader-of-{}", node.name), "ttl_ms": 3_600_000});
    node.rest.post("/api/v1/elections", &wanted).await
}

fn level_of(status: &Value, name: &str) -> Option<u64> {
    let member = status["members"].as_array()?.iter().find(|member| member["name"] == name)?;
    member["level"].as_u64()
}

/// Waits until a node knows the level of each member.
async fn knows_levels(node: &Node, expected: &[(&str, u64)]) {
    eventually(&format!("{} knows the levels {expected:?}", node.name), || async {
        let status = node.status().await;
        expected.iter().all(|(name, level)| level_of(&status, name) == Some(*level)).then_some(())
    })
    .await;
}

/// Newer requests are refused on a node, with the names of those that are not upgraded and no others.
async fn refuses_newer(node: &Node, not_upgraded: &[&str]) {
    for refused in [ask_newer(node).await, campaign(node).await] {
        assert_eq!((refused.status, refused.code()), (409, "upgrade_pending"), "{refused:?}");
        assert_eq!(refused.body["retryable"], true, "{refused:?}");
        let said = refused.text("detail");
        assert!(said.contains("needs level 2") && said.contains("is at level 1"), "{said}");
        for name in ["n1", "n2", "n3"] {
            let named = said.contains(&format!("{name} (Batuta"));
            assert_eq!(named, not_upgraded.contains(&name), "{name}: {said}");
        }
    }
}

/// Takes locks of an hour until told to stop; gives those that were granted.
async fn write(client: Client, writer: usize, done: Arc<AtomicBool>) -> Vec<Lock> {
    let mut taken = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let options = LockOptions::exclusive(format!("load-{writer}-{}", taken.len()));
        let lock = client.acquire(options, Duration::from_hours(1)).await;
        taken.push(lock.expect("a rolling upgrade costs no request"));
        tokio::time::sleep(PAUSE).await;
    }
    taken
}

async fn restart(cluster: &mut Cluster, place: usize) {
    let (code, _) = cluster.nodes[place].stop().await;
    assert_eq!(code, Some(0), "it was told to stop");
    cluster.launch(place, &[]);
    cluster.nodes[place].ready().await;
}

async fn reaches(node: &Node, level: u64) {
    eventually(&format!("{} is at level {level}", node.name), || async {
        (node.status().await["level"].as_u64() == Some(level)).then_some(())
    })
    .await;
}

/// A cluster of the older build, upgraded.
async fn upgraded() -> Cluster {
    let mut cluster = old_cluster().await;
    for place in 0..3 {
        restart(&mut cluster, place).await;
    }
    for node in &cluster.nodes {
        reaches(node, NEW).await;
    }
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_upgrade_raises_the_level() {
    let mut cluster = old_cluster().await;
    for node in &cluster.nodes {
        assert_eq!(node.status().await["level"], OLD);
        knows_levels(node, &[("n1", OLD), ("n2", OLD), ("n3", OLD)]).await;
        refuses_newer(node, &["n1", "n2", "n3"]).await;
    }
    let done = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let client = Client::builder().endpoints(cluster.endpoints()).timeout(Duration::from_secs(30));
        let client = client.connect().await.expect("connects");
        writers.push(tokio::spawn(write(client, writer, Arc::clone(&done))));
    }
    // The last of them leads, so that leadership moves, too.
    let leader = cluster.leader().await;
    let others: Vec<usize> = (0..3).filter(|&place| place != leader).collect();
    let names: Vec<String> = cluster.nodes.iter().map(|node| node.name.clone()).collect();
    for upgraded in 1..=2 {
        restart(&mut cluster, others[upgraded - 1]).await;
        let old: Vec<&str> =
            others[upgraded..].iter().chain([&leader]).map(|&place| &*names[place]).collect();
        let new = others[..upgraded].iter().map(|&place| (&*names[place], NEW));
        let levels: Vec<(&str, u64)> = old.iter().map(|&name| (name, OLD)).chain(new).collect();
        for node in &cluster.nodes {
            knows_levels(node, &levels).await;
            refuses_newer(node, &old).await;
        }
    }
    restart(&mut cluster, leader).await;
    for node in &cluster.nodes {
        reaches(node, NEW).await;
        let set = ask_newer(node).await.expect(200);
        assert!(
            set.body["limits"]
                .as_array()
                .is_some_and(|limits| { limits.contains(&json!({"name": "members_max", "value": 7})) })
        );
        let _ = campaign(node).await.expect(201);
    }
    done.store(true, Ordering::Relaxed);
    let mut locks = Vec::new();
    for writer in writers {
        locks.extend(writer.await.expect("no panic"));
    }
    assert!(locks.len() > 10 * WRITERS, "only {} locks were taken meanwhile", locks.len());
    for lock in &locks {
        let name = &lock.grant().locks[0].name;
        let seen = cluster.nodes[leader].rest.get(&format!("/api/v1/locks/{name}")).await.expect(200);
        assert_eq!(seen.body["holders"][0]["fencing_token"], lock.token(), "{seen:?}");
    }
    cluster.converged().await;
}

/// Waits until the process has ended with the sentence that names what to install.
async fn ends_as_too_old(cluster: &mut Cluster, place: usize) {
    let code = cluster.nodes[place].ends().await;
    let said = cluster.nodes[place].log();
    let last = said.lines().last().unwrap_or_default();
    assert_eq!(code, Some(1), "{said}");
    for part in ["the cluster has reached level 2", "knows levels up to 1", "install Batuta"] {
        assert!(last.contains(part), "{part:?} is not in the last line: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn older_build_is_refused_after_the_upgrade() {
    let mut cluster = upgraded().await;
    let place = cluster.follower().await;
    let third = 3 - place - cluster.leader().await;
    // Its own log, while nobody else answers; then also what the others say.
    cluster.nodes[place].kill();
    let peers = cluster.peers(&[place]);
    cluster.spawn(place, &[&peers, OLD_BUILD]);
    ends_as_too_old(&mut cluster, place).await;
    cluster.launch(place, &[OLD_BUILD]);
    ends_as_too_old(&mut cluster, place).await;
    // An entry that it does not know at the end of its log.
    cluster.launch(place, &[]);
    cluster.nodes[place].ready().await;
    let _ = ask_newer(&cluster.nodes[place]).await.expect(200);
    cluster.nodes[place].kill();
    cluster.spawn(place, &[&peers, OLD_BUILD]);
    ends_as_too_old(&mut cluster, place).await;
    // A snapshot says it as well.
    cluster.launch(place, &[]);
    cluster.nodes[place].ready().await;
    let _ = cluster.nodes[place].rest.post("/api/v1/cluster/snapshot", &json!({})).await.expect(200);
    cluster.nodes[place].kill();
    cluster.spawn(place, &[&peers, OLD_BUILD]);
    ends_as_too_old(&mut cluster, place).await;
    // Its data are as they were.
    cluster.launch(place, &[]);
    cluster.nodes[place].ready().await;
    cluster.nodes[third].kill();
    cluster.take(place, "after").await;
    cluster.converged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn older_build_cannot_join_after_the_upgrade() {
    let mut cluster = upgraded().await;
    let place = cluster.add("n4");
    let join = format!("--join={}", cluster.nodes[0].peer_address());
    cluster.spawn(place, &[&join, OLD_BUILD]);
    ends_as_too_old(&mut cluster, place).await;
    assert_eq!(cluster.nodes[0].status().await["members"].as_array().map(Vec::len), Some(3));
    cluster.spawn(place, &[&join]);
    cluster.nodes[place].ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn member_that_is_down_holds_the_level() {
    let mut cluster = old_cluster().await;
    let down = cluster.follower().await;
    cluster.nodes[down].kill();
    for place in (0..3).filter(|&place| place != down) {
        restart(&mut cluster, place).await;
    }
    let names: Vec<String> = cluster.nodes.iter().map(|node| node.name.clone()).collect();
    let up: Vec<usize> = (0..3).filter(|&place| place != down).collect();
    for &place in &up {
        let levels: Vec<(&str, u64)> = up.iter().map(|&place| (&*names[place], NEW)).collect();
        knows_levels(&cluster.nodes[place], &levels).await;
        let refused = ask_newer(&cluster.nodes[place]).await;
        assert_eq!(refused.code(), "upgrade_pending");
        assert!(refused.text("detail").contains(&format!("{} (has not told", names[down])), "{refused:?}");
    }
    // It may come back as it was, and later be upgraded.
    cluster.launch(down, &[OLD_BUILD]);
    cluster.nodes[down].ready().await;
    let levels: Vec<(&str, u64)> = up.iter().map(|&place| (&*names[place], NEW)).collect();
    knows_levels(&cluster.nodes[down], &levels).await;
    refuses_newer(&cluster.nodes[down], &[&names[down]]).await;
    restart(&mut cluster, down).await;
    for node in &cluster.nodes {
        reaches(node, NEW).await;
        let _ = ask_newer(node).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_cluster_is_born_at_its_level() {
    let cluster = Cluster::start(3).await;
    for node in &cluster.nodes {
        let _ = ask_newer(node).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn level_above_the_builds_is_refused() {
    let mut cluster = Cluster::start(0).await;
    cluster.keep_logs();
    let place = cluster.add("n1");
    cluster.launch(place, &["--test-level=99"]);
    assert_eq!(cluster.nodes[place].ends().await, Some(1));
    let said = cluster.nodes[place].log();
    assert!(said.contains("level 99 is none of this build"), "{said}");
}
