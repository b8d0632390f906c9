//! A WebSocket front on a free port, and a client that waits for the frames that a test asks for.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::VecDeque;
use std::time::Duration;

use batuta_api::ws::{self, WsOptions};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::Node;

/// How long a test waits for a frame before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Receive buffer of a client's connection, in bytes.
const RECEIVE_BYTES: u32 = 64 * 1024;

/// A node with a WebSocket front.
pub(crate) struct Front {
    pub(crate) node: Node,
    address: std::net::SocketAddr,
    path: &'static str,
    subprotocol: &'static str,
    server: JoinHandle<()>,
}

impl Front {
    pub(crate) async fn start(options: WsOptions) -> Self {
        let node = Node::start().await;
        let router = ws::alone(ws::router(node.service.clone(), options), &node.service);
        Self::serve(node, router, ws::PATH, ws::SUBPROTOCOL).await
    }

    /// Serves a front of the node at this path, with this subprotocol.
    pub(crate) async fn serve(
        node: Node,
        router: axum::Router,
        path: &'static str,
        subprotocol: &'static str,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("serves") });
        Self { node, address, path, subprotocol, server }
    }

    pub(crate) async fn stop(self) {
        // Stopping the node also ends connections that a test left open.
        self.node.stop().await;
        self.server.abort();
    }

    pub(crate) async fn connect(&self) -> Client {
        self.open(Some(self.subprotocol), None).await.expect("connects").0
    }

    /// Tries a handshake. Returns the agreed subprotocol, or the problem in the answer.
    pub(crate) async fn handshake(
        &self,
        subprotocol: Option<&str>,
        origin: Option<&str>,
    ) -> Result<Option<String>, Value> {
        self.open(subprotocol, origin).await.map(|(_, agreed)| agreed)
    }

    async fn open(
        &self,
        subprotocol: Option<&str>,
        origin: Option<&str>,
    ) -> Result<(Client, Option<String>), Value> {
        let mut request =
            format!("ws://{}{}", self.address, self.path).into_client_request().expect("a request");
        for (header, value) in [("sec-websocket-protocol", subprotocol), ("origin", origin)] {
            if let Some(value) = value {
                request.headers_mut().insert(header, HeaderValue::from_str(value).expect("a header"));
            }
        }
        // A small receive buffer, so that tests of clients that do not read fill it quickly.
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(RECEIVE_BYTES).expect("a size");
        let stream = socket.connect(self.address).await.expect("listens");
        match client_async(request, stream).await {
            Ok((socket, response)) => {
                let agreed = response.headers().get("sec-websocket-protocol");
                let agreed = agreed.map(|value| value.to_str().expect("text").to_owned());
                Ok((Client { socket, aside: VecDeque::new() }, agreed))
            }
            Err(Error::Http(response)) => {
                let body = response.body().as_deref().unwrap_or_default();
                Err(serde_json::from_slice(body).expect("a problem"))
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// A WebSocket client.
pub(crate) struct Client {
    socket: WebSocketStream<TcpStream>,
    /// Frames that arrived before the frame that was waited for.
    aside: VecDeque<Value>,
}

impl Client {
    pub(crate) async fn raw(&mut self, message: Message) {
        self.socket.send(message).await.expect("sends");
    }

    pub(crate) async fn send(&mut self, request: Value) {
        self.raw(Message::text(request.to_string())).await;
    }

    pub(crate) async fn next(&mut self) -> Message {
        let message = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("in time");
        message.expect("the connection goes on").expect("a message")
    }

    /// Returns the next frame for which `fits` is true; other frames are kept for later.
    pub(crate) async fn find(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(place) = self.aside.iter().position(&fits) {
            return self.aside.remove(place).expect("there");
        }
        loop {
            match self.next().await {
                Message::Text(text) => {
                    let frame: Value = serde_json::from_str(&text).expect("JSON");
                    if fits(&frame) {
                        return frame;
                    }
                    self.aside.push_back(frame);
                }
                Message::Close(frame) => panic!("closed: {frame:?}; before: {:?}", self.aside),
                _ => {}
            }
        }
    }

    /// Returns the next frame of this type.
    pub(crate) async fn frame(&mut self, kind: &str) -> Value {
        self.find(|frame| frame["type"] == kind).await
    }

    /// Returns the next lease notification of this kind.
    pub(crate) async fn lease(&mut self, event: &str) -> Value {
        self.find(|frame| frame["type"] == "lease" && frame["event"] == event).await
    }

    /// Returns the reply to a request, or its error.
    pub(crate) async fn answer(&mut self, id: &str) -> Value {
        self.find(|frame| frame["id"] == id && (frame["type"] == "reply" || frame["type"] == "error")).await
    }

    /// Sends a request that succeeds, and returns its reply.
    pub(crate) async fn ask(&mut self, request: Value) -> Value {
        let id = request["id"].as_str().expect("an id").to_owned();
        self.send(request).await;
        let answer = self.answer(&id).await;
        assert_eq!(answer["type"], "reply", "{answer}");
        answer
    }

    /// Sends a request that is refused, and returns the problem.
    pub(crate) async fn fail(&mut self, request: Value) -> Value {
        let id = request["id"].as_str().expect("an id").to_owned();
        self.send(request).await;
        let answer = self.answer(&id).await;
        assert_eq!(answer["type"], "error", "{answer}");
        answer["error"].clone()
    }

    /// Returns the code of the close frame; skips the frames before it.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        self.close_frame().await.map(|(code, _)| code)
    }

    /// Returns the code and the reason of the close frame; skips the frames before it.
    pub(crate) async fn close_frame(&mut self) -> Option<(u16, String)> {
        loop {
            if let Message::Close(frame) = self.next().await {
                return frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
            }
        }
    }

    /// Like [`Self::close_code`], but returns `None` when the connection was cut without a close frame.
    pub(crate) async fn end(&mut self) -> Option<u16> {
        loop {
            match tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("in time") {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Reads raw bytes until the server closes the connection, without answering pings.
    pub(crate) async fn read_without_answering(self) -> Vec<u8> {
        let (mut stream, mut bytes) = (self.socket.into_inner(), Vec::new());
        let reading = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes));
        reading.await.expect("in time").expect("reads");
        bytes
    }

    pub(crate) async fn close(mut self) {
        self.socket.close(None).await.expect("closes");
    }
}
