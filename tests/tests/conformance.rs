//! The conformance suite: the same scenarios through every front and the Rust client, at a follower.

use std::process;

use batuta_tests::conformance::{
    ClientDriver, Driver, GraphqlDriver, GrpcDriver, RestDriver, WsDriver, scenarios,
};
use batuta_tests::{Cluster, Node};

/// The length of a node's history that the scenarios assume (tests/conformance/README.md).
const HISTORY: &[&str] = &["--set=limits.history_changes_max=100"];

type Front = fn(&Node) -> Box<dyn Driver>;

const FRONTS: &[Front] = &[
    |node| Box::new(RestDriver(node.rest.clone())),
    |node| Box::new(GrpcDriver::new(&node.grpc)),
    |node| Box::new(GrpcDriver::pipelined(&node.grpc)),
    |node| Box::new(graphql(node, false)),
    |node| Box::new(graphql(node, true)),
    |node| Box::new(WsDriver(node.ws())),
    |node| Box::new(ClientDriver::new(&node.grpc)),
];

fn graphql(node: &Node, socket_only: bool) -> GraphqlDriver {
    GraphqlDriver { rest: node.rest.clone(), socket: node.graphql(), socket_only }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_front_gives_the_same_outcomes() {
    let cluster = Cluster::start_with(3, HISTORY).await;
    let leader = &cluster.nodes[cluster.leader().await];
    let follower = &cluster.nodes[cluster.follower().await];
    let scenarios = scenarios();
    assert!(scenarios.len() >= 20, "only {} scenarios were found", scenarios.len());
    for front in FRONTS {
        let (follower, leader) = (front(follower), front(leader));
        for (number, scenario) in scenarios.iter().enumerate() {
            let unique = format!("{}-{number}-{}", follower.front(), process::id());
            scenario.run(follower.as_ref(), leader.as_ref(), &unique).await;
        }
    }
    cluster.converged().await;
}
