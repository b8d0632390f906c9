//! Frames: the parts common to all requests of a client, and all frames of the server.

use std::fmt;

use axum::extract::ws::Message;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::ApiError;
use crate::contract::watch::{Changes, SnapshotPage};
use crate::json::{Problem, decode_json};

/// The longest id of a request, in characters.
const ID_CHARS_MAX: usize = 64;

/// A request whose operation-specific fields are not decoded yet. Its `Debug` form shows no values of them: one may be a token.
#[derive(PartialEq)]
pub(super) struct Request {
    /// The client's id of the request.
    pub(super) id: String,
    /// The name of the operation.
    pub(super) op: String,
    /// The fields of the operation.
    pub(super) fields: Map<String, Value>,
}

impl fmt::Debug for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<&String> = self.fields.keys().collect();
        formatter
            .debug_struct("Request")
            .field("id", &self.id)
            .field("op", &self.op)
            .field("fields", &fields)
            .finish()
    }
}

/// Why a frame is not a request, with the id of the request if it has one.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) id: Option<String>,
    pub(super) error: ApiError,
}

/// The fields of a frame; a duplicate field is an error.
struct Fields(Map<String, Value>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Fields, A::Error> {
                let mut fields = Map::new();
                while let Some((name, value)) = access.next_entry::<String, Value>()? {
                    if fields.contains_key(&name) {
                        return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
                    }
                    fields.insert(name, value);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// Decodes a frame of a client.
pub(super) fn decode(text: &str) -> Result<Request, Unreadable> {
    let nameless = |error| Unreadable { id: None, error };
    let Fields(mut fields) = decode_json(text.as_bytes()).map_err(nameless)?;
    let id = match fields.remove("id") {
        Some(Value::String(id)) if (1..=ID_CHARS_MAX).contains(&id.chars().count()) => id,
        Some(_) => {
            let problem = format!("must be a text of 1 to {ID_CHARS_MAX} characters");
            return Err(nameless(ApiError::invalid("id", problem)));
        }
        None => return Err(nameless(ApiError::invalid("id", "is required"))),
    };
    let op = match fields.remove("op") {
        Some(Value::String(op)) => op,
        Some(_) => {
            return Err(Unreadable { id: Some(id), error: ApiError::invalid("op", "must be a text") });
        }
        None => return Err(Unreadable { id: Some(id), error: ApiError::invalid("op", "is required") }),
    };
    Ok(Request { id, op, fields })
}

/// A frame of the server.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Outgoing<T = ()> {
    /// A request succeeded.
    Reply { id: String, revision: u64, result: T },
    /// A request failed, or a watch ended.
    Error { id: Option<String>, error: Box<Problem> },
    /// A page of the current objects that a watch selects.
    Snapshot {
        id: String,
        #[serde(flatten)]
        page: SnapshotPage,
    },
    /// The changes of one revision that a watch selects.
    Changes {
        id: String,
        #[serde(flatten)]
        changes: Changes,
    },
    /// The progress of a watch.
    Progress { id: String, revision: u64 },
    /// A change of a lease of this connection.
    Lease(Lease),
    /// The credential of the client ends in this time.
    AuthExpiring { expires_in_ms: u64 },
    /// The node is shutting down; `nodes` are the URLs of other nodes.
    Draining { nodes: Vec<String> },
}

/// The kind of a lease notification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum LeaseEvent {
    /// An acquisition waits, or its position in the queue changed.
    #[default]
    Queued,
    /// A waiting acquisition was granted.
    Granted,
    /// A third of the TTL is left.
    Expiring,
    /// A grant or a session was lost.
    Lost,
}

/// A notification about a lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(super) struct Lease {
    pub(super) event: LeaseEvent,
    /// Of an acquisition: the id of its request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lock_id: Option<String>,
    /// Of a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fencing_token: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) queue_position: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remaining_ms: Option<u64>,
    /// Of a loss: `expired`, `forced`, `session_expired`, `session_closed` or `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'static str>,
}

impl Outgoing {
    /// A request failed, or a watch ended.
    pub(super) fn error(id: Option<String>, error: ApiError) -> Self {
        Self::Error { id, error: Box::new(Problem::from(error)) }
    }
}

impl<T: Serialize> From<Outgoing<T>> for Message {
    fn from(frame: Outgoing<T>) -> Self {
        // Texts, numbers, lists and maps with text keys always have a JSON form.
        Self::text(serde_json::to_string(&frame).expect("a wire type is serializable"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_frame_is_an_error_with_its_field() {
        for (text, id, code, field) in [
            ("{", None, "malformed_body", None),
            ("", None, "malformed_body", None),
            ("5", None, "invalid_argument", Some("body")),
            ("[]", None, "invalid_argument", Some("body")),
            ("{}", None, "invalid_argument", Some("id")),
            (r#"{"id":7,"op":"ping"}"#, None, "invalid_argument", Some("id")),
            (r#"{"id":"","op":"ping"}"#, None, "invalid_argument", Some("id")),
            (r#"{"id":"a","id":"b","op":"ping"}"#, None, "invalid_argument", Some("id")),
            (r#"{"id":"a"}"#, Some("a"), "invalid_argument", Some("op")),
            (r#"{"id":"a","op":1}"#, Some("a"), "invalid_argument", Some("op")),
        ] {
            let unreadable = decode(text).expect_err(text);
            assert_eq!(unreadable.id.as_deref(), id, "{text}");
            assert_eq!((unreadable.error.code().as_str(), unreadable.error.field()), (code, field), "{text}");
        }
        let long = format!(r#"{{"id":"{}","op":"ping"}}"#, "x".repeat(ID_CHARS_MAX + 1));
        assert_eq!(decode(&long).expect_err("too long").error.field(), Some("id"));
        assert!(decode(&long.replacen('x', "", 1)).is_ok());
    }

    #[test]
    fn token_of_a_request_is_not_printed() {
        let request = decode(r#"{"id":"1","op":"auth","token":"btk_secret"}"#).expect("a request");
        let shown = format!("{request:?}");
        assert!(shown.contains("auth") && !shown.contains("secret"), "{shown}");
    }

    #[test]
    fn frames_say_their_type() {
        let lease = Lease { event: LeaseEvent::Queued, queue_position: Some(1), ..Lease::default() };
        let frames: [(Outgoing, &str); 4] = [
            (
                Outgoing::AuthExpiring { expires_in_ms: 30_000 },
                r#"{"type":"auth_expiring","expires_in_ms":30000}"#,
            ),
            (
                Outgoing::Progress { id: "w".to_owned(), revision: 7 },
                r#"{"type":"progress","id":"w","revision":7}"#,
            ),
            (Outgoing::Lease(lease), r#"{"type":"lease","event":"queued","queue_position":1}"#),
            (Outgoing::Draining { nodes: Vec::new() }, r#"{"type":"draining","nodes":[]}"#),
        ];
        for (frame, text) in frames {
            assert_eq!(Message::from(frame), Message::text(text));
        }
    }
}
