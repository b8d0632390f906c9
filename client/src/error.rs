//! Errors of a call.

use std::collections::BTreeMap;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::transport;

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct Error {
    /// Stable code, see docs/errors.md; `unavailable`, `timeout` and `not_batuta` are the client's own codes.
    pub code: String,
    /// Text for people.
    pub message: String,
    /// Whether the same request may safely be sent again and may then succeed: the same as `retryable` of
    /// REST.
    pub retryable: bool,
    /// The request field at fault, if there is one.
    pub field: Option<String>,
    /// Facts added by the server, by name. [`batuta_proto::facts`] says which of them are JSON.
    pub details: BTreeMap<String, String>,
}

impl Error {
    pub(crate) fn new(code: &str, message: impl Into<String>, retryable: bool) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            retryable,
            field: None,
            details: BTreeMap::new(),
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new("invalid_argument", message, false)
    }

    /// Adds the refusal that led to this error, if there was one.
    pub(crate) fn because(mut self, refused: Option<Self>) -> Self {
        if let Some(refused) = refused {
            self.message = format!("{}: {refused}", self.message);
            self.details = refused.details;
        }
        self
    }

    /// Decodes a gRPC status from the node at `url`, if the node is known. A status without `ErrorInfo` was
    /// not written by Batuta but by the transport; its message then names the address and the cause.
    pub(crate) fn from_status(status: &Status, url: Option<&str>) -> Self {
        if let Some(info) = status.get_details_error_info() {
            let violations =
                status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
            return Self {
                // Only a passing failure says when to ask again.
                retryable: status.get_details_retry_info().is_some(),
                code: info.reason,
                message: status.message().to_owned(),
                field: violations.into_iter().next().map(|violation| violation.field),
                details: info.metadata.into_iter().collect(),
            };
        }
        let cause = transport::cause(status);
        let at = |problem: &str| match url {
            Some(url) => format!("{url}: {problem}"),
            None => problem.to_owned(),
        };
        if transport::is_another_protocol(status, &cause) {
            let problem = format!(
                "this is not a gRPC port of Batuta, or its version does not know this call ({cause})"
            );
            return Self::new("not_batuta", at(&problem), false);
        }
        match status.code() {
            // Internal: a connection that ended in the middle of a call. Batuta's own failures carry
            // `ErrorInfo`.
            Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Aborted | Code::Internal => {
                Self::new("unavailable", at(&cause), true)
            }
            Code::DeadlineExceeded => Self::new("timeout", at(&cause), true),
            Code::InvalidArgument => Self::invalid(cause),
            _ => Self::new("internal", at(&cause), false),
        }
    }

    /// Whether the next attempt of the same call, perhaps at another node, may succeed. `lock_held`,
    /// `lock_delayed` and `limit_exceeded` are answers: only another client can change them.
    pub(crate) fn is_passing(&self) -> bool {
        match self.code.as_str() {
            // Every attempt of a call has the same key, and a call without a key may be repeated freely.
            "outcome_unknown" | "not_batuta" => true,
            "no_leader" | "node_lost" | "node_removed" | "overloaded" | "shutting_down" | "draining"
            | "disk_full" | "auth_busy" | "audit_unavailable" | "unavailable" | "timeout" => self.retryable,
            _ => false,
        }
    }

    /// Whether the token of the call is not valid, or is not valid any more. Another token may be.
    #[must_use]
    pub fn is_token_refused(&self) -> bool {
        matches!(self.code.as_str(), "invalid_token" | "token_expired" | "token_revoked")
    }

    /// Whether the call was refused for who its caller is. Such a refusal comes before the node looks at the
    /// retry key, so it does not tell whether an earlier attempt took effect.
    #[must_use]
    pub fn is_access_refused(&self) -> bool {
        self.is_token_refused()
            || matches!(
                self.code.as_str(),
                "unauthenticated" | "permission_denied" | "principal_suspended" | "host_not_allowed"
            )
    }

    /// Whether the node did not answer: it may be dead, paused or cut off.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(self.code.as_str(), "unavailable" | "timeout" | "not_batuta")
    }

    /// Whether the failure means that a session or grant is gone for good.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(
            self.code.as_str(),
            "session_expired"
                | "session_closed"
                | "session_not_found"
                | "lock_not_found"
                | "lock_not_held"
                | "grant_ended"
                | "token_superseded"
        )
    }

    /// Whether the request may have taken effect although it failed.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self.code.as_str(), "outcome_unknown" | "timeout")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use tonic_types::ErrorDetails;

    use super::*;

    fn decoded(code: Code, reason: &str, retry: Option<Duration>) -> Error {
        let facts = HashMap::from([("holder".to_owned(), "a".to_owned())]);
        let mut details = ErrorDetails::with_error_info(reason, "batuta.dev", facts);
        if retry.is_some() {
            details.set_retry_info(retry);
        }
        Error::from_status(&Status::with_error_details(code, "said so", details), Some("http://a:1"))
    }

    #[test]
    fn the_reason_decides_and_details_survive() {
        let error = decoded(Code::Unavailable, "lock_delayed", Some(Duration::from_secs(1)));
        assert_eq!(
            (error.code.as_str(), error.message.as_str(), error.retryable),
            ("lock_delayed", "said so", true)
        );
        assert_eq!(error.details["holder"], "a");
    }

    #[test]
    fn the_field_at_fault_is_named() {
        let mut details = ErrorDetails::with_error_info("invalid_argument", "batuta.dev", HashMap::new());
        details.add_bad_request_violation("ttl_ms", "is required without a session");
        let status = Status::with_error_details(Code::InvalidArgument, "said so", details);
        assert_eq!(Error::from_status(&status, None).field.as_deref(), Some("ttl_ms"));
    }

    #[test]
    fn answers_are_not_asked_for_again() {
        let soon = Some(Duration::from_millis(1));
        for (code, retry, retryable, passing) in [
            ("no_leader", soon, true, true),
            ("node_lost", soon, true, true),
            ("outcome_unknown", soon, true, true),
            ("outcome_unknown", None, false, true),
            ("draining", soon, true, true),
            ("lock_held", soon, true, false),
            ("limit_exceeded", soon, true, false),
            ("internal", None, false, false),
            ("deadlock", None, false, false),
            ("wait_timeout", None, false, false),
            ("session_expired", None, false, false),
            ("auth_busy", soon, true, true),
            ("audit_unavailable", soon, true, true),
            ("upgrade_pending", soon, true, false),
            ("escalation_refused", None, false, false),
            ("last_admin", None, false, false),
            ("password_changed", None, false, false),
            ("already_bootstrapped", None, false, false),
            ("built_in_role", None, false, false),
            ("principal_not_found", None, false, false),
            ("group_not_found", None, false, false),
            ("role_not_found", None, false, false),
            ("binding_not_found", None, false, false),
            ("token_not_found", None, false, false),
        ] {
            let error = decoded(Code::DeadlineExceeded, code, retry);
            assert_eq!((error.retryable, error.is_passing()), (retryable, passing), "{code}");
        }
    }

    #[test]
    fn refused_caller_is_final() {
        for (code, token) in [
            ("invalid_token", true),
            ("token_expired", true),
            ("token_revoked", true),
            ("unauthenticated", false),
            ("permission_denied", false),
            ("principal_suspended", false),
            ("host_not_allowed", false),
        ] {
            let error = decoded(Code::PermissionDenied, code, None);
            assert_eq!((error.is_access_refused(), error.is_token_refused()), (true, token), "{code}");
            assert!(!error.is_passing() && !error.is_gone() && !error.is_silence(), "{code}");
        }
        assert!(!decoded(Code::FailedPrecondition, "token_superseded", None).is_access_refused());
    }

    #[test]
    fn transport_failures_name_the_address_and_are_retryable() {
        let of = |status: &Status| Error::from_status(status, Some("http://a:1"));
        let refused = of(&Status::unavailable("refused"));
        assert_eq!((refused.code.as_str(), refused.message.as_str()), ("unavailable", "http://a:1: refused"));
        assert!(refused.retryable && refused.is_passing() && refused.is_silence());
        assert!(of(&Status::internal("the connection ended")).is_passing());
        let foreign = of(&Status::unimplemented("no"));
        assert_eq!((foreign.code.as_str(), foreign.retryable), ("not_batuta", false));
        assert!(foreign.message.starts_with("http://a:1: this is not a gRPC port of Batuta"), "{foreign}");
    }
}
