//! The WebSocket front over a replica of one node and a real connection.

mod support;

#[path = "support/ws.rs"]
mod client;

use std::time::Duration;

use batuta_api::service::lock::{ForceRelease, LockCursors};
use batuta_api::service::session::OpenRequest;
use batuta_api::service::{CallContext, Consistency};
use batuta_api::ws::WsOptions;
use client::{Client, Front};
use serde_json::{Value, json};
use support::{Node, eventually, name, one_shot};
use tokio_tungstenite::tungstenite::{Bytes, Message};

async fn waiters(node: &Node, lock: &str) -> u64 {
    let (lock, cursors) = (name(lock), LockCursors::default());
    let found = node.service.explain(&node.context, &lock, cursors, Consistency::Linearizable).await;
    found.expect("explain").value.lock.map_or(0, |lock| lock.view.waiter_count)
}

async fn sessions(node: &Node) -> usize {
    let page = node.service.list_sessions(&node.context, &<_>::default(), Consistency::Linearizable).await;
    page.expect("lists").value.items.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn lock_is_contended_and_granted_to_the_waiter() {
    let front = Front::start(WsOptions::default()).await;
    let (mut one, mut two) = (front.connect().await, front.connect().await);
    let held = one.ask(json!({"id": "a", "op": "acquire", "name": "orders/42", "ttl_ms": 600_000})).await;
    assert_eq!(held["result"]["name"], "orders/42", "{held}");
    assert_eq!(held["revision"], held["result"]["revision"]);
    let refused = two.fail(json!({"id": "b", "op": "acquire", "name": "orders/42", "ttl_ms": 600_000})).await;
    assert_eq!((&refused["code"], &refused["retryable"]), (&json!("lock_held"), &json!(true)));

    two.send(json!({"id": "w", "op": "acquire", "name": "orders/42", "ttl_ms": 600_000, "wait_ms": 600_000}))
        .await;
    let queued = two.lease("queued").await;
    assert_eq!((&queued["id"], &queued["queue_position"]), (&json!("w"), &json!(0)));
    // Meanwhile the connection handles other requests, and answers come as they are ready.
    let checked = json!({"id": "c", "op": "check", "name": "orders/42", "fencing_token": held["result"]["fencing_token"]});
    assert_eq!(two.ask(checked).await["result"]["current"], true);
    let release = json!({"id": "r", "op": "release", "lock_id": held["result"]["lock_id"]});
    assert_eq!(one.ask(release).await["result"]["remaining_count"], 0);
    let granted = two.answer("w").await;
    assert_eq!(granted["type"], "reply", "{granted}");
    assert_eq!(granted["result"]["lock_id"], queued["lock_id"]);
    assert!(granted["result"]["fencing_token"].as_u64() > held["result"]["fencing_token"].as_u64());
    let told = two.lease("granted").await;
    assert_eq!(told["fencing_token"], granted["result"]["fencing_token"]);
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_and_writes_answer_as_rest_does() {
    let front = Front::start(WsOptions::default()).await;
    let mut client = front.connect().await;
    let hello = client.ask(json!({"id": "1", "op": "hello", "namespace": "team-b"})).await;
    assert_eq!(hello["result"], json!({"namespace": "team-b"}));
    let late = client.fail(json!({"id": "2", "op": "hello"})).await;
    assert_eq!(late["field"], "op");
    let take = json!({"id": "3", "op": "acquire", "name": "a", "ttl_ms": 60_000, "key": "k"});
    let held = client.ask(take.clone()).await["result"].clone();
    assert_eq!(held["namespace"], "team-b");
    assert_eq!(client.ask(take).await["result"]["lock_id"], held["lock_id"], "the same key, the same grant");
    let token = &held["fencing_token"];
    let extend =
        json!({"id": "4", "op": "extend", "lock_id": held["lock_id"], "name": "a", "ttl_ms": 90_000});
    assert_eq!(client.ask(extend).await["result"]["ttl_ms"], 90_000);
    let shown = client.ask(json!({"id": "5", "op": "get_lock", "name": "a"})).await;
    assert_eq!(shown["result"]["holders"][0]["fencing_token"], *token);
    let explained =
        client.ask(json!({"id": "6", "op": "explain", "name": "a", "consistency": "stale"})).await;
    assert!(explained["result"]["summary"].is_string());
    let advance = json!({"id": "7", "op": "advance_register", "name": "a", "fencing_token": token});
    assert_eq!(client.ask(advance).await["result"]["high_water"], *token);
    let register = client.ask(json!({"id": "8", "op": "get_register", "name": "a"})).await;
    assert_eq!(register["result"]["high_water"], *token);
    let force =
        json!({"id": "9", "op": "force_release", "name": "a", "fencing_token": token, "reason": "stuck"});
    assert_eq!(client.ask(force).await["result"]["lock_id"], held["lock_id"]);
    assert_eq!(client.lease("lost").await["reason"], "forced");
    assert_eq!(
        client.fail(json!({"id": "10", "op": "get_lock", "name": "a"})).await["code"],
        "lock_not_found"
    );
    assert_eq!(client.ask(json!({"id": "11", "op": "ping"})).await["result"], json!({}));
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_use_the_session_opened_before_them() {
    let front = Front::start(WsOptions::default()).await;
    let mut client = front.connect().await;
    for round in 0..20 {
        let id = |what: &str| format!("{what}-{round}");
        // No request waits for the answer to the one before it.
        client.send(json!({"id": id("open"), "op": "open_session", "ttl_ms": 600_000})).await;
        client.send(json!({"id": id("take"), "op": "acquire", "name": id("lock")})).await;
        client.send(json!({"id": id("keep"), "op": "ping", "keep_alive": true})).await;
        let opened = client.answer(&id("open")).await["result"].clone();
        let taken = client.answer(&id("take")).await;
        assert_eq!(taken["result"]["session_id"], opened["session_id"], "{taken}");
        let kept = client.answer(&id("keep")).await;
        assert_eq!(kept["result"]["session_id"], opened["session_id"], "{kept}");
    }
    let refused = client.fail(json!({"id": "no", "op": "open_session", "ttl_ms": 1})).await;
    assert_eq!(refused["field"], "ttl_ms");
    assert_eq!(
        client.ask(json!({"id": "on", "op": "ping"})).await["result"],
        json!({}),
        "the connection is still read"
    );
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_acquire_is_cancelled() {
    let front = Front::start(WsOptions::default()).await;
    front.node.service.acquire(&front.node.context, one_shot("a")).await.expect("free");
    let mut client = front.connect().await;
    client.send(json!({"id": "w", "op": "acquire", "name": "a", "ttl_ms": 60_000, "wait_ms": 600_000})).await;
    client.lease("queued").await;
    let again = client.fail(json!({"id": "w", "op": "check", "name": "a", "fencing_token": 1})).await;
    assert_eq!(again["field"], "id", "the id is in use; the request that has it stays unanswered");
    client.send(json!({"id": "c", "op": "cancel", "request_id": "w"})).await;
    let ended = client.answer("w").await;
    assert_eq!(ended["error"]["code"], "wait_cancelled", "{ended}");
    assert_eq!(client.answer("c").await["result"], json!({"cancelled": true}));
    eventually("the waiter is withdrawn", async || waiters(&front.node, "a").await == 0).await;
    let nothing = client.ask(json!({"id": "d", "op": "cancel", "request_id": "w"})).await;
    assert_eq!(nothing["result"], json!({"cancelled": false}));
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_connection_leaves_no_waiter() {
    let front = Front::start(WsOptions::default()).await;
    front.node.service.acquire(&front.node.context, one_shot("a")).await.expect("free");
    for politely in [true, false] {
        let mut client = front.connect().await;
        for (id, key) in [("u", Value::Null), ("k", json!(format!("key-{politely}")))] {
            client
                .send(json!({"id": id, "op": "acquire", "name": "a", "ttl_ms": 60_000, "wait_ms": 600_000, "key": key}))
                .await;
        }
        eventually("both are queued", async || waiters(&front.node, "a").await == 2).await;
        if politely {
            client.close().await;
        } else {
            drop(client);
        }
        eventually("no waiter is left", async || waiters(&front.node, "a").await == 0).await;
    }
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_bound_session_ends_with_its_connection() {
    let front = Front::start(WsOptions::default()).await;
    let mut bound = front.connect().await;
    bound.ask(json!({"id": "o", "op": "open_session", "ttl_ms": 600_000, "bound": true})).await;
    // Neither a session nor a TTL is given: the lock belongs to the connection's session.
    let held = bound.ask(json!({"id": "a", "op": "acquire", "name": "a"})).await;
    assert!(held["result"]["session_id"].is_string(), "{held}");
    let mut free = front.connect().await;
    let kept = free.ask(json!({"id": "o", "op": "open_session", "ttl_ms": 600_000})).await;
    assert_eq!(sessions(&front.node).await, 2);
    drop(bound);
    drop(free);
    eventually("the bound session is closed", async || sessions(&front.node).await == 1).await;
    let mut later = front.connect().await;
    let session_id = &kept["result"]["session_id"];
    let hello = later.ask(json!({"id": "h", "op": "hello", "session_id": session_id})).await;
    assert_eq!(hello["result"]["session"]["session_id"], *session_id);
    let closed = later.ask(json!({"id": "c", "op": "close_session"})).await;
    assert_eq!(closed["result"]["released_locks"], 0);
    assert_eq!(later.lease("lost").await["reason"], "session_closed");
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_pings_are_warned_about_before_expiry() {
    let front = Front::start(WsOptions::default()).await;
    let mut client = front.connect().await;
    let nothing = client.fail(json!({"id": "p", "op": "ping", "keep_alive": true})).await;
    assert_eq!(nothing["field"], "session_id");
    let opened = client.ask(json!({"id": "o", "op": "open_session", "ttl_ms": 6_000})).await;
    client.ask(json!({"id": "a", "op": "acquire", "name": "a"})).await;
    let kept = client.ask(json!({"id": "p", "op": "ping", "keep_alive": true})).await;
    assert_eq!(kept["result"]["session_id"], opened["result"]["session_id"]);
    let kept = client.ask(json!({"id": "k", "op": "keep_alive"})).await;
    assert_eq!(kept["result"]["session_id"], opened["result"]["session_id"]);
    let warned = client.lease("expiring").await;
    assert_eq!(warned["session_id"], opened["result"]["session_id"]);
    let (mut session, mut lock) = (false, false);
    while !(session && lock) {
        let lost = client.lease("lost").await;
        assert_eq!(lost["reason"], "session_expired", "{lost}");
        session |= lost["session_id"].is_string();
        lock |= lost["fencing_token"].is_u64();
    }
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expiring_lock_is_announced_and_then_lost() {
    let front = Front::start(WsOptions::default()).await;
    let mut client = front.connect().await;
    let held = client.ask(json!({"id": "a", "op": "acquire", "name": "a", "ttl_ms": 6_000})).await;
    let warned = client.lease("expiring").await;
    assert_eq!((&warned["lock_id"], &warned["id"]), (&held["result"]["lock_id"], &json!("a")));
    let extend = json!({"id": "e", "op": "extend", "lock_id": held["result"]["lock_id"], "ttl_ms": 6_000});
    client.ask(extend).await;
    assert_eq!(
        client.lease("expiring").await["lock_id"],
        held["result"]["lock_id"],
        "announced again, later"
    );
    let lost = client.lease("lost").await;
    assert_eq!(
        (&lost["reason"], &lost["fencing_token"]),
        (&json!("expired"), &held["result"]["fencing_token"])
    );
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forced_release_by_another_client_is_announced() {
    let front = Front::start(WsOptions::default()).await;
    let mut client = front.connect().await;
    let held = client.ask(json!({"id": "a", "op": "acquire", "name": "a", "ttl_ms": 600_000})).await;
    let fencing_token = held["result"]["fencing_token"].as_u64().expect("a token");
    let force = ForceRelease { name: name("a"), fencing_token, reason: "stuck".to_owned() };
    front.node.service.force_release(&front.node.context, force).await.expect("held");
    let lost = client.lease("lost").await;
    assert_eq!((&lost["reason"], &lost["lock_id"]), (&json!("forced"), &held["result"]["lock_id"]));
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiter_is_notified_of_its_position() {
    let front = Front::start(WsOptions::default()).await;
    front.node.service.acquire(&front.node.context, one_shot("a")).await.expect("free");
    let mut client = front.connect().await;
    for (position, id) in ["first", "second", "third"].into_iter().enumerate() {
        client
            .send(json!({"id": id, "op": "acquire", "name": "a", "ttl_ms": 60_000, "wait_ms": 600_000}))
            .await;
        let queued = client.lease("queued").await;
        assert_eq!((&queued["id"], &queued["queue_position"]), (&json!(id), &json!(position)));
    }
    client.send(json!({"id": "c", "op": "cancel", "request_id": "first"})).await;
    let mut moved = [client.lease("queued").await, client.lease("queued").await];
    moved.sort_by_key(|lease| lease["queue_position"].as_u64());
    let places: Vec<_> = moved.iter().map(|lease| (&lease["id"], &lease["queue_position"])).collect();
    assert_eq!(places, [(&json!("second"), &json!(0)), (&json!("third"), &json!(1))]);
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_resumes_snapshots_and_ends() {
    let front = Front::start(WsOptions::default()).await;
    let mut client = front.connect().await;
    let opened = client.ask(json!({"id": "w", "op": "watch", "areas": "lock", "prefix": "orders/"})).await;
    assert_eq!(opened["result"], json!({"watch_id": "w", "filtered": false}));
    let begin = client.frame("progress").await["revision"].as_u64().expect("a revision");
    for lock in ["orders/1", "other", "orders/2"] {
        front.node.service.acquire(&front.node.context, one_shot(lock)).await.expect("free");
    }
    let mut told = Vec::new();
    for lock in ["orders/1", "orders/2"] {
        let changes = client.frame("changes").await;
        assert_eq!(
            (&changes["id"], &changes["events"][0]["facts"]["grant"]["name"]),
            (&json!("w"), &json!(lock))
        );
        told.push(changes);
    }
    let ended = client.ask(json!({"id": "u", "op": "unwatch", "watch_id": "w"})).await;
    assert_eq!(ended["result"], json!({"unwatched": true}));

    let resume =
        json!({"id": "r", "op": "watch", "areas": "lock", "prefix": "orders/", "from_revision": begin + 1});
    client.ask(resume).await;
    for changes in &told {
        let again = client.frame("changes").await;
        assert_eq!((&again["revision"], &again["events"]), (&changes["revision"], &changes["events"]));
    }
    client
        .ask(json!({"id": "s", "op": "watch", "prefix": "orders/", "snapshot": true, "progress_ms": 100}))
        .await;
    let page = client.frame("snapshot").await;
    assert_eq!((page["objects"].as_array().map(Vec::len), &page["last"]), (Some(2), &json!(true)), "{page}");
    client.frame("progress").await;
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compacted_history_is_an_error() {
    let front = Front::start(WsOptions::default()).await;
    for number in 0..1_100 {
        let taken = front.node.service.acquire(&front.node.context, one_shot(&format!("n/{number}")));
        taken.await.expect("free");
    }
    let mut client = front.connect().await;
    let error = client.fail(json!({"id": "w", "op": "watch", "from_revision": 1})).await;
    assert_eq!(error["code"], "compacted");
    assert!(error["details"]["oldest_revision"].as_u64() > Some(1));
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_request_is_answered_and_connection_stays() {
    let front = Front::start(WsOptions::default()).await;
    let mut client = front.connect().await;
    for (text, id, code) in [
        ("{", Value::Null, "malformed_body"),
        ("[]", Value::Null, "invalid_argument"),
        (r#"{"op":"ping"}"#, Value::Null, "invalid_argument"),
        (r#"{"id":"1","op":"aquire"}"#, json!("1"), "invalid_argument"),
        (r#"{"id":"2","op":"acquire","nmae":"a"}"#, json!("2"), "unknown_field"),
    ] {
        client.raw(Message::text(text)).await;
        let error = client.frame("error").await;
        assert_eq!((&error["id"], &error["error"]["code"]), (&id, &json!(code)), "{text}");
    }
    client.ask(json!({"id": "3", "op": "ping"})).await;
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unsupported_frame_closes_the_connection() {
    let options = WsOptions { message_bytes_max: 1_000, ..WsOptions::default() };
    let front = Front::start(options).await;
    for (message, code) in [
        (Message::Binary(Bytes::from_static(b"{}")), 1003),
        (Message::text("x".repeat(1_001)), 1009),
        (Message::text("x".repeat(2_001)), 1009),
    ] {
        let mut client = front.connect().await;
        client.raw(message).await;
        assert_eq!(client.close_code().await, Some(code));
    }
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn client_without_pongs_is_closed() {
    let options = WsOptions {
        ping_every: Duration::from_millis(50),
        idle_timeout: Duration::from_secs(5),
        ..WsOptions::default()
    };
    let front = Front::start(options).await;
    let (mut awake, silent) = (front.connect().await, front.connect().await);
    // The client answers pings while it reads frames.
    let reading = async {
        loop {
            awake.next().await;
        }
    };
    let bytes = tokio::select! {
        bytes = silent.read_without_answering() => bytes,
        () = reading => Vec::new(),
    };
    let close = 4408_u16.to_be_bytes();
    assert!(bytes.windows(4).any(|at| at[0] == 0x88 && at[2..] == close), "{bytes:?}");
    awake.ask(json!({"id": "1", "op": "ping"})).await;
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_client_is_cut_off_and_blocks_nobody() {
    let options = WsOptions {
        write_timeout: Duration::from_millis(300),
        outgoing_frames_max: 4,
        connections_max: 2,
        ..WsOptions::default()
    };
    let front = Front::start(options).await;
    for number in 0..300 {
        let mut request = one_shot(&format!("n/{number}"));
        request.metadata = "x".repeat(900);
        front.node.service.acquire(&front.node.context, request).await.expect("free");
    }
    let (mut stalled, mut other) = (front.connect().await, front.connect().await);
    let refused = front.handshake(None, None).await.expect_err("there are two");
    assert_eq!(refused["limit"], "ws_connections_max");
    for number in 0..60 {
        stalled.send(json!({"id": format!("w{number}"), "op": "watch", "snapshot": true})).await;
    }
    other.ask(json!({"id": "1", "op": "ping"})).await;
    eventually("the stalled client's place is free", async || front.handshake(None, None).await.is_ok())
        .await;
    other.ask(json!({"id": "2", "op": "ping"})).await;
    // The client learns the reason if the close frame fitted behind its unread data.
    assert!(matches!(stalled.end().await, None | Some(4429)));
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_client_does_not_delay_a_stop() {
    let options =
        WsOptions { write_timeout: Duration::from_hours(1), outgoing_frames_max: 4, ..WsOptions::default() };
    let front = Front::start(options).await;
    for number in 0..300 {
        let mut request = one_shot(&format!("n/{number}"));
        request.metadata = "x".repeat(900);
        front.node.service.acquire(&front.node.context, request).await.expect("free");
    }
    let mut stalled = front.connect().await;
    for number in 0..60 {
        stalled.send(json!({"id": format!("w{number}"), "op": "watch", "snapshot": true})).await;
    }
    // Long enough to fill all buffers. On a slower machine they may not be full, and the test proves less.
    tokio::time::sleep(Duration::from_secs(2)).await;
    tokio::time::timeout(Duration::from_secs(30), front.stop()).await.expect("stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusal_names_the_exceeded_limit() {
    let options = WsOptions { in_flight_max: 2, watches_max: 1, leases_max: 1, ..WsOptions::default() };
    let front = Front::start(options).await;
    front.node.service.acquire(&front.node.context, one_shot("a")).await.expect("free");
    let mut client = front.connect().await;
    for id in ["1", "2"] {
        client
            .send(json!({"id": id, "op": "acquire", "name": "a", "ttl_ms": 60_000, "wait_ms": 600_000}))
            .await;
        client.lease("queued").await;
    }
    let refused = client.fail(json!({"id": "3", "op": "get_lock", "name": "a"})).await;
    assert_eq!((&refused["code"], &refused["limit"]), (&json!("overloaded"), &json!("ws_in_flight_max")));
    client.ask(json!({"id": "4", "op": "watch"})).await;
    let refused = client.fail(json!({"id": "5", "op": "watch"})).await;
    assert_eq!((&refused["code"], &refused["limit"]), (&json!("overloaded"), &json!("ws_watches_max")));
    client.ask(json!({"id": "6", "op": "cancel", "request_id": "1"})).await;
    client.ask(json!({"id": "7", "op": "acquire", "name": "b", "ttl_ms": 60_000})).await;
    let refused = client.fail(json!({"id": "8", "op": "acquire", "name": "c", "ttl_ms": 60_000})).await;
    assert_eq!(refused["limit"], "ws_leases_max");
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_node_names_other_nodes() {
    let front = Front::start(WsOptions::default()).await;
    front.node.service.acquire(&front.node.context, one_shot("a")).await.expect("free");
    let mut client = front.connect().await;
    client.send(json!({"id": "w", "op": "acquire", "name": "a", "ttl_ms": 60_000, "wait_ms": 600_000})).await;
    client.lease("queued").await;
    front.node.service.drain();
    let told = client.frame("draining").await;
    assert_eq!(told["nodes"], json!([]), "a cluster of one has no other node");
    assert_eq!(client.answer("w").await["error"]["code"], "draining");
    assert_eq!(client.close_code().await, Some(1001));
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_agree_on_the_subprotocol() {
    let front = Front::start(WsOptions::default()).await;
    for (offered, accepted) in [
        (None, None),
        (Some("batuta.v1+json"), Some("batuta.v1+json")),
        (Some("x, batuta.v1+json"), Some("batuta.v1+json")),
    ] {
        assert_eq!(front.handshake(offered, None).await, Ok(accepted.map(str::to_owned)), "{offered:?}");
    }
    let refused = front.handshake(Some("graphql-ws"), None).await.expect_err("not spoken");
    assert_eq!((&refused["code"], &refused["status"]), (&json!("handshake_refused"), &json!(400)));
    let refused =
        front.handshake(None, Some("http://evil.example")).await.expect_err("a page of another site");
    assert_eq!(refused["code"], "handshake_refused");
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_refuses_a_session_of_another_namespace() {
    let front = Front::start(WsOptions::default()).await;
    let open = OpenRequest { ttl_ms: 60_000, metadata: String::new() };
    let session =
        front.node.service.open_session(&CallContext::anonymous(), open).await.expect("opens").value;
    let mut client: Client = front.connect().await;
    let hello =
        json!({"id": "h", "op": "hello", "namespace": "team-b", "session_id": session.session.to_string()});
    assert_eq!(client.fail(hello).await["code"], "namespace_mismatch");
    front.stop().await;
}
