//! What a call can fail with.

use std::collections::BTreeMap;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct Error {
    /// Stable code of docs/errors.md; `unavailable` and `timeout` are the client's own.
    pub code: String,
    /// For people.
    pub message: String,
    /// Whether the same request may be asked again under the same key.
    pub retryable: bool,
    /// The field of the request that is at fault, when one is.
    pub field: Option<String>,
    /// What the server added, by name.
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

    /// Decodes a gRPC status. One without `ErrorInfo` did not come from Batuta's own code but from the way there.
    pub(crate) fn from_status(status: &Status) -> Self {
        if let Some(info) = status.get_details_error_info() {
            let violations =
                status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
            return Self {
                retryable: retryable(&info.reason),
                code: info.reason,
                message: status.message().to_owned(),
                field: violations.into_iter().next().map(|violation| violation.field),
                details: info.metadata.into_iter().collect(),
            };
        }
        let message = status.message();
        match status.code() {
            Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Aborted => {
                Self::new("unavailable", message, true)
            }
            Code::DeadlineExceeded => Self::new("timeout", message, true),
            Code::InvalidArgument => Self::invalid(message),
            _ => Self::new("internal", message, false),
        }
    }

    /// Whether the failure says that a session or grant is gone for good.
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
        )
    }

    /// Whether the request may have had its effect although it failed.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self.code.as_str(), "outcome_unknown" | "timeout")
    }
}

/// Codes that asking again soon, under the same key, can turn into an answer. `lock_held`, `lock_delayed` and
/// `limit_exceeded` are answers: only somebody else can change them.
fn retryable(code: &str) -> bool {
    matches!(
        code,
        "no_leader"
            | "node_lost"
            | "outcome_unknown"
            | "overloaded"
            | "shutting_down"
            | "draining"
            | "disk_full"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    fn decoded(code: Code, reason: &str) -> Error {
        let details = ErrorDetails::with_error_info(
            reason,
            "batuta.dev",
            HashMap::from([("holder".to_owned(), "a".to_owned())]),
        );
        Error::from_status(&Status::with_error_details(code, "said so", details))
    }

    #[test]
    fn the_reason_decides_and_details_survive() {
        let error = decoded(Code::Unavailable, "lock_delayed");
        assert_eq!(
            (error.code.as_str(), error.message.as_str(), error.retryable),
            ("lock_delayed", "said so", false)
        );
        assert_eq!(error.details["holder"], "a");
    }

    #[test]
    fn the_field_at_fault_is_named() {
        let mut details = ErrorDetails::with_error_info("invalid_argument", "batuta.dev", HashMap::new());
        details.add_bad_request_violation("ttl_ms", "is required without a session");
        let error =
            Error::from_status(&Status::with_error_details(Code::InvalidArgument, "said so", details));
        assert_eq!(error.field.as_deref(), Some("ttl_ms"));
    }

    #[test]
    fn answers_are_not_retried() {
        for (code, expected) in [
            ("no_leader", true),
            ("node_lost", true),
            ("outcome_unknown", true),
            ("draining", true),
            ("lock_held", false),
            ("limit_exceeded", false),
            ("internal", false),
            ("deadlock", false),
            ("wait_timeout", false),
            ("session_expired", false),
        ] {
            assert_eq!(decoded(Code::DeadlineExceeded, code).retryable, expected, "{code}");
        }
    }

    #[test]
    fn transport_failures_are_retried() {
        assert!(Error::from_status(&Status::unavailable("refused")).retryable);
        assert!(!Error::from_status(&Status::unimplemented("no")).retryable);
        assert!(!Error::from_status(&Status::internal("a defect answers the same again")).retryable);
    }
}
