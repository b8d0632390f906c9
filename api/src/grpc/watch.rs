//! Watches as server streams.

use std::pin::Pin;

use batuta_proto::v1;
use futures_util::Stream;
use tonic::{Request, Response, Status};

use super::{Front, consistency, context, lock, session};
use crate::ApiError;
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

fn response(item: Item) -> v1::WatchResponse {
    use v1::watch_response::Item as Wire;
    let (revision, item) = match item {
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
            (page.revision, Wire::Snapshot(message))
        }
        Item::Changes(batch) => {
            let events = batch.events.iter().map(|event| event_message(event)).collect();
            (batch.revision, Wire::Changes(v1::Changes { events }))
        }
        Item::Progress { revision } => (revision, Wire::Progress(v1::Progress {})),
    };
    v1::WatchResponse { revision, item: Some(item) }
}

fn watch_request(message: &v1::WatchRequest, filter: Filter) -> Result<WatchRequest, ApiError> {
    let from_revision = (message.from_revision > 0).then_some(message.from_revision);
    let start = Start::parse(from_revision, message.snapshot)?;
    let progress_ms = (message.progress_ms > 0).then_some(message.progress_ms);
    Ok(WatchRequest { filter, start, consistency: consistency(message.consistency)?, progress_ms })
}

/// The watch as a stream that ends after the first error.
fn responses(watch: Watch) -> impl Stream<Item = Result<v1::WatchResponse, Status>> {
    futures_util::stream::unfold(Some(watch), |watch| async {
        let mut watch = watch?;
        match watch.next().await {
            Ok(item) => Some((Ok(response(item)), Some(watch))),
            Err(error) => Some((Err(error.into()), None)),
        }
    })
}

#[tonic::async_trait]
impl v1::watch_service_server::WatchService for Front {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::WatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let context = context(request.metadata(), None)?;
        let message = request.get_ref();
        let text =
            FilterText { prefix: &message.prefix, name: &message.name, session_id: &message.session_id };
        let (jobs, kinds) = (message.jobs.iter(), message.kinds.iter());
        let namespace = context.namespace.clone();
        let filter = Filter::parse(namespace, jobs.map(String::as_str), kinds.map(String::as_str), text)?;
        let watch = self.service.watch(&context, watch_request(message, filter)?).await?;
        Ok(Response::new(Box::pin(responses(watch))))
    }
}
