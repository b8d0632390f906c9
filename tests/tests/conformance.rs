//! The conformance suite: the same scenarios through every front, from a node that does not lead.

use std::process;

use batuta_tests::Cluster;
use batuta_tests::conformance::{Driver, GrpcDriver, RestDriver, scenarios};

#[tokio::test(flavor = "multi_thread")]
async fn every_front_gives_the_same_outcomes() {
    let cluster = Cluster::start(3).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let fronts: Vec<[Box<dyn Driver>; 2]> = vec![
        [follower, leader]
            .map(|place| Box::new(RestDriver(cluster.nodes[place].rest.clone())) as Box<dyn Driver>),
        [follower, leader]
            .map(|place| Box::new(GrpcDriver::new(&cluster.nodes[place].grpc)) as Box<dyn Driver>),
    ];
    let scenarios = scenarios();
    assert!(scenarios.len() >= 20, "only {} scenarios were found", scenarios.len());
    for [follower, leader] in &fronts {
        for (number, scenario) in scenarios.iter().enumerate() {
            let unique = format!("{}-{number}-{}", follower.front(), process::id());
            scenario.run(follower.as_ref(), leader.as_ref(), &unique).await;
        }
    }
    cluster.converged().await;
}
