//! What goes out: a bounded queue and the task that empties it.
//!
//! Whoever puts a frame in waits while the queue is full, so a client that reads slowly slows down its own requests and
//! watches only; one that does not read at all is cut off by the writer.

use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use futures_util::SinkExt as _;
use futures_util::stream::SplitSink;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::close::Close;
use super::frame::Outgoing;

/// How long a client that does not read is waited for once its connection is given up.
const LAST_WORD: Duration = Duration::from_secs(1);

/// The connection is gone: nobody will read what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// The way out. A clone is another way into the same queue.
#[derive(Clone)]
pub(super) struct Out {
    frames: mpsc::Sender<Message>,
}

impl Out {
    pub(super) fn new(frames_max: usize) -> (Self, mpsc::Receiver<Message>) {
        let (frames, queue) = mpsc::channel(frames_max.max(1));
        (Self { frames }, queue)
    }

    /// Sends a frame; waits while the queue is full.
    pub(super) async fn send(&self, frame: Outgoing<impl Serialize>) -> Result<(), Gone> {
        self.message(Message::Text(frame.text().into())).await
    }

    pub(super) async fn message(&self, message: Message) -> Result<(), Gone> {
        self.frames.send(message).await.map_err(|_| Gone)
    }

    /// Resolves when the writer has stopped.
    pub(super) async fn gone(&self) {
        self.frames.closed().await;
    }
}

/// Writes frames until there are no more, the connection breaks, or the client does not read.
pub(super) async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut queue: mpsc::Receiver<Message>,
    write_timeout: Duration,
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
                let _ = timeout(LAST_WORD, sink.send(Close::Slow.message())).await;
                return;
            }
        }
    }
}
