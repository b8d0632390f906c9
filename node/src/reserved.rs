//! The addresses of the WebSocket and GraphQL fronts, which this version reserves but does not serve: they say so.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::any;

async fn not_served() -> impl IntoResponse {
    let problem = r#"{"type":"about:blank","title":"Not served by this version","status":501,"code":"not_implemented","detail":"This version serves REST and gRPC only; this address is reserved.","retryable":false}"#;
    (StatusCode::NOT_IMPLEMENTED, [(header::CONTENT_TYPE, "application/problem+json")], problem)
}

/// What stands at `/graphql` of the REST port.
pub(crate) fn graphql() -> Router {
    Router::new().route("/graphql", any(not_served))
}

/// What stands on the WebSocket port.
pub(crate) fn web_socket() -> Router {
    Router::new().fallback(any(not_served))
}
