//! Holds locks for one bidirectional stream.

use batuta_proto::v1;
use batuta_proto::v1::hold_request::Request as Wanted;
use batuta_proto::v1::hold_response::Event;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::lock;
use crate::ApiError;
use crate::client_work::client_work;
use crate::error::Code as ErrorCode;
use crate::service::hold::Hold;
use crate::service::{CallContext, Service};

/// The most answers queued for a slow client.
const ANSWERS: usize = 16;

pub(super) type HoldStream = ReceiverStream<Result<v1::HoldResponse, Status>>;

/// What arrived from the client's side of the stream.
enum Heard {
    Message(Option<Wanted>),
    /// The client closed or cancelled the stream: it no longer wants the locks.
    Closed,
    /// The connection broke: the client may still be working.
    Broken,
    /// The client sent a message that is too large to be read.
    TooLarge,
}

async fn hear(requests: &mut Streaming<v1::HoldRequest>) -> Heard {
    match requests.message().await {
        Ok(Some(message)) => Heard::Message(message.request),
        Ok(None) => Heard::Closed,
        Err(status) if status.code() == Code::Cancelled => Heard::Closed,
        Err(status) if status.code() == Code::OutOfRange => Heard::TooLarge,
        Err(_) => Heard::Broken,
    }
}

/// Serves one stream in its own task, which ends with the stream.
pub(super) fn serve(
    service: Service,
    context: CallContext,
    mut requests: Streaming<v1::HoldRequest>,
) -> HoldStream {
    let (answers, receiver) = mpsc::channel(ANSWERS);
    // When it panics, its stream ends, and the hold with it.
    tokio::spawn(client_work(async move {
        let end = match acquire(&service, &context, &mut requests, &answers).await {
            Ok(Some(hold)) => keep(hold, &mut requests, &answers).await,
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

type Answers = mpsc::Sender<Result<v1::HoldResponse, Status>>;

async fn tell(answers: &Answers, revision: u64, event: Event) {
    // A disconnected client is noticed on its side of the stream.
    let _ = answers.send(Ok(v1::HoldResponse { revision, event: Some(event) })).await;
}

/// Handles the first message; `None` when the client left before it had the locks.
async fn acquire(
    service: &Service,
    context: &CallContext,
    requests: &mut Streaming<v1::HoldRequest>,
    answers: &Answers,
) -> Result<Option<Hold>, ApiError> {
    let message = match hear(requests).await {
        Heard::Message(Some(Wanted::Acquire(message))) => message,
        Heard::Message(_) => return Err(ApiError::invalid("acquire", "is required as the first message")),
        Heard::Closed | Heard::Broken => return Ok(None),
        Heard::TooLarge => return Err(too_large()),
    };
    let request = lock::acquire_request(message)?;
    // Dropping the acquisition withdraws it in any state.
    let (granted, hold) = tokio::select! {
        granted = service.hold(context, request) => granted?,
        heard = hear(requests) => return match heard {
            Heard::Message(Some(Wanted::Release(_))) | Heard::Closed | Heard::Broken => Ok(None),
            Heard::TooLarge => Err(too_large()),
            Heard::Message(_) => {
                Err(ApiError::invalid("keep_alive", "comes after the locks are granted; only release may come before"))
            }
        },
    };
    tell(answers, granted.revision, Event::Granted(lock::held_message(&granted))).await;
    Ok(Some(hold))
}

/// Whether a keep-alive that failed may succeed the next time.
fn passes(error: &ApiError) -> bool {
    error.retryable() || error.code() == ErrorCode::OutcomeUnknown
}

async fn keep(
    mut hold: Hold,
    requests: &mut Streaming<v1::HoldRequest>,
    answers: &Answers,
) -> Result<(), ApiError> {
    loop {
        let heard = tokio::select! {
            lost = hold.lost() => {
                let lost = lost?;
                let words = lost.value.words.unwrap_or_default();
                let event = Event::Lost(v1::HoldLost { reason: lost.value.reason.to_owned(), words });
                tell(answers, lost.revision, event).await;
                return Ok(());
            }
            heard = hear(requests) => heard,
        };
        match heard {
            Heard::Message(Some(Wanted::KeepAlive(_))) => match hold.keep_alive().await {
                Ok(kept) => {
                    tell(answers, kept.revision, Event::Kept(v1::HoldKept { remaining_ms: kept.value }))
                        .await;
                }
                // The loss itself is about to be reported, with its reason. A keep-alive that may succeed the next time is no loss: the
                // client gets no answer and asks again before its TTL has passed.
                Err(error) if error.code() == ErrorCode::LockNotHeld || passes(&error) => {}
                Err(error) => return Err(error),
            },
            Heard::Message(Some(Wanted::Release(_))) => {
                let released = hold.release().await?;
                let message = lock::released_message(&released);
                tell(answers, released.revision, Event::Released(message)).await;
                return Ok(());
            }
            Heard::Message(Some(Wanted::Acquire(_))) => {
                return Err(ApiError::invalid("acquire", "is the first message only; open another stream"));
            }
            Heard::Message(None) => return Err(ApiError::invalid("request", "is required")),
            Heard::Closed => return hold.release().await.map(|_| ()),
            Heard::Broken => return Ok(()),
            Heard::TooLarge => return Err(too_large()),
        }
    }
}
