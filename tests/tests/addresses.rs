//! Members that change their peer address: one, or all of them at once.

use batuta_tests::{Cluster, eventually};

/// Waits until a node has these peer addresses of the members from the log, in the order of their ids.
async fn knows(cluster: &Cluster, place: usize, expected: &[String]) {
    let node = &cluster.nodes[place];
    eventually(&format!("{} knows {expected:?}", node.name), || async {
        let answer = node.rest.try_send("GET", "/api/v1/cluster", &[], None).await.ok()?;
        let members = answer.body["members"].as_array()?.clone();
        let peers: Vec<&str> = members.iter().filter_map(|member| member["peer"].as_str()).collect();
        (peers == expected).then_some(())
    })
    .await;
}

fn addresses(cluster: &Cluster) -> Vec<String> {
    cluster.nodes.iter().map(batuta_tests::Node::peer_address).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_members_move_at_once() {
    let mut cluster = Cluster::start(3).await;
    cluster.take(0, "before").await;
    for node in &mut cluster.nodes {
        node.kill();
    }
    for place in 0..3 {
        cluster.move_peer(place);
    }
    for place in 0..3 {
        cluster.launch(place, &[]);
    }
    for node in &cluster.nodes {
        node.ready().await;
    }
    cluster.take(1, "after").await;
    let _ = cluster.nodes[2].rest.get("/api/v1/locks/before").await.expect(200);
    for place in 0..3 {
        knows(&cluster, place, &addresses(&cluster)).await;
    }
    cluster.converged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_trade_their_addresses() {
    let mut cluster = Cluster::start(3).await;
    cluster.take(0, "before").await;
    for node in &mut cluster.nodes {
        node.kill();
    }
    cluster.trade_peers(0, 1);
    for place in 0..3 {
        cluster.launch(place, &[]);
    }
    for node in &cluster.nodes {
        node.ready().await;
    }
    cluster.take(1, "after").await;
    for place in 0..3 {
        knows(&cluster, place, &addresses(&cluster)).await;
    }
    cluster.converged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moved_follower_receives_entries_at_its_new_address() {
    let mut cluster = Cluster::start(3).await;
    let (leader, place) = (cluster.leader().await, cluster.follower().await);
    let term = cluster.nodes[leader].status().await["term"].as_u64();
    cluster.nodes[place].kill();
    cluster.take(leader, "while-away").await;
    cluster.move_peer(place);
    cluster.launch(place, &[]);
    cluster.nodes[place].ready().await;
    let _ = cluster.nodes[place].rest.get("/api/v1/locks/while-away").await.expect(200);
    for other in 0..3 {
        knows(&cluster, other, &addresses(&cluster)).await;
    }
    assert_eq!(cluster.nodes[leader].status().await["term"].as_u64(), term, "the leader is unchanged");
    cluster.take(place, "after").await;
    cluster.converged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn joined_member_moves_while_another_is_down() {
    let mut cluster = Cluster::start(3).await;
    let place = cluster.add("n4");
    cluster.launch_joining(place);
    cluster.nodes[place].ready().await;
    let down = cluster.follower().await;
    cluster.nodes[down].kill();
    cluster.nodes[place].kill();
    cluster.move_peer(place);
    cluster.launch_joining(place);
    cluster.nodes[place].ready().await;
    // Its log and its configuration have n4 at the old address only.
    let peers = cluster.peers(&[0, 1, 2]);
    cluster.spawn(down, &[&peers]);
    cluster.nodes[down].ready().await;
    cluster.take(down, "after").await;
    knows(&cluster, down, &addresses(&cluster)).await;
    cluster.converged().await;
}
