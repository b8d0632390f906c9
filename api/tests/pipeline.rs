//! Many calls on one gRPC stream, over a replica of one node and a real connection.

mod support;

#[path = "support/grpc.rs"]
mod front;

use std::collections::BTreeMap;
use std::time::Duration;

use batuta_proto::v1;
use batuta_proto::v1::answer::Result as Outcome;
use batuta_proto::v1::call::Request;
use batuta_proto::v1::lock_service_client::LockServiceClient;
use batuta_proto::v1::pipeline_service_client::PipelineServiceClient;
use batuta_proto::v1::watch_response::Item;
use front::{Front, exclusive, waiters};
use prost::Message as _;
use support::eventually;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

/// The client's end of a stream, which numbers calls in the order in which they are made.
struct Client {
    calls: mpsc::Sender<v1::PipelineRequest>,
    answers: Streaming<v1::PipelineResponse>,
    last_id: u64,
    unread: Vec<v1::Answer>,
}

impl Client {
    async fn connect(front: &Front) -> Self {
        let (calls, queue) = mpsc::channel(16);
        let mut service = PipelineServiceClient::new(front.channel().await);
        let answers = service.pipeline(ReceiverStream::new(queue)).await.expect("opens").into_inner();
        Self { calls, answers, last_id: 0, unread: Vec::new() }
    }

    async fn send(&mut self, calls: Vec<v1::Call>) {
        self.calls.send(v1::PipelineRequest { calls, ..Default::default() }).await.expect("is open");
    }

    fn numbered(&mut self, request: Request) -> v1::Call {
        self.last_id += 1;
        v1::Call { call_id: self.last_id, request: Some(request), ..Default::default() }
    }

    async fn start(&mut self, request: Request) -> u64 {
        let call = self.numbered(request);
        let call_id = call.call_id;
        self.send(vec![call]).await;
        call_id
    }

    /// Returns the next answer, to whichever call.
    async fn next(&mut self) -> Result<Option<(u64, Outcome)>, Status> {
        while self.unread.is_empty() {
            let within = Duration::from_secs(30);
            let message = tokio::time::timeout(within, self.answers.message()).await.expect("in time")?;
            let Some(message) = message else { return Ok(None) };
            self.unread = message.answers;
        }
        let answer = self.unread.remove(0);
        Ok(Some((answer.call_id, answer.result.expect("a result"))))
    }

    async fn answer(&mut self) -> (u64, Outcome) {
        self.next().await.expect("goes on").expect("an answer")
    }

    async fn ask(&mut self, request: Request) -> Outcome {
        let call_id = self.start(request).await;
        let (answered, outcome) = self.answer().await;
        assert_eq!(answered, call_id, "{outcome:?}");
        outcome
    }
}

fn refusal(outcome: Outcome) -> Status {
    let Outcome::Error(details) = outcome else { panic!("{outcome:?} is no refusal") };
    let status = tonic_types::Status::decode(details.as_slice()).expect("a google.rpc.Status");
    Status::with_details(Code::from_i32(status.code), status.message, details.into())
}

fn reason(outcome: Outcome) -> String {
    refusal(outcome).get_details_error_info().expect("has ErrorInfo").reason
}

fn granted(outcome: Outcome) -> v1::Grant {
    match outcome {
        Outcome::Acquire(answer) => answer.grant.expect("a grant"),
        Outcome::Error(_) => panic!("refused: {}", reason(outcome)),
        other => panic!("{other:?}"),
    }
}

fn waiting(name: &str) -> Request {
    Request::Acquire(v1::AcquireRequest { wait_ms: 600_000, ..exclusive(name) })
}

fn release(lock_id: String) -> Request {
    Request::Release(v1::ReleaseRequest { lock_id, ..Default::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn call_is_answered_under_its_id() {
    let front = Front::start().await;
    let mut client = Client::connect(&front).await;
    let calls: Vec<v1::Call> = (0..300)
        .map(|number| client.numbered(Request::Acquire(exclusive(&format!("many/{number}")))))
        .collect();
    client.send(calls).await;
    let mut tokens = std::collections::BTreeMap::new();
    for _ in 0..300 {
        let (call_id, outcome) = client.answer().await;
        let grant = granted(outcome);
        assert_eq!(grant.locks[0].name, format!("many/{}", call_id - 1));
        assert!(tokens.insert(call_id, grant.fencing_token).is_none(), "{call_id} is answered once");
    }
    assert_eq!(tokens.len(), 300);
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_call_blocks_no_other() {
    let front = Front::start().await;
    let mut client = Client::connect(&front).await;
    let held = granted(client.ask(Request::Acquire(exclusive("a"))).await);
    let waits = client.start(waiting("a")).await;
    let opened = client
        .ask(Request::OpenSession(v1::OpenSessionRequest { ttl_ms: 60_000, ..Default::default() }))
        .await;
    let Outcome::OpenSession(opened) = opened else { panic!("{opened:?}") };
    let session_id = opened.session.expect("a session").session_id;
    let kept = client.ask(Request::KeepAlive(v1::KeepAliveRequest { session_id: session_id.clone() })).await;
    assert!(matches!(kept, Outcome::KeepAlive(answer) if answer.session_id == session_id));
    let freeing = client.start(release(held.lock_id)).await;
    let mut answered = [client.answer().await, client.answer().await];
    answered.sort_by_key(|(call_id, _)| *call_id);
    let [(first, outcome), (second, released)] = answered;
    assert_eq!((first, second), (waits, freeing));
    assert!(granted(outcome).fencing_token > held.fencing_token);
    assert!(matches!(released, Outcome::Release(answer) if answer.fencing_token == held.fencing_token));
    front.stop().await;
}

/// Returns the details of a status.
fn facts(status: &Status) -> impl std::fmt::Debug {
    let details = status.get_error_details();
    let info = details.error_info().expect("a reason");
    let facts: BTreeMap<_, _> = info.metadata.clone().into_iter().collect();
    (info.reason.clone(), info.domain.clone(), facts, details.bad_request().cloned())
}

#[tokio::test(flavor = "multi_thread")]
async fn refusal_equals_that_of_a_single_call() {
    let front = Front::start().await;
    let mut client = Client::connect(&front).await;
    let mut locks = LockServiceClient::new(front.channel().await);
    let mut wrong = exclusive("a");
    wrong.locks[0].name = "a//b".to_owned();
    let alone = locks.acquire(wrong.clone()).await.expect_err("a wrong name");
    let refused = refusal(client.ask(Request::Acquire(wrong)).await);
    assert_eq!((refused.code(), refused.message()), (alone.code(), alone.message()));
    // The bytes may differ: the facts of a detail are a map, which is encoded in any order.
    assert_eq!(format!("{:?}", facts(&refused)), format!("{:?}", facts(&alone)));

    granted(client.ask(Request::Acquire(exclusive("held"))).await);
    assert_eq!(reason(client.ask(Request::Acquire(exclusive("held"))).await), "lock_held");

    let mut foreign = client
        .numbered(Request::GetLock(v1::GetLockRequest { name: "held".to_owned(), ..Default::default() }));
    foreign.namespace = "other".to_owned();
    client.send(vec![foreign]).await;
    assert_eq!(reason(client.answer().await.1), "lock_not_found", "namespaces hold per call");

    let call = v1::Call { call_id: 77, ..Default::default() };
    client.send(vec![call]).await;
    let (call_id, outcome) = client.answer().await;
    let bad = refusal(outcome).get_details_bad_request().expect("has BadRequest");
    assert_eq!((call_id, bad.field_violations[0].field.as_str()), (77, "request"));
    front.stop().await;
}

/// Opens a session and returns a keep-alive of it.
async fn keep_alive(client: &mut Client, namespace: &str) -> v1::Call {
    let open = v1::OpenSessionRequest { ttl_ms: 60_000, ..Default::default() };
    let mut open = client.numbered(Request::OpenSession(open));
    open.namespace = namespace.to_owned();
    client.send(vec![open]).await;
    let (_, Outcome::OpenSession(opened)) = client.answer().await else { panic!("not opened") };
    let session_id = opened.session.expect("a session").session_id;
    let mut call = client.numbered(Request::KeepAlive(v1::KeepAliveRequest { session_id }));
    namespace.clone_into(&mut call.namespace);
    call
}

fn kept(outcome: &Outcome) -> &v1::KeepAliveResponse {
    if let Outcome::KeepAlive(kept) = outcome { kept } else { panic!("{outcome:?}") }
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_alives_of_one_message_share_one_entry() {
    let front = Front::start().await;
    let mut client = Client::connect(&front).await;
    let calls = [
        keep_alive(&mut client, "").await,
        keep_alive(&mut client, "").await,
        keep_alive(&mut client, "team-b").await,
        keep_alive(&mut client, "").await,
    ];
    let [first, second, elsewhere, closed] = calls.clone();
    let Some(Request::KeepAlive(v1::KeepAliveRequest { session_id })) = closed.request.clone() else {
        panic!("{closed:?}")
    };
    client.ask(Request::CloseSession(v1::CloseSessionRequest { session_id, lock_delay: false })).await;
    let changed = |call: &v1::Call, number, change: fn(&mut v1::Call)| {
        let mut call = call.clone();
        call.call_id = number;
        change(&mut call);
        call
    };
    let foreign = changed(&elsewhere, 1_001, |call| call.namespace.clear());
    let twice = changed(&first, 1_002, |_| {});
    let hurried = changed(&first, 1_003, |call| call.timeout_ms = 20_000);
    let misnamed = changed(&first, 1_004, |call| {
        call.request = Some(Request::KeepAlive(v1::KeepAliveRequest { session_id: "x".to_owned() }));
    });
    let misplaced = changed(&first, 1_005, |call| call.namespace = "UPPER".to_owned());
    let numbers = [&first, &second, &closed, &elsewhere, &foreign, &twice, &hurried, &misnamed, &misplaced]
        .map(|call| call.call_id);
    let read =
        client.numbered(Request::GetLock(v1::GetLockRequest { name: "a".to_owned(), ..Default::default() }));
    client
        .send(vec![first, misnamed, second, read, closed, foreign, twice, misplaced, elsewhere, hurried])
        .await;
    let mut answers = std::collections::BTreeMap::new();
    for _ in 0..10 {
        let (call_id, outcome) = client.answer().await;
        assert!(answers.insert(call_id, outcome).is_none(), "{call_id} is answered once");
    }
    let [first, second, closed, elsewhere, foreign, twice, hurried, misnamed, misplaced] =
        numbers.map(|number| answers.remove(&number).expect("is answered"));
    for (kept_alive, asked) in [(&first, 0), (&second, 1), (&elsewhere, 2), (&twice, 0), (&hurried, 0)] {
        let Some(Request::KeepAlive(asked)) = &calls[asked].request else { panic!("{asked}") };
        assert_eq!((&kept(kept_alive).session_id, kept(kept_alive).ttl_ms), (&asked.session_id, 60_000));
    }
    assert_eq!([kept(&second).revision, kept(&twice).revision], [kept(&first).revision; 2], "one entry");
    let reasons = [closed, foreign, misnamed, misplaced].map(reason);
    assert_eq!(reasons, ["session_not_found", "namespace_mismatch", "invalid_argument", "invalid_argument"]);
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_keep_alive_costs_no_other_its_answer() {
    let front = Front::start().await;
    let mut client = Client::connect(&front).await;
    let one = keep_alive(&mut client, "").await;
    let calls: Vec<v1::Call> =
        (0..1_000).map(|_| client.numbered(one.request.clone().expect("a request"))).collect();
    let mut unanswered: std::collections::BTreeSet<u64> = calls.iter().map(|call| call.call_id).collect();
    let cancelled = vec![calls[0].call_id, calls[500].call_id];
    client.calls.send(v1::PipelineRequest { calls, cancelled, ..Default::default() }).await.expect("is open");
    while !unanswered.is_empty() {
        let (call_id, outcome) = client.answer().await;
        assert_eq!(kept(&outcome).ttl_ms, 60_000);
        assert!(unanswered.remove(&call_id), "{call_id} is answered once");
    }
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_keys_hold_across_streams_and_single_calls() {
    let front = Front::start().await;
    let mut client = Client::connect(&front).await;
    let keyed = |mut call: v1::Call| {
        call.idempotency_key = "k1".to_owned();
        call
    };
    let call = keyed(client.numbered(Request::Acquire(exclusive("a"))));
    client.send(vec![call]).await;
    let first = granted(client.answer().await.1);
    let mut other = Client::connect(&front).await;
    let call = keyed(other.numbered(Request::Acquire(exclusive("a"))));
    other.send(vec![call]).await;
    assert_eq!(granted(other.answer().await.1).lock_id, first.lock_id);
    let mut request = tonic::Request::new(exclusive("a"));
    request.metadata_mut().insert("idempotency-key", "k1".parse().expect("ascii"));
    let alone =
        LockServiceClient::new(front.channel().await).acquire(request).await.expect("the same answer");
    assert_eq!(alone.into_inner().grant.expect("a grant").lock_id, first.lock_id);

    let mut call = client.numbered(release(first.lock_id));
    call.session_sequence = "0".to_owned();
    client.send(vec![call]).await;
    assert_eq!(reason(client.answer().await.1), "invalid_argument", "sequences count from 1");
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_call_and_lost_stream_leave_no_waiter() {
    let front = Front::start().await;
    let mut client = Client::connect(&front).await;
    let locks = LockServiceClient::new(front.channel().await);
    granted(client.ask(Request::Acquire(exclusive("a"))).await);
    let first = client.start(waiting("a")).await;
    client.start(waiting("a")).await;
    eventually("both wait", async || waiters(&mut locks.clone(), "a").await == 2).await;
    let cancel =
        v1::PipelineRequest { calls: Vec::new(), cancelled: vec![first, 4_711], ..Default::default() };
    client.calls.send(cancel).await.expect("is open");
    eventually("one waits", async || waiters(&mut locks.clone(), "a").await == 1).await;
    assert_eq!(reason(client.ask(Request::Acquire(exclusive("a"))).await), "lock_held", "the stream goes on");
    drop(client);
    eventually("nobody waits", async || waiters(&mut locks.clone(), "a").await == 0).await;
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_flight_are_answered_after_half_close() {
    let front = Front::start().await;
    let mut client = Client::connect(&front).await;
    let held = granted(client.ask(Request::Acquire(exclusive("a"))).await);
    let waits = client.start(waiting("a")).await;
    let mut locks = LockServiceClient::new(front.channel().await);
    eventually("it waits", async || waiters(&mut locks.clone(), "a").await == 1).await;
    client.calls = mpsc::channel(1).0;
    locks.release(v1::ReleaseRequest { lock_id: held.lock_id, ..Default::default() }).await.expect("held");
    let (call_id, outcome) = client.answer().await;
    assert_eq!(call_id, waits);
    granted(outcome);
    assert!(client.next().await.expect("ends well").is_none());
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_node_answers_calls_and_ends_the_stream() {
    let front = Front::start().await;
    let mut client = Client::connect(&front).await;
    granted(client.ask(Request::Acquire(exclusive("a"))).await);
    let waits = client.start(waiting("a")).await;
    let locks = LockServiceClient::new(front.channel().await);
    eventually("it waits", async || waiters(&mut locks.clone(), "a").await == 1).await;
    front.node.service.drain();
    let (call_id, outcome) = client.answer().await;
    assert_eq!((call_id, reason(outcome).as_str()), (waits, "draining"));
    let end = client.next().await.expect_err("the stream ends");
    assert_eq!(end.get_details_error_info().expect("has ErrorInfo").reason, "draining");
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_share_the_stream_with_calls() {
    let front = Front::start().await;
    let mut client = Client::connect(&front).await;
    let watched = |name: &str| {
        let name = name.to_owned();
        Request::Watch(v1::WatchRequest { name, progress_ms: 3_600_000, ..Default::default() })
    };
    let first = client.start(watched("a")).await;
    let second = client.start(watched("b")).await;
    for _ in 0..2 {
        // The first answers say where the watches begin.
        let (call_id, begin) = client.answer().await;
        assert!(
            [first, second].contains(&call_id) && matches!(begin, Outcome::Watch(_)),
            "{call_id}: {begin:?}"
        );
    }
    let mut locks = LockServiceClient::new(front.channel().await);
    let mut told = Vec::new();
    for name in ["a", "b", "a"] {
        let grant = locks.acquire(exclusive(name)).await.expect("free").into_inner().grant.expect("a grant");
        locks
            .release(v1::ReleaseRequest { lock_id: grant.lock_id, ..Default::default() })
            .await
            .expect("held");
        for kind in ["lock_granted", "lock_released"] {
            let (call_id, outcome) = client.answer().await;
            let Outcome::Watch(v1::WatchResponse { item: Some(Item::Changes(changes)), revision }) = outcome
            else {
                panic!("{outcome:?}")
            };
            assert_eq!(changes.events[0].kind, kind);
            told.push((call_id, revision));
        }
    }
    let expected = [first, first, second, second, first, first];
    assert!(told.iter().map(|(call_id, _)| *call_id).eq(expected), "{told:?}");
    assert!(told.is_sorted_by_key(|(_, revision)| *revision), "{told:?}");

    let cancel = v1::PipelineRequest { calls: Vec::new(), cancelled: vec![first], ..Default::default() };
    client.calls.send(cancel).await.expect("is open");
    granted(client.ask(Request::Acquire(exclusive("a"))).await);
    let refused =
        Request::Watch(v1::WatchRequest { areas: vec!["nonsense".to_owned()], ..Default::default() });
    assert_eq!(reason(client.ask(refused).await), "invalid_argument");
    front.node.service.drain();
    let (call_id, outcome) = client.answer().await;
    assert_eq!((call_id, reason(outcome).as_str()), (second, "draining"));
    client.next().await.expect_err("this stream ends, too");
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_call_ids_harm_no_other_call() {
    const CALLS_MAX: u64 = 4_096;
    let front = Front::start().await;
    let mut client = Client::connect(&front).await;
    granted(client.ask(Request::Acquire(exclusive("a"))).await);
    let waits = client.start(waiting("a")).await;
    let mut again = client.numbered(waiting("a"));
    again.call_id = waits;
    client.send(vec![again]).await;
    let (call_id, outcome) = client.answer().await;
    let bad = refusal(outcome).get_details_bad_request().expect("has BadRequest");
    assert_eq!((call_id, bad.field_violations[0].field.as_str()), (waits, "call_id"));

    let calls: Vec<v1::Call> = (1..=CALLS_MAX).map(|_| client.numbered(waiting("a"))).collect();
    client.send(calls).await;
    let (call_id, outcome) = client.answer().await;
    assert_eq!(
        (call_id, reason(outcome).as_str()),
        (client.last_id, "overloaded"),
        "one call over the limit"
    );
    let opened = client
        .ask(Request::OpenSession(v1::OpenSessionRequest { ttl_ms: 60_000, ..Default::default() }))
        .await;
    assert_eq!(reason(opened), "overloaded");
    front.stop().await;
}
