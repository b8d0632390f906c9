//! Converts errors to gRPC statuses with the details of `google.rpc`.

use std::collections::HashMap;

use axum::response::Response;
use serde_json::Value;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::MESSAGE_BYTES_MAX;
use crate::ApiError;

/// The `domain` of every [`tonic_types::ErrorInfo`] of Batuta.
const DOMAIN: &str = "batuta.dev";
/// The metadata with the revision at which a refusal is true.
const REVISION: &str = "batuta-revision";
/// The most bytes of one text of an error: statuses are sent in HTTP headers, which are small.
const TEXT_BYTES_MAX: usize = 1_024;

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let info = error.info();
        let facts: HashMap<String, String> = error
            .details()
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, fact(value)))
            .collect();
        let mut details = ErrorDetails::with_error_info(info.code.as_str(), DOMAIN, facts);
        if let Some(wait) = error.retry_after() {
            details.set_retry_info(Some(wait));
        }
        if let Some(field) = error.field() {
            details.add_bad_request_violation(field, cut(error.to_string()));
        }
        if matches!(error, ApiError::Internal(_)) {
            tracing::error!(%error, "a call failed inside");
        }
        let mut metadata = MetadataMap::new();
        if let Some(revision) = error.revision() {
            metadata.insert(REVISION, revision.into());
        }
        Status::with_error_details_and_metadata(info.grpc, cut(error.to_string()), details, metadata)
    }
}

/// Converts the status of a message that could not be read or sent. tonic itself answers a message that is too large with `OUT_OF_RANGE` and no
/// details, which is the status of `compacted`.
pub(super) fn of_transport(status: Status) -> Status {
    if status.code() != Code::OutOfRange || !status.details().is_empty() {
        return status;
    }
    if status.message().starts_with("Error, decoded message length too large") {
        return ApiError::BodyTooLarge { max_bytes: MESSAGE_BYTES_MAX as u64 }.into();
    }
    ApiError::Internal(status.message().to_owned()).into()
}

/// Converts a response that ended before its call was made, whose status is in the headers.
pub(super) async fn in_own_words(mut response: Response) -> Response {
    if let Some(status) =
        Status::from_header_map(response.headers()).filter(|status| status.code() == Code::OutOfRange)
        && let Err(unwritten) = of_transport(status).add_header(response.headers_mut())
    {
        tracing::error!(%unwritten, "a status has no form as headers");
    }
    response
}

/// Checks that an answer fits into a message. Answers are bounded where they are made, so an answer that does not fit is a defect.
pub(super) fn sendable<M: prost::Message>(answer: M) -> Result<M, ApiError> {
    let bytes = answer.encoded_len();
    if bytes <= MESSAGE_BYTES_MAX {
        return Ok(answer);
    }
    Err(ApiError::Internal(format!("the answer has {bytes} bytes, a message at most {MESSAGE_BYTES_MAX}")))
}

/// Formats a detail as text: a text unchanged, everything else as JSON.
fn fact(value: Value) -> String {
    cut(match value {
        Value::String(text) => text,
        other => other.to_string(),
    })
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use batuta_statemachine::{Name, Rejection, lock};

    use super::*;

    #[test]
    fn status_has_code_reason_and_facts() {
        let status = Status::from(ApiError::from(Rejection::Lock(lock::Refusal::TokenSuperseded {
            token: 3,
            newest: 9,
        })));
        assert_eq!(status.code(), Code::FailedPrecondition);
        let info = status.get_details_error_info().expect("has ErrorInfo");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("token_superseded", "batuta.dev"));
        assert_eq!(info.metadata["newest_token"], "9");
        assert!(status.get_details_retry_info().is_none(), "the same request cannot succeed later");
        assert!(status.metadata().get(REVISION).is_none(), "the state was not read");
        let at = Status::from(ApiError::rejected(Rejection::KeyReused, 17));
        assert_eq!(at.metadata().get(REVISION).expect("a revision"), "17");
    }

    #[test]
    fn retryable_error_has_a_pause() {
        let name = Name::new("a").expect("valid");
        let status = Status::from(ApiError::from(Rejection::Lock(lock::Refusal::LockDelayed {
            name,
            remaining_ms: 1_500,
        })));
        let retry = status.get_details_retry_info().expect("has RetryInfo");
        assert_eq!(retry.retry_delay, Some(Duration::from_millis(1_500)));
    }

    #[test]
    fn wrong_field_is_a_field_violation() {
        let status = Status::from(ApiError::invalid("locks[0].name", "must not be empty"));
        assert_eq!(status.code(), Code::InvalidArgument);
        let bad = status.get_details_bad_request().expect("has BadRequest");
        assert_eq!(bad.field_violations[0].field, "locks[0].name");
    }

    #[test]
    fn unknown_outcome_is_retryable_only_with_a_key() {
        for keyed in [true, false] {
            let status = Status::from(ApiError::OutcomeUnknown { waited_ms: 5, keyed, lock_id: None });
            assert_eq!(status.code(), Code::DeadlineExceeded);
            assert_eq!(status.get_details_retry_info().is_some(), keyed);
        }
    }

    #[test]
    fn too_large_message_is_not_compacted() {
        let reason = |status: Status| {
            let status = of_transport(status);
            (status.code(), status.get_details_error_info().map(|info| info.reason))
        };
        let decoded = "Error, decoded message length too large: found 9 bytes, the limit is: 4 bytes";
        let too_large = Some("body_too_large".to_owned());
        assert_eq!(reason(Status::out_of_range(decoded)), (Code::ResourceExhausted, too_large));
        let encoded = "Error, encoded message length too large: found 9 bytes, the limit is: 4 bytes";
        assert_eq!(reason(Status::out_of_range(encoded)), (Code::Internal, Some("internal".to_owned())));
        let compacted = ApiError::Compacted { from_revision: 1, oldest_revision: 2 };
        assert_eq!(reason(compacted.into()), (Code::OutOfRange, Some("compacted".to_owned())));
        assert_eq!(reason(Status::unavailable("gone")), (Code::Unavailable, None));
    }

    #[test]
    fn long_facts_are_cut_between_characters() {
        assert!(fact(Value::String("é".repeat(2_000))).len() <= TEXT_BYTES_MAX);
    }
}
