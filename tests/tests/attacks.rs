//! Hostile clients: the node's memory stays bounded, the cluster keeps its leader, and other clients are served.

use std::time::Duration;

use batuta_proto::v1;
use batuta_proto::v1::lock_service_client::LockServiceClient;
use batuta_tests::{Cluster, Node, PATIENCE, eventually};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tonic_types::StatusExt as _;

/// How much an attack may add to a node's memory, in bytes, including what the allocator keeps.
const GROWTH_BYTES_MAX: u64 = 128 << 20;

/// State before an attack, which must be the same afterwards.
struct Before {
    term: Value,
    resident_bytes: u64,
}

impl Before {
    async fn of(victim: &Node) -> Self {
        // The first answers make the node allocate what it needs in any case.
        let term = victim.status().await["term"].clone();
        Self { term, resident_bytes: victim.resident_bytes() }
    }

    /// Checks that locks can be taken through both nodes, that the leader still leads in its term, and that memory is bounded.
    async fn holds(&self, victim: &Node, other: &Node, what: &str) {
        for (node, place) in [(other, "other"), (victim, "victim")] {
            let body = json!({"name": format!("{what}/{place}"), "ttl_ms": 60_000});
            let answer = eventually(&format!("{what}: the {place} node answers"), || async {
                node.rest.try_send("POST", "/api/v1/locks", &[], Some(&body)).await.ok()
            })
            .await;
            assert!(answer.status == 201 || answer.code() == "lock_held", "{what}: {answer:?}");
        }
        let status = victim.status().await;
        assert_eq!((&status["role"], &status["term"]), (&json!("leader"), &self.term), "{what}");
        let grown = victim.resident_bytes().saturating_sub(self.resident_bytes);
        assert!(grown < GROWTH_BYTES_MAX, "{what}: {} MiB more", grown >> 20);
    }
}

async fn attacked(extra: &[&str]) -> (Cluster, usize, usize) {
    let cluster = Cluster::start_with(3, extra).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    (cluster, leader, follower)
}

/// Reads until the node has closed the connection.
async fn closed(stream: &mut TcpStream) {
    let mut buffer = [0; 4096];
    let reading = async { while !matches!(stream.read(&mut buffer).await, Ok(0) | Err(_)) {} };
    tokio::time::timeout(PATIENCE, reading).await.expect("the node closes the connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_floods_use_only_client_slots() {
    let (cluster, leader, follower) = attacked(&["--set=limits.connections_max=100"]).await;
    let (victim, other) = (&cluster.nodes[leader], &cluster.nodes[follower]);
    let before = Before::of(victim).await;
    let mut held = Vec::new();
    for _ in 0..300 {
        for address in [victim.rest_address(), victim.grpc_address()] {
            held.push(TcpStream::connect(address).await.expect("connects, if only to be closed"));
        }
    }
    // All client slots of the victim are taken; writes through other nodes still pass through its log.
    let body = json!({"name": "during", "ttl_ms": 60_000});
    let _ = other.rest.post("/api/v1/locks", &body).await.expect(201);
    for stream in &mut held {
        closed(stream).await;
    }
    before.holds(victim, other, "flood").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn incomplete_request_times_out() {
    let (cluster, leader, follower) = attacked(&["--set=limits.connection_idle_ms=500"]).await;
    let (victim, other) = (&cluster.nodes[leader], &cluster.nodes[follower]);
    let before = Before::of(victim).await;
    let mut dripping = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(victim.rest_address()).await.expect("connects");
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n").await.expect("sends");
        dripping.push(tokio::spawn(async move {
            // Send one byte of a header at a time.
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }));
    }
    for task in dripping {
        tokio::time::timeout(PATIENCE, task)
            .await
            .expect("the node closes the connection")
            .expect("no panic");
    }
    before.holds(victim, other, "drip").await;
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM_AND_HEADERS: u8 = 5;
/// `:method: POST`, `:scheme: http`, `:path: /` of the static table (RFC 7541 appendix A).
const REQUEST: &[u8] = &[0x83, 0x86, 0x84];

/// A frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Sends frames until all are sent or the node closes the connection.
async fn send_all(address: String, frames: impl Iterator<Item = Vec<u8>>) {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let mut opening = PREFACE.to_vec();
    opening.extend(frame(SETTINGS, 0, 0, &[]));
    stream.write_all(&opening).await.expect("sends");
    let (mut reader, mut writer) = stream.split();
    let mut buffer = [0; 4096];
    let reading = async { while !matches!(reader.read(&mut buffer).await, Ok(0) | Err(_)) {} };
    let writing = async {
        for bytes in frames {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    let either = async {
        tokio::select! { () = reading => {}, () = writing => {} }
    };
    tokio::time::timeout(PATIENCE, either).await.expect("the node reads or hangs up");
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_floods_cost_at_most_their_own_connection() {
    let (cluster, leader, follower) = attacked(&[]).await;
    let (victim, other) = (&cluster.nodes[leader], &cluster.nodes[follower]);
    for address in [victim.rest_address(), victim.grpc_address()] {
        let before = Before::of(victim).await;
        let resets = (0..50_000).map(|number| {
            let stream = 2 * number + 1;
            let mut bytes = frame(HEADERS, END_STREAM_AND_HEADERS, stream, REQUEST);
            bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            bytes
        });
        send_all(address.clone(), resets).await;
        before.holds(victim, other, "reset").await;
        // An endless header block: 256 MiB.
        let first = std::iter::once(frame(HEADERS, 0, 1, REQUEST));
        let piece = [b"\x00\x04abcd\x7f\x81\x7e".as_slice(), &vec![b'x'; 16_000]].concat();
        let endless = first.chain((0..16_384).map(|_| frame(CONTINUATION, 0, 1, &piece)));
        send_all(address, endless).await;
        before.holds(victim, other, "continuation").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_request_is_refused_before_it_is_buffered() {
    let (cluster, leader, follower) = attacked(&[]).await;
    let (victim, other) = (&cluster.nodes[leader], &cluster.nodes[follower]);
    let before = Before::of(victim).await;
    // An endless body.
    let mut stream = TcpStream::connect(victim.rest_address()).await.expect("connects");
    let head = "POST /api/v1/locks HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("sends");
    let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 1 << 16], b"\r\n"].concat();
    let mut sent = 0_u64;
    while stream.write_all(&chunk).await.is_ok() {
        sent += 1 << 16;
        assert!(sent < 1 << 30, "the node read a gibibyte");
    }
    // A gRPC message.
    let mut locks = LockServiceClient::connect(victim.grpc.clone()).await.expect("connects");
    let owner = "x".repeat(8 << 20);
    let status =
        locks.acquire(v1::AcquireRequest { owner, ..Default::default() }).await.expect_err("too large");
    let info = status.get_details_error_info().expect("details");
    assert_eq!((status.code(), info.reason.as_str()), (tonic::Code::ResourceExhausted, "body_too_large"));
    // A WebSocket message.
    let (mut socket, _) = tokio_tungstenite::connect_async(victim.ws()).await.expect("connects");
    // The node may close the connection before everything is sent.
    let _ = socket.send(Message::text(" ".repeat(8 << 20))).await;
    let end = tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time");
    match end {
        Some(Ok(Message::Close(Some(close)))) => assert_eq!(u16::from(close.code), 1009),
        Some(Err(_)) | None => {}
        Some(Ok(other)) => panic!("{other:?}"),
    }
    before.holds(victim, other, "oversize").await;
}
