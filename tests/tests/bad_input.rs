//! Bad input gets a clear error that names the field. Nothing is lost and no process dies.

use batuta_tests::Cluster;
use serde_json::{Value, json};

/// One bad request: method, path, body, and the status, code and field expected.
struct Case(&'static str, &'static str, Value, u16, &'static str, &'static str);

fn cases() -> Vec<Case> {
    let locks = "/api/v1/locks";
    let long = "x".repeat(600);
    vec![
        Case("POST", locks, json!({"name": "", "ttl_ms": 1000}), 422, "invalid_argument", "name"),
        Case("POST", locks, json!({"name": "/a", "ttl_ms": 1000}), 422, "invalid_argument", "name"),
        Case("POST", locks, json!({"name": "a//b", "ttl_ms": 1000}), 422, "invalid_argument", "name"),
        Case("POST", locks, json!({"name": long, "ttl_ms": 1000}), 422, "", ""),
        Case("POST", locks, json!({"name": "a"}), 422, "invalid_argument", "ttl_ms"),
        Case("POST", locks, json!({"name": "a", "ttl_ms": 1}), 422, "invalid_argument", "ttl_ms"),
        Case("POST", locks, json!({"name": "a", "ttl_ms": -1}), 422, "invalid_argument", "ttl_ms"),
        Case("POST", locks, json!({"name": "a", "ttl_ms": "soon"}), 422, "invalid_argument", "ttl_ms"),
        Case(
            "POST",
            locks,
            json!({"name": "a", "ttl_ms": 1000, "mode": "loud"}),
            422,
            "invalid_argument",
            "mode",
        ),
        Case(
            "POST",
            locks,
            json!({"name": "a", "ttl_ms": 1000, "colour": 1}),
            422,
            "unknown_field",
            "colour",
        ),
        Case(
            "POST",
            locks,
            json!({"name": "a", "session_id": "nonsense"}),
            422,
            "invalid_argument",
            "session_id",
        ),
        Case("POST", locks, json!({"name": "a", "session_id": "s-999999.0"}), 404, "session_not_found", ""),
        Case("POST", locks, json!({"locks": [], "ttl_ms": 1000}), 422, "invalid_argument", "locks"),
        Case("POST", "/api/v1/sessions", json!({"ttl_ms": 0}), 422, "invalid_argument", "ttl_ms"),
        Case("GET", "/api/v1/locks?limit=0x", Value::Null, 422, "invalid_argument", "limit"),
        Case("GET", "/api/v1/locks?colour=red", Value::Null, 422, "unknown_field", "colour"),
        Case("GET", "/api/v1/locks?consistency=maybe", Value::Null, 422, "invalid_argument", "consistency"),
        Case("GET", "/api/v1/locks/free", Value::Null, 404, "lock_not_found", ""),
        Case("DELETE", "/api/v1/locks/free", Value::Null, 422, "invalid_argument", "lock_id"),
        Case("GET", "/api/v1/nothing", Value::Null, 404, "", ""),
        Case("PATCH", locks, Value::Null, 405, "", ""),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn problem_names_the_field_of_a_bad_request() {
    let cluster = Cluster::start(1).await;
    let rest = &cluster.nodes[0].rest;
    let mut wrong = Vec::new();
    for Case(method, path, body, status, code, field) in cases() {
        let body = (!body.is_null()).then_some(&body);
        let answer = rest.send(method, path, body).await;
        let names_it =
            field.is_empty() || answer.body["field"].as_str().is_some_and(|named| named.contains(field));
        let fits = answer.status == status
            && answer.content_type == "application/problem+json"
            && (code.is_empty() || answer.code() == code)
            && names_it;
        if !fits {
            wrong.push(format!("{method} {path} {body:?}: wanted {status} {code} {field}, got {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let oversize = rest
        .post("/api/v1/locks", &json!({"name": "a", "ttl_ms": 1000, "metadata": "x".repeat(2 << 20)}))
        .await;
    assert_eq!(oversize.status, 413, "{oversize:?}");
    let _ = rest.get("/readyz").await.expect(200);
}
