//! What openraft says about itself, with the few ways of waiting this crate needs.

use openraft::async_runtime::watch::WatchReceiver as _;

use crate::types::TypeConfig;

pub(crate) type RaftMetrics = openraft::RaftMetrics<TypeConfig>;

/// The consensus task is gone.
#[derive(Debug)]
pub(crate) struct Gone;

/// openraft's metrics. Clones have seen what the original has seen.
#[derive(Clone)]
pub(crate) struct Metrics(openraft::alias::WatchReceiverOf<TypeConfig, RaftMetrics>);

impl Metrics {
    pub(crate) fn new(receiver: openraft::alias::WatchReceiverOf<TypeConfig, RaftMetrics>) -> Self {
        Self(receiver)
    }

    /// Looks at the present values. What is looked at must not be held across an await.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&RaftMetrics) -> T) -> T {
        look(&self.0.borrow_watched())
    }

    /// Waits for values newer than those at the time of the call.
    pub(crate) async fn changed(&self) -> Result<(), Gone> {
        let mut receiver = self.0.clone();
        drop(receiver.borrow_and_update());
        receiver.changed().await.map_err(|_| Gone)
    }

    /// Waits until `found` gives something.
    pub(crate) async fn wait_for<T>(&self, found: impl Fn(&RaftMetrics) -> Option<T>) -> Result<T, Gone> {
        let mut receiver = self.0.clone();
        loop {
            if let Some(found) = found(&receiver.borrow_and_update()) {
                return Ok(found);
            }
            receiver.changed().await.map_err(|_| Gone)?;
        }
    }
}
