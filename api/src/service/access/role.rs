//! Use cases of roles.

use batuta_statemachine::access::{DeleteRole, PutRole, RoleRecord, Rule};
use batuta_statemachine::{Code, PrincipalName, State};

use super::view::is_built_in;
use super::{ListRequest, RoleView, read, write};
use crate::ApiError;
use crate::service::operation::Operation;
use crate::service::{At, CallContext, Consistency, Page, Service, parse, size};

/// The operation that makes a role, or replaces its rules.
pub const PUT_ROLE: Operation = write(
    "put_role",
    "Makes a role, or replaces its rules.",
    &[Code::BuiltInRole, Code::EscalationRefused, Code::LimitExceeded, Code::DiskFull],
);
/// The operation that lists roles.
pub const LIST_ROLES: Operation =
    read("list_roles", "Lists roles: the built-in ones, then the others in order of their names.", &[]);
/// The operation that deletes a role.
pub const DELETE_ROLE: Operation =
    write("delete_role", "Deletes a role that no binding has.", &[Code::RoleNotFound, Code::BuiltInRole]);

impl Service {
    /// Makes a role, or replaces its rules.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn put_role(
        &self,
        context: &CallContext,
        name: PrincipalName,
        rules: Vec<Rule>,
    ) -> Result<At<RoleView>, ApiError> {
        let permit = self.admit(context, &PUT_ROLE, [])?;
        let (answer, _) = permit.propose(PutRole { name: name.clone(), rules }).await?;
        let state = permit.effect(&answer).await?;
        Ok(permit.seen(&state, RoleView::find(&state, &name)?))
    }

    /// Lists roles: the built-in ones, then the others in order of their names.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn list_roles(
        &self,
        context: &CallContext,
        request: &ListRequest<PrincipalName>,
    ) -> Result<At<Page<RoleView, PrincipalName>>, ApiError> {
        let permit = self.admit(context, &LIST_ROLES, [])?;
        let limit = parse::page_limit(request.limit)?;
        let state = permit.read(Consistency::Linearizable).await?;
        let roles = roles_after(&state, request.after.as_ref());
        let items: Vec<RoleView> = roles.take(limit + 1).map(RoleView::of).collect();
        Ok(permit.seen(&state, Page::cut(items, limit, size::role, |role| role.record.name.clone())))
    }

    /// Deletes a role that no binding has.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn delete_role(&self, context: &CallContext, name: PrincipalName) -> Result<At<()>, ApiError> {
        let permit = self.admit(context, &DELETE_ROLE, [])?;
        let (answer, _) = permit.propose(DeleteRole { name }).await?;
        Ok(At::of(&answer, ()))
    }
}

/// The roles after one of this name, which may have been deleted since.
fn roles_after<'a>(
    state: &'a State,
    after: Option<&'a PrincipalName>,
) -> impl Iterator<Item = &'a RoleRecord> {
    let place = |name: &'a PrincipalName| (!is_built_in(name), name);
    state.roles().filter(move |role| after.is_none_or(|after| place(&role.name) > place(after)))
}

#[cfg(test)]
mod tests {
    use batuta_statemachine::{Entry, PermissionSet, Request, Stamp};

    use super::*;

    fn word(text: &str) -> PrincipalName {
        PrincipalName::new(text).unwrap()
    }

    fn put(state: &mut State, name: &str) {
        let rules = vec![Rule::everywhere(PermissionSet::parse("lock:read").unwrap())];
        let request = Request::new(None, PutRole { name: word(name), rules });
        let stamp = Stamp { now_ms: 1, wall_ms: 1 };
        let applied = state.apply(state.revision() + 1, &Entry { stamp, requests: vec![request] });
        assert!(applied.outcomes.iter().all(Result::is_ok), "{:?}", applied.outcomes);
    }

    fn names(state: &State, after: Option<&str>) -> Vec<String> {
        let after = after.map(word);
        roles_after(state, after.as_ref()).map(|role| role.name.to_string()).collect()
    }

    #[test]
    fn pages_of_roles_follow_each_other() {
        let mut state = State::default();
        // `aa` comes before every built-in role by its name alone.
        put(&mut state, "zz");
        put(&mut state, "aa");
        let all = names(&state, None);
        assert_eq!(all, ["admin", "editor", "operator", "viewer", "aa", "zz"]);
        for (place, name) in all.iter().enumerate() {
            assert_eq!(names(&state, Some(name)), all[place + 1..], "{name}");
        }
        assert_eq!(names(&state, Some("bb")), ["zz"], "a role that was deleted since");
    }
}
