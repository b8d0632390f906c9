//! The GraphQL front: decodes a document, calls the service for each field of its root, encodes the answers.
//!
//! Namespace, retry key and consistency are arguments of the fields, because one request may contain several calls. A refused
//! call is an error next to a `null`, and does not affect the other calls of the request. The fields of a mutation are
//! executed one after the other, in their order. When a client disconnects, the handler's future is dropped, and with it the
//! waits of its fields. Subscriptions need a WebSocket (`ws/`), which also carries queries and mutations.

mod access;
mod call;
mod cluster;
mod connection;
mod election;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod guard;
mod http;
mod lock;
mod register;
mod request;
mod session;
mod watch;
mod ws;

use async_graphql::{MergedObject, SchemaBuilder};
use axum::Router;

use crate::service::Service;

pub(crate) use http::unread;
pub use ws::SocketOptions;

/// Options of the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphqlOptions {
    /// Whether introspection of the schema is allowed.
    pub introspection: bool,
    /// Whether a browser that opens `/graphql` gets a page for queries.
    pub page: bool,
    /// Options of the WebSocket connections.
    pub socket: SocketOptions,
}

/// Queries, which only read.
#[derive(Default, MergedObject)]
struct Query(
    lock::LockQuery,
    election::ElectionQuery,
    register::RegisterQuery,
    session::SessionQuery,
    cluster::ClusterQuery,
    access::AccessQuery,
);

/// Mutations, executed one after the other.
#[derive(Default, MergedObject)]
struct Mutation(
    lock::LockMutation,
    election::ElectionMutation,
    register::RegisterMutation,
    session::SessionMutation,
    cluster::ClusterMutation,
);

type Schema = async_graphql::Schema<Query, Mutation, watch::Subscription>;

fn builder() -> SchemaBuilder<Query, Mutation, watch::Subscription> {
    Schema::build(Query::default(), Mutation::default(), watch::Subscription)
}

/// Builds the GraphQL API over the service at `/graphql`: POST for single answers, a WebSocket also for subscriptions, and, if the
/// options allow it, a page for browsers.
pub fn router(service: Service, options: GraphqlOptions) -> Router {
    let (_, cost_max) = guard::COST;
    let schema = builder().data(service.clone()).limit_complexity(cost_max).finish();
    http::routes(http::Front::new(schema, service, options))
}

/// Returns the schema in the GraphQL schema language, as in `docs/schema.graphql`.
#[must_use]
pub fn schema_sdl() -> String {
    builder().finish().sdl()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn docs_schema_graphql_is_the_schema() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema.graphql");
        let schema = super::schema_sdl();
        if std::env::var_os("BATUTA_WRITE_DOCS").is_some() {
            std::fs::write(&path, &schema).expect("docs/schema.graphql can be written");
        }
        let written = std::fs::read_to_string(&path).expect("docs/schema.graphql exists");
        assert!(
            written == schema,
            "docs/schema.graphql is out of date: run BATUTA_WRITE_DOCS=1 cargo test -p batuta-api"
        );
    }
}
