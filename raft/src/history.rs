//! The changes of the newest revisions, from which watches start and resume. Bounded, in memory only.
//!
//! Invariant: every change of a revision after `floor` is in the history, whole revisions at a time. Changes
//! dropped because of the bounds, or skipped by a snapshot, raise the floor; they never leave a hole.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use batuta_statemachine::Change;
use imbl::Vector;

/// The changes of one revision.
#[derive(Debug, PartialEq, Eq)]
pub struct RevisionChanges {
    /// Log index of the entry.
    pub revision: u64,
    /// Cluster time of the entry, milliseconds.
    pub now_ms: u64,
    /// Wall clock of the entry, milliseconds since 1970, for people.
    pub wall_ms: u64,
    /// The changes in order; never empty.
    pub changes: Vec<Change>,
}

impl RevisionChanges {
    fn weight_bytes(&self) -> usize {
        self.changes.iter().map(Change::weight_bytes).sum()
    }
}

/// The history at one point in time. A clone is O(1).
#[derive(Clone, Debug, Default)]
pub struct History {
    floor: u64,
    revision: u64,
    entries: Vector<Arc<RevisionChanges>>,
}

impl History {
    /// The floor: changes after this revision are in the history; older ones are gone.
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The last applied revision.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// All changes after `revision`, in order; `None` when some of them are gone.
    #[must_use]
    pub fn after(&self, revision: u64) -> Option<Vector<Arc<RevisionChanges>>> {
        if revision < self.floor {
            return None;
        }
        let found = self.entries.binary_search_by(|entry| entry.revision.cmp(&revision));
        let begin = found.map_or_else(|next| next, |at| at + 1);
        Some(self.entries.clone().split_off(begin))
    }
}

/// The log into which the state machine writes its changes.
#[derive(Debug)]
pub(crate) struct ChangeLog {
    inner: Mutex<Inner>,
    changes_max: usize,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Inner {
    history: History,
    changes: usize,
    bytes: usize,
}

impl ChangeLog {
    pub(crate) fn new(changes_max: usize, bytes_max: usize) -> Self {
        Self { inner: Mutex::default(), changes_max, bytes_max }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Code under this lock cannot panic between two changes that belong together.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn history(&self) -> History {
        self.inner().history.clone()
    }

    /// Adds the changes of a batch of entries up to `revision`.
    pub(crate) fn push(&self, revision: u64, batch: Vec<RevisionChanges>) {
        let mut inner = self.inner();
        inner.history.revision = revision;
        for entry in batch {
            inner.changes += entry.changes.len();
            inner.bytes += entry.weight_bytes();
            inner.history.entries.push_back(Arc::new(entry));
        }
        while inner.changes > self.changes_max || inner.bytes > self.bytes_max {
            let Some(oldest) = inner.history.entries.pop_front() else { break };
            inner.changes -= oldest.changes.len();
            inner.bytes -= oldest.weight_bytes();
            inner.history.floor = oldest.revision;
        }
    }

    /// Starts again at `revision`: everything before it was skipped.
    pub(crate) fn reset(&self, revision: u64) {
        *self.inner() = Inner {
            history: History { floor: revision, revision, ..History::default() },
            ..Inner::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use batuta_statemachine::{ChangeKind, cluster};

    use super::*;

    fn entry(revision: u64, count: u32) -> RevisionChanges {
        let change = |ordinal| Change {
            revision,
            ordinal,
            namespace: None,
            kind: ChangeKind::Cluster(cluster::Change::LimitsChanged),
        };
        RevisionChanges { revision, now_ms: 0, wall_ms: 0, changes: (0..count).map(change).collect() }
    }

    fn revisions(history: &History, after: u64) -> Option<Vec<u64>> {
        history.after(after).map(|entries| entries.iter().map(|entry| entry.revision).collect())
    }

    #[test]
    fn history_is_bounded_in_whole_revisions() {
        let log = ChangeLog::new(4, usize::MAX);
        log.push(3, vec![entry(2, 1), entry(3, 1)]);
        log.push(9, vec![entry(5, 1), entry(9, 2)]);
        let history = log.history();
        assert_eq!((history.floor(), history.revision()), (2, 9));
        assert_eq!(revisions(&history, 1), None);
        assert_eq!(revisions(&history, 2), Some(vec![3, 5, 9]));
        assert_eq!(revisions(&history, 4), Some(vec![5, 9]));
        assert_eq!(revisions(&history, 9), Some(vec![]));
        assert_eq!(revisions(&history, 100), Some(vec![]));
        log.push(10, vec![entry(10, 7)]);
        assert_eq!(log.history().floor(), 10, "a revision larger than the bound is not kept in part");
        assert_eq!(revisions(&history, 2), Some(vec![3, 5, 9]), "an earlier look stays as it was");
    }

    #[test]
    fn bytes_are_bounded_too() {
        let weight = entry(1, 1).weight_bytes();
        let log = ChangeLog::new(usize::MAX, 2 * weight);
        log.push(3, vec![entry(1, 1), entry(2, 1), entry(3, 1)]);
        assert_eq!(log.history().floor(), 1);
    }

    #[test]
    fn after_a_snapshot_the_past_is_gone() {
        let log = ChangeLog::new(10, usize::MAX);
        log.push(3, vec![entry(3, 1)]);
        log.reset(50);
        assert_eq!(revisions(&log.history(), 3), None);
        assert_eq!(revisions(&log.history(), 50), Some(vec![]));
    }
}
