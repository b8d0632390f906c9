//! Deletes a role.

use crate::access::command::DeleteRole;
use crate::access::job::by;
use crate::access::{AccessChanged, BuiltIn, Change, Refusal};
use crate::rejection::invalid;
use crate::step::Step;
use crate::{Actor, Permission, Rejection};

impl DeleteRole {
    pub(super) fn apply(&self, step: &mut Step<'_>, actor: &Actor) -> Result<AccessChanged, Rejection> {
        let state = &mut *step.state;
        state.may(actor, Permission::AccessWrite)?;
        let role = self.name.clone();
        if BuiltIn::find(&role).is_some() {
            return Err(Refusal::BuiltInRole { role }.into());
        }
        if !state.access.roles.contains_key(&role) {
            return Err(Refusal::RoleNotFound { role }.into());
        }
        if let Some(bound) = state.access.bound.get(&role) {
            return Err(invalid("role", format!("is given by {} bindings; end them first", bound.len())));
        }
        state.access.roles.remove(&role);
        state.access.bump();
        step.emit(None, Change::RoleChanged { role, deleted: true, by: by(actor) });
        Ok(AccessChanged)
    }
}
