//! Watches as server streams.

use std::pin::Pin;
use std::sync::Arc;

use batuta_proto::v1;
use bytes::Bytes;
use futures_util::Stream;
use prost::Message as _;
use tonic::codegen::{Body, BoxFuture, StdError, http};
use tonic::server::{Grpc, ServerStreamingService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::by_hand::OneMethod;
use super::status::sendable;
use super::{Front, consistency, context, lock, session};
use crate::ApiError;
use crate::service::CallContext;
use crate::service::watch::{Event, Facts, Filter, FilterText, Item, Start, Watch, WatchRequest};

fn event_message(event: &Event) -> v1::Event {
    let mut message = v1::Event {
        ordinal: event.ordinal,
        namespace: event.namespace.as_ref().map(ToString::to_string).unwrap_or_default(),
        job: event.kind.job().as_str().to_owned(),
        kind: event.kind.as_str().to_owned(),
        session_id: event.session.map(|session| session.to_string()).unwrap_or_default(),
        lock_id: event.lock_id().map(|lock_id| lock_id.to_string()).unwrap_or_default(),
        reason: event.reason.unwrap_or_default().to_owned(),
        words: event.words.clone().unwrap_or_default(),
        ..v1::Event::default()
    };
    match &event.facts {
        Facts::Opened { ttl_ms, metadata } => {
            message.ttl_ms = *ttl_ms;
            message.metadata.clone_from(metadata);
        }
        Facts::Grant(info) => message.grant = Some(lock::grant_message(info.as_ref().clone())),
        Facts::Wait(wait) => message.waiter = Some(lock::waiter_message(wait.as_ref().clone())),
        Facts::Register { name, high_water } => {
            let high_water = high_water.unwrap_or_default();
            message.register = Some(v1::Register { name: name.to_string(), high_water });
        }
        Facts::Node { node_id, node_name } => {
            message.node_id = *node_id;
            message.node_name.clone_from(node_name);
        }
        Facts::None => {}
    }
    message
}

/// `batuta.v1.WatchResponse` on the wire, with the events as the bytes they were made once for all watchers.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Sent {
    #[prost(uint64, tag = "1")]
    revision: u64,
    #[prost(message, optional, tag = "2")]
    snapshot: Option<v1::SnapshotPage>,
    #[prost(message, optional, tag = "3")]
    changes: Option<SentChanges>,
    #[prost(message, optional, tag = "4")]
    progress: Option<v1::Progress>,
}

/// `batuta.v1.Changes` likewise.
#[derive(Clone, PartialEq, prost::Message)]
struct SentChanges {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    events: Vec<Bytes>,
    #[prost(bool, tag = "2")]
    more: bool,
}

pub(super) fn sent(item: Item) -> Sent {
    match item {
        Item::Snapshot(page) => {
            let registers = page.registers.into_iter();
            let message = v1::SnapshotPage {
                sessions: page.sessions.into_iter().map(session::session_message).collect(),
                locks: page.locks.into_iter().map(lock::lock_message).collect(),
                registers: registers
                    .map(|(name, high_water)| v1::Register { name: name.to_string(), high_water })
                    .collect(),
                last: page.last,
            };
            Sent { revision: page.revision, snapshot: Some(message), ..Sent::default() }
        }
        Item::Changes(batch) => {
            let encoded = |event: &Arc<Event>| event.grpc.get(|| event_message(event).encode_to_vec().into());
            let events = batch.events.iter().map(encoded).collect();
            let changes = Some(SentChanges { events, more: batch.more });
            Sent { revision: batch.revision, changes, ..Sent::default() }
        }
        Item::Progress { revision } => Sent { revision, progress: Some(v1::Progress {}), ..Sent::default() },
    }
}

fn watch_request(message: &v1::WatchRequest, filter: Filter) -> Result<WatchRequest, ApiError> {
    let from_revision = (message.from_revision > 0).then_some(message.from_revision);
    let start = Start::parse(from_revision, message.snapshot)?;
    let progress_ms = (message.progress_ms > 0).then_some(message.progress_ms);
    let consistency = consistency(message.consistency)?;
    Ok(WatchRequest { filter, start, from_ordinal: 0, consistency, progress_ms })
}

type Responses = Pin<Box<dyn Stream<Item = Result<Sent, Status>> + Send>>;

/// The watch as a stream that ends after the first error.
fn responses(watch: Watch) -> Responses {
    Box::pin(futures_util::stream::unfold(Some(watch), |watch| async {
        let mut watch = watch?;
        match watch.next().await {
            Ok(item) => match sendable(sent(item)) {
                Ok(message) => Some((Ok(message), Some(watch))),
                Err(error) => Some((Err(error.into()), None)),
            },
            Err(error) => Some((Err(error.into()), None)),
        }
    }))
}

/// `batuta.v1.WatchService`.
#[derive(Clone)]
pub(super) struct WatchMethod(pub(super) Front);

impl OneMethod for WatchMethod {
    const SERVICE: &'static str = v1::watch_service_server::SERVICE_NAME;
    const METHOD: &'static str = "Watch";
    type Sent = Sent;
    type Received = v1::WatchRequest;

    async fn serve<B>(
        self,
        mut grpc: Grpc<ProstCodec<Sent, v1::WatchRequest>>,
        request: http::Request<B>,
    ) -> http::Response<tonic::body::Body>
    where
        B: Body + Send + 'static,
        B::Error: Into<StdError> + Send + 'static,
    {
        grpc.server_streaming(self, request).await
    }
}

impl ServerStreamingService<v1::WatchRequest> for WatchMethod {
    type Response = Sent;
    type ResponseStream = Responses;
    type Future = BoxFuture<Response<Responses>, Status>;

    fn call(&mut self, request: Request<v1::WatchRequest>) -> Self::Future {
        let front = self.0.clone();
        Box::pin(async move {
            let context = context(request.metadata(), None)?;
            Ok(Response::new(responses(front.watch(&context, request.get_ref()).await?)))
        })
    }
}

impl Front {
    pub(super) async fn watch(
        &self,
        context: &CallContext,
        message: &v1::WatchRequest,
    ) -> Result<Watch, ApiError> {
        let text =
            FilterText { prefix: &message.prefix, name: &message.name, session_id: &message.session_id };
        let (jobs, kinds) = (message.jobs.iter(), message.kinds.iter());
        let namespace = context.namespace.clone();
        let filter = Filter::parse(namespace, jobs.map(String::as_str), kinds.map(String::as_str), text)?;
        self.service.watch(context, watch_request(message, filter)?).await
    }
}

#[cfg(test)]
mod tests {
    use batuta_statemachine::{Name, Namespace};

    use super::*;
    use crate::service::watch::{Batch, Kind, Rendered};

    #[test]
    fn what_is_sent_is_a_watch_response() {
        let event = |ordinal| Event {
            ordinal,
            namespace: Some(Namespace::default()),
            kind: Kind::RegisterAdvanced,
            session: None,
            reason: None,
            words: None,
            facts: Facts::Register { name: Name::new("a/b").expect("valid"), high_water: Some(7) },
            grpc: Rendered::default(),
        };
        let events = vec![Arc::new(event(0)), Arc::new(event(1))];
        let batch = Batch { revision: 300, events, more: true };
        let read = |item| v1::WatchResponse::decode(sent(item).encode_to_vec().as_slice()).expect("reads");
        let events = batch.events.iter().map(|event| event_message(event)).collect();
        let changes = v1::watch_response::Item::Changes(v1::Changes { events, more: true });
        let expected = v1::WatchResponse { revision: 300, item: Some(changes) };
        assert_eq!(read(Item::Changes(batch.clone())), expected);
        assert_eq!(read(Item::Changes(batch)), expected, "and again, from what is kept");
        let progress = v1::watch_response::Item::Progress(v1::Progress {});
        let expected = v1::WatchResponse { revision: 9, item: Some(progress) };
        assert_eq!(read(Item::Progress { revision: 9 }), expected);
    }
}
