//! A client of `graphql-transport-ws`, one operation a connection.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// An operation on its own connection. Dropping it ends both.
pub struct GraphqlOperation(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl GraphqlOperation {
    /// Connects and asks.
    ///
    /// # Panics
    /// When the node does not take the connection: the test has failed.
    pub async fn start(url: &str, query: &str, variables: Value) -> Self {
        let mut request = url.into_client_request().expect("a URL");
        let subprotocol = HeaderValue::from_static("graphql-transport-ws");
        request.headers_mut().insert("sec-websocket-protocol", subprotocol);
        let (socket, _) = tokio_tungstenite::connect_async(request).await.expect("connects");
        let mut operation = Self(socket);
        operation.send(&json!({"type": "connection_init"})).await;
        let acknowledged = operation.receive().await.expect("the connection stands");
        assert_eq!(acknowledged["type"], "connection_ack");
        let payload = json!({"query": query, "variables": variables});
        operation.send(&json!({"type": "subscribe", "id": "1", "payload": payload})).await;
        operation
    }

    async fn send(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).await.expect("sends");
    }

    /// The next message; nothing when the connection is gone.
    async fn receive(&mut self) -> Option<Value> {
        loop {
            match self.0.next().await?.ok()? {
                Message::Text(text) => return Some(serde_json::from_str(&text).expect("JSON")),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// The next answer, as the body of a POST has it; nothing when the operation is complete or the connection is gone.
    pub async fn answer(&mut self) -> Option<Value> {
        let mut message = self.receive().await?;
        match message["type"].as_str() {
            Some("next") => Some(message["payload"].take()),
            Some("error") => Some(json!({"errors": message["payload"].take()})),
            _ => None,
        }
    }
}
