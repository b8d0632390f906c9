//! A leader whose process is gone is replaced without waiting for the election timeout.
//!
//! When a process ends, its system closes its connections and refuses new ones. A follower whose stream from the leader breaks knocks
//! at the leader's port; when it is refused, it asks the other voters whether they lost the leader as well. With a majority that has,
//! the one of them whose log reaches furthest stands for election at once (Raft, section 5.2; the others vote for it although they
//! heard of the leader a moment ago, as when leadership is handed over: Raft dissertation, section 4.2.3). A leader that is only cut
//! off, paused, or whose machine is gone refuses nobody: then the election timeout decides, as ever.
//!
//! It is about time only. Whom a majority votes for, and with which log, is Raft's own rule.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use batuta_proto::internal as wire;
use futures_util::future::join_all;
use openraft::raft::TransferLeaderRequest;

use super::{Core, Inner};
use crate::codec::consensus::{log_id, log_id_to_wire, vote_to_wire};
use crate::peer::{self, Knock, Target};
use crate::types::{LogId, Vote};

/// How often the others are asked: they notice at their own time, and whose log reaches further may need a moment more.
const ROUNDS: usize = 10;
const BETWEEN_ROUNDS: Duration = Duration::from_millis(20);
/// How long one question may take.
const ANSWER_WITHIN: Duration = Duration::from_millis(200);

/// A stream of entries from a leader, while it lasts. When it breaks, its leader may be gone.
pub(crate) struct LeaderStream {
    inner: Arc<Inner>,
    vote: Option<Vote>,
}

impl LeaderStream {
    pub(crate) fn new(inner: &Arc<Inner>) -> Self {
        inner.leader_heard.streams.fetch_add(1, Ordering::Relaxed);
        Self { inner: Arc::clone(inner), vote: None }
    }

    /// The leader of this vote spoke, at this cluster time.
    pub(crate) fn note(&mut self, vote: &Vote, now_ms: u64) {
        self.inner.leader_heard.note();
        self.inner.clock.hear(vote.leader_id.term, now_ms, tokio::time::Instant::now());
        self.vote = Some(*vote);
    }

    /// It was not the leader that ended it.
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

/// What one look at the others found.
enum Found {
    /// This node, whose log ends there, is to stand for election.
    MyTurn(Option<LogId>),
    /// Not yet, or not this node.
    NotYet,
    /// There is nothing to replace.
    Nothing,
}

/// Stands for election in the place of the leader that was voted for, if that is gone.
async fn replace(inner: &Inner, vote: &Vote) {
    let Some(core) = inner.core() else { return };
    for _ in 0..ROUNDS {
        match look(inner, core, vote).await {
            Found::MyTurn(end) => {
                tracing::info!(
                    term = vote.leader_id.term,
                    "the leader's process is gone; standing for election"
                );
                let stand = TransferLeaderRequest::new(*vote, core.identity.node_id, end);
                // Refused when somebody else stands already.
                if let Err(error) = core.raft.handle_transfer_leader(stand).await {
                    tracing::debug!(%error, "consensus ends");
                }
                return;
            }
            Found::NotYet => tokio::time::sleep(BETWEEN_ROUNDS).await,
            Found::Nothing => return,
        }
    }
}

async fn look(inner: &Inner, core: &Core, vote: &Vote) -> Found {
    let me = core.identity.node_id;
    let voters: Vec<u64> = core.metrics.look(|metrics| metrics.membership_config.voter_ids().collect());
    if !voters.contains(&me) || position(core).await.is_none_or(|(current, _)| current != *vote) {
        return Found::Nothing;
    }
    match knock(inner, core, vote).await {
        Knock::Answered => return Found::Nothing,
        Knock::Unclear => return Found::NotYet,
        Knock::Refused => {}
    }
    let others = voters.iter().filter(|id| **id != me && **id != vote.leader_id.voted_for);
    let answers = join_all(others.map(|id| ask(inner, core, *id, vote))).await;
    let others: Vec<(u64, Option<LogId>)> = answers.into_iter().flatten().collect();
    // As it is now: entries may have arrived while the others answered.
    let Some((current, end)) = position(core).await else { return Found::Nothing };
    if current != *vote {
        return Found::Nothing;
    }
    if is_first(me, end, &others, voters.len()) { Found::MyTurn(end) } else { Found::NotYet }
}

/// Whether this node goes first, whose log ends there: it and the `others` that lost the leader are a majority of the voters, and
/// none of them has a longer log. Of equal ones the highest id goes.
fn is_first(me: u64, end: Option<LogId>, others: &[(u64, Option<LogId>)], voters: usize) -> bool {
    let place = |id: u64, end: Option<LogId>| (end.map(|end| (end.leader_id.term, end.index)), id);
    2 * (others.len() + 1) > voters && others.iter().all(|(id, theirs)| place(*id, *theirs) < place(me, end))
}

/// The node's present vote and the end of its log.
async fn position(core: &Core) -> Option<(Vote, Option<LogId>)> {
    core.raft.with_raft_state(|state| (*state.vote_ref(), state.log_ids.last().copied())).await.ok()
}

/// Knocks at the port of the leader that was voted for.
async fn knock(inner: &Inner, core: &Core, vote: &Vote) -> Knock {
    let Some(address) = core.peer(vote.leader_id.voted_for) else { return Knock::Unclear };
    peer::knock(inner.platform.as_ref(), &address, ANSWER_WITHIN).await
}

/// Asks another voter whether it lost the leader, too; gives the end of its log if it has.
async fn ask(inner: &Inner, core: &Core, node_id: u64, vote: &Vote) -> Option<(u64, Option<LogId>)> {
    let mut client = peer::client(inner.platform.as_ref(), &core.peer(node_id)?).ok()?;
    let target = Target::new(&core.identity.cluster_id, node_id);
    let request = target.request(wire::LeaderLostRequest { vote: Some(vote_to_wire(vote)) });
    // Whoever does not answer, or does not know the question, has not lost it.
    let answer =
        tokio::time::timeout(ANSWER_WITHIN, client.leader_lost(request)).await.ok()?.ok()?.into_inner();
    answer.lost.then(|| (node_id, answer.last.map(log_id)))
}

/// The answer to another voter that has lost the leader of this vote.
pub(crate) async fn lost(inner: &Inner, core: &Core, vote: &Vote) -> wire::LeaderLostResponse {
    let streams = inner.leader_heard.streams.load(Ordering::Relaxed);
    let refused = streams == 0 && matches!(knock(inner, core, vote).await, Knock::Refused);
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
    fn the_longest_log_of_a_majority_goes_first_and_only_that() {
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
