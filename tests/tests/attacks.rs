//! Hostile clients: the node's memory stays bounded, the cluster keeps its leader, and other clients are served.

use std::time::Duration;

use batuta_proto::v1;
use batuta_proto::v1::lock_service_client::LockServiceClient;
use batuta_tests::{Cluster, Node, PATIENCE, eventually};
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tonic::Status;
use tonic::transport::Endpoint;
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
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n").await.expect("sends");
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
    let head = "POST /api/v1/locks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
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

/// A web page of a host whose name resolves to 127.0.0.1, in a browser.
struct Page {
    host: &'static str,
    http: reqwest::Client,
}

impl Page {
    fn of(host: &'static str) -> Self {
        let http =
            reqwest::Client::builder().no_proxy().http1_only().resolve(host, ([127, 0, 0, 1], 0).into());
        Self { host, http: http.build().expect("a client") }
    }

    /// The page's name for an address of the node, `host:port`.
    fn authority(&self, address: &str) -> String {
        let (_, port) = address.rsplit_once(':').expect("a port");
        format!("{}:{port}", self.host)
    }

    /// Sends a request, with a body if it has one. Returns status, headers and body.
    async fn send(
        &self,
        method: &str,
        (address, path): (&str, &str),
        body: Option<(&str, Vec<u8>)>,
    ) -> (u16, HeaderMap, Vec<u8>) {
        let authority = self.authority(address);
        let method = method.parse().expect("a method");
        let request = self.http.request(method, format!("http://{authority}{path}"));
        let mut request = request.header("origin", format!("http://{authority}"));
        if let Some((kind, body)) = body {
            request = request.header("content-type", kind).body(body);
        }
        let answer = request.send().await.expect("answers");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        (status, headers, answer.bytes().await.expect("a body").to_vec())
    }

    /// Opens a WebSocket. Returns the code of the refusal, empty when it is open.
    async fn open(&self, (address, path): (&str, &str), subprotocol: &'static str) -> String {
        let authority = self.authority(address);
        let mut request = format!("ws://{authority}{path}").into_client_request().expect("a request");
        let origin = HeaderValue::from_str(&format!("http://{authority}")).expect("a header");
        request.headers_mut().insert("origin", origin);
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(subprotocol));
        let stream = TcpStream::connect(address).await.expect("connects");
        match tokio_tungstenite::client_async(request, stream).await {
            Ok(_) => String::new(),
            Err(Error::Http(answer)) => {
                let body = answer.body().as_deref().unwrap_or_default();
                http_code(answer.status().as_u16(), body)
            }
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// Makes a call over gRPC, with the page's name as `:authority`. Returns the code of the refusal, empty when it is answered.
    async fn call(&self, address: &str) -> String {
        let origin = format!("http://{}", self.authority(address)).parse().expect("an origin");
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("a URL").origin(origin);
        let mut locks = LockServiceClient::new(endpoint.connect().await.expect("connects"));
        match locks.list_locks(v1::ListLocksRequest::default()).await {
            Ok(_) => String::new(),
            Err(status) => grpc_code(&status),
        }
    }

    /// The code with which each front refuses the page; empty for an answer.
    async fn codes(&self, node: &Node) -> Vec<(&'static str, String)> {
        let (rest, grpc) = (&node.rest_address(), &node.grpc_address());
        let status = node.status().await;
        let own_url = status["members"][0]["ws"].as_str().expect("the port of WebSocket");
        let own = own_url.strip_prefix("ws://").expect("a URL");
        let query = Some(("application/json", br#"{"query": "{ __typename }"}"#.to_vec()));
        let message = Some(("application/grpc-web+proto", vec![0; 5]));
        let (http, _, body) = self.send("GET", (rest, "/api/v1/locks"), None).await;
        let mut codes = vec![("REST", http_code(http, &body))];
        let (http, _, body) = self.send("GET", (rest, "/openapi.json"), None).await;
        codes.push(("documents", http_code(http, &body)));
        let (http, _, body) = self.send("POST", (rest, "/graphql"), query).await;
        codes.push(("GraphQL", http_code(http, &body)));
        codes.push(("GraphQL subscriptions", self.open((rest, "/graphql"), "graphql-transport-ws").await));
        codes.push(("WebSocket", self.open((rest, "/ws/v1"), "batuta.v1+json").await));
        codes.push(("WebSocket on its own port", self.open((own, "/ws/v1"), "batuta.v1+json").await));
        codes.push(("gRPC", self.call(grpc).await));
        let (_, headers, _) = self.send("POST", (grpc, "/batuta.v1.ClusterService/GetStatus"), message).await;
        codes.push((
            "gRPC-Web",
            Status::from_header_map(&headers).map(|status| grpc_code(&status)).unwrap_or_default(),
        ));
        codes
    }
}

/// The code of an HTTP answer, which must have the status of a refused host; empty for success.
fn http_code(status: u16, body: &[u8]) -> String {
    if status < 300 {
        return String::new();
    }
    let body: Value = serde_json::from_slice(body).expect("JSON");
    let code = body.pointer("/code").or(body.pointer("/errors/0/extensions/code"));
    let code = code.and_then(Value::as_str).expect("a code").to_owned();
    assert_eq!(status == 421, code == "host_not_allowed", "{body}");
    assert!(status != 421 || body.to_string().contains("api.allowed_hosts"), "{body}");
    code
}

/// The code of a gRPC status, which must be that of a refused host.
fn grpc_code(status: &Status) -> String {
    assert_eq!(status.code(), tonic::Code::PermissionDenied, "{status:?}");
    assert!(status.message().contains("api.allowed_hosts"), "{status:?}");
    status.get_details_error_info().expect("details").reason
}

#[tokio::test(flavor = "multi_thread")]
async fn page_that_rebinds_its_name_is_refused_on_every_front() {
    let cluster = Cluster::start_with(1, &["--set=api.allowed_hosts=batuta.example,*.batuta.ns.svc"]).await;
    let node = &cluster.nodes[0];
    for host in ["batuta.example", "batuta-0.batuta.ns.svc", "localhost", "app.localhost"] {
        for (front, code) in Page::of(host).codes(node).await {
            assert_eq!(code, "", "{host} on {front}");
        }
    }
    for host in ["evil.example", "evil.batuta.example", "localhost.evil.example"] {
        for (front, code) in Page::of(host).codes(node).await {
            assert_eq!(code, "host_not_allowed", "{host} on {front}");
        }
    }
    let evil = Page::of("evil.example");
    for (method, path) in
        [("OPTIONS", "/api/v1/locks"), ("GET", "/livez"), ("GET", "/unknown"), ("GET", "/graphql")]
    {
        let (status, headers, body) = evil.send(method, (&node.rest_address(), path), None).await;
        assert_eq!((status, http_code(status, &body).as_str()), (421, "host_not_allowed"), "{method} {path}");
        let told: Vec<&str> = headers.keys().map(reqwest::header::HeaderName::as_str).collect();
        assert!(!told.iter().any(|name| name.starts_with("access-control-")), "{told:?}");
        assert!(!told.contains(&"batuta-revision"), "{told:?}");
    }
}

/// Sends a request as these bytes. Returns the status line.
async fn status_line(node: &Node, request: &str) -> String {
    let mut stream = TcpStream::connect(node.rest_address()).await.expect("connects");
    stream.write_all(request.as_bytes()).await.expect("sends");
    let mut answer = vec![0; 12];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer))
        .await
        .expect("in time")
        .expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn host_of_a_request_is_read_as_http_says() {
    let cluster = Cluster::start(1).await;
    let node = &cluster.nodes[0];
    for (request, status) in [
        // A probe without a host, and one by the address of a pod.
        ("GET /livez HTTP/1.0\r\n\r\n", "HTTP/1.0 200"),
        ("GET /livez HTTP/1.1\r\nhost:\r\n\r\n", "HTTP/1.1 200"),
        ("GET /livez HTTP/1.1\r\nhost: 10.244.0.7:8080\r\n\r\n", "HTTP/1.1 200"),
        ("GET /livez HTTP/1.1\r\nhost: [fd00::7]:8080\r\n\r\n", "HTTP/1.1 200"),
        ("GET /livez HTTP/1.0\r\nhost: evil.example\r\n\r\n", "HTTP/1.0 421"),
        ("GET http://evil.example/livez HTTP/1.1\r\nhost: localhost\r\n\r\n", "HTTP/1.1 421"),
        ("GET http://localhost/livez HTTP/1.1\r\nhost: evil.example\r\n\r\n", "HTTP/1.1 200"),
        ("GET /livez HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n", "HTTP/1.1 421"),
    ] {
        assert_eq!(status_line(node, request).await, status, "{request:?}");
    }
}
