//! Explains a lock: its holders, its waiters, and what blocks each waiter. Other names that the reader may not read are left out and counted.

use std::sync::Arc;

use crate::lock::deadlock::Obstacle;
use crate::lock::record::LockKey;
use crate::lock::{LockPart, LockRequest, LockView, OwnerRecord, Wait};
use crate::{Actor, LockId, Name, Namespace, State};

/// The most blockers per waiter, and the most waits per blocker.
const NAMED_MAX: usize = 16;

/// A lock, and what blocks its waiters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The lock.
    pub lock: LockView,
    /// The requested waiters, each with its blockers.
    pub waiters: Vec<WaiterExplanation>,
    /// How many times a name was left out because the reader may not read it.
    pub names_hidden: u64,
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
    pub owner: OwnerRecord,
    /// The token of a holder; `None` for a waiter ahead.
    pub token: Option<u64>,
    /// The locks that its owner waits for itself, at most 16.
    pub waits_for: Vec<Name>,
}

impl State {
    /// Explains a lock to an actor that may read it; `None` when the lock is free.
    #[must_use]
    pub fn explain(
        &self,
        actor: &Actor,
        namespace: &Namespace,
        name: &Name,
        part: &LockPart,
    ) -> Option<Explanation> {
        let mut lock = self.lock_part(namespace, name, part)?;
        let mut reader = Reader { state: self, actor, names_hidden: 0 };
        let waiters = lock.waiters.iter().cloned().map(|wait| reader.explain_wait(wait)).collect();
        reader.hide_in(&mut lock);
        Some(Explanation { lock, waiters, names_hidden: reader.names_hidden })
    }

    /// Leaves out of a lock the names that its holders and waiters hold or wait for besides it and that the actor may not read. Returns how many.
    pub fn hide_names(&self, actor: &Actor, lock: &mut LockView) -> u64 {
        let mut reader = Reader { state: self, actor, names_hidden: 0 };
        reader.hide_in(lock);
        reader.names_hidden
    }
}

/// Reads on behalf of an actor.
struct Reader<'a> {
    state: &'a State,
    actor: &'a Actor,
    names_hidden: u64,
}

impl Reader<'_> {
    /// Whether the actor may read a lock; otherwise it is counted as hidden.
    fn shows(&mut self, namespace: &Namespace, request: &LockRequest) -> bool {
        let shows = self.state.may_read(self.actor, namespace, request);
        self.names_hidden += u64::from(!shows);
        shows
    }

    /// Leaves out what the holders and waiters of a lock hold or wait for besides it.
    fn hide_in(&mut self, lock: &mut LockView) {
        for grant in &mut lock.holders {
            let shown: Vec<LockRequest> = self.shown(&lock.namespace, &grant.requests);
            if shown.len() < grant.requests.len() {
                Arc::make_mut(grant).requests = shown.into();
            }
        }
        for wait in &mut lock.waiters {
            wait.requests = self.shown(&lock.namespace, &wait.requests);
        }
    }

    fn shown(&mut self, namespace: &Namespace, requests: &[LockRequest]) -> Vec<LockRequest> {
        requests.iter().filter(|request| self.shows(namespace, request)).cloned().collect()
    }

    fn explain_wait(&mut self, mut wait: Wait) -> WaiterExplanation {
        // Hidden names of the waiter itself are counted with the lock.
        let state = self.state;
        wait.requests.retain(|request| state.may_read(self.actor, &wait.namespace, request));
        let mut blockers = Vec::new();
        for request in &wait.requests {
            let key = LockKey { namespace: wait.namespace.clone(), name: request.name.clone() };
            for obstacle in state.obstacles(wait.lock_id, &key, request.mode) {
                if blockers.len() < NAMED_MAX {
                    blockers.extend(self.blocker(obstacle, &key));
                }
            }
        }
        WaiterExplanation { wait, blockers }
    }

    fn blocker(&mut self, obstacle: Obstacle, key: &LockKey) -> Option<Blocker> {
        let table = &self.state.lock;
        let (lock_id, token) = match obstacle {
            Obstacle::Holder(lock_id) => (lock_id, table.grants.get(&lock_id).map(|grant| grant.token)),
            Obstacle::WaiterAhead(lock_id) => (lock_id, None),
        };
        let owner = self.state.owner_of(lock_id)?.clone();
        let session = owner.session.and_then(|session| self.state.session.owned(session));
        let waits = session.into_iter().flat_map(|session| session.waits.iter());
        let waits_for = waits
            .filter_map(|waiting| table.waits.get(waiting))
            .filter(|wait| wait.owner == owner)
            .flat_map(|wait| &wait.requests)
            .filter(|request| self.shows(&key.namespace, request))
            .take(NAMED_MAX)
            .map(|request| request.name.clone())
            .collect();
        Some(Blocker { lock_id, name: key.name.clone(), owner, token, waits_for })
    }
}
