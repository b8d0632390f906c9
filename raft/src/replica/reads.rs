//! Read indexes: one round answers all waiting readers (Raft dissertation, section 6.4).

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::error::{Failed, ProposeError};

const QUEUE: usize = 65_536;
const ROUND_MAX: usize = 8192;

/// One round: returns the log index that a read that began before the round must have applied.
pub(crate) type Round = Arc<dyn Fn() -> BoxFuture<'static, Result<u64, Failed>> + Send + Sync>;

type Waiter = oneshot::Sender<Result<u64, Failed>>;

/// Collects reads while a round is in flight; the next round answers all of them.
#[derive(Clone)]
pub(crate) struct Reads {
    waiting: mpsc::Sender<Waiter>,
}

impl Reads {
    /// Starts the task that makes the rounds, on the current runtime.
    pub(crate) fn start(round: Round, stop: CancellationToken) -> Self {
        let (waiting, mut receiver) = mpsc::channel::<Waiter>(QUEUE);
        tokio::spawn(async move {
            let mut waiters = Vec::new();
            loop {
                let taken = stop.run_until_cancelled(receiver.recv_many(&mut waiters, ROUND_MAX)).await;
                if matches!(taken, None | Some(0)) {
                    return;
                }
                let Some(index) = stop.run_until_cancelled(round()).await else { return };
                for waiter in waiters.drain(..) {
                    // The reader may have given up.
                    let _ = waiter.send(index.clone());
                }
            }
        });
        Self { waiting }
    }

    /// The index of a round that begins after this call.
    pub(crate) async fn index(&self) -> Result<u64, Failed> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.try_send(sender).map_err(|error| {
            Failed::Final(match error {
                mpsc::error::TrySendError::Full(_) => ProposeError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => ProposeError::ShuttingDown,
            })
        })?;
        receiver.await.unwrap_or(Err(Failed::Final(ProposeError::ShuttingDown)))
    }
}
