//! The subscription to changes.

use async_graphql::{Context, Error, Subscription, value};
use futures_util::Stream;

use super::call::{read_context, service};
use super::connection::cost;
use super::error;
use crate::ApiError;
use crate::contract::Long;
use crate::contract::watch::WatchItem;
use crate::service::watch::{Area, FilterRequest, Kind, Start, Watch, WatchRequest};
use crate::service::{Consistency, Service};

/// The subscriptions.
pub(super) struct Subscription;

#[Subscription]
impl Subscription {
    /// Sends every selected change once, in order.
    ///
    /// The subscription ends only with an error: `compacted`, `lagged` and `draining` say how to continue. To resume, on any node, pass
    /// the `revision` of the last item plus one as `fromRevision`, once the snapshot is complete. Changes with `more` do not count:
    /// a revision that was received in part is sent again from its start.
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the schema")]
    #[graphql(complexity = "cost(None, child_complexity)")]
    async fn changes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only changes of these areas; empty means all.", default)] areas: Vec<Area>,
        #[graphql(desc = "Only changes of these kinds; empty means all.", default)] kinds: Vec<Kind>,
        #[graphql(desc = "Only names that start with this prefix.", default)] prefix: String,
        #[graphql(desc = "Only this name; not together with `prefix`.", default)] name: String,
        #[graphql(desc = "Only changes that belong to this session.", default)] session_id: String,
        #[graphql(desc = "The first revision to send; by default, changes from now on.")]
        from_revision: Option<Long>,
        #[graphql(desc = "Starts with the current objects; not together with `fromRevision`.", default)]
        snapshot: bool,
        #[graphql(
            desc = "How often an idle subscription reports its progress, in milliseconds; by default 5,000."
        )]
        progress_ms: Option<Long>,
        #[graphql(desc = "The consistency of a start without `fromRevision`.", default)]
        consistency: Consistency,
        #[graphql(
            desc = "The namespace; changes of the cluster itself are in every namespace.",
            default = "default"
        )]
        namespace: String,
    ) -> Result<impl Stream<Item = Result<WatchItem, Error>> + use<>, Error> {
        let opened = async {
            let context = read_context(ctx, &namespace)?;
            let filter =
                FilterRequest { areas, kinds, prefix: &prefix, name: &name, session_id: &session_id };
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

/// Converts a watch to a stream that ends after the first error.
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

/// The error with which a subscription is refused or ends. On a node that stops, it names other nodes.
fn ended(service: Option<&Service>, error: &ApiError) -> Error {
    let mut refused = error::of(error, None);
    if let (ApiError::Draining, Some(service)) = (error, service) {
        let nodes: Vec<String> =
            service.other_members().iter().map(|member| socket_url(&member.addresses.rest)).collect();
        refused.extensions.get_or_insert_default().set("details", value!({ "nodes": nodes }));
    }
    Error { message: refused.message, source: None, extensions: refused.extensions }
}

/// The URL for subscriptions of a node whose REST API is at this URL.
fn socket_url(rest: &str) -> String {
    format!("{}/graphql", rest.replacen("http", "ws", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_is_named_by_its_subscription_url() {
        assert_eq!(socket_url("http://10.0.0.2:8080"), "ws://10.0.0.2:8080/graphql");
        assert_eq!(socket_url("https://http.example:8080"), "wss://http.example:8080/graphql");
    }
}
