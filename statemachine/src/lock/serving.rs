//! Which calls wait for an acquisition, and at which nodes.
//!
//! A wait belongs to the calls that asked for it: those under one retry key together, else the newest of its owner. It ends when the last of them leaves, or when the nodes of all of them are
//! lost; a call that another one replaced, or that a lost node had, cannot end it. So the duty to withdraw a wait does not lie in
//! the memory of a node that may die.
//!
//! ```text
//! wait: calls ── promoted ──► unconfirmed: the same calls, for a while ── its nodes are lost ──► unclaimed
//!                                                                                                  │
//!             unconfirmed, with the call that asks ◄── its owner asks for the same locks again ────┘
//! ```

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::due::Due;
use crate::lock::{Acquire, Grant, LockRequest, ServingCall};
use crate::step::Step;
use crate::{LockId, State};

/// Calls that one acquisition remembers; the oldest is forgotten first.
const CALLS_MAX: usize = 8;
/// How long after its grant a session's lock counts as one that its owner may not have heard of, should the node be lost.
pub(crate) const UNCONFIRMED_MS: u64 = 15_000;
/// Grants for which that is remembered; the oldest is forgotten first.
const UNCONFIRMED_MAX: usize = 10_000;

/// A grant whose answer may not have reached its owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Unconfirmed {
    /// Through which it is answered.
    pub(crate) calls: Vec<ServingCall>,
    /// Cluster time of the grant, or of the last time it was asked for.
    pub(crate) at_ms: u64,
}

/// The indexes over calls.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Serving {
    /// Each call and the acquisition it waits for.
    pub(crate) by_call: OrdSet<(ServingCall, LockId)>,
    /// Grants of sessions, by the revision of the grant.
    pub(crate) unconfirmed: OrdMap<(u64, LockId), Unconfirmed>,
    /// Grants of sessions whose nodes were lost before their owners can be taken to have heard of them.
    pub(crate) unclaimed: OrdSet<LockId>,
}

impl Serving {
    pub(crate) fn index(&mut self, lock_id: LockId, calls: &[ServingCall]) {
        for call in calls {
            self.by_call.insert((*call, lock_id));
        }
    }

    pub(crate) fn unindex(&mut self, lock_id: LockId, calls: &[ServingCall]) {
        for call in calls {
            self.by_call.remove(&(*call, lock_id));
        }
    }

    /// Remembers through which calls a session's grant is answered.
    pub(crate) fn note_grant(&mut self, grant: &Grant, calls: Vec<ServingCall>, now_ms: u64) {
        if calls.is_empty() || grant.owner.session.is_none() {
            return;
        }
        while let Some((oldest, unconfirmed)) = self.unconfirmed.get_min()
            && (self.unconfirmed.len() >= UNCONFIRMED_MAX || is_told(unconfirmed.at_ms, now_ms))
        {
            let oldest = *oldest;
            self.unconfirmed.remove(&oldest);
        }
        self.unconfirmed
            .insert((grant.granted_revision, grant.lock_id), Unconfirmed { calls, at_ms: now_ms });
    }

    /// The owner is known to know of its grant, or the grant is gone.
    pub(crate) fn forget_grant(&mut self, grant: &Grant) {
        if grant.owner.session.is_some() {
            self.unconfirmed.remove(&(grant.granted_revision, grant.lock_id));
            self.unclaimed.remove(&grant.lock_id);
        }
    }
}

/// Whether the owner of a grant must have heard of it by now.
pub(super) fn is_told(at_ms: u64, now_ms: u64) -> bool {
    at_ms.saturating_add(UNCONFIRMED_MS) < now_ms
}

impl State {
    /// The nodes that calls wait at or were answered by a moment ago, each with the run of its process.
    #[must_use]
    pub fn serving_boots(&self) -> Vec<(u64, u64)> {
        let mut boots = Vec::new();
        let mut from = (ServingCall { node_id: 0, boot_id: 0, number: 0 }, LockId::MIN);
        while let Some((call, _)) = self.lock.serving.by_call.range(from..).next() {
            boots.push((call.node_id, call.boot_id));
            let Some(boot_id) = call.boot_id.checked_add(1) else { break };
            from = (ServingCall { node_id: call.node_id, boot_id, number: 0 }, LockId::MIN);
        }
        let answered = self.lock.serving.unconfirmed.values().flat_map(|unconfirmed| &unconfirmed.calls);
        boots.extend(answered.map(|call| (call.node_id, call.boot_id)));
        boots.sort_unstable();
        boots.dedup();
        boots
    }

    /// The nodes by whose answer the owner of an acquisition holds since a moment ago what it asks for: should they be lost, it may
    /// not know. Nobody when they are lost already; `None` when it does know, or holds nothing.
    #[must_use]
    pub fn answered_elsewhere(&self, acquire: &Acquire) -> Option<Vec<u64>> {
        let (call, grant) = (acquire.call?, self.held_by_owner(acquire)?);
        if self.lock.serving.unclaimed.contains(&grant.lock_id) {
            return Some(Vec::new());
        }
        let unconfirmed = self.lock.serving.unconfirmed.get(&(grant.granted_revision, grant.lock_id))?;
        let here = |other: &ServingCall| (other.node_id, other.boot_id) == (call.node_id, call.boot_id);
        let told = is_told(unconfirmed.at_ms, self.now_ms) || unconfirmed.calls.iter().any(here);
        (!told).then(|| unconfirmed.calls.iter().map(|call| call.node_id).collect())
    }

    /// What a call waits for.
    #[must_use]
    pub fn waited_for(&self, call: ServingCall) -> Option<LockId> {
        let (other, lock_id) = self.lock.serving.by_call.range((call, LockId::MIN)..).next()?;
        (*other == call).then_some(*lock_id)
    }
}

impl State {
    /// Whether another request of the same owner took the place of a call that waited for an acquisition: it is answered, and
    /// this one is not.
    #[must_use]
    pub fn was_replaced(&self, lock_id: LockId, call: ServingCall) -> bool {
        if let Some(wait) = self.lock.waits.get(&lock_id) {
            return !wait.calls.is_empty() && !wait.calls.contains(&call);
        }
        let grant = self.lock.grants.get(&lock_id);
        let unconfirmed =
            grant.and_then(|grant| self.lock.serving.unconfirmed.get(&(grant.granted_revision, lock_id)));
        unconfirmed.is_some_and(|unconfirmed| !unconfirmed.calls.contains(&call))
    }
}

impl Step<'_> {
    /// A call waits for an acquisition that is queued already.
    pub(crate) fn serve(&mut self, lock_id: LockId, call: Option<ServingCall>) {
        let (Some(call), Some(mut wait)) = (call, self.state.lock.waits.get(&lock_id).cloned()) else {
            return;
        };
        if wait.calls.contains(&call) {
            return;
        }
        self.state.lock.serving.unindex(lock_id, &wait.calls);
        let calls = &mut Arc::make_mut(&mut wait).calls;
        if calls.len() >= CALLS_MAX {
            calls.remove(0);
        }
        calls.push(call);
        self.state.lock.serving.index(lock_id, &wait.calls);
        self.state.lock.waits.insert(lock_id, wait);
    }

    /// A call takes the place of those that waited for an acquisition.
    pub(crate) fn serve_instead(&mut self, lock_id: LockId, call: Option<ServingCall>) {
        let (Some(call), Some(wait)) = (call, self.state.lock.waits.get_mut(&lock_id)) else { return };
        let before = std::mem::replace(&mut Arc::make_mut(wait).calls, vec![call]);
        self.state.lock.serving.unindex(lock_id, &before);
        self.state.lock.serving.index(lock_id, &[call]);
    }

    /// A wait lives at least so long.
    pub(crate) fn wait_until(&mut self, lock_id: LockId, deadline_ms: u64) {
        let Some(wait) = self.state.lock.waits.get_mut(&lock_id) else { return };
        if wait.deadline_ms < deadline_ms {
            self.state.deadlines.remove(&(wait.deadline_ms, Due::Wait(lock_id)));
            self.state.deadlines.insert((deadline_ms, Due::Wait(lock_id)));
            Arc::make_mut(wait).deadline_ms = deadline_ms;
        }
    }

    /// A call leaves a wait. True when it was the last one.
    pub(crate) fn leave_wait(&mut self, lock_id: LockId, call: ServingCall) -> bool {
        let Some(wait) = self.state.lock.waits.get_mut(&lock_id) else { return false };
        let Some(place) = wait.calls.iter().position(|other| *other == call) else { return false };
        let wait = Arc::make_mut(wait);
        wait.calls.remove(place);
        let last = wait.calls.is_empty();
        self.state.lock.serving.unindex(lock_id, &[call]);
        last
    }

    /// A call leaves whose wait was granted before it could be answered. True when the grant is nobody's.
    pub(crate) fn leave_grant(&mut self, lock_id: LockId, call: ServingCall) -> bool {
        let Some(grant) = self.state.lock.grants.get(&lock_id) else { return false };
        if grant.owner.session.is_none() {
            return true;
        }
        let place = (grant.granted_revision, lock_id);
        let Some(unconfirmed) = self.state.lock.serving.unconfirmed.get_mut(&place) else {
            // Somebody else may have been told of it: under a key, when it entered again, or because the node of this call
            // counted as lost.
            return grant.count == 1
                && !self.state.retries.refers_to(lock_id)
                && !self.state.lock.serving.unclaimed.contains(&lock_id);
        };
        let before = unconfirmed.calls.len();
        unconfirmed.calls.retain(|other| *other != call);
        let last = unconfirmed.calls.is_empty();
        if last {
            self.state.lock.serving.unconfirmed.remove(&place);
        }
        last && before > 0
    }

    /// An owner asks for what it holds without knowing: it is told now.
    pub(crate) fn claim(&mut self, grant: &Grant, call: Option<ServingCall>) {
        self.state.lock.serving.forget_grant(grant);
        let now_ms = self.state.now_ms;
        self.state.lock.serving.note_grant(grant, call.into_iter().collect(), now_ms);
    }
}

/// Whether two acquisitions want the same locks in the same way.
pub(crate) fn same_locks(mine: &[LockRequest], theirs: &[LockRequest]) -> bool {
    let sorted = |requests: &[LockRequest]| {
        let mut sorted: Vec<LockRequest> = requests.to_vec();
        sorted.sort_unstable();
        sorted
    };
    mine == theirs || (mine.len() > 1 && mine.len() == theirs.len() && sorted(mine) == sorted(theirs))
}
