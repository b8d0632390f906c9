//! The WebSocket front: many requests, watches and lease notifications over one connection.
//!
//! ```text
//! reader ─ frame ─ decode ─┬─ call ── a task ──► service ─┐
//!                          ├─ watch ─ a task ──► hub ─────┼─► bounded queue ─ writer ─► client
//!                          └─ at once (ping, cancel, …) ──┘
//! ```
//! Invariant: the waits of a connection end with it. Its calls, watches and lease followers are tasks that the connection
//! owns; dropping it drops their futures, and the service withdraws their waits.
//! A client that does not read fills its own bounded queue, and after a while loses its connection; other clients are not affected.

mod access;
mod asyncapi;
mod close;
mod connection;
mod election;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod lease;
mod lock;
mod op;
mod register;
mod session;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::{Extensions, HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use tokio::sync::Semaphore;

use crate::ApiError;
use crate::client_work::client_work;
use crate::json::Problem;
use crate::middleware::{Doorkeeper, client_of, stack};
use crate::service::{Client, Service};
use crate::socket::admit;

pub use asyncapi::asyncapi;

/// The path of the front.
pub const PATH: &str = "/ws/v1";
/// The supported subprotocol.
pub const SUBPROTOCOL: &str = "batuta.v1+json";

/// Options of connections. They change no outcome of a call.
#[derive(Clone, Debug)]
pub struct WsOptions {
    /// Most open connections on this node.
    pub connections_max: usize,
    /// Most unanswered requests of one connection.
    pub in_flight_max: usize,
    /// Most watches of one connection.
    pub watches_max: usize,
    /// Most grants and sessions of one connection with lease notifications.
    pub leases_max: usize,
    /// The longest message of a client, in bytes.
    pub message_bytes_max: usize,
    /// Most frames queued for a client that does not read.
    pub outgoing_frames_max: usize,
    /// How long the client may take to read one frame.
    pub write_timeout: Duration,
    /// How often the server pings.
    pub ping_every: Duration,
    /// How long the client may send nothing, not even the answer to a ping.
    pub idle_timeout: Duration,
}

impl Default for WsOptions {
    fn default() -> Self {
        Self {
            connections_max: 16_000,
            in_flight_max: 64,
            watches_max: 100,
            leases_max: 1_000,
            message_bytes_max: 1 << 20,
            outgoing_frames_max: 128,
            write_timeout: Duration::from_secs(10),
            ping_every: Duration::from_secs(20),
            idle_timeout: Duration::from_mins(1),
        }
    }
}

#[derive(Clone)]
struct Front {
    service: Service,
    options: Arc<WsOptions>,
    connections: Arc<Semaphore>,
}

/// Builds the WebSocket API over the service, at [`PATH`]. The router can be merged with those of other APIs.
pub fn router(service: Service, options: WsOptions) -> Router {
    let connections = Arc::new(Semaphore::new(options.connections_max.min(Semaphore::MAX_PERMITS)));
    let doorkeeper = Doorkeeper::of(&service);
    let front = Front { service, options: Arc::new(options), connections };
    let routes = Router::new().route(PATH, any(connect)).with_state(front);
    stack(routes, crate::middleware::Front::WebSocket, &doorkeeper)
}

/// Completes the router of the service for a port of its own: every other path is answered with a problem document.
pub fn alone(router: Router, service: &Service) -> Router {
    let other_paths = Router::new().fallback(path_not_found);
    router.merge(stack(other_paths, crate::middleware::Front::WebSocket, &Doorkeeper::of(service)))
}

async fn path_not_found(uri: Uri) -> Problem {
    let path = uri.path().chars().take(256).collect();
    let mut problem = Problem::from(ApiError::PathNotFound { path });
    problem.detail = format!("this port speaks WebSocket, at {PATH} only");
    problem
}

async fn connect(
    State(front): State<Front>,
    extensions: Extensions,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let client = client_of(&extensions);
    let connected = match access::identified(&front.service, client, &headers).await {
        Ok(client) => handshake(front, client, &headers, upgrade),
        Err(error) => Err(error),
    };
    connected.unwrap_or_else(|error| Problem::from(error).into_response())
}

fn handshake(
    front: Front,
    client: Client,
    headers: &HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let refused = |problem: String| ApiError::HandshakeRefused { problem };
    let upgrade = upgrade.map_err(|rejection| refused(rejection.body_text()))?.protocols([SUBPROTOCOL]);
    if upgrade.selected_protocol().is_none() && headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
        return Err(refused(format!("the only subprotocol here is {SUBPROTOCOL}; offer it, or none")));
    }
    let Front { service, options, connections } = front;
    let limit = ("ws_connections_max", options.connections_max);
    let (upgrade, place) = admit(upgrade, headers, &service, connections, limit, options.message_bytes_max)?;
    Ok(upgrade.on_upgrade(move |socket| {
        let tracker = service.clone();
        tracker.tracked(client_work(async move {
            connection::serve(service, options, client, socket).await;
            drop(place);
        }))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(name: &str) -> String {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    #[test]
    fn documents_list_every_operation_and_close_code() {
        let words = document("api-websocket.md");
        for op in op::OWN.into_iter().chain(op::ops().map(|op| op.operation.name)) {
            assert!(words.contains(&format!("| `{op}` |")), "{op} has no line in the table");
            assert!(words.contains(&format!(r#""op": "{op}""#)), "{op} has no example");
        }
        for close in close::Close::ALL {
            assert!(words.contains(&format!("| {} |", close.code())), "{close:?}");
        }
    }
}
