//! Detects disks that lied and old copies of data directories.
//!
//! Raft relies on acknowledged entries staying on the disk of the node that acknowledged them. If they do
//! not, a majority may elect a leader without committed entries, and members apply different histories. No
//! node can detect that alone, so the members tell each other:
//! - what each is known to have acknowledged: the leader knows it from the answers, the other members from
//!   the leader's heartbeats;
//! - what each has applied: the last entries of the terms, and a hash over all entries ([`Lineage`]).
//!
//! A node whose log ends before an entry it acknowledged, or that has applied other entries than the leader,
//! stops and reports it. The leader reports it too, and does not count that node. See
//! docs/decisions/0024-lost-and-diverged-logs.md.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use batuta_proto::internal as wire;
use tokio::sync::watch;

use crate::codec::consensus::{log_id, log_id_to_wire};
use crate::lineage::{AppliedChain, Compared, Contradiction, Lineage, SharedLineage};
use crate::store::LogEnd;
use crate::types::{LogId, StoredMembership};

/// Formats a log position for people.
pub(crate) struct At(pub(crate) Option<LogId>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(id) => write!(f, "entry {} of term {}", id.index, id.leader_id.term),
            None => write!(f, "nothing"),
        }
    }
}

/// Why this node must stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Breach {
    /// Acknowledged entries are missing from this node's log.
    #[error(
        "this node's log ends at {}, but it had acknowledged {}, according to member {said_by}: its disk lost synced data, or the data \
         directory is an old copy. It must no longer vote or be counted. Move the data directory away and start this node again: \
         it joins again under its name and fetches everything",
        At(*end), At(Some(*acknowledged))
    )]
    LostTail {
        /// The end of this node's log.
        end: Option<LogId>,
        /// The entry it had acknowledged.
        acknowledged: LogId,
        /// The member that says so.
        said_by: u64,
    },
    /// This node has applied entries that the leader has not.
    #[error(
        "this node has applied other entries than the leader, member {leader}, whom a majority elected: they differ at or before entry \
         {index}. The applied entries are no longer in the cluster's log, because a majority lost them (a disk that lied, an old copy of a \
         data directory). Keep this data directory: it may hold acknowledged writes that the cluster has lost. To continue with the \
         leader's history, move it away and start this node again: it joins again under its name and fetches everything"
    )]
    OtherHistory {
        /// The leader.
        leader: u64,
        /// The index at which the histories were compared.
        index: u64,
    },
}

/// A defect of another member, found by this node.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    why: String,
    /// The index at which the member's history was found to differ from this node's.
    differs_at: Option<u64>,
}

#[derive(Default)]
struct Known {
    /// The last entry that each member has acknowledged to this node as the leader of a term. Under a later
    /// leader a member may have to give up uncommitted entries.
    acknowledged: BTreeMap<u64, (u64, LogId)>,
    /// The last committed entry that each member is known to have on its disk. A member never gives that up.
    committed: BTreeMap<u64, LogId>,
    faults: BTreeMap<u64, Fault>,
}

/// The content of a request to a follower, against which the answer is judged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// The last entry the follower had acknowledged by then.
    acknowledged: Option<LogId>,
    term: u64,
    committed: Option<LogId>,
}

/// Another member, for messages.
#[derive(Debug, Clone)]
pub(crate) struct PeerName {
    pub(crate) node_id: u64,
    pub(crate) name: String,
}

/// What one node knows about the integrity of its own log and of the other members' logs.
pub(crate) struct Integrity {
    me: u64,
    lineage: SharedLineage,
    log_end: LogEnd,
    known: Mutex<Known>,
    breach: watch::Sender<Option<Breach>>,
    /// Index of the membership seen last.
    members_at: AtomicU64,
    /// Whether the other members were asked what this node has acknowledged; before that it must not vote.
    vouched: AtomicBool,
}

impl Integrity {
    pub(crate) fn new(me: u64, lineage: SharedLineage, log_end: LogEnd) -> Self {
        Self {
            me,
            lineage,
            log_end,
            known: Mutex::default(),
            breach: watch::Sender::new(None),
            members_at: AtomicU64::new(0),
            vouched: AtomicBool::new(false),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change under this lock is a single step.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why this node must stop, if it must. A node with a breach no longer answers other members.
    pub(crate) fn breach(&self) -> Option<Breach> {
        if let Some(Contradiction::OtherHistory { leader, at, .. }) = self.lineage.lock().contradiction() {
            self.note_breach(Breach::OtherHistory { leader, index: at.index });
        }
        self.breach.borrow().clone()
    }

    /// Records a reason to stop; only the first is kept.
    pub(crate) fn note_breach(&self, breach: Breach) {
        self.breach.send_if_modified(|kept| kept.is_none() && kept.replace(breach).is_none());
    }

    /// Waits for a reason to stop.
    pub(crate) async fn breached(&self) -> Breach {
        let mut breach = self.breach.subscribe();
        loop {
            if let Some(breach) = &*breach.borrow_and_update() {
                return breach.clone();
            }
            // The sender belongs to this node itself.
            if breach.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Allows this node to vote from now on.
    pub(crate) fn vouch(&self) {
        self.vouched.store(true, Ordering::Release);
    }

    pub(crate) fn may_vote(&self) -> bool {
        self.vouched.load(Ordering::Acquire)
    }

    /// The entries this node has applied, for comparison.
    pub(crate) fn applied(&self) -> Option<wire::AppliedChain> {
        self.lineage.lock().applied().map(applied_to_wire)
    }

    /// The last entry this node has, in its log or applied.
    fn end(&self) -> Option<LogId> {
        self.log_end.voted_and_last().1.max(self.lineage.lock().last())
    }

    /// Checks that this node still has a committed entry that it acknowledged.
    pub(crate) fn check_acknowledged(&self, acknowledged: LogId, said_by: u64) -> Result<(), Breach> {
        check_end(self.end(), acknowledged, said_by)
    }

    /// The last committed entry that a member is known to have on its disk.
    pub(crate) fn committed_of(&self, node_id: u64) -> Option<LogId> {
        self.known().committed.get(&node_id).copied()
    }

    /// The last committed entries that the other members are known to have on their disks.
    pub(crate) fn committed_of_others(&self) -> Vec<wire::AcknowledgedBy> {
        let known = self.known();
        let others = known.committed.iter().filter(|(id, _)| **id != self.me);
        others
            .map(|(id, last)| wire::AcknowledgedBy { node_id: *id, last: Some(log_id_to_wire(*last)) })
            .collect()
    }

    /// Adds what another member knows.
    pub(crate) fn learn(&self, members: &[wire::AcknowledgedBy]) {
        if members.is_empty() {
            return;
        }
        let mut known = self.known();
        for member in members {
            if let Some(last) = member.last.filter(|_| member.node_id != self.me) {
                note_committed(&mut known, member.node_id, log_id(last));
            }
        }
    }

    /// Forgets nodes that are no longer members. Cheap when the membership has not changed.
    pub(crate) fn retain(&self, members: &StoredMembership) {
        let index = members.log_id().map_or(0, |id| id.index);
        if self.members_at.swap(index, Ordering::Relaxed) == index {
            return;
        }
        let is_member = |id: &u64| members.get_node(id).is_some();
        let mut known = self.known();
        known.acknowledged.retain(|id, _| is_member(id));
        known.committed.retain(|id, _| is_member(id));
        known.faults.retain(|id, _| is_member(id));
    }

    /// The defect of a member, if one was found.
    pub(crate) fn fault(&self, node_id: u64) -> Option<String> {
        self.known().faults.get(&node_id).map(|fault| fault.why.clone())
    }
}

/// Methods of the leader.
impl Integrity {
    /// Adds to a request the data with which the follower checks itself.
    pub(crate) fn stamp_append(&self, node_id: u64, request: &mut wire::AppendRequest) -> Asked {
        let term = request.vote.map_or(0, |vote| vote.term);
        let committed = request.leader_commit.map(log_id);
        let known = self.known();
        let in_term = known.acknowledged.get(&node_id).filter(|(of, _)| *of == term).map(|(_, id)| *id);
        let acknowledged = in_term.max(known.committed.get(&node_id).copied());
        request.acknowledged = acknowledged.map(log_id_to_wire);
        let differs_at = known.faults.get(&node_id).and_then(|fault| fault.differs_at);
        drop(known);
        if request.entries.is_empty() {
            request.members = self.committed_of_others();
            let own = self.log_end.durable().min(committed).map(log_id_to_wire);
            request
                .members
                .extend(own.map(|last| wire::AcknowledgedBy { node_id: self.me, last: Some(last) }));
        }
        let lineage = self.lineage.lock();
        let applied = differs_at.and_then(|index| lineage.applied_at(index)).or_else(|| lineage.applied());
        request.applied = applied.map(applied_to_wire);
        Asked { acknowledged, term, committed }
    }

    /// Judges a follower's answer. If the follower is not healthy, the fault is logged once, and the answer
    /// must not be counted. `answer` is the last matching entry, or the entry that does not match.
    pub(crate) fn judge_answer(
        &self,
        peer: &PeerName,
        asked: Asked,
        applied: Option<wire::AppliedChain>,
        answer: Result<Option<LogId>, LogId>,
    ) -> Result<(), String> {
        if let Some(theirs) = applied.and_then(applied_from_wire)
            && self.lineage.lock().compare(&theirs) == Compared::Differs
        {
            let index = theirs.last.index;
            let why = format!(
                "it has applied other entries than this leader: they differ at or before entry {index}. It is no longer counted and has to \
                 stop. It may hold acknowledged writes that the cluster has lost: keep its data directory"
            );
            return Err(self.accuse(peer, why, Some(index)));
        }
        match answer {
            Err(at) if asked.acknowledged.is_some_and(|acknowledged| at.index <= acknowledged.index) => {
                let why = format!(
                    "it had acknowledged {} and does not have {}: its disk lost synced data, or its data directory is an old copy. It is \
                     no longer counted and has to stop. Move its data directory away and start it again",
                    At(asked.acknowledged),
                    At(Some(at)),
                );
                Err(self.accuse(peer, why, None))
            }
            Err(_) | Ok(None) => Ok(()),
            Ok(Some(matched)) => {
                self.acknowledged(peer.node_id, asked, matched);
                Ok(())
            }
        }
    }

    fn acknowledged(&self, node_id: u64, asked: Asked, matched: LogId) {
        let mut known = self.known();
        let in_term = known.acknowledged.entry(node_id).or_insert((asked.term, matched));
        if in_term.0 != asked.term {
            *in_term = (asked.term, matched);
        }
        in_term.1 = in_term.1.max(matched);
        if let Some(committed) = asked.committed {
            note_committed(&mut known, node_id, matched.min(committed));
        }
        known.faults.remove(&node_id);
    }

    /// Logs a member's fault, unless the same fault was logged before.
    pub(crate) fn accuse(&self, peer: &PeerName, why: String, differs_at: Option<u64>) -> String {
        let fault = Fault { why: why.clone(), differs_at };
        let before = self.known().faults.insert(peer.node_id, fault);
        if before.is_none_or(|before| before.why != why) {
            tracing::error!(
                member = peer.name,
                node_id = peer.node_id,
                why,
                "a member's log has lost acknowledged entries or differs"
            );
        }
        why
    }
}

/// Methods of a follower or voter.
impl Integrity {
    /// Checks this node against what a leader says, before anything is answered.
    pub(crate) fn check_append(&self, request: &wire::AppendRequest) -> Result<(), Breach> {
        let Some(vote) = request.vote else { return Ok(()) };
        let (voted_term, end) = self.log_end.voted_and_last();
        if vote.term < voted_term {
            // The leader is deposed; consensus refuses its request.
            return Ok(());
        }
        let differs = |index| Err(Breach::OtherHistory { leader: vote.node_id, index });
        let mut lineage = self.lineage.lock();
        if let Some(acknowledged) = request.acknowledged {
            check_end(end.max(lineage.last()), log_id(acknowledged), vote.node_id)?;
        }
        // openraft assumes that the leader has everything that was committed here.
        let last = lineage.last().map(|last| last.index);
        let entries = request.entries.iter().map(|entry| entry.log_id);
        for id in [request.previous].into_iter().chain(entries).flatten() {
            if last.is_none_or(|last| id.index > last) {
                break;
            }
            if lineage.compare_entry(log_id(id)) == Compared::Differs {
                return differs(id.index);
            }
        }
        if let Some(theirs) = request.applied.and_then(applied_from_wire)
            && lineage.follow(vote.node_id, &theirs) == Compared::Differs
        {
            return differs(theirs.last.index);
        }
        drop(lineage);
        self.learn(&request.members);
        Ok(())
    }

    /// Checks this node against the snapshot that a leader sends.
    pub(crate) fn check_snapshot(&self, leader: u64, snapshot: &Lineage) -> Result<(), Breach> {
        let lineage = self.lineage.lock();
        match lineage.last() {
            Some(last) if lineage.compare_snapshot(snapshot) == Compared::Differs => {
                Err(Breach::OtherHistory { leader, index: last.index })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Adds to a vote request the data with which the voter checks itself.
    pub(crate) fn stamp_vote(&self, node_id: u64, request: &mut wire::VoteRequest) {
        request.acknowledged = self.committed_of(node_id).map(log_id_to_wire);
        request.applied = self.applied();
    }

    /// Compares the entries that another node has applied with this node's, as far as possible. A difference
    /// is logged.
    pub(crate) fn compare_with(
        &self,
        peer: &PeerName,
        applied: Option<wire::AppliedChain>,
    ) -> Result<(), String> {
        let Some(theirs) = applied.and_then(applied_from_wire) else { return Ok(()) };
        if self.lineage.lock().compare(&theirs) != Compared::Differs {
            return Ok(());
        }
        let index = theirs.last.index;
        let why = format!(
            "it has applied other entries than this node: they differ at or before entry {index}; neither votes for the other. Both may hold \
             acknowledged writes: keep their data directories"
        );
        Err(self.accuse(peer, why, Some(index)))
    }
}

fn check_end(end: Option<LogId>, acknowledged: LogId, said_by: u64) -> Result<(), Breach> {
    let reaches = |end: LogId| end >= acknowledged && end.index >= acknowledged.index;
    if end.is_some_and(reaches) {
        return Ok(());
    }
    Err(Breach::LostTail { end, acknowledged, said_by })
}

fn note_committed(known: &mut Known, node_id: u64, last: LogId) {
    let committed = known.committed.entry(node_id).or_insert(last);
    *committed = last.max(*committed);
}

fn applied_to_wire(applied: AppliedChain) -> wire::AppliedChain {
    wire::AppliedChain { last: Some(log_id_to_wire(applied.last)), chain: applied.chain }
}

fn applied_from_wire(applied: wire::AppliedChain) -> Option<AppliedChain> {
    Some(AppliedChain { last: log_id(applied.last?), chain: applied.chain })
}

#[cfg(test)]
mod tests {
    use openraft::entry::RaftEntry as _;

    use super::*;
    use crate::types::RaftEntry;

    fn id(term: u64, index: u64) -> LogId {
        LogId::new_term_index(term, index)
    }

    fn wire_id(term: u64, index: u64) -> wire::LogId {
        log_id_to_wire(id(term, index))
    }

    /// A node whose log ends at `end`, under a vote of `voted_term`, and that has applied an entry for each
    /// given term, from index 0 on.
    fn node(me: u64, voted_term: u64, end: Option<LogId>, applied: &[u64]) -> Integrity {
        let lineage = SharedLineage::default();
        for (index, term) in (0..).zip(applied) {
            lineage.lock().add(&RaftEntry::new_blank(id(*term, index))).expect("the next one");
        }
        Integrity::new(me, lineage, LogEnd::at(voted_term, end))
    }

    /// A message from member 1, the leader of that term, to member 2.
    fn append(leader: &Integrity, term: u64, commit: u64) -> (wire::AppendRequest, Asked) {
        let vote = Some(wire::RaftVote { term, node_id: 1, committed: true });
        let mut request =
            wire::AppendRequest { vote, leader_commit: Some(wire_id(term, commit)), ..Default::default() };
        let asked = leader.stamp_append(2, &mut request);
        (request, asked)
    }

    fn peer(node_id: u64) -> PeerName {
        PeerName { node_id, name: format!("n{node_id}") }
    }

    /// A leader of term 1 to which member 2 has acknowledged entry 32, committed up to 31.
    fn leader_of_a_follower_with_32() -> Integrity {
        let leader = node(1, 1, Some(id(1, 40)), &[1; 32]);
        let (request, asked) = append(&leader, 1, 31);
        assert_eq!(request.acknowledged, None);
        leader.judge_answer(&peer(2), asked, None, Ok(Some(id(1, 32)))).expect("healthy");
        leader
    }

    #[test]
    fn lost_tail_is_reported_and_refused() {
        let leader = leader_of_a_follower_with_32();
        let (request, asked) = append(&leader, 1, 33);
        assert_eq!(request.acknowledged, Some(wire_id(1, 32)));
        assert_eq!(node(2, 1, Some(id(1, 32)), &[]).check_append(&request), Ok(()));
        let lost = node(2, 1, Some(id(1, 29)), &[]).check_append(&request);
        let expected = Breach::LostTail { end: Some(id(1, 29)), acknowledged: id(1, 32), said_by: 1 };
        assert_eq!(lost, Err(expected));
        // A follower that does not check itself answers with a conflict.
        leader.judge_answer(&peer(2), asked, None, Err(id(1, 33))).expect("it never had that");
        let why = leader.judge_answer(&peer(2), asked, None, Err(id(1, 32))).expect_err("it had that");
        assert!(why.contains("had acknowledged entry 32"), "{why}");
        assert_eq!(leader.fault(2), Some(why));
        leader.judge_answer(&peer(2), asked, None, Ok(Some(id(1, 33)))).expect("healthy");
        assert_eq!(leader.fault(2), None, "it has everything");
    }

    #[test]
    fn a_snapshot_counts_as_the_log() {
        let (request, _) = append(&leader_of_a_follower_with_32(), 1, 33);
        assert_eq!(node(2, 1, None, &[1; 33]).check_append(&request), Ok(()));
    }

    #[test]
    fn uncommitted_entries_may_go_under_a_later_leader() {
        let leader = leader_of_a_follower_with_32();
        let (request, _) = append(&leader, 1, 31);
        // The follower gave up entry 32 to the leader of term 2; consensus refuses what the old leader still
        // sends.
        assert_eq!(node(2, 2, Some(id(1, 31)), &[]).check_append(&request), Ok(()));
        // When it leads again, it relies only on committed entries.
        let (request, _) = append(&leader, 3, 31);
        assert_eq!(request.acknowledged, Some(wire_id(1, 31)));
        assert!(node(2, 3, Some(id(1, 30)), &[]).check_append(&request).is_err());
    }

    #[test]
    fn others_remember_what_a_member_acknowledged() {
        let leader = leader_of_a_follower_with_32();
        let (mut request, _) = append(&leader, 1, 33);
        leader.stamp_append(3, &mut request);
        let third = node(3, 1, Some(id(1, 30)), &[]);
        assert_eq!(third.check_append(&request), Ok(()));
        assert_eq!(third.committed_of(2), Some(id(1, 31)));
        assert_eq!(third.committed_of(1), Some(id(1, 33)), "the leader's own disk, as far as committed");
        let mut vote = wire::VoteRequest::default();
        third.stamp_vote(2, &mut vote);
        assert_eq!(vote.acknowledged, Some(wire_id(1, 31)));
        assert!(node(2, 1, Some(id(1, 29)), &[]).check_acknowledged(id(1, 31), 3).is_err());
    }

    #[test]
    fn other_entries_than_the_leaders_stop_a_follower() {
        let leader = node(1, 2, Some(id(2, 5)), &[0, 1, 1, 2, 2, 2]);
        let (request, asked) = append(&leader, 2, 5);
        assert_eq!(node(2, 1, Some(id(1, 2)), &[0, 1, 1]).check_append(&request), Ok(()), "behind");
        let diverged = node(2, 1, Some(id(1, 4)), &[0, 1, 1, 1, 1]);
        assert_eq!(diverged.check_append(&request), Ok(()), "the leader is ahead: nothing to compare yet");
        let mut with_entries = request;
        with_entries.previous = Some(wire_id(1, 2));
        let entry = |index| wire::StoredEntry { log_id: Some(wire_id(2, index)), payload: None };
        with_entries.entries = vec![entry(3), entry(4), entry(5)];
        assert_eq!(diverged.check_append(&with_entries), Err(Breach::OtherHistory { leader: 1, index: 3 }));
        // The leader notices too, and from then on sends its own hash at the same index.
        let why = leader.judge_answer(&peer(2), asked, diverged.applied(), Ok(None)).expect_err("it differs");
        assert!(why.contains("at or before entry 4"), "{why}");
        let (request, _) = append(&leader, 2, 5);
        assert_eq!(diverged.check_append(&request), Err(Breach::OtherHistory { leader: 1, index: 4 }));
    }

    #[test]
    fn nodes_with_different_histories_do_not_vote() {
        let (one, other) = (node(1, 2, None, &[0, 1, 2, 2]), node(2, 1, None, &[0, 1, 1]));
        let mut vote = wire::VoteRequest::default();
        other.stamp_vote(1, &mut vote);
        assert!(one.compare_with(&peer(2), vote.applied).is_err());
        assert_eq!(other.compare_with(&peer(1), one.applied()), Ok(()), "it cannot tell: it is not that far");
    }

    #[test]
    fn a_snapshot_of_another_history_is_refused() {
        let snapshot = node(1, 2, None, &[0, 1, 2, 2, 2]).lineage.lock().clone();
        assert_eq!(node(2, 1, None, &[0, 1]).check_snapshot(1, &snapshot), Ok(()));
        let refused = Err(Breach::OtherHistory { leader: 1, index: 2 });
        assert_eq!(node(2, 1, None, &[0, 1, 1]).check_snapshot(1, &snapshot), refused);
        assert!(
            node(2, 1, None, &[0, 1, 1, 1, 1, 1, 1]).check_snapshot(1, &snapshot).is_err(),
            "ahead of it"
        );
    }
}
