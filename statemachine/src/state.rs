//! The state and the one function that changes it.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::deadline::Due;
use crate::dedup::Dedup;
use crate::lock::{Grant, LockKey, LockRecord, Serving, WaitRecord};
use crate::session::SessionRecord;
use crate::transition::Transition;
use crate::{Change, Entry, Limits, LockId, Namespace, Outcome, Position, SessionId};

/// Everything the cluster knows. A clone is O(1): every collection is a persistent map.
#[derive(Clone, Debug, Default, Hash)]
pub struct State {
    pub(crate) revision: u64,
    pub(crate) now_ms: u64,
    pub(crate) wall_ms: u64,
    pub(crate) limits: Limits,
    pub(crate) cluster_id: Option<String>,
    pub(crate) next_node_id: u64,
    /// The last fencing token given out; the next is one more.
    pub(crate) last_token: u64,
    pub(crate) namespaces: OrdMap<Namespace, NamespaceUsage>,
    pub(crate) sessions: OrdMap<SessionId, Arc<SessionRecord>>,
    /// The sessions of each namespace, oldest first.
    pub(crate) sessions_by_namespace: OrdSet<(Namespace, SessionId)>,
    pub(crate) grants: OrdMap<LockId, Arc<Grant>>,
    pub(crate) waits: OrdMap<LockId, Arc<WaitRecord>>,
    pub(crate) locks: OrdMap<LockKey, LockRecord>,
    pub(crate) registers: OrdMap<LockKey, u64>,
    pub(crate) deadlines: OrdSet<(u64, Due)>,
    pub(crate) dedup: Dedup,
    pub(crate) serving: Serving,
}

/// What a namespace holds. A namespace that holds nothing does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NamespaceUsage {
    /// Open sessions.
    pub sessions: u64,
    /// Held acquisitions.
    pub grants: u64,
    /// Queued acquisitions.
    pub waits: u64,
    /// Locks that are held, waited for, or closed by lock-delay.
    pub locks: u64,
    /// High-water registers.
    pub registers: u64,
}

/// Totals over all namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Open sessions.
    pub sessions: u64,
    /// Held acquisitions.
    pub grants: u64,
    /// Queued acquisitions.
    pub waits: u64,
    /// Locks that are held, waited for, or closed by lock-delay.
    pub locks: u64,
    /// High-water registers.
    pub registers: u64,
    /// Remembered idempotency keys.
    pub idempotency_keys: u64,
}

/// What applying one entry did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// One outcome per request of the entry, in order.
    pub outcomes: Vec<Outcome>,
    /// Of each outcome, the revision of what it tells of: the entry's own, or, for a retry under a known key, that of the entry that
    /// executed the request.
    pub revisions: Vec<u64>,
    /// What changed, in order.
    pub changes: Vec<Change>,
}

/// An outcome and the revision of what it tells of.
pub(crate) struct Answered {
    pub(crate) revision: u64,
    pub(crate) outcome: Outcome,
}

impl State {
    /// An outcome of the entry that is being applied.
    pub(crate) fn answered_now(&self, outcome: Outcome) -> Answered {
        Answered { revision: self.revision, outcome }
    }

    /// Applies the entry at log index `revision`: takes its time, ends what is due, then executes its requests in
    /// order. Total (never panics, refuses instead) and deterministic.
    pub fn apply(&mut self, revision: u64, entry: &Entry) -> Applied {
        self.revision = revision;
        self.now_ms = self.now_ms.max(entry.stamp.now_ms);
        if entry.stamp.wall_ms != 0 {
            self.wall_ms = entry.stamp.wall_ms;
        }
        let mut transition = Transition::new(self);
        transition.expire_due();
        let mut outcomes = Vec::with_capacity(entry.requests.len());
        let mut revisions = Vec::with_capacity(entry.requests.len());
        for (request, ordinal) in entry.requests.iter().zip(0..) {
            let answered = transition.execute(Position { index: revision, ordinal }, request);
            outcomes.push(answered.outcome);
            revisions.push(answered.revision);
        }
        Applied { outcomes, revisions, changes: transition.into_changes() }
    }

    /// Notes that the log went on to `revision` with an entry that carries no requests (a leader's first entry, a change
    /// of membership).
    pub fn advance(&mut self, revision: u64) {
        self.revision = self.revision.max(revision);
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

    /// The cluster's id, once it has one.
    #[must_use]
    pub fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    /// The node id that would be given out next.
    #[must_use]
    pub fn next_node_id(&self) -> u64 {
        self.next_node_id
    }

    /// The last fencing token that was given out in the whole cluster; 0 before the first.
    #[must_use]
    pub fn token_high_water(&self) -> u64 {
        self.last_token
    }

    /// The earliest cluster time at which something is due to expire.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.get_min().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// Totals over all namespaces. O(number of namespaces).
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { idempotency_keys: self.dedup.keys_len(), ..Counts::default() };
        for usage in self.namespaces.values() {
            counts.sessions += usage.sessions;
            counts.grants += usage.grants;
            counts.waits += usage.waits;
            counts.locks += usage.locks;
            counts.registers += usage.registers;
        }
        counts
    }

    /// The namespaces that hold anything, in name order.
    pub fn namespaces(&self) -> impl Iterator<Item = (&Namespace, &NamespaceUsage)> {
        self.namespaces.iter()
    }
}
