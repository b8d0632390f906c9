//! Queues the messages of a watch for its reader, bounded in number and in bytes.
//!
//! Pages of a snapshot always have room: a reader slower than its node could otherwise restart a snapshot but
//! never finish it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use batuta_proto::v1::WatchResponse;
use batuta_proto::v1::watch_response::Item;
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::Status;

/// Most messages that may wait.
const MESSAGES_MAX: usize = 1_024;
/// Most bytes of waiting messages, unless a single message is larger.
const BYTES_MAX: usize = 16 << 20;

type Message = Result<WatchResponse, Status>;

/// Counts the waiting messages that are bounded.
#[derive(Debug, Default)]
struct Waiting {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

/// Returns an empty queue.
pub(crate) fn watch_queue() -> (Putter, Taker) {
    bounded(MESSAGES_MAX)
}

pub(crate) fn bounded(messages_max: usize) -> (Putter, Taker) {
    let (queue, messages) = mpsc::unbounded_channel();
    let waiting = Arc::<Waiting>::default();
    (Putter { queue, messages_max, waiting: Arc::clone(&waiting) }, Taker { messages, waiting })
}

/// The sending half of the queue.
#[derive(Debug)]
pub(crate) struct Putter {
    queue: mpsc::UnboundedSender<Message>,
    messages_max: usize,
    waiting: Arc<Waiting>,
}

impl Putter {
    /// Adds a message. Returns `false` when too much is waiting already, or nobody reads any more.
    pub(crate) fn put(&self, message: WatchResponse) -> bool {
        if let Some(bytes) = counted(&message) {
            let messages = self.waiting.messages.fetch_add(1, Ordering::Relaxed);
            let waiting = self.waiting.bytes.fetch_add(bytes, Ordering::Relaxed);
            if messages >= self.messages_max || (messages > 0 && waiting + bytes > BYTES_MAX) {
                return false;
            }
        }
        self.queue.send(Ok(message)).is_ok()
    }

    /// Ends the queue with a status.
    pub(crate) fn fail(self, status: Status) {
        // The reader may be gone.
        let _ = self.queue.send(Err(status));
    }
}

/// The receiving half of the queue.
#[derive(Debug)]
pub(crate) struct Taker {
    messages: mpsc::UnboundedReceiver<Message>,
    waiting: Arc<Waiting>,
}

impl Taker {
    /// Returns the next message; `None` after the last message of a queue that was cut off. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        let message = self.messages.recv().await;
        if let Some(Ok(message)) = &message
            && let Some(bytes) = counted(message)
        {
            self.waiting.messages.fetch_sub(1, Ordering::Relaxed);
            self.waiting.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        message
    }
}

/// The bytes of a message that counts towards the bounds.
fn counted(message: &WatchResponse) -> Option<usize> {
    let bounded = !matches!(&message.item, Some(Item::Snapshot(_)));
    bounded.then(|| message.encoded_len())
}

#[cfg(test)]
mod tests {
    use batuta_proto::v1::object::Object as Found;
    use batuta_proto::v1::{Changes, Event, Object, Register, SnapshotPage};

    use super::*;

    fn message(bytes: usize) -> WatchResponse {
        let event = Event { reason: "x".repeat(bytes), ..Event::default() };
        let changes = Changes { events: vec![event], more: false };
        WatchResponse { revision: 1, item: Some(Item::Changes(changes)) }
    }

    #[tokio::test]
    async fn bytes_that_wait_are_bounded() {
        let (putter, mut taker) = watch_queue();
        assert!(putter.put(message(2 * BYTES_MAX)), "one message always has room");
        assert!(taker.next().await.is_some());
        assert!(putter.put(message(BYTES_MAX / 2)) && putter.put(message(BYTES_MAX / 3)));
        assert!(!putter.put(message(BYTES_MAX / 3)));
        drop(putter);
        assert!(taker.next().await.is_some() && taker.next().await.is_some());
        assert!(taker.next().await.is_none());
    }

    #[tokio::test]
    async fn snapshot_always_has_room() {
        let (putter, mut taker) = bounded(1);
        let register = Register { name: "x".repeat(BYTES_MAX), high_water: 1 };
        let objects = vec![Object { object: Some(Found::Register(register)) }];
        let page = SnapshotPage { objects, last: false };
        for _ in 0..3 {
            assert!(putter.put(WatchResponse { revision: 1, item: Some(Item::Snapshot(page.clone())) }));
        }
        assert!(putter.put(message(1)) && !putter.put(message(1)));
        for _ in 0..4 {
            assert!(taker.next().await.is_some());
        }
    }
}
