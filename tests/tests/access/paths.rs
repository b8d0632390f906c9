//! Odd ways to write a path: none gets past the check of the credential.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::calls::NO_CREDENTIAL;
use crate::grpc_calls::{call_raw, channel_of};
use crate::secure::{Caller, LONG_MS, Secured, done};

/// A word that only the answer to a read of the lock contains.
const GEM: &str = "the-hidden-gem";

async fn with_a_gem() -> Secured {
    let secured = Secured::start(1).await;
    let lock = json!({"name": "hidden/lock", "ttl_ms": LONG_MS, "metadata": GEM});
    done(secured.root.post("/api/v1/locks", lock).await);
    let seen = done(secured.root.get("/api/v1/locks/hidden%2Flock").await);
    assert!(seen.body.to_string().contains(GEM), "{seen:?}");
    secured
}

/// Sends bytes and returns what comes back until the node closes, or nothing comes any more.
async fn raw(address: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(request).await.expect("sends");
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(Ok(count @ 1..)) = timeout(Duration::from_secs(2), stream.read(&mut buffer)).await {
        answer.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_path_gives_no_data() {
    let secured = with_a_gem().await;
    let address = secured.follower().rest_address();
    let absolute = format!("http://{address}/api/v1/locks");
    let paths = [
        "/api/v1/locks",
        "//api/v1/locks",
        "/api//v1/locks",
        "/%61pi/v1/locks",
        "/api/v1/%6Cocks",
        "/API/V1/LOCKS",
        "/api/v1/./locks",
        "/api/v1/%2e/locks",
        "/api/v1/x/../locks",
        "/livez/../api/v1/locks",
        "/livez%2f..%2fapi/v1/locks",
        "/livez;/api/v1/locks",
        "/readyz//api/v1/locks",
        "/grpc.health.v1.Health/../api/v1/locks",
        "/grpc.health.v1.Health/api/v1/locks",
        "/api/v1/locks/",
        "/api/v1/locks/hidden%2Flock",
        "/api/v1/locks/hidden%252Flock",
        "/api/v1/locks/hidden/lock",
        "/api/v1/locks?access_token=x",
        "api/v1/locks",
        "/api/v1/watch?snapshot=true",
        absolute.as_str(),
    ];
    let wrong = format!("Authorization: Bearer btk_{NO_CREDENTIAL}\r\n");
    for path in paths {
        for header in ["", wrong.as_str(), "Authorization: Basic cm9vdDpyb290\r\n", "authorization:\r\n"] {
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{header}Connection: close\r\n\r\n");
            let answer = raw(&address, request.as_bytes()).await;
            assert!(!answer.contains(GEM), "{path} {header}: {answer}");
            assert!(!answer.starts_with("HTTP/1.1 2"), "{path} {header}: {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn token_counts_in_its_header_only() {
    let secured = with_a_gem().await;
    let nobody = Caller::anonymous(secured.follower());
    let key = &secured.root.key;
    for query in ["access_token", "token", "key", "authorization"] {
        let answer = nobody.get(&format!("/api/v1/locks?{query}={key}")).await;
        assert!(!answer.body.to_string().contains(GEM), "{query}: {answer:?}");
        assert!(answer.status >= 400, "{query}: {answer:?}");
    }
    let cookie = format!("token={key}");
    for (name, value) in [("cookie", cookie.as_str()), ("x-authorization", key), ("x-api-key", key)] {
        let answer = nobody.send_with("GET", "/api/v1/locks", &[(name, value)], None).await;
        assert_eq!(answer.code(), "unauthenticated", "{name}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_grpc_path_gives_no_data() {
    let secured = with_a_gem().await;
    let address = secured.follower().grpc_address();
    // An empty message: no flags, length 0.
    let empty = [0_u8; 5];
    for path in [
        "/batuta.v1.LockService/ListLocks",
        "//batuta.v1.LockService/ListLocks",
        "batuta.v1.LockService/ListLocks",
        "/batuta.v1.lockservice/listlocks",
        "/batuta.v1.LockService/%4CistLocks",
        "/grpc.health.v1.Health/../batuta.v1.LockService/ListLocks",
    ] {
        for kind in ["application/grpc-web+proto", "application/grpc", "application/json"] {
            let mut request = format!(
                "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: {kind}\r\nTE: trailers\r\n\
                 Content-Length: 5\r\nConnection: close\r\n\r\n"
            )
            .into_bytes();
            request.extend_from_slice(&empty);
            let answer = raw(&address, &request).await;
            assert!(!answer.contains(GEM), "{path} {kind}: {answer}");
            assert!(
                !answer.contains("grpc-status:0") && !answer.contains("grpc-status: 0"),
                "{path} {kind}: {answer}"
            );
        }
    }
    let nobody = Caller::anonymous(secured.follower());
    let channel = channel_of(&nobody).await;
    for path in [
        "/batuta.v1.LockService/Nothing",
        "/batuta.v1.Nothing/ListLocks",
        "//batuta.v1.LockService/ListLocks",
        "/batuta.internal.v1.PeerService/Identify",
    ] {
        let refusal = call_raw(&channel, &nobody, path, Vec::new()).await.expect_err(path);
        assert!(!refusal.contains(GEM), "{path}: {refusal}");
    }
}
