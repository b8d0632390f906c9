//! openraft's metrics, with the few ways of waiting on them that this crate needs.

use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver as _;

use crate::types::TypeConfig;

pub(crate) type RaftMetrics = openraft::RaftMetrics<TypeConfig>;

/// The leadership as one node knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leadership {
    term: u64,
    leader: Option<u64>,
    state: ServerState,
}

impl Leadership {
    fn of(metrics: &RaftMetrics) -> Self {
        Self { term: metrics.current_term, leader: metrics.current_leader, state: metrics.state }
    }
}

/// The consensus task is gone.
#[derive(Debug)]
pub(crate) struct Gone;

/// openraft's metrics. A clone counts the same values as seen as the original.
#[derive(Clone)]
pub(crate) struct Metrics(openraft::alias::WatchReceiverOf<TypeConfig, RaftMetrics>);

impl Metrics {
    pub(crate) fn new(receiver: openraft::alias::WatchReceiverOf<TypeConfig, RaftMetrics>) -> Self {
        Self(receiver)
    }

    /// Reads the current values. Do not hold the reference across an await.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&RaftMetrics) -> T) -> T {
        look(&self.0.borrow_watched())
    }

    pub(crate) fn leadership(&self) -> Leadership {
        self.look(Leadership::of)
    }

    /// Waits until the leadership differs from `seen`, at most a `moment`. openraft publishes metrics after
    /// everything it does, changed or not, so a new value alone does not mean a change.
    pub(crate) async fn leadership_changed(&self, seen: &Leadership, moment: Duration) {
        let changed = self.wait_for(|metrics| (Leadership::of(metrics) != *seen).then_some(()));
        tokio::select! {
            biased;
            // Without the consensus task the only thing left is to wait for the moment.
            Ok(()) = changed => {}
            () = tokio::time::sleep(moment) => {}
        }
    }

    /// Waits until `found` returns a value.
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

#[cfg(test)]
mod tests {
    use openraft::async_runtime::watch::WatchSender as _;
    use openraft::type_config::TypeConfigExt as _;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn unchanged_metrics_are_not_a_change() {
        let (sender, receiver) = TypeConfig::watch_channel(RaftMetrics::new_initial(1));
        let metrics = Metrics::new(receiver);
        let seen = metrics.leadership();
        let started = std::time::Instant::now();
        let repeating = async {
            loop {
                sender.send(RaftMetrics::new_initial(1)).expect("it is read");
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = metrics.leadership_changed(&seen, MOMENT) => {}
            () = repeating => {}
        }
        assert!(started.elapsed() >= MOMENT, "it ended after {:?}", started.elapsed());
    }

    #[tokio::test]
    async fn leader_change_before_the_call_is_noticed() {
        let (sender, receiver) = TypeConfig::watch_channel(RaftMetrics::new_initial(1));
        let metrics = Metrics::new(receiver);
        let seen = metrics.leadership();
        let mut other = RaftMetrics::new_initial(1);
        other.current_leader = Some(2);
        sender.send(other).expect("it is read");
        let hour = Duration::from_hours(1);
        let waited = tokio::time::timeout(Duration::from_secs(30), metrics.leadership_changed(&seen, hour));
        assert!(waited.await.is_ok(), "the other leader was not seen");
    }
}
