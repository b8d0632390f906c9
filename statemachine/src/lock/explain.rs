//! Why nobody gets on: a lock's holders, its waiters, and what is in the way of each.

use crate::lock::deadlock::Obstacle;
use crate::lock::record::LockKey;
use crate::lock::{LockPart, LockView, Owner, Wait};
use crate::{LockId, Name, Namespace, State};

/// Most obstacles named per waiter, and most waits named per obstacle.
const NAMED_MAX: usize = 16;

/// A lock and what keeps its waiters waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The lock.
    pub lock: LockView,
    /// Its waiters, as far as they were asked for, each with what is in its way.
    pub waiters: Vec<WaiterExplanation>,
}

/// A waiter and what is in its way on all the locks it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaiterExplanation {
    /// The waiter.
    pub wait: Wait,
    /// What is in its way, at most 16.
    pub blockers: Vec<Blocker>,
}

/// One acquisition in the way of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// The acquisition.
    pub lock_id: LockId,
    /// The lock on which it is in the way.
    pub name: Name,
    /// Whose it is.
    pub owner: Owner,
    /// Its token when it holds the lock; `None` when it waits ahead.
    pub token: Option<u64>,
    /// The locks its owner itself waits for, at most 16.
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
