//! The gRPC front over a real connection, over a replica of one node.

mod support;

#[path = "support/grpc.rs"]
mod front;

use std::time::Duration;

use batuta_proto::v1;
use batuta_proto::v1::lock_service_client::LockServiceClient;
use batuta_proto::v1::session_service_client::SessionServiceClient;
use front::{Front, exclusive, waiters};
use support::eventually;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

#[tokio::test(flavor = "multi_thread")]
async fn lock_is_taken_checked_extended_and_released() {
    let front = Front::start().await;
    let mut locks = LockServiceClient::new(front.channel().await);
    let grant = locks.acquire(exclusive("a/b")).await.expect("free").into_inner().grant.expect("has one");
    assert!(grant.fencing_token > 0 && grant.remaining_ms == Some(600_000) && !grant.expires_at.is_empty());

    let check =
        |token| v1::CheckRequest { name: "a/b".to_owned(), fencing_token: token, ..Default::default() };
    assert!(locks.check(check(grant.fencing_token)).await.expect("checks").into_inner().current);
    let stale = locks.check(check(grant.fencing_token + 1)).await.expect("checks").into_inner();
    assert_eq!(stale.status(), v1::TokenStatus::Superseded);
    assert_eq!(stale.newest_token, Some(grant.fencing_token));

    let extend =
        v1::ExtendRequest { lock_id: grant.lock_id.clone(), name: "a/b".to_owned(), ttl_ms: 900_000 };
    let longer = locks.extend(extend).await.expect("extends").into_inner().grant.expect("has one");
    assert_eq!(longer.remaining_ms, Some(900_000));

    let release = v1::ReleaseRequest { lock_id: grant.lock_id, ..Default::default() };
    let released = locks.release(release.clone()).await.expect("held").into_inner();
    assert_eq!((released.fencing_token, released.remaining_count), (grant.fencing_token, 0));
    let status = locks.release(release).await.expect_err("released already");
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.get_details_error_info().expect("has ErrorInfo").reason, "lock_not_held");

    let mut wrong = exclusive("a/b");
    wrong.locks[0].name = "a//b".to_owned();
    let status = locks.acquire(wrong).await.expect_err("a wrong name");
    let bad = status.get_details_bad_request().expect("has BadRequest");
    assert_eq!(bad.field_violations[0].field, "locks[0].name");
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_with_the_same_key_gets_the_same_lock() {
    let front = Front::start().await;
    let mut locks = LockServiceClient::new(front.channel().await);
    let keyed = || {
        let mut request = Request::new(exclusive("a"));
        request.metadata_mut().insert("idempotency-key", "k1".parse().expect("ascii"));
        request
    };
    let first = locks.acquire(keyed()).await.expect("free").into_inner().grant.expect("has one");
    let again = locks.acquire(keyed()).await.expect("the same answer").into_inner().grant.expect("has one");
    assert_eq!((first.lock_id, first.fencing_token), (again.lock_id, again.fencing_token));

    let mut sessions = SessionServiceClient::new(front.channel().await);
    let open = v1::OpenSessionRequest { ttl_ms: 60_000, metadata: String::new() };
    let session =
        sessions.open_session(open).await.expect("opens").into_inner().session.expect("has one").session_id;
    let sequenced = || {
        let owned = v1::AcquireRequest { ttl_ms: None, session_id: session.clone(), ..exclusive("b") };
        let mut request = Request::new(owned);
        request.metadata_mut().insert("batuta-session-sequence", "1".parse().expect("ascii"));
        request
    };
    let first = locks.acquire(sequenced()).await.expect("free").into_inner().grant.expect("has one");
    let again =
        locks.acquire(sequenced()).await.expect("the same answer").into_inner().grant.expect("has one");
    assert_eq!(first.fencing_token, again.fencing_token);
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_or_late_call_leaves_no_waiter() {
    let front = Front::start().await;
    let mut locks = LockServiceClient::new(front.channel().await);
    locks.acquire(exclusive("a")).await.expect("free");
    let waiting = v1::AcquireRequest { wait_ms: 60_000, ..exclusive("a") };

    let (mut other, request) = (locks.clone(), waiting.clone());
    let call = tokio::spawn(async move { other.acquire(request).await });
    eventually("the call is queued", async || waiters(&mut locks.clone(), "a").await == 1).await;
    call.abort();
    eventually("the waiter is withdrawn", async || waiters(&mut locks.clone(), "a").await == 0).await;

    let mut request = Request::new(waiting);
    request.set_timeout(Duration::from_millis(500));
    let status = locks.acquire(request).await.expect_err("held throughout");
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
    eventually("the waiter is withdrawn", async || waiters(&mut locks.clone(), "a").await == 0).await;
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_follows_readiness() {
    let front = Front::start().await;
    let mut health = HealthClient::new(front.channel().await);
    for service in ["", "batuta.v1.LockService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = health.check(request).await.expect("known").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
    }
    front.node.service.drain();
    eventually("health shows that the node drains", async || {
        let answer = health.clone().check(HealthCheckRequest::default()).await.expect("known").into_inner();
        answer.status() == ServingStatus::NotServing
    })
    .await;
    front.stop().await;
}

/// An open hold: its request stream and its answers.
struct Held {
    requests: tokio::sync::mpsc::Sender<v1::HoldRequest>,
    answers: tonic::Streaming<v1::HoldResponse>,
}

impl Held {
    async fn open(channel: Channel, acquire: v1::AcquireRequest) -> Self {
        let (requests, receiver) = tokio::sync::mpsc::channel(4);
        let wanted = v1::hold_request::Request::Acquire(acquire);
        requests.send(v1::HoldRequest { request: Some(wanted) }).await.expect("room");
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let answers = LockServiceClient::new(channel).hold(stream).await.expect("opens").into_inner();
        Self { requests, answers }
    }

    async fn ask(&self, request: v1::hold_request::Request) {
        self.requests.send(v1::HoldRequest { request: Some(request) }).await.expect("room");
    }

    async fn event(&mut self) -> Option<v1::hold_response::Event> {
        let answer = tokio::time::timeout(Duration::from_secs(30), self.answers.message()).await;
        answer.expect("in time").expect("no error").and_then(|answer| answer.event)
    }

    async fn granted(&mut self) -> v1::Grant {
        match self.event().await {
            Some(v1::hold_response::Event::Granted(grant)) => grant,
            other => panic!("{other:?}"),
        }
    }
}

async fn is_free(front: &Front, name: &str) -> bool {
    let request = v1::GetLockRequest { name: name.to_owned(), ..Default::default() };
    LockServiceClient::new(front.channel().await).get_lock(request).await.is_err()
}

#[tokio::test]
async fn closed_stream_releases_its_hold() {
    use v1::hold_response::Event;
    let front = Front::start().await;
    let mut held = Held::open(front.channel().await, exclusive("a")).await;
    let grant = held.granted().await;
    held.ask(v1::hold_request::Request::KeepAlive(v1::HoldKeepAlive {})).await;
    let Some(Event::Kept(kept)) = held.event().await else { panic!("kept alive") };
    assert_eq!(kept.remaining_ms, 600_000);
    // Closing the client's side releases the locks and ends the stream.
    let Held { requests, mut answers } = held;
    drop(requests);
    assert_eq!(answers.message().await.expect("no error"), None);
    assert!(is_free(&front, "a").await);
    // Cancelling the whole call releases them, too.
    let mut held = Held::open(front.channel().await, exclusive("a")).await;
    assert!(held.granted().await.fencing_token > grant.fencing_token);
    drop(held);
    eventually("the cancelled hold is given back", async || is_free(&front, "a").await).await;
    // An explicit release is answered.
    let mut held = Held::open(front.channel().await, exclusive("a")).await;
    let grant = held.granted().await;
    held.ask(v1::hold_request::Request::Release(v1::HoldRelease {})).await;
    let Some(Event::Released(released)) = held.event().await else { panic!("released") };
    assert_eq!((released.lock_id, released.fencing_token), (grant.lock_id, grant.fencing_token));
    assert_eq!(held.event().await, None);
    front.stop().await;
}

#[tokio::test]
async fn loss_of_a_hold_is_announced() {
    use v1::hold_response::Event;
    let front = Front::start().await;
    let mut held = Held::open(front.channel().await, exclusive("a")).await;
    let grant = held.granted().await;
    let force = v1::ForceReleaseRequest {
        name: "a".to_owned(),
        fencing_token: grant.fencing_token,
        reason: "stuck".to_owned(),
    };
    LockServiceClient::new(front.channel().await).force_release(force).await.expect("forced");
    let Some(Event::Lost(lost)) = held.event().await else { panic!("lost") };
    assert_eq!((lost.reason.as_str(), lost.words.as_str()), ("forced", "stuck"));
    assert_eq!(held.event().await, None);
    // Nothing keeps this hold alive.
    let short = v1::AcquireRequest { ttl_ms: Some(1_000), ..exclusive("b") };
    let mut held = Held::open(front.channel().await, short).await;
    held.granted().await;
    let Some(Event::Lost(lost)) = held.event().await else { panic!("lost") };
    assert_eq!(lost.reason, "expired");
    front.stop().await;
}

#[tokio::test]
async fn lost_client_leaves_no_waiting_hold() {
    let front = Front::start().await;
    let mut first = Held::open(front.channel().await, exclusive("a")).await;
    first.granted().await;
    let waiting = v1::AcquireRequest { wait_ms: 600_000, ..exclusive("a") };
    let second = Held::open(front.channel().await, waiting).await;
    let waiters = async || {
        let request = v1::GetLockRequest { name: "a".to_owned(), ..Default::default() };
        let answer = LockServiceClient::new(front.channel().await).get_lock(request).await.expect("held");
        answer.into_inner().lock.map_or(0, |lock| lock.waiter_count)
    };
    eventually("the second hold waits", async || waiters().await == 1).await;
    drop(second);
    eventually("nobody waits any more", async || waiters().await == 0).await;
    let session = v1::AcquireRequest { session_id: "s-1.0".to_owned(), ttl_ms: None, ..exclusive("c") };
    let mut wrong = Held::open(front.channel().await, session).await;
    let status = wrong.answers.message().await.expect_err("a hold takes no session");
    let bad = status.get_details_bad_request().expect("has BadRequest");
    assert_eq!(bad.field_violations[0].field, "session_id");
    front.stop().await;
}

#[tokio::test]
async fn end_of_a_watch_says_where_to_resume() {
    use v1::watch_response::Item;
    use v1::watch_service_client::WatchServiceClient;
    let front = Front::start().await;
    let mut client = WatchServiceClient::new(front.channel().await);
    let mut locks = LockServiceClient::new(front.channel().await);
    let request = v1::WatchRequest { prefix: "a/".to_owned(), ..Default::default() };
    let mut watch = client.watch(request).await.expect("opens").into_inner();
    let begin = watch.message().await.expect("no error").expect("a message");
    assert!(matches!(begin.item, Some(Item::Progress(_))), "the first item says where the watch begins");
    for name in ["a/1", "b/1", "a/2"] {
        locks.acquire(exclusive(name)).await.expect("granted");
    }
    let mut names = Vec::new();
    while names.len() < 2 {
        let message = watch.message().await.expect("no error").expect("a message");
        if let Some(Item::Changes(changes)) = message.item {
            names.extend(
                changes
                    .events
                    .into_iter()
                    .filter_map(|event| match event.facts {
                        Some(v1::event::Facts::Lock(facts)) => facts.grant,
                        _ => None,
                    })
                    .map(|grant| grant.locks[0].name.clone()),
            );
        }
    }
    assert_eq!(names, ["a/1", "a/2"]);
    let both = v1::WatchRequest { from_revision: 1, snapshot: true, ..Default::default() };
    let status = client.watch(both).await.expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument);
    front.node.service.drain();
    let status = loop {
        match watch.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the end says why"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.get_details_error_info().expect("has ErrorInfo").reason, "draining");
    front.stop().await;
}
