//! The messages of `graphql-transport-ws`.

use std::fmt;

use async_graphql::ServerError;
use axum::extract::ws;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::super::request::{Answer, Body};
use crate::ApiError;
use crate::access::Secret;
use crate::json::{decode_json, decode_value};
use crate::middleware::bearer_of;

/// The longest id of an operation, in characters.
const ID_CHARS_MAX: usize = 64;

/// The optional payload of a message.
pub(super) type Payload = Option<Map<String, Value>>;

/// The payload of `connection_init`. Its `Debug` form shows no values: one may be a token.
#[derive(Default, Deserialize)]
#[serde(transparent)]
pub(super) struct InitPayload(Payload);

impl fmt::Debug for InitPayload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.keys()).finish()
    }
}

impl InitPayload {
    /// The names of its fields.
    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.iter().flat_map(Map::keys)
    }

    /// Takes the token of its field `authorization`, which is named like the header in any case. `null` is none.
    pub(super) fn token(self) -> Result<Option<Secret>, ApiError> {
        let fields = self.0.into_iter().flatten();
        let mut given = fields.filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        let first = given.next().map(|(_, value)| value);
        if given.next().is_some() {
            return Err(ApiError::invalid("authorization", "is given twice"));
        }
        match first {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => bearer_of(&text).map(Some),
            Some(_) => Err(ApiError::invalid("authorization", "must be a text")),
        }
    }
}

/// A message of a client.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Incoming {
    /// Starts the connection; the first message.
    ConnectionInit {
        #[serde(default)]
        payload: InitPayload,
    },
    /// Must be answered with a pong that has the same payload.
    Ping {
        #[serde(default)]
        payload: Payload,
    },
    /// The answer to a ping, or an unsolicited sign of life.
    Pong,
    /// Starts an operation.
    Subscribe {
        /// The client's id of the operation.
        id: String,
        #[serde(deserialize_with = "body")]
        payload: Body,
    },
    /// Ends an operation.
    Complete { id: String },
}

/// Decodes the payload of an operation. The derived decoder alone would also accept an array with the fields in order.
fn body<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Body, D::Error> {
    let fields = Map::deserialize(deserializer)?;
    decode_value(Value::Object(fields)).map_err(D::Error::custom)
}

/// Decodes a message of a client.
pub(super) fn decode(text: &str) -> Result<Incoming, ApiError> {
    let message = decode_json(text.as_bytes())?;
    if let Incoming::Subscribe { id, .. } = &message
        && !(1..=ID_CHARS_MAX).contains(&id.chars().count())
    {
        return Err(ApiError::invalid("id", format!("must be a text of 1 to {ID_CHARS_MAX} characters")));
    }
    Ok(message)
}

/// A message of the server.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Outgoing {
    /// The connection accepts operations from now on.
    ConnectionAck,
    /// The answer to a ping.
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Payload,
    },
    /// An answer of an operation; a subscription has any number of them.
    Next { id: String, payload: Answer },
    /// The operation failed, or a subscription ended. This is its last message.
    Error { id: String, payload: Vec<ServerError> },
    /// The operation is complete. This is its last message.
    Complete { id: String },
}

impl From<Outgoing> for ws::Message {
    fn from(message: Outgoing) -> Self {
        // Texts, numbers, lists and maps with text keys always have a JSON form.
        Self::text(serde_json::to_string(&message).expect("a wire type is serializable"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_the_subprotocol() {
        for text in [
            r#"{"type":"connection_init"}"#,
            r#"{"type":"connection_init","payload":null}"#,
            r#"{"type":"connection_init","payload":{"a":1}}"#,
            r#"{"type":"ping"}"#,
            r#"{"type":"pong","payload":{"a":1}}"#,
            r#"{"id":"1","type":"subscribe","payload":{"query":"{a}"}}"#,
            r#"{"type":"subscribe","id":"1","payload":{"query":"{a}","variables":null,"operationName":null,"extensions":{}}}"#,
            r#"{"type":"complete","id":"1"}"#,
        ] {
            decode(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
        for (text, word) in [
            ("", "EOF"),
            ("[]", "array"),
            ("{}", "type"),
            (r#"{"type":"start","id":"1","payload":{"query":"{a}"}}"#, "start"),
            (r#"{"type":"subscribe","payload":{"query":"{a}"}}"#, "id"),
            (r#"{"type":"subscribe","id":"","payload":{"query":"{a}"}}"#, "id"),
            (r#"{"type":"subscribe","id":1,"payload":{"query":"{a}"}}"#, "string"),
            (r#"{"type":"subscribe","id":"1"}"#, "payload"),
            (
                r#"{"type":"subscribe","id":"1","payload":{"query":"{a}","varaibles":{}}}"#,
                "did you mean variables?",
            ),
            (r#"{"type":"subscribe","id":"1","payload":["{a}"]}"#, "map"),
            (r#"{"type":"connection_init","payload":"x"}"#, "map"),
            (r#"{"type":"complete"}"#, "id"),
        ] {
            let error = decode(text).expect_err(text).to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        let long = format!(
            r#"{{"type":"subscribe","id":"{}","payload":{{"query":"{{a}}"}}}}"#,
            "x".repeat(ID_CHARS_MAX + 1)
        );
        assert_eq!(decode(&long).expect_err("too long").field(), Some("id"));
        assert!(decode(&long.replacen('x', "", 1)).is_ok());
    }

    fn token(payload: &str) -> Result<Option<String>, ApiError> {
        let text = format!(r#"{{"type":"connection_init","payload":{payload}}}"#);
        let Incoming::ConnectionInit { payload } = decode(&text).expect("a message") else {
            panic!("{text}")
        };
        assert!(!format!("{payload:?}").contains("btk_"), "{payload:?}");
        Ok(payload.token()?.map(|token| token.expose().to_owned()))
    }

    #[test]
    fn connection_init_may_have_a_token() {
        for (payload, expected) in [
            ("null", None),
            ("{}", None),
            (r#"{"authorization":null}"#, None),
            (r#"{"authorization":"Bearer btk_x","other":1}"#, Some("btk_x")),
            (r#"{"Authorization":"bearer btk_x"}"#, Some("btk_x")),
        ] {
            assert_eq!(token(payload).expect("valid").as_deref(), expected, "{payload}");
        }
        for payload in [
            r#"{"authorization":7}"#,
            r#"{"authorization":"btk_x"}"#,
            r#"{"authorization":"Bearer btk_x","Authorization":"Bearer btk_y"}"#,
        ] {
            let error = token(payload).expect_err(payload);
            assert!(!error.to_string().contains("btk_"), "{error}");
        }
    }

    #[test]
    fn server_messages_match_the_subprotocol() {
        let id = || "1".to_owned();
        for (message, text) in [
            (Outgoing::ConnectionAck, r#"{"type":"connection_ack"}"#),
            (Outgoing::Pong { payload: None }, r#"{"type":"pong"}"#),
            (Outgoing::Pong { payload: Some(Map::new()) }, r#"{"type":"pong","payload":{}}"#),
            (Outgoing::Complete { id: id() }, r#"{"type":"complete","id":"1"}"#),
            (
                Outgoing::Error { id: id(), payload: vec![ServerError::new("m", None)] },
                r#"{"type":"error","id":"1","payload":[{"message":"m"}]}"#,
            ),
            (
                Outgoing::Next { id: id(), payload: Answer { data: Some(7.into()), errors: Vec::new() } },
                r#"{"type":"next","id":"1","payload":{"data":7}}"#,
            ),
        ] {
            assert_eq!(ws::Message::from(message), ws::Message::text(text));
        }
    }
}
