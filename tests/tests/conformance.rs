//! The conformance suite: the same scenarios through every front and the Rust client, from a node that does not lead.

use std::process;

use batuta_tests::conformance::{
    ClientDriver, Driver, GraphqlDriver, GrpcDriver, RestDriver, WsDriver, scenarios,
};
use batuta_tests::{Cluster, Node};

type Front = fn(&Node) -> Box<dyn Driver>;

const FRONTS: &[Front] = &[
    |node| Box::new(RestDriver(node.rest.clone())),
    |node| Box::new(GrpcDriver::new(&node.grpc)),
    |node| Box::new(GraphqlDriver(node.rest.clone())),
    |node| Box::new(WsDriver(node.ws())),
    |node| Box::new(ClientDriver::new(&node.grpc)),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_front_gives_the_same_outcomes() {
    let cluster = Cluster::start(3).await;
    let leader = &cluster.nodes[cluster.leader().await];
    let follower = &cluster.nodes[cluster.follower().await];
    let scenarios = scenarios();
    assert!(scenarios.len() >= 20, "only {} scenarios were found", scenarios.len());
    for front in FRONTS {
        let (follower, leader) = (front(follower), front(leader));
        let known: Vec<_> = scenarios.iter().filter(|scenario| scenario.is_for(follower.as_ref())).collect();
        assert!(known.len() >= 17, "{} knows only {} scenarios", follower.front(), known.len());
        for (number, scenario) in known.into_iter().enumerate() {
            let unique = format!("{}-{number}-{}", follower.front(), process::id());
            scenario.run(follower.as_ref(), leader.as_ref(), &unique).await;
        }
    }
    cluster.converged().await;
}
