//! Replaces a leader whose process is gone, without waiting for the election timeout.
//!
//! When a process ends, its operating system closes its connections and refuses new ones. A follower whose
//! stream from the leader breaks probes the leader's port; if the port refuses, the follower asks the other
//! voters whether they lost the leader as well. If a majority has, the one among them with the longest log
//! stands for election at once (Raft, section 5.2; the others vote for it although they heard from the leader
//! a moment ago, as in a leadership transfer: Raft dissertation, section 4.2.3). A leader that is only cut
//! off or paused, or whose machine is gone, refuses nobody; then the election timeout decides, as always.
//!
//! This affects only timing. Whom a majority votes for, and with which log, is decided by Raft's own rules.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use batuta_proto::internal as wire;
use futures_util::future::join_all;
use openraft::raft::TransferLeaderRequest;

use super::{Core, Inner};
use crate::codec::consensus::{log_id, log_id_to_wire, vote_to_wire};
use crate::peer::{self, PortProbe, Target};
use crate::types::{LogId, Vote};

/// How often the others are asked. They notice the loss at different times, and the one with the longest log
/// may need a moment more.
const ROUNDS: usize = 10;
const BETWEEN_ROUNDS: Duration = Duration::from_millis(20);
/// Time limit of one question.
const ANSWER_WITHIN: Duration = Duration::from_millis(200);

/// An open stream of entries from a leader. When it breaks, the leader may be gone.
pub(crate) struct LeaderStream {
    inner: Arc<Inner>,
    vote: Option<Vote>,
}

impl LeaderStream {
    pub(crate) fn new(inner: &Arc<Inner>) -> Self {
        inner.leader_heard.streams.fetch_add(1, Ordering::Relaxed);
        Self { inner: Arc::clone(inner), vote: None }
    }

    /// Notes a message of the leader of this vote, sent at this cluster time.
    pub(crate) fn note(&mut self, vote: &Vote, now_ms: u64) {
        self.inner.leader_heard.note();
        self.inner.clock.hear(vote.leader_id.term, now_ms, tokio::time::Instant::now());
        self.vote = Some(*vote);
    }

    /// Handles a stream that broke without being ended by the leader.
    pub(crate) fn broke(&mut self) {
        if let Some(vote) = self.vote.take() {
            let inner = Arc::clone(&self.inner);
            self.inner.tasks.spawn(async move {
                inner.stop.run_until_cancelled(replace(&inner, &vote)).await;
            });
        }
    }
}

impl Drop for LeaderStream {
    fn drop(&mut self) {
        self.inner.leader_heard.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The result of asking the other voters once.
enum Found {
    /// This node, whose log ends there, is to stand for election.
    MyTurn(Option<LogId>),
    /// Not yet, or another node goes first.
    NotYet,
    /// There is no leader to replace.
    Nothing,
}

/// Stands for election in place of the leader of `vote`, if that leader is gone.
async fn replace(inner: &Inner, vote: &Vote) {
    let Some(core) = inner.core() else { return };
    for _ in 0..ROUNDS {
        match ask_voters(inner, core, vote).await {
            Found::MyTurn(end) => {
                tracing::info!(
                    term = vote.leader_id.term,
                    "the leader's process is gone; standing for election"
                );
                let stand = TransferLeaderRequest::new(*vote, core.identity.node_id, end);
                // Refused when another node stands already.
                if let Err(error) = core.raft.handle_transfer_leader(stand).await {
                    tracing::debug!(%error, "consensus has ended");
                }
                return;
            }
            Found::NotYet => tokio::time::sleep(BETWEEN_ROUNDS).await,
            Found::Nothing => return,
        }
    }
}

async fn ask_voters(inner: &Inner, core: &Core, vote: &Vote) -> Found {
    let me = core.identity.node_id;
    let voters: Vec<u64> = core.metrics.look(|metrics| metrics.membership_config.voter_ids().collect());
    if !voters.contains(&me) || position(core).await.is_none_or(|(current, _)| current != *vote) {
        return Found::Nothing;
    }
    match probe_port(inner, core, vote).await {
        PortProbe::Answered => return Found::Nothing,
        PortProbe::Unclear => return Found::NotYet,
        PortProbe::Refused => {}
    }
    let others = voters.iter().filter(|id| **id != me && **id != vote.leader_id.voted_for);
    let answers = join_all(others.map(|id| ask(inner, core, *id, vote))).await;
    let others: Vec<(u64, Option<LogId>)> = answers.into_iter().flatten().collect();
    // Read again: entries may have arrived while the others answered.
    let Some((current, end)) = position(core).await else { return Found::Nothing };
    if current != *vote {
        return Found::Nothing;
    }
    if is_first(me, end, &others, voters.len()) { Found::MyTurn(end) } else { Found::NotYet }
}

/// Whether this node, whose log ends at `end`, goes first: together with the `others` that lost the leader it
/// is a majority of the voters, and none of them has a longer log. Of equal logs the highest id goes first.
fn is_first(me: u64, end: Option<LogId>, others: &[(u64, Option<LogId>)], voters: usize) -> bool {
    let place = |id: u64, end: Option<LogId>| (end.map(|end| (end.leader_id.term, end.index)), id);
    2 * (others.len() + 1) > voters && others.iter().all(|(id, theirs)| place(*id, *theirs) < place(me, end))
}

/// The node's current vote and the end of its log.
async fn position(core: &Core) -> Option<(Vote, Option<LogId>)> {
    core.raft.with_raft_state(|state| (*state.vote_ref(), state.log_ids.last().copied())).await.ok()
}

/// Probes the port of the leader of `vote`.
async fn probe_port(inner: &Inner, core: &Core, vote: &Vote) -> PortProbe {
    let Some(address) = core.peer(vote.leader_id.voted_for) else { return PortProbe::Unclear };
    peer::probe_port(inner.platform.as_ref(), &address, ANSWER_WITHIN).await
}

/// Asks another voter whether it lost the leader too; returns the end of its log if it has.
async fn ask(inner: &Inner, core: &Core, node_id: u64, vote: &Vote) -> Option<(u64, Option<LogId>)> {
    let mut client = peer::client(inner.platform.as_ref(), &core.peer(node_id)?).ok()?;
    let target = Target::new(&core.identity.cluster_id, node_id);
    let request = target.request(wire::LeaderLostRequest { vote: Some(vote_to_wire(vote)) });
    // A voter that does not answer, or does not know the question, has not lost the leader.
    let answer =
        tokio::time::timeout(ANSWER_WITHIN, client.leader_lost(request)).await.ok()?.ok()?.into_inner();
    answer.lost.then(|| (node_id, answer.last.map(log_id)))
}

/// Answers another voter that has lost the leader of this vote.
pub(crate) async fn lost(inner: &Inner, core: &Core, vote: &Vote) -> wire::LeaderLostResponse {
    let streams = inner.leader_heard.streams.load(Ordering::Relaxed);
    let refused = streams == 0 && matches!(probe_port(inner, core, vote).await, PortProbe::Refused);
    match position(core).await {
        Some((current, last)) => {
            wire::LeaderLostResponse { lost: refused && current == *vote, last: last.map(log_id_to_wire) }
        }
        None => wire::LeaderLostResponse::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_longest_log_of_a_majority_goes_first() {
        let at = |term, index| Some(LogId::new_term_index(term, index));
        assert!(!is_first(1, at(2, 9), &[], 3), "one of three is no majority");
        assert!(is_first(1, at(2, 9), &[(2, at(2, 8))], 3));
        assert!(is_first(1, at(2, 9), &[(2, None)], 3));
        assert!(!is_first(1, at(2, 9), &[(2, at(2, 10))], 3));
        assert!(!is_first(1, at(2, 9), &[(2, at(3, 1))], 3), "a later term counts more");
        assert!(is_first(2, at(2, 9), &[(1, at(2, 9))], 3));
        assert!(!is_first(1, at(2, 9), &[(2, at(2, 9))], 3), "never two of them");
        assert!(!is_first(1, at(2, 9), &[(2, at(2, 8))], 5));
        assert!(is_first(4, at(2, 9), &[(2, at(2, 8)), (3, at(2, 9))], 5));
    }
}
