//! Ends a binding.

use crate::access::binding::end_binding;
use crate::access::command::Unbind;
use crate::access::job::by;
use crate::access::{AccessChanged, End, Refusal};
use crate::step::Step;
use crate::{Actor, Permission, Rejection};

impl Unbind {
    pub(super) fn apply(&self, step: &mut Step<'_>, actor: &Actor) -> Result<AccessChanged, Rejection> {
        let state = &*step.state;
        state.may(actor, Permission::AccessWrite)?;
        let binding = self.binding;
        if !state.access.bindings.contains_key(&binding) {
            return Err(Refusal::BindingNotFound { binding }.into());
        }
        state.check_keeps_admin(|table| {
            table.remove_binding(binding);
        })?;
        end_binding(step, binding, End::Revoked, by(actor));
        Ok(AccessChanged)
    }
}
