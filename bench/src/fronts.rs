//! Batuta's fronts: the same two calls over gRPC, REST, GraphQL and WebSocket, each on one connection a host.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use batuta_proto::v1;
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::batuta::{BatutaHost, WAIT_MS, granted};
use crate::error::{Error, Result};
use crate::system::{Held, Locks};

const ACQUIRE: &str = "mutation ($input: AcquireInput!) { acquire(input: $input) { lockId fencingToken } }";
const RELEASE: &str = "mutation ($input: ReleaseInput!) { release(input: $input) { lockId } }";

/// A host that uses one of Batuta's protocols.
#[derive(Clone)]
pub(crate) enum Front {
    /// gRPC, with many calls in one stream.
    Pipeline(BatutaHost),
    /// gRPC, call by call.
    Grpc(BatutaHost),
    /// REST, over HTTP/2.
    Rest(Http),
    /// GraphQL, over HTTP/2.
    GraphQl(Http),
    /// WebSocket frames.
    Ws(Arc<Ws>),
}

impl Front {
    /// All fronts, for the session of `host` and with its key; `rest` is the node's REST port.
    pub(crate) async fn all(host: BatutaHost, rest: u16) -> Result<Vec<(&'static str, Self)>> {
        let headers = host.bearer().headers();
        let client = reqwest::Client::builder().default_headers(headers.clone());
        let http = Http {
            base: format!("http://127.0.0.1:{rest}"),
            client: client.http2_prior_knowledge().tcp_nodelay(true).build()?,
            session_id: host.session_id().to_owned(),
        };
        let ws = Ws::connect(rest, headers, host.session_id()).await?;
        Ok(vec![
            ("gRPC, one stream", Self::Pipeline(host.clone())),
            ("gRPC", Self::Grpc(host)),
            ("REST", Self::Rest(http.clone())),
            ("WebSocket", Self::Ws(Arc::new(ws))),
            ("GraphQL", Self::GraphQl(http)),
        ])
    }
}

impl Locks for Front {
    async fn lock(&self, name: String) -> Result<Held> {
        match self {
            Self::Pipeline(host) => host.lock(name).await,
            Self::Grpc(host) => {
                let answer = host.unary().acquire(host.wanted(name.clone())).await?.into_inner();
                Ok(Held { name, id: granted(answer)?.lock_id })
            }
            Self::Rest(http) => {
                let body = json!({ "name": name, "session_id": http.session_id, "wait_ms": WAIT_MS });
                let request = http.client.post(format!("{}/api/v1/locks", http.base)).json(&body);
                held(name, &http.send(request).await?["lock_id"])
            }
            Self::GraphQl(http) => {
                let input = json!({ "name": name, "sessionId": http.session_id, "waitMs": WAIT_MS });
                held(name, &http.graphql(ACQUIRE, &input).await?["acquire"]["lockId"])
            }
            Self::Ws(ws) => {
                let frame = json!({ "op": "acquire", "name": name, "wait_ms": WAIT_MS });
                held(name, &ws.call(frame).await?["lock_id"])
            }
        }
    }

    async fn unlock(&self, lock: Held) -> Result<()> {
        match self {
            Self::Pipeline(host) => host.unlock(lock).await?,
            Self::Grpc(host) => {
                host.unary().release(v1::ReleaseRequest { lock_id: lock.id, ..Default::default() }).await?;
            }
            Self::Rest(http) => {
                let url = format!("{}/api/v1/locks/{}?lock_id={}", http.base, lock.name, lock.id);
                http.send(http.client.delete(url)).await?;
            }
            Self::GraphQl(http) => {
                http.graphql(RELEASE, &json!({ "lockId": lock.id })).await?;
            }
            Self::Ws(ws) => {
                ws.call(json!({ "op": "release", "lock_id": lock.id })).await?;
            }
        }
        Ok(())
    }
}

fn held(name: String, id: &Value) -> Result<Held> {
    let id = id.as_str().ok_or_else(|| Error::other("an answer without a lock id"))?.to_owned();
    Ok(Held { name, id })
}

/// One HTTP connection shared by many requests.
#[derive(Clone)]
pub(crate) struct Http {
    base: String,
    client: reqwest::Client,
    session_id: String,
}

impl Http {
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Value> {
        let response = request.send().await?;
        let status = response.status();
        let body: Value = serde_json::from_slice(&response.bytes().await?)?;
        if status.is_success() { Ok(body) } else { Err(Error::other(format!("HTTP {status}: {body}"))) }
    }

    async fn graphql(&self, query: &str, input: &Value) -> Result<Value> {
        let body = json!({ "query": query, "variables": { "input": input } });
        let mut answer = self.send(self.client.post(format!("{}/graphql", self.base)).json(&body)).await?;
        if answer["errors"].is_null() {
            Ok(answer["data"].take())
        } else {
            Err(Error::other(format!("GraphQL: {}", answer["errors"])))
        }
    }
}

type Answers = Arc<Mutex<HashMap<String, oneshot::Sender<Result<Value>>>>>;

/// A WebSocket with many requests in flight; it is closed when dropped.
pub(crate) struct Ws {
    outgoing: mpsc::UnboundedSender<Message>,
    answers: Answers,
    next_id: AtomicU64,
}

impl Ws {
    async fn connect(port: u16, headers: HeaderMap, session_id: &str) -> Result<Self> {
        let mut handshake = format!("ws://127.0.0.1:{port}/ws/v1").into_client_request().map_err(Box::new)?;
        handshake.headers_mut().extend(headers);
        let (socket, _) = connect_async(handshake).await.map_err(Box::new)?;
        let (mut write, mut read) = socket.split();
        let (outgoing, mut frames) = mpsc::unbounded_channel();
        let answers = Answers::default();
        tokio::spawn(async move {
            while let Some(frame) = frames.recv().await {
                if write.feed(frame).await.is_err() || (frames.is_empty() && write.flush().await.is_err()) {
                    return;
                }
            }
        });
        let waiting = Arc::clone(&answers);
        tokio::spawn(async move {
            while let Some(Ok(message)) = read.next().await {
                if let Message::Text(text) = message {
                    answer(&waiting, &text);
                }
            }
            // Requests still waiting learn that no answer will come.
            waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
        });
        let ws = Self { outgoing, answers, next_id: AtomicU64::new(1) };
        ws.call(json!({ "op": "hello", "session_id": session_id })).await?;
        Ok(ws)
    }

    async fn call(&self, mut frame: Value) -> Result<Value> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed).to_string();
        frame["id"] = json!(id);
        let (tell, answer) = oneshot::channel();
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(id, tell);
        let ended = || Error::other("the WebSocket has ended");
        self.outgoing.send(Message::text(frame.to_string())).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

/// Hands a frame to the request that it answers; lease events answer no request.
fn answer(waiting: &Answers, text: &str) {
    let Ok(mut frame) = serde_json::from_str::<Value>(text) else { return };
    let result = match frame["type"].as_str() {
        Some("reply") => Ok(frame["result"].take()),
        Some("error") => Err(Error::other(format!("WebSocket: {}", frame["error"]))),
        _ => return,
    };
    let id = frame["id"].as_str().unwrap_or_default();
    let asked = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    if let Some(asked) = asked {
        // A cancelled request has no receiver.
        drop(asked.send(result));
    }
}
