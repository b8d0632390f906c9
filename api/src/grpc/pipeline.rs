//! Many calls over one stream.
//!
//! The stream of answers is what runs the calls: a client that does not read its answers stops its own calls, and nothing piles up
//! here. What is ready at once leaves in one message.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use batuta_proto::v1;
use batuta_proto::v1::answer::Result as Outcome;
use batuta_proto::v1::call::Request as Wanted;
use bytes::{Bytes, BytesMut};
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
                    // In a place of its own: else each call would take as much room as the largest.
                    front.$method(&context, message).boxed().await.map(Outcome::$variant)
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

/// What is ready to leave: the calls of a stream put it in, the stream takes it out.
#[derive(Debug, Default)]
struct Outgoing {
    answers: Vec<Bytes>,
    bytes: usize,
}

#[derive(Clone, Debug, Default)]
struct Outbox(Arc<Mutex<Outgoing>>);

impl Outbox {
    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        // Nothing that runs under the lock can panic between two changes that belong together.
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

    /// All there is.
    fn take(&self) -> Vec<Bytes> {
        std::mem::take(&mut *self.outgoing()).answers
    }

    /// Waits until there is room for more: after this turn of the stream, which takes what is there.
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

/// Does what a call asks for and puts its answers into the outbox. Returns the call's number.
async fn carry_out(front: Front, mut call: v1::Call, outbox: Outbox) -> u64 {
    let (call_id, wanted) = (call.call_id, call.request.take());
    let headers = headers(&call);
    let last = match wanted {
        Some(Wanted::Watch(wanted)) => match opened(&front, &headers, &wanted).boxed().await {
            Ok(watch) => tell(call_id, watch, &outbox).await,
            Err(error) => failure(error),
        },
        wanted => outcome(&front, &headers, wanted).await.unwrap_or_else(failure),
    };
    outbox.push(answer(call_id, last));
    call_id
}

/// Puts what a watch says into the outbox, until it ends; then says how.
async fn tell(call_id: u64, mut watch: Watch, outbox: &Outbox) -> Outcome {
    loop {
        outbox.room().await;
        let item = match watch.next().await {
            Ok(item) => item,
            Err(error) => return failure(error),
        };
        let message = SentWatch { call_id, watch: Some(watch::sent(item)) };
        let length = message.encoded_len();
        if length > ANSWER_BYTES_MAX {
            return too_large();
        }
        let mut bytes = BytesMut::with_capacity(length);
        message.encode_raw(&mut bytes);
        outbox.push(bytes.freeze());
    }
}

fn answer(call_id: u64, result: Outcome) -> Bytes {
    let mut answer = v1::Answer { call_id, result: Some(result) };
    if answer.encoded_len() > ANSWER_BYTES_MAX {
        answer.result = Some(too_large());
    }
    answer.encode_to_vec().into()
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
    in_flight: FuturesUnordered<Abortable<BoxFuture<'static, u64>>>,
    aborts: HashMap<u64, AbortHandle>,
    outbox: Outbox,
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
            outbox: Outbox::default(),
            end: None,
        }
    }

    fn refuse(&mut self, call_id: u64, error: ApiError) {
        self.outbox.push(answer(call_id, failure(error)));
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
        let (abort, registration) = AbortHandle::new_pair();
        self.aborts.insert(call_id, abort);
        let work = carry_out(self.front.clone(), call, self.outbox.clone());
        // Tokio would make a task with so many calls yield in the middle of what is ready; their number bounds it.
        self.in_flight.push(Abortable::new(unconstrained(work).boxed(), registration));
    }

    /// Takes what the client sent, a part at a time: one that never stops sending must not keep others from their turn.
    fn read(&mut self, context: &mut Context<'_>) {
        for _ in 0..MESSAGES_A_TURN {
            if self.closed || self.outbox.is_full() {
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
        while !self.outbox.is_full() {
            match self.in_flight.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(call_id))) => drop(self.aborts.remove(&call_id)),
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
        let answers = this.outbox.take();
        if !answers.is_empty() {
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
