//! Moves the end of a binding, later or earlier.

use std::sync::Arc;

use crate::access::bind::check_not_after;
use crate::access::binding::insert_binding;
use crate::access::command::ExtendBinding;
use crate::access::escalation::{Given, caller_of};
use crate::access::job::by;
use crate::access::put_principal::check_text;
use crate::access::{AccessChanged, BindingRecord, Change, Refusal};
use crate::due::Due;
use crate::rejection::invalid;
use crate::step::Step;
use crate::{Actor, Permission, Rejection, State};

impl ExtendBinding {
    pub(super) fn apply(&self, step: &mut Step<'_>, actor: &Actor) -> Result<AccessChanged, Rejection> {
        let state = &*step.state;
        state.may(actor, Permission::AccessWrite)?;
        let old = state.access.bindings.get(&self.binding).cloned();
        let old = old.ok_or(Refusal::BindingNotFound { binding: self.binding })?;
        check_text("reason", &self.reason)?;
        check_not_after(state, self.not_after_ms)?;
        if let (Some(from), Some(to)) = (old.not_before_ms, self.not_after_ms)
            && from >= to
        {
            return Err(invalid("not_after", "must be after not_before"));
        }
        self.check_gives(state, actor, &old)?;
        let new = BindingRecord {
            not_after_ms: self.not_after_ms,
            deadline_ms: self.not_after_ms.map(|not_after_ms| state.deadline_of(not_after_ms)),
            reason: self.reason.clone(),
            ..old.as_ref().clone()
        };
        state.check_keeps_admin(|table| table.insert_binding(Arc::new(new.clone())))?;
        if let Some(deadline_ms) = old.deadline_ms {
            step.state.deadlines.remove(&(deadline_ms, Due::Binding(self.binding)));
        }
        insert_binding(step, new);
        step.state.access.bump();
        let subject = step.state.access.subject_of(&old.holder);
        let (binding, role) = (self.binding, old.role.clone());
        step.emit(None, Change::BindingAdded { binding, subject, role, by: by(actor) });
        Ok(AccessChanged)
    }

    fn check_gives(&self, state: &State, actor: &Actor, old: &BindingRecord) -> Result<(), Rejection> {
        let Some(role) = state.access.role(&old.role) else { return Ok(()) };
        let subject = state.access.subject_of(&old.holder);
        state.check_gives(
            actor,
            &Given {
                rules: &role.record.rules,
                namespaces: &old.namespaces,
                names: &old.names,
                not_after_ms: self.not_after_ms,
                caller: caller_of(&subject),
            },
        )
    }
}
