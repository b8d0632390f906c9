//! GraphQL over WebSocket, over a replica of one node and real connections.

mod support;

#[path = "support/ws.rs"]
mod client;

use std::time::Duration;

use batuta_api::ServiceOptions;
use batuta_api::graphql::{self, GraphqlOptions, SocketOptions};
use batuta_api::service::Consistency;
use batuta_api::service::lock::LockCursors;
use client::{Client, Front};
use serde_json::{Value, json};
use support::{Node, eventually, name, one_shot};
use tokio_tungstenite::tungstenite::{Bytes, Message};

const CHANGES: &str = "subscription ($from: Long, $snapshot: Boolean! = false, $prefix: String! = \"\", $areas: [Area!]! = []) {
    changes(fromRevision: $from, snapshot: $snapshot, prefix: $prefix, areas: $areas, progressMs: 100) {
        __typename
        ... on SnapshotPage { revision last objects { __typename
            ... on Lock { name holders { fencingToken } } ... on Register { name highWater } ... on Session { sessionId } } }
        ... on Changes { revision events { ordinal kind reason facts { __typename
            ... on LockFacts { lockId words grant { name fencingToken } } ... on RegisterFacts { name highWater } } } }
        ... on Progress { revision }
    }
}";
/// Pages of some 270 KB: the 300 locks that tests of clients that do not read take.
const PAGES: &str = "subscription { changes(snapshot: true) { ... on SnapshotPage { objects { ... on Lock { holders { metadata } } } } } }";
const ACQUIRE: &str = "mutation ($input: AcquireInput!) { acquire(input: $input) { name fencingToken } }";

async fn start(socket: SocketOptions) -> Front {
    start_with(socket, ServiceOptions::default()).await
}

async fn start_with(socket: SocketOptions, service: ServiceOptions) -> Front {
    let node = Node::start_with(service).await;
    let options = GraphqlOptions { introspection: false, page: false, socket };
    let router = graphql::router(node.service.clone(), options);
    Front::serve(node, router, "/graphql", "graphql-transport-ws").await
}

async fn connect(front: &Front) -> Client {
    let mut client = front.connect().await;
    client.send(json!({"type": "connection_init", "payload": {"anything": 1}})).await;
    assert_eq!(client.frame("connection_ack").await, json!({"type": "connection_ack"}));
    client
}

async fn subscribe(client: &mut Client, id: &str, query: &str, variables: Value) {
    let payload = json!({"query": query, "variables": variables});
    client.send(json!({"type": "subscribe", "id": id, "payload": payload})).await;
}

/// Returns the next item of this type from a subscription.
async fn item(client: &mut Client, id: &str, kind: &str) -> Value {
    let found = client.find(|frame| {
        assert_ne!((&frame["id"], &frame["type"]), (&json!(id), &json!("error")), "{frame}");
        frame["id"] == id && frame["payload"]["data"]["changes"]["__typename"] == kind
    });
    found.await["payload"]["data"]["changes"].take()
}

/// Returns the only error that an operation ends with.
async fn ended(client: &mut Client, id: &str) -> Value {
    let mut errors = refused(client, id).await;
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.remove(0)
}

/// Returns the errors that an operation is refused with.
async fn refused(client: &mut Client, id: &str) -> Vec<Value> {
    let mut frame = client.find(|frame| frame["id"] == id && frame["type"] == "error").await;
    serde_json::from_value(frame["payload"].take()).expect("a list")
}

/// Returns the answer to a query or a mutation, after which the operation is complete.
async fn answer(client: &mut Client, id: &str) -> Value {
    let mut frame = client.find(|frame| frame["id"] == id && frame["type"] == "next").await;
    client.find(|frame| frame["id"] == id && frame["type"] == "complete").await;
    frame["payload"].take()
}

async fn waiters(node: &Node, lock: &str) -> u64 {
    let (lock, cursors) = (name(lock), LockCursors::default());
    let found = node.service.explain(&node.context, &lock, cursors, Consistency::Linearizable).await;
    found.expect("explain").value.lock.map_or(0, |lock| lock.view.waiter_count)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn subscription_starts_now_at_a_revision_or_with_snapshot() {
    let front = start(SocketOptions::DEFAULT).await;
    let node = &front.node;
    let mut client = connect(&front).await;
    subscribe(&mut client, "now", CHANGES, json!({"prefix": "orders/", "areas": ["LOCK"]})).await;
    let begin = number(&item(&mut client, "now", "Progress").await["revision"]);
    let mut told = Vec::new();
    for lock in ["orders/1", "other", "orders/2"] {
        let grant = node.service.acquire(&node.context, one_shot(lock)).await.expect("free");
        if lock == "other" {
            continue;
        }
        let changes = item(&mut client, "now", "Changes").await;
        let token = grant.value.token;
        assert_eq!(changes["revision"], grant.revision);
        let facts = json!({"__typename": "LockFacts", "lockId": grant.value.lock_id.to_string(), "words": null,
            "grant": {"name": lock, "fencingToken": token}});
        let expected = json!({"ordinal": 0, "kind": "LOCK_GRANTED", "reason": null, "facts": facts});
        assert_eq!(changes["events"], json!([expected]));
        told.push(changes);
    }
    // Another connection resumes after what the first one has received.
    let mut other = connect(&front).await;
    subscribe(&mut other, "r", CHANGES, json!({"prefix": "orders/", "from": begin + 1})).await;
    assert_eq!(item(&mut other, "r", "Progress").await["revision"], begin);
    for changes in &told {
        assert_eq!(item(&mut other, "r", "Changes").await, *changes);
    }
    let behind = number(&told[0]["revision"]) + 1;
    subscribe(&mut other, "r2", CHANGES, json!({"prefix": "orders/", "from": behind})).await;
    assert_eq!(item(&mut other, "r2", "Changes").await, told[1], "nothing twice");

    node.service.advance_register(&node.context, name("orders/r"), 1).await.expect("rises");
    subscribe(&mut client, "s", CHANGES, json!({"prefix": "orders/", "snapshot": true})).await;
    let page = item(&mut client, "s", "SnapshotPage").await;
    let objects = page["objects"].as_array().expect("a list");
    let names: Vec<&Value> = objects.iter().map(|object| &object["name"]).collect();
    assert_eq!((json!(names), &page["last"]), (json!(["orders/1", "orders/2", "orders/r"]), &json!(true)));
    assert_eq!(objects[0]["__typename"], "Lock");
    assert_eq!(objects[2], json!({"__typename": "Register", "name": "orders/r", "highWater": 1}));
    node.service.advance_register(&node.context, name("orders/r"), 2).await.expect("rises");
    let risen = item(&mut client, "s", "Changes").await;
    assert!(risen["revision"].as_u64() > page["revision"].as_u64());
    assert_eq!(
        (&risen["events"][0]["kind"], &risen["events"][0]["facts"]["highWater"]),
        (&json!("REGISTER_ADVANCED"), &json!(2))
    );
    // An idle subscription reports its progress.
    item(&mut client, "s", "Progress").await;
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compacted_error_names_the_oldest_revision() {
    let front = start(SocketOptions::DEFAULT).await;
    // The history of a test node holds 1,000 changes.
    for number in 0..1_010 {
        let taken = front.node.service.acquire(&front.node.context, one_shot(&format!("n/{number}")));
        taken.await.expect("free");
    }
    let mut client = connect(&front).await;
    subscribe(&mut client, "1", CHANGES, json!({"from": 1})).await;
    let error = ended(&mut client, "1").await;
    assert_eq!((&error["extensions"]["code"], &error["path"]), (&json!("compacted"), &json!(["changes"])));
    assert_eq!(error["locations"].as_array().map(Vec::len), Some(1), "{error}");
    let details = &error["extensions"]["details"];
    assert_eq!(details["fromRevision"], 1);
    let oldest = number(&details["oldestRevision"]);
    assert!(oldest > 1);
    // The id is free again, and the history begins where the error says.
    subscribe(&mut client, "1", CHANGES, json!({"from": oldest})).await;
    assert!(number(&item(&mut client, "1", "Changes").await["revision"]) >= oldest);
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_client_resumes_after_lagging_without_a_gap() {
    const LOCKS: usize = 100;
    let socket = SocketOptions {
        outgoing_messages_max: 4,
        write_timeout: Duration::from_mins(2),
        ..SocketOptions::DEFAULT
    };
    let service = ServiceOptions { watch_queue_changes_max: 4, ..ServiceOptions::default() };
    let front = start_with(socket, service).await;
    let mut client = connect(&front).await;
    // More than all buffers between the two hold: the query selects every change 300 times.
    let copies = (0..300).map(|number| format!("m{number}: metadata")).collect::<Vec<_>>().join(" ");
    let query = format!(
        "subscription ($from: Long) {{ changes(fromRevision: $from, progressMs: 100) {{ __typename ... on Changes {{ revision events {{ facts {{ ... on LockFacts {{ grant {{ name {copies} }} }} }} }} }} ... on Progress {{ revision }} }} }}"
    );
    subscribe(&mut client, "1", &query, json!({})).await;
    item(&mut client, "1", "Progress").await;
    let mut revisions = Vec::new();
    for number in 0..LOCKS {
        let mut request = one_shot(&format!("n/{number}"));
        request.metadata = "x".repeat(900);
        let granted = front.node.service.acquire(&front.node.context, request).await.expect("free");
        revisions.push(granted.revision);
    }
    let (mut seen, mut lagged, mut id) = (Vec::new(), 0_usize, 1_usize);
    while seen.len() < LOCKS {
        let own = id.to_string();
        let frame = client.find(|frame| frame["id"] == own.as_str()).await;
        let changes = &frame["payload"]["data"]["changes"];
        if frame["type"] == "error" {
            let said = &frame["payload"][0]["extensions"];
            assert_eq!(said["code"], "lagged", "{said}");
            let resume = number(&said["details"]["resumeRevision"]);
            assert!(seen.last().is_none_or(|last| *last < resume));
            lagged += 1;
            id += 1;
            subscribe(&mut client, &id.to_string(), &query, json!({"from": resume})).await;
        } else if changes["__typename"] == "Changes" {
            seen.push(number(&changes["revision"]));
        }
    }
    assert!(lagged > 0, "the buffers held everything");
    assert_eq!(seen, revisions, "each once, in order");
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_client_is_cut_off_and_leaves_nothing() {
    let socket = SocketOptions {
        write_timeout: Duration::from_millis(300),
        outgoing_messages_max: 4,
        connections_max: 2,
        ..SocketOptions::DEFAULT
    };
    let front = start(socket).await;
    for number in 0..300 {
        let mut request = one_shot(&format!("n/{number}"));
        request.metadata = "x".repeat(900);
        front.node.service.acquire(&front.node.context, request).await.expect("free");
    }
    let (mut stalled, mut other) = (connect(&front).await, connect(&front).await);
    let refused = front.handshake(Some("graphql-transport-ws"), None).await.expect_err("there are two");
    assert_eq!(refused["errors"][0]["extensions"]["details"]["limit"], "graphql_connections_max");
    for number in 0..60 {
        subscribe(&mut stalled, &number.to_string(), PAGES, json!({})).await;
    }
    eventually("the stalled client's place is free", async || {
        front.handshake(Some("graphql-transport-ws"), None).await.is_ok()
    })
    .await;
    other.send(json!({"type": "ping"})).await;
    other.frame("pong").await;
    // The client learns the reason if the close frame fitted behind its unread data.
    assert!(matches!(stalled.end().await, None | Some(1013)));
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_subscription_frees_its_watcher() {
    let service = ServiceOptions { watchers_max: 1, ..ServiceOptions::default() };
    let front = start_with(SocketOptions::DEFAULT, service).await;
    let mut client = connect(&front).await;
    // Each subscription is completed and started again under the same id.
    for _ in 0..20 {
        subscribe(&mut client, "1", CHANGES, json!({})).await;
        item(&mut client, "1", "Progress").await;
        client.send(json!({"type": "complete", "id": "1"})).await;
    }
    for politely in [true, false] {
        subscribe(&mut client, "held", CHANGES, json!({})).await;
        item(&mut client, "held", "Progress").await;
        let mut other = connect(&front).await;
        subscribe(&mut other, "2", CHANGES, json!({})).await;
        let refused = ended(&mut other, "2").await;
        assert_eq!(refused["extensions"]["code"], "overloaded", "a subscription counts as a watcher");
        assert_eq!(refused["extensions"]["details"]["limit"], "watchers_max");
        if politely {
            client.close().await;
        } else {
            drop(client);
        }
        let mut attempt = 0;
        loop {
            attempt += 1;
            assert!(attempt < 5_000, "the watcher is not freed");
            let id = format!("again-{attempt}");
            subscribe(&mut other, &id, CHANGES, json!({})).await;
            let frame = other.find(|frame| frame["id"] == id.as_str()).await;
            if frame["type"] == "next" {
                other.send(json!({"type": "complete", "id": id})).await;
                break;
            }
            assert_eq!(frame["payload"][0]["extensions"]["code"], "overloaded", "{frame}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        client = other;
    }
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_node_ends_subscriptions_and_names_the_revision() {
    let front = start(SocketOptions::DEFAULT).await;
    front.node.service.acquire(&front.node.context, one_shot("a")).await.expect("free");
    let mut client = connect(&front).await;
    let idle = connect(&front).await;
    subscribe(&mut client, "1", CHANGES, json!({})).await;
    item(&mut client, "1", "Progress").await;
    let input = json!({"input": {"name": "a", "ttlMs": 60_000, "waitMs": 600_000}});
    subscribe(&mut client, "w", ACQUIRE, input).await;
    eventually("it waits", async || waiters(&front.node, "a").await == 1).await;
    front.node.service.drain();
    let error = ended(&mut client, "1").await;
    assert_eq!(error["extensions"]["code"], "draining");
    assert_eq!(error["extensions"]["details"], json!({"nodes": []}), "a cluster of one has no other node");
    assert_eq!(error["extensions"]["retryable"], true);
    let waited = answer(&mut client, "w").await;
    assert_eq!(waited["errors"][0]["extensions"]["code"], "draining", "{waited}");
    for mut client in [client, idle] {
        assert_eq!(client.close_code().await, Some(1001));
    }
    let refused = front
        .handshake(Some("graphql-transport-ws"), None)
        .await
        .expect_err("a draining node accepts no connection");
    assert_eq!(refused["errors"][0]["extensions"]["code"], "draining");
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_client_does_not_delay_a_stop() {
    let socket = SocketOptions {
        write_timeout: Duration::from_hours(1),
        outgoing_messages_max: 4,
        ..SocketOptions::DEFAULT
    };
    let front = start(socket).await;
    for number in 0..300 {
        let mut request = one_shot(&format!("n/{number}"));
        request.metadata = "x".repeat(900);
        front.node.service.acquire(&front.node.context, request).await.expect("free");
    }
    let mut stalled = connect(&front).await;
    for number in 0..60 {
        subscribe(&mut stalled, &number.to_string(), PAGES, json!({})).await;
    }
    // Long enough to fill all buffers. On a slower machine they may not be full, and the test proves less.
    tokio::time::sleep(Duration::from_secs(2)).await;
    tokio::time::timeout(Duration::from_secs(30), front.stop()).await.expect("stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_and_mutations_work_over_the_socket() {
    let front = start(SocketOptions::DEFAULT).await;
    let mut client = connect(&front).await;
    subscribe(&mut client, "1", ACQUIRE, json!({"input": {"name": "a", "ttlMs": 600_000}})).await;
    let held = answer(&mut client, "1").await;
    assert_eq!(held["data"]["acquire"]["name"], "a", "{held}");
    // A refused field is null with an error of its own; the other fields keep their answers.
    let both = "mutation { a: advanceRegister(input: {name: \"r\", fencingToken: 1}) { name highWater } \
        b: acquire(input: {name: \"a\", ttlMs: 60000}) { name } }";
    subscribe(&mut client, "1", both, json!({})).await;
    let answered = answer(&mut client, "1").await;
    assert_eq!(answered["data"], json!({"a": {"name": "r", "highWater": 1}, "b": null}));
    assert_eq!(answered["errors"][0]["extensions"]["code"], "lock_held");
    subscribe(
        &mut client,
        "q",
        "{ register(name: \"r\") { highWater } lock(name: \"a\") { waiterCount } }",
        json!({}),
    )
    .await;
    let read = answer(&mut client, "q").await;
    assert_eq!(read["data"], json!({"register": {"highWater": 1}, "lock": {"waiterCount": 0}}));

    // A wait is withdrawn by `complete`, and when its connection ends.
    let input = json!({"input": {"name": "a", "ttlMs": 60_000, "waitMs": 600_000}});
    subscribe(&mut client, "w", ACQUIRE, input.clone()).await;
    eventually("it waits", async || waiters(&front.node, "a").await == 1).await;
    client.send(json!({"type": "complete", "id": "w"})).await;
    eventually("it is withdrawn", async || waiters(&front.node, "a").await == 0).await;
    subscribe(&mut client, "w", ACQUIRE, input).await;
    eventually("it waits", async || waiters(&front.node, "a").await == 1).await;
    drop(client);
    eventually("it is withdrawn", async || waiters(&front.node, "a").await == 0).await;
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_bounds_apply_on_the_socket() {
    let front = start(SocketOptions::DEFAULT).await;
    let mut client = connect(&front).await;
    let wide = format!("{{ {} }}", "cluster { revision } ".repeat(31));
    let long = format!("{{ cluster {{ revision }} }}{}", " ".repeat(64 * 1024));
    let nested = format!("{{ a(b: {}{}) }}", "[".repeat(60), "]".repeat(60));
    let costly =
        format!("subscription {{ changes {{ ... on Changes {{ events {{ {} }} }} }} }}", "kind ".repeat(600));
    let many = format!(
        "subscription {{ changes {{ ... on Changes {{ events {{ {} }} }} }} }}",
        "kind ".repeat(1_001)
    );
    for (query, code, limit) in [
        (wide.as_str(), "query_too_large", "query_root_fields_max"),
        (&long, "query_too_large", "query_bytes_max"),
        (&nested, "query_too_large", "query_nesting_max"),
        (&many, "query_too_large", "query_fields_max"),
        (&costly, "query_too_large", "query_complexity_max"),
        ("{ __schema { types { name } } }", "invalid_query", ""),
        ("subscription { a: changes { __typename } b: changes { __typename } }", "invalid_query", ""),
        ("subscription { ...f } fragment f on Subscription { changes { __typename } }", "invalid_query", ""),
        ("subscription { __typename }", "invalid_query", ""),
        ("subscription { chnages { __typename } }", "invalid_query", ""),
        ("subscription { changes { nothing } }", "invalid_query", ""),
        (
            "subscription A { changes { __typename } } subscription B { changes { __typename } }",
            "invalid_query",
            "",
        ),
        ("subscription {", "invalid_query", ""),
        ("", "invalid_query", ""),
    ] {
        subscribe(&mut client, "1", query, json!({})).await;
        let error = refused(&mut client, "1").await.remove(0);
        let said = &error["extensions"];
        let found = said["details"]["limit"].as_str().unwrap_or_default();
        assert_eq!((&said["code"], found), (&json!(code), limit), "{query}: {error}");
    }
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn error_names_the_wrong_part_of_a_subscription() {
    let front = start(SocketOptions::DEFAULT).await;
    let mut client = connect(&front).await;
    for (arguments, code, field) in [
        ("areas: [LOCKS]", "invalid_argument", "areas[0]"),
        ("kinds: [GRANTED]", "invalid_argument", "kinds[0]"),
        ("name: \"a\", prefix: \"b\"", "invalid_argument", "name"),
        ("sessionId: \"7\"", "invalid_argument", "sessionId"),
        ("fromRevision: 0", "invalid_argument", "fromRevision"),
        ("fromRevision: 3, snapshot: true", "invalid_argument", "snapshot"),
        ("progressMs: 1", "invalid_argument", "progressMs"),
        ("namespace: \"a b\"", "invalid_argument", "namespace"),
        ("from: 3", "unknown_field", "from"),
    ] {
        let query = format!("subscription {{ changes({arguments}) {{ __typename }} }}");
        subscribe(&mut client, "1", &query, json!({})).await;
        let said = ended(&mut client, "1").await["extensions"].take();
        assert_eq!((&said["code"], &said["field"]), (&json!(code), &json!(field)), "{arguments}: {said}");
    }
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn protocol_violation_closes_with_its_code() {
    let socket = SocketOptions { message_bytes_max: 2_000, ..SocketOptions::DEFAULT };
    let front = start(socket).await;
    let text = |value: Value| Message::text(value.to_string());
    let operation = || json!({"type": "subscribe", "id": "1", "payload": {"query": "subscription { changes { __typename } }"}});
    let init = || json!({"type": "connection_init"});
    // The messages before the last one are answered with connection_ack or start a subscription.
    let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
    let cases: [(Vec<Message>, u16, &str); 16] = [
        (vec![text(operation())], 4401, "Unauthorized"),
        (vec![text(init()), text(init())], 4429, "Too many initialisation requests"),
        (vec![text(init()), text(operation()), text(operation())], 4409, "Subscriber for 1 already exists"),
        (vec![Message::text("{")], 4400, "EOF"),
        (vec![Message::text("7")], 4400, ""),
        (vec![Message::text("[]")], 4400, "array"),
        (vec![Message::text(nested(900))], 4400, "array"),
        (
            vec![Message::text(format!(r#"{{"type":"ping","payload":{{"a":{}}}}}"#, nested(900)))],
            4400,
            "recursion",
        ),
        (vec![text(json!({}))], 4400, "type"),
        (
            vec![text(init()), text(json!({"type": "start", "id": "1", "payload": {"query": "{a}"}}))],
            4400,
            "start",
        ),
        (
            vec![text(init()), text(json!({"type": "subscribe", "id": "", "payload": {"query": "{a}"}}))],
            4400,
            "id",
        ),
        (
            vec![text(init()), text(json!({"type": "subscribe", "id": "1", "payload": {"varaibles": {}}}))],
            4400,
            "variables",
        ),
        (
            vec![text(json!({"type": "connection_init", "payload": {"Batuta-Namespace": "team-b"}}))],
            4400,
            "batuta-namespace",
        ),
        (vec![text(init()), Message::Binary(Bytes::from_static(b"{}"))], 1003, "text"),
        (vec![text(init()), Message::text("x".repeat(2_001))], 1009, "long"),
        (vec![text(init()), Message::text("x".repeat(5_000))], 1009, "long"),
    ];
    for (messages, code, word) in cases {
        let shown = format!("{messages:?}");
        let mut client = front.connect().await;
        for message in messages {
            client.raw(message).await;
        }
        let (closed, reason) = client.close_frame().await.expect("with a reason");
        assert_eq!(closed, code, "{shown}: {reason}");
        assert!(reason.contains(word), "{shown}: {reason}");
    }
    // These messages are allowed: a ping may come at any time, and an unknown id belongs to an operation that has ended.
    let mut client = front.connect().await;
    client.send(json!({"type": "ping", "payload": {"a": 1}})).await;
    assert_eq!(client.frame("pong").await["payload"], json!({"a": 1}));
    client.send(init()).await;
    client.send(json!({"type": "complete", "id": "unknown"})).await;
    client.send(json!({"type": "pong"})).await;
    subscribe(&mut client, "1", CHANGES, json!({})).await;
    item(&mut client, "1", "Progress").await;
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_client_is_closed() {
    let socket = SocketOptions { init_timeout: Duration::from_millis(200), ..SocketOptions::DEFAULT };
    let front = start(socket).await;
    let (code, reason) = front.connect().await.close_frame().await.expect("with a reason");
    assert_eq!((code, reason.as_str()), (4408, "Connection initialisation timeout"));
    front.stop().await;

    let socket = SocketOptions {
        ping_every: Duration::from_millis(50),
        idle_timeout: Duration::from_secs(5),
        ..SocketOptions::DEFAULT
    };
    let front = start(socket).await;
    let bytes = connect(&front).await.read_without_answering().await;
    let close = 4408_u16.to_be_bytes();
    assert!(bytes.windows(4).any(|at| at[0] == 0x88 && at[2..] == close), "{bytes:?}");
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_over_the_limit_are_refused() {
    let socket = SocketOptions { in_flight_max: 1, subscriptions_max: 1, ..SocketOptions::DEFAULT };
    let front = start(socket).await;
    front.node.service.acquire(&front.node.context, one_shot("a")).await.expect("free");
    let mut client = connect(&front).await;
    let input = json!({"input": {"name": "a", "ttlMs": 60_000, "waitMs": 600_000}});
    subscribe(&mut client, "1", CHANGES, json!({})).await;
    subscribe(&mut client, "2", ACQUIRE, input.clone()).await;
    for (id, query, variables, limit) in [
        ("3", CHANGES, json!({}), "graphql_subscriptions_max"),
        ("4", ACQUIRE, input, "graphql_in_flight_max"),
    ] {
        subscribe(&mut client, id, query, variables).await;
        let said = ended(&mut client, id).await["extensions"].take();
        assert_eq!((&said["code"], &said["details"]["limit"]), (&json!("overloaded"), &json!(limit)));
    }
    item(&mut client, "1", "Progress").await;
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_agree_on_the_subprotocol() {
    let front = start(SocketOptions::DEFAULT).await;
    let ours = Some("graphql-transport-ws".to_owned());
    for offered in ["graphql-transport-ws", "graphql-ws, graphql-transport-ws"] {
        assert_eq!(front.handshake(Some(offered), None).await, Ok(ours.clone()), "{offered}");
    }
    for (offered, origin) in [
        (None, None),
        (Some("graphql-ws"), None),
        (Some("graphql-transport-ws"), Some("http://evil.example")),
    ] {
        let refused = front.handshake(offered, origin).await.expect_err("refused");
        assert_eq!(refused["errors"][0]["extensions"]["code"], "handshake_refused", "{offered:?} {origin:?}");
    }
    front.stop().await;
}
