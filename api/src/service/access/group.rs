//! Use cases of groups.

use batuta_statemachine::access::{DeleteGroup, PutGroup};
use batuta_statemachine::{Code, Principal, PrincipalName};

use super::{GroupView, ListRequest, read, write};
use crate::ApiError;
use crate::service::operation::Operation;
use crate::service::{At, CallContext, Consistency, Page, Service, parse, size};

/// The operation that makes a group, or replaces its members.
pub const PUT_GROUP: Operation = write(
    "put_group",
    "Makes a group, or replaces its members.",
    &[Code::PrincipalNotFound, Code::EscalationRefused, Code::LastAdmin, Code::LimitExceeded, Code::DiskFull],
);
/// The operation that lists groups.
pub const LIST_GROUPS: Operation = read("list_groups", "Lists groups in order of their names.", &[]);
/// The operation that deletes a group.
pub const DELETE_GROUP: Operation =
    write("delete_group", "Deletes a group with its bindings.", &[Code::GroupNotFound, Code::LastAdmin]);

impl Service {
    /// Makes a group, or replaces its members.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn put_group(
        &self,
        context: &CallContext,
        name: PrincipalName,
        members: Vec<Principal>,
    ) -> Result<At<GroupView>, ApiError> {
        let permit = self.admit(context, &PUT_GROUP, [])?;
        let (answer, _) = permit.propose(PutGroup { name: name.clone(), members }).await?;
        let state = permit.effect(&answer).await?;
        Ok(permit.seen(&state, GroupView::find(&state, &name)?))
    }

    /// Lists groups, in order of their names.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn list_groups(
        &self,
        context: &CallContext,
        request: &ListRequest<PrincipalName>,
    ) -> Result<At<Page<GroupView, PrincipalName>>, ApiError> {
        let permit = self.admit(context, &LIST_GROUPS, [])?;
        let limit = parse::page_limit(request.limit)?;
        let state = permit.read(Consistency::Linearizable).await?;
        let items = GroupView::list(&state, request.after.as_ref(), limit + 1);
        Ok(permit.seen(&state, Page::cut(items, limit, size::group, |group| group.name.clone())))
    }

    /// Deletes a group with its bindings.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn delete_group(&self, context: &CallContext, name: PrincipalName) -> Result<At<()>, ApiError> {
        let permit = self.admit(context, &DELETE_GROUP, [])?;
        let (answer, _) = permit.propose(DeleteGroup { name }).await?;
        Ok(At::of(&answer, ()))
    }
}
