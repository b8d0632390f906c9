//! What the fronts that speak HTTP have in common.

use std::any::Any;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::Response;
use tower_http::request_id::{MakeRequestId, RequestId};

use crate::ApiError;

/// Names requests that bring no `x-request-id`: a random start per process, and a count.
#[derive(Clone)]
pub(crate) struct RequestIds {
    prefix: u64,
    count: Arc<AtomicU64>,
}

impl Default for RequestIds {
    fn default() -> Self {
        Self { prefix: RandomState::new().hash_one(0_u8), count: Arc::default() }
    }
}

impl MakeRequestId for RequestIds {
    fn make_request_id<B>(&mut self, _request: &Request<B>) -> Option<RequestId> {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:016x}-{count}", self.prefix);
        HeaderValue::try_from(id).ok().map(RequestId::new)
    }
}

/// A body that was too long is not read to its end, so the connection can not be used again: the client is told, or it would send its
/// next request into a connection that is being closed (RFC 9112 section 9.6).
pub(crate) async fn close_when_unread(mut response: Response) -> Response {
    if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The answer to a request whose handler panicked. What it said stays in the log: it may name internals.
#[allow(clippy::needless_pass_by_value, reason = "what the layer that catches it hands over")]
pub(crate) fn panicked(front: &'static str, panic: Box<dyn Any + Send>) -> ApiError {
    let words = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(panic = words, front, "a handler panicked");
    ApiError::Internal(
        "the node failed while it answered, the request may or may not have had its effect; \
         report it with the x-request-id of this response"
            .to_owned(),
    )
}
