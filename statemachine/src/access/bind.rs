//! Gives a subject a role.

use crate::access::binding::add_binding;
use crate::access::command::Bind;
use crate::access::escalation::{Given, caller_of};
use crate::access::job::by;
use crate::access::put_principal::check_text;
use crate::access::put_role::check_patterns;
use crate::access::role::may_be_anonymous;
use crate::access::table::Holder;
use crate::access::{BindingId, BindingRecord, Bound, Namespaces, Refusal, Rule, Subject};
use crate::rejection::invalid;
use crate::step::Step;
use crate::{Actor, Permission, Position, Rejection, State};

impl Bind {
    pub(super) fn apply(
        &self,
        step: &mut Step<'_>,
        position: Position,
        actor: &Actor,
    ) -> Result<Bound, Rejection> {
        let state = &*step.state;
        state.may(actor, Permission::AccessWrite)?;
        let holder = state.holder_of(&self.subject)?;
        let role = state.access.role(&self.role).cloned();
        let role = role.ok_or_else(|| Refusal::RoleNotFound { role: self.role.clone() })?;
        self.check(state, &holder)?;
        let rules = &role.record.rules;
        if self.subject == Subject::Anonymous {
            check_anonymous(rules)?;
        }
        state.check_gives(
            actor,
            &Given {
                rules,
                namespaces: &self.namespaces,
                names: &self.names,
                not_after_ms: self.not_after_ms,
                caller: caller_of(&self.subject),
            },
        )?;
        let binding = BindingId(position);
        let record = BindingRecord {
            id: binding,
            holder,
            role: self.role.clone(),
            namespaces: self.namespaces.clone(),
            names: self.names.clone(),
            not_before_ms: self.not_before_ms,
            not_after_ms: self.not_after_ms,
            deadline_ms: self.not_after_ms.map(|not_after_ms| state.deadline_of(not_after_ms)),
            on_end: self.on_end,
            reason: self.reason.clone(),
            made_by: by(actor),
        };
        add_binding(step, record, by(actor));
        Ok(Bound { binding })
    }

    fn check(&self, state: &State, holder: &Holder) -> Result<(), Rejection> {
        check_text("reason", &self.reason)?;
        check_patterns("names", &self.names)?;
        check_namespaces(&self.namespaces)?;
        check_not_after(state, self.not_after_ms)?;
        if let (Some(from), Some(to)) = (self.not_before_ms, self.not_after_ms)
            && from >= to
        {
            return Err(invalid("not_before", "must be before not_after"));
        }
        let limits = &state.limits.access;
        if state.access.bindings.len() as u64 >= limits.bindings_max {
            return Err(Rejection::LimitExceeded {
                limit: "bindings_max".into(),
                max: limits.bindings_max,
                remedy: "bind groups instead of principals, or raise the limit".into(),
            });
        }
        if state.access.held(holder).len() as u64 >= limits.bindings_per_subject_max {
            return Err(Rejection::LimitExceeded {
                limit: "bindings_per_subject_max".into(),
                max: limits.bindings_per_subject_max,
                remedy: "list several namespaces in one binding, join roles, or raise the limit".into(),
            });
        }
        Ok(())
    }
}

/// Checks that callers without a credential would only read.
pub(super) fn check_anonymous(rules: &[Rule]) -> Result<(), Rejection> {
    let mut given = rules.iter().flat_map(|rule| rule.permissions.iter());
    match given.find(|permission| !may_be_anonymous(*permission)) {
        Some(permission) => Err(invalid(
            "role",
            format!(
                "gives {permission}; anonymous may only read, list and watch locks, elections, sessions and registers"
            ),
        )),
        None => Ok(()),
    }
}

pub(super) fn check_namespaces(namespaces: &Namespaces) -> Result<(), Rejection> {
    let Namespaces::Listed(listed) = namespaces else { return Ok(()) };
    if listed.is_empty() || listed.len() > Namespaces::LIST_MAX {
        let problem = format!("lists {}; 1 to {} are allowed, or all", listed.len(), Namespaces::LIST_MAX);
        return Err(invalid("namespaces", problem));
    }
    Ok(())
}

/// Checks that an end is still to come.
pub(super) fn check_not_after(state: &State, not_after_ms: Option<u64>) -> Result<(), Rejection> {
    if not_after_ms.is_some_and(|not_after_ms| not_after_ms <= state.wall_ms) {
        return Err(invalid("not_after", "is in the past"));
    }
    Ok(())
}
