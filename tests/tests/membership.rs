//! Membership changes while the cluster serves requests: adding, removing and replacing members.

use batuta_tests::{Cluster, eventually};
use serde_json::{Value, json};

fn voters(status: &Value) -> Vec<String> {
    let members = status["members"].as_array().expect("members");
    let mut names: Vec<String> = members
        .iter()
        .filter(|member| member["voter"] == true)
        .map(|member| member["name"].as_str().expect("a name").to_owned())
        .collect();
    names.sort();
    names
}

async fn wait_for_voters(cluster: &Cluster, place: usize, expected: &[&str]) {
    eventually(&format!("the voters are {expected:?}"), || async {
        let answer = cluster.nodes[place].rest.try_send("GET", "/api/v1/cluster", &[], None).await.ok()?;
        (answer.status == 200 && voters(&answer.body) == expected).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wiped_node_rejoins_under_a_new_id() {
    let mut cluster = Cluster::start(3).await;
    cluster.take(0, "before").await;
    let place = cluster.follower().await;
    let old_id = cluster.nodes[place].status().await["node_id"].as_u64();
    cluster.nodes[place].kill();
    std::fs::remove_dir_all(&cluster.nodes[place].data_dir).expect("the node's data");
    cluster.take(cluster.leader().await, "while-away").await;
    cluster.launch(place, &[]);
    cluster.nodes[place].ready().await;
    wait_for_voters(&cluster, place, &["n1", "n2", "n3"]).await;
    let new_id = cluster.nodes[place].status().await["node_id"].as_u64();
    assert!(new_id > old_id, "a node id is never reused: {old_id:?}, then {new_id:?}");
    for name in ["before", "while-away"] {
        let _ = cluster.nodes[place].rest.get(&format!("/api/v1/locks/{name}")).await.expect(200);
    }
    cluster.converged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_and_leaves() {
    let mut cluster = Cluster::start(3).await;
    cluster.take(0, "held").await;
    let place = cluster.add("n4");
    cluster.launch_joining(place);
    cluster.nodes[place].ready().await;
    wait_for_voters(&cluster, place, &["n1", "n2", "n3", "n4"]).await;
    let _ = cluster.nodes[place].rest.get("/api/v1/locks/held").await.expect(200);
    let removed = cluster.nodes[0].rest.delete("/api/v1/cluster/members/n4").await;
    assert_eq!(removed.status, 200, "{removed:?}");
    cluster.nodes[place].kill();
    wait_for_voters(&cluster, 0, &["n1", "n2", "n3"]).await;
    cluster.take(0, "after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn follower_far_behind_catches_up_by_snapshot() {
    let mut cluster = Cluster::start_with(3, &["--set=raft.snapshot_entries=10"]).await;
    let place = cluster.follower().await;
    let had = cluster.nodes[place].status().await["last_log_index"].as_u64().expect("an index");
    cluster.nodes[place].kill();
    let leader = cluster.leader().await;
    for number in 0..50 {
        cluster.take(leader, &format!("many/{number}")).await;
    }
    let snapshot = cluster.nodes[leader].rest.post("/api/v1/cluster/snapshot", &json!({})).await.expect(200);
    assert!(snapshot.number("snapshot_index") > had);
    let purged = eventually("the entries that the follower lacks are purged", || async {
        cluster.nodes[leader].status().await["purged_index"].as_u64().filter(|purged| *purged > had)
    })
    .await;
    cluster.launch(place, &[]);
    cluster.nodes[place].ready().await;
    eventually("the follower has the snapshot", || async {
        (cluster.nodes[place].status().await["snapshot_index"].as_u64() >= Some(purged)).then_some(())
    })
    .await;
    let seen = cluster.nodes[place].rest.get("/api/v1/locks/many%2F49").await.expect(200);
    assert!(seen.body["holders"][0]["fencing_token"].is_u64());
    cluster.converged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_handed_over_on_request() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let target = cluster.follower().await;
    let name = cluster.nodes[target].name.clone();
    let answer = cluster.nodes[target]
        .rest
        .post("/api/v1/cluster/transfer-leader", &json!({"member": name}))
        .await
        .expect(200);
    assert_eq!(answer.text("leader_name"), name);
    eventually("the target leads", || async {
        (cluster.nodes[target].status().await["role"] == "leader").then_some(())
    })
    .await;
    cluster.take(leader, "after").await;
}
