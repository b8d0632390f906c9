//! Finding the leader, and trying again only when it is safe.

use std::time::Duration;

use batuta_proto::internal::forward_request::Call;
use batuta_proto::internal::forward_response::Result as WireAnswer;
use tokio::time::Instant;

use super::error::{Failed, ProposeError};
use super::{Core, Replica};
use crate::metrics::{Leadership, RaftMetrics};
use crate::peer::ForwardError;

/// Without news of a leader, look again after this long.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Who leads, as this node knows it.
pub(crate) enum Leader {
    Unknown,
    Me,
    Other { node_id: u64, peer: String },
}

fn peer_of(metrics: &RaftMetrics, node_id: u64) -> Option<String> {
    metrics.membership_config.get_node(&node_id).map(|member| member.addresses.peer.clone())
}

impl Core {
    pub(crate) fn leader(&self) -> Leader {
        self.metrics.look(|metrics| match metrics.current_leader {
            None => Leader::Unknown,
            Some(node_id) if node_id == self.identity.node_id => Leader::Me,
            Some(node_id) => match peer_of(metrics, node_id) {
                Some(peer) => Leader::Other { node_id, peer },
                None => Leader::Unknown,
            },
        })
    }

    /// Where other nodes reach a member.
    pub(super) fn peer(&self, node_id: u64) -> Option<String> {
        self.metrics.look(|metrics| peer_of(metrics, node_id))
    }

    /// A member's stable name.
    pub(crate) fn name(&self, node_id: u64) -> Option<String> {
        self.metrics
            .look(|metrics| metrics.membership_config.get_node(&node_id).map(|member| member.name.clone()))
    }

    /// One call to the leader, which is another node.
    pub(crate) async fn forward(&self, node_id: u64, peer: &str, call: Call) -> Result<WireAnswer, Failed> {
        let answer = self.forwarder.call(node_id, peer, call).await;
        answer.map_err(|error| match error {
            ForwardError::NotSent => Failed::NotLeader,
            ForwardError::Lost => Failed::Unknown,
            ForwardError::Overloaded => Failed::Final(ProposeError::Overloaded),
        })
    }
}

impl Replica {
    /// Waits until this node is a member.
    pub(super) async fn member(&self) -> Result<&Core, ProposeError> {
        if let Some(core) = self.inner.core() {
            return Ok(core);
        }
        let mut set = self.inner.core_set.subscribe();
        // The sender lives as long as `self`; a closed channel can not be seen here.
        let _ = self.inner.stop.run_until_cancelled(set.wait_for(|set| *set)).await;
        self.inner.core().ok_or(ProposeError::ShuttingDown)
    }

    /// Leadership before an attempt, for [`Self::wait_for_change`] when it fails.
    pub(super) fn leadership(&self) -> Option<Leadership> {
        self.inner.core().map(|core| core.metrics.leadership())
    }

    /// Waits until leadership is not what it was before an attempt that failed, or a moment.
    pub(super) async fn wait_for_change(&self, before: Option<Leadership>) {
        match self.inner.core().zip(before) {
            Some((core, before)) => core.metrics.leadership_changed(&before, LOOK_AGAIN).await,
            None => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }

    /// Does something on the leader, wherever that is: `local` here, or `call` over the wire.
    ///
    /// What certainly was not proposed is tried again until the time is up. What may have been is tried again only when it
    /// is `repeatable`.
    pub(super) async fn on_leader<T, F>(
        &self,
        timeout: Duration,
        repeatable: bool,
        local: impl Fn(&Core) -> F,
        call: impl Fn() -> Call,
        decode: impl Fn(WireAnswer) -> Result<T, Failed>,
    ) -> Result<T, ProposeError>
    where
        F: Future<Output = Result<T, Failed>>,
    {
        let started = Instant::now();
        let deadline = started + timeout;
        let mut maybe_done = false;
        loop {
            let before = self.leadership();
            let attempt = async {
                let core = self.member().await.map_err(Failed::Final)?;
                match core.leader() {
                    Leader::Unknown => Err(Failed::NotLeader),
                    Leader::Me => local(core).await,
                    Leader::Other { node_id, peer } => {
                        core.forward(node_id, &peer, call()).await.and_then(&decode)
                    }
                }
            };
            let mut sent = false;
            let outcome = tokio::time::timeout_at(deadline, async {
                sent = !matches!(self.inner.core().map(Core::leader), None | Some(Leader::Unknown));
                attempt.await
            });
            let failed = match outcome.await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(failed)) => failed,
                Err(_) if sent => Failed::Unknown,
                Err(_) => Failed::NotLeader,
            };
            let waited_ms = millis(started.elapsed());
            let late = Instant::now() >= deadline;
            match failed {
                // Refused now, but an earlier attempt may have come through.
                Failed::Final(_) if maybe_done => return Err(ProposeError::OutcomeUnknown { waited_ms }),
                Failed::Final(error) => return Err(error),
                Failed::Unknown if late || !repeatable => {
                    return Err(ProposeError::OutcomeUnknown { waited_ms });
                }
                Failed::Unknown => maybe_done = true,
                Failed::NotLeader if late && maybe_done => {
                    return Err(ProposeError::OutcomeUnknown { waited_ms });
                }
                Failed::NotLeader if late => return Err(ProposeError::NoLeader { waited_ms }),
                Failed::NotLeader => {}
            }
            if self.inner.stop.is_cancelled() {
                return Err(if maybe_done {
                    ProposeError::OutcomeUnknown { waited_ms }
                } else {
                    ProposeError::ShuttingDown
                });
            }
            self.wait_for_change(before).await;
        }
    }
}
