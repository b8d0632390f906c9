//! The layers around every request of every port, before it is decoded: a request id, a span, a guard against panics, the check of its host, and
//! the authentication of its client.
//!
//! WebSocket, GraphQL and pipelines carry many calls per request; `service/admit.rs` handles single calls.

use std::any::Any;
use std::future::{Ready, ready};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::http::{Extensions, HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Either};
use tower::layer::layer_fn;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestId, PropagateRequestIdLayer, RequestId, SetRequestIdLayer};
use tower_http::trace::TraceLayer;

use crate::access::Secret;
use crate::json::Problem;
use crate::service::{Client, Service};
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

/// The address of the client, which the server of the port adds to a request.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub IpAddr);

/// What the check of requests needs of the node.
#[derive(Clone)]
pub(crate) struct Doorkeeper {
    hosts: Hosts,
    /// `None` only in tests of the layers, where nobody has a token.
    service: Option<Service>,
}

impl Doorkeeper {
    pub(crate) fn of(service: &Service) -> Self {
        Self { hosts: service.hosts().clone(), service: Some(service.clone()) }
    }

    /// Lets in whoever sends no token.
    #[cfg(test)]
    pub(crate) fn without_service() -> Self {
        Self { hosts: Hosts::default(), service: None }
    }
}

/// Refuses requests for hosts that are not this node's and requests with a bad credential, before a route sees them. To all others it adds the
/// [`Client`].
#[derive(Clone)]
struct Entrance<S> {
    inner: S,
    doorkeeper: Doorkeeper,
    front: Front,
}

type Served<E> = BoxFuture<'static, Result<Response, E>>;

impl<S> tower::Service<Request<Body>> for Entrance<S>
where
    S: tower::Service<Request<Body>, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Either<S::Future, Either<Ready<Result<Response, S::Error>>, Served<S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let front = self.front;
        let refused = |error| Either::Right(Either::Left(ready(Ok(front.refuse(error)))));
        if let Err(error) = self.doorkeeper.hosts.check(request.uri(), request.headers()) {
            return refused(error);
        }
        let ip = request.extensions().get::<ClientAddress>().map(|address| address.0);
        let client = Client::new(ip, front.as_str());
        let Some(service) = self.doorkeeper.service.as_ref().filter(|_| has_token(&request)) else {
            request.extensions_mut().insert(client);
            return Either::Left(self.inner.call(request));
        };
        match bearer(request.headers()).map(|token| service.recognise(token)) {
            Ok(Some(Ok(identity))) => {
                request.extensions_mut().insert(client.proven(identity));
                Either::Left(self.inner.call(request))
            }
            Ok(Some(Err(error))) | Err(error) => refused(service.refuse_client(&client, error)),
            Ok(None) => Either::Right(Either::Right(self.look_up(service.clone(), request, client).boxed())),
        }
    }
}

impl<S> Entrance<S>
where
    S: tower::Service<Request<Body>, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
{
    /// Serves a request whose token this node does not know yet.
    fn look_up(
        &self,
        service: Service,
        mut request: Request<Body>,
        client: Client,
    ) -> impl Future<Output = Result<Response, S::Error>> + Send + use<S> {
        // The clone of a layer of axum is always ready.
        let Self { mut inner, front, .. } = self.clone();
        async move {
            let authenticated = match bearer(request.headers()) {
                Ok(token) => service.authenticate(token).await,
                Err(error) => Err(error),
            };
            match authenticated {
                Ok(identity) => {
                    request.extensions_mut().insert(client.proven(identity));
                    inner.call(request).await
                }
                Err(error) => Ok(front.refuse(service.refuse_client(&client, error))),
            }
        }
    }
}

/// The client that [`Entrance`] added to a request. Without this layer, which only tests leave out, it has proved nothing.
pub(crate) fn client_of(extensions: &Extensions) -> Client {
    extensions.get::<Client>().cloned().unwrap_or_default()
}

/// Whether a request has a token that counts. Probes are answered whatever credential they send.
fn has_token(request: &Request<Body>) -> bool {
    let path = request.uri().path();
    let probe = matches!(path, "/livez" | "/readyz") || path.starts_with("/grpc.health.v1.Health/");
    !probe && request.headers().contains_key(header::AUTHORIZATION)
}

/// The token of a request (RFC 6750 section 2.1). It is never read from an address, which gets into logs.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<Secret, ApiError> {
    let invalid = |problem: &str| ApiError::InvalidToken { problem: problem.to_owned() };
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let value = given.next().ok_or_else(|| invalid("the header Authorization must be `Bearer TOKEN`"))?;
    if given.next().is_some() {
        return Err(invalid("the header Authorization must be given once"));
    }
    bearer_of(value.to_str().unwrap_or_default())
}

/// The token in the text of an `Authorization`.
pub(crate) fn bearer_of(text: &str) -> Result<Secret, ApiError> {
    let (word, token) = text.split_once(' ').unwrap_or_default();
    if word.eq_ignore_ascii_case("bearer") {
        return Ok(Secret::new(token.trim().to_owned()));
    }
    Err(ApiError::InvalidToken { problem: "Authorization must be `Bearer TOKEN`".to_owned() })
}

/// Puts the layers around the routes of a front; they are the same for every front and every port. What is added to the router later is
/// outside of them, so fallbacks belong into `routes`.
pub(crate) fn stack(routes: Router, front: Front, doorkeeper: &Doorkeeper) -> Router {
    let doorkeeper = doorkeeper.clone();
    let entrance = layer_fn(move |inner: Route| Entrance { inner, doorkeeper: doorkeeper.clone(), front });
    let catch_panic = CatchPanicLayer::custom(move |panic| front.refuse(panicked(front, panic)));
    routes
        // In one layer, because axum boxes the future of each.
        .layer((catch_panic, entrance))
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

    #[test]
    fn only_bearer_tokens_are_read() {
        for text in ["Bearer btk_x", "bearer btk_x", "BEARER  btk_x "] {
            assert_eq!(bearer_of(text).expect("a token").expose(), "btk_x", "{text}");
        }
        for text in ["", "btk_x", "Basic btk_x", "Bearer"] {
            let error = bearer_of(text).expect_err("no bearer token");
            assert!(!error.to_string().contains("btk_x"), "{text}: {error}");
        }
    }

    #[tokio::test]
    async fn every_front_refuses_another_host_in_its_format() {
        for front in [Front::Rest, Front::Graphql, Front::WebSocket, Front::Grpc] {
            // The route would panic.
            let routes =
                stack(Router::new().route("/panic", get(explode)), front, &Doorkeeper::without_service());
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
            let routes =
                stack(Router::new().route("/panic", get(explode)), front, &Doorkeeper::without_service());
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
