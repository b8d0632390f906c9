//! The address of the GraphQL front, which this version reserves but does not serve: it says so.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::any;

async fn not_served() -> impl IntoResponse {
    let problem = r#"{"type":"about:blank","title":"Not served by this version","status":501,"code":"not_implemented","detail":"This version serves REST, gRPC and WebSocket only; this address is reserved.","retryable":false}"#;
    (StatusCode::NOT_IMPLEMENTED, [(header::CONTENT_TYPE, "application/problem+json")], problem)
}

/// What stands at `/graphql` of the REST port.
pub(crate) fn graphql() -> Router {
    Router::new().route("/graphql", any(not_served))
}
