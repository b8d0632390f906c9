//! GraphQL over WebSocket, with the subprotocol `graphql-transport-ws`: subscriptions, queries and mutations.
//!
//! ```text
//! reader ─ message ─ guard ─ a task per operation ──► schema ─┐
//!                                                             ├─► bounded queue ─ writer ─► client
//!          connection_init, ping, complete ─ at once ─────────┘
//! ```
//! Invariant: the operations of a connection end with it. They are tasks that the connection owns; dropping it drops
//! their futures, and with them watches and waits. An id is free again before the last message of its operation is sent.

mod close;
mod connection;
mod message;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::{HeaderMap, Method, header};
use axum::response::Response;

use super::http::Front;
use crate::ApiError;
use crate::client_work::client_work;
use crate::service::Client;
use crate::socket::admit;

/// The supported subprotocol.
const SUBPROTOCOL: &str = "graphql-transport-ws";

/// Options of WebSocket connections. They change no outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Most open connections on this node.
    pub connections_max: usize,
    /// Most unanswered queries and mutations of one connection.
    pub in_flight_max: usize,
    /// Most subscriptions of one connection.
    pub subscriptions_max: usize,
    /// The longest message of a client, in bytes.
    pub message_bytes_max: usize,
    /// Most messages queued for a client that does not read.
    pub outgoing_messages_max: usize,
    /// How long the client may take to send `connection_init`.
    pub init_timeout: Duration,
    /// How long the client may take to read one message.
    pub write_timeout: Duration,
    /// How often the server sends a WebSocket ping.
    pub ping_every: Duration,
    /// How long the client may send nothing, not even the answer to a ping.
    pub idle_timeout: Duration,
}

impl SocketOptions {
    /// The options that a node uses.
    pub const DEFAULT: Self = Self {
        connections_max: 16_000,
        in_flight_max: 64,
        subscriptions_max: 100,
        message_bytes_max: 1 << 20,
        outgoing_messages_max: 128,
        init_timeout: Duration::from_secs(10),
        write_timeout: Duration::from_secs(10),
        ping_every: Duration::from_secs(20),
        idle_timeout: Duration::from_mins(1),
    };
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Whether a request asks for an upgrade to a WebSocket.
pub(super) fn is_asked_for(method: &Method, headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    method == Method::CONNECT || upgrade.split(',').any(|name| name.trim().eq_ignore_ascii_case("websocket"))
}

/// Upgrades a request to a connection, or refuses it with the reason.
pub(super) fn handshake(
    front: Front,
    client: Client,
    headers: &HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let refused = |problem: String| ApiError::HandshakeRefused { problem };
    let upgrade = upgrade.map_err(|rejection| refused(rejection.body_text()))?.protocols([SUBPROTOCOL]);
    if upgrade.selected_protocol().is_none() {
        return Err(refused(format!("the subprotocol here is {SUBPROTOCOL}; offer it")));
    }
    let options = front.options.socket;
    let limit = ("graphql_connections_max", options.connections_max);
    let connections = Arc::clone(&front.connections);
    let (upgrade, place) =
        admit(upgrade, headers, &front.service, connections, limit, options.message_bytes_max)?;
    Ok(upgrade.on_upgrade(move |socket| {
        let tracker = front.service.clone();
        tracker.tracked(client_work(async move {
            connection::serve(front, client, socket).await;
            drop(place);
        }))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_lists_every_close_code_and_limit() {
        let page = include_str!("../../../../docs/api-graphql.md");
        for code in close::Close::CODES {
            assert!(page.contains(&format!("\n| {code} | ")), "{code}");
        }
        let SocketOptions { connections_max, in_flight_max, subscriptions_max, .. } = SocketOptions::DEFAULT;
        for (limit, max) in [
            ("graphql_connections_max", connections_max),
            ("graphql_in_flight_max", in_flight_max),
            ("graphql_subscriptions_max", subscriptions_max),
        ] {
            let shown =
                if max < 1_000 { max.to_string() } else { format!("{},{:03}", max / 1_000, max % 1_000) };
            assert!(page.contains(&format!("\n| `{limit}` | {shown} | ")), "{limit} = {shown}");
        }
    }

    #[test]
    fn only_upgrade_requests_become_sockets() {
        for (method, upgrade, asked) in [
            (Method::GET, None, false),
            (Method::GET, Some("h2c"), false),
            (Method::GET, Some("WebSocket"), true),
            (Method::GET, Some("h2c, websocket"), true),
            (Method::CONNECT, None, true),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(upgrade) = upgrade {
                headers.insert(header::UPGRADE, upgrade.parse().unwrap());
            }
            assert_eq!(is_asked_for(&method, &headers), asked, "{method} {upgrade:?}");
        }
    }
}
