//! What every WebSocket front needs: who may connect, and a bounded queue with the task that empties it.
//!
//! Whoever puts a frame in waits while the queue is full, so a client that reads slowly slows down its own requests and
//! watches only; one that does not read at all is cut off by the writer.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, header};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::ApiError;
use crate::client_work::client_work;
use crate::service::Service;

/// How long a client that does not read is waited for once its connection is given up.
const LAST_WORD: Duration = Duration::from_secs(1);
/// How long what a connection has in flight may take to be answered when the node drains.
const DRAIN_GRACE: Duration = Duration::from_secs(1);
/// How long a client may take to read what is left and to answer the close.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// The connection is gone: nobody will read what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// The way out. A clone is another way into the same queue.
#[derive(Clone)]
pub(crate) struct Out {
    frames: mpsc::Sender<Message>,
}

impl Out {
    pub(crate) fn new(frames_max: usize) -> (Self, mpsc::Receiver<Message>) {
        let (frames, queue) = mpsc::channel(frames_max.max(1));
        (Self { frames }, queue)
    }

    /// Sends a message; waits while the queue is full.
    pub(crate) async fn send(&self, message: impl Into<Message>) -> Result<(), Gone> {
        self.frames.send(message.into()).await.map_err(|_| Gone)
    }

    /// Resolves when the writer has stopped.
    pub(crate) async fn gone(&self) {
        self.frames.closed().await;
    }
}

/// Starts the task that writes; see [`write`].
pub(crate) fn start_writer(
    sink: SplitSink<WebSocket, Message>,
    queue: mpsc::Receiver<Message>,
    write_timeout: Duration,
    slow: Message,
) -> JoinHandle<()> {
    tokio::spawn(client_work(write(sink, queue, write_timeout, slow)))
}

/// Writes frames until there are no more, the connection breaks, or the client does not read: then `slow` is its last one.
async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut queue: mpsc::Receiver<Message>,
    write_timeout: Duration,
    slow: Message,
) {
    while let Some(message) = queue.recv().await {
        match timeout(write_timeout, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "a WebSocket connection broke");
                return;
            }
            Err(_elapsed) => {
                tracing::debug!("a WebSocket client does not read and is cut off");
                // Behind what it has not read: a client that reads on finds out why.
                let _ = timeout(LAST_WORD, sink.send(slow)).await;
                return;
            }
        }
    }
}

/// Resolves when the node drains and a connection has had its time to end by itself: it may be waiting for room in a queue
/// that its client does not empty.
pub(crate) async fn overdue(service: &Service) {
    service.draining().await;
    sleep(DRAIN_GRACE).await;
}

/// Lets the client read what is queued and then `close`, as far as it reads on.
pub(crate) async fn hang_up(
    out: Out,
    mut writer: JoinHandle<()>,
    mut reader: SplitStream<WebSocket>,
    close: Option<Message>,
) {
    let last_words = async {
        if let Some(close) = close {
            let _ = out.send(close).await;
        }
        drop(out);
        let _ = (&mut writer).await;
        // A socket that is closed with something unread takes its last frames with it.
        while let Some(Ok(_)) = reader.next().await {}
    };
    if timeout(CLOSE_GRACE, last_words).await.is_err() {
        writer.abort();
    }
}

/// What a client did to the WebSocket protocol itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offence {
    /// A message is too long.
    TooLong,
    /// The protocol was broken.
    Protocol,
}

/// Why a connection can not be read any more, when that is worth a close frame.
pub(crate) fn offence(error: axum::Error) -> Option<Offence> {
    let error = error.into_inner();
    match error.downcast_ref::<tungstenite::Error>() {
        Some(tungstenite::Error::Capacity(_)) => Some(Offence::TooLong),
        Some(tungstenite::Error::Protocol(_) | tungstenite::Error::Utf8(_)) => Some(Offence::Protocol),
        _ => None,
    }
}

/// Lets in a connection whose subprotocol is agreed on: gives the upgrade with its bounds, and the connection's place among those of its
/// front. `limit` is how the front calls its number of connections, and that number.
pub(crate) fn admit(
    upgrade: WebSocketUpgrade,
    headers: &HeaderMap,
    service: &Service,
    connections: Arc<Semaphore>,
    limit: (&'static str, usize),
    message_bytes_max: usize,
) -> Result<(WebSocketUpgrade, OwnedSemaphorePermit), ApiError> {
    if !same_origin(headers) {
        let problem = "a web page of another origin may not connect".to_owned();
        return Err(ApiError::HandshakeRefused { problem });
    }
    if service.is_draining() {
        return Err(ApiError::Draining);
    }
    let (what, max) = limit;
    let Ok(place) = connections.try_acquire_owned() else {
        return Err(ApiError::Busy { what, max: u64::try_from(max).unwrap_or(u64::MAX) });
    };
    // What is a little too long is read whole, so that the close frame that says so arrives.
    let bytes_max = message_bytes_max.saturating_mul(2);
    Ok((upgrade.max_message_size(bytes_max).max_frame_size(bytes_max), place))
}

/// Whether a page of this node, or no page at all, connects. Programs send no `Origin`; a browser always does, and connects
/// unasked for the pages of every site.
fn same_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, rest)| rest);
    authority.is_some() && authority == text(header::HOST)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn pages_of_other_origins_are_kept_out() {
        for (origin, same) in [
            (None, true),
            (Some("http://127.0.0.1:8081"), true),
            (Some("https://127.0.0.1:8081"), true),
            (Some("http://127.0.0.1:9999"), false),
            (Some("http://evil.example"), false),
            (Some("null"), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:8081"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(same_origin(&headers), same, "{origin:?}");
        }
    }
}
