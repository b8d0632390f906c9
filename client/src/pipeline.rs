//! Carries many calls to a node in one stream: a call costs a few bytes instead of an HTTP/2 stream of its
//! own.
//!
//! Invariant: every call sent through the pipeline is answered, cancelled by its caller, or told why the
//! stream ended; the next call opens a new stream.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use batuta_proto::v1;
use batuta_proto::v1::answer::Result as Outcome;
use batuta_proto::v1::call::Request as Wanted;
use batuta_proto::v1::pipeline_service_client::PipelineServiceClient;
use futures_util::{Stream, stream};
use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::address::endpoint_url;
use crate::credential::{Bearer, Credentials};
use crate::held::millis;
use crate::pool::channel;
use crate::transport;
use crate::watch_queue::{Putter, Taker, watch_queue};
use crate::{Credential, Error};

/// Calls of each kind in flight (waits for a lock or an election, watches, all others). A node accepts more
/// than all of them on one stream.
const CALLS_MAX: usize = 1_024;
/// A stream that carried nothing for this long is closed, so that an idle client costs its node nothing.
const IDLE: Duration = Duration::from_secs(30);
/// Calls in one message, and their total bytes unless a single call is larger.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 1 << 20;
/// Bytes of one call. A node accepts messages of 4 MiB; a larger one would break the stream for every other
/// call.
const CALL_BYTES_MAX: usize = (4 << 20) - 64;

/// A request that can go through a [`Pipeline`]; implementations name the type of its answer.
pub trait Pipelined: sealed::Message {}

mod sealed {
    use super::{Outcome, Wanted};

    pub trait Message {
        type Answer;
        fn wrap(self) -> Wanted;
        fn unwrap(outcome: Outcome) -> Option<Self::Answer>;
        /// Whether the node may hold the call open for long.
        fn waits(&self) -> bool;
    }
}

macro_rules! pipelined {
    ($($variant:ident($request:ident) -> $answer:ident $(, waits if $field:ident)?;)*) => {$(
        impl sealed::Message for v1::$request {
            type Answer = v1::$answer;

            fn wrap(self) -> Wanted {
                Wanted::$variant(self)
            }

            fn unwrap(outcome: Outcome) -> Option<v1::$answer> {
                if let Outcome::$variant(answer) = outcome { Some(answer) } else { None }
            }

            fn waits(&self) -> bool {
                false $(|| self.$field > 0)?
            }
        }

        impl Pipelined for v1::$request {}
    )*};
}

pipelined! {
    Acquire(AcquireRequest) -> AcquireResponse, waits if wait_ms;
    Release(ReleaseRequest) -> ReleaseResponse;
    Extend(ExtendRequest) -> ExtendResponse;
    CancelWait(CancelWaitRequest) -> CancelWaitResponse;
    ForceRelease(ForceReleaseRequest) -> ForceReleaseResponse;
    Check(CheckRequest) -> CheckResponse;
    GetLock(GetLockRequest) -> GetLockResponse;
    AdvanceRegister(AdvanceRegisterRequest) -> AdvanceRegisterResponse;
    GetRegister(GetRegisterRequest) -> GetRegisterResponse;
    DeleteRegister(DeleteRegisterRequest) -> DeleteRegisterResponse;
    OpenSession(OpenSessionRequest) -> OpenSessionResponse;
    KeepAlive(KeepAliveRequest) -> KeepAliveResponse;
    CloseSession(CloseSessionRequest) -> CloseSessionResponse;
    GetSession(GetSessionRequest) -> GetSessionResponse;
    Downgrade(DowngradeRequest) -> DowngradeResponse;
    SetMetadata(SetMetadataRequest) -> SetMetadataResponse;
    Resize(ResizeRequest) -> ResizeResponse;
    Campaign(CampaignRequest) -> CampaignResponse, waits if wait_ms;
    Proclaim(ProclaimRequest) -> ProclaimResponse;
    Resign(ResignRequest) -> ResignResponse;
    GetElection(GetElectionRequest) -> GetElectionResponse;
}

/// Options of a call besides its request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallOptions {
    /// Empty means `default`.
    pub namespace: String,
    /// The same request under the same key takes effect once.
    pub idempotency_key: Option<String>,
    /// How long the node may take, including a wait for a lock or an election; the node's default when absent.
    /// It does not limit how long the caller waits.
    pub timeout: Option<Duration>,
}

/// Why a call has no outcome.
#[derive(Debug)]
struct Failed {
    status: Status,
    /// Whether the node may have executed the call: the stream ended before its answer.
    may_have_run: bool,
}

/// The receiver of the answers to one call id.
#[derive(Debug)]
enum Waiter {
    Call(oneshot::Sender<Result<Outcome, Failed>>),
    Watch(Putter),
}

impl Waiter {
    /// Ends the call without an answer. A caller that has given up, or has not read earlier messages, is not
    /// waited for.
    fn fail(self, status: Status, may_have_run: bool) {
        match self {
            Self::Call(waiter) => drop(waiter.send(Err(Failed { status, may_have_run }))),
            Self::Watch(queue) => queue.fail(status),
        }
    }
}

impl CallOptions {
    fn call(&self, request: Wanted) -> Box<v1::Call> {
        Box::new(v1::Call {
            call_id: 0,
            namespace: self.namespace.clone(),
            idempotency_key: self.idempotency_key.clone().unwrap_or_default(),
            session_sequence: String::new(),
            timeout_ms: self.timeout.map_or(0, millis),
            request: Some(request),
        })
    }
}

type Answer = oneshot::Receiver<Result<Outcome, Failed>>;

#[derive(Debug)]
enum Out {
    Call(Box<v1::Call>),
    Cancel(u64),
}

#[derive(Debug, Default)]
struct Pending {
    waiters: HashMap<u64, Waiter>,
    last_id: u64,
    /// The stream has ended: later calls need a new one.
    closed: bool,
}

#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<Pending>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        // Code under this lock cannot leave `Pending` half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends every waiting call and watch. `may_have_run`: whether the node may have executed the calls.
    fn close(&self, status: &Status, may_have_run: bool) {
        let mut pending = self.lock();
        pending.closed = true;
        for (_, waiter) in pending.waiters.drain() {
            waiter.fail(status.clone(), may_have_run);
        }
    }

    /// Closes the stream if nobody waits for anything.
    fn close_idle(&self) -> bool {
        let mut pending = self.lock();
        pending.closed |= pending.waiters.is_empty();
        pending.closed
    }

    /// Hands out answers. Returns the call ids of watches that nobody reads any more, or that are read too
    /// slowly.
    fn deliver(&self, answers: Vec<v1::Answer>) -> Vec<u64> {
        let mut pending = self.lock();
        let mut given_up = Vec::new();
        for v1::Answer { call_id, result } in answers {
            // A cancelled call may still be answered.
            let Entry::Occupied(waiter) = pending.waiters.entry(call_id) else { continue };
            match (waiter.get(), result.map_or_else(|| Err(unknown_answer()), outcome)) {
                (Waiter::Watch(queue), Ok(Outcome::Watch(message))) => {
                    if !queue.put(message) {
                        waiter.remove();
                        given_up.push(call_id);
                    }
                }
                (_, Err(status)) => waiter.remove().fail(status, false),
                (_, Ok(answer)) => match waiter.remove() {
                    // The caller may have given up.
                    Waiter::Call(waiter) => drop(waiter.send(Ok(answer))),
                    watch @ Waiter::Watch(_) => watch.fail(unknown_answer(), false),
                },
            }
        }
        given_up
    }
}

fn unknown_answer() -> Status {
    Status::internal("an answer of a kind this client does not know")
}

fn outcome(outcome: Outcome) -> Result<Outcome, Status> {
    let Outcome::Error(details) = outcome else { return Ok(outcome) };
    let status = tonic_types::Status::decode(details.as_slice()).unwrap_or_default();
    Err(Status::with_details(Code::from_i32(status.code), status.message, details.into()))
}

/// A stream that is open or being opened; dropping the link ends the stream.
#[derive(Debug)]
struct Link {
    out: mpsc::UnboundedSender<Out>,
    shared: Shared,
    pump: Option<AbortHandle>,
}

impl Link {
    fn open(channel: Channel, bearer: watch::Receiver<Bearer>) -> Self {
        let (out, queue) = mpsc::unbounded_channel();
        let shared = Shared::default();
        let pump = pump(channel, bearer, queue, out.downgrade(), shared.clone());
        let pump = tokio::spawn(pump).abort_handle();
        Self { out, shared, pump: Some(pump) }
    }

    /// Ends every waiting call and watch without an answer, and resets the stream.
    fn give_up(&self, status: &Status) {
        self.shared.close(status, true);
        if let Some(pump) = &self.pump {
            pump.abort();
        }
    }

    /// Sends a call, or returns it when the stream has ended.
    fn put(&self, mut call: Box<v1::Call>, waiter: Waiter) -> Result<u64, (Box<v1::Call>, Waiter)> {
        let mut pending = self.shared.lock();
        if pending.closed {
            return Err((call, waiter));
        }
        pending.last_id += 1;
        let call_id = pending.last_id;
        call.call_id = call_id;
        pending.waiters.insert(call_id, waiter);
        // If nobody takes the call any more, the stream is about to be closed and the waiter will be failed.
        let _ = self.out.send(Out::Call(call));
        Ok(call_id)
    }
}

/// A call in flight. Dropping it before the answer cancels the call at the node.
#[derive(Debug)]
struct InFlight {
    link: Arc<Link>,
    call_id: u64,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.link.shared.lock().waiters.remove(&self.call_id).is_some() {
            let _ = self.link.out.send(Out::Cancel(self.call_id));
        }
    }
}

/// Packs the waiting calls into messages. Ends when nothing was sent for `idle` and nobody waits for an
/// answer. A token that was replaced goes with the next message, or alone when there is none, so that the
/// stream outlives the token that it was opened with.
fn messages(
    queue: mpsc::UnboundedReceiver<Out>,
    bearer: watch::Receiver<Bearer>,
    shared: Shared,
    idle: Duration,
) -> impl Stream<Item = v1::PipelineRequest> + Send {
    let begin = (queue, bearer, shared, VecDeque::new());
    stream::unfold(begin, move |(mut queue, mut bearer, shared, mut outs)| async move {
        while outs.is_empty() {
            let mut taken = Vec::new();
            let received = tokio::select! {
                biased;
                () = replaced(&mut bearer) => break,
                received = timeout(idle, queue.recv_many(&mut taken, BATCH)) => received,
            };
            match received {
                Ok(0) => return None,
                Err(_) if shared.close_idle() => return None,
                Ok(_) | Err(_) => outs.extend(taken),
            }
        }
        let mut message = message(&mut outs);
        if bearer.has_changed().unwrap_or(false) {
            message.token = bearer.borrow_and_update().text();
        }
        Some((message, (queue, bearer, shared, outs)))
    })
}

/// Resolves when the token was replaced, and leaves it to be taken. Never resolves when nobody replaces it any
/// more. Cancel safe.
async fn replaced(bearer: &mut watch::Receiver<Bearer>) {
    if bearer.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    bearer.mark_changed();
}

/// Takes as many calls as fit into one message.
fn message(outs: &mut VecDeque<Out>) -> v1::PipelineRequest {
    let mut message = v1::PipelineRequest::default();
    let mut bytes = 0;
    while let Some(out) = outs.pop_front() {
        match out {
            Out::Call(call) => {
                bytes += call.encoded_len();
                if bytes > BATCH_BYTES && !message.calls.is_empty() {
                    outs.push_front(Out::Call(call));
                    return message;
                }
                message.calls.push(*call);
            }
            Out::Cancel(call_id) => message.cancelled.push(call_id),
        }
    }
    message
}

/// Refuses a call that is too large for any node.
fn check_size(call: &v1::Call) -> Result<(), Error> {
    let bytes = call.encoded_len();
    if bytes <= CALL_BYTES_MAX {
        return Ok(());
    }
    let problem = format!("the request has {bytes} bytes; a node takes at most {CALL_BYTES_MAX}");
    Err(Error::new("body_too_large", problem, false))
}

async fn pump(
    channel: Channel,
    mut bearer: watch::Receiver<Bearer>,
    queue: mpsc::UnboundedReceiver<Out>,
    out: mpsc::WeakUnboundedSender<Out>,
    shared: Shared,
) {
    let opened_with = bearer.borrow_and_update().clone();
    let mut request = Request::new(messages(queue, bearer, shared.clone(), IDLE));
    opened_with.sign(&mut request);
    let mut answers = match PipelineServiceClient::new(channel).pipeline(request).await {
        Ok(response) => response.into_inner(),
        // Aborted: the connection was lost after the calls were sent.
        Err(status) => return shared.close(&status, status.code() == Code::Aborted),
    };
    loop {
        match answers.message().await {
            Ok(Some(v1::PipelineResponse { answers })) => {
                for call_id in shared.deliver(answers) {
                    // When the sending side is gone, the stream ends, and the watch with it.
                    let _ = out.upgrade().map(|out| out.send(Out::Cancel(call_id)));
                }
            }
            Ok(None) => return shared.close(&Status::aborted("the node ended the stream"), true),
            Err(status) => {
                let status = broken(status);
                return shared.close(&status, leaves_calls_open(&status));
            }
        }
    }
}

/// Marks a status that broke an open stream as aborted, unless Batuta itself wrote it: the cause is the
/// transport or the end of the node. An answer too large for this client stays as it is, since it would be
/// too large again.
fn broken(status: Status) -> Status {
    let own = status.get_details_error_info().is_some() || status.code() == Code::OutOfRange;
    if own { status } else { Status::aborted(format!("the stream broke: {}", transport::cause(&status))) }
}

/// Whether a node that ended a stream with this status may have executed calls without answering them. A node
/// cuts the calls off when the credential of the stream ends.
fn leaves_calls_open(status: &Status) -> bool {
    status.code() == Code::Aborted || Error::from_status(status, None).is_access_refused()
}

/// Calls to one node over one stream. The stream is opened on the first call, and again after it broke.
/// Nothing is sent twice.
#[derive(Debug)]
pub struct Pipeline {
    url: Option<Arc<str>>,
    channel: Channel,
    credentials: Arc<Credentials>,
    link: Mutex<Option<Arc<Link>>>,
    /// Slots for calls that wait for a lock or an election, separate from all others, so that many waits do
    /// not delay a keep-alive.
    waits: Semaphore,
    others: Semaphore,
    watches: Arc<Semaphore>,
}

impl Pipeline {
    /// The node behind a gRPC address (`host:port` or URL). Connects on the first call.
    ///
    /// # Errors
    /// The endpoint is not an address, or has an unsupported scheme.
    pub fn at(endpoint: &str) -> Result<Self, Error> {
        let url = endpoint_url(endpoint)?;
        let channel = channel(&url)?;
        Ok(Self::to(url.into(), channel, Credentials::none()))
    }

    /// The node at `url`, over an existing channel to it.
    pub(crate) fn to(url: Arc<str>, channel: Channel, credentials: Arc<Credentials>) -> Self {
        Self { url: Some(url), credentials, ..Self::over(channel) }
    }

    /// Sets how the client proves who it is; not at all unless set. When a token file has another token, the
    /// open stream is renewed in place.
    ///
    /// # Errors
    /// The token file has no token, or the token is not printable ASCII.
    pub fn credential(self, credential: &Credential) -> Result<Self, Error> {
        Ok(Self { credentials: Credentials::open(credential)?, ..self })
    }

    /// The node at the other end of a channel, which may be shared with other calls.
    #[must_use]
    pub fn over(channel: Channel) -> Self {
        let places = || Semaphore::new(CALLS_MAX);
        let watches = Arc::new(places());
        Self {
            url: None,
            channel,
            credentials: Credentials::none(),
            link: Mutex::new(None),
            waits: places(),
            others: places(),
            watches,
        }
    }

    /// Ends every open call and watch without an answer and resets the stream, because the node has been
    /// silent for too long.
    pub(crate) fn give_up(&self, why: &str) {
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(link) = link {
            link.give_up(&Status::aborted(why));
        }
    }

    fn error(&self, status: &Status) -> Error {
        Error::from_status(status, self.url.as_deref())
    }

    /// Makes one call. Dropping the future cancels the call. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// The node's refusal; `unavailable` when the node cannot be reached or the stream broke. For a call with
    /// a key, a stream that broke, or that ended with its credential, is `outcome_unknown`: the node may have
    /// executed the call.
    pub async fn call<R: Pipelined>(&self, request: R, options: &CallOptions) -> Result<R::Answer, Error> {
        let places = if request.waits() { &self.waits } else { &self.others };
        // The semaphore is never closed.
        let _place = places.acquire().await;
        let (waiter, answer): (_, Answer) = oneshot::channel();
        let call = options.call(request.wrap());
        check_size(&call)?;
        let in_flight = self.put(call, Waiter::Call(waiter));
        let lost = |_| Err(Failed { status: Status::unavailable("the stream broke"), may_have_run: false });
        let outcome = answer.await.unwrap_or_else(lost);
        drop(in_flight);
        let outcome = outcome.map_err(|Failed { status, may_have_run }| {
            let error = self.error(&status);
            let code = if may_have_run && options.idempotency_key.is_some() {
                "outcome_unknown".to_owned()
            } else {
                error.code
            };
            Error { code, ..error }
        })?;
        R::unwrap(outcome).ok_or_else(|| Error::new("internal", "an answer to another request", false))
    }

    /// Opens a watch. The node answers with the first message or with an error. Dropping the watch ends it.
    /// Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// `overloaded` when 1,024 watches are open on this stream; `body_too_large`.
    pub fn watch(&self, request: v1::WatchRequest, options: &CallOptions) -> Result<PipelinedWatch, Error> {
        let place = Arc::clone(&self.watches).try_acquire_owned().map_err(|_| {
            let problem =
                format!("{CALLS_MAX} watches are open on this client's stream; connect another client");
            Error::new("overloaded", problem, false)
        })?;
        let call = options.call(Wanted::Watch(request));
        check_size(&call)?;
        let (queue, messages) = watch_queue();
        let in_flight = self.put(call, Waiter::Watch(queue));
        Ok(PipelinedWatch { url: self.url.clone(), messages, _in_flight: in_flight, _place: place })
    }

    fn put(&self, mut call: Box<v1::Call>, mut waiter: Waiter) -> InFlight {
        let mut current = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let open = || Arc::new(Link::open(self.channel.clone(), self.credentials.follow()));
            let link = current.get_or_insert_with(open);
            match link.put(call, waiter) {
                Ok(call_id) => return InFlight { link: Arc::clone(link), call_id },
                Err(back) => {
                    (call, waiter) = back;
                    *current = None;
                }
            }
        }
    }
}

/// An open watch in a [`Pipeline`].
#[derive(Debug)]
pub struct PipelinedWatch {
    url: Option<Arc<str>>,
    messages: Taker,
    _in_flight: InFlight,
    _place: OwnedSemaphorePermit,
}

impl PipelinedWatch {
    /// Returns the next message. Cancel safe: dropping the future loses nothing.
    ///
    /// # Errors
    /// The error that ended the watch; `lagged` when the watch was not read fast enough: continue after the
    /// last whole revision.
    pub async fn next(&mut self) -> Result<v1::WatchResponse, Error> {
        match self.messages.next().await {
            Some(Ok(message)) => Ok(message),
            Some(Err(status)) => Err(Error::from_status(&status, self.url.as_deref())),
            None => Err(Error::new("lagged", "the watch was not read fast enough", false)),
        }
    }
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
