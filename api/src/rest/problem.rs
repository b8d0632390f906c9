//! Errors as HTTP responses: `application/problem+json`, for every refusal.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::answer::REVISION;
use crate::json::{PROBLEM_JSON, Problem};

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let Self { retry_after_ms, revision, .. } = self;
        let challenge = self.challenge.clone();
        let coded = self.details.contains_key("coding");
        let mut response = (status, axum::Json(self)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(after_ms) = retry_after_ms {
            let seconds = after_ms.div_ceil(1000).max(1);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(revision) = revision {
            response.headers_mut().insert(REVISION, HeaderValue::from(revision));
        }
        if let Some(challenge) = challenge {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if coded {
            // The accepted encodings (RFC 9110 section 15.5.16).
            response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use batuta_statemachine::{Name, Rejection, lock};

    use super::*;
    use crate::ApiError;

    #[test]
    fn retry_after_rounds_up_to_whole_seconds() {
        for (remaining_ms, header) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2")] {
            let name = Name::new("orders/42").unwrap();
            let problem = Problem::from(ApiError::from(Rejection::Lock(lock::Refusal::LockDelayed {
                name,
                remaining_ms,
            })));
            let response = problem.into_response();
            assert_eq!(response.headers()["retry-after"], header, "{remaining_ms} ms");
            assert_eq!(response.headers()["content-type"], PROBLEM_JSON);
        }
    }
}
