//! The state and the one function that changes it.

use crate::lock::{Grant, Wait};
use crate::{Change, Entry, Limits, LockId, Outcome};

/// Everything the cluster knows. A clone is O(1).
#[derive(Clone, Debug, Default)]
pub struct State {
    revision: u64,
    now_ms: u64,
    wall_ms: u64,
    limits: Limits,
}

/// What applying one entry did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// One outcome per request of the entry, in order.
    pub outcomes: Vec<Outcome>,
    /// What changed, in order.
    pub changes: Vec<Change>,
}

impl State {
    /// Applies the entry at log index `revision`. Total and deterministic.
    pub fn apply(&mut self, revision: u64, entry: &Entry) -> Applied {
        let _ = (revision, entry);
        Applied::default()
    }

    /// Log index of the last applied entry.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Cluster time, milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Wall clock of the last applied entry, milliseconds since the Unix epoch.
    #[must_use]
    pub fn wall_ms(&self) -> u64 {
        self.wall_ms
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The earliest cluster time at which something is due to expire.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        None
    }

    /// The grant of that id, if it is held.
    #[must_use]
    pub fn grant(&self, _lock_id: LockId) -> Option<Grant> {
        None
    }

    /// The wait of that id, if it is queued.
    #[must_use]
    pub fn wait(&self, _lock_id: LockId) -> Option<Wait> {
        None
    }
}
