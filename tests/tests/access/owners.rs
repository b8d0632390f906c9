//! What belongs to somebody else: ids guessed by counting, retry keys, and rights of another scope.

use batuta_proto::v1;
use batuta_proto::v1::lock_service_client::LockServiceClient;
use batuta_tests::Answer;
use serde_json::{Value, json};

use crate::calls::{NO_LOCK, NO_SESSION};
use crate::secure::{Caller, LONG_MS, Secured, done, refused, text};

/// What somebody owns.
struct Owned {
    session: String,
    lock: String,
    fencing_token: u64,
    wait: String,
}

/// The requests of somebody who knows the ids of a session, a lock, and a wait.
fn attacks(session: &str, lock: &str, token: u64, wait: &str) -> Vec<(&'static str, String, Value)> {
    let own = |more: Value| {
        let mut body = json!({"lock_id": lock});
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        body
    };
    let by_token = json!({"fencing_token": token, "value": "x"});
    vec![
        ("PUT", format!("/api/v1/sessions/{session}/keep-alive"), Value::Null),
        ("GET", format!("/api/v1/sessions/{session}"), Value::Null),
        ("DELETE", format!("/api/v1/sessions/{session}"), Value::Null),
        ("PUT", "/api/v1/locks/held/extend".to_owned(), own(json!({"ttl_ms": LONG_MS}))),
        ("PUT", "/api/v1/locks/held/downgrade".to_owned(), own(json!({}))),
        ("PUT", "/api/v1/locks/held/metadata".to_owned(), own(json!({"metadata": "mine"}))),
        ("DELETE", format!("/api/v1/locks/held?lock_id={lock}"), Value::Null),
        ("DELETE", format!("/api/v1/locks/held?fencing_token={token}"), Value::Null),
        ("DELETE", format!("/api/v1/waits/{wait}"), Value::Null),
        ("POST", "/api/v1/locks".to_owned(), json!({"name": "more", "session_id": session})),
        ("POST", "/api/v1/elections".to_owned(), json!({"name": "more", "session_id": session})),
        ("PUT", "/api/v1/elections/led/value".to_owned(), by_token),
        ("DELETE", format!("/api/v1/elections/led?fencing_token={token}"), Value::Null),
    ]
}

async fn attack(caller: &Caller, (method, path, body): &(&'static str, String, Value)) -> Answer {
    caller.send_with(method, path, &[], Some(body).filter(|body| !body.is_null())).await
}

async fn own_something(owner: &Caller, root: &Caller) -> Owned {
    let session = owner.session().await;
    let held = done(owner.acquire("held").await);
    done(root.acquire("busy").await);
    let waits = owner.wait_for("busy");
    root.waiters("busy", 1).await;
    drop(waits);
    let busy = done(root.get("/api/v1/locks/busy").await);
    let wait = busy.body["waiters"][0]["lock_id"].as_str().expect("the id of the wait").to_owned();
    Owned { session, lock: text(&held, "lock_id"), fencing_token: held.number("fencing_token"), wait }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_ids_are_as_if_they_did_not_exist() {
    let secured = Secured::start(3).await;
    let owner = secured.editor("owner").await.0;
    let permissions = ["lock:acquire", "session:open", "election:campaign", "register:advance"];
    let thief = secured.able("thief", &permissions, &["**"]).await.at(secured.follower());
    let Owned { session, lock, fencing_token, wait } = own_something(&owner, &secured.root).await;
    let real = attacks(&session, &lock, fencing_token, &wait);
    let none = attacks(NO_SESSION, NO_LOCK, 999_999, NO_LOCK);
    for (real, none) in real.iter().zip(&none) {
        let (found, absent) = (attack(&thief, real).await, attack(&thief, none).await);
        if real.1.contains("fencing_token=") || real.1.contains("elections/led") {
            let codes = ["token_superseded", "lock_not_held"];
            assert!(codes.contains(&found.code()) && codes.contains(&absent.code()), "{real:?}: {found:?}");
            continue;
        }
        assert_eq!((found.status, found.code()), (absent.status, absent.code()), "{real:?}: {found:?}");
        // To withdraw what does not wait is no error.
        if !real.1.contains("/sessions/") && !real.1.contains("/waits/") {
            assert!(found.status >= 400, "{real:?}: {found:?}");
        }
    }
    // Nothing has changed.
    let kept = done(secured.root.get("/api/v1/locks/held").await);
    assert_eq!(kept.body["holders"][0]["fencing_token"], fencing_token, "{kept:?}");
    assert!(!kept.body.to_string().contains("mine"), "{kept:?}");
    secured.root.waiters("busy", 1).await;
    done(owner.put(&format!("/api/v1/sessions/{session}/keep-alive"), json!({})).await);
    let extend = json!({"lock_id": lock, "ttl_ms": LONG_MS});
    done(owner.put("/api/v1/locks/held/extend", extend).await);
    done(owner.delete(&format!("/api/v1/waits/{wait}")).await);
    done(owner.delete(&format!("/api/v1/locks/held?lock_id={lock}")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_ids_are_as_if_they_did_not_exist_over_grpc() {
    let secured = Secured::start(1).await;
    let owner = secured.editor("owner").await.0;
    let thief = secured.able("thief", &["lock:acquire"], &["**"]).await;
    let held = done(owner.acquire("held").await);
    let mut locks = LockServiceClient::connect(thief.grpc.clone()).await.expect("connects");
    for lock_id in [text(&held, "lock_id"), NO_LOCK.to_owned()] {
        let message = v1::ExtendRequest { lock_id: lock_id.clone(), ttl_ms: LONG_MS, ..Default::default() };
        let status = locks.extend(thief.request(message)).await.expect_err("a foreign lock");
        assert_eq!(crate::streams::code_of(&status), "lock_not_held", "{lock_id}");
        let message = v1::ReleaseRequest { lock_id: lock_id.clone(), ..Default::default() };
        let status = locks.release(thief.request(message)).await.expect_err("a foreign lock");
        assert_eq!(crate::streams::code_of(&status), "lock_not_held", "{lock_id}");
    }
    let kept = done(secured.root.get("/api/v1/locks/held").await);
    assert_eq!(kept.body["holder_count"], 1, "{kept:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_key_of_another_gives_its_own_outcome() {
    let secured = Secured::start(3).await;
    let (one, two) = (secured.editor("one").await.0, secured.editor("two").await.0.at(secured.follower()));
    let first = done(one.acquire_keyed("x", "same-key").await);
    let stolen = two.acquire_keyed("x", "same-key").await;
    refused(&stolen, "lock_held");
    assert!(!stolen.body.to_string().contains(&text(&first, "lock_id")), "{stolen:?}");
    // The same key, another request: no `key_reused`, because it is another key.
    let other = done(two.acquire_keyed("y", "same-key").await);
    assert_ne!(text(&first, "lock_id"), text(&other, "lock_id"));
    // Each finds its own again, at any node.
    let again = done(one.at(secured.follower()).acquire_keyed("x", "same-key").await);
    assert_eq!(text(&first, "lock_id"), text(&again, "lock_id"));
    let again = done(two.acquire_keyed("y", "same-key").await);
    assert_eq!(text(&other, "lock_id"), text(&again, "lock_id"));
    // A sequence belongs to a session, and that to its owner.
    let session = one.session().await;
    let sequence = format!("{session}/1");
    let header = [("batuta-session-sequence", sequence.as_str())];
    let lock = json!({"name": "z", "ttl_ms": LONG_MS});
    let mine = done(one.send_with("POST", "/api/v1/locks", &header, Some(&lock)).await);
    let stolen = two.send_with("POST", "/api/v1/locks", &header, Some(&lock)).await;
    assert!(stolen.status >= 400, "{stolen:?}");
    assert!(!stolen.body.to_string().contains(&text(&mine, "lock_id")), "{stolen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_without_the_right_is_refused_and_granted_later() {
    let secured = Secured::start(3).await;
    let (caller, binding) = secured.editor("worker").await;
    let first = done(caller.acquire_keyed("a", "before").await);
    secured.ungrant(&binding).await;
    // At a node that may not have heard of it: the log decides.
    let far = caller.at(secured.follower());
    refused(&far.acquire_keyed("b", "during").await, "permission_denied");
    refused(&caller.acquire_keyed("a", "before").await, "permission_denied");
    secured.grant("service/worker", "editor", json!({})).await;
    // The refusal was not remembered under the key, and the grant was.
    done(far.acquire_keyed("b", "during").await);
    let again = done(caller.acquire_keyed("a", "before").await);
    assert_eq!(text(&first, "lock_id"), text(&again, "lock_id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn right_in_a_namespace_is_none_over_the_cluster() {
    let secured = Secured::start(1).await;
    let local = secured.service("local").await;
    secured.grant("service/local", "admin", json!({"namespaces": ["team-a"]})).await;
    let inside = local.within("team-a");
    done(inside.acquire("x").await);
    done(inside.get("/api/v1/locks").await);
    refused(&local.acquire("x").await, "permission_denied");
    refused(&local.within("team-ab").acquire("x").await, "permission_denied");
    let limit = json!({"limits": [{"name": "waiters_per_lock_max", "value": 9_000}]});
    let key = json!({"principal": "user/root", "label": "mine", "never_expires": true});
    for caller in [&local, &inside] {
        for path in
            ["cluster", "cluster/limits", "access/roles", "access/users", "access/audit", "access/report"]
        {
            refused(&caller.get(&format!("/api/v1/{path}")).await, "permission_denied");
        }
        refused(&caller.post("/api/v1/cluster/snapshot", json!({})).await, "permission_denied");
        refused(&caller.put("/api/v1/cluster/limits", limit.clone()).await, "permission_denied");
        refused(&caller.put("/api/v1/access/mode", json!({"mode": "off"})).await, "permission_denied");
        let made = caller.post("/api/v1/access/keys", key.clone()).await;
        assert!(["permission_denied", "escalation_refused"].contains(&made.code()), "{made:?}");
    }
    // And the other way round: who runs the cluster takes no locks.
    let cluster = secured.able("runner", &["cluster:read", "cluster:snapshot"], &["**"]).await;
    done(cluster.get("/api/v1/cluster").await);
    for namespace in ["default", "team-a"] {
        refused(&cluster.within(namespace).acquire("y").await, "permission_denied");
        refused(&cluster.within(namespace).get("/api/v1/locks").await, "permission_denied");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn narrowed_key_has_less_than_its_owner() {
    let secured = Secured::start(1).await;
    let (owner, _) = secured.editor("owner").await;
    let narrowing = json!({"names": ["ok/**"], "namespaces": ["default"], "roles": ["editor"]});
    let narrow = secured.key("service/owner", narrowing).await;
    done(narrow.acquire("ok/1").await);
    refused(&narrow.acquire("other/1").await, "permission_denied");
    refused(&narrow.within("team-a").acquire("ok/1").await, "permission_denied");
    done(owner.acquire("other/1").await);
    done(owner.within("team-a").acquire("ok/1").await);
    // A key gives nothing that its owner does not have.
    let wide = secured.key("service/owner", json!({"roles": ["admin"]})).await;
    refused(&wide.put("/api/v1/access/mode", json!({"mode": "off"})).await, "permission_denied");
    let words = done(narrow.get("/api/v1/access/whoami").await);
    assert_eq!(text(&words, "principal"), "service/owner");
}
