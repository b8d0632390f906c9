//! A client of `graphql-transport-ws` with one operation per connection.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// An operation on its own connection. Dropping it ends the operation and the connection.
pub struct GraphqlOperation(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl GraphqlOperation {
    /// Connects and starts an operation.
    ///
    /// # Panics
    /// When the node does not accept the connection: the test has failed.
    pub async fn start(url: &str, query: &str, variables: Value) -> Self {
        Self::try_start(url, query, variables).await.expect("the node takes the connection")
    }

    /// Connects and starts an operation, when the node may be down.
    ///
    /// # Errors
    /// Why the node did not take the connection.
    pub async fn try_start(url: &str, query: &str, variables: Value) -> Result<Self, String> {
        let mut request = url.into_client_request().map_err(|error| error.to_string())?;
        let subprotocol = HeaderValue::from_static("graphql-transport-ws");
        request.headers_mut().insert("sec-websocket-protocol", subprotocol);
        let (socket, _) =
            tokio_tungstenite::connect_async(request).await.map_err(|error| error.to_string())?;
        let mut operation = Self(socket);
        operation.send(&json!({"type": "connection_init"})).await?;
        let acknowledged = operation.receive().await.ok_or("the connection ended")?;
        if acknowledged["type"] != "connection_ack" {
            return Err(acknowledged.to_string());
        }
        let payload = json!({"query": query, "variables": variables});
        operation.send(&json!({"type": "subscribe", "id": "1", "payload": payload})).await?;
        Ok(operation)
    }

    async fn send(&mut self, message: &Value) -> Result<(), String> {
        self.0.send(Message::text(message.to_string())).await.map_err(|error| error.to_string())
    }

    /// Receives the next message; `None` when the connection has ended.
    async fn receive(&mut self) -> Option<Value> {
        loop {
            match self.0.next().await?.ok()? {
                Message::Text(text) => return Some(serde_json::from_str(&text).expect("JSON")),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// Receives the next answer, in the shape of the body of a POST; `None` when the operation is complete or the connection has ended.
    pub async fn answer(&mut self) -> Option<Value> {
        let mut message = self.receive().await?;
        match message["type"].as_str() {
            Some("next") => Some(message["payload"].take()),
            Some("error") => Some(json!({"errors": message["payload"].take()})),
            _ => None,
        }
    }
}
