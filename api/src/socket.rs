//! The parts shared by the WebSocket fronts: who may connect, and a bounded queue with the task that empties it.
//!
//! The queue is bounded in frames and in bytes. Senders wait while it is full, so a client that reads slowly slows down only its own requests
//! and watches. The writer cuts off a client that does not read at all.

mod identity;

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

pub(crate) use identity::{IdentityNews, IdentityWatch, LOST_GRACE, refused_reason};

/// How long to wait for a client that does not read, once its connection is given up.
const LAST_WORD: Duration = Duration::from_secs(1);
/// How long requests in flight may take to be answered when the node drains.
const DRAIN_GRACE: Duration = Duration::from_secs(1);
/// How long a client may take to read the remaining frames and to answer the close.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// The most bytes of frames in one queue, unless a single frame has more.
const QUEUE_BYTES_MAX: u32 = 4 << 20;

/// The connection has ended, so nobody reads what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// A frame in the queue, with the room that it takes until it is written.
pub(crate) struct Queued {
    frame: Message,
    room: OwnedSemaphorePermit,
}

/// The sending end of the queue. Clones share the queue.
#[derive(Clone)]
pub(crate) struct Out {
    frames: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
}

impl Out {
    pub(crate) fn new(frames_max: usize) -> (Self, mpsc::Receiver<Queued>) {
        let (frames, queue) = mpsc::channel(frames_max.max(1));
        (Self { frames, room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX as usize)) }, queue)
    }

    /// Sends a message; waits while the queue is full.
    pub(crate) async fn send(&self, message: impl Into<Message>) -> Result<(), Gone> {
        let frame = message.into();
        let bytes = u32::try_from(frame_bytes(&frame)).unwrap_or(u32::MAX).min(QUEUE_BYTES_MAX);
        // A writer that stops drops its queue, which makes room, but nobody takes the frame.
        let room = Arc::clone(&self.room).acquire_many_owned(bytes).await.map_err(|_| Gone)?;
        self.frames.send(Queued { frame, room }).await.map_err(|_| Gone)
    }

    /// Resolves when the writer has stopped.
    pub(crate) async fn gone(&self) {
        self.frames.closed().await;
    }
}

fn frame_bytes(frame: &Message) -> usize {
    match frame {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
        Message::Close(_) => 0,
    }
}

/// Starts the task that writes ([`write`]).
pub(crate) fn start_writer(
    sink: SplitSink<WebSocket, Message>,
    queue: mpsc::Receiver<Queued>,
    write_timeout: Duration,
    slow: Message,
) -> JoinHandle<()> {
    tokio::spawn(client_work(write(sink, queue, write_timeout, slow)))
}

/// Writes frames until there are no more, the connection breaks, or the client does not read. In the last case `slow` is the last frame.
async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut queue: mpsc::Receiver<Queued>,
    write_timeout: Duration,
    slow: Message,
) {
    while let Some(Queued { frame, room }) = queue.recv().await {
        match timeout(write_timeout, sink.send(frame)).await {
            Ok(Ok(())) => drop(room),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a WebSocket connection broke");
                return;
            }
            Err(_elapsed) => {
                tracing::debug!("a WebSocket client does not read and is cut off");
                // Behind the unread frames, so that a client that reads on learns the reason.
                let _ = timeout(LAST_WORD, sink.send(slow)).await;
                return;
            }
        }
    }
}

/// Resolves when the node drains and the connection had time to end by itself. The connection may be waiting for room in a queue that its
/// client does not empty.
pub(crate) async fn overdue(service: &Service) {
    service.draining().await;
    sleep(DRAIN_GRACE).await;
}

/// Lets the client read the queued frames and then `close`, if it still reads.
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
        // Closing a socket with unread data would discard the last frames.
        while let Some(Ok(_)) = reader.next().await {}
    };
    if timeout(CLOSE_GRACE, last_words).await.is_err() {
        writer.abort();
    }
}

/// A violation of the WebSocket protocol by a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offence {
    /// A message is too long.
    TooLong,
    /// The protocol was broken.
    Protocol,
}

/// Converts the error of a connection to a violation, if a close frame should report it.
pub(crate) fn offence(error: axum::Error) -> Option<Offence> {
    let error = error.into_inner();
    match error.downcast_ref::<tungstenite::Error>() {
        Some(tungstenite::Error::Capacity(_)) => Some(Offence::TooLong),
        Some(tungstenite::Error::Protocol(_) | tungstenite::Error::Utf8(_)) => Some(Offence::Protocol),
        _ => None,
    }
}

/// Admits a connection whose subprotocol is agreed on: returns the upgrade with its limits, and the connection's place among those of its
/// front. `limit` is the front's name for its number of connections, and that number.
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
        return Err(service.draining_error());
    }
    let (what, max) = limit;
    let Ok(place) = connections.try_acquire_owned() else {
        return Err(ApiError::Busy { what, max: u64::try_from(max).unwrap_or(u64::MAX) });
    };
    // Slightly too long messages are read completely, so that the close frame with the reason arrives.
    let bytes_max = message_bytes_max.saturating_mul(2);
    Ok((upgrade.max_message_size(bytes_max).max_frame_size(bytes_max), place))
}

/// Whether the connection comes from a page of this node, or from no page. Programs send no `Origin`. A browser always does, and connects
/// for pages of any site.
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

    #[tokio::test]
    async fn queue_is_bounded_in_bytes() {
        let (out, mut queue) = Out::new(100);
        let large = || Message::binary(vec![0; 3 << 20]);
        assert_eq!(out.send(Message::binary(vec![0; 9 << 20])).await, Ok(()), "one frame always has room");
        let mut second = std::pin::pin!(out.send(large()));
        assert!(timeout(Duration::from_millis(50), second.as_mut()).await.is_err());
        drop(queue.recv().await.expect("the first"));
        assert_eq!(second.await, Ok(()));
        let mut third = std::pin::pin!(out.send(large()));
        assert!(timeout(Duration::from_millis(50), third.as_mut()).await.is_err());
        drop(queue);
        assert_eq!(third.await, Err(Gone), "who waits for room learns that the writer has stopped");
    }

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
