//! The GraphQL front: decodes a document, calls the service for each field of its root, encodes the answers.
//!
//! Namespace, retry key and consistency are arguments of the fields: one request may hold several calls. A refused call
//! is an error beside a `null` and takes nothing from the other calls of the request. The fields of a mutation are
//! answered one after the other, in their order. A client that goes away drops the handler's future, and with it what a
//! field waits for. Subscriptions need a WebSocket (`ws/`), which carries queries and mutations too.

mod call;
mod cluster;
mod connection;
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

/// How the front is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphqlOptions {
    /// Whether the schema may be asked for.
    pub introspection: bool,
    /// Whether a browser that opens `/graphql` gets a page to ask with.
    pub page: bool,
    /// How its WebSocket connections behave.
    pub socket: SocketOptions,
}

/// Reads.
#[derive(Default, MergedObject)]
struct Query(lock::LockQuery, register::RegisterQuery, session::SessionQuery, cluster::ClusterQuery);

/// Writes, answered one after the other.
#[derive(Default, MergedObject)]
struct Mutation(
    lock::LockMutation,
    register::RegisterMutation,
    session::SessionMutation,
    cluster::ClusterMutation,
);

type Schema = async_graphql::Schema<Query, Mutation, watch::Subscription>;

fn builder() -> SchemaBuilder<Query, Mutation, watch::Subscription> {
    Schema::build(Query::default(), Mutation::default(), watch::Subscription)
}

/// The GraphQL API over the service at `/graphql`: POST for one answer, a WebSocket for subscriptions as well, and a page
/// to ask with for a browser that opens it, when the options say so.
pub fn router(service: Service, options: GraphqlOptions) -> Router {
    let (_, cost_max) = guard::COST;
    let schema = builder().data(service.clone()).limit_complexity(cost_max).finish();
    http::routes(http::Front::new(schema, service, options))
}

/// The schema in the GraphQL schema language, as `docs/schema.graphql` has it.
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
