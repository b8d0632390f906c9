//! Rights that nobody may give themselves, and the administrator that must stay.

use serde_json::{Value, json};

use crate::secure::{Caller, LONG_MS, Secured, done, field, refused, text};

async fn put_role(caller: &Caller, name: &str, permission: &str, names: &str) -> batuta_tests::Answer {
    let rules = json!({"rules": [{"permissions": [permission], "names": [names]}]});
    caller.put(&format!("/api/v1/access/roles/{name}"), rules).await
}

async fn bind(caller: &Caller, subject: &str, role: &str, more: Value) -> batuta_tests::Answer {
    let mut body = json!({"subject": subject, "role": role, "reason": "a test"});
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    caller.post("/api/v1/access/bindings", body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn manager_gives_no_more_than_it_has() {
    let secured = Secured::start(1).await;
    let root = &secured.root;
    let manager = secured
        .able("manager", &["access:write", "access:read", "access:keys", "lock:acquire"], &["**"])
        .await;
    secured.service("friend").await;
    // What it has itself, it may give.
    done(put_role(&manager, "takers", "lock:acquire", "a/**").await);
    done(bind(&manager, "service/friend", "takers", json!({})).await);
    // A role that others have already; and one that gives nothing until it is bound.
    refused(&put_role(&manager, "takers", "lock:force_release", "a/1").await, "escalation_refused");
    refused(&put_role(&manager, "takers", "lock:read", "a/**").await, "escalation_refused");
    for (role, permission) in [("readers", "lock:read"), ("modes", "access:mode")] {
        done(put_role(&manager, role, permission, "**").await);
        for subject in ["service/friend", "service/manager"] {
            refused(&bind(&manager, subject, role, json!({})).await, "escalation_refused");
        }
    }
    for role in ["admin", "operator", "editor", "viewer"] {
        refused(&put_role(&manager, role, "lock:acquire", "**").await, "built_in_role");
        refused(&put_role(root, role, "lock:acquire", "**").await, "built_in_role");
        for subject in ["service/manager", "service/friend", "group/anybody", "user/root"] {
            let answer = bind(&manager, subject, role, json!({})).await;
            assert!(["escalation_refused", "group_not_found"].contains(&answer.code()), "{role}: {answer:?}");
        }
    }
    // A group with more.
    done(root.put("/api/v1/access/groups/admins", json!({"members": []})).await);
    secured.grant("group/admins", "admin", json!({})).await;
    let members = json!({"members": ["service/manager"]});
    refused(&manager.put("/api/v1/access/groups/admins", members).await, "escalation_refused");
    // A key or a password of somebody with more.
    let key = json!({"principal": "user/root", "label": "mine"});
    refused(&manager.post("/api/v1/access/keys", key).await, "escalation_refused");
    let password = json!({"password": "a password for root"});
    let answer = manager.put("/api/v1/access/users/root/password", password).await;
    assert!(["escalation_refused", "permission_denied"].contains(&answer.code()), "{answer:?}");
    // Nothing came of it.
    refused(&manager.get("/api/v1/locks").await, "permission_denied");
    refused(&manager.put("/api/v1/access/mode", json!({"mode": "off"})).await, "permission_denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn manager_gives_nothing_for_longer_or_wider() {
    let secured = Secured::start(1).await;
    let manager = secured.able("manager", &["access:write", "access:read"], &["**"]).await;
    secured.service("friend").await;
    secured.role("takers", &["lock:acquire"], &["a/**"]).await;
    let own = json!({"namespaces": ["team-a"], "ttl_ms": LONG_MS});
    secured.grant("service/manager", "takers", own).await;
    let within = |ttl_ms: Option<u64>, namespaces: Value| {
        let mut more = json!({"namespaces": namespaces});
        if let Some(ttl_ms) = ttl_ms {
            more["ttl_ms"] = json!(ttl_ms);
        }
        more
    };
    for more in [
        within(None, json!(["team-a"])),
        within(Some(2 * LONG_MS), json!(["team-a"])),
        within(Some(1_000), json!([])),
        within(Some(1_000), json!(["team-a", "team-b"])),
    ] {
        refused(&bind(&manager, "service/friend", "takers", more).await, "escalation_refused");
    }
    let short =
        done(bind(&manager, "service/friend", "takers", within(Some(60_000), json!(["team-a"]))).await);
    let path = format!("/api/v1/access/bindings/{}", text(&short, "binding_id"));
    for ttl_ms in [json!(2 * LONG_MS), Value::Null] {
        let longer = json!({"ttl_ms": ttl_ms, "reason": "for ever"});
        refused(&manager.send_with("PATCH", &path, &[], Some(&longer)).await, "escalation_refused");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn own_name_in_a_pattern_is_not_that_of_others() {
    let secured = Secured::start(1).await;
    secured.role("own", &["lock:acquire"], &["jobs/{principal}/**"]).await;
    let (one, two) = (secured.service("one").await, secured.service("two").await);
    for subject in ["service/one", "service/two"] {
        secured.grant(subject, "own", json!({})).await;
    }
    done(one.acquire("jobs/one/1").await);
    done(two.acquire("jobs/two/1").await);
    for name in ["jobs/two/2", "jobs/one", "jobs/onetwo/1", "jobs/{principal}/1", "one/1"] {
        refused(&one.acquire(name).await, "permission_denied");
    }
    // Who holds only its own names gives nobody theirs.
    let manager = secured.able("manager", &["access:write"], &["**"]).await;
    secured.role("fixed", &["lock:acquire"], &["jobs/manager/**"]).await;
    secured.grant("service/manager", "fixed", json!({})).await;
    done(put_role(&manager, "theirs", "lock:acquire", "jobs/{principal}/**").await);
    done(secured.root.put("/api/v1/access/groups/all", json!({"members": ["service/one"]})).await);
    for subject in ["service/one", "group/all"] {
        refused(&bind(&manager, subject, "theirs", json!({})).await, "escalation_refused");
    }
    refused(&bind(&manager, "service/one", "editor", json!({})).await, "escalation_refused");
    // Names of principals cannot pretend to be a path or a pattern.
    for name in ["a%2Fb", "%7Bprincipal%7D", "**", "..", "Root", "r%C3%B6ot"] {
        let answer =
            secured.root.put(&format!("/api/v1/access/services/{name}"), json!({"description": ""})).await;
        assert!(answer.status >= 400, "{name}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn last_administrator_stays() {
    let secured = Secured::start(3).await;
    let root = &secured.root;
    let bindings = done(root.get("/api/v1/access/bindings?subject=user%2Froot").await);
    let binding = text(&bindings, "binding_id");
    let key = format!("/api/v1/access/credentials/{}", root.credential);
    let none_is_allowed = async || {
        let answers = [
            root.delete("/api/v1/access/users/root").await,
            root.post("/api/v1/access/users/root/suspend", json!({})).await,
            root.delete(&format!("/api/v1/access/bindings/{binding}")).await,
            root.delete(&key).await,
        ];
        for answer in answers {
            refused(&answer, "last_admin");
        }
    };
    none_is_allowed().await;
    let ends = json!({"ttl_ms": LONG_MS, "reason": "to end"});
    let path = format!("/api/v1/access/bindings/{binding}");
    refused(&root.send_with("PATCH", &path, &[], Some(&ends)).await, "last_admin");
    // Administrators that end, that have no credential or that have a part of the namespaces do not count.
    let (second, third) = (secured.service("second").await, secured.service("third").await);
    secured.grant("service/second", "admin", json!({"ttl_ms": LONG_MS})).await;
    secured.grant("service/third", "admin", json!({"namespaces": ["team-a"]})).await;
    done(root.put("/api/v1/access/services/keyless", json!({"description": ""})).await);
    secured.grant("service/keyless", "admin", json!({})).await;
    none_is_allowed().await;
    done(second.get("/api/v1/access").await);
    refused(&third.get("/api/v1/access/users").await, "permission_denied");
    // With another administrator, the first may go.
    let successor = secured.service("successor").await;
    secured.grant("service/successor", "admin", json!({})).await;
    done(root.delete(&key).await);
    refused(&root.get("/api/v1/access/users").await, "invalid_token");
    done(successor.delete("/api/v1/access/users/root").await);
    let kept = done(successor.get("/api/v1/access/users").await);
    assert!(field(&kept.body, "principal").is_none_or(|found| found != "user/root"), "{kept:?}");
    refused(&successor.delete("/api/v1/access/services/successor").await, "last_admin");
}

#[tokio::test(flavor = "multi_thread")]
async fn first_administrator_is_made_once() {
    let secured = Secured::off(3).await;
    let nobody = Caller::anonymous(secured.follower());
    // From the first administrator on, nobody else makes himself one, whatever the mode.
    for (method, path, body) in [
        ("PUT", "/api/v1/access/users/eve", json!({"description": ""})),
        ("POST", "/api/v1/access/bindings", json!({"subject": "user/root", "role": "admin", "reason": "x"})),
        ("POST", "/api/v1/access/keys", json!({"principal": "user/root", "label": "x"})),
        ("PUT", "/api/v1/access/mode", json!({"mode": "off"})),
        ("PUT", "/api/v1/access/roles/x", json!({"rules": []})),
    ] {
        let answer = nobody.send_with(method, path, &[], Some(&body)).await;
        refused(&answer, "unauthenticated");
    }
    let bootstrap = json!({"token": "btb_AAAAAAAAAAAA_x", "admin": "eve"});
    assert!(nobody.post("/api/v1/access/bootstrap", bootstrap).await.status >= 400);
    done(nobody.acquire("free-for-all").await);
}
