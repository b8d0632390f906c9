//! Revisions larger than one item may be, over every front: sent in parts that join without a gap or a repetition.

mod support;

#[path = "support/ws.rs"]
mod client;
#[path = "support/grpc.rs"]
mod front;

use axum::body::Body;
use axum::http::Request;
use batuta_api::graphql::{self, GraphqlOptions, SocketOptions};
use batuta_api::rest;
use batuta_api::service::session::OpenRequest;
use batuta_api::service::size::ANSWER_BYTES;
use batuta_api::service::watch::{Filter, Item, Start, WatchRequest};
use batuta_api::ws::WsOptions;
use batuta_proto::v1;
use batuta_proto::v1::pipeline_service_client::PipelineServiceClient;
use batuta_proto::v1::watch_response::Item as WireItem;
use batuta_proto::v1::watch_service_client::WatchServiceClient;
use batuta_proto::v1::{Answer, Call, PipelineRequest, answer, call};
use futures_util::StreamExt as _;
use prost::Message as _;
use serde_json::{Value, json};
use support::{Node, one_shot};
use tower::ServiceExt as _;

/// Locks of the session whose end is sent in parts.
const LOCKS: usize = 200;
/// Largest item of these tests as JSON, in bytes. Nothing in it is escaped.
const JSON_BYTES_MAX: usize = ANSWER_BYTES + 1_024;

/// Ends a session with [`LOCKS`] locks of 4,000 bytes of metadata each; returns the revision of its end.
async fn large_revision(node: &Node) -> u64 {
    let open = OpenRequest { ttl_ms: 600_000, metadata: String::new() };
    let session = node.service.open_session(&node.context, open).await.expect("opens").value.session;
    for number in 0..LOCKS {
        let mut request = one_shot(&format!("held/{number:03}"));
        request.ttl_ms = None;
        request.owner.session = Some(session);
        request.metadata = "m".repeat(4_000);
        node.service.acquire(&node.context, request).await.expect("granted");
    }
    node.service.close_session(&node.context, session, false).await.expect("closes").revision
}

/// Checks that parts, given as (ordinals, more), are the whole revision together.
#[track_caller]
fn assert_joined(parts: &[(Vec<u64>, bool)]) {
    assert!(parts.len() > 2, "{} parts", parts.len());
    let whole: Vec<u64> = parts.iter().flat_map(|(ordinals, _)| ordinals).copied().collect();
    assert!(whole.iter().copied().eq(0..=LOCKS as u64), "each once, in order: {whole:?}");
    let more: Vec<bool> = parts.iter().map(|(_, more)| *more).collect();
    assert_eq!(more.iter().filter(|more| !**more).count(), 1, "{more:?}");
    assert!(!more[more.len() - 1], "only the last part has more = false: {more:?}");
}

fn of_json(changes: &Value) -> (Vec<u64>, bool) {
    let events = changes["events"].as_array().expect("a list").iter();
    let ordinals = events.map(|event| event["ordinal"].as_u64().expect("a number")).collect();
    assert!(changes.to_string().len() <= JSON_BYTES_MAX, "{} bytes", changes.to_string().len());
    (ordinals, changes["more"].as_bool().unwrap_or_default())
}

fn of_wire(changes: &v1::Changes) -> (Vec<u64>, bool) {
    assert!(changes.encoded_len() <= ANSWER_BYTES, "{} bytes", changes.encoded_len());
    (changes.events.iter().map(|event| u64::from(event.ordinal)).collect(), changes.more)
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_joined_are_the_whole_revision() {
    let node = Node::start().await;
    let request = |start| WatchRequest { filter: Filter::default(), start, ..WatchRequest::default() };
    let mut live = node.service.watch(&node.context, request(Start::Now)).await.expect("opens");
    let revision = large_revision(&node).await;
    let mut resumed =
        node.service.watch(&node.context, request(Start::Revision(revision))).await.expect("opens");
    for watch in [&mut live, &mut resumed] {
        let mut parts = Vec::new();
        while parts.last().is_none_or(|(_, more)| *more) {
            let Item::Changes(batch) = watch.next().await.expect("goes on") else { continue };
            if batch.revision < revision {
                continue;
            }
            assert_eq!(batch.revision, revision);
            let told = watch.caught_up();
            assert_eq!(told >= revision, !batch.more, "caught up to {told} with {revision} incomplete");
            parts.push((batch.events.iter().map(|event| u64::from(event.ordinal)).collect(), batch.more));
        }
        assert_joined(&parts);
    }
    node.stop().await;
}

async fn get(node: &Node, uri: &str, last_event_id: &str) -> Body {
    let request = Request::get(uri).header("Last-Event-ID", last_event_id);
    let request = request.body(Body::empty()).expect("a request");
    rest::router(node.service.clone()).oneshot(request).await.expect("answers").into_body()
}

/// Reads events of a stream as (name, id, data), up to and including the first for which `last` is true.
async fn events_until(body: Body, last: impl Fn(&str, &Value) -> bool) -> Vec<(String, String, Value)> {
    let (mut chunks, mut buffer, mut events) = (body.into_data_stream(), String::new(), Vec::new());
    loop {
        let chunk = chunks.next().await.expect("goes on").expect("a chunk");
        buffer.push_str(std::str::from_utf8(&chunk).expect("text"));
        while let Some((event, rest)) = buffer.split_once("\n\n") {
            let field = |name: &str| {
                let found = event.lines().find_map(|line| line.strip_prefix(name));
                found.unwrap_or_default().trim_start_matches(':').trim().to_owned()
            };
            let data: Value = serde_json::from_str(&field("data")).unwrap_or_default();
            let ends = last(&field("event"), &data);
            events.push((field("event"), field("id"), data));
            buffer = rest.to_owned();
            if ends {
                return events;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_last_server_sent_part_has_an_id() {
    let node = Node::start().await;
    let revision = large_revision(&node).await;
    // The connection is lost after the first part. A browser resumes with the last id that it received.
    let before = (revision - 1).to_string();
    let is_part = |event: &str, data: &Value| event == "changes" && data["more"] == true;
    let cut = events_until(get(&node, "/api/v1/watch", &before).await, is_part).await;
    assert_eq!(cut.last().expect("a part").1, "", "an incomplete revision has no id");
    let ids: Vec<&str> = cut.iter().map(|(_, id, _)| id.as_str()).filter(|id| !id.is_empty()).collect();
    assert_eq!(ids, [before.as_str()], "only the id of the start");
    let whole = |event: &str, data: &Value| event == "changes" && data["more"].is_null();
    let again = events_until(get(&node, "/api/v1/watch", ids[0]).await, whole).await;
    let changes = again.iter().filter(|(event, ..)| event == "changes");
    let parts: Vec<_> = changes.map(|(_, _, data)| of_json(data)).collect();
    assert_joined(&parts);
    assert_eq!(again.last().expect("the last part").1, revision.to_string());
    node.service.drain();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_go_on_within_a_revision() {
    let node = Node::start().await;
    let revision = large_revision(&node).await;
    node.service.acquire(&node.context, one_shot("after")).await.expect("granted");
    let (mut from, mut ordinal, mut parts, mut polls) = (revision, 0, Vec::new(), 0);
    while from <= revision {
        let uri =
            format!("/api/v1/watch/poll?from_revision={from}&from_ordinal={ordinal}&wait_ms=30000&prefix=");
        let bytes =
            axum::body::to_bytes(get(&node, &uri, "0").await, 3 * ANSWER_BYTES).await.expect("bounded");
        let answer: Value = serde_json::from_slice(&bytes).expect("JSON");
        for changes in answer["changes"].as_array().expect("a list") {
            if changes["revision"] == revision {
                parts.push(of_json(changes));
            }
        }
        from = answer["next_revision"].as_u64().expect("a revision");
        ordinal = answer["next_ordinal"].as_u64().unwrap_or_default();
        if ordinal > 0 {
            assert_eq!((from, answer["revision"].as_u64()), (revision, Some(revision - 1)), "{answer}");
        }
        polls += 1;
    }
    assert!(polls > 1, "one answer held everything");
    assert_joined(&parts);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_revision_arrives_as_websocket_frames() {
    let front = client::Front::start(WsOptions::default()).await;
    let revision = large_revision(&front.node).await;
    let mut client = front.connect().await;
    client.ask(json!({"id": "w", "op": "watch", "from_revision": revision})).await;
    let mut parts = Vec::new();
    while parts.last().is_none_or(|(_, more)| *more) {
        let frame = client.frame("changes").await;
        assert_eq!(frame["revision"], revision);
        parts.push(of_json(&frame));
    }
    assert_joined(&parts);
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn items_of_a_subscription_are_parts() {
    let node = Node::start().await;
    let revision = large_revision(&node).await;
    let options = GraphqlOptions { introspection: false, page: false, socket: SocketOptions::DEFAULT };
    let router = graphql::router(node.service.clone(), options);
    let front = client::Front::serve(node, router, "/graphql", "graphql-transport-ws").await;
    let mut client = front.connect().await;
    client.send(json!({"type": "connection_init"})).await;
    client.frame("connection_ack").await;
    let query = "subscription ($from: Long!) { changes(fromRevision: $from) {
        ... on Changes { revision more events { ordinal facts { ... on LockFacts { grant { name metadata } } } } } } }";
    let payload = json!({"query": query, "variables": {"from": revision}});
    client.send(json!({"type": "subscribe", "id": "s", "payload": payload})).await;
    let mut parts = Vec::new();
    while parts.last().is_none_or(|(_, more)| *more) {
        let frame = client.frame("next").await;
        let changes = &frame["payload"]["data"]["changes"];
        if changes["events"].is_array() {
            assert_eq!(changes["revision"], revision);
            parts.push(of_json(changes));
        }
    }
    assert_joined(&parts);
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_revision_arrives_as_grpc_messages() {
    let front = front::Front::start().await;
    let revision = large_revision(&front.node).await;
    let request = v1::WatchRequest { from_revision: revision, ..Default::default() };
    let mut by_itself = WatchServiceClient::new(front.channel().await);
    let mut stream = by_itself.watch(request.clone()).await.expect("opens").into_inner();
    let mut parts = Vec::new();
    while parts.last().is_none_or(|(_, more)| *more) {
        let message = stream.message().await.expect("goes on").expect("a message");
        if let Some(WireItem::Changes(changes)) = message.item {
            parts.push(of_wire(&changes));
        }
    }
    assert_joined(&parts);
    let call = Call { call_id: 1, request: Some(call::Request::Watch(request)), ..Call::default() };
    let calls = PipelineRequest { calls: vec![call], cancelled: Vec::new(), token: String::new() };
    // The client's side stays open, because the watch runs until it is cancelled.
    let requests = futures_util::stream::iter([calls]).chain(futures_util::stream::pending());
    let mut pipeline = PipelineServiceClient::new(front.channel().await);
    let mut stream = pipeline.pipeline(requests).await.expect("opens").into_inner();
    let mut parts = Vec::new();
    while parts.last().is_none_or(|(_, more)| *more) {
        let message = stream.message().await.expect("goes on").expect("a message");
        for Answer { result, .. } in message.answers {
            let Some(answer::Result::Watch(watch)) = result else { panic!("{result:?}") };
            if let Some(WireItem::Changes(changes)) = watch.item {
                parts.push(of_wire(&changes));
            }
        }
    }
    assert_joined(&parts);
    front.stop().await;
}
