//! Credentials that end while streams run: renewed in place nothing is missed, and otherwise the end says `token_expired`.

use std::time::{Duration, Instant};

use batuta_proto::v1;
use batuta_proto::v1::{answer, call, hold_request};
use serde_json::json;

use crate::secure::{Caller, LONG_MS, Secured, done, refused};
use crate::streams::{
    Piped, all_end, answered, calling, grpc_watch, hold, holding, lock_watch, piped_watch, receive, send,
    sse, subscription, watching, ws_watch,
};

const KEY_MS: u64 = 5_000;

/// A key of the worker that ends soon, and when.
async fn short_key(secured: &Secured) -> (Caller, Instant) {
    let key = secured.key("service/worker", json!({"ttl_ms": KEY_MS})).await;
    (key.at(secured.follower()), Instant::now() + Duration::from_millis(KEY_MS))
}

async fn until(end: Instant) {
    tokio::time::sleep(end.saturating_duration_since(Instant::now())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_key_ends_streams_with_its_own_code() {
    let secured = Secured::start(3).await;
    secured.editor("worker").await;
    let (caller, end) = short_key(&secured).await;
    let (_pipeline, piped) = piped_watch(&caller).await;
    let held = hold(&caller, "held").await;
    let streams = vec![
        sse(&caller, "areas=lock&progress_ms=100").await,
        grpc_watch(&caller).await,
        piped,
        ws_watch(&caller).await,
        subscription(&caller).await,
        held.open,
    ];
    for stream in &streams {
        assert!(!stream.is_over(), "{} ended before its time", stream.what);
    }
    until(end).await;
    all_end("an expired key", streams, |_| &["token_expired"]).await;
    let code = caller.get("/api/v1/locks").await.code().to_owned();
    assert!(["token_expired", "invalid_token"].contains(&code.as_str()), "{code}");
}

/// The names of the locks that a watch in a pipeline shows as granted, until there are as many as wanted.
async fn granted(piped: &mut Piped, count: usize) -> Vec<String> {
    let mut names = Vec::new();
    while names.len() < count {
        let (_, result) = piped.next().await.expect("the stream goes on");
        let answer::Result::Watch(v1::WatchResponse { item, .. }) = result.expect("no refusal") else {
            continue;
        };
        let Some(v1::watch_response::Item::Changes(changes)) = item else { continue };
        for event in changes.events.into_iter().filter(|event| event.kind == "lock_granted") {
            let Some(v1::event::Facts::Lock(facts)) = event.facts else { continue };
            names.extend(facts.grant.into_iter().flat_map(|grant| grant.locks).map(|lock| lock.name));
        }
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn pipeline_renewed_in_place_misses_nothing() {
    let secured = Secured::start(3).await;
    let (lasting, _) = secured.editor("worker").await;
    let (caller, end) = short_key(&secured).await;
    let mut piped = Piped::open(&caller).await.expect("a stream");
    piped.sender.send(calling(1, &caller, call::Request::Watch(lock_watch()))).expect("open");
    piped.next().await.expect("goes on").1.expect("a first message");
    done(secured.root.acquire("before").await);
    piped
        .sender
        .send(v1::PipelineRequest { token: lasting.key.clone(), ..Default::default() })
        .expect("open");
    done(secured.root.acquire("between").await);
    until(end + Duration::from_secs(1)).await;
    done(secured.root.acquire("after").await);
    assert_eq!(granted(&mut piped, 3).await, ["before", "between", "after"]);
    // Calls go on, too.
    let get = call::Request::GetLock(v1::GetLockRequest { name: "after".to_owned(), ..Default::default() });
    piped.sender.send(calling(2, &caller, get)).expect("open");
    loop {
        let (id, result) = piped.next().await.expect("goes on");
        let result = result.unwrap_or_else(|code| panic!("call {id}: {code}"));
        if id == 2 {
            assert!(matches!(result, answer::Result::GetLock(_)));
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_renewed_in_place_keeps_its_lock() {
    let secured = Secured::start(3).await;
    let (lasting, _) = secured.editor("worker").await;
    let (caller, end) = short_key(&secured).await;
    let held = hold(&caller, "held").await;
    let token = v1::Authenticate { token: lasting.key.clone() };
    held.sender.send(holding(hold_request::Request::Authenticate(token))).expect("open");
    until(end + Duration::from_secs(1)).await;
    held.sender.send(holding(hold_request::Request::KeepAlive(v1::HoldKeepAlive {}))).expect("open");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!held.open.is_over(), "the stream goes on under the new key");
    assert_eq!(done(secured.root.get("/api/v1/locks/held").await).body["holder_count"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn socket_renewed_in_place_misses_nothing() {
    let secured = Secured::start(3).await;
    let (lasting, _) = secured.editor("worker").await;
    let (caller, end) = short_key(&secured).await;
    let mut socket = watching(&caller).await;
    send(&mut socket, json!({"id": "a", "op": "auth", "token": lasting.key})).await;
    answered(&mut socket, "a").await.expect("the new key is taken");
    done(secured.root.acquire("between").await);
    until(end + Duration::from_secs(1)).await;
    done(secured.root.acquire("after").await);
    let mut told = String::new();
    while !told.contains(r#""after""#) {
        let frame = receive(&mut socket).await.expect("the connection goes on");
        assert_ne!(frame["type"], "error", "{frame}");
        told.push_str(&frame.to_string());
    }
    assert!(told.contains(r#""between""#), "{told}");
    send(&mut socket, json!({"id": "g", "op": "get_lock", "name": "after"})).await;
    answered(&mut socket, "g").await.expect("calls go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_is_not_handed_to_another_principal() {
    let secured = Secured::start(1).await;
    secured.editor("worker").await;
    let (other, _) = secured.editor("other").await;
    let (caller, _) = short_key(&secured).await;
    let mut piped = Piped::open(&caller).await.expect("a stream");
    piped.sender.send(v1::PipelineRequest { token: other.key.clone(), ..Default::default() }).expect("open");
    let status = piped.next().await.expect_err("the token of somebody else");
    assert_eq!(crate::streams::code_of(&status), "invalid_token");
    let held = hold(&caller, "held").await;
    let token = v1::Authenticate { token: other.key.clone() };
    held.sender.send(holding(hold_request::Request::Authenticate(token))).expect("open");
    all_end("another's key", vec![held.open], |_| &["invalid_token"]).await;
    let mut socket = watching(&caller).await;
    send(&mut socket, json!({"id": "a", "op": "auth", "token": other.key})).await;
    assert_eq!(answered(&mut socket, "a").await, Err("invalid_token".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn rotated_key_overlaps_and_then_ends() {
    let secured = Secured::start(3).await;
    let (old, _) = secured.editor("worker").await;
    let path = format!("/api/v1/access/keys/{}/rotate", old.credential);
    let rotated = done(secured.root.post(&path, json!({"overlap_ms": 3_000})).await);
    let new = old.with_key(&crate::secure::text(&rotated, "key"));
    for caller in [&old, &new] {
        done(caller.get("/api/v1/locks").await);
    }
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    let code = old.get("/api/v1/locks").await.code().to_owned();
    assert!(["token_expired", "invalid_token"].contains(&code.as_str()), "{code}");
    done(new.at(secured.follower()).get("/api/v1/locks").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_password_and_logout_end_logins() {
    let secured = Secured::start(3).await;
    let root = &secured.root;
    let (first, second) = ("correct horse battery staple", "another good password");
    done(root.put("/api/v1/access/users/ann", json!({"description": "logs in"})).await);
    done(root.put("/api/v1/access/users/ann/password", json!({"password": first})).await);
    secured.grant("user/ann", "viewer", json!({})).await;
    let nobody = Caller::anonymous(secured.follower());
    let login = async |password: &str| {
        let body = json!({"user": "ann", "password": password, "ttl_ms": LONG_MS});
        nobody.post("/api/v1/access/login", body).await
    };
    let answer = done(login(first).await);
    let ann = nobody.with_key(&crate::secure::text(&answer, "token"));
    done(ann.get("/api/v1/locks").await);
    let watch = grpc_watch(&ann).await;
    done(ann.post("/api/v1/access/logout", json!({})).await);
    all_end("logout", vec![watch], |_| &["token_revoked"]).await;
    refused(&ann.get("/api/v1/locks").await, "invalid_token");
    // One's own password needs the old one, not a right.
    let ann = nobody.with_key(&crate::secure::text(&done(login(first).await), "token"));
    let change = json!({"password": second, "old_password": "not the old password"});
    let refusal = ann.put("/api/v1/access/users/ann/password", change).await;
    assert!(refusal.status >= 400, "{refusal:?}");
    let change = json!({"password": second, "old_password": first});
    done(ann.put("/api/v1/access/users/ann/password", change).await);
    assert!(login(first).await.status >= 400);
    done(login(second).await);
}
