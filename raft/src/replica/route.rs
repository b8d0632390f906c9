//! Finds the leader for a call, and repeats the call only when that is safe.

use std::pin::pin;
use std::time::Duration;

use batuta_proto::internal::forward_request::Call;
use batuta_proto::internal::forward_response::Result as WireAnswer;
use tokio::time::Instant;

use super::error::{Failed, ProposeError};
use super::{Core, Replica};
use crate::metrics::Leadership;
use crate::peer::ForwardError;

/// Without news of leadership, looks for a leader again after this long.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// A node that was itself paused hears from the other members again within this time.
const MAJORITY_MAY_SPEAK_WITHIN: Duration = Duration::from_millis(250);
/// A leader without a majority refuses what it has not proposed yet within this time. Batched keep-alives wait longest.
const REFUSED_WITHIN: Duration = Duration::from_millis(600);
/// Interval of the check whether a majority is still silent.
const SILENCE_LOOK: Duration = Duration::from_millis(50);

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The leader, as far as this node knows.
pub(crate) enum Leader {
    Unknown,
    Me,
    Other { node_id: u64, peer: String },
}

impl Core {
    pub(crate) fn leader(&self) -> Leader {
        match self.metrics.look(|metrics| metrics.current_leader) {
            None => Leader::Unknown,
            Some(node_id) if node_id == self.identity.node_id => Leader::Me,
            Some(node_id) => match self.peer(node_id) {
                Some(peer) => Leader::Other { node_id, peer },
                None => Leader::Unknown,
            },
        }
    }

    /// The address at which other nodes reach a member.
    pub(super) fn peer(&self, node_id: u64) -> Option<String> {
        self.book.peer(node_id)
    }

    /// The configured name of a member.
    pub(crate) fn name(&self, node_id: u64) -> Option<String> {
        self.metrics
            .look(|metrics| metrics.membership_config.get_node(&node_id).map(|member| member.name.clone()))
    }

    /// Makes one call to the leader, which is another node.
    pub(crate) async fn forward(&self, node_id: u64, peer: &str, call: Call) -> Result<WireAnswer, Failed> {
        let answer = self.forwarder.call(node_id, peer, call).await;
        answer.map_err(|error| match error {
            ForwardError::NotSent => Failed::NotLeader,
            ForwardError::Lost => Failed::Unknown,
            ForwardError::Overloaded => Failed::Final(ProposeError::Overloaded),
        })
    }
}

/// Waits as long as a call usually takes at most, and returns what is left of its timeout. Only then does a call look for reasons to give up,
/// so that most calls set a single timer.
async fn answered_soon(timeout: Duration) -> Duration {
    tokio::time::sleep(SILENCE_LOOK.min(timeout)).await;
    timeout.saturating_sub(SILENCE_LOOK)
}

/// Ends a call with this error, or with "outcome unknown" when an earlier attempt may have taken effect.
fn unless_done<T>(maybe_done: bool, started: Instant, error: ProposeError) -> Result<T, ProposeError> {
    let waited_ms = millis(started.elapsed());
    Err(if maybe_done { ProposeError::OutcomeUnknown { waited_ms } } else { error })
}

impl Replica {
    /// Waits until this node is a member.
    pub(super) async fn member(&self) -> Result<&Core, ProposeError> {
        if let Some(core) = self.inner.core() {
            return Ok(core);
        }
        let mut set = self.inner.core_set.subscribe();
        // The sender lives as long as `self`, so the channel cannot be closed here.
        let _ = self.inner.stop.run_until_cancelled(set.wait_for(|set| *set)).await;
        self.inner.core().ok_or(ProposeError::ShuttingDown)
    }

    /// The leadership as it is now: read before an attempt, for [`Self::wait_for_change`] when the attempt fails.
    pub(super) fn leadership(&self) -> Option<Leadership> {
        self.inner.core().map(|core| core.metrics.leadership())
    }

    /// Waits until leadership differs from what it was before the failed attempt, at most [`LOOK_AGAIN`].
    pub(super) async fn wait_for_change(&self, before: Option<Leadership>) {
        match self.inner.core().zip(before) {
            Some((core, before)) => core.metrics.leadership_changed(&before, LOOK_AGAIN).await,
            None => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }

    /// Resolves when no majority has answered for [`MAJORITY_MAY_SPEAK_WITHIN`], as seen by this node.
    pub(super) async fn majority_lost(&self) {
        let mut silent_since = None;
        loop {
            let now = Instant::now();
            silent_since = if self.majority_is_silent() { silent_since.or(Some(now)) } else { None };
            if silent_since.is_some_and(|since| now - since >= MAJORITY_MAY_SPEAK_WITHIN) {
                return;
            }
            tokio::time::sleep(SILENCE_LOOK).await;
        }
    }

    /// Resolves with the error of a read that is given up: this node was removed, `timeout` has passed, or there is no majority.
    pub(super) async fn read_given_up(&self, started: Instant, timeout: Duration) -> ProposeError {
        let left = answered_soon(timeout).await;
        tokio::select! {
            biased;
            removed = self.inner.standing.until_removed() => return removed,
            () = tokio::time::sleep(left) => {}
            () = self.majority_lost() => {}
        }
        ProposeError::NoLeader { waited_ms: millis(started.elapsed()) }
    }

    fn majority_is_silent(&self) -> bool {
        let Some(core) = self.inner.core() else { return false };
        let heard = &self.inner.leader_heard;
        let silence = core.metrics.look(|metrics| heard.silent_for(metrics));
        silence > self.inner.options.silence_max()
    }

    /// Runs a call on the leader: `local` when this node leads, otherwise `call` is sent to the node that does.
    ///
    /// An attempt that certainly proposed nothing is repeated until `timeout` has passed or the node knows that there is no majority. An
    /// attempt that may have proposed something is repeated only when the call is `repeatable`.
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
        let mut given_up = pin!(async {
            let left = answered_soon(timeout).await;
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                () = self.majority_lost() => tokio::time::sleep(REFUSED_WITHIN).await,
            }
        });
        let mut maybe_done = false;
        loop {
            if let Some(removed) = self.removed() {
                return unless_done(maybe_done, started, removed);
            }
            let before = self.leadership();
            let mut sent = false;
            let attempt = async {
                let core = self.member().await.map_err(Failed::Final)?;
                match core.leader() {
                    Leader::Me => {
                        sent = true;
                        local(core).await
                    }
                    Leader::Other { node_id, peer } if !self.majority_is_silent() => {
                        sent = true;
                        core.forward(node_id, &peer, call()).await.and_then(&decode)
                    }
                    Leader::Other { .. } | Leader::Unknown => Err(Failed::NotLeader),
                }
            };
            let (failed, late) = tokio::select! {
                biased;
                outcome = attempt => match outcome {
                    Ok(answer) => return Ok(answer),
                    Err(failed) => (failed, false),
                },
                () = &mut given_up => (if sent { Failed::Unknown } else { Failed::NotLeader }, true),
            };
            let waited_ms = millis(started.elapsed());
            // Either side may notice the missing majority first: the leader gets no acknowledgements, or this node hears no leader.
            let silent = || matches!(failed, Failed::NoMajority) || self.majority_is_silent();
            let hopeless = late || (started.elapsed() >= MAJORITY_MAY_SPEAK_WITHIN && silent());
            match failed {
                Failed::Final(error) => return unless_done(maybe_done, started, error),
                Failed::Unknown if late || !repeatable => {
                    return Err(ProposeError::OutcomeUnknown { waited_ms });
                }
                Failed::Unknown => maybe_done = true,
                Failed::NotLeader | Failed::NoMajority if hopeless => {
                    return unless_done(maybe_done, started, ProposeError::NoLeader { waited_ms });
                }
                Failed::NotLeader | Failed::NoMajority => {}
            }
            if self.inner.stop.is_cancelled() {
                return unless_done(maybe_done, started, ProposeError::ShuttingDown);
            }
            self.wait_for_change(before).await;
        }
    }
}
