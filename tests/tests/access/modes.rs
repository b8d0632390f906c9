//! From a cluster without access to one that enforces it: observe, report, adopt, and back.

use batuta_tests::eventually;
use serde_json::{Value, json};

use crate::secure::{Caller, LONG_MS, Secured, done, field, refused, text};

/// The rights that the report of a node lists as missing, as `principal permission`.
async fn missing(root: &Caller) -> Vec<String> {
    let report = done(root.get("/api/v1/access/report").await);
    let rights = report.body["missing"].as_array().into_iter().flatten();
    let word = |right: &Value, name: &str| right[name].as_str().unwrap_or_default().to_owned();
    rights.map(|right| format!("{} {}", word(right, "principal"), word(right, "permission"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn observe_allows_everything_and_reports_what_is_missing() {
    let secured = Secured::off(3).await;
    let root = secured.root.at(secured.follower());
    let nobody = Caller::anonymous(secured.follower());
    done(root.put("/api/v1/access/mode", json!({"mode": "observe"})).await);
    eventually("the node observes", || async {
        let _ = nobody.get("/api/v1/locks").await;
        missing(&root).await.contains(&"anonymous lock:list".to_owned()).then_some(())
    })
    .await;
    let half = secured.able("half", &["lock:acquire"], &["ok/**"]).await.at(secured.follower());
    for (caller, name) in [(&nobody, "free/1"), (&half, "ok/1"), (&half, "other/1")] {
        done(caller.acquire(name).await);
    }
    done(half.get("/api/v1/cluster").await);
    let found = missing(&root).await;
    for right in ["anonymous lock:acquire", "service/half lock:acquire", "service/half cluster:read"] {
        assert!(found.contains(&right.to_owned()), "{right}: {found:?}");
    }
    let report = done(root.get("/api/v1/access/report").await).body.to_string();
    assert!(report.contains("other") && !report.contains("ok/"), "{report}");
    // Access itself is not open to anybody.
    let user = json!({"description": ""});
    refused(&nobody.put("/api/v1/access/users/eve", user.clone()).await, "unauthenticated");
    refused(&half.put("/api/v1/access/users/eve", user).await, "permission_denied");
    refused(&half.put("/api/v1/access/mode", json!({"mode": "off"})).await, "permission_denied");
    // A bad token is refused in every mode: who sends one should learn of it now.
    refused(&half.with_key("btk_nonsense").acquire("x").await, "invalid_token");
    done(root.post("/api/v1/access/report/clear", json!({})).await);
    assert_eq!(missing(&root).await, Vec::<String>::new());
    let reader = secured.able("reader", &["access:write"], &["**"]).await;
    refused(&reader.get("/api/v1/access/report").await, "permission_denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_before_is_adopted_once() {
    let secured = Secured::off(3).await;
    let before = Caller::anonymous(secured.follower());
    let session = before.session().await;
    done(before.post("/api/v1/locks", json!({"name": "by-session", "session_id": session})).await);
    let held = text(&done(before.acquire("one-shot").await), "lock_id");
    done(secured.root.acquire("busy").await);
    secured.enforce().await;
    let (first, _) = secured.editor("first").await;
    let (second, _) = secured.editor("second").await;
    let first = first.at(secured.follower());
    // Nobody is not its owner any more, and who has no right does not become it.
    let keep_alive = format!("/api/v1/sessions/{session}/keep-alive");
    refused(&before.put(&keep_alive, json!({})).await, "unauthenticated");
    let weak = secured.able("weak", &["lock:read"], &["**"]).await;
    assert!(weak.put(&keep_alive, json!({})).await.status >= 400);
    // The first who names it and may make such things owns it from then on.
    done(first.put(&keep_alive, json!({})).await);
    let extend = json!({"lock_id": held, "ttl_ms": LONG_MS});
    done(first.put("/api/v1/locks/one-shot/extend", extend.clone()).await);
    refused(&second.put(&keep_alive, json!({})).await, "session_not_found");
    refused(&second.put("/api/v1/locks/one-shot/extend", extend).await, "lock_not_held");
    done(first.delete(&format!("/api/v1/locks/one-shot?lock_id={held}")).await);
    done(first.delete(&format!("/api/v1/sessions/{session}")).await);
    refused(&secured.root.get("/api/v1/locks/by-session").await, "lock_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_change_under_load_and_probes_stay_green() {
    let secured = Secured::off(3).await;
    let (worker, _) = secured.editor("worker").await;
    let worker = worker.at(secured.follower());
    let load = tokio::spawn(async move {
        for number in 0..150 {
            let lock = done(worker.acquire_keyed(&format!("load/{number}"), &format!("key-{number}")).await);
            // The same request again, perhaps in another mode, finds the same lock.
            let again = worker.acquire_keyed(&format!("load/{number}"), &format!("key-{number}")).await;
            assert_eq!(text(&done(again), "lock_id"), text(&lock, "lock_id"));
        }
    });
    let (mut modes, mut number) = (["observe", "enforce", "observe", "off"].into_iter().cycle(), 0);
    while !load.is_finished() {
        let mode = modes.next().expect("a cycle");
        done(secured.root.put("/api/v1/access/mode", json!({"mode": mode})).await);
        for node in &secured.cluster.nodes {
            for probe in ["/livez", "/readyz"] {
                assert_eq!(node.rest.get(probe).await.status, 200, "{mode} {probe}");
            }
        }
        number += 1;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    load.await.expect("the load goes on in every mode");
    println!("the mode changed {number} times");
    done(secured.root.put("/api/v1/access/mode", json!({"mode": "off"})).await);
    secured.cluster.converged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_node_enforces_from_its_first_answer() {
    let mut secured = Secured::start(3).await;
    let (worker, _) = secured.editor("worker").await;
    done(secured.root.post("/api/v1/cluster/snapshot", json!({})).await);
    let place = secured.follower;
    secured.cluster.nodes[place].kill();
    secured.cluster.launch(place, &[]);
    let nobody = Caller::anonymous(secured.follower());
    eventually("the node is ready", || async {
        // As soon as it answers, it answers nothing to nobody.
        if let Ok(answer) = nobody.rest.try_send("GET", "/api/v1/locks", &[], None).await {
            assert!(answer.status >= 400, "{answer:?}");
        }
        let probe = nobody.rest.try_send("GET", "/readyz", &[], None).await.ok()?;
        (probe.status == 200).then_some(())
    })
    .await;
    refused(&nobody.get("/api/v1/locks").await, "unauthenticated");
    let at_it = worker.at(secured.follower());
    done(at_it.acquire("x").await);
    let who = done(at_it.get("/api/v1/access/whoami").await);
    assert_eq!(field(&who.body, "principal"), Some(&json!("service/worker")), "{who:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bound_anonymous_callers_read_and_no_more() {
    let secured = Secured::start(1).await;
    let nobody = Caller::anonymous(secured.follower());
    done(secured.root.acquire("open/1").await);
    secured.role("public", &["lock:read", "lock:list", "lock:watch"], &["open/**"]).await;
    secured.grant("anonymous", "public", json!({})).await;
    done(nobody.get("/api/v1/locks/open%2F1").await);
    assert_eq!(done(nobody.get("/api/v1/locks").await).body["filtered"], true);
    done(nobody.get("/api/v1/watch/poll?areas=lock&wait_ms=0").await);
    refused(&nobody.get("/api/v1/locks/other").await, "unauthenticated");
    refused(&nobody.acquire("open/2").await, "unauthenticated");
    for role in ["editor", "admin"] {
        let binding = json!({"subject": "anonymous", "role": role, "reason": "a mistake"});
        assert!(secured.root.post("/api/v1/access/bindings", binding).await.status >= 400, "{role}");
    }
}
