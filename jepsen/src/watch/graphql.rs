//! Watching through a subscription of GraphQL (the `graphql-transport-ws` protocol).

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::source::{News, PROGRESS_MS, changes, progress, why};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const DOCUMENT: &str = "subscription ($from: Long!, $progress: Long!) {
    changes(fromRevision: $from, progressMs: $progress) {
        __typename
        ... on Progress { revision }
        ... on Changes { revision events {
            ordinal job kind sessionId lockId reason metadata name highWater
            grant { fencingToken count metadata locks { name mode } }
            waiter { locks { name mode } }
        } }
    }
}";

/// Subscribes to everything from a revision on.
pub(super) async fn open(url: &str, from: u64) -> Result<Socket, String> {
    let mut request = url.into_client_request().map_err(why)?;
    let protocol = HeaderValue::from_static("graphql-transport-ws");
    request.headers_mut().insert("sec-websocket-protocol", protocol);
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.map_err(why)?;
    let variables = json!({"from": from, "progress": PROGRESS_MS});
    let payload = json!({"query": DOCUMENT, "variables": variables});
    for message in
        [json!({"type": "connection_init"}), json!({"id": "1", "type": "subscribe", "payload": payload})]
    {
        socket.send(Message::text(message.to_string())).await.map_err(why)?;
    }
    Ok(socket)
}

/// What comes next.
pub(super) async fn next(socket: &mut Socket) -> News {
    let message = socket.next().await.ok_or("the connection ended")?.map_err(why)?;
    let Message::Text(text) = message else { return Ok(Vec::new()) };
    let frame: Value = serde_json::from_str(&text).map_err(why)?;
    let item = &frame["payload"]["data"]["changes"];
    match (frame["type"].as_str(), item["__typename"].as_str()) {
        (Some("connection_ack"), _) => Ok(Vec::new()),
        (Some("ping"), _) => {
            let pong = json!({"type": "pong"}).to_string();
            socket.send(Message::text(pong)).await.map_err(why)?;
            Ok(Vec::new())
        }
        (Some("next"), Some("Progress")) => Ok(progress(&item["revision"])),
        (Some("next"), Some("Changes")) => Ok(vec![changes(&item["revision"], &as_rest(&item["events"]))?]),
        _ => Err(frame.to_string()),
    }
}

/// The same as REST spells it: names in snake case, enumerations in small letters.
fn as_rest(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(as_rest).collect(),
        Value::Object(fields) => {
            let renamed = fields.iter().map(|(name, value)| {
                let value = match (name.as_str(), value.as_str()) {
                    ("job" | "kind" | "mode", Some(word)) => Value::from(word.to_ascii_lowercase()),
                    _ => as_rest(value),
                };
                (snake_case(name), value)
            });
            Value::Object(renamed.collect::<Map<String, Value>>())
        }
        other => other.clone(),
    }
}

fn snake_case(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_spelt_as_rest_spells_them() {
        let told = json!([{"kind": "LOCK_GRANTED", "lockId": "l-1.0", "grant": {"fencingToken": 3,
            "locks": [{"name": "A/B", "mode": "EXCLUSIVE"}]}}]);
        let rest = json!([{"kind": "lock_granted", "lock_id": "l-1.0", "grant": {"fencing_token": 3,
            "locks": [{"name": "A/B", "mode": "exclusive"}]}}]);
        assert_eq!(as_rest(&told), rest);
    }
}
