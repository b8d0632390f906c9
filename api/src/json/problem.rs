//! Errors as JSON: problem documents (RFC 9457), one shape for every refusal.

use axum::http::HeaderValue;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::ApiError;
use crate::error::Code;

/// Media type of every error body.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Prefix of `type`; the code behind it is the entry of `docs/errors.md`.
pub(crate) const TYPE_PREFIX: &str = "urn:batuta:error:";

/// The header `WWW-Authenticate` of an answer with this code, on every front: it asks for a token, and says so when one was sent that does not
/// count (RFC 6750 section 3). `None` for other codes.
pub(crate) fn challenge(code: Code) -> Option<HeaderValue> {
    match code {
        Code::Unauthenticated => Some(HeaderValue::from_static("Bearer realm=\"batuta\"")),
        Code::InvalidToken | Code::TokenExpired | Code::TokenRevoked => {
            Some(HeaderValue::from_static("Bearer realm=\"batuta\", error=\"invalid_token\""))
        }
        _ => None,
    }
}

/// Why a request was refused (RFC 9457). Programs should use `code`; `detail` is for people.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({
    "type": "urn:batuta:error:lock_held",
    "title": "The lock is held",
    "status": 409,
    "code": "lock_held",
    "detail": "orders/42 is held; set wait_ms to queue for it",
    "retryable": true,
    "retry_after_ms": 500,
    "revision": 1544,
    "details": {"name": "orders/42", "holder_tokens": [17], "waiters": 0}
}))]
pub(crate) struct Problem {
    /// The URI of the code.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The code, in words.
    pub(crate) title: String,
    /// The HTTP status.
    pub(crate) status: u16,
    /// The stable code, as in the catalogue of errors.
    pub(crate) code: String,
    /// What happened, and what to do, for people.
    pub(crate) detail: String,
    /// The offending field, as the API spells it: `ttl_ms`, `locks[1].name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) field: Option<String>,
    /// The limit that was exceeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<String>,
    /// Whether the same request, sent again later, may succeed.
    pub(crate) retryable: bool,
    /// When to retry, in milliseconds. The header `Retry-After` has it in whole seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after_ms: Option<u64>,
    /// The revision at which the refusal is true, if it depends on the state. The header `Batuta-Revision` has it, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revision: Option<u64>,
    /// Details of this code, for programs.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub(crate) details: Map<String, Value>,
    /// The [`challenge`] of the HTTP answer.
    #[serde(skip)]
    #[schema(ignore)]
    pub(crate) challenge: Option<HeaderValue>,
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        let info = error.info();
        let details = error.details();
        Self {
            kind: format!("{TYPE_PREFIX}{}", info.code),
            title: info.summary.to_owned(),
            status: info.http,
            code: info.code.to_string(),
            detail: error.to_string(),
            field: error.field().map(str::to_owned),
            limit: details.get("limit").and_then(Value::as_str).map(str::to_owned),
            retryable: error.retryable(),
            retry_after_ms: error.retry_after_ms(),
            revision: error.revision(),
            details,
            challenge: challenge(error.code()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answer_to_a_missing_or_bad_token_asks_for_one() {
        let plain = challenge(Code::Unauthenticated).expect("a challenge");
        assert_eq!(plain, "Bearer realm=\"batuta\"");
        for code in [Code::InvalidToken, Code::TokenExpired, Code::TokenRevoked] {
            assert_eq!(
                challenge(code).expect("a challenge"),
                "Bearer realm=\"batuta\", error=\"invalid_token\""
            );
        }
        assert_eq!(challenge(Code::PermissionDenied), None);
    }

    #[test]
    fn every_code_of_status_401_has_a_challenge() {
        for code in Code::ALL {
            assert_eq!(crate::error::info(code).http == 401, challenge(code).is_some(), "{code}");
        }
    }

    #[test]
    fn problem_has_the_fields_of_the_rfc() {
        let problem = Problem::from(ApiError::invalid("locks[1].name", "must not be empty"));
        assert_eq!(
            serde_json::to_value(problem).unwrap(),
            json!({
                "type": "urn:batuta:error:invalid_argument",
                "title": "A field is wrong",
                "status": 422,
                "code": "invalid_argument",
                "detail": "locks[1].name: must not be empty",
                "field": "locks[1].name",
                "retryable": false,
                "details": {"field": "locks[1].name", "problem": "must not be empty"}
            })
        );
    }
}
