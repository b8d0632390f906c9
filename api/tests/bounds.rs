//! Answers bounded in bytes: pages, locks with many holders and waiters, explanations, snapshots, and requests too large for a message.

mod support;

#[path = "support/grpc.rs"]
mod front;

use std::collections::BTreeSet;

use batuta_api::service::Consistency::Linearizable;
use batuta_api::service::lock::{ListRequest, LockCursors};
use batuta_api::service::session::{ListRequest as ListSessions, OpenRequest};
use batuta_api::service::size::ANSWER_BYTES;
use batuta_api::service::watch::{Filter, Item, Names, Object, Start, WatchRequest};
use batuta_proto::v1;
use batuta_proto::v1::cluster_service_client::ClusterServiceClient;
use batuta_proto::v1::lock_service_client::LockServiceClient;
use batuta_proto::v1::session_service_client::SessionServiceClient;
use batuta_statemachine::LockId;
use batuta_statemachine::lock::{By, LockRequest, Mode};
use front::Front;
use prost::Message as _;
use support::{Node, eventually, name, one_shot};
use tonic::Code;
use tonic_types::StatusExt as _;

/// The largest message that a gRPC client accepts by default, in bytes.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Takes a semaphore `holders` times, with 4,000 bytes of metadata each.
async fn held_often(node: &Node, lock: &str, holders: usize) -> Vec<LockId> {
    let mut held = Vec::new();
    for _ in 0..holders {
        let mode = Mode::Semaphore { permits: 1, capacity: 1_000 };
        let mut request = one_shot(lock);
        request.requests = vec![LockRequest { name: name(lock), mode }];
        request.metadata = "m".repeat(4_000);
        let granted = node.service.acquire(&node.context, request).await.expect("granted");
        held.push(granted.value.lock_id);
    }
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_are_read_behind_a_cursor() {
    let node = Node::start().await;
    let held = held_often(&node, "s", 150).await;
    let (mut seen, mut cursors, mut answers) = (Vec::new(), LockCursors::default(), 0);
    loop {
        let lock = name("s");
        let found = node.service.get_lock(&node.context, &lock, cursors, Linearizable).await;
        let found = found.expect("is held").value;
        assert_eq!(found.view.holder_count, 150);
        seen.extend(found.view.holders.iter().map(|grant| grant.lock_id));
        answers += 1;
        cursors.holders_after = found.next_holders;
        if cursors.holders_after.is_none() {
            break;
        }
        let explained = node.service.explain(&node.context, &lock, cursors, Linearizable).await;
        let explained = explained.expect("is held").value;
        assert!(explained.summary.contains("147 more"), "{}", explained.summary);
    }
    assert!(answers > 2, "{answers} answers");
    assert_eq!(seen, held, "each once, oldest first");
    let refused = LockCursors::read("n61", "");
    assert_eq!(refused.expect_err("a cursor of another kind").field(), Some("holders_cursor"));
    // A release by token finds a holder that is not on the first page.
    let first = node.service.get_lock(&node.context, &name("s"), LockCursors::default(), Linearizable).await;
    assert!(first.expect("is held").value.view.holders.len() < 149);
    let token = node.service.check(&node.context, &name("s"), 0, Linearizable).await.expect("checks");
    let token = token.value.newest.expect("is held");
    let released =
        node.service.release(&node.context, By::Token { name: name("s"), token }).await.expect("is held");
    assert_eq!(released.value.lock_id, held[149]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiters_are_explained_behind_a_cursor() {
    let node = Node::start().await;
    let names: Vec<String> = (0..60).map(|number| format!("{number:02}/{}", "n".repeat(450))).collect();
    let requests: Vec<LockRequest> =
        names.iter().map(|text| LockRequest { name: name(text), mode: Mode::Exclusive }).collect();
    let mut request = one_shot("x");
    request.requests = requests;
    node.service.acquire(&node.context, request.clone()).await.expect("granted");
    request.wait_ms = 600_000;
    let waits: Vec<_> = (0..20)
        .map(|_| {
            let (service, context, request) = (node.service.clone(), node.context.clone(), request.clone());
            tokio::spawn(async move { service.acquire(&context, request).await })
        })
        .collect();
    let lock = name(&names[0]);
    eventually("all wait", async || {
        let found = node.service.get_lock(&node.context, &lock, LockCursors::default(), Linearizable).await;
        found.expect("is held").value.view.waiter_count == 20
    })
    .await;
    let (mut seen, mut cursors, mut answers) = (BTreeSet::new(), LockCursors::default(), 0);
    loop {
        let found = node.service.explain(&node.context, &lock, cursors, Linearizable).await;
        let found = found.expect("is held").value;
        let shown = found.lock.expect("is held");
        let explained: Vec<LockId> = found.waiters.iter().map(|waiter| waiter.wait.lock_id).collect();
        let listed: Vec<LockId> = shown.view.waiters.iter().map(|wait| wait.lock_id).collect();
        assert_eq!(explained, listed, "the explanation shows the same waiters as the lock");
        assert!(!explained.is_empty());
        seen.extend(explained);
        answers += 1;
        cursors.waiters_after = shown.next_waiters;
        if cursors.waiters_after.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 20);
    assert!(answers > 2, "{answers} answers");
    for wait in waits {
        wait.abort();
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_of_a_lock_with_many_holders_is_whole() {
    let node = Node::start().await;
    let mut held = held_often(&node, "a/s", 130).await;
    held.extend(held_often(&node, "a/t", 1).await);
    for names in [Names::Prefix("a/".to_owned()), Names::Exact(name("a/s"))] {
        let expected = if matches!(names, Names::Exact(_)) { &held[..130] } else { &held[..] };
        let filter = Filter { names, ..Filter::default() };
        let request = WatchRequest { filter, start: Start::Snapshot, ..WatchRequest::default() };
        let mut watch = node.service.watch(&node.context, request).await.expect("opens");
        let (mut seen, mut pages) = (Vec::new(), 0);
        loop {
            let Item::Snapshot(page) = watch.next().await.expect("goes on") else { panic!("pages first") };
            let locks = page.objects.iter().filter_map(|object| match object {
                Object::Lock(lock) => Some(lock),
                Object::Session(_) | Object::Election(_) | Object::Register(_) => None,
            });
            let holders = locks.flat_map(|lock| &lock.view.holders);
            let bytes: usize = holders.clone().map(|info| info.metadata.len()).sum();
            assert!(bytes <= ANSWER_BYTES, "{bytes} bytes");
            seen.extend(holders.map(|info| info.lock_id));
            pages += 1;
            if page.last {
                break;
            }
        }
        assert!(pages > 1);
        assert_eq!(seen, expected, "every holder once");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_bounded_in_bytes() {
    let front = Front::start().await;
    let (service, context) = (&front.node.service, &front.node.context);
    for number in 0..120 {
        let open = OpenRequest { ttl_ms: 600_000, metadata: "m".repeat(4_000) };
        service.open_session(context, open).await.expect("opens");
        let mut request = one_shot(&format!("l/{number:03}"));
        request.metadata = "m".repeat(4_000);
        service.acquire(context, request).await.expect("granted");
    }
    let (mut sessions, mut pages, mut request) = (0, 0, ListSessions { limit: Some(1_000), after: None });
    loop {
        let page = service.list_sessions(context, &request, Linearizable).await.expect("a page").value;
        sessions += page.items.len();
        pages += 1;
        request.after = page.next;
        if request.after.is_none() {
            break;
        }
    }
    assert!(pages > 1 && sessions == 120, "{sessions} sessions on {pages} pages");
    let (mut locks, mut pages) = (Vec::new(), 0);
    let mut request = ListRequest { limit: Some(1_000), ..ListRequest::default() };
    loop {
        let page = service.list_locks(context, &request, Linearizable).await.expect("a page").value;
        locks.extend(page.items.iter().map(|lock| lock.view.name.to_string()));
        pages += 1;
        request.after = page.next;
        if request.after.is_none() {
            break;
        }
    }
    assert!(pages > 1 && locks.len() == 120 && locks.is_sorted(), "{locks:?} on {pages} pages");
    let mut wire = SessionServiceClient::new(front.channel().await);
    let page = wire.list_sessions(v1::ListSessionsRequest { limit: 1_000, ..Default::default() }).await;
    let page = page.expect("fits").into_inner();
    assert!(page.encoded_len() <= ANSWER_BYTES && !page.next_cursor.is_empty());
    front.stop().await;
}

fn limit(name: &str, value: u64) -> v1::Limit {
    v1::Limit { name: name.to_owned(), value }
}

#[tokio::test(flavor = "multi_thread")]
async fn largest_allowed_objects_fit_into_a_message() {
    let front = Front::start().await;
    let limits = vec![
        limit("name_bytes_max", 1_024),
        limit("owner_bytes_max", 4_096),
        limit("metadata_bytes_max", 65_536),
        limit("reason_bytes_max", 65_536),
        limit("names_per_acquire_max", 1_024),
    ];
    let mut cluster = ClusterServiceClient::new(front.channel().await);
    cluster.set_limits(v1::SetLimitsRequest { limits }).await.expect("within their ranges");
    let names = (0..1_024).map(|number| format!("{number:04}/{}", "n".repeat(1_019)));
    let locks = names.map(|name| v1::LockRequest { name, ..Default::default() });
    let request = v1::AcquireRequest {
        locks: locks.collect(),
        owner: "o".repeat(4_096),
        metadata: "m".repeat(65_536),
        ttl_ms: Some(600_000),
        ..Default::default()
    };
    let lock = request.locks[0].name.clone();
    let mut locks = LockServiceClient::new(front.channel().await);
    locks.acquire(request.clone()).await.expect("granted");
    let waits: Vec<_> = (0..2)
        .map(|_| {
            let (mut locks, request) =
                (locks.clone(), v1::AcquireRequest { wait_ms: 600_000, ..request.clone() });
            tokio::spawn(async move { locks.acquire(request).await })
        })
        .collect();
    let explain = v1::ExplainRequest { name: lock.clone(), ..Default::default() };
    let explained = loop {
        let answer = locks.explain(explain.clone()).await.expect("fits into a message").into_inner();
        if answer.lock.as_ref().is_some_and(|lock| lock.waiter_count == 2) {
            break answer;
        }
    };
    assert!(explained.encoded_len() < MESSAGE_BYTES_MAX);
    assert_eq!((explained.waiters.len(), explained.waiters[0].blockers.len()), (1, 16));
    assert!(!explained.lock.expect("is held").next_waiters_cursor.is_empty());
    let listed = v1::ListLocksRequest { limit: 1_000, ..Default::default() };
    let page = locks.list_locks(listed).await.expect("fits into a message").into_inner();
    assert_eq!(page.locks.len(), 1);
    for wait in waits {
        wait.abort();
    }
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_that_is_too_large_is_named() {
    let front = Front::start().await;
    let mut locks = LockServiceClient::new(front.channel().await);
    let metadata = "m".repeat(MESSAGE_BYTES_MAX);
    let refused = locks.acquire(v1::AcquireRequest { metadata, ..Default::default() }).await;
    let status = refused.expect_err("too large");
    let reason = status.get_details_error_info().map(|info| info.reason);
    assert_eq!((status.code(), reason.as_deref()), (Code::ResourceExhausted, Some("body_too_large")));
    front.stop().await;
}
