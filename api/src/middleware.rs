//! The layers around every request of every port, before it is decoded: a request id, a span, a guard against panics, and the check of its host.
//!
//! WebSocket, GraphQL and pipelines carry many calls per request; `service/admit.rs` handles single calls.

use std::any::Any;
use std::future::{Ready, ready};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use futures_util::future::Either;
use tower::Service;
use tower::layer::layer_fn;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestId, PropagateRequestIdLayer, RequestId, SetRequestIdLayer};
use tower_http::trace::TraceLayer;

use crate::json::Problem;
use crate::{ApiError, Hosts};

/// Makes ids for requests without `x-request-id`: a random start per process, and a count.
#[derive(Clone)]
struct RequestIds {
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

/// A front, each of which has its own format of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// REST, with problem documents.
    Rest,
    /// GraphQL, with GraphQL answers.
    Graphql,
    /// WebSocket, with problem documents: an error can occur only before the upgrade.
    WebSocket,
    /// gRPC, with statuses.
    Grpc,
}

impl Front {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Graphql => "graphql",
            Self::WebSocket => "websocket",
            Self::Grpc => "grpc",
        }
    }

    /// Makes the answer to a request that no handler answers.
    fn refuse(self, error: ApiError) -> Response {
        match self {
            Self::Rest | Self::WebSocket => Problem::from(error).into_response(),
            Self::Graphql => crate::graphql::unread(error),
            Self::Grpc => tonic::Status::from(error).into_http(),
        }
    }

    /// Makes the span of a request. The query is left out, because it may contain tokens.
    fn span<B>(self, request: &Request<B>) -> tracing::Span {
        let id = request.extensions().get::<RequestId>().and_then(|id| id.header_value().to_str().ok());
        let (front, path) = (self.as_str(), request.uri().path());
        tracing::debug_span!("request", front, method = %request.method(), path, request_id = id)
    }
}

/// Refuses requests for hosts that are not this node's, before a route sees them.
#[derive(Clone)]
struct HostCheck<S> {
    inner: S,
    hosts: Hosts,
    front: Front,
}

impl<S: Service<Request<Body>, Response = Response>> Service<Request<Body>> for HostCheck<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.hosts.check(request.uri(), request.headers()) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(error) => Either::Right(ready(Ok(self.front.refuse(error)))),
        }
    }
}

/// Puts the layers around the routes of a front; they are the same for every front and every port. What is added to the router later is
/// outside of them, so fallbacks belong into `routes`.
pub(crate) fn stack(routes: Router, front: Front, hosts: &Hosts) -> Router {
    let hosts = hosts.clone();
    let host_check = layer_fn(move |inner: Route| HostCheck { inner, hosts: hosts.clone(), front });
    let catch_panic = CatchPanicLayer::custom(move |panic| front.refuse(panicked(front, panic)));
    routes
        // In one layer, because axum boxes the future of each.
        .layer((catch_panic, host_check))
        .layer(axum::middleware::map_response(close_when_unread))
        .layer(PropagateRequestIdLayer::x_request_id())
        // A refusal (disk full, no leader) is an answer, not a defect of this node, so it is not logged as an error.
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(move |request: &Request<Body>| front.span(request))
                .on_failure(()),
        )
        .layer(SetRequestIdLayer::x_request_id(RequestIds::default()))
}

/// Closes the connection after a body that was not read to its end: it was too long, or for another host. The answer announces it, because the
/// client would otherwise send its next request into a connection that is being closed (RFC 9112 section 9.6).
async fn close_when_unread(mut response: Response) -> Response {
    if matches!(response.status(), StatusCode::PAYLOAD_TOO_LARGE | StatusCode::MISDIRECTED_REQUEST) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Makes the error of a request whose handler panicked. The panic's message is only logged, because it may name internals.
#[allow(clippy::needless_pass_by_value, reason = "what the layer that catches it hands over")]
pub(crate) fn panicked(front: Front, panic: Box<dyn Any + Send>) -> ApiError {
    let words = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(panic = words, front = front.as_str(), "a handler panicked");
    ApiError::Internal(
        "the node failed while it answered, the request may or may not have had its effect; \
         report it with the x-request-id of this response"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    async fn explode() {
        panic!("secret words")
    }

    #[tokio::test]
    async fn every_front_refuses_another_host_in_its_format() {
        for front in [Front::Rest, Front::Graphql, Front::WebSocket, Front::Grpc] {
            // The route would panic.
            let routes = stack(Router::new().route("/panic", get(explode)), front, &Hosts::default());
            for path in ["/panic", "/unknown"] {
                let request =
                    Request::get(path).header("host", "evil.example:80").body(Body::empty()).unwrap();
                let response = routes.clone().oneshot(request).await.unwrap();
                let (status, headers) = (response.status(), response.headers().clone());
                assert!(headers.contains_key("x-request-id"), "{front:?} {path}");
                if front == Front::Grpc {
                    assert_eq!(
                        (status.as_u16(), &headers["grpc-status"]),
                        (200, &"7".parse().unwrap()),
                        "{path}"
                    );
                    continue;
                }
                let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
                let body = String::from_utf8(body.to_vec()).unwrap();
                assert_eq!(status, StatusCode::MISDIRECTED_REQUEST, "{front:?} {path}");
                for words in ["host_not_allowed", "evil.example", "api.allowed_hosts"] {
                    assert!(body.contains(words), "{front:?} {path}: {body}");
                }
            }
        }
    }

    #[tokio::test]
    async fn every_front_answers_a_panic_without_its_message() {
        for front in [Front::Rest, Front::Graphql, Front::WebSocket, Front::Grpc] {
            let routes = stack(Router::new().route("/panic", get(explode)), front, &Hosts::default());
            let request = Request::get("/panic").header("x-request-id", "mine").body(Body::empty()).unwrap();
            let response = routes.oneshot(request).await.unwrap();
            let headers = response.headers().clone();
            assert_eq!(headers["x-request-id"], "mine", "{front:?}");
            let status = response.status();
            let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
            let body = String::from_utf8(body.to_vec()).unwrap();
            if front == Front::Grpc {
                assert_eq!((status.as_u16(), &headers["grpc-status"]), (200, &"13".parse().unwrap()));
            } else {
                assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{front:?}");
                assert!(body.contains("internal"), "{front:?}: {body}");
            }
            assert!(!format!("{headers:?}{body}").contains("secret"), "{front:?}: {body}");
        }
    }
}
