//! Errors on the wire: `application/problem+json` (RFC 9457), one shape for every refusal of the REST API.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::ApiError;
use crate::middleware::panicked;

/// Media type of every error body.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// Prefix of `type`; the code behind it is the entry of `docs/errors.md`.
pub(super) const TYPE_PREFIX: &str = "urn:batuta:error:";

/// Why a request was refused (RFC 9457). Decide on `code`; `detail` is for people.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({
    "type": "urn:batuta:error:lock_held",
    "title": "The lock is held",
    "status": 409,
    "code": "lock_held",
    "detail": "lock orders/42 is held; set wait_ms to queue for it",
    "retryable": true,
    "retry_after_ms": 500,
    "details": {"name": "orders/42", "holder_tokens": [17], "waiters": 0}
}))]
pub(super) struct Problem {
    /// URI of the code.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// The code in words.
    pub(super) title: String,
    /// The HTTP status.
    pub(super) status: u16,
    /// Stable code of the catalogue.
    pub(super) code: String,
    /// What happened and what to do, for people.
    pub(super) detail: String,
    /// The field at fault, as the API spells it: `ttl_ms`, `locks[1].name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) field: Option<String>,
    /// The limit that was hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limit: Option<String>,
    /// Whether the same request, sent again later, may succeed.
    pub(super) retryable: bool,
    /// When to try again. Header `Retry-After` says the same in whole seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_after_ms: Option<u64>,
    /// Facts of this code, for programs.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub(super) details: Map<String, Value>,
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        let info = error.info();
        let details = error.details();
        Self {
            kind: format!("{TYPE_PREFIX}{}", info.code),
            title: info.summary.to_owned(),
            status: info.http,
            code: info.code.to_owned(),
            detail: error.to_string(),
            field: error.field().map(str::to_owned),
            limit: details.get("limit").and_then(Value::as_str).map(str::to_owned),
            retryable: error.retryable(),
            retry_after_ms: error.retry_after_ms(),
            details,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after_ms = self.retry_after_ms;
        let mut response = (status, axum::Json(self)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(after_ms) = retry_after_ms {
            let seconds = after_ms.div_ceil(1000).max(1);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Turns a panic of a handler into an answer.
pub(super) fn from_panic(panic: Box<dyn std::any::Any + Send>) -> Response {
    Problem::from(panicked("rest", panic)).into_response()
}

#[cfg(test)]
mod tests {
    use batuta_statemachine::{Name, Rejection};
    use serde_json::json;

    use super::*;

    #[test]
    fn retry_after_rounds_up_to_whole_seconds() {
        for (remaining_ms, header) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2")] {
            let name = Name::new("orders/42").unwrap();
            let problem = Problem::from(ApiError::from(Rejection::LockDelayed { name, remaining_ms }));
            let response = problem.into_response();
            assert_eq!(response.headers()["retry-after"], header, "{remaining_ms} ms");
            assert_eq!(response.headers()["content-type"], PROBLEM_JSON);
        }
    }

    #[test]
    fn a_problem_has_the_fields_of_the_rfc_and_no_empty_ones() {
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
