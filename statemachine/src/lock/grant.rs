//! Starts and ends grants and waits, for all commands.

use std::sync::Arc;

use crate::LockId;
use crate::due::Due;
use crate::lock::record::{Kind, LockKey, LockRecord, WaitRecord};
use crate::lock::{Change, Grant, Mode, ReleaseReason, Wait, WaitEnd};
use crate::retries::Ended;
use crate::session::{Owned, SessionEnd};
use crate::step::Step;

impl Step<'_> {
    /// Changes a lock, after creating it if it does not exist.
    pub(crate) fn change_lock(&mut self, key: LockKey, kind: Kind, change: impl FnOnce(&mut LockRecord)) {
        if let Some(lock) = self.state.lock.by_key.get_mut(&key) {
            return change(lock);
        }
        let mut lock = LockRecord::new(kind);
        change(&mut lock);
        self.account(&key.namespace, |usage| usage.lock.locks += 1);
        self.state.lock.by_key.insert(key, lock);
    }

    /// Removes a lock that is neither held, nor waited for, nor closed.
    pub(crate) fn drop_if_idle(&mut self, key: &LockKey) {
        if self.state.lock.by_key.get(key).is_some_and(LockRecord::is_idle) {
            self.state.lock.by_key.remove(key);
            self.account(&key.namespace, |usage| usage.lock.locks -= 1);
        }
    }

    /// Puts an acquisition into the queue of each of its locks.
    pub(crate) fn enqueue(&mut self, lock_id: LockId, wait: WaitRecord) {
        for request in &wait.requests {
            let enqueue = |lock: &mut LockRecord| lock.enqueue(lock_id, request.mode);
            self.change_lock(wait.key(request), Kind::of(request.mode), enqueue);
        }
        if let Some(owned) = wait.owner.session.and_then(|session| self.state.session.owned_mut(session)) {
            owned.waits.insert(lock_id);
        }
        self.state.lock.index_owner(lock_id, &wait.owner);
        self.state.deadlines.insert((wait.deadline_ms, Due::Wait(lock_id)));
        self.state.lock.serving.index(lock_id, &wait.calls);
        self.account(&wait.namespace, |usage| usage.lock.waits += 1);
        self.state.lock.waits.insert(lock_id, Arc::new(wait));
    }

    /// Removes an acquisition from its queues, and returns it.
    pub(crate) fn dequeue(&mut self, lock_id: LockId) -> Option<Arc<WaitRecord>> {
        let wait = self.state.lock.waits.remove(&lock_id)?;
        for request in &wait.requests {
            let key = wait.key(request);
            if let Some(lock) = self.state.lock.by_key.get_mut(&key) {
                lock.dequeue(lock_id, request.mode);
            }
            self.state.lock.touch(key, false);
        }
        if let Some(owned) = wait.owner.session.and_then(|session| self.state.session.owned_mut(session)) {
            owned.waits.remove(&lock_id);
        }
        self.state.lock.unindex_owner(lock_id, &wait.owner);
        self.state.deadlines.remove(&(wait.deadline_ms, Due::Wait(lock_id)));
        self.state.lock.serving.unindex(lock_id, &wait.calls);
        self.account(&wait.namespace, |usage| usage.lock.waits -= 1);
        Some(wait)
    }

    /// Grants an acquisition, with a new token. The caller has checked that every lock admits it and that a token is left.
    pub(crate) fn grant(&mut self, lock_id: LockId, wait: &WaitRecord) -> Arc<Grant> {
        self.state.lock.last_token += 1;
        let grant = self.hold(Grant {
            lock_id,
            namespace: wait.namespace.clone(),
            requests: wait.requests.clone().into(),
            owner: wait.owner.clone(),
            token: self.state.lock.last_token,
            count: 1,
            granted_revision: self.state.revision,
            granted_wall_ms: self.state.wall_ms,
            ttl_ms: wait.ttl_ms,
            deadline_ms: wait.ttl_ms.map(|ttl_ms| self.state.now_ms.saturating_add(ttl_ms)),
            lock_delay_ms: wait.lock_delay_ms,
            metadata: wait.metadata.clone().into(),
        });
        let now_ms = self.state.now_ms;
        self.state.lock.serving.note_grant(&grant, wait.calls.clone(), now_ms);
        self.emit(Some(&grant.namespace), Change::LockGranted(Arc::clone(&grant)));
        grant
    }

    /// Makes an acquisition a holder of each of its locks.
    pub(crate) fn hold(&mut self, grant: Grant) -> Arc<Grant> {
        let lock_id = grant.lock_id;
        for request in &grant.requests {
            let key = LockKey { namespace: grant.namespace.clone(), name: request.name.clone() };
            self.change_lock(key, Kind::of(request.mode), |lock| lock.add_holder(lock_id, request.mode));
        }
        if let Some(deadline_ms) = grant.deadline_ms {
            self.state.deadlines.insert((deadline_ms, Due::Grant(lock_id)));
        }
        if let Some(owned) = grant.owner.session.and_then(|session| self.state.session.owned_mut(session)) {
            owned.grants.insert(lock_id);
        }
        self.state.lock.index_owner(lock_id, &grant.owner);
        self.account(&grant.namespace, |usage| usage.lock.grants += 1);
        let grant = Arc::new(grant);
        self.state.lock.grants.insert(lock_id, Arc::clone(&grant));
        grant
    }
}

/// Ends a grant by itself, not with its session ([`end_owned`] does that): its locks are free, or closed for its lock-delay when the
/// owner did not release it. The caller runs [`crate::lock::promote`] afterwards.
pub(crate) fn end_grant(step: &mut Step<'_>, lock_id: LockId, reason: ReleaseReason) {
    let lock_delay = reason != ReleaseReason::Released;
    end_held(step, lock_id, reason, lock_delay);
}

fn end_held(step: &mut Step<'_>, lock_id: LockId, reason: ReleaseReason, lock_delay: bool) {
    let Some(grant) = step.state.lock.grants.remove(&lock_id) else { return };
    let delayed_until_ms = (lock_delay && grant.lock_delay_ms > 0)
        .then(|| step.state.now_ms.saturating_add(grant.lock_delay_ms));
    for request in &grant.requests {
        let key = LockKey { namespace: grant.namespace.clone(), name: request.name.clone() };
        if let Some(lock) = step.state.lock.by_key.get_mut(&key) {
            lock.remove_holder(lock_id, request.mode);
            let before = lock.delayed_until_ms();
            // The later of two delays counts.
            let after = before.max(delayed_until_ms);
            if before != after {
                lock.delay_until(after);
                let due = Due::Delay(Box::new(key.clone()));
                if let Some(before) = before {
                    step.state.deadlines.remove(&(before, due.clone()));
                }
                if let Some(after) = after {
                    step.state.deadlines.insert((after, due));
                }
            }
        }
        step.state.lock.touch(key, request.mode == Mode::Exclusive);
    }
    if let Some(deadline_ms) = grant.deadline_ms {
        step.state.deadlines.remove(&(deadline_ms, Due::Grant(lock_id)));
    }
    if let Some(owned) = grant.owner.session.and_then(|session| step.state.session.owned_mut(session)) {
        owned.grants.remove(&lock_id);
    }
    step.state.lock.unindex_owner(lock_id, &grant.owner);
    step.account(&grant.namespace, |usage| usage.lock.grants -= 1);
    step.state.lock.serving.forget_grant(&grant);
    step.state.retries.note_end(lock_id, Ended::Grant(reason.clone()));
    let mut ended = grant;
    Arc::make_mut(&mut ended).count = 0;
    let namespace = ended.namespace.clone();
    step.emit(Some(&namespace), Change::LockReleased { grant: ended, reason });
}

/// Ends a wait without a grant. The caller runs [`crate::lock::promote`] afterwards.
pub(crate) fn end_wait(step: &mut Step<'_>, lock_id: LockId, reason: WaitEnd) {
    let Some(wait) = step.dequeue(lock_id) else { return };
    step.state.retries.note_end(lock_id, Ended::Wait(reason));
    let ended = Wait {
        lock_id,
        namespace: wait.namespace.clone(),
        requests: wait.requests.clone(),
        owner: wait.owner.clone(),
        deadline_ms: wait.deadline_ms,
        queue_position: 0,
    };
    step.emit(Some(&wait.namespace), Change::WaitEnded { wait: ended, reason });
}

/// Ends the delay of a lock.
pub(crate) fn end_delay(step: &mut Step<'_>, key: LockKey) {
    if let Some(lock) = step.state.lock.by_key.get_mut(&key) {
        lock.delay_until(None);
    }
    step.state.lock.touch(key, false);
}

/// Ends what a session owned: its waits, then its grants, whose locks stay closed for their lock-delay if `lock_delay` says so.
pub(crate) fn end_owned(step: &mut Step<'_>, owned: &Owned, reason: SessionEnd, lock_delay: bool) {
    for lock_id in &owned.waits {
        end_wait(step, *lock_id, WaitEnd::SessionEnded(reason));
    }
    for lock_id in &owned.grants {
        end_held(step, *lock_id, ReleaseReason::SessionEnded(reason), lock_delay);
    }
}
