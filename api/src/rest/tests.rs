//! Tables of requests that never reach the service: unreadable requests, unknown paths, and panics.

use axum::Router;
use axum::body::Body as HttpBody;
use axum::http::{Request, Response};
use axum::routing::{delete, get, post};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::extract::{BODY_BYTES_MAX, Body, Headers, NamePath, OptionalBody, Query};
use super::{documentation, documented_routes, finish};
use crate::contract::NoQuery;
use crate::contract::cluster::TransferLeaderRequest;
use crate::contract::lock::{AcquireRequest, CheckQuery, ReleaseQuery};
use crate::json::Problem;
use crate::middleware::Doorkeeper;

async fn acquire(headers: Headers, _: Query<NoQuery>, Body(_): Body<AcquireRequest>) -> Result<(), Problem> {
    headers.context(None)?;
    Ok(())
}

async fn transfer(OptionalBody(request): OptionalBody<TransferLeaderRequest>) -> String {
    request.member.unwrap_or_default()
}

async fn explode() {
    panic!("secret words")
}

/// Routes with the decoding and the layers of the real routes, but without a service.
fn app() -> Router {
    let routes = Router::new()
        .route("/locks", post(acquire))
        .route("/transfer", post(transfer))
        .route(
            "/locks/{name}",
            delete(|NamePath(name): NamePath, _: Query<ReleaseQuery>| async move { name.to_string() }),
        )
        .route("/locks/{name}/check", get(|_: NamePath, _: Query<CheckQuery>| async {}))
        .route("/panic", get(explode));
    finish(routes, &Doorkeeper::without_service())
}

async fn send(request: Request<HttpBody>) -> (Response<()>, String) {
    let (parts, body) = app().oneshot(request).await.unwrap().into_parts();
    let bytes = axum::body::to_bytes(body, 4 * BODY_BYTES_MAX).await.unwrap();
    (Response::from_parts(parts, ()), String::from_utf8(bytes.to_vec()).unwrap())
}

fn json_post(path: &str, body: impl Into<HttpBody>) -> Request<HttpBody> {
    Request::post(path).header("content-type", "application/json; charset=utf-8").body(body.into()).unwrap()
}

#[tokio::test]
async fn connection_with_an_unread_body_is_closed() {
    let (response, _) = send(json_post("/locks", "x".repeat(BODY_BYTES_MAX + 1))).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["connection"]),
        (413, &"close".parse().unwrap())
    );
    let (response, _) = send(json_post("/locks", "{}")).await;
    assert!(!response.headers().contains_key("connection"));
}

/// Sends a request that must be refused with a status and a code, and returns the problem.
async fn refused(request: Request<HttpBody>, status: u16, code: &str) -> Value {
    let what = format!("{} {}", request.method(), request.uri());
    let (response, body) = send(request).await;
    assert_eq!(response.status(), status, "{what}: {body}");
    assert_eq!(response.headers()["content-type"], "application/problem+json", "{what}");
    assert!(response.headers().contains_key("x-request-id"), "{what}");
    let problem: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(problem["code"], code, "{what}: {body}");
    assert_eq!(problem["status"], status, "{what}");
    problem
}

#[tokio::test]
async fn unreadable_body_is_malformed() {
    for body in ["", "{", "{\"name\": }", "name=a", "[", "{\"name\":\"a\"} x", "\u{0}"] {
        refused(json_post("/locks", body), 400, "malformed_body").await;
    }
}

#[tokio::test]
async fn body_of_the_wrong_shape_names_its_field() {
    for (body, code, field) in [
        (json!({"name": 1}), "invalid_argument", "name"),
        (json!({"name": "a", "ttl_ms": -1}), "invalid_argument", "ttl_ms"),
        (json!({"name": "a", "ttl_ms": 1.5}), "invalid_argument", "ttl_ms"),
        (json!({"name": "a", "wait_ms": "5s"}), "invalid_argument", "wait_ms"),
        (json!({"name": "a", "mode": "Exclusive"}), "invalid_argument", "mode"),
        (json!({"locks": [{"name": "a"}, {"name": 7}]}), "invalid_argument", "locks[1].name"),
        (json!({"locks": [{"mode": "shared"}]}), "invalid_argument", "locks[0].name"),
        (json!({"locks": [{"name": "a", "permit": 1}]}), "unknown_field", "locks[0].permit"),
        (json!({"name": "a", "ttl": 5}), "unknown_field", "ttl"),
        (json!([1]), "invalid_argument", "body"),
        (json!(["a"]), "invalid_argument", "body"),
        (json!("a"), "invalid_argument", "body"),
    ] {
        let problem = refused(json_post("/locks", body.to_string()), 422, code).await;
        assert_eq!(problem["field"], field, "{body}: {problem}");
    }
    let twice = refused(json_post("/locks", r#"{"name":"a","name":"b"}"#), 422, "invalid_argument").await;
    assert_eq!(twice["field"], "name");
}

#[tokio::test]
async fn unknown_field_has_a_suggestion() {
    let problem = refused(json_post("/locks", r#"{"name":"a","ttl_mss":5}"#), 422, "unknown_field").await;
    assert_eq!(problem["details"]["suggestion"], "ttl_ms", "{problem}");
    let problem = refused(json_post("/locks", r#"{"name":"a","zebra":5}"#), 422, "unknown_field").await;
    assert_eq!(problem["details"]["suggestion"], Value::Null, "{problem}");
}

#[tokio::test]
async fn body_has_a_media_type_and_a_limit() {
    for media in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        let request =
            Request::post("/locks").header("content-type", media).body(HttpBody::from("{}")).unwrap();
        refused(request, 415, "unsupported_media_type").await;
    }
    let long = format!("{{\"name\":\"{}\"}}", "x".repeat(BODY_BYTES_MAX));
    let problem = refused(json_post("/locks", long.clone()), 413, "body_too_large").await;
    assert_eq!(problem["limit"], "body_bytes_max");
    // Without a declared length, the limit applies while reading.
    let chunks = tokio_stream::iter([Ok::<_, std::io::Error>(long)]);
    refused(json_post("/locks", HttpBody::from_stream(chunks)), 413, "body_too_large").await;
    let fitting = format!("{{\"name\":\"a\"}}{}", " ".repeat(BODY_BYTES_MAX - 12));
    assert_eq!(send(json_post("/locks", fitting)).await.0.status(), 200);
}

#[tokio::test]
async fn optional_body_is_still_checked() {
    let empty = Request::post("/transfer").body(HttpBody::empty()).unwrap();
    assert_eq!(send(empty).await.1, "");
    assert_eq!(send(json_post("/transfer", "{}")).await.1, "");
    assert_eq!(send(json_post("/transfer", r#"{"member":"n2"}"#)).await.1, "n2");
    refused(json_post("/transfer", r#"{"to":"n2"}"#), 422, "unknown_field").await;
}

#[tokio::test]
async fn a_wrong_query_names_its_parameter() {
    for (method, path, code, field) in [
        ("DELETE", "/locks/a?lock=l-1.0", "unknown_field", "lock"),
        ("DELETE", "/locks/a?fencing_token=x", "invalid_argument", "fencing_token"),
        ("DELETE", "/locks/a?fencing_token=-1", "invalid_argument", "fencing_token"),
        ("DELETE", "/locks/a?force=yes", "invalid_argument", "force"),
        ("DELETE", "/locks/a?lock_id=l-1.0&lock_id=l-2.0", "invalid_argument", "lock_id"),
        ("GET", "/locks/a/check", "invalid_argument", "fencing_token"),
        ("GET", "/locks/a/check?fencing_token=1&consistency=eventual", "invalid_argument", "consistency"),
    ] {
        let request = Request::builder().method(method).uri(path).body(HttpBody::empty()).unwrap();
        let problem = refused(request, 422, code).await;
        assert_eq!(problem["field"], field, "{path}: {problem}");
    }
    let stray = refused(json_post("/locks?wait_ms=5", r#"{"name":"a"}"#), 422, "unknown_field").await;
    assert_eq!(stray["field"], "wait_ms");
}

#[tokio::test]
async fn a_wrong_header_is_named() {
    for (headers, field) in [
        (vec![("batuta-namespace", "Not Lower")], "batuta-namespace"),
        (vec![("batuta-namespace", "a"), ("batuta-namespace", "b")], "batuta-namespace"),
        (vec![("idempotency-key", "")], "idempotency-key"),
        (vec![("idempotency-key", "a"), ("batuta-session-sequence", "s-1.0/1")], "batuta-session-sequence"),
        (vec![("batuta-session-sequence", "0")], "batuta-session-sequence"),
        (vec![("batuta-session-sequence", "7")], "batuta-session-sequence"),
    ] {
        let mut request = json_post("/locks", r#"{"name":"a"}"#);
        for (name, value) in &headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        let problem = refused(request, 422, "invalid_argument").await;
        assert_eq!(problem["field"], field, "{headers:?}");
    }
}

#[tokio::test]
async fn name_is_one_percent_encoded_segment() {
    let request = |path: &str| Request::delete(path).body(HttpBody::empty()).unwrap();
    assert_eq!(send(request("/locks/orders%2F42?lock_id=l-1.0")).await.1, "orders/42");
    assert_eq!(send(request("/locks/gr%C3%B6%C3%9Fe%20x")).await.1, "größe x");
    for path in ["/locks/a%2F%2Fb", "/locks/%2E%2E", "/locks/%0A", "/locks/%20a"] {
        let problem = refused(request(path), 422, "invalid_argument").await;
        assert_eq!(problem["field"], "name", "{path}");
    }
    let problem = refused(request("/locks/%FF"), 422, "invalid_argument").await;
    assert_eq!(problem["field"], "path");
}

#[tokio::test]
async fn unknown_route_is_a_problem() {
    let request = |path: &str| Request::get(path).body(HttpBody::empty()).unwrap();
    refused(request("/nowhere"), 404, "path_not_found").await;
    let problem = refused(request("/api/v1/locks/orders/42"), 404, "path_not_found").await;
    assert!(problem["detail"].as_str().unwrap().contains("%2F"), "{problem}");
    let (response, _) = send(request("/transfer")).await;
    assert_eq!(response.headers()["allow"], "POST");
    refused(request("/transfer"), 405, "method_not_allowed").await;
}

#[tokio::test]
async fn panic_is_a_problem_without_its_message() {
    let request = Request::get("/panic").body(HttpBody::empty()).unwrap();
    let problem = refused(request, 500, "internal").await;
    assert!(!problem.to_string().contains("secret"), "{problem}");
}

#[tokio::test]
async fn request_keeps_its_id_or_gets_one() {
    let named = Request::get("/nowhere").header("x-request-id", "mine").body(HttpBody::empty()).unwrap();
    assert_eq!(send(named).await.0.headers()["x-request-id"], "mine");
}

#[tokio::test]
async fn document_and_viewer_are_served_from_the_binary() {
    let (_, document) = documented_routes();
    let served = finish(documentation(&document), &Doorkeeper::without_service());
    let get = |path: &str| Request::get(path).body(HttpBody::empty()).unwrap();
    for (path, kind, content) in [
        ("/openapi.json", "application/json", "\"openapi\":\"3.1.0\""),
        ("/docs/", "text/html", "swagger-ui"),
        ("/docs/swagger-initializer.js", "text/javascript", "/openapi.json"),
    ] {
        let response = served.clone().oneshot(get(path)).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let given = response.headers()["content-type"].to_str().unwrap().to_owned();
        assert!(given.starts_with(kind), "{path}: {given}");
        let bytes = axum::body::to_bytes(response.into_body(), 4 * BODY_BYTES_MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(text.contains(content), "{path}: {}", text.chars().take(400).collect::<String>());
    }
}
