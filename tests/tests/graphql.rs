//! GraphQL at the nodes of a real cluster.

use batuta_tests::{Answer, Cluster, Node, program};
use serde_json::{Value, json};

async fn ask(node: &Node, query: &str, variables: Value) -> Answer {
    node.rest.post("/graphql", &json!({"query": query, "variables": variables})).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_takes_a_lock_and_every_node_shows_it() {
    let cluster = Cluster::start(3).await;
    let acquire = "mutation ($input: AcquireInput!, $key: String!) {
        acquire(input: $input, idempotencyKey: $key) { fencingToken revision } }";
    let read = "query ($name: String!) { lock(name: $name) { holders { fencingToken } revision } }";
    for (index, node) in cluster.nodes.iter().enumerate() {
        let name = format!("orders/{index}");
        let variables = json!({"input": {"name": name, "ttlMs": 600_000}, "key": name});
        let grant = ask(node, acquire, variables.clone()).await.body["data"]["acquire"].clone();
        let token = grant["fencingToken"].as_u64().expect("a token");
        for other in &cluster.nodes {
            let shown = ask(other, read, json!({"name": name})).await.body;
            assert_eq!(shown["data"]["lock"]["holders"][0]["fencingToken"], token, "{shown}");
            let again = ask(other, acquire, variables.clone()).await.body;
            assert_eq!(again["data"]["acquire"]["fencingToken"], token, "a retry elsewhere: {again}");
        }
    }
    let rest = cluster.nodes[0].rest.get("/api/v1/locks/orders%2F2").await.expect(200);
    assert_eq!(rest.body["holders"][0]["owner"], "");
    assert_eq!(cluster.nodes[0].rest.get("/graphql").await.status, 200);
}

#[test]
fn the_program_prints_the_schema_it_serves() {
    let output = std::process::Command::new(program()).arg("schema").output().expect("runs");
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).expect("text");
    assert!(printed == include_str!("../../docs/schema.graphql"), "docs/schema.graphql is another");
}
