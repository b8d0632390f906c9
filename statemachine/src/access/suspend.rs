//! Suspends a principal, and ends its suspension.

use crate::access::command::{ResumePrincipal, SuspendPrincipal};
use crate::access::job::by;
use crate::access::put_principal::tell_principal;
use crate::access::table::Table;
use crate::access::{AccessChanged, end_principal};
use crate::step::Step;
use crate::{Actor, Permission, PrincipalId, Rejection};

impl SuspendPrincipal {
    pub(super) fn apply(&self, step: &mut Step<'_>, actor: &Actor) -> Result<AccessChanged, Rejection> {
        let id = step.state.principal_named(actor, Permission::AccessWrite, &self.principal)?;
        step.state.check_keeps_admin(|table| {
            set_suspended(table, id, true);
        })?;
        set(step, id, true, actor);
        if self.end {
            end_principal(step, id);
        }
        Ok(AccessChanged)
    }
}

impl ResumePrincipal {
    pub(super) fn apply(&self, step: &mut Step<'_>, actor: &Actor) -> Result<AccessChanged, Rejection> {
        let id = step.state.principal_named(actor, Permission::AccessWrite, &self.principal)?;
        set(step, id, false, actor);
        Ok(AccessChanged)
    }
}

fn set(step: &mut Step<'_>, id: PrincipalId, suspended: bool, actor: &Actor) {
    if set_suspended(&mut step.state.access, id, suspended) {
        step.state.access.bump();
        tell_principal(step, id, by(actor));
    }
}

/// Sets the flag, and returns whether that changed it.
fn set_suspended(table: &mut Table, id: PrincipalId, suspended: bool) -> bool {
    let Some(entry) = table.principal_mut(id) else { return false };
    std::mem::replace(&mut entry.record.suspended, suspended) != suspended
}
