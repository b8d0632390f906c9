//! Deletes a register.

use crate::Rejection;
use crate::lock::LockKey;
use crate::register::{Change, DeleteRegister, Refusal, RegisterDeleted};
use crate::step::Step;

impl DeleteRegister {
    pub(super) fn apply(&self, step: &mut Step<'_>) -> Result<RegisterDeleted, Rejection> {
        let key = LockKey { namespace: self.namespace.clone(), name: self.name.clone() };
        let high_water = step
            .state
            .register
            .high_water
            .remove(&key)
            .ok_or_else(|| Refusal::RegisterNotFound { name: self.name.clone() })?;
        step.account(&key.namespace, |usage| usage.register.registers -= 1);
        let changed = Change::RegisterChanged { name: self.name.clone(), high_water: None };
        step.emit(Some(&self.namespace), changed);
        Ok(RegisterDeleted { high_water })
    }
}
