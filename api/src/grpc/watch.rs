//! Serves watches as streams.

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
use super::{Front, consistency, context, election, lock, session};
use crate::ApiError;
use crate::service::register::Register;
use crate::service::watch::{
    Event, Facts, Filter, FilterRequest, Item, Object, SnapshotPage, Start, Watch, WatchRequest, Word, word,
};
use crate::service::{CallContext, Clock};

fn event_message(event: &Event) -> v1::Event {
    v1::Event {
        ordinal: event.ordinal,
        namespace: event.namespace.as_ref().map(ToString::to_string).unwrap_or_default(),
        kind: event.kind.as_str().to_owned(),
        session_id: event.session.map(|session| session.to_string()).unwrap_or_default(),
        reason: event.reason.unwrap_or_default().to_owned(),
        facts: Some(facts_message(event)),
    }
}

fn facts_message(event: &Event) -> v1::event::Facts {
    use v1::event::Facts as Sent;
    match &event.facts {
        Facts::Grant { grant, words } => match grant.election() {
            Some(name) => Sent::Election(v1::ElectionFacts {
                name: name.to_string(),
                candidate_id: grant.lock_id.to_string(),
                leader: Some(election::leader_message(grant, event.clock)),
                candidate: None,
                words: words.clone().unwrap_or_default(),
            }),
            None => Sent::Lock(v1::LockFacts {
                lock_id: grant.lock_id.to_string(),
                grant: Some(lock::grant_message(grant, event.clock)),
                words: words.clone().unwrap_or_default(),
                ..v1::LockFacts::default()
            }),
        },
        Facts::Wait(wait) => match wait.election() {
            Some(name) => Sent::Election(v1::ElectionFacts {
                name: name.to_string(),
                candidate_id: wait.lock_id.to_string(),
                candidate: Some(election::candidate_message(wait, event.clock)),
                ..v1::ElectionFacts::default()
            }),
            None => Sent::Lock(v1::LockFacts {
                lock_id: wait.lock_id.to_string(),
                waiter: Some(lock::waiter_message(wait, event.clock)),
                ..v1::LockFacts::default()
            }),
        },
        Facts::SessionOpened { ttl_ms, metadata } => {
            Sent::Session(v1::SessionFacts { ttl_ms: Some(*ttl_ms), metadata: metadata.clone() })
        }
        Facts::SessionEnded => Sent::Session(v1::SessionFacts::default()),
        Facts::Capacity { name, capacity } => Sent::Lock(v1::LockFacts {
            capacity: Some(v1::Capacity { name: name.to_string(), capacity: *capacity }),
            ..v1::LockFacts::default()
        }),
        Facts::Register { name, high_water } => {
            Sent::Register(v1::RegisterFacts { name: name.to_string(), high_water: *high_water })
        }
        Facts::Access(facts) => Sent::Access(v1::AccessFacts {
            subject: facts.subject.clone().unwrap_or_default(),
            principal_id: facts.principal_id.map(|id| id.to_string()).unwrap_or_default(),
            suspended: facts.suspended,
            role: facts.role.clone().unwrap_or_default(),
            binding_id: facts.binding_id.clone().unwrap_or_default(),
            credential_id: facts.credential_id.clone().unwrap_or_default(),
            credential_kind: facts.credential_kind.unwrap_or_default().to_owned(),
            mode: facts.mode.unwrap_or_default().to_owned(),
            deleted: facts.deleted,
            made_by: facts.made_by.map(|id| id.to_string()).unwrap_or_default(),
        }),
        Facts::Node { node_id, node_name } => {
            let (node_id, node_name) = (*node_id, node_name.clone());
            Sent::Cluster(v1::ClusterFacts { node_id, node_name, ..Default::default() })
        }
        Facts::Level { level, version } => {
            Sent::Cluster(v1::ClusterFacts { level: *level, version: version.clone(), ..Default::default() })
        }
        Facts::Cluster => Sent::Cluster(v1::ClusterFacts::default()),
    }
}

fn object_message(object: Object, clock: Clock) -> v1::Object {
    use v1::object::Object as Sent;
    let object = match object {
        Object::Session(view) => Sent::Session(session::session_message(view, clock)),
        Object::Lock(lock) => Sent::Lock(lock::lock_message(&lock, clock)),
        Object::Election(election) => Sent::Election(election::election_message(&election, clock)),
        Object::Register(Register { name, high_water }) => {
            Sent::Register(v1::Register { name: name.to_string(), high_water })
        }
    };
    v1::Object { object: Some(object) }
}

/// `batuta.v1.WatchResponse` with the events already encoded, once for all watchers.
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

/// `batuta.v1.Changes` with the events already encoded.
#[derive(Clone, PartialEq, prost::Message)]
struct SentChanges {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    events: Vec<Bytes>,
    #[prost(bool, tag = "2")]
    more: bool,
}

pub(super) fn sent(item: Item) -> Sent {
    match item {
        Item::Snapshot(SnapshotPage { revision, clock, objects, last }) => {
            let objects = objects.into_iter().map(|object| object_message(object, clock)).collect();
            Sent { revision, snapshot: Some(v1::SnapshotPage { objects, last }), ..Sent::default() }
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

/// Converts a watch to a stream that ends after the first error.
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
            let context = context(request.metadata(), request.extensions(), None)?;
            Ok(Response::new(responses(front.watch(&context, request.get_ref()).await?)))
        })
    }
}

/// Parses the words of a filter; empty words are ignored.
fn known<T: Word>(field: &str, texts: &[String]) -> Result<Vec<T>, ApiError> {
    texts
        .iter()
        .map(|text| text.trim())
        .filter(|text| !text.is_empty())
        .map(|text| word(field, text))
        .collect()
}

impl Front {
    pub(super) async fn watch(
        &self,
        context: &CallContext,
        message: &v1::WatchRequest,
    ) -> Result<Watch, ApiError> {
        let filter = FilterRequest {
            areas: known("areas", &message.areas)?,
            kinds: known("kinds", &message.kinds)?,
            prefix: &message.prefix,
            name: &message.name,
            session_id: &message.session_id,
        };
        let filter = filter.read(context.namespace.clone())?;
        self.service.watch(context, watch_request(message, filter)?).await
    }
}

#[cfg(test)]
mod tests {
    use batuta_statemachine::{Name, Namespace};

    use super::*;
    use crate::service::watch::{Batch, Kind, Rendered};

    #[test]
    fn sent_bytes_are_a_watch_response() {
        let event = |ordinal| Event {
            ordinal,
            namespace: Some(Namespace::default()),
            kind: Kind::RegisterAdvanced,
            session: None,
            reason: None,
            clock: Clock { now_ms: 0, wall_ms: 0 },
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
