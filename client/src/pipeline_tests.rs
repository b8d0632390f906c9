//! The stream of calls, without and with a node.

use futures_util::StreamExt as _;

use super::*;
use crate::watch_queue::bounded;

fn watch_answer(call_id: u64, revision: u64) -> v1::Answer {
    let message = v1::WatchResponse { revision, ..Default::default() };
    v1::Answer { call_id, result: Some(Outcome::Watch(message)) }
}

#[tokio::test]
async fn missing_node_is_unavailable_on_every_call() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("bound").to_string();
    drop(free);
    let pipeline = Pipeline::at(&address).expect("an address");
    for _ in 0..2 {
        let request = v1::GetLockRequest { name: "a".to_owned(), ..Default::default() };
        let error = pipeline.call(request, &CallOptions::default()).await.expect_err("nobody listens");
        assert_eq!((error.code.as_str(), error.retryable), ("unavailable", true));
    }
    let mut watch = pipeline.watch(v1::WatchRequest::default(), &CallOptions::default()).expect("has room");
    assert_eq!(watch.next().await.expect_err("nobody listens").code, "unavailable");
}

#[tokio::test]
async fn abandoned_call_is_cancelled_and_forgotten() {
    let (out, mut sent) = mpsc::unbounded_channel();
    let link = Arc::new(Link { out, shared: Shared::default(), pump: None });
    let (waiter, answer) = oneshot::channel();
    let call_id = link.put(Box::default(), Waiter::Call(waiter)).expect("is open");
    assert!(matches!(sent.recv().await, Some(Out::Call(call)) if call.call_id == call_id));
    drop((answer, InFlight { link: Arc::clone(&link), call_id }));
    assert!(matches!(sent.recv().await, Some(Out::Cancel(cancelled)) if cancelled == call_id));
    // A late answer has no receiver.
    assert!(link.shared.deliver(vec![watch_answer(call_id, 1)]).is_empty());
    let (waiter, answer) = oneshot::channel();
    let call_id = link.put(Box::default(), Waiter::Call(waiter)).expect("is open");
    let result = Some(Outcome::GetLock(v1::GetLockResponse { revision: 7, ..Default::default() }));
    link.shared.deliver(vec![v1::Answer { call_id, result }]);
    assert!(matches!(answer.await, Ok(Ok(Outcome::GetLock(answer))) if answer.revision == 7));
    drop(InFlight { link: Arc::clone(&link), call_id });
    assert!(matches!(sent.recv().await, Some(Out::Call(_))));
    assert!(sent.try_recv().is_err(), "what is answered is not cancelled");
}

#[tokio::test]
async fn unread_watch_ends_as_lagged_after_its_queue() {
    let pipeline = Pipeline::at("127.0.0.1:1").expect("an address");
    let (queue, messages) = bounded(2);
    let (out, _sent) = mpsc::unbounded_channel();
    let link = Arc::new(Link { out, shared: Shared::default(), pump: None });
    let call_id = link.put(Box::default(), Waiter::Watch(queue)).expect("is open");
    let in_flight = InFlight { link: Arc::clone(&link), call_id };
    let place = Arc::clone(&pipeline.watches).try_acquire_owned().expect("has room");
    let mut watch = PipelinedWatch { url: None, messages, _in_flight: in_flight, _place: place };
    let answers = (1..=3).map(|revision| watch_answer(call_id, revision)).collect();
    assert_eq!(link.shared.deliver(answers), [call_id]);
    assert_eq!(watch.next().await.expect("is there").revision, 1);
    assert_eq!(watch.next().await.expect("is there").revision, 2);
    assert_eq!(watch.next().await.expect_err("has ended").code, "lagged");
}

#[test]
fn message_over_the_limit_is_split() {
    let call = |bytes: usize| {
        let request = v1::AcquireRequest { metadata: "x".repeat(bytes), ..Default::default() };
        CallOptions::default().call(sealed::Message::wrap(request))
    };
    assert_eq!(check_size(&call(CALL_BYTES_MAX)).expect_err("too large").code, "body_too_large");
    check_size(&call(CALL_BYTES_MAX - 64)).expect("fits by itself");
    let mut outs: VecDeque<Out> = [10, BATCH_BYTES / 2, BATCH_BYTES / 2, 3 * BATCH_BYTES, 10, 10]
        .into_iter()
        .map(|bytes| Out::Call(call(bytes)))
        .collect();
    outs.push_back(Out::Cancel(7));
    let sizes: Vec<usize> = std::iter::from_fn(|| {
        let message = (!outs.is_empty()).then(|| message(&mut outs))?;
        assert!(message.encoded_len() < 4 << 20);
        Some(message.calls.len())
    })
    .collect();
    assert_eq!(sizes, [2, 1, 1, 2]);
}

#[tokio::test]
async fn idle_stream_ends() {
    let (out, queue) = mpsc::unbounded_channel();
    let link = Link { out, shared: Shared::default(), pump: None };
    let bearer = Credentials::none().follow();
    let idle = Duration::from_millis(1);
    let mut sent = std::pin::pin!(messages(queue, bearer, link.shared.clone(), idle));
    let (waiter, answer) = oneshot::channel();
    let call_id = link.put(Box::default(), Waiter::Call(waiter)).expect("is open");
    assert_eq!(sent.next().await.expect("a message").calls.len(), 1);
    assert!(!link.shared.close_idle(), "a call is in flight");
    let result = Some(Outcome::GetLock(v1::GetLockResponse::default()));
    link.shared.deliver(vec![v1::Answer { call_id, result }]);
    answer.await.expect("is told").expect("is answered");
    assert!(sent.next().await.is_none());
    let (waiter, _answer) = oneshot::channel();
    assert!(link.put(Box::default(), Waiter::Call(waiter)).is_err(), "another stream is needed");
}

#[tokio::test]
async fn end_of_the_stream_reaches_every_waiter() {
    let (out, _sent) = mpsc::unbounded_channel();
    let link = Link { out, shared: Shared::default(), pump: None };
    let (waiter, answer) = oneshot::channel();
    let (queue, mut messages) = bounded(1);
    link.put(Box::default(), Waiter::Call(waiter)).expect("is open");
    link.put(Box::default(), Waiter::Watch(queue)).expect("is open");
    link.shared.close(&Status::unavailable("gone"), true);
    let failed = answer.await.expect("is told").expect_err("failed");
    assert_eq!((failed.status.code(), failed.may_have_run), (Code::Unavailable, true));
    assert_eq!(messages.next().await.expect("is told").expect_err("failed").code(), Code::Unavailable);
    let (waiter, _answer) = oneshot::channel();
    assert!(link.put(Box::default(), Waiter::Call(waiter)).is_err(), "another stream is needed");
    let torn = broken(Status::internal("h2 protocol error"));
    assert!(Error::from_status(&torn, None).retryable, "a connection that breaks is no defect of the node");
    let too_large = broken(Status::out_of_range("decoded message length too large"));
    assert!(!Error::from_status(&too_large, None).retryable, "it would be too large again");
}
