//! Use cases of whoever runs the cluster: the mode, the report of mode `observe`, the audit.

use batuta_statemachine::State;
use batuta_statemachine::access::{Mode, SetMode};
use batuta_statemachine::{Code, Permission};

use super::{AccessView, AuditPage, ReportView, read};
use crate::ApiError;
use crate::access::audit::Cursor;
use crate::access::report::Missing;
use crate::service::operation::{Area, Needs, Operation};
use crate::service::{At, CallContext, Consistency, Service, parse, size};

/// The operation that reads the mode.
pub const GET_ACCESS: Operation = read("get_access", "Reads the mode of access and how much there is.", &[]);
/// The operation that sets the mode.
pub const SET_ACCESS_MODE: Operation = Operation::write(
    "set_access_mode",
    "Sets the mode of access.",
    Area::Access,
    Needs::Permission(Permission::AccessMode),
    &[Code::LastAdmin],
);
/// The operation that reads the report of the answering node.
pub const GET_ACCESS_REPORT: Operation =
    read("get_access_report", "Tells which calls the answering node would have denied in mode observe.", &[]);
/// The operation that reads the audit of the answering node.
pub const READ_AUDIT: Operation = Operation::read(
    "read_audit",
    "Reads the audit of the answering node, oldest lines first.",
    Area::Access,
    Permission::AccessAudit,
    &[Code::AuditUnavailable],
);

/// The most that the lines of a report weigh, in bytes. It has no pages, so it may be larger than other answers.
const REPORT_BYTES: usize = 2 << 20;
/// What is wrong when a node keeps no audit.
const NO_AUDIT: &str = "this node keeps no audit; ask another node, or turn the audit of this node on";
/// What is wrong when an audit cannot be read back.
const UNREADABLE: &str = "the audit of this node cannot be read; the log of the node says why";

impl Service {
    /// Reads the mode of access, and how much there is.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn get_access(&self, context: &CallContext) -> Result<At<AccessView>, ApiError> {
        let permit = self.admit(context, &GET_ACCESS, [])?;
        let state = permit.read(Consistency::Linearizable).await?;
        Ok(permit.seen(&state, AccessView::of(&state)))
    }

    /// Sets the mode of access.
    ///
    /// # Errors
    /// `last_admin` when access would be enforced without an administrator; otherwise see `docs/errors.md`.
    pub async fn set_access_mode(
        &self,
        context: &CallContext,
        mode: Mode,
    ) -> Result<At<AccessView>, ApiError> {
        let permit = self.admit(context, &SET_ACCESS_MODE, [])?;
        let (answer, _) = permit.propose(SetMode { mode }).await?;
        let state = permit.effect(&answer).await?;
        Ok(permit.seen(&state, AccessView::of(&state)))
    }

    /// Tells which calls this node would have denied, and begins a new report when `clear` is set.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn access_report(
        &self,
        context: &CallContext,
        clear: bool,
    ) -> Result<At<ReportView>, ApiError> {
        let permit = self.admit(context, &GET_ACCESS_REPORT, [])?;
        let state = permit.look().await?;
        let report = &self.inner.policy.report;
        let (missing, others) = if clear { report.take() } else { report.lines() };
        Ok(permit.seen(&state, bounded(missing, others)))
    }

    /// Reads the audit of this node, oldest lines first. `cursor` is `next` of the page before; empty = from the oldest line that is kept.
    ///
    /// # Errors
    /// `invalid_argument` for a wrong cursor, `audit_unavailable` when this node keeps no audit or cannot read it; otherwise see `docs/errors.md`.
    pub async fn read_audit(
        &self,
        context: &CallContext,
        cursor: &str,
        limit: Option<u32>,
    ) -> Result<At<AuditPage>, ApiError> {
        let permit = self.admit(context, &READ_AUDIT, [])?;
        let limit = parse::page_limit(limit)?;
        let after = audit_cursor(cursor)?;
        let state = permit.look().await?;
        let audit = self.inner.options.audit.clone();
        let audit = audit.ok_or(ApiError::AuditUnavailable { problem: NO_AUDIT })?;
        let page = tokio::task::spawn_blocking(move || audit.page(after, limit)).await;
        let page = page.map_err(|error| ApiError::Internal(error.to_string()))?.map_err(|error| {
            tracing::error!(%error, "the audit cannot be read");
            ApiError::AuditUnavailable { problem: UNREADABLE }
        })?;
        let next = page.next.map(|next| next.to_string()).unwrap_or_default();
        Ok(permit.seen(&state, AuditPage { lines: page.lines, next, end: page.is_end }))
    }
}

impl AccessView {
    fn of(state: &State) -> Self {
        let counts = state.access_counts();
        Self {
            mode: state.access_mode(),
            access_revision: state.access_revision(),
            principals: counts.principals,
            groups: counts.groups,
            roles: counts.roles,
            bindings: counts.bindings,
            credentials: counts.tokens,
        }
    }
}

/// The lines that fit into one answer. The calls of the others are counted together.
fn bounded(mut missing: Vec<(Missing, u64)>, mut other_calls: u64) -> ReportView {
    let calls = |lines: &[(Missing, u64)]| lines.iter().map(|(_, calls)| calls).sum::<u64>();
    let all = calls(&missing);
    let max = missing.len();
    if size::keep(&mut missing, max, REPORT_BYTES, |(missing, _)| size::missing(missing)) {
        other_calls += all - calls(&missing);
    }
    ReportView { missing, other_calls }
}

fn audit_cursor(text: &str) -> Result<Option<Cursor>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        ApiError::invalid("cursor", "must be the next_cursor of the page before, unchanged, or be left out")
    })
}

#[cfg(test)]
mod tests {
    use batuta_statemachine::Namespace;

    use super::*;

    #[test]
    fn report_fits_into_one_answer() {
        let line = |number: usize| {
            let names = Some(format!("{number:0500}/**"));
            let (permission, namespace) = (Permission::LockRead, Namespace::default());
            (Missing { principal: "user/ann".to_owned(), permission, namespace, names }, 2)
        };
        let few: Vec<(Missing, u64)> = (0..10).map(line).collect();
        let whole = bounded(few.clone(), 3);
        assert_eq!((whole.missing, whole.other_calls), (few, 3));
        let cut = bounded((0..10_000).map(line).collect(), 3);
        let kept = cut.missing.len();
        assert!((1_000..5_000).contains(&kept), "{kept}");
        assert_eq!(cut.other_calls, 3 + 2 * (10_000 - kept as u64));
    }

    #[test]
    fn audit_is_read_on_from_a_cursor() {
        assert_eq!(audit_cursor("").unwrap(), None);
        let cursor = Cursor { file: 3, lines: 120 };
        assert_eq!(audit_cursor(&cursor.to_string()).unwrap(), Some(cursor));
        for text in ["3", "3:", ":1", "a:1", "3:-1"] {
            assert_eq!(audit_cursor(text).unwrap_err().field(), Some("cursor"), "{text}");
        }
    }
}
