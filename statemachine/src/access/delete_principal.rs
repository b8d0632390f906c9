//! Deletes a principal with all it has.

use crate::access::binding::end_binding;
use crate::access::command::DeletePrincipal;
use crate::access::job::by;
use crate::access::table::{Holder, Table};
use crate::access::token::end_token;
use crate::access::{AccessChanged, BindingId, Change, End, end_principal};
use crate::step::Step;
use crate::{Actor, Permission, PrincipalId, Rejection};

impl DeletePrincipal {
    pub(super) fn apply(&self, step: &mut Step<'_>, actor: &Actor) -> Result<AccessChanged, Rejection> {
        let state = &*step.state;
        let id = state.principal_named(actor, Permission::AccessWrite, &self.principal)?;
        state.check_keeps_admin(|table| table.remove_principal(id))?;
        let bindings = bindings_of(&state.access, &Holder::Principal(id));
        let tokens = state.access.principal(id).map(|entry| entry.tokens.clone()).unwrap_or_default();
        for binding in bindings {
            end_binding(step, binding, End::SubjectDeleted, by(actor));
        }
        for token in tokens {
            end_token(step, token, End::SubjectDeleted, by(actor));
        }
        remove(step, id, actor);
        if self.end {
            end_principal(step, id);
        }
        Ok(AccessChanged)
    }
}

fn remove(step: &mut Step<'_>, id: PrincipalId, actor: &Actor) {
    let principal = step.state.access.principal_of(id);
    step.state.access.remove_principal(id);
    step.state.access.bump();
    step.emit(None, Change::PrincipalDeleted { id, principal, by: by(actor) });
}

/// The ids of the bindings of a holder.
pub(super) fn bindings_of(table: &Table, holder: &Holder) -> Vec<BindingId> {
    table.held(holder).iter().map(|held| held.binding.id).collect()
}
