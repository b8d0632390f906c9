//! A cluster is created exactly once; a node refuses to start from damaged or foreign data.

use std::path::PathBuf;

use batuta_tests::{Cluster, eventually};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn cluster_is_created_only_with_all_expected_members() {
    let mut cluster = Cluster::start(0).await;
    for name in ["n1", "n2", "n3"] {
        cluster.add(name);
    }
    cluster.launch(0, &[]);
    cluster.launch(1, &[]);
    for place in [0, 1] {
        let rest = cluster.nodes[place].rest.clone();
        eventually("the node answers", || async { rest.try_send("GET", "/livez", &[], None).await.ok() })
            .await;
        assert_eq!(rest.get("/readyz").await.status, 503, "two of three nodes run");
    }
    let early = cluster.nodes[0].rest.post("/api/v1/locks", &json!({"name": "early", "ttl_ms": 1000})).await;
    assert_eq!(early.code(), "no_leader", "{early:?}");
    cluster.launch(2, &[]);
    let mut ids = Vec::new();
    for node in &cluster.nodes {
        node.ready().await;
        ids.push(node.status().await["cluster_id"].clone());
    }
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "one cluster: {ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn founder_with_a_lost_disk_joins_its_own_cluster() {
    let mut cluster = Cluster::start(3).await;
    let before = cluster.nodes[0].status().await["cluster_id"].clone();
    let _ = cluster.nodes[0]
        .rest
        .post("/api/v1/locks", &json!({"name": "kept", "ttl_ms": 3_600_000}))
        .await
        .expect(201);
    cluster.nodes[0].kill();
    std::fs::remove_dir_all(&cluster.nodes[0].data_dir).expect("the node's data");
    cluster.launch(0, &[]);
    cluster.nodes[0].ready().await;
    let status = cluster.nodes[0].status().await;
    assert_eq!(status["cluster_id"], before);
    assert!(status["node_id"].as_u64() > Some(3), "a new id: {status}");
    let _ = cluster.nodes[0].rest.get("/api/v1/locks/kept").await.expect(200);
    cluster.converged().await;
}

/// The newest segment of a node's log.
fn last_segment(cluster: &Cluster, place: usize) -> PathBuf {
    let log = cluster.nodes[place].data_dir.join("log");
    let names = std::fs::read_dir(log).expect("a log").map(|item| item.expect("a file").path());
    let segments =
        names.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log-")));
    segments.max().expect("a segment")
}

#[tokio::test(flavor = "multi_thread")]
async fn node_refuses_damaged_data_and_data_of_others() {
    let mut cluster = Cluster::start(3).await;
    for number in 0..20 {
        let body = json!({"name": format!("many/{number}"), "ttl_ms": 3_600_000});
        let _ = cluster.nodes[0].rest.post("/api/v1/locks", &body).await.expect(201);
    }
    let said = cluster.refuses_to_start(1, "--log-level=warn");
    assert!(said.contains("in use by process"), "says that the node already runs: {said}");

    let place = cluster.follower().await;
    cluster.nodes[place].kill();
    let said = cluster.refuses_to_start(place, "--name=n9");
    assert!(
        said.contains(&cluster.nodes[place].name) && said.contains("n9"),
        "names the owner of the data: {said}"
    );
    let segment = last_segment(&cluster, place);
    let mut bytes = std::fs::read(&segment).expect("the segment");
    // In the middle of the written part: behind the header, before the end.
    bytes[1200] ^= 0x10;
    std::fs::write(&segment, bytes).expect("the segment");
    let said = cluster.refuses_to_start(place, "--log-level=warn");
    let file = segment.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(
        said.contains(&file) && said.contains("damaged at offset"),
        "names the file and the offset: {said}"
    );
    assert!(said.contains("joins again"), "says what to do: {said}");
    std::fs::rename(&cluster.nodes[place].data_dir, cluster.nodes[place].data_dir.with_extension("damaged"))
        .expect("moved away");
    cluster.launch(place, &[]);
    cluster.nodes[place].ready().await;
    cluster.converged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_single_node_stays_ready() {
    let cluster = Cluster::start(1).await;
    let rest = &cluster.nodes[0].rest;
    let term = cluster.nodes[0].status().await["term"].clone();
    // Longer than two election timeouts, the silence after which a member of a larger cluster is no longer ready.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let _ = rest.get("/readyz").await.expect(200);
    assert_eq!(cluster.nodes[0].status().await["term"], term);
}
