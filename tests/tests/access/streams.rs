//! Streams of every front, opened by a caller and read to their end.

use std::time::{Duration, Instant};

use batuta_proto::v1;
use batuta_proto::v1::lock_service_client::LockServiceClient;
use batuta_proto::v1::pipeline_service_client::PipelineServiceClient;
use batuta_proto::v1::watch_service_client::WatchServiceClient;
use batuta_proto::v1::{answer, call, hold_request, hold_response};
use batuta_tests::PATIENCE;
use futures_util::{SinkExt as _, Stream, StreamExt as _};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::secure::{Caller, LONG_MS, REVOKED_WITHIN, field};

/// An open stream. Its task ends with the code that ended the stream.
pub(crate) struct Open {
    /// The front and the kind of the stream.
    pub(crate) what: &'static str,
    task: JoinHandle<String>,
}

impl Open {
    /// A stream that this task reads to its end.
    pub(crate) fn new(what: &'static str, task: JoinHandle<String>) -> Self {
        Self { what, task }
    }

    /// Waits for the end, and returns its code and how long it took.
    pub(crate) async fn ended(self) -> (&'static str, String, Duration) {
        let begun = Instant::now();
        let code = match timeout(REVOKED_WITHIN, self.task).await {
            Ok(code) => code.expect("no panic"),
            Err(_) => format!("still open after {REVOKED_WITHIN:?}"),
        };
        (self.what, code, begun.elapsed())
    }

    /// Whether the stream has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.task.is_finished()
    }
}

/// Waits for the ends of streams, prints how long each took, and checks their codes.
pub(crate) async fn all_end(
    why: &str,
    streams: Vec<Open>,
    accepted: impl Fn(&str) -> &'static [&'static str],
) {
    let ends = futures_util::future::join_all(streams.into_iter().map(Open::ended)).await;
    for (what, code, elapsed) in &ends {
        println!("{why}: {what} ended with {code} after {elapsed:?}");
    }
    let wrong: Vec<_> =
        ends.iter().filter(|(what, code, _)| !accepted(what).contains(&code.as_str())).collect();
    assert!(wrong.is_empty(), "{why}: {wrong:?}");
}

/// The code of a gRPC status.
pub(crate) fn code_of(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.map_or_else(|| format!("grpc {:?}: {}", status.code(), status.message()), |info| info.reason)
}

/// The code of an error in a pipeline.
pub(crate) fn code_in(details: &[u8]) -> String {
    let status = tonic_types::Status::decode(details).expect("a status");
    code_of(&Status::with_details(status.code.into(), status.message, details.to_vec().into()))
}

/// A sender, and the stream of what it sends.
pub(crate) fn channel<T: Send + 'static>()
-> (mpsc::UnboundedSender<T>, impl Stream<Item = T> + Send + 'static) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|message| (message, receiver))
    });
    (sender, stream)
}

/// Reads server-sent events of a watch. `query` selects the changes.
pub(crate) async fn sse(caller: &Caller, query: &str) -> Open {
    let mut request = reqwest::Client::new().get(format!("{}/api/v1/watch?{query}", caller.base));
    for (name, value) in caller.headers() {
        request = request.header(name, value);
    }
    let mut response = request.send().await.expect("an answer");
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap_or_default());
    let first = timeout(PATIENCE, response.chunk()).await.expect("in time").expect("goes on");
    let mut told = String::from_utf8_lossy(&first.expect("an event")).into_owned();
    let task = tokio::spawn(async move {
        while let Ok(Some(chunk)) = response.chunk().await {
            told.push_str(&String::from_utf8_lossy(&chunk));
        }
        let problem = told.rsplit("event: error").next().filter(|_| told.contains("event: error"));
        let data = problem.and_then(|tail| tail.lines().find_map(|line| line.strip_prefix("data: ")));
        let problem: Value = data.and_then(|data| serde_json::from_str(data).ok()).unwrap_or_default();
        problem["code"].as_str().unwrap_or("no error event").to_owned()
    });
    Open::new("SSE", task)
}

/// A watch of locks over gRPC.
pub(crate) fn lock_watch() -> v1::WatchRequest {
    v1::WatchRequest { areas: vec!["lock".to_owned()], progress_ms: 100, ..Default::default() }
}

/// Reads a watch over gRPC.
pub(crate) async fn grpc_watch(caller: &Caller) -> Open {
    let mut service = WatchServiceClient::connect(caller.grpc.clone()).await.expect("connects");
    let mut stream = service.watch(caller.request(lock_watch())).await.expect("a watch").into_inner();
    let _ = stream.message().await.expect("goes on").expect("a first message");
    let task = tokio::spawn(async move {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return "no status".to_owned(),
                Err(status) => return code_of(&status),
            }
        }
    });
    Open::new("gRPC watch", task)
}

/// A lock that is held for a stream.
pub(crate) struct Held {
    /// Sends to the stream, which ends when this is dropped.
    pub(crate) sender: mpsc::UnboundedSender<v1::HoldRequest>,
    /// The end of the stream.
    pub(crate) open: Open,
}

/// A message of the client of a hold.
pub(crate) fn holding(request: hold_request::Request) -> v1::HoldRequest {
    v1::HoldRequest { request: Some(request) }
}

/// One exclusive lock, to be taken for a long time.
pub(crate) fn wanted(name: &str) -> v1::AcquireRequest {
    let lock = v1::LockRequest { name: name.to_owned(), ..Default::default() };
    v1::AcquireRequest { locks: vec![lock], ttl_ms: Some(LONG_MS), ..Default::default() }
}

/// Holds a lock for a stream over gRPC.
pub(crate) async fn hold(caller: &Caller, name: &str) -> Held {
    let mut service = LockServiceClient::connect(caller.grpc.clone()).await.expect("connects");
    let (sender, messages) = channel();
    sender.send(holding(hold_request::Request::Acquire(wanted(name)))).expect("open");
    let mut stream = service.hold(caller.request(messages)).await.expect("a stream").into_inner();
    let granted = stream.message().await.expect("goes on").expect("the grant");
    assert!(matches!(granted.event, Some(hold_response::Event::Granted(_))), "{granted:?}");
    let task = tokio::spawn(async move {
        loop {
            match stream.message().await {
                Ok(Some(v1::HoldResponse { event: Some(hold_response::Event::Lost(lost)), .. })) => {
                    return format!("lost: {}", lost.reason);
                }
                Ok(Some(_)) => {}
                Ok(None) => return "no status".to_owned(),
                Err(status) => return code_of(&status),
            }
        }
    });
    Held { sender, open: Open::new("Hold", task) }
}

/// A message with one call of a pipeline.
pub(crate) fn calling(call_id: u64, caller: &Caller, request: call::Request) -> v1::PipelineRequest {
    let namespace = caller.namespace.clone();
    let call = v1::Call { call_id, namespace, request: Some(request), ..Default::default() };
    v1::PipelineRequest { calls: vec![call], ..Default::default() }
}

/// A pipeline of a caller.
pub(crate) struct Piped {
    /// Sends to the stream, which ends when this is dropped.
    pub(crate) sender: mpsc::UnboundedSender<v1::PipelineRequest>,
    /// The answers.
    pub(crate) answers: tonic::Streaming<v1::PipelineResponse>,
    ready: Vec<v1::Answer>,
}

impl Piped {
    /// Opens a pipeline.
    pub(crate) async fn open(caller: &Caller) -> Result<Self, Status> {
        let mut service = PipelineServiceClient::connect(caller.grpc.clone()).await.expect("connects");
        let (sender, messages) = channel();
        let answers = service.pipeline(caller.request(messages)).await?.into_inner();
        Ok(Self { sender, answers, ready: Vec::new() })
    }

    /// The next answer: the id of its call, and its result or the code of its refusal.
    pub(crate) async fn next(&mut self) -> Result<(u64, Result<answer::Result, String>), Status> {
        while self.ready.is_empty() {
            let message = self.answers.message().await?;
            self.ready = message.ok_or_else(|| Status::cancelled("no status"))?.answers;
        }
        let answer = self.ready.remove(0);
        let result = match answer.result {
            Some(answer::Result::Error(details)) => Err(code_in(&details)),
            Some(result) => Ok(result),
            None => Err("no result".to_owned()),
        };
        Ok((answer.call_id, result))
    }
}

/// Reads a watch inside a pipeline. The sender keeps the stream open.
pub(crate) async fn piped_watch(caller: &Caller) -> (mpsc::UnboundedSender<v1::PipelineRequest>, Open) {
    let mut piped = Piped::open(caller).await.expect("a stream");
    let sender = piped.sender.clone();
    sender.send(calling(1, caller, call::Request::Watch(lock_watch()))).expect("open");
    piped.next().await.expect("goes on").1.expect("a first message");
    let task = tokio::spawn(async move {
        loop {
            match piped.next().await {
                Ok((_, Ok(_))) => {}
                Ok((_, Err(code))) => return code,
                Err(status) => return code_of(&status),
            }
        }
    });
    (sender, Open::new("Pipeline", task))
}

/// A WebSocket.
pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens a WebSocket with the caller's headers.
pub(crate) async fn connect(caller: &Caller, url: &str, subprotocol: &str) -> Result<Socket, Error> {
    let mut request = url.into_client_request()?;
    let value = HeaderValue::from_str(subprotocol).expect("ASCII");
    request.headers_mut().insert("sec-websocket-protocol", value);
    for (name, value) in caller.headers().into_iter().filter(|(name, _)| name == "authorization") {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        request.headers_mut().insert(name, HeaderValue::from_str(&value).expect("ASCII"));
    }
    Ok(tokio_tungstenite::connect_async(request).await?.0)
}

/// Opens the WebSocket front.
pub(crate) async fn ws(caller: &Caller) -> Socket {
    connect(caller, &caller.ws, "batuta.v1+json").await.expect("the node takes the connection")
}

/// Sends a frame.
pub(crate) async fn send(socket: &mut Socket, frame: Value) {
    socket.send(Message::text(frame.to_string())).await.expect("sends");
}

/// Receives a frame; an error is the reason of the end.
pub(crate) async fn receive(socket: &mut Socket) -> Result<Value, String> {
    loop {
        match timeout(PATIENCE, socket.next()).await.map_err(|_| "nothing in time".to_owned())? {
            Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("JSON")),
            Some(Ok(Message::Close(frame))) => {
                return Err(frame.map(|frame| frame.reason.to_string()).unwrap_or_default());
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.to_string()),
            None => return Err("the connection ended".to_owned()),
        }
    }
}

/// Receives the answer to a request, past everything else: its result, or the code of its refusal.
pub(crate) async fn answered(socket: &mut Socket, id: &str) -> Result<Value, String> {
    loop {
        let frame = receive(socket).await?;
        match frame["type"].as_str() {
            Some("reply") if frame["id"] == id => return Ok(frame["result"].clone()),
            Some("error") if frame["id"] == id => {
                return Err(frame["error"]["code"].as_str().unwrap_or_default().to_owned());
            }
            _ => {}
        }
    }
}

/// Codes that end streams.
const CODES: [&str; 5] =
    ["token_expired", "token_revoked", "principal_suspended", "permission_denied", "invalid_token"];

/// Reads a socket until an error or its end, and returns the code.
pub(crate) async fn end_of(mut socket: Socket) -> String {
    loop {
        match receive(&mut socket).await {
            Ok(frame) if frame["type"] == "error" => {
                let code = field(&frame, "code").and_then(Value::as_str).unwrap_or_default();
                return code.to_owned();
            }
            Ok(_) => {}
            Err(reason) => {
                let code = CODES.into_iter().find(|code| reason.contains(code));
                return code.map_or_else(|| format!("closed: {reason}"), str::to_owned);
            }
        }
    }
}

/// Opens a watch of locks over WebSocket.
pub(crate) async fn watching(caller: &Caller) -> Socket {
    let mut socket = ws(caller).await;
    send(&mut socket, json!({"id": "w", "op": "watch", "areas": "lock", "progress_ms": 100})).await;
    answered(&mut socket, "w").await.expect("a watch");
    socket
}

/// Reads a watch over WebSocket.
pub(crate) async fn ws_watch(caller: &Caller) -> Open {
    Open::new("WebSocket", tokio::spawn(end_of(watching(caller).await)))
}

/// Starts a GraphQL operation over WebSocket.
pub(crate) async fn graphql(caller: &Caller, query: &str) -> Socket {
    let mut socket = connect(caller, &caller.graphql, "graphql-transport-ws").await.expect("connects");
    send(&mut socket, json!({"type": "connection_init"})).await;
    assert_eq!(receive(&mut socket).await.expect("an answer")["type"], "connection_ack");
    let payload = json!({"query": query});
    send(&mut socket, json!({"type": "subscribe", "id": "1", "payload": payload})).await;
    socket
}

/// Reads a GraphQL subscription.
pub(crate) async fn subscription(caller: &Caller) -> Open {
    const QUERY: &str = "subscription { changes(areas: [LOCK], progressMs: 100) { __typename } }";
    let mut socket = graphql(caller, QUERY).await;
    let first = receive(&mut socket).await.expect("a first item");
    assert!(first["type"] == "next" && first["payload"]["errors"].is_null(), "{first}");
    let task = tokio::spawn(async move {
        loop {
            match receive(&mut socket).await {
                Ok(frame) => {
                    if let Some(code) = field(&frame, "code").and_then(Value::as_str) {
                        return code.to_owned();
                    }
                }
                Err(reason) => {
                    let code = CODES.into_iter().find(|code| reason.contains(code));
                    return code.map_or_else(|| format!("closed: {reason}"), str::to_owned);
                }
            }
        }
    });
    Open::new("subscription", task)
}
