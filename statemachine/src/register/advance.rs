//! Advances a register.

use crate::lock::{self, LockKey};
use crate::register::{AdvanceRegister, Change, RegisterAdvanced};
use crate::rejection::invalid;
use crate::step::Step;
use crate::{Namespace, Rejection, State};

impl AdvanceRegister {
    pub(super) fn apply(&self, step: &mut Step<'_>) -> Result<RegisterAdvanced, Rejection> {
        let state = &*step.state;
        state.check_name(&self.name)?;
        if self.token == 0 || self.token > state.token_high_water() {
            let problem = format!(
                "is {}; the cluster has given out tokens 1 to {} only",
                self.token,
                state.token_high_water()
            );
            return Err(invalid("fencing_token", problem));
        }
        let key = LockKey { namespace: step.intern(&self.namespace), name: self.name.clone() };
        match state.register.high_water.get(&key).copied() {
            Some(newest) if newest > self.token => {
                return Err(lock::Refusal::TokenSuperseded { token: self.token, newest }.into());
            }
            Some(newest) if newest == self.token => {
                return Ok(RegisterAdvanced { high_water: newest });
            }
            Some(_) => {}
            None => {
                check_room(state, &self.namespace)?;
                step.account(&key.namespace, |usage| usage.register.registers += 1);
            }
        }
        step.state.register.high_water.insert(key, self.token);
        let changed = Change::RegisterChanged { name: self.name.clone(), high_water: Some(self.token) };
        step.emit(Some(&self.namespace), changed);
        Ok(RegisterAdvanced { high_water: self.token })
    }
}

fn check_room(state: &State, namespace: &Namespace) -> Result<(), Rejection> {
    state.check_room_for_namespace(namespace)?;
    let max = state.limits.register.registers_per_namespace_max;
    if state.namespaces.get(namespace).is_some_and(|usage| usage.register.registers >= max) {
        return Err(Rejection::LimitExceeded {
            limit: "registers_per_namespace_max".into(),
            max,
            remedy: "delete registers, use another namespace, or raise the limit".into(),
        });
    }
    Ok(())
}
