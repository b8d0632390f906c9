//! Names that a caller may not see: in sets, under aliases, in watches, lists, refusals and explanations.

use serde_json::{Value, json};

use crate::calls::NO_SESSION;
use crate::secure::{Caller, LONG_MS, Secured, done, refused};

/// The kinds of the changes from a revision on that a watch with this query shows, and the text of all of it.
async fn watched(caller: &Caller, from: u64, query: &str) -> (Vec<String>, String) {
    let path = format!("/api/v1/watch/poll?from_revision={from}&wait_ms=500&{query}");
    let answer = done(caller.get(&path).await);
    let mut kinds = Vec::new();
    for changes in answer.body["changes"].as_array().into_iter().flatten() {
        let events = changes["events"].as_array().into_iter().flatten();
        kinds.extend(events.map(|event| event["kind"].as_str().unwrap_or_default().to_owned()));
    }
    (kinds, answer.body["changes"].to_string())
}

fn set(names: &[&str]) -> Value {
    let locks: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
    json!({"locks": locks, "ttl_ms": LONG_MS})
}

#[tokio::test(flavor = "multi_thread")]
async fn one_forbidden_name_refuses_the_whole_set() {
    let secured = Secured::start(1).await;
    let half = secured.able("half", &["lock:acquire"], &["ok/**"]).await;
    done(half.post("/api/v1/locks", set(&["ok/a", "ok/b"])).await);
    for names in [["ok/c", "secret/d"], ["secret/d", "ok/c"], ["ok/c", "okay/d"], ["ok/c", "ok"]] {
        let answer = half.post("/api/v1/locks", set(&names)).await;
        refused(&answer, "permission_denied");
        assert_eq!(answer.status, 403, "{answer:?}");
    }
    refused(&secured.root.get("/api/v1/locks/ok%2Fc").await, "lock_not_found");
    // The refusal names all that an administrator has to know, and the command that tells more.
    let told = half.acquire("secret/d").await.body.to_string();
    for word in ["service/half", "lock:acquire", "secret/d", "default", "batuta access explain"] {
        assert!(told.contains(word), "{word} is missing: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forbidden_alias_is_refused_by_itself() {
    const QUERY: &str = r#"{ a: explain(name: "ok/a") { summary } b: explain(name: "secret/b") { summary }
                             c: explain(name: "ok/c") { summary } }"#;
    let secured = Secured::start(1).await;
    let reader = secured.able("reader", &["lock:read"], &["ok/**"]).await;
    let answer = reader.post("/graphql", json!({"query": QUERY})).await.body;
    let data = &answer["data"];
    assert!(data["a"]["summary"].is_string() && data["c"]["summary"].is_string(), "{answer}");
    assert!(data["b"].is_null(), "{answer}");
    let errors = answer["errors"].as_array().expect("errors");
    assert_eq!(errors.len(), 1, "{answer}");
    assert_eq!(errors[0]["path"], json!(["b"]), "{answer}");
    assert_eq!(errors[0]["extensions"]["code"], "permission_denied", "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusal_shows_nothing_of_the_holder() {
    let secured = Secured::start(1).await;
    let taker = secured.able("taker", &["lock:acquire"], &["**"]).await;
    let session = secured.root.session().await;
    let lock = json!({"name": "x", "session_id": session, "owner": "the-owner", "metadata": "the-metadata"});
    done(secured.root.post("/api/v1/locks", lock).await);
    let answer = taker.acquire("x").await;
    refused(&answer, "lock_held");
    for hidden in ["the-owner", "the-metadata", session.as_str()] {
        assert!(!answer.body.to_string().contains(hidden), "{hidden}: {answer:?}");
    }
    // To take a lock is not to read, list, check, explain or watch it.
    for path in ["locks/x", "locks", "locks/x/check?fencing_token=1", "locks/x/explain", "watch/poll?name=x"]
    {
        refused(&taker.get(&format!("/api/v1/{path}")).await, "permission_denied");
    }
    // Whether a name exists does not show in what is forbidden.
    let (real, none) = (taker.get("/api/v1/locks/x").await, taker.get("/api/v1/locks/y").await);
    assert_eq!((real.status, real.code()), (none.status, none.code()));
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_shows_covered_names_only() {
    let secured = Secured::start(1).await;
    let watcher = secured.able("watcher", &["lock:watch"], &["a/b"]).await;
    let root = &secured.root;
    let session = root.session().await;
    let from = done(root.get("/api/v1/locks").await).number("revision") + 1;
    for name in ["a/b", "a/bc", "a/c", "a", "b"] {
        done(root.post("/api/v1/locks", json!({"name": name, "session_id": session})).await);
    }
    for query in ["name=a%2Fb", "prefix=a%2F", "prefix=", "areas=lock", &format!("session_id={session}")] {
        let (kinds, told) = watched(&watcher, from, query).await;
        assert_eq!(kinds, ["lock_granted"], "{query}: {told}");
        assert!(told.contains(r#""a/b""#), "{query}: {told}");
        for hidden in ["a/bc", "a/c", r#""b""#] {
            assert!(!told.contains(hidden), "{query} shows {hidden}: {told}");
        }
    }
    let (kinds, told) = watched(&watcher, from, "prefix=a%2Fbc").await;
    assert!(kinds.is_empty(), "{told}");
    let poll = |query: &str| format!("/api/v1/watch/poll?from_revision={from}&wait_ms=0&{query}");
    for query in ["name=a%2Fbc", "name=b", "areas=session", "areas=access", "areas=cluster", "areas=election"]
    {
        refused(&watcher.get(&poll(query)).await, "permission_denied");
    }
    // A set that is seen in part is told without the names that are not.
    done(root.delete(&format!("/api/v1/sessions/{session}")).await);
    let from = done(root.get("/api/v1/locks").await).number("revision") + 1;
    done(root.post("/api/v1/locks", set(&["a/b", "z/hidden"])).await);
    let (kinds, told) = watched(&watcher, from, "areas=lock").await;
    assert_eq!(kinds, ["lock_granted"], "{told}");
    assert!(told.contains("a/b") && !told.contains("z/hidden"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_the_cluster_and_of_access_stay_out_of_namespaces() {
    let secured = Secured::start(1).await;
    let permissions = ["lock:watch", "session:watch", "register:watch", "election:watch"];
    let watcher = secured.able("watcher", &permissions, &["**"]).await;
    let root = &secured.root;
    let from = done(root.get("/api/v1/locks").await).number("revision") + 1;
    secured.role("new-role", &["lock:read"], &["**"]).await;
    let limit = json!({"limits": [{"name": "waiters_per_lock_max", "value": 9_000}]});
    done(root.put("/api/v1/cluster/limits", limit).await);
    done(root.acquire("seen").await);
    let (kinds, told) = watched(&watcher, from, "").await;
    assert_eq!(kinds, ["lock_granted"], "{told}");
    let (kinds, told) = watched(root, from, "").await;
    assert!(kinds.contains(&"role_changed".to_owned()) && kinds.len() >= 3, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlock_and_explanation_hide_names() {
    let secured = Secured::start(1).await;
    let alice = secured.able("alice", &["lock:acquire", "lock:read", "session:open"], &["a/**"]).await;
    let (bob, carol) = (secured.editor("bob").await.0, secured.editor("carol").await.0);
    let (of_alice, of_bob, of_carol) = (alice.session().await, bob.session().await, carol.session().await);
    let lock = |name: &str, session: &str| json!({"name": name, "session_id": session, "wait_ms": LONG_MS});
    done(alice.post("/api/v1/locks", lock("a/1", &of_alice)).await);
    done(bob.post("/api/v1/locks", lock("a/2", &of_bob)).await);
    done(carol.post("/api/v1/locks", lock("secret/9", &of_carol)).await);
    let patient = |caller: &Caller| Caller { rest: caller.rest.patient(), ..caller.clone() };
    let (waits, session) = (patient(&bob), of_bob.clone());
    tokio::spawn(async move { waits.post("/api/v1/locks", lock("secret/9", &session)).await });
    secured.root.waiters("secret/9", 1).await;
    let waits = patient(&carol);
    let wanted =
        json!({"locks": [{"name": "a/1"}, {"name": "secret/8"}], "session_id": of_carol, "wait_ms": LONG_MS});
    tokio::spawn(async move { waits.post("/api/v1/locks", wanted).await });
    secured.root.waiters("a/1", 1).await;
    // Alice waits for bob, bob for carol at a name that alice may not see, and carol for alice.
    let answer = alice.post("/api/v1/locks", lock("a/2", &of_alice)).await;
    refused(&answer, "deadlock");
    assert!(!answer.body.to_string().contains("secret"), "{answer:?}");
    let answer = done(alice.get("/api/v1/locks/a%2F1/explain").await);
    assert!(!answer.body.to_string().contains("secret"), "{answer:?}");
    assert!(answer.number("names_hidden") >= 1, "{answer:?}");
    let whole = done(secured.root.get("/api/v1/locks/a%2F1/explain").await);
    assert!(whole.body.to_string().contains("secret/8"), "{whole:?}");
    // The lock itself lists its waiters, who want more than it.
    let answer = done(alice.get("/api/v1/locks/a%2F1").await);
    assert!(!answer.body.to_string().contains("secret"), "{answer:?}");
}

/// An answer without the revision, which moves.
fn timeless(mut body: Value) -> Value {
    body["revision"] = Value::Null;
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn list_is_no_oracle_for_hidden_locks() {
    let secured = Secured::start(1).await;
    let lister = secured.able("lister", &["lock:list"], &["a/**"]).await;
    let root = &secured.root;
    let session = root.session().await;
    for name in ["secret/1", "secret/2", "ab/1"] {
        let lock = json!({"name": name, "session_id": session, "owner": "boss"});
        done(root.post("/api/v1/locks", lock).await);
    }
    done(root.acquire("a/1").await);
    let pairs = [
        ("owner=boss".to_owned(), "owner=nobody".to_owned()),
        (format!("session_id={session}"), format!("session_id={NO_SESSION}")),
        ("prefix=secret%2F".to_owned(), "prefix=nothing%2F".to_owned()),
        ("prefix=ab".to_owned(), "prefix=zz".to_owned()),
        ("prefix=secret%2F&limit=1".to_owned(), "prefix=nothing%2F&limit=1".to_owned()),
    ];
    for (hidden, absent) in pairs {
        let hidden_answer = done(lister.get(&format!("/api/v1/locks?{hidden}")).await);
        let absent_answer = done(lister.get(&format!("/api/v1/locks?{absent}")).await);
        assert_eq!(hidden_answer.body["filtered"], true, "{hidden}: {hidden_answer:?}");
        assert_eq!(timeless(hidden_answer.body), timeless(absent_answer.body), "{hidden}");
    }
    let own = done(lister.get("/api/v1/locks").await);
    let locks = own.body["locks"].as_array().expect("locks");
    assert_eq!(locks.len(), 1, "{own:?}");
    assert_eq!((&locks[0]["name"], &own.body["filtered"]), (&json!("a/1"), &json!(true)), "{own:?}");
    let whole = done(root.get("/api/v1/locks").await);
    assert!(whole.body["filtered"] != true, "{whole:?}");
    // Whoever may list nothing is told so, instead of an empty list.
    refused(&secured.service("blind").await.get("/api/v1/locks").await, "permission_denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_filtered_list_lead_to_every_name() {
    let secured = Secured::start(1).await;
    let lister = secured.able("lister", &["lock:list"], &["b/**", "d/1"]).await;
    for name in ["a/1", "a/2", "b/1", "b/2", "c/1", "c/2", "d/1", "d/2"] {
        done(secured.root.acquire(name).await);
    }
    let (mut found, mut cursor) = (Vec::new(), String::new());
    for _ in 0..20 {
        let page = done(lister.get(&format!("/api/v1/locks?limit=1&cursor={cursor}")).await);
        assert_eq!(page.body["filtered"], true, "{page:?}");
        let names = page.body["locks"].as_array().into_iter().flatten();
        found.extend(names.map(|lock| lock["name"].as_str().unwrap_or_default().to_owned()));
        match page.body["next_cursor"].as_str().filter(|next| !next.is_empty()) {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    assert_eq!(found, ["b/1", "b/2", "d/1"]);
}
