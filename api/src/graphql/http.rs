//! GraphQL over HTTP: one document per request, as JSON; and the upgrade to a WebSocket.
//!
//! A readable request is answered with 200, with refusals in the body. An unreadable request is answered with the status of its
//! code. In both cases the body is a GraphQL answer.

use std::sync::Arc;

use axum::Json;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use tokio::sync::Semaphore;

use super::request::{Answer, Body, Operation};
use super::{GraphqlOptions, Schema, error, ws};
use crate::ApiError;
use crate::json::{challenge, decode_json};
use crate::middleware::{Doorkeeper, client_of, stack};
use crate::rest::extract::{BODY_BYTES_MAX, read_body, require_json};
use crate::service::{Service, parse};

/// The page for queries from a browser. It is self-contained.
const PAGE: &str = include_str!("page.html");
/// The content security policy of the page: it may connect only to this node, and no other page may frame it.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);

/// The schema, and the options of the front.
#[derive(Clone)]
pub(super) struct Front {
    pub(super) schema: Schema,
    pub(super) service: Service,
    pub(super) options: GraphqlOptions,
    /// Limits the number of WebSocket connections.
    pub(super) connections: Arc<Semaphore>,
}

impl Front {
    pub(super) fn new(schema: Schema, service: Service, options: GraphqlOptions) -> Self {
        let connections = options.socket.connections_max.min(Semaphore::MAX_PERMITS);
        Self { schema, service, options, connections: Arc::new(Semaphore::new(connections)) }
    }
}

/// The error of an unreadable request.
struct Unread(ApiError);

impl IntoResponse for Unread {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.info().http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(Answer::refused(error::of(&self.0, None)))).into_response();
        if let Some(challenge) = challenge(self.0.code()) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// Builds the routes of the front.
pub(super) fn routes(front: Front) -> axum::Router {
    // A WebSocket starts with GET, over HTTP/2 with CONNECT.
    let route = on(MethodFilter::POST, execute)
        .on(MethodFilter::GET, page_or_socket)
        .on(MethodFilter::CONNECT, page_or_socket);
    let routes = axum::Router::new()
        .route("/graphql", route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    let doorkeeper = Doorkeeper::of(&front.service);
    stack(routes.with_state(front), crate::middleware::Front::Graphql, &doorkeeper)
}

/// Makes the answer to a request that could not be executed.
pub(crate) fn unread(error: ApiError) -> Response {
    Unread(error).into_response()
}

async fn execute(State(front): State<Front>, request: Request) -> Result<Json<Answer>, Unread> {
    let client = client_of(request.extensions());
    let body = read(request).await.map_err(Unread)?;
    Ok(Json(match Operation::read(body, front.options.introspection) {
        Ok(operation) => operation.execute(&front.schema, client).await,
        Err(refused) => Answer::refused(refused),
    }))
}

async fn page_or_socket(
    State(front): State<Front>,
    extensions: Extensions,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Unread> {
    if ws::is_asked_for(&method, &headers) {
        require_no_call_headers(&headers).map_err(Unread)?;
        return ws::handshake(front, client_of(&extensions), &headers, upgrade).map_err(Unread);
    }
    if front.options.page && takes_html(&headers) {
        return Ok(([(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)], Html(PAGE)).into_response());
    }
    // The same answer as for an unsupported method: programs use GET only to open a WebSocket.
    Ok(([(header::ALLOW, "POST")], method_not_allowed(method, uri).await).into_response())
}

/// Whether a browser opens the address: it accepts HTML, while programs accept JSON or anything.
fn takes_html(headers: &HeaderMap) -> bool {
    let given = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    given.flat_map(|value| value.split(',')).any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let is_html = parts.next().is_some_and(|media_type| media_type.eq_ignore_ascii_case("text/html"));
        is_html && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

async fn read(request: Request) -> Result<Body, ApiError> {
    require_json(request.headers())?;
    require_no_call_headers(request.headers())?;
    decode_json(&read_body(request).await?)
}

/// Refuses the headers of REST, which are arguments of fields in GraphQL. An ignored header would make the caller work in
/// another namespace than it believes, or without its retry key.
fn require_no_call_headers(headers: &HeaderMap) -> Result<(), ApiError> {
    for name in [parse::NAMESPACE_FIELD, parse::KEY_FIELD, parse::SEQUENCE_FIELD] {
        if headers.contains_key(name) {
            return Err(ApiError::invalid(name, "is an argument of the field in GraphQL, not a header"));
        }
    }
    Ok(())
}

async fn method_not_allowed(method: Method, uri: Uri) -> Unread {
    let path = uri.path().chars().take(256).collect();
    Unread(ApiError::MethodNotAllowed { method: method.to_string(), path })
}
