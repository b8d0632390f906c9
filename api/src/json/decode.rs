//! Decodes JSON: an unreadable document becomes an error that names the field.

use serde::de::DeserializeOwned;

use crate::ApiError;

/// How similar a given and an existing field must be for "did you mean".
const SUGGESTION_LIKENESS_MIN: f64 = 0.8;

/// Decodes a body. A body that is not JSON is malformed (400); JSON of the wrong shape has an offending field (422).
pub(crate) fn decode_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // The decoder would accept an array with the fields in order as an object.
    let is_array = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    if is_array && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok() {
        return Err(ApiError::invalid("body", "must be a JSON object, not an array"));
    }
    let mut source = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut source).map_err(|error| {
        let path = error.path().to_string();
        let cause = error.into_inner();
        if cause.classify() == serde_json::error::Category::Data {
            shape_error(&path, &cause.to_string())
        } else {
            ApiError::MalformedBody { problem: cause.to_string() }
        }
    })?;
    source.end().map_err(|error| ApiError::MalformedBody { problem: error.to_string() })?;
    Ok(value)
}

/// Decodes a JSON value.
pub(crate) fn decode_value<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(value)
        .map_err(|error| shape_error(&error.path().to_string(), &error.inner().to_string()))
}

/// Refuses a field of the contract that REST has in the path.
pub(crate) fn not_in_body(field: &str, absent: bool) -> Result<(), ApiError> {
    if absent { Ok(()) } else { Err(ApiError::UnknownField { field: field.to_owned(), suggestion: None }) }
}

/// Converts an error of the decoder to one that names the field. The names of missing, unknown and repeated fields are only in its message.
pub(crate) fn shape_error(path: &str, words: &str) -> ApiError {
    let quoted = |prefix: &str| words.strip_prefix(prefix)?.split_once('`').map(|(field, _)| field);
    if let Some(field) = quoted("unknown field `") {
        return ApiError::UnknownField { field: join(path, field), suggestion: suggestion(field, words) };
    }
    if let Some(field) = quoted("missing field `") {
        return ApiError::invalid(join(path, field), "is required");
    }
    if let Some(field) = quoted("duplicate field `") {
        return ApiError::invalid(join(path, field), "is given twice");
    }
    ApiError::invalid(if path == "." { "body" } else { path }, words)
}

/// Appends `field` to `path`, unless the decoder already did.
fn join(path: &str, field: &str) -> String {
    if path == field || path == "." || path == "?" {
        field.to_owned()
    } else if path.ends_with(&format!(".{field}")) {
        path.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

/// The existing field most similar to the given one, from the decoder's "expected one of `a`, `b`".
fn suggestion(field: &str, words: &str) -> Option<String> {
    let (_, expected) = words.split_once("expected ")?;
    expected
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|candidate| (strsim::jaro_winkler(field, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= SUGGESTION_LIKENESS_MIN)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| candidate.to_owned())
}
