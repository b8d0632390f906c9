//! Acquisition, contention and waits through the service, over a replica of one node.

mod support;

use std::time::Duration;

use batuta_api::service::acquire::AcquireRequest;
use batuta_api::service::lock::{Extend, ForceRelease, ListRequest, LockCursors};
use batuta_api::service::session::OpenRequest;
use batuta_api::service::{CallContext, Consistency};
use batuta_statemachine::DedupKey;
use batuta_statemachine::lock::By;
use futures_util::FutureExt as _;
use support::{Node, eventually, one_shot};

fn keyed(key: &str) -> CallContext {
    let context = CallContext::anonymous();
    let dedup = DedupKey::Idempotency { namespace: context.namespace.clone(), key: key.to_owned() };
    CallContext { dedup: Some(dedup), ..context }
}

fn waiting(wait_ms: u64) -> AcquireRequest {
    AcquireRequest { wait_ms, ..one_shot("orders/42") }
}

impl Node {
    async fn waiters(&self) -> u64 {
        let (lock, cursors) = (support::name("orders/42"), LockCursors::default());
        let found = self.service.explain(&self.context, &lock, cursors, Consistency::Linearizable).await;
        found.expect("explain").value.lock.map_or(0, |lock| lock.view.waiter_count)
    }

    /// Starts an acquisition that has to wait, and returns when it is queued.
    async fn queue(
        &self,
        context: CallContext,
        request: AcquireRequest,
    ) -> tokio::task::JoinHandle<Result<u64, &'static str>> {
        let before = self.waiters().await;
        let service = self.service.clone();
        let call = tokio::spawn(async move {
            let answer = service.acquire(&context, request).await;
            answer.map(|at| at.value.token).map_err(|error| error.code().as_str())
        });
        eventually("the call is queued", async || self.waiters().await == before + 1).await;
        call
    }

    async fn holder_tokens(&self) -> Vec<u64> {
        let (lock, cursors) = (support::name("orders/42"), LockCursors::default());
        let found = self.service.get_lock(&self.context, &lock, cursors, Consistency::Linearizable).await;
        let tokens = found.map(|at| at.value.view.holders.iter().map(|grant| grant.token).collect());
        tokens.unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn release_grants_the_next_waiter() {
    let node = Node::start().await;
    let held = node.service.acquire(&node.context, one_shot("orders/42")).await.expect("free").value;
    let refused = node.service.acquire(&node.context, one_shot("orders/42")).await.expect_err("held");
    assert_eq!((refused.code().as_str(), refused.retryable()), ("lock_held", true));

    let call = node.queue(node.context.clone(), waiting(60_000)).await;
    let release = By::Id { lock_id: held.lock_id, name: None };
    let released = node.service.release(&node.context, release).await.expect("held");
    assert_eq!(released.value.fencing_token, held.token);
    let token = call.await.expect("no panic").expect("granted");
    assert!(token > held.token);
    assert_eq!(node.holder_tokens().await, [token]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_wait_leaves_nothing() {
    let node = Node::start().await;
    let held = node.service.acquire(&node.context, one_shot("orders/42")).await.expect("free").value;
    let refused = node.service.acquire(&node.context, waiting(50)).await.expect_err("held throughout");
    assert_eq!((refused.code().as_str(), refused.retryable()), ("wait_timeout", false));
    assert_eq!(node.waiters().await, 0);
    assert_eq!(node.holder_tokens().await, [held.token]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_caller_takes_its_waiter_along() {
    let node = Node::start().await;
    let held = node.service.acquire(&node.context, one_shot("orders/42")).await.expect("free").value;
    for context in [node.context.clone(), keyed("leaves")] {
        let call = node.queue(context, waiting(60_000)).await;
        call.abort();
        eventually("the waiter is withdrawn", async || node.waiters().await == 0).await;
    }
    assert_eq!(node.holder_tokens().await, [held.token], "the holder is untouched");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_call_leaves_no_lock() {
    let node = Node::start().await;
    // Polled once, so that the proposal is on its way, then dropped.
    let call = node.service.acquire(&node.context, one_shot("orders/42"));
    assert!(futures_util::future::FutureExt::now_or_never(call).is_none());
    // The abandoned call may be granted and withdrawn before or after this point; in the end nobody holds the lock.
    let again = AcquireRequest { wait_ms: 30_000, ..one_shot("orders/42") };
    node.service.acquire(&keyed("again"), again).await.expect("granted once the abandoned call is withdrawn");
    node.service.drain();
    node.service.drained().await;
    assert_eq!(node.holder_tokens().await.len(), 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answered_caller_keeps_its_lock() {
    let node = Node::start().await;
    let held = node.service.acquire(&node.context, one_shot("orders/42")).await.expect("free").value;
    let call = node.queue(node.context.clone(), waiting(60_000)).await;
    let release = By::Id { lock_id: held.lock_id, name: None };
    node.service.release(&node.context, release).await.expect("held");
    let token = call.await.expect("no panic").expect("granted");
    node.service.drain();
    // By now, any withdrawal that an answered call started by mistake is done.
    node.service.drained().await;
    assert_eq!(node.holder_tokens().await, [token]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_under_the_same_key_joins_the_same_wait() {
    let node = Node::start().await;
    let held = node.service.acquire(&node.context, one_shot("orders/42")).await.expect("free").value;
    let first = node.queue(keyed("k"), waiting(60_000)).await;
    let service = node.service.clone();
    let second = tokio::spawn(async move {
        service
            .acquire(&keyed("k"), waiting(60_000))
            .await
            .map(|at| at.value.token)
            .map_err(|error| error.code().as_str())
    });
    // The position of a third call shows that the second call was not queued separately.
    let third = node.queue(keyed("other"), waiting(60_000)).await;
    assert_eq!(node.waiters().await, 2);
    let release = By::Id { lock_id: held.lock_id, name: None };
    node.service.release(&node.context, release).await.expect("held");
    let token = first.await.expect("no panic").expect("granted");
    assert_eq!(second.await.expect("no panic").expect("granted"), token);
    third.abort();
    eventually("the third call is withdrawn", async || node.waiters().await == 0).await;
    assert_eq!(node.holder_tokens().await, [token]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn call_past_its_deadline_can_be_repeated() {
    let node = Node::start().await;
    let held = node.service.acquire(&node.context, one_shot("orders/42")).await.expect("free").value;
    let context = CallContext { timeout: Some(Duration::from_secs(2)), ..keyed("k") };
    let error = node.service.acquire(&context, waiting(60_000)).await.expect_err("the deadline is shorter");
    assert_eq!((error.code().as_str(), error.retryable()), ("outcome_unknown", true));
    assert_eq!(node.waiters().await, 1, "a wait with a key keeps its place");
    let service = node.service.clone();
    let again = tokio::spawn(async move { service.acquire(&keyed("k"), waiting(60_000)).await });
    let release = By::Id { lock_id: held.lock_id, name: None };
    node.service.release(&node.context, release).await.expect("held");
    let grant = again.await.expect("no panic").expect("granted").value;
    assert_eq!(error.details()["lock_id"], grant.lock_id.to_string());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_node_ends_waiting_calls() {
    let node = Node::start().await;
    node.service.acquire(&node.context, one_shot("orders/42")).await.expect("free");
    let unkeyed = node.queue(node.context.clone(), waiting(60_000)).await;
    let kept = node.queue(keyed("k"), waiting(60_000)).await;
    assert!(node.service.readiness().ready());
    node.service.drain();
    assert_eq!(unkeyed.await.expect("no panic"), Err("draining"));
    assert_eq!(kept.await.expect("no panic"), Err("draining"));
    node.service.drained().await;
    assert_eq!(node.waiters().await, 1, "the wait with a key stays for the retry at another node");
    assert!(!node.service.readiness().ready());
    let refused = node.service.acquire(&node.context, waiting(1_000)).await.expect_err("drains");
    assert_eq!(refused.code().as_str(), "draining");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_session_passes_its_locks_on() {
    let node = Node::start().await;
    let open = OpenRequest { ttl_ms: 60_000, metadata: "test".to_owned() };
    let session = node.service.open_session(&node.context, open).await.expect("opens").value;
    let owned = AcquireRequest { ttl_ms: None, wait_ms: 0, ..one_shot("orders/42") };
    let owned = AcquireRequest {
        owner: batuta_statemachine::lock::Owner { session: Some(session.session), label: String::new() },
        ..owned
    };
    node.service.acquire(&node.context, owned).await.expect("free");
    let shown = node.service.get_session(&node.context, session.session, Consistency::Linearizable).await;
    assert_eq!(shown.expect("open").value.grants, 1);
    let kept = node.service.keep_alive(&node.context, session.session).await.expect("open");
    assert_eq!(kept.value.ttl_ms, 60_000);

    let call = node.queue(node.context.clone(), waiting(60_000)).await;
    let closed = node.service.close_session(&node.context, session.session, false).await.expect("open").value;
    assert_eq!((closed.released_locks, closed.cancelled_waits), (1, 0));
    call.await.expect("no panic").expect("granted");
    let gone = node.service.keep_alive(&node.context, session.session).await.expect_err("closed");
    assert_eq!(gone.code().as_str(), "session_not_found");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_continue_at_the_cursor() {
    let node = Node::start().await;
    for index in 0..5 {
        node.service.acquire(&node.context, one_shot(&format!("list/{index}"))).await.expect("free");
    }
    let mut request = ListRequest { prefix: "list/".to_owned(), limit: Some(2), ..ListRequest::default() };
    let mut names = Vec::new();
    for _ in 0..5 {
        let page = node
            .service
            .list_locks(&node.context, &request, Consistency::Linearizable)
            .await
            .expect("lists")
            .value;
        assert!(page.items.len() <= 2);
        names.extend(page.items.iter().map(|lock| lock.view.name.to_string()));
        request.after = page.next;
        if request.after.is_none() {
            break;
        }
    }
    assert_eq!(names, ["list/0", "list/1", "list/2", "list/3", "list/4"]);
    node.stop().await;
}

#[tokio::test]
async fn grant_that_ended_unseen_is_reported() {
    let node = Node::start().await;
    for context in [node.context.clone(), keyed("k")] {
        let held = node.service.acquire(&node.context, one_shot("orders/42")).await.expect("free").value;
        // Polled until it is queued, then not again until its grant has ended.
        let mut call = Box::pin(node.service.acquire(&context, waiting(60_000)));
        assert!((&mut call).now_or_never().is_none());
        eventually("it is queued", async || node.waiters().await == 1).await;
        let release = By::Id { lock_id: held.lock_id, name: None };
        node.service.release(&node.context, release).await.expect("held");
        let token = node.holder_tokens().await[0];
        let (name, reason) = (support::name("orders/42"), "stuck".to_owned());
        let force = ForceRelease { name, fencing_token: token, reason };
        let forced = node.service.force_release(&node.context, force).await.expect("held");
        let error = call.await.expect_err("the grant has ended");
        assert_eq!(error.code().as_str(), "grant_ended", "{error}");
        assert_eq!(
            (&error.details()["reason"], &error.details()["words"]),
            (&"forced".into(), &"stuck".into())
        );
        assert!(error.revision() >= Some(forced.revision), "{error}");
    }
    node.stop().await;
}

#[tokio::test]
async fn retry_has_the_revision_of_the_effect() {
    let node = Node::start().await;
    let first = node.service.acquire(&keyed("take"), one_shot("orders/42")).await.expect("free");
    node.service.acquire(&node.context, one_shot("other")).await.expect("free");
    let again = node.service.acquire(&keyed("take"), one_shot("orders/42")).await.expect("its own");
    assert_eq!((again.revision, again.value.token), (first.revision, first.value.token));
    let release = || By::Id { lock_id: first.value.lock_id, name: None };
    let released = node.service.release(&keyed("give"), release()).await.expect("held");
    assert!(released.revision > first.revision);
    let again = node.service.release(&keyed("give"), release()).await.expect("the same answer");
    assert_eq!((again.revision, again.value), (released.revision, released.value));
    let ended = node.service.acquire(&keyed("take"), one_shot("orders/42")).await.expect_err("it ended");
    assert_eq!(ended.code().as_str(), "grant_ended");
    assert!(ended.revision() > Some(released.revision), "the current state of the grant");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_spans_two_namespaces() {
    let node = Node::start().await;
    let elsewhere = CallContext {
        namespace: batuta_statemachine::Namespace::new("team-b").expect("valid"),
        ..CallContext::anonymous()
    };
    let open = OpenRequest { ttl_ms: 60_000, metadata: String::new() };
    let session = node.service.open_session(&node.context, open).await.expect("opens").value.session;
    let refused = node.service.close_session(&elsewhere, session, false).await.expect_err("lives elsewhere");
    assert_eq!(refused.code().as_str(), "namespace_mismatch");
    let refused = node.service.keep_alive(&elsewhere, session).await.expect_err("lives elsewhere");
    assert_eq!(refused.code().as_str(), "namespace_mismatch");
    let grant = node.service.acquire(&node.context, one_shot("orders/42")).await.expect("free").value;
    let refused = node.service.cancel_wait(&elsewhere, grant.lock_id).await.expect_err("lives elsewhere");
    assert_eq!(refused.code().as_str(), "namespace_mismatch");
    let foreign = grant.lock_id;
    let extend = Extend { lock_id: foreign, name: None, ttl_ms: 60_000 };
    let named = By::Id { lock_id: foreign, name: Some(support::name("orders/42")) };
    let refusals = [
        node.service.release(&elsewhere, By::Id { lock_id: foreign, name: None }).await.map(|_| ()),
        node.service.release(&elsewhere, named).await.map(|_| ()),
        node.service.extend(&elsewhere, extend).await.map(|_| ()),
        node.service.get_session(&elsewhere, session, Consistency::Linearizable).await.map(|_| ()),
    ];
    for refused in refusals {
        let refused = refused.expect_err("lives elsewhere");
        assert_eq!(
            (refused.code().as_str(), refused.revision().is_some()),
            ("namespace_mismatch", true),
            "{refused}"
        );
    }
    let call = node.queue(node.context.clone(), waiting(60_000)).await;
    let lock = support::name("orders/42");
    let cursors = LockCursors::default();
    let found = node.service.get_lock(&node.context, &lock, cursors, Consistency::Linearizable);
    let waiter = found.await.expect("held").value.view.waiters[0].lock_id;
    let release = By::Id { lock_id: waiter, name: None };
    let refused = node.service.release(&elsewhere, release.clone()).await.expect_err("waits elsewhere");
    assert_eq!(refused.code().as_str(), "namespace_mismatch");
    let refused = node.service.release(&node.context, release).await.expect_err("only waits");
    assert_eq!(refused.code().as_str(), "lock_not_held");
    call.abort();
    node.service.acquire(&elsewhere, one_shot("orders/42")).await.expect("another lock of the same name");
    node.stop().await;
}
