//! GraphQL on the nodes of a real cluster.

use batuta_tests::{Answer, Cluster, GraphqlOperation, Node, PATIENCE, program};
use serde_json::{Value, json};

const CHANGES: &str =
    "subscription ($from: Long) { changes(areas: [LOCK], fromRevision: $from, progressMs: 100) {
    ... on Changes { revision events { facts { ... on LockFacts { grant { name } } } } } ... on Progress { revision } } }";

async fn ask(node: &Node, query: &str, variables: Value) -> Answer {
    node.rest.post("/graphql", &json!({"query": query, "variables": variables})).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn lock_taken_at_any_node_is_shown_everywhere() {
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
    let page = cluster.nodes[0].rest.try_send("GET", "/graphql", &[("accept", "text/html")], None).await;
    assert_eq!(page.expect("an answer").status, 200);
}

async fn take(node: &Node, name: &str) {
    let _ = node.rest.post("/api/v1/locks", &json!({"name": name, "ttl_ms": 600_000})).await.expect(201);
}

/// Reads until the name `last` was granted. Returns the names in the order of their grants, and the revision up to which the
/// subscription is complete. Ends early when the node is down.
async fn names_until(subscription: &mut GraphqlOperation, last: &str) -> (Vec<String>, u64) {
    let (mut names, mut told) = (Vec::new(), 0);
    while names.last().is_none_or(|name| name != last) {
        let answer = tokio::time::timeout(PATIENCE, subscription.answer()).await.expect("in time");
        let Some(answer) = answer else { break };
        assert_eq!(answer.get("errors"), None, "{answer}");
        let item = &answer["data"]["changes"];
        told = item["revision"].as_u64().expect("a revision");
        let events = item["events"].as_array().into_iter().flatten();
        names
            .extend(events.map(|event| event["facts"]["grant"]["name"].as_str().expect("a name").to_owned()));
    }
    (names, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn subscription_continues_on_another_node() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let mut first = GraphqlOperation::start(&cluster.nodes[leader].graphql(), CHANGES, json!({})).await;
    let begin = first.answer().await.expect("the first answer says where the subscription begins");
    assert!(begin["data"]["changes"]["revision"].is_u64(), "{begin}");
    for name in ["a", "b", "c"] {
        take(&cluster.nodes[leader], name).await;
    }
    let (mut names, told) = names_until(&mut first, "c").await;
    cluster.nodes[leader].kill();
    assert!(tokio::time::timeout(PATIENCE, async { while first.answer().await.is_some() {} }).await.is_ok());
    let other = cluster.leader().await;
    for name in ["d", "e"] {
        take(&cluster.nodes[other], name).await;
    }
    let place = cluster.follower().await;
    let from = json!({"from": told + 1});
    let mut second = GraphqlOperation::start(&cluster.nodes[place].graphql(), CHANGES, from).await;
    names.extend(names_until(&mut second, "e").await.0);
    assert_eq!(names, ["a", "b", "c", "d", "e"], "nothing missed, nothing twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_node_sends_subscriptions_elsewhere() {
    let mut cluster = Cluster::start(3).await;
    let place = cluster.follower().await;
    let mut all = Vec::new();
    for _ in 0..10 {
        let mut subscription =
            GraphqlOperation::start(&cluster.nodes[place].graphql(), CHANGES, json!({})).await;
        subscription.answer().await.expect("the first answer says where the subscription begins");
        all.push(subscription);
    }
    let reading = tokio::spawn(async move {
        let mut ends = Vec::new();
        for mut subscription in all {
            let mut last = Value::Null;
            while let Some(answer) = subscription.answer().await {
                last = answer;
            }
            ends.push(last["errors"][0]["extensions"].take());
        }
        ends
    });
    assert_eq!(cluster.nodes[place].stop().await.0, Some(0));
    let mut others: Vec<String> = cluster
        .nodes
        .iter()
        .filter(|node| node.name != cluster.nodes[place].name)
        .map(Node::graphql)
        .collect();
    others.sort();
    for end in reading.await.expect("no panic") {
        assert_eq!(end["code"], "draining", "{end}");
        let mut nodes: Vec<String> =
            serde_json::from_value(end["details"]["nodes"].clone()).expect("a list of URLs");
        nodes.sort();
        assert_eq!(nodes, others);
    }
    GraphqlOperation::start(&others[0], CHANGES, json!({}))
        .await
        .answer()
        .await
        .expect("the subscription continues there");
}

#[test]
fn program_prints_the_schema_it_serves() {
    let output = std::process::Command::new(program()).arg("schema").output().expect("runs");
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).expect("text");
    assert!(printed == include_str!("../../docs/schema.graphql"), "docs/schema.graphql differs");
}
