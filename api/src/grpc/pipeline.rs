//! Many calls over one stream.
//!
//! The stream of answers is what runs the calls: a client that does not read its answers stops its own calls, and nothing piles up
//! here. What is ready at once leaves in one message.

use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use batuta_proto::v1;
use batuta_proto::v1::answer::Result as Outcome;
use batuta_proto::v1::call::Request as Wanted;
use bytes::Bytes;
use futures_util::future::{AbortHandle, Abortable, BoxFuture, Fuse};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use prost::Message as _;
use tokio::task::unconstrained;
use tonic::codegen::{Body, StdError, http};
use tonic::server::{Grpc, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::by_hand::OneMethod;
use super::{Front, Headers, OfSession as _, watch};
use crate::ApiError;
use crate::service::watch::Watch;

/// Calls of one stream that may be in flight.
const CALLS_MAX: usize = 4_096;
/// Messages that are read before the answers have their turn.
const MESSAGES_A_TURN: usize = 64;
/// Bytes of answers after which a message leaves though more are ready.
const MESSAGE_BYTES: usize = 1024 * 1024;
/// Bytes of one answer: with the others of its message it stays below [`super::MESSAGE_BYTES_MAX`].
const ANSWER_BYTES_MAX: usize = super::MESSAGE_BYTES_MAX - MESSAGE_BYTES - 1024;

/// What a call carries beside its request.
fn headers(call: &v1::Call) -> Headers<'_> {
    Headers {
        namespace: given(&call.namespace),
        key: given(&call.idempotency_key),
        sequence: given(&call.session_sequence),
        timeout: (call.timeout_ms > 0).then(|| Duration::from_millis(call.timeout_ms)),
    }
}

/// Does what one call asks for, which is not a watch.
async fn outcome(front: &Front, headers: &Headers<'_>, wanted: Option<Wanted>) -> Result<Outcome, ApiError> {
    macro_rules! calls {
        ($($variant:ident $method:ident;)*) => {
            match wanted {
                $(Some(Wanted::$variant(message)) => {
                    let context = headers.context(message.session()?)?;
                    front.$method(&context, message).await.map(Outcome::$variant)
                })*
                Some(Wanted::Watch(_)) | None => {
                    Err(ApiError::invalid("request", "is required, and must be a call that this node knows"))
                }
            }
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
        KeepAlive keep_alive;
        CloseSession close_session;
        GetSession get_session;
    }
}

async fn opened(front: &Front, headers: &Headers<'_>, wanted: &v1::WatchRequest) -> Result<Watch, ApiError> {
    front.watch(&headers.context(None)?, wanted).await
}

fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// `batuta.v1.PipelineResponse` on the wire: each answer as the bytes it is sized by.
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

/// An answer, and the watch that goes on after it.
struct Answered {
    call_id: u64,
    bytes: Bytes,
    watch: Option<Box<Watch>>,
}

async fn answered(front: Front, mut call: v1::Call) -> Answered {
    let (call_id, wanted) = (call.call_id, call.request.take());
    let headers = headers(&call);
    if let Some(Wanted::Watch(wanted)) = wanted {
        return match opened(&front, &headers, &wanted).await {
            Ok(watch) => next_of(call_id, Box::new(watch)).await,
            Err(error) => last(call_id, failure(error)),
        };
    }
    last(call_id, outcome(&front, &headers, wanted).await.unwrap_or_else(failure))
}

/// The next message of a watch.
async fn next_of(call_id: u64, mut watch: Box<Watch>) -> Answered {
    let item = match watch.next().await {
        Ok(item) => item,
        Err(error) => return last(call_id, failure(error)),
    };
    let message = SentWatch { call_id, watch: Some(watch::sent(item)) };
    if message.encoded_len() > ANSWER_BYTES_MAX {
        return last(call_id, too_large());
    }
    Answered { call_id, bytes: message.encode_to_vec().into(), watch: Some(watch) }
}

fn last(call_id: u64, result: Outcome) -> Answered {
    let mut answer = v1::Answer { call_id, result: Some(result) };
    if answer.encoded_len() > ANSWER_BYTES_MAX {
        answer.result = Some(too_large());
    }
    Answered { call_id, bytes: answer.encode_to_vec().into(), watch: None }
}

fn too_large() -> Outcome {
    let message = format!("the answer is larger than {ANSWER_BYTES_MAX} bytes; make this call by itself");
    let status = tonic_types::Status { code: tonic::Code::OutOfRange.into(), message, details: Vec::new() };
    Outcome::Error(status.encode_to_vec())
}

fn failure(error: ApiError) -> Outcome {
    Outcome::Error(Status::from(error).details().to_vec())
}

/// The calls of one stream, as the stream of their answers.
pub(super) struct Pipeline {
    front: Front,
    requests: Streaming<v1::PipelineRequest>,
    /// Nothing more is read.
    closed: bool,
    drains: Fuse<BoxFuture<'static, ()>>,
    in_flight: FuturesUnordered<Abortable<BoxFuture<'static, Answered>>>,
    aborts: HashMap<u64, AbortHandle>,
    /// What is ready to leave, and its size.
    answers: Vec<Bytes>,
    bytes: usize,
    /// Why the stream ends before the client closes it.
    end: Option<Status>,
}

impl Pipeline {
    fn new(front: Front, requests: Streaming<v1::PipelineRequest>) -> Self {
        let service = front.service.clone();
        Self {
            front,
            requests,
            closed: false,
            drains: async move { service.draining().await }.boxed().fuse(),
            in_flight: FuturesUnordered::new(),
            aborts: HashMap::new(),
            answers: Vec::new(),
            bytes: 0,
            end: None,
        }
    }

    fn is_full(&self) -> bool {
        self.bytes >= MESSAGE_BYTES
    }

    fn push(&mut self, bytes: Bytes) {
        self.bytes += bytes.len();
        self.answers.push(bytes);
    }

    fn refuse(&mut self, call_id: u64, error: ApiError) {
        self.push(last(call_id, failure(error)).bytes);
    }

    fn start(&mut self, call: v1::Call) {
        let call_id = call.call_id;
        if self.aborts.contains_key(&call_id) {
            let problem = "is that of a call in flight; count up from one call to the next";
            return self.refuse(call_id, ApiError::invalid("call_id", problem));
        }
        if self.aborts.len() >= CALLS_MAX {
            let max = u64::try_from(CALLS_MAX).unwrap_or(u64::MAX);
            return self.refuse(call_id, ApiError::Busy { what: "calls in flight on one stream", max });
        }
        self.go(call_id, answered(self.front.clone(), call));
    }

    fn go(&mut self, call_id: u64, work: impl Future<Output = Answered> + Send + 'static) {
        let (abort, registration) = AbortHandle::new_pair();
        self.aborts.insert(call_id, abort);
        // Tokio would make a task with so many calls yield in the middle of what is ready; their number bounds it.
        self.in_flight.push(Abortable::new(unconstrained(work).boxed(), registration));
    }

    /// Takes what the client sent, a part at a time: one that never stops sending must not keep others from their turn.
    fn read(&mut self, context: &mut Context<'_>) {
        for _ in 0..MESSAGES_A_TURN {
            if self.closed || self.is_full() {
                return;
            }
            match self.requests.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(v1::PipelineRequest { calls, cancelled }))) => {
                    for call in calls {
                        self.start(call);
                    }
                    for call_id in cancelled {
                        if let Some(abort) = self.aborts.remove(&call_id) {
                            abort.abort();
                        }
                    }
                }
                Poll::Ready(None) => self.closed = true,
                Poll::Ready(Some(Err(status))) => {
                    // What can not be read says nothing about what was read before.
                    self.closed = true;
                    self.end = Some(status);
                }
                Poll::Pending => return,
            }
        }
        context.waker().wake_by_ref();
    }

    /// Runs the calls and takes the answers that are ready.
    fn run(&mut self, context: &mut Context<'_>) {
        while !self.is_full() {
            match self.in_flight.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(Answered { call_id, bytes, watch }))) => {
                    self.aborts.remove(&call_id);
                    self.push(bytes);
                    if let Some(watch) = watch {
                        self.go(call_id, next_of(call_id, watch));
                    }
                }
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
            this.end = Some(ApiError::Draining.into());
        }
        this.read(context);
        this.run(context);
        if !this.answers.is_empty() {
            this.bytes = 0;
            let answers = std::mem::take(&mut this.answers);
            return Poll::Ready(Some(Ok(Sent { answers })));
        }
        if this.closed && this.in_flight.is_empty() {
            return Poll::Ready(this.end.take().map(Err));
        }
        Poll::Pending
    }
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
        std::future::ready(Ok(Response::new(Pipeline::new(self.0.clone(), request.into_inner()))))
    }
}
