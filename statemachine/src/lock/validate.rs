//! Checks the invariants of locks.

use crate::due::Due;
use crate::ensure::ensure;
use crate::lock::record::{Kind, LockKey};
use crate::lock::table::TOKEN_END;
use crate::lock::{LockRequest, Mode};
use crate::{LockId, PrincipalId, State};

impl State {
    pub(crate) fn validate_grants(&self) -> Result<(), String> {
        ensure!(self.lock.last_token < TOKEN_END, "more tokens were given than there are");
        let mut tokens: Vec<u64> = self.lock.grants.values().map(|grant| grant.token).collect();
        tokens.sort_unstable();
        for pair in tokens.windows(2) {
            ensure!(pair[0] != pair[1], "token {} given twice", pair[0]);
        }
        for (lock_id, grant) in &self.lock.grants {
            ensure!(grant.lock_id == *lock_id, "{lock_id}: grant under a wrong id");
            ensure!(grant.token <= self.lock.last_token, "{lock_id}: token {} was never given", grant.token);
            ensure!(grant.count > 0, "{lock_id}: held zero times");
            ensure!(names_one_kind(&grant.requests), "{lock_id}: leads an election and holds something else");
            ensure!(!self.lock.waits.contains_key(lock_id), "{lock_id}: held and queued");
            ensure!(
                grant.deadline_ms.is_some() != grant.owner.session.is_some(),
                "{lock_id}: ttl and session"
            );
            if let Some(session) = grant.owner.session {
                let owned = self.session.owned(session).is_some_and(|owned| owned.grants.contains(lock_id))
                    && self.session_namespace(session) == Some(&grant.namespace)
                    && self.session_owner(session) == Some(grant.owner.principal);
                ensure!(owned, "{lock_id}: of {session}, which does not own it");
            }
        }
        Ok(())
    }

    /// Checks that the index of principals has every one-shot acquisition, and nothing else.
    pub(crate) fn validate_one_shots(&self) -> Result<(), String> {
        let held = self.lock.grants.iter().map(|(lock_id, grant)| (lock_id, &grant.owner));
        let waiting = self.lock.waits.iter().map(|(lock_id, wait)| (lock_id, &wait.owner));
        let owned = held
            .chain(waiting)
            .filter(|(_, owner)| owner.session.is_none() && owner.principal != PrincipalId::ANONYMOUS);
        let mut expected: Vec<(PrincipalId, LockId)> =
            owned.map(|(lock_id, owner)| (owner.principal, *lock_id)).collect();
        expected.sort_unstable();
        ensure!(self.lock.one_shots.iter().eq(expected.iter()), "principals own other one-shot acquisitions");
        Ok(())
    }

    pub(crate) fn validate_waits(&self) -> Result<(), String> {
        for (lock_id, wait) in &self.lock.waits {
            ensure!(!self.admits(*lock_id, wait, |_| false), "{lock_id}: waits for what it could have");
            ensure!(names_one_kind(&wait.requests), "{lock_id}: a candidate that waits for something else");
            for request in &wait.requests {
                let lock = self.lock.by_key.get(&wait.key(request));
                let lock = lock.ok_or_else(|| format!("{lock_id}: waits for a lock that is not there"))?;
                ensure!(
                    lock.is_queued(*lock_id, request.mode),
                    "{lock_id}: not in the queue of {}",
                    request.name
                );
            }
            if let Some(session) = wait.owner.session {
                let owned = self.session.owned(session).is_some_and(|owned| owned.waits.contains(lock_id))
                    && self.session_namespace(session) == Some(&wait.namespace)
                    && self.session_owner(session) == Some(wait.owner.principal);
                ensure!(owned, "{lock_id}: a wait of {session}, which does not own it");
            }
        }
        Ok(())
    }

    pub(crate) fn validate_serving(&self) -> Result<(), String> {
        ensure!(
            self.lock.touched.is_empty() && self.lock.reader_turns.is_empty(),
            "locks that changed were not looked at"
        );
        let serving = &self.lock.serving;
        let calls: usize = self.lock.waits.values().map(|wait| wait.calls.len()).sum();
        ensure!(serving.by_call.len() == calls, "{} calls wait, {calls} are served", serving.by_call.len());
        for (call, lock_id) in &serving.by_call {
            let waits = self.lock.waits.get(lock_id).is_some_and(|wait| wait.calls.contains(call));
            ensure!(waits, "{lock_id}: served by a call that does not wait for it");
        }
        for ((revision, lock_id), unconfirmed) in &serving.unconfirmed {
            let grant = self.lock.grants.get(lock_id).filter(|grant| grant.owner.session.is_some());
            let granted = grant.is_some_and(|grant| grant.granted_revision == *revision);
            ensure!(granted, "{lock_id}: unconfirmed, but not granted to a session at {revision}");
            ensure!(!unconfirmed.calls.is_empty(), "{lock_id}: unconfirmed through no call");
            ensure!(!serving.unclaimed.contains(lock_id), "{lock_id}: unconfirmed and unclaimed");
        }
        for lock_id in &serving.unclaimed {
            let grant = self.lock.grants.get(lock_id).filter(|grant| grant.owner.session.is_some());
            ensure!(grant.is_some(), "{lock_id}: unclaimed, but not held by a session");
        }
        Ok(())
    }

    pub(crate) fn validate_locks(&self) -> Result<(), String> {
        let mut holders = 0;
        for (key, lock) in &self.lock.by_key {
            let name = &key.name;
            holders += lock.holders.len();
            ensure!(!lock.is_idle(), "{name}: free, but still there");
            let held: Vec<Mode> = lock.holders.iter().filter_map(|id| self.mode_in_grant(id, key)).collect();
            ensure!(held.len() == lock.holders.len(), "{name}: held by an acquisition that does not hold it");
            let waiting = lock.queue().filter_map(|id| self.mode_in_wait(id, key)).collect::<Vec<_>>();
            ensure!(waiting.len() == lock.waiters(), "{name}: a waiter that does not wait for it");
            let of_kind = |mode: &Mode| Kind::of(*mode) == lock.kind;
            ensure!(held.iter().chain(&waiting).all(of_kind), "{name}: used as two kinds");
            let exclusive = held.iter().any(|mode| mode.excludes());
            ensure!(exclusive == lock.held_exclusive, "{name}: exclusive flag is wrong");
            ensure!(!exclusive || held.len() == 1, "{name}: an exclusive holder is not alone");
            let permits = |mode: &Mode| if let Mode::Semaphore { permits, .. } = mode { *permits } else { 0 };
            let used: u64 = held.iter().map(|mode| u64::from(permits(mode))).sum();
            ensure!(used == u64::from(lock.permits_used), "{name}: permits are counted wrong");
            if let Some(until_ms) = lock.delayed_until_ms() {
                let due = (until_ms, Due::Delay(Box::new(key.clone())));
                ensure!(self.deadlines.contains(&due), "{name}: its delay would never end");
            }
        }
        // Every holder of a lock holds it. If the numbers are equal, every grant is also known to its locks.
        if holders != self.lock.grants.values().map(|grant| grant.requests.len()).sum() {
            self.validate_holders()?;
            return Err("locks have other holders than there are".to_owned());
        }
        Ok(())
    }

    /// Finds a grant whose lock does not know it.
    fn validate_holders(&self) -> Result<(), String> {
        for (lock_id, grant) in &self.lock.grants {
            for request in &grant.requests {
                let key = LockKey { namespace: grant.namespace.clone(), name: request.name.clone() };
                let lock = self.lock.by_key.get(&key);
                let held = lock.is_some_and(|lock| lock.holders.iter().any(|holder| holder == *lock_id));
                ensure!(held, "{lock_id}: holds {} but the lock does not know", key.name);
            }
        }
        Ok(())
    }

    fn mode_in_grant(&self, lock_id: LockId, key: &LockKey) -> Option<Mode> {
        let grant = self.lock.grants.get(&lock_id).filter(|grant| grant.namespace == key.namespace)?;
        mode_of(&grant.requests, key)
    }

    fn mode_in_wait(&self, lock_id: LockId, key: &LockKey) -> Option<Mode> {
        let wait = self.lock.waits.get(&lock_id).filter(|wait| wait.namespace == key.namespace)?;
        mode_of(&wait.requests, key)
    }
}

/// Whether an election, if it is named, is named alone.
fn names_one_kind(requests: &[LockRequest]) -> bool {
    requests.len() == 1 || requests.iter().all(|request| request.mode != Mode::Election)
}

fn mode_of(requests: &[LockRequest], key: &LockKey) -> Option<Mode> {
    requests.iter().find(|request| request.name == key.name).map(|request| request.mode)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::lock::record::LockRecord;
    use crate::lock::{Acquire, Owner};
    use crate::{Entry, Name, Namespace, Request, Stamp};

    fn acquire(names: &[&str], mode: Mode) -> Request {
        let name = |name: &&str| Name::new(name).unwrap();
        Request::new(
            None,
            Acquire {
                namespace: Namespace::default(),
                requests: names.iter().map(|text| LockRequest { name: name(text), mode }).collect(),
                owner: Owner { session: None, label: String::new() },
                ttl_ms: Some(60_000),
                wait_ms: 0,
                lock_delay_ms: 0,
                reentrant: false,
                metadata: String::new(),
                call: None,
            },
        )
    }

    /// Two grants share `a`, and one of them also holds `b`.
    fn state() -> State {
        let requests = vec![acquire(&["b", "a"], Mode::Shared), acquire(&["a"], Mode::Shared)];
        let mut state = State::default();
        let applied = state.apply(1, &Entry { stamp: Stamp { now_ms: 1, wall_ms: 1 }, requests });
        assert!(applied.outcomes.iter().all(Result::is_ok), "{applied:?}");
        state.validate().unwrap();
        state
    }

    /// The error of that state after damage.
    fn said_of(damage: impl FnOnce(&mut State)) -> String {
        let mut state = state();
        damage(&mut state);
        state.validate().unwrap_err()
    }

    fn lock<'a>(state: &'a mut State, name: &str) -> &'a mut LockRecord {
        let key = LockKey { namespace: Namespace::default(), name: Name::new(name).unwrap() };
        state.lock.by_key.get_mut(&key).unwrap()
    }

    #[test]
    fn forgotten_holder_is_noticed() {
        let said = said_of(|state| {
            let oldest = state.lock.grants.get_min().unwrap().0;
            lock(state, "a").remove_holder(oldest, Mode::Shared);
        });
        assert!(said.contains("holds a but the lock does not know"), "{said}");
    }

    #[test]
    fn false_holder_is_noticed() {
        let said = said_of(|state| {
            let newest = state.lock.grants.get_max().unwrap().0;
            lock(state, "b").add_holder(newest, Mode::Shared);
        });
        assert!(said.contains("held by an acquisition that does not hold it"), "{said}");
    }

    #[test]
    fn a_leader_of_two_elections_is_noticed() {
        let mut state = state();
        let oldest = state.lock.grants.get_min().unwrap().0;
        for request in &mut Arc::make_mut(state.lock.grants.get_mut(&oldest).unwrap()).requests {
            request.mode = Mode::Election;
        }
        // The check of locks would say that the names have two kinds.
        let said = state.validate_grants().unwrap_err();
        assert!(said.contains("leads an election and holds something else"), "{said}");
    }

    #[test]
    fn a_token_given_twice_is_noticed() {
        let said = said_of(|state| {
            let token = state.lock.grants.get_min().unwrap().1.token;
            let newest = state.lock.grants.get_max().unwrap().0;
            Arc::make_mut(state.lock.grants.get_mut(&newest).unwrap()).token = token;
        });
        assert!(said.contains("twice"), "{said}");
    }

    #[test]
    fn a_deadline_too_many_is_noticed() {
        let said = said_of(|state| {
            let oldest = state.lock.grants.get_min().unwrap().0;
            state.deadlines.insert((99_999, Due::Grant(oldest)));
        });
        assert!(said.contains("deadlines"), "{said}");
    }
}
