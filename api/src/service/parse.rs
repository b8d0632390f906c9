//! Parses texts from the wire into types; errors name the field. Shared by the fronts.

use std::fmt::Write as _;

use batuta_statemachine::lock::Owner;
use batuta_statemachine::{DedupKey, LockId, Name, Namespace, SessionId, invisible};

use crate::ApiError;

/// The default page size of a listing.
pub const PAGE_LIMIT_DEFAULT: u32 = 100;
/// The largest page size.
pub const PAGE_LIMIT_MAX: u32 = 1_000;

/// Parses the name of a lock or register.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn parse_name(field: &str, text: &str) -> Result<Name, ApiError> {
    Name::new(text).map_err(|error| ApiError::invalid(field, error.to_string()))
}

/// Parses an optional name; the empty text means none.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn parse_optional_name(field: &str, text: &str) -> Result<Option<Name>, ApiError> {
    if text.is_empty() { Ok(None) } else { parse_name(field, text).map(Some) }
}

/// Parses a namespace.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn parse_namespace(field: &str, text: &str) -> Result<Namespace, ApiError> {
    Namespace::new(text).map_err(|error| ApiError::invalid(field, error.to_string()))
}

/// Parses the id of a session.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn parse_session_id(field: &str, text: &str) -> Result<SessionId, ApiError> {
    text.parse()
        .map_err(|error: batuta_statemachine::ParseIdError| ApiError::invalid(field, error.to_string()))
}

/// Parses the optional id of a session; the empty text means none.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn parse_optional_session_id(field: &str, text: &str) -> Result<Option<SessionId>, ApiError> {
    if text.is_empty() { Ok(None) } else { parse_session_id(field, text).map(Some) }
}

/// Parses the id of an acquisition.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn parse_lock_id(field: &str, text: &str) -> Result<LockId, ApiError> {
    text.parse()
        .map_err(|error: batuta_statemachine::ParseIdError| ApiError::invalid(field, error.to_string()))
}

/// Parses the retry key of a call. `sequence` is the text of the session sequence header: a number, which counts the requests
/// of the session that the request names, or `<session id>/<number>` when the request names none.
///
/// # Errors
/// `invalid_argument` with the header's name.
pub fn parse_dedup(
    namespace: &Namespace,
    idempotency_key: Option<&str>,
    sequence: Option<&str>,
    session: Option<SessionId>,
) -> Result<Option<DedupKey>, ApiError> {
    match (idempotency_key, sequence) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(ApiError::invalid(
            SEQUENCE_FIELD,
            "give it or an idempotency key, not both; each is a retry key",
        )),
        (Some(key), None) => {
            if key.is_empty() {
                return Err(ApiError::invalid(KEY_FIELD, "must not be empty"));
            }
            Ok(Some(DedupKey::Idempotency { namespace: namespace.clone(), key: key.to_owned() }))
        }
        (None, Some(text)) => parse_sequence(text, session).map(Some),
    }
}

/// The name of the idempotency key in errors.
pub const KEY_FIELD: &str = "idempotency-key";
/// The name of the session sequence in errors.
pub const SEQUENCE_FIELD: &str = "batuta-session-sequence";
/// The name of the namespace of a call in errors.
pub const NAMESPACE_FIELD: &str = "batuta-namespace";

fn parse_sequence(text: &str, session: Option<SessionId>) -> Result<DedupKey, ApiError> {
    let (given, number) = match text.split_once('/') {
        Some((session, number)) => (Some(parse_session_id(SEQUENCE_FIELD, session)?), number),
        None => (None, text),
    };
    let sequence = number.parse().ok().filter(|sequence| *sequence > 0).ok_or_else(|| {
        ApiError::invalid(SEQUENCE_FIELD, "must be a number from 1, or <session id>/<number>")
    })?;
    let session = match (given, session) {
        (Some(given), Some(named)) if given != named => {
            return Err(ApiError::invalid(SEQUENCE_FIELD, "names another session than the request"));
        }
        (Some(session), _) | (None, Some(session)) => session,
        (None, None) => {
            let problem =
                "the request names no session; write <session id>/<number>, or use an idempotency key";
            return Err(ApiError::invalid(SEQUENCE_FIELD, problem));
        }
    };
    Ok(DedupKey::Sequence { session, sequence })
}

/// Refuses a text with invisible characters: a name, or a text that is compared with names.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn require_visible(field: &str, text: &str) -> Result<(), ApiError> {
    let refused = |invisible: invisible::Invisible| ApiError::invalid(field, invisible.to_string());
    invisible::first(text).map_or(Ok(()), |invisible| Err(refused(invisible)))
}

/// Parses the owner of a lock. Labels distinguish owners, so they may have no invisible characters, like names.
///
/// # Errors
/// `invalid_argument` with the field `session_id` or `owner`.
pub fn parse_owner(session_id: &str, label: &str) -> Result<Owner, ApiError> {
    require_visible("owner", label)?;
    Ok(Owner { session: parse_optional_session_id("session_id", session_id)?, label: label.to_owned() })
}

/// Checks the size of a page.
///
/// # Errors
/// `invalid_argument` with the field `limit`.
pub fn page_limit(limit: Option<u32>) -> Result<usize, ApiError> {
    match limit {
        None | Some(0) => Ok(PAGE_LIMIT_DEFAULT as usize),
        Some(limit) if limit <= PAGE_LIMIT_MAX => Ok(limit as usize),
        Some(_) => Err(ApiError::invalid("limit", format!("must be at most {PAGE_LIMIT_MAX}"))),
    }
}

/// Encodes the cursor after a name.
pub(crate) fn name_cursor_text(name: &Name) -> String {
    seal('n', name.as_str())
}

/// Encodes the cursor after a session.
pub(crate) fn session_cursor_text(session: SessionId) -> String {
    seal('s', &session.to_string())
}

/// Decodes the cursor of a page of names; an absent or empty cursor means the start.
pub(crate) fn name_cursor(cursor: Option<&str>) -> Result<Option<Name>, ApiError> {
    listing_cursor('n', cursor, |text| Name::stored(text).ok())
}

/// Decodes the cursor of a page of sessions; an absent or empty cursor means the start.
pub(crate) fn session_cursor(cursor: Option<&str>) -> Result<Option<SessionId>, ApiError> {
    listing_cursor('s', cursor, |text| text.parse().ok())
}

pub(super) fn listing_cursor<T>(
    kind: char,
    cursor: Option<&str>,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, ApiError> {
    let Some(cursor) = cursor.filter(|cursor| !cursor.is_empty()) else { return Ok(None) };
    unseal(kind, cursor).and_then(|text| read(&text)).map(Some).ok_or_else(bad_cursor)
}

/// Encodes the cursor after a holder of a lock.
pub(crate) fn holders_cursor_text(lock_id: LockId) -> String {
    seal('h', &lock_id.to_string())
}

/// Encodes the cursor after a waiter of a lock.
pub(crate) fn waiters_cursor_text(lock_id: LockId) -> String {
    seal('w', &lock_id.to_string())
}

pub(crate) fn holders_cursor(cursor: &str) -> Result<Option<LockId>, ApiError> {
    lock_cursor('h', "holders_cursor", cursor)
}

/// Decodes the cursor of the next candidates of an election, whose candidates are its waiters.
pub(crate) fn candidates_cursor(cursor: &str) -> Result<Option<LockId>, ApiError> {
    lock_cursor('w', "candidates_cursor", cursor)
}

pub(crate) fn waiters_cursor(cursor: &str) -> Result<Option<LockId>, ApiError> {
    lock_cursor('w', "waiters_cursor", cursor)
}

/// Decodes a cursor within a lock; the empty text means none.
fn lock_cursor(kind: char, field: &str, cursor: &str) -> Result<Option<LockId>, ApiError> {
    if cursor.is_empty() {
        return Ok(None);
    }
    unseal(kind, cursor).and_then(|text| text.parse().ok()).map(Some).ok_or_else(|| {
        ApiError::invalid(field, format!("must be the next_{field} of the answer before, unchanged"))
    })
}

fn bad_cursor() -> ApiError {
    ApiError::invalid("cursor", "must be the next_cursor of the same listing's page before, unchanged")
}

/// Encodes a cursor as hexadecimal with a letter for its kind, so that nobody is tempted to write one by hand.
pub(super) fn seal(kind: char, text: &str) -> String {
    text.bytes().fold(kind.to_string(), |mut cursor, byte| {
        // Writing to a String cannot fail.
        let _ = write!(cursor, "{byte:02x}");
        cursor
    })
}

fn unseal(kind: char, cursor: &str) -> Option<String> {
    let hex = cursor.strip_prefix(kind)?.as_bytes();
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = hex.as_chunks::<2>() else { return None };
    let bytes: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    String::from_utf8(bytes?).ok()
}

#[cfg(test)]
mod tests {
    use batuta_statemachine::Position;

    use super::*;

    fn field_of<T: std::fmt::Debug>(result: Result<T, ApiError>) -> String {
        let error = result.expect_err("must be refused");
        assert_eq!(error.code().as_str(), "invalid_argument");
        error.field().expect("names the field").to_owned()
    }

    #[test]
    fn a_wrong_text_names_its_field() {
        assert_eq!(field_of(parse_name("name", "a//b")), "name");
        assert_eq!(field_of(parse_name("name", "a\u{200b}b")), "name");
        assert_eq!(field_of(parse_owner("", "worker\u{202e}7")), "owner");
        assert_eq!(field_of(parse_namespace(NAMESPACE_FIELD, "A")), NAMESPACE_FIELD);
        assert_eq!(field_of(parse_session_id("session_id", "l-1.0")), "session_id");
        assert_eq!(field_of(parse_lock_id("lock_id", "s-1.0")), "lock_id");
        assert_eq!(field_of(page_limit(Some(PAGE_LIMIT_MAX + 1))), "limit");
    }

    #[test]
    fn retry_keys_are_one_of_two_kinds() {
        let namespace = Namespace::default();
        let session = SessionId(Position { index: 7, ordinal: 0 });
        let other = SessionId(Position { index: 8, ordinal: 0 });
        let parse = |key, sequence, session| parse_dedup(&namespace, key, sequence, session);
        assert_eq!(parse(None, None, Some(session)).expect("valid"), None);
        let expected = Some(DedupKey::Sequence { session, sequence: 3 });
        assert_eq!(parse(None, Some("3"), Some(session)).expect("valid"), expected);
        assert_eq!(parse(None, Some("s-7.0/3"), None).expect("valid"), expected);
        assert_eq!(parse(None, Some("s-7.0/3"), Some(session)).expect("valid"), expected);
        let expected = Some(DedupKey::Idempotency { namespace: namespace.clone(), key: "k".to_owned() });
        assert_eq!(parse(Some("k"), None, None).expect("valid"), expected);
        for (key, sequence, session, field) in [
            (Some("k"), Some("3"), Some(session), SEQUENCE_FIELD),
            (Some(""), None, None, KEY_FIELD),
            (None, Some("3"), None, SEQUENCE_FIELD),
            (None, Some("0"), Some(session), SEQUENCE_FIELD),
            (None, Some("x"), Some(session), SEQUENCE_FIELD),
            (None, Some("s-7.0/3"), Some(other), SEQUENCE_FIELD),
        ] {
            assert_eq!(field_of(parse(key, sequence, session)), field);
        }
    }

    #[test]
    fn only_cursors_survive_a_round_trip() {
        let name = Name::new("größe/π").expect("valid");
        assert_eq!(name_cursor(Some(&name_cursor_text(&name))).expect("own cursor"), Some(name));
        let session = SessionId(Position { index: 7, ordinal: 1 });
        assert_eq!(session_cursor(Some(&session_cursor_text(session))).expect("own cursor"), Some(session));
        assert_eq!(name_cursor(Some("")).expect("the beginning"), None);
        for cursor in ["n", "n6", "nzz", "n2f", "orders/42", &session_cursor_text(session), "nff"] {
            assert_eq!(field_of(name_cursor(Some(cursor))), "cursor", "{cursor:?}");
        }
    }
}
