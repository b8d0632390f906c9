//! Tracks which calls wait for an acquisition, and at which nodes.
//!
//! A wait belongs to the calls that asked for it: all calls under one retry key, otherwise the newest call of its owner. It ends when the last
//! of them leaves, or when the nodes of all of them are lost. A call that was replaced by another, or that a lost node served, cannot end it.
//! So the duty to withdraw a wait does not depend on the memory of a node that may die.
//!
//! ```text
//! wait: calls ── promoted ──► unconfirmed: the same calls, for a while ── its nodes are lost ──► unclaimed
//!                                                                                                  │
//!             unconfirmed, with the new call ◄── its owner asks for the same locks again ──────────┘
//! ```

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::due::Due;
use crate::lock::{Acquire, Grant, LockRequest, ServingCall};
use crate::step::Step;
use crate::{LockId, State};

/// The most calls that one acquisition remembers; the oldest is forgotten first.
const CALLS_MAX: usize = 8;
/// How long after the grant of a session's lock its owner may not know of it if the node is lost, in milliseconds.
pub(crate) const UNCONFIRMED_MS: u64 = 15_000;
/// The most unconfirmed grants that are remembered; the oldest is forgotten first.
const UNCONFIRMED_MAX: usize = 10_000;

/// A grant whose answer may not have reached its owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Unconfirmed {
    /// The calls that answer it.
    pub(crate) calls: Vec<ServingCall>,
    /// Cluster time of the grant, or of the last request for it, in milliseconds.
    pub(crate) at_ms: u64,
}

/// The indexes over calls.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Serving {
    /// Each call, with the acquisition that it waits for.
    pub(crate) by_call: OrdSet<(ServingCall, LockId)>,
    /// Unconfirmed grants of sessions, by the revision of the grant.
    pub(crate) unconfirmed: OrdMap<(u64, LockId), Unconfirmed>,
    /// Grants of sessions whose nodes were lost before their owners were certain to know of them.
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

    /// Remembers which calls answer a session's grant.
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

    /// Forgets the calls of a grant: its owner knows of it, or the grant has ended.
    pub(crate) fn forget_grant(&mut self, grant: &Grant) {
        if grant.owner.session.is_some() {
            self.unconfirmed.remove(&(grant.granted_revision, grant.lock_id));
            self.unclaimed.remove(&grant.lock_id);
        }
    }
}

/// Whether the owner of a grant is certain to know of it by now.
pub(super) fn is_told(at_ms: u64, now_ms: u64) -> bool {
    at_ms.saturating_add(UNCONFIRMED_MS) < now_ms
}

impl State {
    /// The nodes where calls wait, or that answered calls recently, each with its boot id.
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

    /// The nodes that recently had to answer the owner's grant of exactly these locks: if they are lost, the owner may not know of
    /// it. Empty when they are already lost; `None` when the owner knows, or holds nothing.
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

    /// The acquisition that a call waits for.
    #[must_use]
    pub fn waited_for(&self, call: ServingCall) -> Option<LockId> {
        let (other, lock_id) = self.lock.serving.by_call.range((call, LockId::MIN)..).next()?;
        (*other == call).then_some(*lock_id)
    }
}

impl State {
    /// Whether another request of the same owner replaced a call that waited for an acquisition, so that the other request is answered and
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
    /// Adds a call that waits for a queued acquisition.
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

    /// Makes the current actor the one that asks for a queued acquisition: its owner asks again, perhaps with a newer credential.
    pub(crate) fn ask_instead(&mut self, lock_id: LockId) {
        let actor = self.actor;
        if let Some(wait) = self.state.lock.waits.get_mut(&lock_id)
            && wait.actor != actor
        {
            Arc::make_mut(wait).actor = actor;
        }
    }

    /// Replaces the calls that wait for an acquisition with this one.
    pub(crate) fn serve_instead(&mut self, lock_id: LockId, call: Option<ServingCall>) {
        let (Some(call), Some(wait)) = (call, self.state.lock.waits.get_mut(&lock_id)) else { return };
        let before = std::mem::replace(&mut Arc::make_mut(wait).calls, vec![call]);
        self.state.lock.serving.unindex(lock_id, &before);
        self.state.lock.serving.index(lock_id, &[call]);
    }

    /// Makes a wait last at least until this deadline.
    pub(crate) fn wait_until(&mut self, lock_id: LockId, deadline_ms: u64) {
        let Some(wait) = self.state.lock.waits.get_mut(&lock_id) else { return };
        if wait.deadline_ms < deadline_ms {
            self.state.deadlines.remove(&(wait.deadline_ms, Due::Wait(lock_id)));
            self.state.deadlines.insert((deadline_ms, Due::Wait(lock_id)));
            Arc::make_mut(wait).deadline_ms = deadline_ms;
        }
    }

    /// Removes a call from a wait. Returns whether it was the last one.
    pub(crate) fn leave_wait(&mut self, lock_id: LockId, call: ServingCall) -> bool {
        let Some(wait) = self.state.lock.waits.get_mut(&lock_id) else { return false };
        let Some(place) = wait.calls.iter().position(|other| *other == call) else { return false };
        let wait = Arc::make_mut(wait);
        wait.calls.remove(place);
        let last = wait.calls.is_empty();
        self.state.lock.serving.unindex(lock_id, &[call]);
        last
    }

    /// Removes a call whose wait was granted before it could be answered. Returns whether nobody else can know of the grant.
    pub(crate) fn leave_grant(&mut self, lock_id: LockId, call: ServingCall) -> bool {
        let Some(grant) = self.state.lock.grants.get(&lock_id) else { return false };
        if grant.owner.session.is_none() {
            return true;
        }
        let place = (grant.granted_revision, lock_id);
        let Some(unconfirmed) = self.state.lock.serving.unconfirmed.get_mut(&place) else {
            // Another call may have learned of it: under a key, by re-entry, or because the node of this call counted as
            // lost.
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

    /// Notes that an owner that did not know of its grant learns of it now.
    pub(crate) fn claim(&mut self, grant: &Grant, call: Option<ServingCall>) {
        self.state.lock.serving.forget_grant(grant);
        let now_ms = self.state.now_ms;
        self.state.lock.serving.note_grant(grant, call.into_iter().collect(), now_ms);
    }
}

/// Whether two acquisitions request the same locks in the same modes.
pub(crate) fn same_locks(mine: &[LockRequest], theirs: &[LockRequest]) -> bool {
    let sorted = |requests: &[LockRequest]| {
        let mut sorted: Vec<LockRequest> = requests.to_vec();
        sorted.sort_unstable();
        sorted
    };
    mine == theirs || (mine.len() > 1 && mine.len() == theirs.len() && sorted(mine) == sorted(theirs))
}
