//! Identifies the entries that led to a node's state: a hash over all applied entries, and the last entry of
//! each term.
//!
//! Two nodes that applied the same entries have the same hash at the same index. A term and an index name one
//! entry, so the last entries of the terms tell two histories apart at any distance. The hash also tells
//! entries with the same term and index apart; it is known only for the newest indexes.
//!
//! Payloads are hashed as they are in the log. For entries of consensus itself only the position counts,
//! since builds may encode a membership differently.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::EntryPayload;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::types::{LogId, RaftEntry};

/// The newest indexes for which the hash is kept.
const RECENT_MAX: usize = 4096;
/// The newest ends of terms that are kept. Each election adds one.
const TERM_ENDS_MAX: usize = 1024;

/// The last entry that a node has applied, and the hash over all entries up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AppliedChain {
    pub(crate) last: LogId,
    pub(crate) chain: u64,
}

/// The result of comparing two nodes' histories, as far as one of them can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compared {
    /// The histories are the same up to there.
    Same,
    /// The histories have different entries at this index or before it.
    Differs,
    /// This node has not reached the index, or no longer knows its entry there.
    Unknown,
}

/// The history of one state. A clone copies some kilobytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lineage {
    last: Option<LogId>,
    /// The hash at `last`; `None` when unknown because a snapshot did not contain it.
    chain: Option<u64>,
    /// The hashes of the newest indexes; the newest one is last.
    recent: VecDeque<u64>,
    /// The last entries of the terms before the current one, oldest first.
    term_ends: VecDeque<LogId>,
    /// The first index whose term follows from `term_ends`.
    terms_since: u64,
    /// A position further ahead that a leader has applied, compared when this node gets there.
    awaited: Option<Awaited>,
    /// The entry that could not be added.
    contradiction: Option<Contradiction>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Awaited {
    leader: u64,
    applied: AppliedChain,
}

/// An entry contradicts the entries before it, or the leader's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Contradiction {
    /// The entry does not come after the last one.
    #[error("entry {next} was to be applied after entry {last}")]
    NotAfter {
        /// The last applied entry.
        last: LogId,
        /// The entry that was to be applied.
        next: LogId,
    },
    /// The entries up to there differ from those that the leader applied.
    #[error(
        "the entries up to {at} differ from those that the leader has applied (hash {own:016x} here, {theirs:016x} there)"
    )]
    OtherHistory {
        /// The leader.
        leader: u64,
        /// The position at which the two were compared.
        at: LogId,
        /// This node's hash.
        own: u64,
        /// The leader's hash.
        theirs: u64,
    },
}

/// The hash over all entries up to and including this one.
fn next_chain(previous: u64, entry: &RaftEntry) -> u64 {
    let mut head = [0; 25];
    head[..8].copy_from_slice(&previous.to_le_bytes());
    head[8..16].copy_from_slice(&entry.log_id.leader_id.term.to_le_bytes());
    head[16..24].copy_from_slice(&entry.log_id.index.to_le_bytes());
    match &entry.payload {
        EntryPayload::Blank => xxh3_64(&head),
        EntryPayload::Membership(_) => {
            head[24] = 1;
            xxh3_64(&head)
        }
        EntryPayload::Normal(data) => {
            head[24] = 2;
            xxh3_64_with_seed(&data.bytes, xxh3_64(&head))
        }
    }
}

impl Lineage {
    /// The lineage of a snapshot. Without `terms_since` only its last entry is known.
    pub(crate) fn restored(
        last: Option<LogId>,
        chain: Option<u64>,
        term_ends: impl IntoIterator<Item = LogId>,
        terms_since: Option<u64>,
    ) -> Self {
        Self {
            last,
            chain: chain.filter(|_| last.is_some()),
            recent: chain.filter(|_| last.is_some()).into_iter().collect(),
            term_ends: term_ends.into_iter().collect(),
            terms_since: terms_since.unwrap_or(last.map_or(0, |last| last.index)),
            awaited: None,
            contradiction: None,
        }
    }

    pub(crate) fn last(&self) -> Option<LogId> {
        self.last
    }

    pub(crate) fn chain(&self) -> Option<u64> {
        self.chain
    }

    pub(crate) fn term_ends(&self) -> impl Iterator<Item = LogId> {
        self.term_ends.iter().copied()
    }

    pub(crate) fn terms_since(&self) -> u64 {
        self.terms_since
    }

    /// The last applied entry and its hash, for another node to compare.
    pub(crate) fn applied(&self) -> Option<AppliedChain> {
        Some(AppliedChain { last: self.last?, chain: self.chain? })
    }

    /// The same as of an earlier index, if the index is recent enough.
    pub(crate) fn applied_at(&self, index: u64) -> Option<AppliedChain> {
        let last = LogId::new_term_index(self.term_at(index)?, index);
        Some(AppliedChain { last, chain: self.chain_at(index)? })
    }

    /// Why an entry could not be added.
    pub(crate) fn contradiction(&self) -> Option<Contradiction> {
        self.contradiction
    }

    /// Adds the next entry.
    ///
    /// # Errors
    /// [`Contradiction`]; nothing is added in that case.
    pub(crate) fn add(&mut self, entry: &RaftEntry) -> Result<(), Contradiction> {
        // An unused node starts with the hash of nothing.
        let previous = if self.last.is_none() { Some(0) } else { self.chain };
        let chain = previous.map(|previous| next_chain(previous, entry));
        if let Err(contradiction) = self.check(entry.log_id, chain) {
            self.contradiction = Some(contradiction);
            return Err(contradiction);
        }
        self.note_term(entry.log_id);
        if let Some(chain) = chain {
            if self.last.is_some_and(|last| last.index.checked_add(1) != Some(entry.log_id.index)) {
                // Consensus skips no index; the hashes here stand for indexes without a gap.
                self.recent.clear();
            } else if self.recent.len() == RECENT_MAX {
                self.recent.pop_front();
            }
            self.recent.push_back(chain);
        }
        (self.last, self.chain) = (Some(entry.log_id), chain);
        Ok(())
    }

    fn check(&mut self, next: LogId, chain: Option<u64>) -> Result<(), Contradiction> {
        if let Some(last) = self.last
            && (next.index <= last.index || next.leader_id.term < last.leader_id.term)
        {
            return Err(Contradiction::NotAfter { last, next });
        }
        let Some(Awaited { leader, applied }) = self.awaited else { return Ok(()) };
        if applied.last.index > next.index {
            return Ok(());
        }
        self.awaited = None;
        match chain {
            Some(own) if applied.last.index == next.index && (applied.last, applied.chain) != (next, own) => {
                Err(Contradiction::OtherHistory { leader, at: next, own, theirs: applied.chain })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn note_term(&mut self, next: LogId) {
        match self.last {
            Some(last) if last.leader_id.term < next.leader_id.term => {
                self.term_ends.push_back(last);
                if self.term_ends.len() > TERM_ENDS_MAX
                    && let Some(forgotten) = self.term_ends.pop_front()
                {
                    self.terms_since = forgotten.index.saturating_add(1);
                }
            }
            Some(_) => {}
            None => self.terms_since = next.index,
        }
    }

    /// The term of the entry applied at an index, if known.
    pub(crate) fn term_at(&self, index: u64) -> Option<u64> {
        let last = self.last?;
        if index > last.index || index < self.terms_since {
            return None;
        }
        let end = self.term_ends.partition_point(|end| end.index < index);
        Some(self.term_ends.get(end).unwrap_or(&last).leader_id.term)
    }

    fn chain_at(&self, index: u64) -> Option<u64> {
        let back = usize::try_from(self.last?.index.checked_sub(index)?).ok()?;
        self.recent.len().checked_sub(back + 1).and_then(|at| self.recent.get(at)).copied()
    }

    /// Compares an entry that was applied elsewhere with the entry applied here.
    pub(crate) fn compare_entry(&self, id: LogId) -> Compared {
        match self.term_at(id.index) {
            Some(term) if term == id.leader_id.term => Compared::Same,
            Some(_) => Compared::Differs,
            None => Compared::Unknown,
        }
    }

    /// Compares with the entries another node has applied.
    pub(crate) fn compare(&self, theirs: &AppliedChain) -> Compared {
        match (self.compare_entry(theirs.last), self.chain_at(theirs.last.index)) {
            (Compared::Differs, _) => Compared::Differs,
            (_, Some(own)) if own == theirs.chain => Compared::Same,
            (_, Some(_)) => Compared::Differs,
            (_, None) => Compared::Unknown,
        }
    }

    /// As [`Self::compare`], with a leader's position; a position further ahead is compared when this node
    /// gets there.
    pub(crate) fn follow(&mut self, leader: u64, applied: &AppliedChain) -> Compared {
        if self.last.is_none_or(|last| last.index < applied.last.index) {
            // Keeps the first of several: a position that moved each time would never be reached.
            self.awaited.get_or_insert(Awaited { leader, applied: *applied });
        }
        self.compare(applied)
    }

    /// Compares the history that led to a snapshot with the history of this node, which may be behind or
    /// ahead of it.
    pub(crate) fn compare_snapshot(&self, snapshot: &Self) -> Compared {
        let there = self.last.map_or(Compared::Unknown, |last| snapshot.compare_entry(last));
        let here = snapshot.last.map_or(Compared::Unknown, |last| self.compare_entry(last));
        let chain = self.applied().map_or(Compared::Unknown, |applied| snapshot.compare(&applied));
        if [there, here, chain].contains(&Compared::Differs) { Compared::Differs } else { Compared::Unknown }
    }
}

/// The lineage of a node's state, shared between the parts that compare it with other nodes. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedLineage(Arc<Mutex<Lineage>>);

impl SharedLineage {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Lineage> {
        // Code under this lock changes nothing before the last step that can fail.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use openraft::entry::RaftEntry as _;

    use super::*;
    use crate::types::LogEntry;

    fn entry(term: u64, index: u64, what: u8) -> RaftEntry {
        let entry = Arc::new(batuta_statemachine::Entry {
            stamp: batuta_statemachine::Stamp { now_ms: 1, wall_ms: 1 },
            requests: Vec::new(),
        });
        let data = LogEntry { entry, bytes: Bytes::from(vec![what; 40]) };
        RaftEntry::new_normal(LogId::new_term_index(term, index), data)
    }

    /// Applies one entry for each term given, from index 0 on.
    fn lineage(terms: &[u64]) -> Lineage {
        let mut lineage = Lineage::default();
        for (index, term) in (0..).zip(terms) {
            lineage.add(&entry(*term, index, 7)).expect("the next one");
        }
        lineage
    }

    fn id(term: u64, index: u64) -> LogId {
        LogId::new_term_index(term, index)
    }

    #[test]
    fn same_entries_compare_as_same() {
        let (short, long) = (lineage(&[0, 1, 1, 2]), lineage(&[0, 1, 1, 2, 2, 3]));
        let applied = short.applied().expect("something was applied");
        assert_eq!(long.compare(&applied), Compared::Same);
        assert_eq!(long.applied_at(3), Some(applied));
        assert_eq!(short.compare(&long.applied().expect("likewise")), Compared::Unknown);
    }

    #[test]
    fn other_entries_compare_as_different() {
        let applied = lineage(&[0, 1, 1, 1]).applied().expect("something was applied");
        assert_eq!(lineage(&[0, 1, 1, 2, 2]).compare(&applied), Compared::Differs, "another term");
        let mut other = lineage(&[0, 1]);
        other.add(&entry(1, 2, 8)).expect("the next one");
        other.add(&entry(1, 3, 7)).expect("the next one");
        assert_eq!(other.compare(&applied), Compared::Differs, "another payload before");
    }

    #[test]
    fn terms_tell_histories_apart_at_any_distance() {
        let mut long = lineage(&[0, 1, 1]);
        for index in 3..10_000 {
            long.add(&entry(2, index, 7)).expect("the next one");
        }
        assert_eq!(long.compare(&AppliedChain { last: id(1, 3), chain: 0 }), Compared::Differs);
        assert_eq!(long.compare(&AppliedChain { last: id(1, 2), chain: 0 }), Compared::Unknown);
        assert_eq!(long.compare_entry(id(1, 2)), Compared::Same);
        assert_eq!((long.term_at(0), long.term_at(9_999), long.term_at(10_000)), (Some(0), Some(2), None));
    }

    #[test]
    fn forgotten_terms_are_unknown() {
        let terms: Vec<u64> = (0..2000).collect();
        let lineage = lineage(&terms);
        assert_eq!(lineage.term_at(1999 - TERM_ENDS_MAX as u64 - 1), None);
        assert_eq!(lineage.term_at(1999 - TERM_ENDS_MAX as u64), Some(1999 - TERM_ENDS_MAX as u64));
        assert_eq!(lineage.term_at(1999), Some(1999));
    }

    #[test]
    fn position_ahead_is_compared_on_arrival() {
        let leader = lineage(&[0, 1, 1, 1]);
        let ahead = leader.applied().expect("something was applied");
        let mut same = lineage(&[0, 1]);
        assert_eq!(same.follow(9, &ahead), Compared::Unknown);
        same.add(&entry(1, 2, 7)).expect("the next one");
        same.add(&entry(1, 3, 7)).expect("the same");
        let mut other = lineage(&[0, 1]);
        assert_eq!(other.follow(9, &ahead), Compared::Unknown);
        other.add(&entry(1, 2, 8)).expect("nothing to compare with yet");
        let refused = other.add(&entry(1, 3, 7));
        assert!(matches!(refused, Err(Contradiction::OtherHistory { .. })), "{refused:?}");
        assert_eq!(other.last(), Some(id(1, 2)), "it was not added");
    }

    #[test]
    fn only_later_entries_are_taken() {
        for wrong in [entry(1, 1, 7), entry(1, 0, 7), entry(0, 2, 7)] {
            let refused = lineage(&[0, 1]).add(&wrong);
            assert!(matches!(refused, Err(Contradiction::NotAfter { .. })), "{refused:?}");
        }
    }

    #[test]
    fn snapshot_without_a_hash_is_not_compared() {
        let mut lineage = Lineage::restored(Some(id(3, 40)), None, [], None);
        lineage.add(&entry(3, 41, 7)).expect("the next one");
        assert_eq!(lineage.applied(), None);
        assert_eq!(lineage.compare(&AppliedChain { last: id(3, 41), chain: 9 }), Compared::Unknown);
        assert_eq!(lineage.compare_entry(id(2, 39)), Compared::Unknown);
        assert_eq!(lineage.compare_entry(id(2, 40)), Compared::Differs);
    }
}
