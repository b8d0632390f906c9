//! The REST front over a replica of one node: what a user of curl would try.

mod support;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use batuta_api::rest;
use serde_json::{Value, json};
use support::{Node, eventually};
use tokio::io::AsyncWriteExt;
use tower::ServiceExt;

/// Largest answer that a test reads, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;

struct Api(Router);

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Api {
    fn of(node: &Node) -> Self {
        Self(rest::router(node.service.clone()))
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        let response = self.0.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, ANSWER_BYTES_MAX).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], None).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], None).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, &[], Some(body)).await
    }

    async fn put(&self, path: &str, body: Value) -> Answer {
        self.send("PUT", path, &[], Some(body)).await
    }

    /// Takes a one-shot lock, which must be free.
    async fn acquire(&self, name: &str) -> Value {
        let answer = self.post("/api/v1/locks", json!({"name": name, "ttl_ms": 600_000})).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.body
    }
}

impl Answer {
    /// Returns the body of an answer with this status, and checks that it has a revision.
    fn ok(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        let revision = self.body["revision"].as_u64().expect("a revision");
        assert_eq!(self.headers["batuta-revision"], revision.to_string());
        self.body
    }

    /// Returns the body of a refusal, which must have this status and code.
    fn refused(self, status: u16, code: &str) -> Value {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.headers.contains_key("retry-after"), self.body["retryable"] == true, "{}", self.body);
        let revision: u64 = self.headers["batuta-revision"].to_str().unwrap().parse().unwrap();
        assert!(self.body.get("revision").is_none_or(|told| *told == revision), "{}", self.body);
        self.body
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

#[tokio::test]
async fn lock_is_taken_shown_extended_checked_and_released() {
    let node = Node::start().await;
    let api = Api::of(&node);
    let request = json!({"name": "orders/42", "ttl_ms": 600_000, "owner": "worker-7", "metadata": "m"});
    let answer = api.post("/api/v1/locks", request).await;
    assert_eq!(answer.headers["location"], "/api/v1/locks/orders%2F42");
    let grant = answer.ok(201);
    let (lock_id, token) = (text(&grant["lock_id"]).to_owned(), grant["fencing_token"].as_u64().unwrap());
    for (field, value) in [
        ("namespace", json!("default")),
        ("name", json!("orders/42")),
        ("mode", json!("exclusive")),
        ("locks", json!([{"name": "orders/42", "mode": "exclusive"}])),
        ("owner", json!("worker-7")),
        ("ttl_ms", json!(600_000)),
        ("count", json!(1)),
        ("metadata", json!("m")),
    ] {
        assert_eq!(grant[field], value, "{field}");
    }
    assert!(text(&grant["granted_at"]) < text(&grant["expires_at"]), "{grant}");

    let shown = api.get("/api/v1/locks/orders%2F42").await.ok(200);
    assert_eq!(shown["holders"][0]["lock_id"], *lock_id);
    let explained = api.get("/api/v1/locks/orders%2F42/explain?consistency=stale").await.ok(200);
    assert_eq!(explained["lock"]["holders"][0]["fencing_token"], token);

    let longer = json!({"lock_id": lock_id, "ttl_ms": 900_000});
    let extended = api.put("/api/v1/locks/orders%2F42/extend", longer.clone()).await.ok(200);
    assert_eq!((&extended["ttl_ms"], &extended["fencing_token"]), (&json!(900_000), &json!(token)));
    api.put("/api/v1/locks/other/extend", longer).await.refused(409, "lock_not_held");

    let check = format!("/api/v1/locks/orders%2F42/check?fencing_token={token}");
    assert_eq!(api.get(&check).await.ok(200)["current"], true);
    let check = format!("/api/v1/locks/orders%2F42/check?fencing_token={}", token + 1);
    let checked = api.get(&check).await.ok(200);
    assert_eq!((&checked["current"], &checked["status"]), (&json!(false), &json!("superseded")));
    assert_eq!(checked["newest_token"], token);

    api.delete(&format!("/api/v1/locks/other?lock_id={lock_id}")).await.refused(409, "lock_not_held");
    let released = api.delete(&format!("/api/v1/locks/orders%2F42?lock_id={lock_id}")).await.ok(200);
    assert_eq!((&released["fencing_token"], &released["remaining_count"]), (&json!(token), &json!(0)));
    api.get("/api/v1/locks/orders%2F42").await.refused(404, "lock_not_found");
    assert_eq!(api.get(&check).await.ok(200)["status"], "not_held");
    node.stop().await;
}

#[tokio::test]
async fn held_lock_is_refused_and_wait_times_out() {
    let node = Node::start().await;
    let api = Api::of(&node);
    let grant = api.acquire("a").await;
    let again = api.post("/api/v1/locks", json!({"name": "a", "ttl_ms": 600_000})).await;
    let held = again.refused(409, "lock_held");
    assert_eq!(held["details"]["holder_tokens"], json!([grant["fencing_token"]]));
    let waited = api.post("/api/v1/locks", json!({"name": "a", "ttl_ms": 600_000, "wait_ms": 30})).await;
    waited.refused(408, "wait_timeout");
    let no_life = api.post("/api/v1/locks", json!({"name": "b"})).await.refused(422, "invalid_argument");
    assert_eq!(no_life["field"], "ttl_ms");
    node.stop().await;
}

#[tokio::test]
async fn release_needs_the_token_of_the_holder() {
    let node = Node::start().await;
    let api = Api::of(&node);
    let token = api.acquire("a").await["fencing_token"].as_u64().unwrap();
    let by_token = format!("/api/v1/locks/a?fencing_token={token}");
    let wrong = api.delete(&format!("/api/v1/locks/a?fencing_token={}", token + 1)).await;
    assert_eq!(wrong.refused(409, "token_superseded")["details"]["newest_token"], token);
    let keyed = async || api.send("DELETE", &by_token, &[("Idempotency-Key", "k")], None).await.ok(200);
    let released = keyed().await;
    assert_eq!(keyed().await, released, "a retry gets the same answer");
    let free = api.delete(&by_token).await.refused(409, "token_superseded");
    assert_eq!(free["detail"], format!("token {token} does not hold the lock: the lock is free"));
    assert_eq!(free["details"], json!({"fencing_token": token}));

    let token = api.acquire("a").await["fencing_token"].as_u64().unwrap();
    let force = |token: u64| format!("/api/v1/locks/a?force=true&fencing_token={token}&reason=stuck%20job");
    api.delete(&force(token - 1)).await.refused(409, "token_superseded");
    assert_eq!(api.delete(&force(token)).await.ok(200)["fencing_token"], token);
    node.stop().await;
}

#[tokio::test]
async fn every_answer_says_its_revision() {
    let node = Node::start().await;
    let api = Api::of(&node);
    let free = api.get("/api/v1/locks/a").await;
    let seen: u64 = free.headers["batuta-revision"].to_str().unwrap().parse().unwrap();
    assert_eq!(free.refused(404, "lock_not_found")["revision"], seen);
    let grant = api.acquire("a").await;
    assert!(grant["revision"].as_u64() > Some(seen), "the lock was taken after it was seen free");
    let again = || json!({"name": "a", "ttl_ms": 600_000});
    let held = api.post("/api/v1/locks", again()).await.refused(409, "lock_held");
    assert!(held["revision"].as_u64() > grant["revision"].as_u64(), "{held}");
    api.get("/api/v1/registers/a").await.refused(404, "register_not_found");
    api.get("/api/v1/sessions/s-1.0").await.refused(404, "session_not_found");
    let waited = json!({"name": "a", "ttl_ms": 600_000, "wait_ms": 1});
    let waited = api.post("/api/v1/locks", waited).await.refused(408, "wait_timeout");
    assert!(waited["revision"].as_u64() > held["revision"].as_u64(), "{waited}");
    let limit = json!({"limits": [{"name": "sessions_per_namespace_max", "value": 0}]});
    if api.put("/api/v1/cluster/limits", limit).await.status == 200 {
        let full = api.post("/api/v1/sessions", json!({"ttl_ms": 600_000})).await;
        assert!(full.refused(429, "limit_exceeded")["revision"].is_u64());
    }
    // These refusals read no state, so they carry the newest revision that the node knows.
    for (method, path, status, code) in [
        ("GET", "/api/v1/nothing", 404, "path_not_found"),
        ("PATCH", "/api/v1/locks", 405, "method_not_allowed"),
        ("POST", "/api/v1/locks", 415, "unsupported_media_type"),
        ("GET", "/api/v1/locks/a%2F%2Fb", 422, "invalid_argument"),
        ("GET", "/api/v1/locks?limit=5000", 422, "invalid_argument"),
    ] {
        let refused = api.send(method, path, &[], None).await.refused(status, code);
        assert_eq!(refused.get("revision"), None, "{path}");
    }
    for path in ["/api/v1/cluster", "/api/v1/cluster/members", "/readyz", "/openapi.json"] {
        assert!(api.get(path).await.headers.contains_key("batuta-revision"), "{path}");
    }
    node.stop().await;
}

#[tokio::test]
async fn a_compressed_body_is_refused_as_such() {
    let node = Node::start().await;
    let api = Api::of(&node);
    let body = || Some(json!({"name": "a", "ttl_ms": 600_000}));
    for (header, coding, told) in [
        ("Content-Encoding", "gzip", "gzip"),
        ("Content-Encoding", "identity, br", "br"),
        ("Content-Encoding", "zstd", "zstd"),
        ("Transfer-Encoding", "gzip, chunked", "gzip"),
    ] {
        let answer = api.send("POST", "/api/v1/locks", &[(header, coding)], body()).await;
        assert_eq!(answer.headers["accept-encoding"], "identity");
        let refused = answer.refused(415, "unsupported_media_type");
        assert_eq!(refused["details"], json!({"header": header, "coding": told}));
    }
    let plain = [("Content-Encoding", "Identity")];
    api.send("POST", "/api/v1/locks", &plain, body()).await.ok(201);
    node.stop().await;
}

#[tokio::test]
async fn names_with_invisible_characters_are_refused() {
    let node = Node::start().await;
    let api = Api::of(&node);
    let path = "orders%E2%80%8B%2F42";
    let lock = json!({"name": "orders\u{200b}/42", "ttl_ms": 600_000});
    let owner = json!({"name": "a", "owner": "worker\u{202e}7", "ttl_ms": 600_000});
    let items = json!({"locks": [{"name": "a"}, {"name": "b\u{feff}"}], "ttl_ms": 600_000});
    for (refused, field, told) in [
        (api.post("/api/v1/locks", lock).await, "name", "U+200B as its character 7"),
        (api.post("/api/v1/locks", owner).await, "owner", "U+202E as its character 7"),
        (api.post("/api/v1/locks", items).await, "locks[1].name", "U+FEFF as its character 2"),
        (api.get(&format!("/api/v1/locks/{path}")).await, "name", "U+200B as its character 7"),
        (api.put(&format!("/api/v1/registers/{path}"), json!({"fencing_token": 1})).await, "name", "U+200B"),
        (api.get("/api/v1/locks?prefix=orders%E2%80%8B").await, "prefix", "U+200B as its character 7"),
        (api.get("/api/v1/locks?owner=%EF%BB%BFw").await, "owner", "U+FEFF as its character 1"),
        (api.get("/api/v1/watch/poll?prefix=a%C2%A0b").await, "prefix", "U+00A0 as its character 2"),
    ] {
        let problem = refused.refused(422, "invalid_argument");
        assert_eq!(problem["field"], field, "{problem}");
        assert!(text(&problem["detail"]).contains(told), "{problem}");
    }
    node.stop().await;
}

#[tokio::test]
async fn retry_under_the_same_key_gets_the_same_grant() {
    let node = Node::start().await;
    let api = Api::of(&node);
    let key = [("Idempotency-Key", "order-42")];
    let request = json!({"name": "a", "ttl_ms": 600_000});
    let first = api.send("POST", "/api/v1/locks", &key, Some(request.clone())).await.ok(201);
    let second = api.send("POST", "/api/v1/locks", &key, Some(request)).await.ok(201);
    assert_eq!((&first["lock_id"], &first["fencing_token"]), (&second["lock_id"], &second["fencing_token"]));
    assert_eq!(first["revision"], second["revision"], "the revision of the effect");
    let other = json!({"name": "b", "ttl_ms": 600_000});
    api.send("POST", "/api/v1/locks", &key, Some(other)).await.refused(422, "key_reused");
    node.stop().await;
}

#[tokio::test]
async fn session_owns_locks_and_releases_them_on_close() {
    let node = Node::start().await;
    let api = Api::of(&node);
    let opened = api.post("/api/v1/sessions", json!({"ttl_ms": 600_000, "metadata": "host-3"})).await;
    let location = text(&json!(opened.headers["location"].to_str().unwrap())).to_owned();
    let session = text(&opened.ok(201)["session_id"]).to_owned();
    assert_eq!(location, format!("/api/v1/sessions/{session}"));

    let sequence = [("Batuta-Session-Sequence", "1")];
    let locks = json!([{"name": "a"}, {"name": "s", "mode": "semaphore", "permits": 2, "capacity": 3}]);
    let request = json!({"locks": locks, "session_id": session});
    let grant = api.send("POST", "/api/v1/locks", &sequence, Some(request.clone())).await.ok(201);
    let again = api.send("POST", "/api/v1/locks", &sequence, Some(request)).await.ok(201);
    assert_eq!(grant["lock_id"], again["lock_id"]);
    assert_eq!((grant.get("name"), grant.get("ttl_ms")), (None, None), "{grant}");

    let counted = api.get("/api/v1/locks/s").await.ok(200);
    assert_eq!(
        (&counted["mode"], &counted["capacity"], &counted["permits_free"]),
        (&json!("semaphore"), &json!(3), &json!(1))
    );
    let listed = api.get(&format!("/api/v1/locks?session_id={session}&limit=1")).await.ok(200);
    assert_eq!(listed["locks"][0]["name"], "a");
    let next = format!("/api/v1/locks?session_id={session}&limit=1&cursor={}", text(&listed["next_cursor"]));
    let listed = api.get(&next).await.ok(200);
    assert_eq!((&listed["locks"][0]["name"], &listed["next_cursor"]), (&json!("s"), &json!("")));

    api.send("PUT", &format!("{location}/keep-alive"), &[], None).await.ok(200);
    assert_eq!(api.get(&location).await.ok(200)["locks_held"], 1);
    assert_eq!(api.get("/api/v1/sessions").await.ok(200)["sessions"][0]["session_id"], *session);
    let elsewhere = api.send("DELETE", &location, &[("Batuta-Namespace", "other")], None).await;
    elsewhere.refused(403, "namespace_mismatch");
    assert_eq!(api.delete(&location).await.ok(200)["released_locks"], 1);
    api.get(&location).await.refused(404, "session_not_found");
    api.get("/api/v1/locks/a").await.refused(404, "lock_not_found");
    node.stop().await;
}

#[tokio::test]
async fn namespaces_do_not_see_each_other() {
    let node = Node::start().await;
    let api = Api::of(&node);
    api.acquire("a").await;
    let other = [("Batuta-Namespace", "other")];
    let request = json!({"name": "a", "ttl_ms": 600_000});
    let grant = api.send("POST", "/api/v1/locks", &other, Some(request)).await.ok(201);
    assert_eq!(grant["namespace"], "other");
    let by_id = format!("/api/v1/locks/a?lock_id={}", text(&grant["lock_id"]));
    api.delete(&by_id).await.refused(403, "namespace_mismatch");
    let longer = json!({"lock_id": grant["lock_id"], "ttl_ms": 600_000});
    api.put("/api/v1/locks/a/extend", longer).await.refused(403, "namespace_mismatch");
    api.send("DELETE", &by_id, &other, None).await.ok(200);
    api.send("DELETE", &by_id, &other, None).await.refused(409, "lock_not_held");
    node.stop().await;
}

#[tokio::test]
async fn a_register_only_rises() {
    let node = Node::start().await;
    let api = Api::of(&node);
    let old = api.acquire("a").await["fencing_token"].clone();
    let new = api.acquire("b").await["fencing_token"].clone();
    let path = "/api/v1/registers/disks%2F1";
    api.get(path).await.refused(404, "register_not_found");
    assert_eq!(api.put(path, json!({"fencing_token": new})).await.ok(200)["high_water"], new);
    api.put(path, json!({"fencing_token": old})).await.refused(409, "token_superseded");
    assert_eq!(api.get(path).await.ok(200)["high_water"], new);
    assert_eq!(api.delete(path).await.ok(200)["high_water"], new);
    api.delete(path).await.refused(404, "register_not_found");
    node.stop().await;
}

#[tokio::test]
async fn unchanged_register_is_not_sent_again() {
    let node = Node::start().await;
    let api = Api::of(&node);
    let token = api.acquire("a").await["fencing_token"].clone();
    let path = "/api/v1/registers/disk";
    let _ = api.put(path, json!({"fencing_token": token})).await.ok(200);
    let etag = api.get(path).await.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(etag, format!("\"{token}\""));
    for known in [etag.clone(), format!("W/{etag}"), format!("\"0\", {etag}"), "*".to_owned()] {
        let answer = api.send("GET", path, &[("if-none-match", &known)], None).await;
        assert_eq!((answer.status, &answer.body), (304, &Value::Null), "{known}");
        assert_eq!(answer.headers["etag"], etag);
    }
    let newer = api.acquire("b").await["fencing_token"].clone();
    let _ = api.put(path, json!({"fencing_token": newer})).await.ok(200);
    let answer = api.send("GET", path, &[("if-none-match", &etag)], None).await;
    assert_eq!(answer.ok(200)["high_water"], newer);
    node.stop().await;
}

#[tokio::test]
async fn condition_on_a_write_is_refused() {
    let node = Node::start().await;
    let api = Api::of(&node);
    let token = api.acquire("a").await["fencing_token"].clone();
    let path = "/api/v1/registers/disk";
    for header in ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"] {
        let body = Some(json!({"fencing_token": token}));
        let answer = api.send("PUT", path, &[(header, "\"7\"")], body).await;
        assert_eq!(answer.refused(422, "invalid_argument")["field"], header);
    }
    api.get(path).await.refused(404, "register_not_found");
    node.stop().await;
}

#[tokio::test]
async fn disconnected_caller_leaves_no_waiter() {
    let node = Node::start().await;
    let api = Api::of(&node);
    let holder = api.acquire("a").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, api.0).await });
    let api = Api::of(&node);
    let waiters = async || api.get("/api/v1/locks/a").await.ok(200)["waiter_count"].as_u64().unwrap();

    let body = json!({"name": "a", "ttl_ms": 600_000, "wait_ms": 600_000}).to_string();
    let head =
        "POST /api/v1/locks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length:";
    let mut caller = tokio::net::TcpStream::connect(address).await.unwrap();
    caller.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
    eventually("the call is queued", async || waiters().await == 1).await;
    drop(caller);
    eventually("the wait is withdrawn", async || waiters().await == 0).await;

    api.delete(&format!("/api/v1/locks/a?lock_id={}", text(&holder["lock_id"]))).await.ok(200);
    api.acquire("a").await;
    server.abort();
    node.stop().await;
}

#[tokio::test]
async fn wait_is_withdrawn_by_its_id() {
    let node = Node::start().await;
    let api = Api::of(&node);
    api.acquire("a").await;
    let waiting = Api::of(&node);
    let call = tokio::spawn(async move {
        waiting.post("/api/v1/locks", json!({"name": "a", "ttl_ms": 600_000, "wait_ms": 600_000})).await
    });
    let shown = async || api.get("/api/v1/locks/a").await.ok(200);
    eventually("the call is queued", async || shown().await["waiter_count"] == 1).await;
    let lock_id = text(&shown().await["waiters"][0]["lock_id"]).to_owned();
    api.delete(&format!("/api/v1/waits/{lock_id}")).await.ok(200);
    call.await.unwrap().refused(409, "wait_cancelled");
    let held = text(&shown().await["holders"][0]["lock_id"]).to_owned();
    api.delete(&format!("/api/v1/waits/{held}")).await.refused(409, "already_granted");
    assert_eq!(shown().await["holders"][0]["lock_id"], held.as_str(), "the lock is held as before");
    node.stop().await;
}

#[tokio::test]
async fn cluster_is_described_and_limits_are_changed() {
    let node = Node::start().await;
    let api = Api::of(&node);
    let status = api.get("/api/v1/cluster").await;
    assert_eq!(
        (status.status, &status.body["role"], &status.body["ready"]),
        (200, &json!("leader"), &json!(true))
    );
    let members = api.get("/api/v1/cluster/members").await.ok(200);
    assert_eq!(members["members"][0]["name"], "n1");
    api.delete("/api/v1/cluster/members/nobody").await.refused(404, "unknown_member");

    let limits = json!({"limits": [{"name": "waiters_per_lock_max", "value": 3}]});
    let set = api.put("/api/v1/cluster/limits", limits.clone()).await.ok(200);
    assert!(set["limits"].as_array().unwrap().contains(&limits["limits"][0]), "{set}");
    assert_eq!(api.get("/api/v1/cluster/limits").await.ok(200)["limits"], set["limits"]);
    let unknown = json!({"limits": [{"name": "no_such_limit", "value": 3}]});
    api.put("/api/v1/cluster/limits", unknown).await.refused(422, "invalid_argument");
    node.stop().await;
}

#[tokio::test]
async fn probes_distinguish_draining_from_dead() {
    let node = Node::start().await;
    let api = Api::of(&node);
    for (path, status) in [("/livez", "live"), ("/readyz", "ready"), ("/healthz", "ready")] {
        let answer = api.get(path).await;
        assert_eq!((answer.status, &answer.body["status"]), (200, &json!(status)), "{path}");
    }
    node.service.drain();
    assert_eq!(api.get("/livez").await.status, 200);
    for path in ["/readyz", "/healthz"] {
        let answer = api.get(path).await;
        assert_eq!((answer.status, &answer.body["status"]), (503, &json!("not_ready")), "{path}");
        assert!(!text(&answer.body["reason"]).is_empty(), "{path}");
    }
    node.stop().await;
}
