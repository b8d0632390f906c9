//! Errors of GraphQL: `extensions` carry the code of the catalogue and the details that a program needs.

use async_graphql::{ErrorExtensionValues, Pos, ServerError, Value};

use super::guard;
use crate::ApiError;
use crate::service::parse;

/// Converts a refusal of the service or of this front.
pub(super) fn of(error: &ApiError, position: Option<Pos>) -> ServerError {
    let mut refused = ServerError::new(error.to_string(), position);
    refused.extensions = Some(extensions(error));
    refused
}

/// Adds the code of the catalogue to an error of the GraphQL library, which knows no codes.
pub(super) fn complete(error: &mut ServerError) {
    let coded = error.extensions.as_ref().is_some_and(|extensions| extensions.get("code").is_some());
    if !coded {
        let known = recognised(&error.message);
        error.message = known.to_string();
        error.extensions = Some(extensions(&known));
    }
}

fn extensions(error: &ApiError) -> ErrorExtensionValues {
    let mut values = ErrorExtensionValues::default();
    values.set("code", error.code().as_str());
    values.set("retryable", error.retryable());
    if let Some(after_ms) = error.retry_after_ms() {
        values.set("retryAfterMs", after_ms);
    }
    if let Some(revision) = error.revision() {
        values.set("revision", revision);
    }
    if let Some(field) = error.field() {
        values.set("field", spelled(field));
    }
    let details: serde_json::Map<_, _> = error
        .details()
        .into_iter()
        .map(|(key, value)| match (key.as_str(), value) {
            ("field", serde_json::Value::String(field)) => (key, spelled(&field).into()),
            (_, value) => (spelled(&key), value),
        })
        .collect();
    // Every JSON value is a GraphQL value.
    if !details.is_empty()
        && let Ok(details) = Value::from_json(details.into())
    {
        values.set("details", details);
    }
    values
}

/// Spells a field as GraphQL does: `ttl_ms` is `ttlMs`, and the headers of the other APIs are arguments.
fn spelled(field: &str) -> String {
    match field {
        parse::KEY_FIELD => return "idempotencyKey".to_owned(),
        parse::SEQUENCE_FIELD => return "sessionSequence".to_owned(),
        parse::NAMESPACE_FIELD => return "namespace".to_owned(),
        _ => {}
    }
    let mut words = field.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut text, word| {
        let mut letters = word.chars();
        text.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        text.push_str(letters.as_str());
        text
    })
}

/// Recognises an error of the library by its message. The tests of this front check the messages. Any other message means an invalid query.
fn recognised(message: &str) -> ApiError {
    if message == "Query is too complex." {
        let (limit, max) = guard::COST;
        return ApiError::QueryTooLarge { limit, max };
    }
    argument_at_fault(message).unwrap_or_else(|| ApiError::InvalidQuery { problem: message.to_owned() })
}

/// Extracts the argument or input field that the library found missing, unknown or of the wrong type.
fn argument_at_fault(message: &str) -> Option<ApiError> {
    fn quoted(text: &str) -> Option<(&str, &str)> {
        text.split_once('"')
    }
    if let Some(rest) = message.strip_prefix("Invalid value for argument \"") {
        let (path, problem) = rest.split_once("\", ")?;
        let inside = |field: &str| input_field(&format!("{path}.{field}"));
        if let Some((field, _)) = problem.strip_prefix("unknown field \"").and_then(quoted) {
            return Some(ApiError::UnknownField { field: inside(field), suggestion: None });
        }
        if let Some((field, _)) = problem.strip_prefix("field \"").and_then(quoted) {
            return Some(ApiError::invalid(inside(field), "is required"));
        }
        return Some(ApiError::invalid(input_field(path), problem));
    }
    if let Some(rest) = message.strip_prefix("Unknown argument \"") {
        let (field, rest) = quoted(rest)?;
        let suggestion = rest.split_once("Did you mean \"").and_then(|(_, meant)| quoted(meant));
        let suggestion = suggestion.map(|(meant, _)| meant.to_owned());
        return Some(ApiError::UnknownField { field: field.to_owned(), suggestion });
    }
    let (_, rest) = message.strip_prefix("Field \"")?.split_once("\" argument \"")?;
    let (field, rest) = quoted(rest)?;
    rest.contains("is required").then(|| ApiError::invalid(field, "is required"))
}

/// Converts the library's `input.locks.1.name` to the usual form, `locks[1].name`.
fn input_field(path: &str) -> String {
    let path = path.strip_prefix("input.").unwrap_or(path);
    let mut field = String::with_capacity(path.len());
    for segment in path.split('.') {
        if segment.bytes().all(|byte| byte.is_ascii_digit()) {
            field.push('[');
            field.push_str(segment);
            field.push(']');
        } else {
            if !field.is_empty() {
                field.push('.');
            }
            field.push_str(segment);
        }
    }
    field
}

#[cfg(test)]
mod tests {
    use batuta_statemachine::{Name, Rejection, lock};

    use super::*;

    #[test]
    fn fields_are_spelled_as_in_the_schema() {
        for (field, expected) in [
            ("ttl_ms", "ttlMs"),
            ("locks[1].name", "locks[1].name"),
            ("session_id", "sessionId"),
            ("name", "name"),
            (parse::KEY_FIELD, "idempotencyKey"),
            (parse::SEQUENCE_FIELD, "sessionSequence"),
            (parse::NAMESPACE_FIELD, "namespace"),
        ] {
            assert_eq!(spelled(field), expected);
        }
    }

    #[test]
    fn messages_of_the_library_have_codes() {
        for (message, code, field) in [
            (
                r#"Invalid value for argument "input.ttlMs", expected type "Long""#,
                "invalid_argument",
                Some("ttlMs"),
            ),
            (
                r#"Invalid value for argument "input.locks.1", unknown field "nmae" of type "LockInput""#,
                "unknown_field",
                Some("locks[1].nmae"),
            ),
            (
                r#"Invalid value for argument "input", field "ttlMs" of type "Long!" is required but not provided"#,
                "invalid_argument",
                Some("ttlMs"),
            ),
            (r#"Unknown argument "frist" on field "locks" of type "Query"."#, "unknown_field", Some("frist")),
            (
                r#"Field "lock" argument "name" of type "Query" is required but not provided"#,
                "invalid_argument",
                Some("name"),
            ),
            (r#"Unknown field "x" on type "Query"."#, "invalid_query", None),
            ("Query is too complex.", "query_too_large", None),
        ] {
            let mut error = ServerError::new(message, None);
            complete(&mut error);
            let extensions = error.extensions.unwrap();
            assert_eq!(extensions.get("code"), Some(&Value::from(code)), "{message}");
            assert_eq!(extensions.get("field"), field.map(Value::from).as_ref(), "{message}");
        }
    }

    #[test]
    fn details_are_spelled_as_in_the_schema() {
        let name = Name::new("a").unwrap();
        let held = lock::Refusal::LockHeld { name, holder_tokens: vec![7], waiters: 0 };
        let error = serde_json::to_value(of(&Rejection::from(held).into(), None)).unwrap();
        assert_eq!(error["extensions"]["details"]["holderTokens"], serde_json::json!([7]));
        assert_eq!(error["extensions"]["retryable"], true);
        assert!(error["extensions"]["retryAfterMs"].is_u64(), "{error}");
    }
}
