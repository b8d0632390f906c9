//! Holds a grant for one bidirectional stream: locks (`Hold`), or the leadership of an election (`Lead`).

use std::future::Future;

use batuta_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::{election, lock};
use crate::ApiError;
use crate::access::Secret;
use crate::client_work::client_work;
use crate::error::Code as ErrorCode;
use crate::service::acquire::Held;
use crate::service::hold::{Hold, Lost};
use crate::service::lock::Released;
use crate::service::{At, CallContext, Service};

/// The most answers queued for a slow client.
const ANSWERS: usize = 16;

/// A message of the client.
pub(super) enum Wanted<F> {
    /// The first message: what to take.
    Take(F),
    KeepAlive,
    /// Replaces the value of a leader.
    Proclaim(String),
    Release,
    /// Renews the credential of the stream.
    Authenticate(Secret),
    /// None that this node knows.
    Nothing,
}

/// A kind of stream that holds a grant.
pub(super) trait Holding {
    /// The messages of the client.
    type Request: Send + 'static;
    /// The messages of the server.
    type Response: Send + 'static;
    /// The first message.
    type First: Send;
    /// The field of the first message.
    const FIRST: &'static str;
    /// The field of the message that gives the grant back.
    const RELEASE: &'static str;

    fn wanted(request: Self::Request) -> Wanted<Self::First>;

    /// Takes what the first message asks for.
    fn take(
        service: &Service,
        context: &CallContext,
        first: Self::First,
    ) -> impl Future<Output = Result<(At<Held>, Hold), ApiError>> + Send;

    fn granted(at: &At<Held>) -> Self::Response;
    fn kept(at: &At<u64>) -> Self::Response;
    fn proclaimed(at: &At<Held>) -> Self::Response;
    fn lost(at: At<Lost>) -> Self::Response;
    fn released(at: &At<Released>) -> Self::Response;
}

pub(super) type HoldStream<R> = ReceiverStream<Result<R, Status>>;

/// What arrived from the client's side of the stream.
enum Received<F> {
    Message(Wanted<F>),
    /// The client closed or cancelled the stream: it no longer wants the grant.
    Closed,
    /// The connection broke: the client may still be working.
    Broken,
    /// The client sent a message that is too large to be read.
    TooLarge,
}

async fn receive<H: Holding>(requests: &mut Streaming<H::Request>) -> Received<H::First> {
    match requests.message().await {
        Ok(Some(message)) => Received::Message(H::wanted(message)),
        Ok(None) => Received::Closed,
        Err(status) if status.code() == Code::Cancelled => Received::Closed,
        Err(status) if status.code() == Code::OutOfRange => Received::TooLarge,
        Err(_) => Received::Broken,
    }
}

/// Serves one stream in its own task, which ends with the stream.
pub(super) fn serve<H: Holding + 'static>(
    service: Service,
    context: CallContext,
    mut requests: Streaming<H::Request>,
) -> HoldStream<H::Response> {
    let (answers, receiver) = mpsc::channel(ANSWERS);
    // When it panics, its stream ends, and the hold with it.
    tokio::spawn(client_work(async move {
        let end = match take::<H>(&service, &context, &mut requests, &answers).await {
            Ok(Some(hold)) => keep::<H>(hold, &mut requests, &answers).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = end {
            // The client may have disconnected.
            let _ = answers.send(Err(error.into())).await;
        }
    }));
    ReceiverStream::new(receiver)
}

fn too_large() -> ApiError {
    ApiError::BodyTooLarge { max_bytes: super::MESSAGE_BYTES_MAX as u64 }
}

type Answers<R> = mpsc::Sender<Result<R, Status>>;

async fn tell<R>(answers: &Answers<R>, response: R) {
    // A disconnected client is noticed on its side of the stream.
    let _ = answers.send(Ok(response)).await;
}

/// Handles the first message; `None` when the client left before it had the grant.
async fn take<H: Holding>(
    service: &Service,
    context: &CallContext,
    requests: &mut Streaming<H::Request>,
    answers: &Answers<H::Response>,
) -> Result<Option<Hold>, ApiError> {
    let first = match receive::<H>(requests).await {
        Received::Message(Wanted::Take(first)) => first,
        Received::Message(_) => return Err(ApiError::invalid(H::FIRST, "is required as the first message")),
        Received::Closed | Received::Broken => return Ok(None),
        Received::TooLarge => return Err(too_large()),
    };
    // Dropping the acquisition withdraws it in any state.
    let (granted, hold) = tokio::select! {
        lost = service.client_lost(context.caller.client()) => return Err(lost),
        granted = H::take(service, context, first) => granted?,
        received = receive::<H>(requests) => return match received {
            Received::Message(Wanted::Release) | Received::Closed | Received::Broken => Ok(None),
            Received::TooLarge => Err(too_large()),
            Received::Message(_) => {
                let problem = format!("is answered first; only {} may come before the answer", H::RELEASE);
                Err(ApiError::invalid(H::FIRST, problem))
            }
        },
    };
    tell(answers, H::granted(&granted)).await;
    Ok(Some(hold))
}

/// Whether a keep-alive that failed may succeed the next time.
fn passes(error: &ApiError) -> bool {
    error.retryable() || error.code() == ErrorCode::OutcomeUnknown
}

async fn keep<H: Holding>(
    mut hold: Hold,
    requests: &mut Streaming<H::Request>,
    answers: &Answers<H::Response>,
) -> Result<(), ApiError> {
    let mut identity_lost = Box::pin(hold.identity_lost());
    loop {
        let received = tokio::select! {
            // The grant stays until its TTL has passed, like that of a client that is cut off.
            error = &mut identity_lost => return Err(error),
            lost = hold.lost() => {
                tell(answers, H::lost(lost?)).await;
                return Ok(());
            }
            received = receive::<H>(requests) => received,
        };
        match received {
            Received::Message(Wanted::KeepAlive) => match hold.keep_alive().await {
                Ok(kept) => tell(answers, H::kept(&kept)).await,
                // The loss itself is about to be reported, with its reason. A keep-alive that may succeed the next time is no loss: the
                // client gets no answer and asks again before its TTL has passed.
                Err(error) if error.code() == ErrorCode::LockNotHeld || passes(&error) => {}
                Err(error) => return Err(error),
            },
            Received::Message(Wanted::Proclaim(value)) => match hold.proclaim(value).await {
                Ok(proclaimed) => tell(answers, H::proclaimed(&proclaimed)).await,
                // The loss itself is about to be reported, with its reason.
                Err(error) if error.code() == ErrorCode::TokenSuperseded => {}
                Err(error) => return Err(error),
            },
            Received::Message(Wanted::Authenticate(token)) => {
                hold.authenticate(token).await?;
                identity_lost = Box::pin(hold.identity_lost());
            }
            Received::Message(Wanted::Release) => {
                tell(answers, H::released(&hold.release().await?)).await;
                return Ok(());
            }
            Received::Message(Wanted::Take(_)) => {
                return Err(ApiError::invalid(H::FIRST, "is the first message only; open another stream"));
            }
            Received::Message(Wanted::Nothing) => return Err(ApiError::invalid("request", "is required")),
            Received::Closed => return hold.release().await.map(|_| ()),
            Received::Broken => return Ok(()),
            Received::TooLarge => return Err(too_large()),
        }
    }
}

/// The streams of `batuta.v1.LockService.Hold`, each of which holds locks.
pub(super) struct HoldLocks;

impl HoldLocks {
    fn response(revision: u64, event: v1::hold_response::Event) -> v1::HoldResponse {
        v1::HoldResponse { revision, event: Some(event) }
    }
}

impl Holding for HoldLocks {
    type Request = v1::HoldRequest;
    type Response = v1::HoldResponse;
    type First = v1::AcquireRequest;
    const FIRST: &'static str = "acquire";
    const RELEASE: &'static str = "release";

    fn wanted(request: v1::HoldRequest) -> Wanted<v1::AcquireRequest> {
        use v1::hold_request::Request;
        match request.request {
            Some(Request::Acquire(message)) => Wanted::Take(message),
            Some(Request::KeepAlive(_)) => Wanted::KeepAlive,
            Some(Request::Release(_)) => Wanted::Release,
            Some(Request::Authenticate(v1::Authenticate { token })) => {
                Wanted::Authenticate(Secret::new(token))
            }
            None => Wanted::Nothing,
        }
    }

    async fn take(
        service: &Service,
        context: &CallContext,
        first: v1::AcquireRequest,
    ) -> Result<(At<Held>, Hold), ApiError> {
        service.hold(context, lock::acquire_request(first)?).await
    }

    fn granted(at: &At<Held>) -> v1::HoldResponse {
        Self::response(at.revision, v1::hold_response::Event::Granted(lock::held_message(at)))
    }

    fn kept(at: &At<u64>) -> v1::HoldResponse {
        let kept = v1::HoldKept { remaining_ms: at.value };
        Self::response(at.revision, v1::hold_response::Event::Kept(kept))
    }

    fn proclaimed(at: &At<Held>) -> v1::HoldResponse {
        Self::granted(at)
    }

    fn lost(at: At<Lost>) -> v1::HoldResponse {
        let Lost { reason, words } = at.value;
        let lost = v1::HoldLost { reason: reason.to_owned(), words: words.unwrap_or_default() };
        Self::response(at.revision, v1::hold_response::Event::Lost(lost))
    }

    fn released(at: &At<Released>) -> v1::HoldResponse {
        Self::response(at.revision, v1::hold_response::Event::Released(lock::released_message(at)))
    }
}

/// The streams of `batuta.v1.ElectionService.Lead`, each of which leads an election.
pub(super) struct LeadElection;

impl LeadElection {
    fn response(revision: u64, event: v1::lead_response::Event) -> v1::LeadResponse {
        v1::LeadResponse { revision, event: Some(event) }
    }
}

impl Holding for LeadElection {
    type Request = v1::LeadRequest;
    type Response = v1::LeadResponse;
    type First = v1::CampaignRequest;
    const FIRST: &'static str = "campaign";
    const RELEASE: &'static str = "resign";

    fn wanted(request: v1::LeadRequest) -> Wanted<v1::CampaignRequest> {
        use v1::lead_request::Request;
        match request.request {
            Some(Request::Campaign(message)) => Wanted::Take(message),
            Some(Request::KeepAlive(_)) => Wanted::KeepAlive,
            Some(Request::Proclaim(v1::LeadProclaim { value })) => Wanted::Proclaim(value),
            Some(Request::Resign(_)) => Wanted::Release,
            Some(Request::Authenticate(v1::Authenticate { token })) => {
                Wanted::Authenticate(Secret::new(token))
            }
            None => Wanted::Nothing,
        }
    }

    async fn take(
        service: &Service,
        context: &CallContext,
        first: v1::CampaignRequest,
    ) -> Result<(At<Held>, Hold), ApiError> {
        service.lead(context, election::campaign_request(first)?).await
    }

    fn granted(at: &At<Held>) -> v1::LeadResponse {
        Self::response(at.revision, v1::lead_response::Event::Elected(election::held_message(at)))
    }

    fn kept(at: &At<u64>) -> v1::LeadResponse {
        let kept = v1::LeadKept { remaining_ms: at.value };
        Self::response(at.revision, v1::lead_response::Event::Kept(kept))
    }

    fn proclaimed(at: &At<Held>) -> v1::LeadResponse {
        Self::response(at.revision, v1::lead_response::Event::Proclaimed(election::held_message(at)))
    }

    fn lost(at: At<Lost>) -> v1::LeadResponse {
        let Lost { reason, words } = at.value;
        let lost = v1::LeadLost { reason: reason.to_owned(), words: words.unwrap_or_default() };
        Self::response(at.revision, v1::lead_response::Event::Lost(lost))
    }

    fn released(at: &At<Released>) -> v1::LeadResponse {
        Self::response(at.revision, v1::lead_response::Event::Resigned(election::resigned_message(at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_credential_is_read_and_never_shown() {
        let token = || v1::Authenticate { token: "btk_secret".to_owned() };
        let hold = v1::HoldRequest { request: Some(v1::hold_request::Request::Authenticate(token())) };
        let lead = v1::LeadRequest { request: Some(v1::lead_request::Request::Authenticate(token())) };
        let given = [
            match HoldLocks::wanted(hold) {
                Wanted::Authenticate(token) => token,
                _ => panic!("another message"),
            },
            match LeadElection::wanted(lead) {
                Wanted::Authenticate(token) => token,
                _ => panic!("another message"),
            },
        ];
        for token in given {
            assert_eq!((token.expose(), format!("{token:?}").as_str()), ("btk_secret", "[redacted]"));
        }
    }

    #[test]
    fn keep_alive_that_may_succeed_later_is_no_loss() {
        assert!(passes(&ApiError::Draining));
        assert!(passes(&ApiError::OutcomeUnknown { waited_ms: 1, keyed: false, lock_id: None }));
        for lost in
            [ApiError::Unauthenticated { problem: "x" }, ApiError::InvalidToken { problem: String::new() }]
        {
            assert!(!passes(&lost), "{lost}");
        }
    }
}
