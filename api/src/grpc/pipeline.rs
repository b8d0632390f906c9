//! Runs many calls on one stream.
//!
//! Polling the stream of answers runs the calls: a client that does not read its answers stops its own calls, and nothing piles up
//! here. Answers that are ready at the same time share a message.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use batuta_proto::v1;
use batuta_proto::v1::answer::Result as Outcome;
use batuta_proto::v1::call::Request as Wanted;
use batuta_statemachine::SessionId;
use bytes::{Bytes, BytesMut};
use futures_util::future::{AbortHandle, Abortable, BoxFuture, Fuse};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use prost::Message as _;
use tokio::sync::watch::{Receiver, Sender};
use tokio::task::coop::{Unconstrained, unconstrained};
use tonic::codegen::{Body, StdError, http};
use tonic::server::{Grpc, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::by_hand::OneMethod;
use super::status::of_transport;
use super::{Front, Headers, OfSession as _, session, watch};
use crate::ApiError;
use crate::access::Secret;
use crate::middleware::{self, client_of, panicked};
use crate::service::parse::parse_session_id;
use crate::service::session::KeptAlive;
use crate::service::watch::Watch;
use crate::service::{At, CallContext, Client, Service};

/// The most calls in flight on one stream.
const CALLS_MAX: usize = 4_096;
/// The most keep-alives in one request to the leader.
const KEEP_ALIVES: usize = 256;
/// The most messages that are read before answers are sent.
const MESSAGES_A_TURN: usize = 64;
/// A message of answers with this many bytes is sent even if more answers are ready.
const MESSAGE_BYTES: usize = 1024 * 1024;
/// The most bytes of one answer, so that its message stays below [`super::MESSAGE_BYTES_MAX`]. No answer comes near it
/// ([`crate::service::size`]).
const ANSWER_BYTES_MAX: usize = super::MESSAGE_BYTES_MAX - MESSAGE_BYTES - 1024;

/// The headers of a call.
fn headers(call: &v1::Call) -> Headers<'_> {
    Headers {
        namespace: given(&call.namespace),
        key: given(&call.idempotency_key),
        sequence: given(&call.session_sequence),
        timeout: (call.timeout_ms > 0).then(|| Duration::from_millis(call.timeout_ms)),
    }
}

macro_rules! calls {
    ($($variant:ident $method:ident;)*) => {
        /// Runs one call that is neither a watch nor a keep-alive.
        async fn outcome(
            front: &Front,
            client: &Client,
            headers: &Headers<'_>,
            wanted: Option<Wanted>,
        ) -> Result<Outcome, ApiError> {
            match wanted {
                $(Some(Wanted::$variant(message)) => {
                    let context = headers.context(client, message.session()?)?;
                    // Boxed, so that the common calls do not carry the size of the largest future.
                    front.$method(&context, message).boxed().await.map(Outcome::$variant)
                })*
                Some(Wanted::Watch(_) | Wanted::KeepAlive(_)) | None => {
                    Err(ApiError::invalid("request", "is required, and must be a call that this node knows"))
                }
            }
        }

        /// The names of the operations of these calls.
        #[cfg(test)]
        const CALLS: &[&str] = &[$(stringify!($method)),*];
    };
}

calls! {
    Acquire acquire;
    Release release;
    Extend extend;
    CancelWait cancel_wait;
    ForceRelease force_release;
    Check check;
    GetLock get_lock;
    AdvanceRegister advance_register;
    GetRegister get_register;
    DeleteRegister delete_register;
    OpenSession open_session;
    CloseSession close_session;
    GetSession get_session;
    Downgrade downgrade;
    SetMetadata set_metadata;
    Resize resize;
    Campaign campaign;
    Proclaim proclaim;
    Resign resign;
    GetElection get_election;
}

async fn opened(
    front: &Front,
    client: &Client,
    headers: &Headers<'_>,
    wanted: &v1::WatchRequest,
) -> Result<Watch, ApiError> {
    front.watch(&headers.context(client, None)?, wanted).await
}

fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// `batuta.v1.PipelineResponse` with each answer already encoded.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Sent {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    answers: Vec<Bytes>,
}

/// `batuta.v1.Answer` with a message of a watch, whose events are encoded once for all watchers.
#[derive(Clone, PartialEq, prost::Message)]
struct SentWatch {
    #[prost(uint64, tag = "1")]
    call_id: u64,
    #[prost(message, optional, tag = "30")]
    watch: Option<watch::Sent>,
}

/// Answers ready to be sent: the calls of a stream add them, the stream takes them.
#[derive(Debug, Default)]
struct Outgoing {
    answers: Vec<Bytes>,
    bytes: usize,
}

#[derive(Clone, Debug, Default)]
struct Outbox(Arc<Mutex<Outgoing>>);

impl Outbox {
    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        // No code that holds the lock can panic halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_full(&self) -> bool {
        self.outgoing().bytes >= MESSAGE_BYTES
    }

    fn push(&self, bytes: Bytes) {
        let mut outgoing = self.outgoing();
        outgoing.bytes += bytes.len();
        outgoing.answers.push(bytes);
    }

    /// Takes all answers.
    fn take(&self) -> Vec<Bytes> {
        std::mem::take(&mut *self.outgoing()).answers
    }

    /// Waits until there is room for more: until the stream has taken the answers.
    async fn room(&self) {
        poll_fn(|context| {
            if !self.is_full() {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

/// Runs a call and puts its answers into the outbox. Returns the id of the call.
async fn carry_out(front: Front, mut clients: Receiver<Client>, mut call: v1::Call, outbox: Outbox) -> u64 {
    let client = clients.borrow_and_update().clone();
    let (call_id, wanted) = (call.call_id, call.request.take());
    let headers = headers(&call);
    let last = match wanted {
        Some(Wanted::Watch(wanted)) => match opened(&front, &client, &headers, &wanted).boxed().await {
            Ok(watch) => tell(call_id, watch, clients, &outbox).await,
            Err(error) => failure(error),
        },
        wanted => outcome(&front, &client, &headers, wanted).await.unwrap_or_else(failure),
    };
    outbox.push(answer(call_id, last));
    call_id
}

/// A call in flight. One that panics is answered with an error, so that it does not affect other calls of its stream.
struct Guarded {
    call_id: u64,
    /// Boxed once, so that the layers around it do not move it.
    call: BoxFuture<'static, u64>,
    outbox: Outbox,
}

impl Future for Guarded {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<u64> {
        let call = &mut self.call;
        // A future that panicked is dropped without being polled again.
        match catch_unwind(AssertUnwindSafe(|| call.poll_unpin(context))) {
            Ok(polled) => polled,
            Err(panic) => {
                let failed = failure(panicked(middleware::Front::Grpc, panic));
                self.outbox.push(answer(self.call_id, failed));
                Poll::Ready(self.call_id)
            }
        }
    }
}

/// Puts the messages of a watch into the outbox until it ends; returns its last answer.
async fn tell(call_id: u64, mut watch: Watch, mut clients: Receiver<Client>, outbox: &Outbox) -> Outcome {
    loop {
        outbox.room().await;
        let item = match watch.next_renewed(&mut clients).await {
            Ok(item) => item,
            Err(error) => return failure(error),
        };
        let message = SentWatch { call_id, watch: Some(watch::sent(item)) };
        let length = message.encoded_len();
        if length > ANSWER_BYTES_MAX {
            return too_large(length);
        }
        let mut bytes = BytesMut::with_capacity(length);
        message.encode_raw(&mut bytes);
        outbox.push(bytes.freeze());
    }
}

/// Keep-alives of one message that share one request to the leader.
struct KeepAlives {
    context: CallContext,
    calls: Vec<(u64, SessionId)>,
}

impl KeepAlives {
    /// Runs the request; returns the answer of each call, with its id.
    async fn carry_out(self, front: Front) -> Vec<(u64, Bytes)> {
        let sessions: Vec<SessionId> = self.calls.iter().map(|(_, session)| *session).collect();
        let outcomes: Vec<Outcome> = match front.service.keep_alive_all(&self.context, &sessions).await {
            Ok(kept) => kept.into_iter().map(kept_outcome).collect(),
            Err(error) => vec![failure(error); sessions.len()],
        };
        self.calls.iter().zip(outcomes).map(|((id, _), outcome)| (*id, answer(*id, outcome))).collect()
    }
}

fn kept_outcome(kept: Result<At<KeptAlive>, ApiError>) -> Outcome {
    kept.map_or_else(failure, |at| Outcome::KeepAlive(session::kept_message(&at)))
}

fn answer(call_id: u64, result: Outcome) -> Bytes {
    let mut answer = v1::Answer { call_id, result: Some(result) };
    let length = answer.encoded_len();
    if length > ANSWER_BYTES_MAX {
        answer.result = Some(too_large(length));
    }
    answer.encode_to_vec().into()
}

/// The outcome when an answer is too large, which is a defect: answers are bounded where they are made.
fn too_large(length: usize) -> Outcome {
    let problem = format!("the answer has {length} bytes, one of a pipeline at most {ANSWER_BYTES_MAX}");
    failure(ApiError::Internal(problem))
}

fn failure(error: ApiError) -> Outcome {
    Outcome::Error(Status::from(error).details().to_vec())
}

/// The calls of one stream, as the stream of their answers.
pub(super) struct Pipeline {
    front: Front,
    /// Who the stream belongs to, for its calls and its open watches.
    client: Sender<Client>,
    /// Resolves when what the client proved no longer holds.
    lost: BoxFuture<'static, ApiError>,
    /// A new credential that is being checked, and the calls that wait for it.
    renewal: Option<Renewal>,
    requests: Streaming<v1::PipelineRequest>,
    /// Whether nothing more is read.
    closed: bool,
    drains: Fuse<BoxFuture<'static, ()>>,
    in_flight: FuturesUnordered<Abortable<Unconstrained<Guarded>>>,
    keep_alives: FuturesUnordered<BoxFuture<'static, Vec<(u64, Bytes)>>>,
    /// The calls in flight. A keep-alive has no work of its own that could be aborted.
    calls: HashMap<u64, Option<AbortHandle>>,
    outbox: Outbox,
    /// Why the stream ends before the client closes it.
    end: Option<Status>,
}

/// The renewal of the credential of a stream, with the calls of the same message.
struct Renewal {
    renewed: BoxFuture<'static, Result<Client, ApiError>>,
    calls: Vec<v1::Call>,
}

impl Pipeline {
    fn new(front: Front, client: Client, requests: Streaming<v1::PipelineRequest>) -> Self {
        let service = front.service.clone();
        let lost = lost(&service, &client);
        Self {
            front,
            client: Sender::new(client),
            lost,
            renewal: None,
            requests,
            closed: false,
            drains: async move { service.draining().await }.boxed().fuse(),
            in_flight: FuturesUnordered::new(),
            keep_alives: FuturesUnordered::new(),
            calls: HashMap::new(),
            outbox: Outbox::default(),
            end: None,
        }
    }

    fn refuse(&mut self, call_id: u64, error: ApiError) {
        self.outbox.push(answer(call_id, failure(error)));
    }

    /// Starts the calls of one message.
    fn start_all(&mut self, calls: Vec<v1::Call>) {
        let mut together: Option<KeepAlives> = None;
        for call in calls {
            if let Err(error) = self.has_room_for(call.call_id) {
                self.refuse(call.call_id, error);
            } else if let Some(Wanted::KeepAlive(message)) = &call.request {
                self.join(&mut together, &call, message);
            } else {
                self.start(call);
            }
        }
        self.start_keep_alives(together);
    }

    fn has_room_for(&self, call_id: u64) -> Result<(), ApiError> {
        if self.calls.contains_key(&call_id) {
            let problem = "is that of a call in flight; count up from one call to the next";
            return Err(ApiError::invalid("call_id", problem));
        }
        if self.calls.len() >= CALLS_MAX {
            let max = u64::try_from(CALLS_MAX).unwrap_or(u64::MAX);
            return Err(ApiError::Busy { what: "calls in flight on one stream", max });
        }
        Ok(())
    }

    fn start(&mut self, call: v1::Call) {
        let (abort, registration) = AbortHandle::new_pair();
        self.calls.insert(call.call_id, Some(abort));
        let (call_id, outbox) = (call.call_id, self.outbox.clone());
        let call = carry_out(self.front.clone(), self.client.subscribe(), call, outbox.clone()).boxed();
        // Tokio's budget would make a task with many calls yield although more are ready; their number bounds the work.
        let work = unconstrained(Guarded { call_id, call, outbox });
        self.in_flight.push(Abortable::new(work, registration));
    }

    /// Adds a keep-alive to a batch with the same conditions; a batch with other conditions is started first.
    fn join(&mut self, together: &mut Option<KeepAlives>, call: &v1::Call, message: &v1::KeepAliveRequest) {
        let asked = parse_session_id("session_id", &message.session_id)
            .and_then(|session| Ok((session, headers(call).context(&self.client.borrow(), Some(session))?)));
        let (session, context) = match asked {
            Ok(asked) => asked,
            Err(error) => return self.refuse(call.call_id, error),
        };
        self.calls.insert(call.call_id, None);
        let joins = |before: &KeepAlives| {
            let CallContext { caller, namespace, dedup: _, timeout } = &context;
            before.calls.len() < KEEP_ALIVES
                && (caller, namespace, timeout)
                    == (&before.context.caller, &before.context.namespace, &before.context.timeout)
        };
        if !together.as_ref().is_some_and(joins) {
            self.start_keep_alives(together.take());
        }
        let all = together.get_or_insert(KeepAlives { context, calls: Vec::new() });
        all.calls.push((call.call_id, session));
    }

    fn start_keep_alives(&mut self, together: Option<KeepAlives>) {
        if let Some(together) = together {
            let ids: Vec<u64> = together.calls.iter().map(|(id, _)| *id).collect();
            let work = AssertUnwindSafe(together.carry_out(self.front.clone())).catch_unwind();
            let work = work.map(move |answers| {
                answers.unwrap_or_else(|panic| {
                    let failed = failure(panicked(middleware::Front::Grpc, panic));
                    ids.into_iter().map(|id| (id, answer(id, failed.clone()))).collect()
                })
            });
            self.keep_alives.push(unconstrained(work).boxed());
        }
    }

    /// Cancels a call. A keep-alive is still answered, because its request contains others.
    fn cancel(&mut self, call_id: u64) {
        if let Entry::Occupied(call) = self.calls.entry(call_id)
            && let Some(abort) = call.get()
        {
            abort.abort();
            call.remove();
        }
    }

    fn renew(&mut self, token: String, calls: Vec<v1::Call>) {
        let (service, client) = (self.front.service.clone(), self.client.borrow().clone());
        let token = Secret::new(token);
        let renewed = async move { service.renew(&client, token).await }.boxed();
        self.renewal = Some(Renewal { renewed, calls });
    }

    /// Whether no renewal is under way any more. Until then nothing more is read, because it may need the new credential.
    fn renewed(&mut self, context: &mut Context<'_>) -> bool {
        let Some(renewal) = &mut self.renewal else { return true };
        let Poll::Ready(renewed) = renewal.renewed.poll_unpin(context) else { return false };
        let calls = self.renewal.take().map(|renewal| renewal.calls).unwrap_or_default();
        match renewed {
            Ok(client) => {
                self.lost = lost(&self.front.service, &client);
                self.client.send_replace(client);
                self.start_all(calls);
            }
            Err(error) => {
                self.closed = true;
                self.end = Some(error.into());
            }
        }
        true
    }

    /// Ends the stream and its calls, because what its client proved no longer holds.
    fn cut_off(&mut self, error: ApiError) {
        self.closed = true;
        self.end = Some(error.into());
        self.in_flight.clear();
        self.keep_alives.clear();
        self.calls.clear();
        self.renewal = None;
    }

    /// Reads messages of the client, a limited number at a time, so that a client that never stops sending does not starve its answers.
    fn read(&mut self, context: &mut Context<'_>) {
        for _ in 0..MESSAGES_A_TURN {
            if !self.renewed(context) || self.closed || self.outbox.is_full() {
                return;
            }
            match self.requests.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(v1::PipelineRequest { calls, cancelled, token }))) => {
                    for call_id in cancelled {
                        self.cancel(call_id);
                    }
                    if token.is_empty() {
                        self.start_all(calls);
                    } else {
                        self.renew(token, calls);
                    }
                }
                Poll::Ready(None) => self.closed = true,
                Poll::Ready(Some(Err(status))) => {
                    // An unreadable message does not affect the calls before it.
                    self.closed = true;
                    self.end = Some(of_transport(status));
                }
                Poll::Pending => return,
            }
        }
        context.waker().wake_by_ref();
    }

    /// Runs the calls and takes the ready answers.
    fn run(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(Some(answers)) = self.keep_alives.poll_next_unpin(context) {
            for (call_id, answer) in answers {
                self.calls.remove(&call_id);
                self.outbox.push(answer);
            }
        }
        while !self.outbox.is_full() {
            match self.in_flight.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(call_id))) => drop(self.calls.remove(&call_id)),
                Poll::Ready(Some(Err(_aborted))) => {}
                Poll::Ready(None) | Poll::Pending => return,
            }
        }
    }
}

impl Stream for Pipeline {
    type Item = Result<Sent, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.drains.poll_unpin(context).is_ready() {
            this.closed = true;
            this.end = Some(this.front.service.draining_error().into());
        }
        if !this.closed
            && let Poll::Ready(error) = this.lost.poll_unpin(context)
        {
            this.cut_off(error);
        }
        this.read(context);
        this.run(context);
        let answers = this.outbox.take();
        if !answers.is_empty() {
            return Poll::Ready(Some(Ok(Sent { answers })));
        }
        if this.closed && this.in_flight.is_empty() && this.keep_alives.is_empty() {
            return Poll::Ready(this.end.take().map(Err));
        }
        Poll::Pending
    }
}

/// Resolves when what a client proved no longer holds.
fn lost(service: &Service, client: &Client) -> BoxFuture<'static, ApiError> {
    let (service, client) = (service.clone(), client.clone());
    async move { service.identity_lost(client).await }.boxed()
}

/// `batuta.v1.PipelineService`.
#[derive(Clone)]
pub(super) struct PipelineMethod(pub(super) Front);

impl OneMethod for PipelineMethod {
    const SERVICE: &'static str = v1::pipeline_service_server::SERVICE_NAME;
    const METHOD: &'static str = "Pipeline";
    type Sent = Sent;
    type Received = v1::PipelineRequest;

    async fn serve<B>(
        self,
        mut grpc: Grpc<ProstCodec<Sent, v1::PipelineRequest>>,
        request: http::Request<B>,
    ) -> http::Response<tonic::body::Body>
    where
        B: Body + Send + 'static,
        B::Error: Into<StdError> + Send + 'static,
    {
        grpc.streaming(self, request).await
    }
}

impl StreamingService<v1::PipelineRequest> for PipelineMethod {
    type Response = Sent;
    type ResponseStream = Pipeline;
    type Future = std::future::Ready<Result<Response<Pipeline>, Status>>;

    fn call(&mut self, request: Request<Streaming<v1::PipelineRequest>>) -> Self::Future {
        let client = client_of(request.extensions());
        std::future::ready(Ok(Response::new(Pipeline::new(self.0.clone(), client, request.into_inner()))))
    }
}

#[cfg(test)]
mod tests {
    use batuta_proto::v1::CancelWaitResponse;
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::service::operation::{ALL, Area};

    #[test]
    fn calls_are_the_operations_on_single_objects() {
        // Lists and explanations are long; keep-alives and watches are handled separately.
        let elsewhere = ["list_locks", "list_elections", "explain", "list_sessions", "keep_alive", "watch"];
        // The cluster and access are changed by calls of their own, one at a time.
        let areas = [Area::Cluster, Area::Access];
        let expected = ALL.into_iter().filter(|operation| !areas.contains(&operation.area));
        let mut expected: Vec<&str> = expected.map(|operation| operation.name).collect();
        expected.retain(|name| !elsewhere.contains(name));
        let mut calls = CALLS.to_vec();
        calls.sort_unstable();
        expected.sort_unstable();
        assert_eq!(calls, expected);
    }

    #[tokio::test]
    async fn panicking_call_affects_no_other_call() {
        let outbox = Outbox::default();
        let done = |call_id| {
            let outbox = outbox.clone();
            async move {
                tokio::task::yield_now().await;
                let response = CancelWaitResponse { revision: 7 };
                outbox.push(answer(call_id, Outcome::CancelWait(response)));
                call_id
            }
        };
        let panics = async { panic!("secret words") };
        let calls: FuturesUnordered<Guarded> = FuturesUnordered::new();
        for (call_id, call) in [(1, done(1).boxed()), (2, panics.boxed()), (3, done(3).boxed())] {
            calls.push(Guarded { call_id, call, outbox: outbox.clone() });
        }
        let mut ended: Vec<u64> = calls.collect().await;
        ended.sort_unstable();
        assert_eq!(ended, [1, 2, 3]);
        for bytes in outbox.take() {
            let answer = v1::Answer::decode(bytes).expect("an answer");
            match (answer.call_id, answer.result.expect("a result")) {
                (1 | 3, Outcome::CancelWait(response)) => assert_eq!(response.revision, 7),
                (2, Outcome::Error(details)) => {
                    let status = Status::with_details(tonic::Code::Internal, "", details.into());
                    let info = status.get_details_error_info().expect("an ErrorInfo");
                    assert_eq!(info.reason, "internal");
                    assert!(!format!("{status:?}").contains("secret"), "{status:?}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
