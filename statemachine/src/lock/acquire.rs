//! Acquires locks.

use std::sync::Arc;

use crate::lock::record::{Kind, LockKey, WaitRecord};
use crate::lock::serving::same_locks;
use crate::lock::table::TOKEN_END;
use crate::lock::{Acquire, Acquired, Change, Grant, LockRequest, Mode, OwnerRecord, Refusal};
use crate::rejection::invalid;
use crate::step::Step;
use crate::{Actor, Command, LockId, Position, Rejection, State, lock};

/// The most holders that a refusal names.
const HOLDERS_NAMED_MAX: usize = 16;

impl Acquire {
    pub(super) fn apply(&self, step: &mut Step<'_>, position: Position) -> Result<Acquired, Rejection> {
        let state = &*step.state;
        self.validate(state, &step.actor)?;
        if let Some(grant) = self.held_unknowingly(state) {
            step.claim(&grant, self.call);
            return Ok(Acquired::Granted(grant));
        }
        if let Some(grant) = self.held_already(state) {
            return self.enter_again(step, &grant);
        }
        if let Some(lock_id) = self.waits_already(state) {
            return self.take_over(step, lock_id);
        }
        self.check_kinds(state)?;
        self.check_room(state)?;
        let lock_id = LockId(position);
        let wait = self.wait_record(step);
        if step.state.admits(lock_id, &wait, |_| false) {
            return Ok(Acquired::Granted(step.grant(lock_id, &wait)));
        }
        if self.wait_ms == 0 {
            return Err(self.refusal(step.state, lock_id, &wait).into());
        }
        self.check_queues(step.state)?;
        step.state.check_deadlock(&step.actor, lock_id, &wait)?;
        step.enqueue(lock_id, wait);
        self.check_those_behind(step, lock_id)?;
        let queued = step.state.wait(lock_id).ok_or(Refusal::LockNotHeld { lock_id })?;
        step.emit(Some(&self.namespace), Change::LockQueued(queued.clone()));
        Ok(Acquired::Queued(queued))
    }

    fn validate(&self, state: &State, actor: &Actor) -> Result<(), Rejection> {
        let max = state.limits.lock.names_per_acquire_max;
        if self.requests.is_empty() {
            return Err(invalid("locks", "must name at least one lock"));
        }
        if self.requests.len() as u64 > max {
            return Err(invalid(
                "locks",
                format!("names {} locks; at most {max} are allowed", self.requests.len()),
            ));
        }
        if self.requests.len() > 1 && self.requests.iter().any(|request| request.mode == Mode::Election) {
            return Err(invalid(
                "locks",
                "names an election and something else; a campaign is for one election",
            ));
        }
        for (place, request) in self.requests.iter().enumerate() {
            state.check_name(&request.name)?;
            check_mode(state, request)?;
            if self.requests[..place].iter().any(|other| other.name == request.name) {
                return Err(invalid("locks", format!("{} is named twice", request.name)));
            }
        }
        state.check_owner(&self.owner.label)?;
        state.check_metadata(&self.metadata)?;
        state.check_wait(self.wait_ms)?;
        state.check_lock_delay(self.lock_delay_ms)?;
        match (self.owner.session, self.ttl_ms) {
            (Some(_), Some(_)) => {
                Err(invalid("ttl_ms", "a lock of a session lives with the session; leave ttl_ms out"))
            }
            (None, None) => Err(invalid("ttl_ms", "must be given when there is no session_id")),
            (None, Some(_)) if self.reentrant => Err(invalid("reentrant", "needs a session_id")),
            (Some(session), None) => Ok(state.check_own_session(actor, session, &self.namespace)?),
            (None, Some(ttl_ms)) => {
                state.check_ttl(ttl_ms)?;
                state.check_room_for_namespace(&self.namespace)
            }
        }
    }

    fn key(&self, request: &LockRequest) -> LockKey {
        LockKey { namespace: self.namespace.clone(), name: request.name.clone() }
    }

    /// The owner's own grant of exactly these locks, if the request allows re-entry.
    fn held_already(&self, state: &State) -> Option<Arc<Grant>> {
        self.reentrant.then(|| state.held_by_owner(self)).flatten()
    }

    /// The owner's own grant of exactly these locks, if the node that should have told the owner was lost.
    fn held_unknowingly(&self, state: &State) -> Option<Arc<Grant>> {
        if state.lock.serving.unclaimed.is_empty() {
            return None;
        }
        state.held_by_owner(self).filter(|grant| state.lock.serving.unclaimed.contains(&grant.lock_id))
    }

    /// The owner's own wait for exactly these locks, if the request allows waiting.
    fn waits_already(&self, state: &State) -> Option<LockId> {
        let session = self.owner.session.and_then(|session| state.session.owned(session))?;
        if self.wait_ms == 0 || session.waits.is_empty() {
            return None;
        }
        let same = |lock_id: &LockId| {
            let wait = state.lock.waits.get(lock_id);
            wait.is_some_and(|wait| wait.owner.is(&self.owner) && same_locks(&wait.requests, &self.requests))
        };
        let lock = state.lock.by_key.get(&self.key(self.requests.first()?))?;
        if lock.waiters() < session.waits.len() {
            return lock.queue().find(same);
        }
        session.waits.iter().copied().find(same)
    }

    /// Takes over the owner's own wait, which keeps its place and lasts as long as the longer of the two.
    fn take_over(&self, step: &mut Step<'_>, lock_id: LockId) -> Result<Acquired, Rejection> {
        step.serve_instead(lock_id, self.call);
        step.ask_instead(lock_id);
        let deadline_ms = step.state.now_ms.saturating_add(self.wait_ms);
        step.wait_until(lock_id, deadline_ms);
        Ok(Acquired::Queued(step.state.wait(lock_id).ok_or(Refusal::LockNotHeld { lock_id })?))
    }

    /// Checks for deadlocks of the waiters behind a wait that is queued again at its old place: they wait for it from now on, which must not
    /// close a cycle either.
    fn check_those_behind(&self, step: &mut Step<'_>, lock_id: LockId) -> Result<(), Rejection> {
        if lock_id.0.index == step.state.revision {
            return Ok(());
        }
        let state = &step.state;
        let session = self.owner.session.and_then(|session| state.session.owned(session));
        let waits = session.into_iter().flat_map(|session| &session.waits);
        let own = waits.filter_map(|waiting| Some((*waiting, state.lock.waits.get(waiting)?)));
        // A waiter for this owner waits for everything that the owner waits for.
        let mut own = own.filter(|(_, wait)| wait.owner.is(&self.owner));
        let checked = own.try_for_each(|(waiting, wait)| state.check_deadlock(&step.actor, waiting, wait));
        if checked.is_err() {
            step.dequeue(lock_id);
        }
        Ok(checked?)
    }

    /// Whether the owner would be answered with a grant or a wait that it already has.
    pub(crate) fn stands_already(&self, state: &State) -> bool {
        self.held_unknowingly(state).or_else(|| self.held_already(state)).is_some()
            || self.waits_already(state).is_some()
    }

    fn enter_again(&self, step: &mut Step<'_>, grant: &Grant) -> Result<Acquired, Rejection> {
        let max = step.state.limits.lock.reentrancy_max;
        if grant.count >= max {
            return Err(Rejection::LimitExceeded {
                limit: "reentrancy_max".into(),
                max,
                remedy: "release as often as the lock is taken, or raise the limit".into(),
            });
        }
        step.state.lock.serving.forget_grant(grant);
        let grant = Arc::new(Grant { count: grant.count + 1, ..grant.clone() });
        step.state.lock.grants.insert(grant.lock_id, Arc::clone(&grant));
        step.emit(Some(&self.namespace), Change::LockGranted(Arc::clone(&grant)));
        Ok(Acquired::Granted(grant))
    }

    fn check_kinds(&self, state: &State) -> Result<(), Rejection> {
        for request in &self.requests {
            let Some(lock) = state.lock.by_key.get(&self.key(request)) else { continue };
            let name = request.name.clone();
            match (lock.kind, Kind::of(request.mode)) {
                (Kind::Semaphore { capacity: actual }, Kind::Semaphore { capacity })
                    if actual != capacity =>
                {
                    return Err(Refusal::CapacityMismatch { name, actual }.into());
                }
                (Kind::Semaphore { .. }, Kind::Semaphore { .. }) => {}
                (actual, wanted) if actual != wanted => {
                    return Err(Refusal::ModeMismatch { name, actual: actual.as_str().into() }.into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_room(&self, state: &State) -> Result<(), Rejection> {
        let usage = state.namespaces.get(&self.namespace).copied().unwrap_or_default();
        let max = state.limits.lock.grants_per_namespace_max;
        if usage.lock.grants + usage.lock.waits >= max {
            return Err(Rejection::LimitExceeded {
                limit: "grants_per_namespace_max".into(),
                max,
                remedy: "release locks, use another namespace, or raise the limit".into(),
            });
        }
        if state.lock.last_token + 1 >= TOKEN_END {
            return Err(Rejection::LimitExceeded {
                limit: "fencing_tokens".into(),
                max: TOKEN_END - 1,
                remedy: "the cluster has given out every token; move to a new cluster".into(),
            });
        }
        Ok(())
    }

    fn check_queues(&self, state: &State) -> Result<(), Rejection> {
        let max = state.limits.lock.waiters_per_lock_max;
        let queued =
            |request| state.lock.by_key.get(&self.key(request)).map_or(0, |lock| lock.waiters() as u64);
        if self.requests.iter().any(|request| queued(request) >= max) {
            return Err(Rejection::LimitExceeded {
                limit: "waiters_per_lock_max".into(),
                max,
                remedy: "ask again later, or raise the limit".into(),
            });
        }
        Ok(())
    }

    fn wait_record(&self, step: &Step<'_>) -> WaitRecord {
        WaitRecord {
            namespace: step.intern(&self.namespace),
            requests: self.requests.clone(),
            owner: self.owner_record(step),
            actor: step.actor,
            ttl_ms: self.ttl_ms,
            lock_delay_ms: self.lock_delay_ms,
            metadata: self.metadata.clone(),
            deadline_ms: step.state.now_ms.saturating_add(self.wait_ms),
            calls: self.call.into_iter().collect(),
        }
    }

    /// The owner, which has the principal of its session, if it has one, and otherwise that of the actor.
    fn owner_record(&self, step: &Step<'_>) -> OwnerRecord {
        let session = self.owner.session;
        OwnerRecord {
            principal: session
                .and_then(|session| step.state.session_owner(session))
                .unwrap_or_else(|| step.actor.principal()),
            session,
            label: self.owner.label.as_str().into(),
        }
    }

    /// Why the locks cannot be granted at once, for the first name that is not free.
    fn refusal(&self, state: &State, lock_id: LockId, wait: &WaitRecord) -> Refusal {
        let closed = self.requests.iter().find_map(|request| {
            let lock = state.lock.by_key.get(&wait.key(request))?;
            (!lock.admits(lock_id, request.mode, false)).then_some((request.name.clone(), lock))
        });
        let Some((name, lock)) = closed else { return Refusal::LockNotHeld { lock_id } };
        match lock.delayed_until_ms() {
            Some(until_ms) if lock.holders.is_empty() => {
                Refusal::LockDelayed { name, remaining_ms: until_ms.saturating_sub(state.now_ms) }
            }
            _ => Refusal::LockHeld {
                name,
                holder_tokens: lock
                    .holders
                    .iter()
                    .take(HOLDERS_NAMED_MAX)
                    .filter_map(|holder| state.lock.grants.get(&holder))
                    .map(|grant| grant.token)
                    .collect(),
                waiters: lock.waiters() as u64,
            },
        }
    }
}

impl State {
    /// The grant of exactly these locks that the owner, which has a session, already holds.
    pub(crate) fn held_by_owner(&self, acquire: &Acquire) -> Option<Arc<Grant>> {
        acquire.owner.session?;
        let lock = self.lock.by_key.get(&acquire.key(acquire.requests.first()?))?;
        let same = |grant: &&Arc<Grant>| {
            grant.owner.is(&acquire.owner) && same_locks(&grant.requests, &acquire.requests)
        };
        lock.holders.iter().filter_map(|lock_id| self.lock.grants.get(&lock_id)).find(same).cloned()
    }

    /// The number of waiters already queued, if a command applied now would only join a queue. `None` when it would do more, or would be answered
    /// at once. The state may change before the command is applied, so this may decide when a command is sent, but not what happens.
    #[must_use]
    pub fn waits_behind(&self, command: &Command) -> Option<usize> {
        let Command::Lock(lock::Command::Acquire(acquire)) = command else { return None };
        let newest = LockId(Position { index: u64::MAX, ordinal: u32::MAX });
        let behind = |request: &LockRequest| {
            let lock = self.lock.by_key.get(&acquire.key(request))?;
            (!lock.admits(newest, request.mode, false)).then(|| lock.waiters())
        };
        let held = acquire.held_unknowingly(self).or_else(|| acquire.held_already(self));
        let waits = acquire.wait_ms > 0 && held.is_none();
        waits.then(|| acquire.requests.iter().filter_map(behind).max()).flatten()
    }
}

fn check_mode(state: &State, request: &LockRequest) -> Result<(), Rejection> {
    let Mode::Semaphore { permits, capacity } = request.mode else { return Ok(()) };
    state.check_capacity(capacity)?;
    if permits == 0 || permits > capacity {
        return Err(invalid(
            "permits",
            format!("is {permits}; it must be from 1 to the capacity, {capacity}"),
        ));
    }
    Ok(())
}
