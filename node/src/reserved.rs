//! The address of the WebSocket front, which this version reserves but does not serve: it says so.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::any;

async fn not_served() -> impl IntoResponse {
    let problem = r#"{"type":"about:blank","title":"Not served by this version","status":501,"code":"not_implemented","detail":"This version serves REST, GraphQL and gRPC; this address is reserved.","retryable":false}"#;
    (StatusCode::NOT_IMPLEMENTED, [(header::CONTENT_TYPE, "application/problem+json")], problem)
}

/// What stands on the WebSocket port.
pub(crate) fn web_socket() -> Router {
    Router::new().fallback(any(not_served))
}
