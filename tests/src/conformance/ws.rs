//! Runs scenarios through the WebSocket front, with one connection per operation: dropping the operation closes its connection.

use futures_util::future::BoxFuture;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::{Driver, Operation, Outcome, Refusal};

/// A driver over the WebSocket front at a URL.
pub struct WsDriver(pub String);

impl Driver for WsDriver {
    fn front(&self) -> &'static str {
        "WebSocket"
    }

    fn call(&self, operation: Operation) -> BoxFuture<'static, Outcome> {
        let url = self.0.clone();
        Box::pin(async move {
            let connected = tokio_tungstenite::connect_async(url).await;
            let (mut socket, _) = connected.map_err(|error| match error {
                tungstenite::Error::Io(_) => Refusal::unreachable(),
                other => Refusal::no_answer(other),
            })?;
            let mut frame = operation.args.clone();
            frame.insert("id".to_owned(), json!("1"));
            if let Some(key) = &operation.key {
                frame.insert("key".to_owned(), json!(key));
            }
            if operation.name == "changes" {
                return changes(&mut socket, &operation).await;
            }
            frame.insert("op".to_owned(), json!(operation.name));
            send(&mut socket, &Value::Object(frame)).await?;
            loop {
                let answer = receive(&mut socket).await?;
                match answer["type"].as_str() {
                    Some("reply") => return Ok(answer["result"].clone()),
                    Some("error") => return Err(refusal(&answer)),
                    // A lease notification.
                    _ => {}
                }
            }
        })
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn send(socket: &mut Socket, frame: &Value) -> Result<(), Refusal> {
    socket.send(Message::text(frame.to_string())).await.map_err(Refusal::no_answer)
}

async fn receive(socket: &mut Socket) -> Result<Value, Refusal> {
    loop {
        let message = socket.next().await.ok_or_else(|| Refusal::no_answer("the connection ended"))?;
        if let Message::Text(text) = message.map_err(Refusal::no_answer)? {
            return serde_json::from_str(&text).map_err(Refusal::no_answer);
        }
    }
}

fn refusal(frame: &Value) -> Refusal {
    let problem = &frame["error"];
    let code = problem["code"].as_str().map_or_else(|| frame.to_string(), str::to_owned);
    Refusal { code, field: problem["field"].as_str().map(str::to_owned), details: problem["details"].clone() }
}

async fn changes(socket: &mut Socket, operation: &Operation) -> Outcome {
    let until = operation.number("until_revision");
    let mut frame = json!({
        "id": "1", "op": "watch", "from_revision": operation.number("after") + 1, "progress_ms": 100,
        "areas": operation.texts("areas").join(","), "kinds": operation.texts("kinds").join(","),
    });
    for field in ["name", "prefix", "session_id"] {
        if !operation.text(field).is_empty() {
            frame[field] = json!(operation.text(field));
        }
    }
    send(socket, &frame).await?;
    let mut kinds = Vec::new();
    loop {
        let answer = receive(socket).await?;
        let revision = answer["revision"].as_u64().unwrap_or_default();
        match answer["type"].as_str() {
            Some("error") => return Err(refusal(&answer)),
            Some("changes") if revision <= until => {
                let events = answer["events"].as_array().into_iter().flatten();
                kinds.extend(events.map(|event| event["kind"].clone()));
            }
            Some("changes" | "progress") => {}
            _ => continue,
        }
        if revision >= until {
            return Ok(json!({ "kinds": kinds }));
        }
    }
}
