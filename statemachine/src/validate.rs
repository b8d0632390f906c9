//! Every invariant of the state, in one place. Called after each step in tests and on every snapshot that is installed.

use std::collections::BTreeMap;

use crate::deadline::Due;
use crate::dedup::{Answer, Remembered};
use crate::lock::{Kind, LockKey, LockRequest, Mode, TOKEN_END};
use crate::state::NamespaceUsage;
use crate::{LockId, Namespace, SessionId, State};

macro_rules! ensure {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err(format!($($why)+));
        }
    };
}

/// A check of the state: the broken invariant, in words.
pub type Check = fn(&State) -> Result<(), String>;

impl State {
    /// The parts of [`Self::validate`]. None needs another to have passed: they may run side by side.
    pub const CHECKS: [Check; 8] = [
        Self::validate_locks,
        Self::validate_grants,
        Self::validate_deadlines,
        Self::validate_namespaces,
        Self::validate_waits,
        Self::validate_sessions,
        Self::validate_dedup,
        Self::validate_serving,
    ];

    /// Checks that every index agrees with what it indexes and that no rule of locks is broken. O(size of the state).
    ///
    /// # Errors
    /// A broken invariant, in words.
    pub fn validate(&self) -> Result<(), String> {
        Self::CHECKS.iter().try_for_each(|check| check(self))
    }

    fn validate_grants(&self) -> Result<(), String> {
        ensure!(self.last_token < TOKEN_END, "more tokens were given than there are");
        for (key, high_water) in &self.registers {
            let given = (1..=self.last_token).contains(high_water);
            ensure!(given, "register {}: token {high_water} was never given", key.name);
        }
        let mut tokens: Vec<u64> = self.grants.values().map(|grant| grant.token).collect();
        tokens.sort_unstable();
        for pair in tokens.windows(2) {
            ensure!(pair[0] != pair[1], "token {} given twice", pair[0]);
        }
        for (lock_id, grant) in &self.grants {
            ensure!(grant.lock_id == *lock_id, "{lock_id}: grant under a wrong id");
            ensure!(grant.token <= self.last_token, "{lock_id}: token {} was never given", grant.token);
            ensure!(grant.count > 0, "{lock_id}: held zero times");
            ensure!(!self.waits.contains_key(lock_id), "{lock_id}: held and queued");
            ensure!(
                grant.deadline_ms.is_some() != grant.owner.session.is_some(),
                "{lock_id}: ttl and session"
            );
            if let Some(session) = grant.owner.session {
                let record = self.sessions.get(&session);
                let owned = record.is_some_and(|record| {
                    record.grants.contains(lock_id) && record.namespace == grant.namespace
                });
                ensure!(owned, "{lock_id}: of {session}, which does not own it");
            }
        }
        Ok(())
    }

    fn validate_waits(&self) -> Result<(), String> {
        for (lock_id, wait) in &self.waits {
            ensure!(!self.admits(*lock_id, wait, |_| false), "{lock_id}: waits for what it could have");
            for request in &wait.requests {
                let lock = self.locks.get(&wait.key(request));
                let lock = lock.ok_or_else(|| format!("{lock_id}: waits for a lock that is not there"))?;
                ensure!(
                    lock.is_queued(*lock_id, request.mode),
                    "{lock_id}: not in the queue of {}",
                    request.name
                );
            }
            if let Some(session) = wait.owner.session {
                let record = self.sessions.get(&session);
                let owned = record.is_some_and(|record| {
                    record.waits.contains(lock_id) && record.namespace == wait.namespace
                });
                ensure!(owned, "{lock_id}: a wait of {session}, which does not own it");
            }
        }
        Ok(())
    }

    fn validate_serving(&self) -> Result<(), String> {
        let serving = &self.serving;
        let calls: usize = self.waits.values().map(|wait| wait.calls.len()).sum();
        ensure!(serving.by_call.len() == calls, "{} calls wait, {calls} are served", serving.by_call.len());
        for (call, lock_id) in &serving.by_call {
            let waits = self.waits.get(lock_id).is_some_and(|wait| wait.calls.contains(call));
            ensure!(waits, "{lock_id}: served by a call that does not wait for it");
        }
        for ((revision, lock_id), unconfirmed) in &serving.unconfirmed {
            let grant = self.grants.get(lock_id).filter(|grant| grant.owner.session.is_some());
            let granted = grant.is_some_and(|grant| grant.granted_revision == *revision);
            ensure!(granted, "{lock_id}: unconfirmed, but not granted to a session at {revision}");
            ensure!(!unconfirmed.calls.is_empty(), "{lock_id}: unconfirmed through no call");
            ensure!(!serving.unclaimed.contains(lock_id), "{lock_id}: unconfirmed and unclaimed");
        }
        for lock_id in &serving.unclaimed {
            let grant = self.grants.get(lock_id).filter(|grant| grant.owner.session.is_some());
            ensure!(grant.is_some(), "{lock_id}: unclaimed, but not held by a session");
        }
        Ok(())
    }

    fn validate_locks(&self) -> Result<(), String> {
        let mut holders = 0;
        for (key, lock) in &self.locks {
            let name = &key.name;
            holders += lock.holders.len();
            ensure!(!lock.is_idle(), "{name}: free, but still there");
            let held: Vec<Mode> = lock.holders.iter().filter_map(|id| self.mode_in_grant(id, key)).collect();
            ensure!(held.len() == lock.holders.len(), "{name}: held by an acquisition that does not hold it");
            let waiting = lock.queue().filter_map(|id| self.mode_in_wait(id, key)).collect::<Vec<_>>();
            ensure!(waiting.len() == lock.waiters(), "{name}: a waiter that does not wait for it");
            let of_kind = |mode: &Mode| Kind::of(*mode) == lock.kind;
            ensure!(held.iter().chain(&waiting).all(of_kind), "{name}: used as two kinds");
            let exclusive = held.contains(&Mode::Exclusive);
            ensure!(exclusive == lock.held_exclusive, "{name}: exclusive flag is wrong");
            ensure!(!exclusive || held.len() == 1, "{name}: an exclusive holder is not alone");
            let permits = |mode: &Mode| if let Mode::Semaphore { permits, .. } = mode { *permits } else { 0 };
            let used: u64 = held.iter().map(|mode| u64::from(permits(mode))).sum();
            ensure!(used == u64::from(lock.permits_used), "{name}: permits are counted wrong");
            if let Kind::Semaphore { capacity } = lock.kind {
                ensure!(used <= u64::from(capacity), "{name}: more permits held than there are");
            }
            if let Some(until_ms) = lock.delayed_until_ms() {
                let due = (until_ms, Due::Delay(Box::new(key.clone())));
                ensure!(self.deadlines.contains(&due), "{name}: its delay would never end");
            }
        }
        // Every holder of a lock holds it; with as many the other way round, every lock that is held knows its holder.
        if holders != self.grants.values().map(|grant| grant.requests.len()).sum() {
            self.validate_holders()?;
            return Err("locks have other holders than there are".to_owned());
        }
        Ok(())
    }

    /// Finds the grant whose lock does not know it.
    fn validate_holders(&self) -> Result<(), String> {
        for (lock_id, grant) in &self.grants {
            for request in &grant.requests {
                let key = LockKey { namespace: grant.namespace.clone(), name: request.name.clone() };
                let lock = self.locks.get(&key);
                let held = lock.is_some_and(|lock| lock.holders.iter().any(|holder| holder == *lock_id));
                ensure!(held, "{lock_id}: holds {} but the lock does not know", key.name);
            }
        }
        Ok(())
    }

    fn mode_in_grant(&self, lock_id: LockId, key: &LockKey) -> Option<Mode> {
        let grant = self.grants.get(&lock_id).filter(|grant| grant.namespace == key.namespace)?;
        mode_of(&grant.requests, key)
    }

    fn mode_in_wait(&self, lock_id: LockId, key: &LockKey) -> Option<Mode> {
        let wait = self.waits.get(&lock_id).filter(|wait| wait.namespace == key.namespace)?;
        mode_of(&wait.requests, key)
    }

    fn validate_sessions(&self) -> Result<(), String> {
        let mut listed: Vec<(Namespace, SessionId)> =
            self.sessions.iter().map(|(session, record)| (record.namespace.clone(), *session)).collect();
        listed.sort_unstable();
        ensure!(self.sessions_by_namespace.iter().eq(listed.iter()), "namespaces list other sessions");
        for (session, record) in &self.sessions {
            let owned = |owner: &crate::lock::Owner| owner.session == Some(*session);
            let grants = record
                .grants
                .iter()
                .filter(|id| self.grants.get(*id).is_some_and(|grant| owned(&grant.owner)));
            ensure!(grants.count() == record.grants.len(), "{session}: owns a grant that is not its own");
            let waits =
                record.waits.iter().filter(|id| self.waits.get(*id).is_some_and(|wait| owned(&wait.owner)));
            ensure!(waits.count() == record.waits.len(), "{session}: owns a wait that is not its own");
            let oldest = record.window.get_min().map_or(u64::MAX, |(oldest, _)| *oldest);
            ensure!(oldest >= record.window_floor, "{session}: remembers {oldest}, below its window");
        }
        Ok(())
    }

    fn validate_deadlines(&self) -> Result<(), String> {
        let mut expected = Vec::with_capacity(self.deadlines.len());
        expected.extend(self.sessions.iter().map(|(id, session)| (session.deadline_ms, Due::Session(*id))));
        expected.extend(self.waits.iter().map(|(id, wait)| (wait.deadline_ms, Due::Wait(*id))));
        expected
            .extend(self.grants.iter().filter_map(|(id, grant)| Some((grant.deadline_ms?, Due::Grant(*id)))));
        expected.extend(
            self.locks.iter().filter_map(|(key, lock)| {
                Some((lock.delayed_until_ms()?, Due::Delay(Box::new(key.clone()))))
            }),
        );
        expected.sort_unstable();
        ensure!(self.deadlines.iter().eq(expected.iter()), "the deadlines are not those of what there is");
        ensure!(expected.first().is_none_or(|(due_ms, _)| *due_ms > self.now_ms), "something is overdue");
        Ok(())
    }

    fn validate_namespaces(&self) -> Result<(), String> {
        let mut expected: BTreeMap<Namespace, NamespaceUsage> = BTreeMap::new();
        let mut of = |namespace: &Namespace, count: fn(&mut NamespaceUsage)| {
            count(expected.entry(namespace.clone()).or_default());
        };
        self.sessions.values().for_each(|session| of(&session.namespace, |usage| usage.sessions += 1));
        self.grants.values().for_each(|grant| of(&grant.namespace, |usage| usage.grants += 1));
        self.waits.values().for_each(|wait| of(&wait.namespace, |usage| usage.waits += 1));
        self.locks.keys().for_each(|key| of(&key.namespace, |usage| usage.locks += 1));
        self.registers.keys().for_each(|key| of(&key.namespace, |usage| usage.registers += 1));
        ensure!(self.namespaces.iter().eq(expected.iter()), "the namespaces' usage is counted wrong");
        Ok(())
    }

    fn validate_dedup(&self) -> Result<(), String> {
        let dedup = &self.dedup;
        ensure!(dedup.keys_len() <= self.limits.idempotency_keys_max, "too many idempotency keys");
        ensure!(dedup.keys.len() == dedup.by_age.len(), "idempotency keys and their ages differ in number");
        for (position, key) in &dedup.by_age {
            let known = dedup.keys.get(key).is_some_and(|keyed| keyed.position == *position);
            ensure!(known, "idempotency key {:?} has a wrong age", key.1);
        }
        let mut references: BTreeMap<LockId, u64> = BTreeMap::new();
        let keyed = dedup.keys.values().map(|keyed| &keyed.remembered);
        let sequenced = self.sessions.values().flat_map(|session| session.window.values());
        for Remembered { answer, .. } in keyed.chain(sequenced) {
            if let Answer::Acquisition(lock_id) = answer {
                *references.entry(*lock_id).or_default() += 1;
            }
        }
        let tracked = dedup.tracked.iter().map(|(lock_id, tracked)| (lock_id, &tracked.references));
        ensure!(tracked.eq(references.iter()), "references to acquisitions are counted wrong");
        for (lock_id, tracked) in &dedup.tracked {
            let lives = self.grants.contains_key(lock_id) || self.waits.contains_key(lock_id);
            ensure!(lives == tracked.ended.is_none(), "{lock_id}: its end is remembered wrong");
        }
        Ok(())
    }
}

fn mode_of(requests: &[LockRequest], key: &LockKey) -> Option<Mode> {
    requests.iter().find(|request| request.name == key.name).map(|request| request.mode)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::lock::{Acquire, LockRecord, Owner};
    use crate::{Command, Entry, Name, Request, Stamp};

    fn acquire(names: &[&str], mode: Mode) -> Request {
        let name = |name: &&str| Name::new(name).unwrap();
        Request::new(
            None,
            Command::Acquire(Acquire {
                namespace: Namespace::default(),
                requests: names.iter().map(|text| LockRequest { name: name(text), mode }).collect(),
                owner: Owner { session: None, label: String::new() },
                ttl_ms: Some(60_000),
                wait_ms: 0,
                lock_delay_ms: 0,
                reentrant: false,
                metadata: String::new(),
                call: None,
            }),
        )
    }

    /// Two grants share `a`, and one of them has `b` as well.
    fn state() -> State {
        let requests = vec![acquire(&["b", "a"], Mode::Shared), acquire(&["a"], Mode::Shared)];
        let mut state = State::default();
        let applied = state.apply(1, &Entry { stamp: Stamp { now_ms: 1, wall_ms: 1 }, requests });
        assert!(applied.outcomes.iter().all(Result::is_ok), "{applied:?}");
        state.validate().unwrap();
        state
    }

    /// What is said of that state once it is damaged.
    fn said_of(damage: impl FnOnce(&mut State)) -> String {
        let mut state = state();
        damage(&mut state);
        state.validate().unwrap_err()
    }

    fn lock<'a>(state: &'a mut State, name: &str) -> &'a mut LockRecord {
        let key = LockKey { namespace: Namespace::default(), name: Name::new(name).unwrap() };
        state.locks.get_mut(&key).unwrap()
    }

    #[test]
    fn a_lock_that_forgot_a_holder_is_noticed() {
        let said = said_of(|state| {
            let oldest = state.grants.get_min().unwrap().0;
            lock(state, "a").remove_holder(oldest, Mode::Shared);
        });
        assert!(said.contains("holds a but the lock does not know"), "{said}");
    }

    #[test]
    fn a_holder_that_does_not_hold_is_noticed() {
        let said = said_of(|state| {
            let newest = state.grants.get_max().unwrap().0;
            lock(state, "b").add_holder(newest, Mode::Shared);
        });
        assert!(said.contains("held by an acquisition that does not hold it"), "{said}");
    }

    #[test]
    fn a_token_given_twice_is_noticed() {
        let said = said_of(|state| {
            let token = state.grants.get_min().unwrap().1.token;
            let newest = state.grants.get_max().unwrap().0;
            Arc::make_mut(state.grants.get_mut(&newest).unwrap()).token = token;
        });
        assert!(said.contains("twice"), "{said}");
    }

    #[test]
    fn a_deadline_too_many_is_noticed() {
        let said = said_of(|state| {
            let oldest = state.grants.get_min().unwrap().0;
            state.deadlines.insert((99_999, Due::Grant(oldest)));
        });
        assert!(said.contains("deadlines"), "{said}");
    }
}
