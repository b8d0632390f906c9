//! Use cases of bindings: who has which role.

use batuta_statemachine::Code;
use batuta_statemachine::access::{Bind, BindingId, ExtendBinding, OnEnd, Subject, Unbind};

use super::{BindRequest, BindingView, ListRequest, read, write};
use crate::ApiError;
use crate::service::operation::Operation;
use crate::service::{At, CallContext, Consistency, Page, Service, parse, size};

/// The operation that gives a role.
pub const BIND: Operation = write(
    "bind",
    "Gives a role to a subject.",
    &[
        Code::PrincipalNotFound,
        Code::GroupNotFound,
        Code::RoleNotFound,
        Code::EscalationRefused,
        Code::LimitExceeded,
        Code::DiskFull,
    ],
);
/// The operation that moves the end of a binding.
pub const EXTEND_BINDING: Operation = write(
    "extend_binding",
    "Changes when a binding ends.",
    &[Code::BindingNotFound, Code::EscalationRefused, Code::LastAdmin],
);
/// The operation that lists bindings.
pub const LIST_BINDINGS: Operation = read("list_bindings", "Lists bindings, oldest first.", &[]);
/// The operation that takes a binding away.
pub const UNBIND: Operation =
    write("unbind", "Takes a binding away.", &[Code::BindingNotFound, Code::LastAdmin]);

impl Service {
    /// Gives a role to a subject.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn bind(
        &self,
        context: &CallContext,
        request: BindRequest,
    ) -> Result<At<BindingView>, ApiError> {
        let permit = self.admit(context, &BIND, [])?;
        let wall_ms = permit.clock(&permit.view()).wall_ms;
        let (answer, bound) = permit.propose(command(request, wall_ms)?).await?;
        let state = permit.effect(&answer).await?;
        Ok(permit.seen(&state, BindingView::find(&state, bound.binding)?))
    }

    /// Changes when a binding ends: so many milliseconds from now, or never.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn extend_binding(
        &self,
        context: &CallContext,
        binding: BindingId,
        ttl_ms: Option<u64>,
        reason: String,
    ) -> Result<At<BindingView>, ApiError> {
        let permit = self.admit(context, &EXTEND_BINDING, [])?;
        let wall_ms = permit.clock(&permit.view()).wall_ms;
        let not_after_ms = end(wall_ms, ttl_ms)?;
        let (answer, _) = permit.propose(ExtendBinding { binding, not_after_ms, reason }).await?;
        let state = permit.effect(&answer).await?;
        Ok(permit.seen(&state, BindingView::find(&state, binding)?))
    }

    /// Lists bindings, oldest first; with a subject only its own, without those of its groups.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn list_bindings(
        &self,
        context: &CallContext,
        subject: Option<&Subject>,
        request: &ListRequest<BindingId>,
    ) -> Result<At<Page<BindingView, BindingId>>, ApiError> {
        let permit = self.admit(context, &LIST_BINDINGS, [])?;
        let limit = parse::page_limit(request.limit)?;
        let state = permit.read(Consistency::Linearizable).await?;
        let records = match subject {
            Some(subject) => state.bindings_of_subject(subject, request.after, limit + 1),
            None => state.bindings(request.after, limit + 1),
        };
        let items: Vec<BindingView> =
            records.into_iter().map(|record| BindingView::of(&state, record)).collect();
        Ok(permit.seen(&state, Page::cut(items, limit, size::binding, |binding| binding.record.id)))
    }

    /// Takes a binding away.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn unbind(&self, context: &CallContext, binding: BindingId) -> Result<At<()>, ApiError> {
        let permit = self.admit(context, &UNBIND, [])?;
        let (answer, _) = permit.propose(Unbind { binding }).await?;
        Ok(At::of(&answer, ()))
    }
}

fn command(request: BindRequest, wall_ms: u64) -> Result<Bind, ApiError> {
    let BindRequest { subject, role, namespaces, names, not_before_ms, ttl_ms, end_sessions, reason } =
        request;
    let not_after_ms = end(not_before_ms.unwrap_or(wall_ms), ttl_ms)?;
    let on_end = if end_sessions { OnEnd::EndSessions } else { OnEnd::Keep };
    Ok(Bind { subject, role, namespaces, names, not_before_ms, not_after_ms, on_end, reason })
}

/// The wall clock at which something ends that lasts so long from an instant on; `None` = it has no end.
fn end(from_ms: u64, ttl_ms: Option<u64>) -> Result<Option<u64>, ApiError> {
    match ttl_ms {
        Some(0) => Err(ApiError::invalid("ttl_ms", "must be at least 1; leave it out for no end")),
        ttl_ms => Ok(ttl_ms.map(|ttl_ms| from_ms.saturating_add(ttl_ms))),
    }
}

#[cfg(test)]
mod tests {
    use batuta_statemachine::PrincipalName;
    use batuta_statemachine::access::Namespaces;

    use super::*;

    fn request(not_before_ms: Option<u64>, ttl_ms: Option<u64>) -> BindRequest {
        BindRequest {
            subject: Subject::Anonymous,
            role: PrincipalName::new("readers").unwrap(),
            namespaces: Namespaces::All,
            names: Vec::new(),
            not_before_ms,
            ttl_ms,
            end_sessions: true,
            reason: "r".to_owned(),
        }
    }

    #[test]
    fn time_counts_from_the_beginning_of_the_binding() {
        for (not_before_ms, ttl_ms, not_after_ms) in [
            (None, None, None),
            (None, Some(5), Some(1_005)),
            (Some(3_000), Some(5), Some(3_005)),
            (Some(3_000), None, None),
            (None, Some(u64::MAX), Some(u64::MAX)),
        ] {
            let command = command(request(not_before_ms, ttl_ms), 1_000).unwrap();
            assert_eq!((command.not_before_ms, command.not_after_ms), (not_before_ms, not_after_ms));
            assert_eq!(command.on_end, OnEnd::EndSessions);
        }
        let refused = command(request(None, Some(0)), 1_000).unwrap_err();
        assert_eq!(refused.field(), Some("ttl_ms"));
    }
}
