//! Makes a role, or gives it other rules.

use crate::access::bind::check_anonymous;
use crate::access::command::PutRole;
use crate::access::escalation::{Given, caller_of};
use crate::access::job::by;
use crate::access::{AccessChanged, BuiltIn, Change, Pattern, Refusal, RoleRecord, Rule, Subject};
use crate::rejection::invalid;
use crate::step::Step;
use crate::{Actor, Permission, PermissionSet, Rejection, State};

impl PutRole {
    pub(super) fn apply(&self, step: &mut Step<'_>, actor: &Actor) -> Result<AccessChanged, Rejection> {
        let state = &*step.state;
        state.may(actor, Permission::AccessWrite)?;
        if BuiltIn::find(&self.name).is_some() {
            return Err(Refusal::BuiltInRole { role: self.name.clone() }.into());
        }
        self.check_rules(state)?;
        self.check_bindings(state, actor)?;
        let record = RoleRecord { name: self.name.clone(), rules: self.rules.clone() };
        step.state.access.set_role(record);
        step.state.access.bump();
        step.emit(None, Change::RoleChanged { role: self.name.clone(), deleted: false, by: by(actor) });
        Ok(AccessChanged)
    }

    fn check_rules(&self, state: &State) -> Result<(), Rejection> {
        let limits = &state.limits.access;
        if !state.access.roles.contains_key(&self.name) && state.access.roles.len() as u64 >= limits.roles_max
        {
            return Err(Rejection::LimitExceeded {
                limit: "roles_max".into(),
                max: limits.roles_max,
                remedy: "delete roles that are no longer used, or raise the limit".into(),
            });
        }
        if self.rules.len() as u64 > limits.rules_per_role_max {
            return Err(Rejection::LimitExceeded {
                limit: "rules_per_role_max".into(),
                max: limits.rules_per_role_max,
                remedy: "join rules with the same permissions, make several roles, or raise the limit".into(),
            });
        }
        self.rules.iter().try_for_each(check_rule)
    }

    /// The actor gives the new rules to everybody who has the role already, so it must hold them in each of these bindings.
    fn check_bindings(&self, state: &State, actor: &Actor) -> Result<(), Rejection> {
        let bound = state.access.bound.get(&self.name).into_iter().flatten();
        for binding in bound.filter_map(|id| state.access.bindings.get(id)) {
            let subject = state.access.subject_of(&binding.holder);
            if subject == Subject::Anonymous {
                check_anonymous(&self.rules)?;
            }
            state.check_gives(
                actor,
                &Given {
                    rules: &self.rules,
                    namespaces: &binding.namespaces,
                    names: &binding.names,
                    not_after_ms: binding.not_after_ms,
                    caller: caller_of(&subject),
                },
            )?;
        }
        Ok(())
    }
}

fn check_rule(rule: &Rule) -> Result<(), Rejection> {
    if rule.permissions == PermissionSet::default() {
        return Err(invalid("rules", "has a rule without permissions"));
    }
    if rule.names.is_empty() {
        return Err(invalid("rules", "has a rule without names; write ** for all names"));
    }
    check_patterns("rules", &rule.names)
}

/// Checks the length of a list of patterns.
pub(super) fn check_patterns(field: &'static str, patterns: &[Pattern]) -> Result<(), Rejection> {
    if patterns.len() > Pattern::LIST_MAX {
        let problem =
            format!("has {} names in one list; at most {} are allowed", patterns.len(), Pattern::LIST_MAX);
        return Err(invalid(field, problem));
    }
    Ok(())
}
