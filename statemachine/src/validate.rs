//! Checks every invariant of the state. Called after each step in tests, and for every installed snapshot.

use std::collections::BTreeMap;

use crate::ensure::ensure;
use crate::job::Job as _;
use crate::jobs::jobs;
use crate::retries::{Answer, Remembered};
use crate::state::NamespaceUsage;
use crate::{LockId, Namespace, State};

/// A check of the state. The error describes the broken invariant.
pub type Check = fn(&State) -> Result<(), String>;

impl State {
    /// The parts of [`Self::validate`]. They are independent, so they may run in parallel.
    pub const CHECKS: [Check; 11] = [
        Self::validate_locks,
        Self::validate_grants,
        Self::validate_deadlines,
        Self::validate_namespaces,
        Self::validate_waits,
        Self::validate_one_shots,
        Self::validate_sessions,
        Self::validate_retries,
        Self::validate_serving,
        Self::validate_registers,
        Self::validate_access,
    ];

    /// Checks that every index agrees with what it indexes and that no rule of locks is broken. O(size of the state).
    ///
    /// # Errors
    /// A description of the broken invariant.
    pub fn validate(&self) -> Result<(), String> {
        Self::CHECKS.iter().try_for_each(|check| check(self))
    }

    fn validate_deadlines(&self) -> Result<(), String> {
        let mut expected = Vec::with_capacity(self.deadlines.len());
        macro_rules! collect {
            ($($Job:ident = $module:ident),*) => {
                $(expected.extend(crate::$module::$Job::deadlines(self));)*
            };
        }
        jobs!(collect);
        expected.sort_unstable();
        ensure!(self.deadlines.iter().eq(expected.iter()), "the deadlines are not those of what there is");
        ensure!(expected.first().is_none_or(|(due_ms, _)| *due_ms > self.now_ms), "something is overdue");
        Ok(())
    }

    fn validate_namespaces(&self) -> Result<(), String> {
        let mut expected: BTreeMap<Namespace, NamespaceUsage> = BTreeMap::new();
        let mut count = |namespace: &Namespace, one: fn(&mut NamespaceUsage)| {
            one(expected.entry(namespace.clone()).or_default());
        };
        macro_rules! count {
            ($($Job:ident = $module:ident),*) => {
                $(crate::$module::$Job::count(self, &mut count);)*
            };
        }
        jobs!(count);
        ensure!(self.namespaces.iter().eq(expected.iter()), "the namespaces' usage is counted wrong");
        Ok(())
    }

    fn validate_retries(&self) -> Result<(), String> {
        let retries = &self.retries;
        retries.validate(&self.limits.retries)?;
        let mut references: BTreeMap<LockId, u64> = BTreeMap::new();
        let keyed = retries.all_keyed().map(|(_, keyed)| &keyed.remembered);
        let sequenced = self.session.windows().flat_map(|(_, window)| window.answers.values());
        for Remembered { answer, .. } in keyed.chain(sequenced) {
            if let Answer::Acquisition(lock_id) = answer {
                *references.entry(*lock_id).or_default() += 1;
            }
        }
        let tracked = retries.tracked.iter().map(|(lock_id, tracked)| (lock_id, &tracked.references));
        ensure!(tracked.eq(references.iter()), "references to acquisitions are counted wrong");
        for (lock_id, tracked) in &retries.tracked {
            let lives = self.lock.lives(*lock_id);
            ensure!(lives == tracked.ended.is_none(), "{lock_id}: its end is remembered wrong");
        }
        Ok(())
    }
}
