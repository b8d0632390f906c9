//! High-water registers: the newest token a resource has seen, for resources that cannot store one themselves.

use std::ops::Bound;

use crate::check::invalid;
use crate::lock::{AdvanceRegister, DeleteRegister, LockKey};
use crate::transition::Transition;
use crate::{ChangeKind, Name, Namespace, Outcome, Rejection, Reply, State};

impl AdvanceRegister {
    pub(crate) fn apply(&self, transition: &mut Transition<'_>) -> Outcome {
        let state = &*transition.state;
        state.check_name(&self.name)?;
        if self.token == 0 || self.token > state.last_token {
            let problem =
                format!("is {}; the cluster has given out tokens 1 to {} only", self.token, state.last_token);
            return Err(invalid("fencing_token", problem));
        }
        let key = LockKey { namespace: transition.intern(&self.namespace), name: self.name.clone() };
        match state.registers.get(&key).copied() {
            Some(newest) if newest > self.token => {
                return Err(Rejection::TokenSuperseded { token: self.token, newest });
            }
            Some(newest) if newest == self.token => {
                return Ok(Reply::RegisterAdvanced { high_water: newest });
            }
            Some(_) => {}
            None => {
                check_room(state, &self.namespace)?;
                transition.account(&key.namespace, |usage| usage.registers += 1);
            }
        }
        transition.state.registers.insert(key, self.token);
        let changed = ChangeKind::RegisterChanged { name: self.name.clone(), high_water: Some(self.token) };
        transition.emit(Some(&self.namespace), changed);
        Ok(Reply::RegisterAdvanced { high_water: self.token })
    }
}

impl State {
    /// The registers of a namespace whose names start with `prefix`, in name order, after `after`, at most `limit`.
    #[must_use]
    pub fn registers(
        &self,
        namespace: &Namespace,
        prefix: &str,
        after: Option<&Name>,
        limit: usize,
    ) -> Vec<(Name, u64)> {
        let key = |name| LockKey { namespace: namespace.clone(), name };
        let from = match after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(key(after.clone())),
            _ => Bound::Included(key(Name::lower_bound(prefix))),
        };
        self.registers
            .range((from, Bound::Unbounded))
            .take_while(|(key, _)| key.namespace == *namespace && key.name.as_str().starts_with(prefix))
            .take(limit)
            .map(|(key, high_water)| (key.name.clone(), *high_water))
            .collect()
    }
}

fn check_room(state: &State, namespace: &Namespace) -> Result<(), Rejection> {
    state.check_room_for_namespace(namespace)?;
    let max = state.limits.registers_per_namespace_max;
    if state.namespaces.get(namespace).is_some_and(|usage| usage.registers >= max) {
        return Err(Rejection::LimitExceeded {
            limit: "registers_per_namespace_max".into(),
            max,
            remedy: "delete registers, use another namespace, or raise the limit".into(),
        });
    }
    Ok(())
}

impl DeleteRegister {
    pub(crate) fn apply(&self, transition: &mut Transition<'_>) -> Outcome {
        let key = LockKey { namespace: self.namespace.clone(), name: self.name.clone() };
        let high_water = transition
            .state
            .registers
            .remove(&key)
            .ok_or_else(|| Rejection::RegisterNotFound { name: self.name.clone() })?;
        transition.account(&key.namespace, |usage| usage.registers -= 1);
        let changed = ChangeKind::RegisterChanged { name: self.name.clone(), high_water: None };
        transition.emit(Some(&self.namespace), changed);
        Ok(Reply::RegisterDeleted { high_water })
    }
}

impl State {
    /// The register's value, if it exists.
    #[must_use]
    pub fn register(&self, namespace: &Namespace, name: &Name) -> Option<u64> {
        self.registers.get(&LockKey { namespace: namespace.clone(), name: name.clone() }).copied()
    }
}
