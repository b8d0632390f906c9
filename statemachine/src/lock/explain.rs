//! Explains a lock: its holders, its waiters, and what blocks each waiter.

use crate::lock::deadlock::Obstacle;
use crate::lock::record::LockKey;
use crate::lock::{LockPart, LockView, Owner, Wait};
use crate::{LockId, Name, Namespace, State};

/// The most blockers per waiter, and the most waits per blocker.
const NAMED_MAX: usize = 16;

/// A lock, and what blocks its waiters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The lock.
    pub lock: LockView,
    /// The requested waiters, each with its blockers.
    pub waiters: Vec<WaiterExplanation>,
}

/// A waiter, and what blocks it on all requested locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaiterExplanation {
    /// The waiter.
    pub wait: Wait,
    /// The acquisitions that block it, at most 16.
    pub blockers: Vec<Blocker>,
}

/// An acquisition that blocks a waiter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// The acquisition.
    pub lock_id: LockId,
    /// The lock on which it blocks the waiter.
    pub name: Name,
    /// The owner of the acquisition.
    pub owner: Owner,
    /// The token of a holder; `None` for a waiter ahead.
    pub token: Option<u64>,
    /// The locks that its owner waits for itself, at most 16.
    pub waits_for: Vec<Name>,
}

impl State {
    /// Explains a lock; `None` when it is free.
    #[must_use]
    pub fn explain(&self, namespace: &Namespace, name: &Name, part: &LockPart) -> Option<Explanation> {
        let lock = self.lock_part(namespace, name, part)?;
        let waiters = lock.waiters.iter().cloned().map(|wait| self.explain_wait(wait)).collect();
        Some(Explanation { lock, waiters })
    }

    fn explain_wait(&self, wait: Wait) -> WaiterExplanation {
        let blockers = wait.requests.iter().flat_map(|request| {
            let key = LockKey { namespace: wait.namespace.clone(), name: request.name.clone() };
            let obstacles = self.obstacles(wait.lock_id, &key, request.mode);
            obstacles.into_iter().filter_map(|obstacle| self.blocker(obstacle, &request.name))
        });
        let blockers = blockers.take(NAMED_MAX).collect();
        WaiterExplanation { wait, blockers }
    }

    fn blocker(&self, obstacle: Obstacle, name: &Name) -> Option<Blocker> {
        let (lock_id, token) = match obstacle {
            Obstacle::Holder(lock_id) => (lock_id, self.lock.grants.get(&lock_id).map(|grant| grant.token)),
            Obstacle::WaiterAhead(lock_id) => (lock_id, None),
        };
        let owner = self.owner_of(lock_id)?.clone();
        let session = owner.session.and_then(|session| self.session.owned(session));
        let waits = session.into_iter().flat_map(|session| session.waits.iter());
        let waits_for = waits
            .filter_map(|waiting| self.lock.waits.get(waiting))
            .filter(|wait| wait.owner == owner)
            .flat_map(|wait| wait.requests.iter().map(|request| request.name.clone()))
            .take(NAMED_MAX)
            .collect();
        Some(Blocker { lock_id, name: name.clone(), owner, token, waits_for })
    }
}
