//! Watches through the service and the REST front, over a replica of one node.

mod support;

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use batuta_api::rest;
use batuta_api::service::session::OpenRequest;
use batuta_api::service::watch::{Area, Filter, Item, Names, Object, Start, Watch, WatchRequest};
use batuta_statemachine::lock::By;
use futures_util::StreamExt as _;
use serde_json::Value;
use support::{Node, one_shot};
use tower::ServiceExt as _;

const PATIENCE: Duration = Duration::from_secs(30);

async fn next(watch: &mut Watch) -> Item {
    tokio::time::timeout(PATIENCE, watch.next()).await.expect("in time").expect("the watch goes on")
}

/// Returns the next changes as (revision, kinds); skips progress marks.
async fn changes(watch: &mut Watch) -> (u64, Vec<&'static str>) {
    loop {
        if let Item::Changes(batch) = next(watch).await {
            return (batch.revision, batch.events.iter().map(|event| event.kind.as_str()).collect());
        }
    }
}

async fn take_and_give_back(node: &Node, lock: &str) {
    let grant = node.service.acquire(&node.context, one_shot(lock)).await.expect("granted").value;
    let release = By::Id { lock_id: grant.lock_id, name: None };
    node.service.release(&node.context, release).await.expect("released");
}

#[tokio::test]
async fn watch_resumes_where_another_ended() {
    let node = Node::start().await;
    let request = |start| WatchRequest {
        filter: Filter { areas: vec![Area::Lock], ..Filter::default() },
        start,
        ..WatchRequest::default()
    };
    let mut first = node.service.watch(&node.context, request(Start::Now)).await.expect("opens");
    let Item::Progress { revision: begin } = next(&mut first).await else { panic!("says where it begins") };
    for lock in ["a", "b", "c"] {
        take_and_give_back(&node, lock).await;
    }
    let mut all = Vec::new();
    for _ in 0..6 {
        all.push(changes(&mut first).await);
    }
    let kinds: Vec<&str> = all.iter().flat_map(|(_, kinds)| kinds.clone()).collect();
    assert_eq!(kinds, ["lock_granted", "lock_released"].repeat(3));
    assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order: {all:?}");
    for (done, expected) in all.iter().enumerate() {
        let from = done.checked_sub(1).map_or(begin, |last| all[last].0) + 1;
        let mut other =
            node.service.watch(&node.context, request(Start::Revision(from))).await.expect("opens");
        assert!(matches!(next(&mut other).await, Item::Progress { revision } if revision == from - 1));
        assert_eq!(changes(&mut other).await, *expected, "from {from}");
    }
    node.stop().await;
}

#[tokio::test]
async fn no_gap_between_snapshot_and_changes() {
    let node = Node::start().await;
    for number in 0..250 {
        node.service.acquire(&node.context, one_shot(&format!("held/{number:03}"))).await.expect("granted");
    }
    node.service.acquire(&node.context, one_shot("other")).await.expect("granted");
    let filter = Filter { names: Names::Prefix("held/".to_owned()), ..Filter::default() };
    let request = WatchRequest { filter, start: Start::Snapshot, ..WatchRequest::default() };
    let busy = {
        let (service, context) = (node.service.clone(), node.context.clone());
        tokio::spawn(async move {
            for number in 250..350 {
                service.acquire(&context, one_shot(&format!("held/{number:03}"))).await.expect("granted");
            }
        })
    };
    let mut watch = node.service.watch(&node.context, request).await.expect("opens");
    let mut seen = Vec::new();
    let revision = loop {
        let Item::Snapshot(page) = next(&mut watch).await else { panic!("pages come first") };
        assert!(page.objects.len() <= 100);
        seen.extend(page.objects.iter().map(|object| match object {
            Object::Lock(lock) => lock.view.name.to_string(),
            other => panic!("the filter matches locks only: {other:?}"),
        }));
        if page.last {
            break page.revision;
        }
    };
    busy.await.expect("all are granted");
    while seen.len() < 350 {
        let Item::Changes(batch) = next(&mut watch).await else { continue };
        assert!(batch.revision > revision, "the snapshot already contains this change");
        seen.extend(batch.events.iter().flat_map(|event| event.names()).map(ToString::to_string));
    }
    let expected: Vec<String> = (0..350).map(|number| format!("held/{number:03}")).collect();
    assert_eq!(seen, expected, "each once, in order");
    node.stop().await;
}

#[tokio::test]
async fn compacted_start_names_the_oldest_revision() {
    let node = Node::start().await;
    // The history of a test node holds 1,000 changes.
    for number in 0..510 {
        take_and_give_back(&node, &format!("l/{number}")).await;
    }
    let watch = |start| node.service.watch(&node.context, WatchRequest { start, ..WatchRequest::default() });
    let Err(error) = watch(Start::Revision(1)).await else { panic!("revision 1 is gone") };
    assert_eq!(error.code().as_str(), "compacted");
    let oldest = error.details()["oldest_revision"].as_u64().expect("a revision");
    let mut there = watch(Start::Revision(oldest)).await.expect("as the error says");
    next(&mut there).await;
    assert!(changes(&mut there).await.0 >= oldest);
    let Err(before) = watch(Start::Revision(oldest - 1)).await else {
        panic!("the revision before it is gone")
    };
    assert_eq!(before.code().as_str(), "compacted");
    drop(there);
    // The same number again while nobody watches: a watch that begins now has missed nothing.
    for number in 0..510 {
        take_and_give_back(&node, &format!("l/{number}")).await;
    }
    let mut now = watch(Start::Now).await.expect("opens");
    let Item::Progress { revision } = next(&mut now).await else { panic!("says where it begins") };
    assert!(revision > oldest + 1000, "{revision} is too old");
    take_and_give_back(&node, "l").await;
    assert_eq!(changes(&mut now).await.1, ["lock_granted"]);
    node.stop().await;
}

#[tokio::test]
async fn session_end_is_one_batch() {
    let node = Node::start().await;
    let open = OpenRequest { ttl_ms: 60_000, metadata: "m".to_owned() };
    let session = node.service.open_session(&node.context, open).await.expect("opens").value.session;
    for lock in ["a", "b"] {
        let mut request = one_shot(lock);
        request.ttl_ms = None;
        request.owner.session = Some(session);
        node.service.acquire(&node.context, request).await.expect("granted");
    }
    let filter = Filter { session: Some(session), ..Filter::default() };
    let request = WatchRequest { filter, start: Start::Snapshot, ..WatchRequest::default() };
    let mut watch = node.service.watch(&node.context, request).await.expect("opens");
    let Item::Snapshot(page) = next(&mut watch).await else { panic!("the snapshot") };
    let kinds: Vec<char> = page
        .objects
        .iter()
        .map(|object| match object {
            Object::Session(_) => 's',
            Object::Lock(_) => 'l',
            Object::Election(_) => 'e',
            Object::Register(_) => 'r',
        })
        .collect();
    assert_eq!((kinds, page.last), (vec!['s', 'l', 'l'], true));
    take_and_give_back(&node, "of nobody").await;
    node.service.close_session(&node.context, session, false).await.expect("closes");
    let (_, kinds) = changes(&mut watch).await;
    assert_eq!(kinds, ["lock_released", "lock_released", "session_ended"]);
    node.stop().await;
}

#[tokio::test]
async fn draining_node_ends_its_watches() {
    let node = Node::start().await;
    let mut watch = node.service.watch(&node.context, WatchRequest::default()).await.expect("opens");
    next(&mut watch).await;
    node.service.drain();
    let error = tokio::time::timeout(PATIENCE, watch.next()).await.expect("in time").expect_err("it ends");
    assert_eq!(error.code().as_str(), "draining");
    drop(watch);
    node.stop().await;
}

/// Reads `count` events of a stream as (name, id, data); skips comments.
async fn server_events(body: Body, count: usize) -> Vec<(String, String, Value)> {
    let mut stream = body.into_data_stream();
    let mut text = String::new();
    while text.matches("\n\n").count() < count {
        let part = tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time");
        let Some(part) = part else { break };
        text.push_str(std::str::from_utf8(&part.expect("a part")).expect("text"));
    }
    let field = |event: &str, name: &str| {
        let found = event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found.map(|value| value.trim().to_owned()).unwrap_or_default()
    };
    text.split("\n\n")
        .filter(|event| event.contains("data:"))
        .take(count)
        .map(|event| {
            let data = serde_json::from_str(&field(event, "data")).expect("JSON");
            (field(event, "event"), field(event, "id"), data)
        })
        .collect()
}

async fn get(node: &Node, uri: &str, last_event_id: Option<&str>) -> axum::http::Response<Body> {
    let mut request = Request::get(uri);
    if let Some(id) = last_event_id {
        request = request.header("Last-Event-ID", id);
    }
    let request = request.body(Body::empty()).expect("a request");
    rest::router(node.service.clone()).oneshot(request).await.expect("answers")
}

async fn json(response: axum::http::Response<Body>) -> Value {
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    serde_json::from_slice(&bytes).expect("JSON")
}

#[tokio::test]
async fn server_sent_events_resume_by_their_id() {
    let node = Node::start().await;
    let response = get(&node, "/api/v1/watch?prefix=a/&kinds=lock_granted", None).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    for lock in ["a/1", "b/1", "a/2", "a/3"] {
        take_and_give_back(&node, lock).await;
    }
    let events = server_events(response.into_body(), 4).await;
    let names: Vec<&str> = events.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["progress", "changes", "changes", "changes"]);
    let locks = |events: &[(String, String, Value)]| -> Vec<String> {
        let granted = events.iter().filter(|(name, ..)| name == "changes");
        granted
            .map(|(.., data)| {
                data["events"][0]["facts"]["grant"]["name"].as_str().expect("a name").to_owned()
            })
            .collect()
    };
    assert_eq!(locks(&events), ["a/1", "a/2", "a/3"]);
    assert_eq!(events[1].1, events[1].2["revision"].to_string(), "the id is the revision");
    let again = get(&node, "/api/v1/watch?prefix=a/&kinds=lock_granted", Some(&events[1].1)).await;
    let rest = server_events(again.into_body(), 3).await;
    assert_eq!(locks(&rest), ["a/2", "a/3"], "no repetition, nothing missed");
    let all = get(&node, "/api/v1/watch?snapshot=true", None).await;
    let first = server_events(all.into_body(), 1).await;
    assert_eq!((first[0].0.as_str(), &first[0].2["last"]), ("snapshot", &Value::Bool(true)));
    node.service.drain();
    node.stop().await;
}

#[tokio::test]
async fn poll_waits_for_a_change_and_returns_a_cursor() {
    let node = Node::start().await;
    let first = json(get(&node, "/api/v1/watch/poll", None).await).await;
    assert_eq!(first["changes"], Value::Array(Vec::new()));
    let begin = first["next_revision"].as_u64().expect("a revision");
    let uri = format!("/api/v1/watch/poll?areas=lock&from_revision={begin}&wait_ms=30000");
    let (answer, ()) = tokio::join!(get(&node, &uri, None), take_and_give_back(&node, "a"));
    let answer = json(answer).await;
    assert_eq!(answer["changes"][0]["events"][0]["kind"], "lock_granted", "{answer}");
    let mut kinds = Vec::new();
    let mut from = begin;
    while kinds.len() < 2 {
        let uri = format!("/api/v1/watch/poll?areas=lock&from_revision={from}&wait_ms=30000");
        let answer = json(get(&node, &uri, None).await).await;
        for found in answer["changes"].as_array().expect("a list") {
            kinds.push(found["events"][0]["kind"].as_str().expect("a kind").to_owned());
        }
        from = answer["next_revision"].as_u64().expect("a revision");
    }
    assert_eq!(kinds, ["lock_granted", "lock_released"]);
    let idle =
        json(get(&node, &format!("/api/v1/watch/poll?from_revision={from}&wait_ms=0"), None).await).await;
    assert_eq!(
        (idle["changes"].as_array().map(Vec::len), idle["next_revision"].as_u64()),
        (Some(0), Some(from))
    );
    node.stop().await;
}

#[tokio::test]
async fn error_names_the_wrong_part_of_a_watch() {
    let node = Node::start().await;
    for (uri, last_event_id, field) in [
        ("/api/v1/watch?areas=locks", None, "areas"),
        ("/api/v1/watch?kinds=granted", None, "kinds"),
        ("/api/v1/watch?name=a&prefix=b", None, "name"),
        ("/api/v1/watch?session_id=7", None, "session_id"),
        ("/api/v1/watch?from_revision=0", None, "from_revision"),
        ("/api/v1/watch?from_revision=3&snapshot=true", None, "snapshot"),
        ("/api/v1/watch?progress_ms=1", None, "progress_ms"),
        ("/api/v1/watch?from=3", None, "from"),
        ("/api/v1/watch", Some("x"), "last-event-id"),
        ("/api/v1/watch/poll?wait_ms=60001", None, "wait_ms"),
        ("/api/v1/watch/poll?from_revision=0", None, "from_revision"),
        ("/api/v1/watch/poll?from_ordinal=3", None, "from_ordinal"),
    ] {
        let response = get(&node, uri, last_event_id).await;
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY, "{uri}");
        assert_eq!(json(response).await["field"], field, "{uri}");
    }
    node.stop().await;
}
