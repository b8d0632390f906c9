//! Makes a principal, or changes its description.

use crate::access::command::PutPrincipal;
use crate::access::job::by;
use crate::access::{Change, PrincipalPut, PrincipalRecord};
use crate::rejection::invalid;
use crate::step::Step;
use crate::{Actor, Permission, Position, Principal, PrincipalId, Rejection, State};

impl PutPrincipal {
    pub(super) fn apply(
        &self,
        step: &mut Step<'_>,
        position: Position,
        actor: &Actor,
    ) -> Result<PrincipalPut, Rejection> {
        let state = &mut *step.state;
        state.may(actor, Permission::AccessWrite)?;
        if self.principal == Principal::Anonymous {
            return Err(invalid("principal", "must be user/NAME or service/NAME; anonymous always exists"));
        }
        check_text("description", &self.description)?;
        if let Some(id) = state.access.ids.get(&self.principal).copied() {
            if let Some(entry) = state.access.principal_mut(id) {
                entry.record.description.clone_from(&self.description);
            }
            tell_principal(step, id, by(actor));
            return Ok(PrincipalPut { id, created: false });
        }
        let max = state.limits.access.principals_max;
        if state.access.principals.len() as u64 >= max {
            return Err(Rejection::LimitExceeded {
                limit: "principals_max".into(),
                max,
                remedy: "delete principals that are no longer used, or raise the limit".into(),
            });
        }
        let (principal, description) = (self.principal.clone(), self.description.clone());
        let id = add_principal(step, position, principal, description, by(actor));
        Ok(PrincipalPut { id, created: true })
    }
}

/// The longest text for people, in bytes.
const TEXT_BYTES_MAX: u64 = 1_024;

/// Checks a text for people.
pub(super) fn check_text(field: &'static str, text: &str) -> Result<(), Rejection> {
    crate::check::text_within(field, text, TEXT_BYTES_MAX)
}

pub(super) fn add_principal(
    step: &mut Step<'_>,
    position: Position,
    principal: Principal,
    description: String,
    by: Option<PrincipalId>,
) -> PrincipalId {
    let id = PrincipalId(position);
    let created_wall_ms = step.state.wall_ms;
    let (suspended, password) = (false, None);
    let record = PrincipalRecord { id, principal, description, suspended, password, created_wall_ms };
    step.state.access.insert_principal(record);
    tell_principal(step, id, by);
    id
}

/// Tells watchers of a principal as it is now.
pub(super) fn tell_principal(step: &mut Step<'_>, id: PrincipalId, by: Option<PrincipalId>) {
    let Some(entry) = step.state.access.principal(id) else { return };
    let (principal, suspended) = (entry.record.principal.clone(), entry.record.suspended);
    step.emit(None, Change::PrincipalChanged { id, principal, suspended, by });
}

impl State {
    /// Finds the principal that a command names. Whoever lacks the permission is not told whether it exists.
    pub(super) fn principal_named(
        &self,
        actor: &Actor,
        permission: Permission,
        principal: &Principal,
    ) -> Result<PrincipalId, Rejection> {
        self.may(actor, permission)?;
        Ok(self.find_principal(principal)?)
    }
}
