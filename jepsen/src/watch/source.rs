//! The ways to watch: one open watch over each front.

use batuta_proto::v1;
use batuta_proto::v1::watch_response::Item;
use batuta_proto::v1::watch_service_client::WatchServiceClient;
use batuta_tests::GraphqlOperation;
use batuta_tests::conformance::as_rest;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tonic::transport::Channel;

use super::WatchRecord;
use crate::access::Key;
use crate::cluster::PORTS;
use crate::sandbox::address;
use crate::watch_event::WatchEvent;

const PROGRESS_MS: u64 = 500;
/// The watch as a GraphQL subscription.
const SUBSCRIPTION: &str = "subscription ($from: Long!, $progress: Long!) {
    changes(fromRevision: $from, progressMs: $progress) {
        __typename
        ... on Progress { revision }
        ... on Changes { revision more events {
            ordinal kind sessionId reason facts {
                ... on LockFacts {
                    lockId grant { fencingToken count metadata locks { name mode } } waiter { locks { name mode } }
                }
                ... on ElectionFacts { name candidateId leader { fencingToken value } }
                ... on SessionFacts { metadata } ... on RegisterFacts { name highWater }
            }
        } }
    }
}";

/// A way to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// REST, as server-sent events.
    Stream,
    /// A gRPC stream.
    Grpc,
    /// A watch over WebSocket.
    Ws,
    /// REST, by polls.
    Poll,
    /// A GraphQL subscription.
    Graphql,
}

/// An open watch.
pub(super) enum Source {
    Stream { response: reqwest::Response, buffer: Vec<u8> },
    Grpc(Box<tonic::Streaming<v1::WatchResponse>>),
    Ws(Box<WebSocketStream<MaybeTlsStream<TcpStream>>>),
    Poll { http: reqwest::Client, key: Option<Key>, base: String, next: u64, ordinal: u64 },
    Graphql(Box<GraphqlOperation>),
}

type News = Result<Vec<WatchRecord>, String>;

/// Adds the key to a request.
fn with_key(request: reqwest::RequestBuilder, key: Option<&Key>) -> reqwest::RequestBuilder {
    match key {
        Some(key) => request.bearer_auth(key.expose()),
        None => request,
    }
}

fn why(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Way {
    /// All ways to watch.
    pub const ALL: [Self; 5] = [Self::Stream, Self::Grpc, Self::Ws, Self::Graphql, Self::Poll];

    /// The ways that send a key: those of HTTP requests.
    pub(super) const WITH_KEY: [Self; 2] = [Self::Stream, Self::Poll];

    /// Opens a watch on the node at a place, from a revision on. Only the ways of [`Self::WITH_KEY`] send the key.
    pub(super) async fn open(self, place: usize, from: u64, key: Option<&Key>) -> Result<Source, String> {
        let at = address(place);
        let rest = format!("http://{at}:{}/api/v1/watch", PORTS[0]);
        match self {
            Self::Stream => {
                let url = format!("{rest}?from_revision={from}&progress_ms={PROGRESS_MS}");
                let response = with_key(reqwest::Client::new().get(url), key).send().await.map_err(why)?;
                if !response.status().is_success() {
                    return Err(response.text().await.map_err(why)?);
                }
                Ok(Source::Stream { response, buffer: Vec::new() })
            }
            Self::Grpc => {
                let channel = Channel::from_shared(format!("http://{at}:{}", PORTS[1])).map_err(why)?;
                let mut service = WatchServiceClient::new(channel.connect().await.map_err(why)?);
                let request =
                    v1::WatchRequest { from_revision: from, progress_ms: PROGRESS_MS, ..Default::default() };
                Ok(Source::Grpc(Box::new(service.watch(request).await.map_err(why)?.into_inner())))
            }
            Self::Ws => {
                let url = format!("ws://{at}:{}/ws/v1", PORTS[2]);
                let (mut socket, _) = tokio_tungstenite::connect_async(url).await.map_err(why)?;
                let watch =
                    json!({"id": "1", "op": "watch", "from_revision": from, "progress_ms": PROGRESS_MS});
                socket.send(Message::text(watch.to_string())).await.map_err(why)?;
                Ok(Source::Ws(Box::new(socket)))
            }
            Self::Graphql => {
                let url = format!("ws://{at}:{}/graphql", PORTS[0]);
                let variables = json!({"from": from, "progress": PROGRESS_MS});
                let operation = GraphqlOperation::try_start(&url, SUBSCRIPTION, variables).await?;
                Ok(Source::Graphql(Box::new(operation)))
            }
            Self::Poll => {
                let (http, key) = (reqwest::Client::new(), key.cloned());
                Ok(Source::Poll { http, key, base: rest, next: from, ordinal: 0 })
            }
        }
    }
}

/// Makes a record of changes; `events` have the spelling of REST.
fn changes(changes: &Value, events: &Value) -> Result<WatchRecord, String> {
    let revision = changes["revision"].as_u64().ok_or("changes without a revision")?;
    let events = events.as_array().into_iter().flatten().map(WatchEvent::from_json).collect();
    Ok(WatchRecord::Changes { revision, events, more: changes["more"].as_bool().unwrap_or_default() })
}

impl Source {
    /// Returns the next records.
    pub(super) async fn next(&mut self) -> News {
        match self {
            Self::Stream { response, buffer } => {
                let chunk = response.chunk().await.map_err(why)?.ok_or("the stream ended")?;
                buffer.extend_from_slice(&chunk);
                let mut news = Vec::new();
                while let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
                    let event: Vec<u8> = buffer.drain(..end + 2).collect();
                    news.extend(sent(&String::from_utf8_lossy(&event))?);
                }
                Ok(news)
            }
            Self::Grpc(stream) => {
                let response = stream.message().await.map_err(why)?.ok_or("the stream ended")?;
                let revision = response.revision;
                Ok(vec![match response.item {
                    Some(Item::Changes(changes)) => WatchRecord::Changes {
                        revision,
                        events: changes.events.iter().map(WatchEvent::from_wire).collect(),
                        more: changes.more,
                    },
                    Some(Item::Progress(_)) => WatchRecord::Progress { revision },
                    other => return Err(format!("unexpected {other:?}")),
                }])
            }
            Self::Ws(socket) => {
                let message = socket.next().await.ok_or("the connection ended")?.map_err(why)?;
                let Message::Text(text) = message else { return Ok(Vec::new()) };
                let frame: Value = serde_json::from_str(&text).map_err(why)?;
                match frame["type"].as_str() {
                    Some("changes") => Ok(vec![changes(&frame, &frame["events"])?]),
                    Some("progress") => Ok(progress(&frame["revision"])),
                    Some("reply") => Ok(Vec::new()),
                    _ => Err(frame.to_string()),
                }
            }
            Self::Graphql(operation) => {
                let answer = operation.answer().await.ok_or("the connection ended")?;
                let item = &answer["data"]["changes"];
                match item["__typename"].as_str() {
                    Some("Progress") => Ok(progress(&item["revision"])),
                    Some("Changes") => Ok(vec![changes(item, &as_rest(&item["events"]))?]),
                    _ => Err(answer.to_string()),
                }
            }
            Self::Poll { http, key, base, next, ordinal } => {
                let from = format!("from_revision={next}&from_ordinal={ordinal}");
                let url = format!("{base}/poll?{from}&wait_ms={PROGRESS_MS}");
                let response = with_key(http.get(url), key.as_ref()).send().await.map_err(why)?;
                if !response.status().is_success() {
                    return Err(response.text().await.map_err(why)?);
                }
                let answer: Value = response.json().await.map_err(why)?;
                let told = answer["changes"].as_array().into_iter().flatten();
                let mut news: Vec<WatchRecord> =
                    told.map(|told| changes(told, &told["events"])).collect::<Result<_, _>>()?;
                *next = answer["next_revision"].as_u64().ok_or("a poll without next_revision")?;
                *ordinal = answer["next_ordinal"].as_u64().unwrap_or_default();
                if *ordinal == 0 {
                    news.extend(next.checked_sub(1).map(|revision| WatchRecord::Progress { revision }));
                }
                Ok(news)
            }
        }
    }
}

fn progress(revision: &Value) -> Vec<WatchRecord> {
    revision.as_u64().map(|revision| WatchRecord::Progress { revision }).into_iter().collect()
}

/// Converts one server-sent event.
fn sent(event: &str) -> News {
    let field = |name: &str| {
        event
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
            .unwrap_or_default()
    };
    let data: Value = serde_json::from_str(field("data")).unwrap_or(Value::Null);
    match field("event") {
        "changes" => Ok(vec![changes(&data, &data["events"])?]),
        "progress" => Ok(progress(&data["revision"])),
        "error" => Err(data.to_string()),
        // A comment, which keeps the connection open.
        _ => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_sent_events_are_understood() {
        assert_eq!(
            sent("event: progress\nid: 16\ndata: {\"revision\":16}\n\n"),
            Ok(vec![WatchRecord::Progress { revision: 16 }])
        );
        let changes = sent(
            "event: changes\ndata: {\"revision\":17,\"events\":[{\"ordinal\":0,\"kind\":\"limits_changed\"}]}\n\n",
        );
        let Ok(news) = changes else { panic!("{changes:?}") };
        assert!(
            matches!(&news[..], [WatchRecord::Changes { revision: 17, events, more: false }] if events[0].kind == "limits_changed")
        );
        assert!(sent("event: error\ndata: {\"code\":\"lagged\"}\n\n").is_err());
        assert_eq!(sent(": still here\n\n"), Ok(vec![]));
    }
}
