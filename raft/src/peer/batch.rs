//! Packs queued items into messages of bounded size.

use std::collections::VecDeque;

use tokio::sync::mpsc;

/// Most items in one message.
const ITEMS: usize = 512;
/// Most bytes of the items in one message, unless a single item is larger. The limits on client requests keep
/// any item far below [`super::MESSAGE_BYTES_MAX`].
const BYTES: usize = 1 << 20;

/// Takes as many items from a queue as fit into one message.
pub(super) struct Batches<T> {
    queue: mpsc::Receiver<T>,
    /// Items taken from the queue, for the next messages.
    taken: VecDeque<T>,
}

impl<T: prost::Message> Batches<T> {
    pub(super) fn new(queue: mpsc::Receiver<T>) -> Self {
        Self { queue, taken: VecDeque::new() }
    }

    /// The next waiting items in order, at least one; `None` when the queue is empty and closed.
    pub(super) async fn next(&mut self) -> Option<Vec<T>> {
        if self.taken.is_empty() {
            let mut taken = Vec::new();
            if self.queue.recv_many(&mut taken, ITEMS).await == 0 {
                return None;
            }
            self.taken = taken.into();
        }
        let mut bytes = 0_usize;
        let fits = self.taken.iter().take_while(|item| {
            bytes += item.encoded_len();
            bytes <= BYTES
        });
        let fits = fits.count().max(1);
        Some(self.taken.drain(..fits).collect())
    }
}

#[cfg(test)]
mod tests {
    use batuta_proto::internal as wire;
    use prost::Message as _;

    use super::*;

    fn response(id: u64, bytes: usize) -> wire::ForwardResponse {
        let outcomes = vec![vec![0; bytes].into()];
        let proposed = wire::ProposedAnswer { outcomes, ..Default::default() };
        let result = Some(wire::forward_response::Result::Proposed(proposed));
        wire::ForwardResponse { id, with_ids: Vec::new(), result }
    }

    #[tokio::test]
    async fn batch_over_the_limit_is_split() {
        let (sender, queue) = mpsc::channel(2 * ITEMS);
        // One of the items alone is larger than a batch.
        for id in 0..20 {
            sender.send(response(id, if id == 7 { 3 * BYTES } else { BYTES / 3 })).await.expect("room");
        }
        for id in 20..20 + ITEMS as u64 {
            sender.send(response(id, 10)).await.expect("room");
        }
        drop(sender);
        let mut batches = Batches::new(queue);
        let (mut ids, mut sizes) = (Vec::new(), Vec::new());
        while let Some(responses) = batches.next().await {
            ids.extend(responses.iter().map(|response| response.id));
            let message = wire::ForwardResponses { responses };
            assert!(message.responses.len() == 1 || message.encoded_len() <= BYTES + 8 * ITEMS);
            sizes.push(message.responses.len());
        }
        assert!(ids.iter().copied().eq(0..20 + ITEMS as u64), "each once, in order: {ids:?}");
        assert!(sizes.iter().any(|size| *size > 100), "small ones share a message: {sizes:?}");
    }
}
