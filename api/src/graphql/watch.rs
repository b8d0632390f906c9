//! What can be subscribed to: changes.

use async_graphql::{Context, Error, Subscription, value};
use futures_util::Stream;

use super::call::{read_context, service};
use super::connection::cost;
use super::error;
use crate::ApiError;
use crate::contract::Long;
use crate::contract::watch::WatchItem;
use crate::service::watch::{FilterRequest, Job, Kind, Start, Watch, WatchRequest};
use crate::service::{Consistency, Service};

/// What can be subscribed to.
pub(super) struct Subscription;

#[Subscription]
impl Subscription {
    /// Every change that fits what is asked for, in order, each once.
    ///
    /// It ends with an error only: `compacted`, `lagged` and `draining` say how to go on. The `revision` of the last item, once
    /// the snapshot is complete, plus one is the `fromRevision` of a subscription that goes on, on any node. Changes with
    /// `more` do not count: a revision that was told in part is told again from its start.
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the schema")]
    #[graphql(complexity = "cost(None, child_complexity)")]
    async fn changes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "About what; empty = everything.", default)] jobs: Vec<Job>,
        #[graphql(desc = "Only these kinds of change; empty = all.", default)] kinds: Vec<Kind>,
        #[graphql(desc = "Names that start with it.", default)] prefix: String,
        #[graphql(desc = "One name; not together with `prefix`.", default)] name: String,
        #[graphql(desc = "What belongs to this session.", default)] session_id: String,
        #[graphql(desc = "Begin with this revision; default: with what happens from now on.")]
        from_revision: Option<Long>,
        #[graphql(desc = "Begin with the objects as they are; not together with `fromRevision`.", default)]
        snapshot: bool,
        #[graphql(desc = "How often an idle subscription says how far it is, default 5,000.")]
        progress_ms: Option<Long>,
        #[graphql(desc = "How current a beginning without `fromRevision` must be.", default)]
        consistency: Consistency,
        #[graphql(desc = "Where; changes of the cluster itself are everywhere.", default = "default")]
        namespace: String,
    ) -> Result<impl Stream<Item = Result<WatchItem, Error>> + use<>, Error> {
        let opened = async {
            let context = read_context(&namespace)?;
            let filter = FilterRequest { jobs, kinds, prefix: &prefix, name: &name, session_id: &session_id };
            let request = WatchRequest {
                filter: filter.read(context.namespace.clone())?,
                start: Start::parse(from_revision.map(u64::from), snapshot)?,
                from_ordinal: 0,
                consistency,
                progress_ms: progress_ms.map(u64::from),
            };
            Ok((service(ctx)?.clone(), service(ctx)?.watch(&context, request).await?))
        };
        let (service, watch) = opened.await.map_err(|error: ApiError| ended(ctx.data().ok(), &error))?;
        Ok(items(service, watch))
    }
}

/// The watch as a stream that ends after the first error.
fn items(service: Service, watch: Watch) -> impl Stream<Item = Result<WatchItem, Error>> {
    futures_util::stream::unfold(Some(watch), move |watch| {
        let service = service.clone();
        async move {
            let mut watch = watch?;
            match watch.next().await {
                Ok(item) => Some((Ok(item.into()), Some(watch))),
                Err(error) => Some((Err(ended(Some(&service), &error)), None)),
            }
        }
    })
}

/// Why a subscription is not opened, or has ended; of a node that stops, with where to go on.
fn ended(service: Option<&Service>, error: &ApiError) -> Error {
    let mut refused = error::of(error, None);
    if let (ApiError::Draining, Some(service)) = (error, service) {
        let nodes: Vec<String> =
            service.other_members().iter().map(|member| socket_url(&member.addresses.rest)).collect();
        refused.extensions.get_or_insert_default().set("details", value!({ "nodes": nodes }));
    }
    Error { message: refused.message, source: None, extensions: refused.extensions }
}

/// Where a node whose REST API is at this URL answers subscriptions.
fn socket_url(rest: &str) -> String {
    format!("{}/graphql", rest.replacen("http", "ws", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_named_by_where_it_answers_subscriptions() {
        assert_eq!(socket_url("http://10.0.0.2:8080"), "ws://10.0.0.2:8080/graphql");
        assert_eq!(socket_url("https://http.example:8080"), "wss://http.example:8080/graphql");
    }
}
