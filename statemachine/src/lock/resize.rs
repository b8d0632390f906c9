//! Changing the capacity of a semaphore that is in use.
//!
//! The capacity stands in the lock, in its holders and in its waiters, so that each of them tells it by itself: a change rewrites all of them.

use std::sync::Arc;

use crate::lock::promote::promote;
use crate::lock::record::{Kind, LockKey};
use crate::lock::{Change, LockRequest, Mode, Refusal, Resize, Resized};
use crate::rejection::invalid;
use crate::step::Step;
use crate::{Actor, LockId, Rejection, State};

impl Resize {
    pub(super) fn apply(&self, step: &mut Step<'_>) -> Result<Resized, Rejection> {
        step.state.check_capacity(self.capacity)?;
        let key = LockKey { namespace: self.namespace.clone(), name: self.name.clone() };
        let before = self.capacity_before(step.state, &key)?;
        if self.capacity != before {
            self.check_waiters(step.state, &key)?;
            step.set_capacity(&key, self.capacity);
            if self.capacity < before
                && let Err(deadlock) = step.state.check_queue_for_deadlock(&step.actor, &key)
            {
                step.set_capacity(&key, before);
                return Err(deadlock.into());
            }
            let (name, capacity) = (self.name.clone(), self.capacity);
            step.emit(Some(&self.namespace), Change::LockResized { name, capacity });
            step.state.lock.touch(key.clone(), false);
            promote(step);
        }
        let permits_held = step.state.lock.by_key.get(&key).map_or(0, |lock| lock.permits_used);
        Ok(Resized { name: self.name.clone(), capacity: self.capacity, permits_held })
    }

    fn capacity_before(&self, state: &State, key: &LockKey) -> Result<u32, Refusal> {
        let name = self.name.clone();
        let lock = state.lock.by_key.get(key).ok_or(Refusal::NotInUse { name: name.clone() })?;
        match lock.kind {
            Kind::Semaphore { capacity } => Ok(capacity),
            other => Err(Refusal::ModeMismatch { name, actual: other.as_str().into() }),
        }
    }

    /// A waiter that wants more permits than there are would wait for ever.
    fn check_waiters(&self, state: &State, key: &LockKey) -> Result<(), Rejection> {
        let Some(lock) = state.lock.by_key.get(key) else { return Ok(()) };
        for lock_id in lock.queue() {
            let wanted = state.lock.waits.get(&lock_id).map_or(0, |wait| permits_of(&wait.requests, key));
            if wanted > self.capacity {
                let problem = format!(
                    "is {}, but {lock_id} waits for {wanted} permits; withdraw that wait first, or leave at least {wanted}",
                    self.capacity
                );
                return Err(invalid("capacity", problem));
            }
        }
        Ok(())
    }
}

/// The permits that an acquisition names on a lock.
pub(super) fn permits_of(requests: &[LockRequest], key: &LockKey) -> u32 {
    let request = requests.iter().find(|request| request.name == key.name);
    request.map_or(0, |request| if let Mode::Semaphore { permits, .. } = request.mode { permits } else { 0 })
}

fn set_capacity_in(requests: &mut [LockRequest], key: &LockKey, capacity: u32) {
    for request in requests.iter_mut().filter(|request| request.name == key.name) {
        if let Mode::Semaphore { capacity: before, .. } = &mut request.mode {
            *before = capacity;
        }
    }
}

impl Step<'_> {
    fn set_capacity(&mut self, key: &LockKey, capacity: u32) {
        let table = &mut self.state.lock;
        let Some(lock) = table.by_key.get_mut(key) else { return };
        lock.kind = Kind::Semaphore { capacity };
        let holders: Vec<LockId> = lock.holders.iter().collect();
        let waiters: Vec<LockId> = lock.queue().collect();
        for lock_id in holders {
            if let Some(grant) = table.grants.get_mut(&lock_id) {
                set_capacity_in(&mut Arc::make_mut(grant).requests, key, capacity);
            }
        }
        for lock_id in waiters {
            if let Some(wait) = table.waits.get_mut(&lock_id) {
                set_capacity_in(&mut Arc::make_mut(wait).requests, key, capacity);
            }
        }
    }
}

impl State {
    /// Refuses a queue in which a waiter waits, directly or through others, for itself. A waiter that has nothing else is in nobody's way.
    fn check_queue_for_deadlock(&self, actor: &Actor, key: &LockKey) -> Result<(), Refusal> {
        let Some(lock) = self.lock.by_key.get(key) else { return Ok(()) };
        for lock_id in lock.queue() {
            let Some(wait) = self.lock.waits.get(&lock_id) else { continue };
            let owned = wait.owner.session.and_then(|session| self.session.owned(session));
            if owned.is_some_and(|owned| owned.grants.len() + owned.waits.len() > 1) {
                self.check_deadlock(actor, lock_id, wait)?;
            }
        }
        Ok(())
    }
}
