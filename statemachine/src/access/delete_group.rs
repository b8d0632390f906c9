//! Deletes a group with its bindings.

use crate::access::binding::end_binding;
use crate::access::command::DeleteGroup;
use crate::access::delete_principal::bindings_of;
use crate::access::job::by;
use crate::access::table::Holder;
use crate::access::{AccessChanged, Change, End, Refusal};
use crate::step::Step;
use crate::{Actor, Permission, Rejection};

impl DeleteGroup {
    pub(super) fn apply(&self, step: &mut Step<'_>, actor: &Actor) -> Result<AccessChanged, Rejection> {
        let state = &*step.state;
        state.may(actor, Permission::AccessWrite)?;
        if !state.access.groups.contains_key(&self.name) {
            return Err(Refusal::GroupNotFound { group: self.name.clone() }.into());
        }
        state.check_keeps_admin(|table| table.remove_group(&self.name))?;
        for binding in bindings_of(&state.access, &Holder::Group(self.name.clone())) {
            end_binding(step, binding, End::SubjectDeleted, by(actor));
        }
        step.state.access.remove_group(&self.name);
        step.state.access.bump();
        step.emit(None, Change::GroupChanged { group: self.name.clone(), deleted: true, by: by(actor) });
        Ok(AccessChanged)
    }
}
