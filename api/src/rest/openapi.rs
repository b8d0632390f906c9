//! The `OpenAPI` document: generated from the handlers, completed with every error that each of them can answer.
//!
//! Invariant: the errors come from the one catalogue, so that the document, `docs/errors.md` and the answers agree.

use std::collections::BTreeMap;

use serde_json::json;
use utoipa::OpenApi as _;
use utoipa::openapi::example::{Example, ExampleBuilder};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, ContentBuilder, Object, OpenApi, Ref, RefOr, Response, Schema, Type};

use crate::contract::watch::WatchItem;
use crate::error::{Code, CodeInfo, info};
use crate::json::{PROBLEM_JSON, Problem, TYPE_PREFIX};
use crate::service::operation;

/// The general part of the document.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Batuta",
        description = "Locks with fencing tokens, sessions and the cluster that keeps them. Any node takes any \
            request. Every answer carries the revision it is true at; every error is a problem document (RFC 9457) \
            with a stable `code`. Unknown fields and unknown query parameters are errors."
    ),
    tags(
        (name = "locks", description = "Exclusive, shared and counted locks; FIFO queues; fencing tokens."),
        (name = "elections", description = "One leader at a time, with a value; candidates in order; fencing tokens."),
        (name = "registers", description = "High-water marks for resources that cannot store a token themselves."),
        (name = "sessions", description = "A single keep-alive keeps everything alive that a client owns."),
        (name = "watch", description = "Every change once, in order, from any node; resumable by revision."),
        (name = "cluster", description = "Members, leadership, snapshots, limits."),
        (name = "access", description = "Who may do what: principals, credentials, roles, bindings; the mode, the audit."),
        (name = "health", description = "For probes. These routes need no quorum.")
    ),
    components(schemas(Problem, WatchItem))
)]
struct Base;

/// Returns the document without routes.
pub(super) fn base() -> OpenApi {
    Base::openapi()
}

/// The extension with which a described route names its operation of the API.
const OPERATION: &str = "x-batuta-operation";
/// The additional codes of calls with a body.
const BODY: &[Code] = &[Code::MalformedBody, Code::BodyTooLarge, Code::UnsupportedMediaType];

/// The operation of the API that a route calls.
fn operation_of(route: &Operation) -> Option<&'static operation::Operation> {
    operation::named(route.extensions.as_ref()?.get(OPERATION)?.as_str()?)
}

/// The name of the security scheme.
const BEARER: &str = "bearer";
/// The operations that need no credential although the others do: they are how a caller gets one.
const OPEN: [&str; 2] = ["bootstrap", "login"];

/// Adds to every operation the errors that it can answer, grouped by status, each code with an example, and says where a credential is sent.
pub(super) fn complete(document: &mut OpenApi) {
    add_security(document);
    for (path, item) in &mut document.paths.paths {
        for operation in operations(item) {
            if path.starts_with("/api/") {
                add_problems(operation);
            } else {
                add_responses(operation, &[Code::Internal]);
            }
            if operation_of(operation).is_none_or(|operation| OPEN.contains(&operation.name)) {
                operation.security = Some(Vec::new());
            }
            add_revision(operation);
            // Without a revision: a foreign host learns nothing.
            add_responses(operation, &[Code::HostNotAllowed]);
        }
    }
}

/// Says that every operation takes a token.
fn add_security(document: &mut OpenApi) {
    let text =
        "An API key (`btk_…`) or a login (`bts_…`). While access is off, calls are answered without one.";
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(text)).build();
    let components = document.components.get_or_insert_with(Components::new);
    components.add_security_scheme(BEARER, SecurityScheme::Http(scheme));
    document.security = Some(vec![SecurityRequirement::new(BEARER, Vec::<String>::new())]);
}

/// Documents the challenge of an answer that asks for a credential (RFC 6750 section 3).
fn add_challenge(response: &mut Response) {
    let text = "`Bearer realm=\"batuta\"`, with `error=\"invalid_token\"` when a token was sent.";
    let schema = Schema::from(Object::with_type(Type::String));
    let header = HeaderBuilder::new().schema(Some(schema)).description(Some(text)).build();
    response.headers.insert("WWW-Authenticate".to_owned(), RefOr::T(header));
}

/// Documents the revision header of every answer.
fn add_revision(operation: &mut Operation) {
    let text = "The log position at which the answer is true: for a write, the position of its effect; for an answer that does not depend on the state, the newest position that the node knows.";
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            let number = Schema::from(Object::with_type(Type::Integer));
            let header = HeaderBuilder::new().schema(Some(number)).description(Some(text)).build();
            response.headers.insert("Batuta-Revision".to_owned(), RefOr::T(header));
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete]
        .into_iter()
        .filter_map(Option::as_mut)
}

fn add_problems(route: &mut Operation) {
    let mut codes = operation_of(route).map(operation::Operation::all_codes).unwrap_or_default();
    if route.request_body.is_some() {
        codes.extend(BODY);
    }
    add_responses(route, &codes);
}

fn add_responses(operation: &mut Operation, codes: &[Code]) {
    let mut by_status: BTreeMap<u16, Vec<CodeInfo>> = BTreeMap::new();
    for code in codes {
        let info = info(*code);
        let same_status = by_status.entry(info.http).or_default();
        if !same_status.iter().any(|known| known.code == info.code) {
            same_status.push(info);
        }
    }
    for (status, infos) in by_status {
        let mut response = problem_response(&infos);
        if status == 401 {
            add_challenge(&mut response);
        }
        let response = RefOr::T(response);
        operation.responses.responses.entry(status.to_string()).or_insert(response);
    }
}

fn problem_response(infos: &[CodeInfo]) -> Response {
    let lines = infos.iter().map(|info| format!("`{}`: {}. {}", info.code, info.summary, info.cause));
    let examples = infos.iter().map(|info| (info.code.as_str(), RefOr::T(problem_example(info))));
    let schema = Some(Ref::from_schema_name("Problem"));
    let content = ContentBuilder::new().schema(schema).examples_from_iter(examples).build();
    let mut response = Response::new(lines.collect::<Vec<_>>().join("\n\n"));
    response.content.insert(PROBLEM_JSON.to_owned(), RefOr::T(content));
    response
}

fn problem_example(info: &CodeInfo) -> Example {
    let mut problem = json!({
        "type": format!("{TYPE_PREFIX}{}", info.code),
        "title": info.summary,
        "status": info.http,
        "code": info.code.as_str(),
        "detail": info.remedy,
        "retryable": info.code.retryable(),
    });
    if let Some(after_ms) = info.retry_after_ms {
        problem["retry_after_ms"] = json!(after_ms);
    }
    ExampleBuilder::new().summary(info.summary).value(Some(problem)).build()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::documented_routes;
    use super::*;

    /// Every route of the API; the document must have these and no others.
    const ROUTES: &[&str] = &[
        "DELETE /api/v1/access/bindings/{binding_id}",
        "DELETE /api/v1/access/credentials/{credential_id}",
        "DELETE /api/v1/access/groups/{name}",
        "DELETE /api/v1/access/roles/{name}",
        "DELETE /api/v1/access/services/{name}",
        "DELETE /api/v1/access/users/{name}",
        "DELETE /api/v1/cluster/members/{member}",
        "DELETE /api/v1/elections/{name}",
        "DELETE /api/v1/locks/{name}",
        "DELETE /api/v1/registers/{name}",
        "DELETE /api/v1/sessions/{session_id}",
        "DELETE /api/v1/waits/{lock_id}",
        "GET /api/v1/access",
        "GET /api/v1/access/audit",
        "GET /api/v1/access/bindings",
        "GET /api/v1/access/credentials",
        "GET /api/v1/access/groups",
        "GET /api/v1/access/report",
        "GET /api/v1/access/roles",
        "GET /api/v1/access/services",
        "GET /api/v1/access/services/{name}",
        "GET /api/v1/access/users",
        "GET /api/v1/access/users/{name}",
        "GET /api/v1/access/whoami",
        "GET /api/v1/cluster",
        "GET /api/v1/cluster/limits",
        "GET /api/v1/cluster/members",
        "GET /api/v1/elections",
        "GET /api/v1/elections/{name}",
        "GET /api/v1/locks",
        "GET /api/v1/locks/{name}",
        "GET /api/v1/locks/{name}/check",
        "GET /api/v1/locks/{name}/explain",
        "GET /api/v1/registers/{name}",
        "GET /api/v1/sessions",
        "GET /api/v1/sessions/{session_id}",
        "GET /api/v1/watch",
        "GET /api/v1/watch/poll",
        "GET /healthz",
        "GET /livez",
        "GET /readyz",
        "PATCH /api/v1/access/bindings/{binding_id}",
        "POST /api/v1/access/bindings",
        "POST /api/v1/access/bootstrap",
        "POST /api/v1/access/check",
        "POST /api/v1/access/keys",
        "POST /api/v1/access/keys/{credential_id}/rotate",
        "POST /api/v1/access/login",
        "POST /api/v1/access/logout",
        "POST /api/v1/access/report/clear",
        "POST /api/v1/access/services/{name}/resume",
        "POST /api/v1/access/services/{name}/suspend",
        "POST /api/v1/access/users/{name}/resume",
        "POST /api/v1/access/users/{name}/suspend",
        "POST /api/v1/cluster/members/{member}/promote",
        "POST /api/v1/cluster/snapshot",
        "POST /api/v1/cluster/transfer-leader",
        "POST /api/v1/elections",
        "POST /api/v1/locks",
        "POST /api/v1/sessions",
        "PUT /api/v1/access/groups/{name}",
        "PUT /api/v1/access/mode",
        "PUT /api/v1/access/roles/{name}",
        "PUT /api/v1/access/services/{name}",
        "PUT /api/v1/access/users/{name}",
        "PUT /api/v1/access/users/{name}/password",
        "PUT /api/v1/cluster/limits",
        "PUT /api/v1/elections/{name}/value",
        "PUT /api/v1/locks/{name}/capacity",
        "PUT /api/v1/locks/{name}/downgrade",
        "PUT /api/v1/locks/{name}/extend",
        "PUT /api/v1/locks/{name}/metadata",
        "PUT /api/v1/registers/{name}",
        "PUT /api/v1/sessions/{session_id}/keep-alive",
    ];

    fn document() -> Value {
        let (_, document) = documented_routes();
        serde_json::to_value(document).unwrap()
    }

    fn all_operations(document: &Value) -> BTreeMap<String, Value> {
        let paths = document["paths"].as_object().unwrap();
        let operations = paths.iter().flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().iter();
            methods.map(move |(method, operation)| {
                (format!("{} {path}", method.to_uppercase()), operation.clone())
            })
        });
        operations.collect()
    }

    /// Whether a media type has an example, its own or its schema's.
    fn has_example(document: &Value, media: &Value) -> bool {
        let of = |value: &Value| value.get("example").is_some() || value.get("examples").is_some();
        let reference = media["schema"]["$ref"].as_str().unwrap_or_default();
        of(media) || document.pointer(reference.trim_start_matches('#')).is_some_and(of)
    }

    #[test]
    fn document_is_openapi_3_1_with_every_route() {
        let document = document();
        assert_eq!(document["openapi"], "3.1.0");
        let operations = all_operations(&document);
        let routes: Vec<&str> = operations.keys().map(String::as_str).collect();
        assert_eq!(routes, ROUTES);
    }

    #[test]
    fn operations_have_examples_descriptions_and_problems() {
        let document = document();
        for (route, operation) in all_operations(&document) {
            assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{route}: summary");
            let responses = operation["responses"].as_object().unwrap();
            let mut problems = 0;
            for (status, response) in responses {
                // Only "not modified" has no body.
                assert!(status == "304" || response["content"].is_object(), "{route} {status}: content");
                for (kind, media) in response["content"].as_object().into_iter().flatten() {
                    assert!(has_example(&document, media), "{route} {status} {kind}: example");
                    problems += usize::from(kind == PROBLEM_JSON);
                }
            }
            assert!(problems > 0, "{route}: a problem response");
            assert!(responses.keys().any(|status| status.starts_with('2')), "{route}: a success");
            if let Some(body) = operation.get("requestBody") {
                assert!(
                    has_example(&document, &body["content"]["application/json"]),
                    "{route}: body example"
                );
            }
        }
    }

    #[test]
    fn every_route_is_an_operation_with_its_codes() {
        let document = document();
        for (route, described) in all_operations(&document) {
            if !route.contains("/api/") {
                continue;
            }
            let name = described[OPERATION].as_str().unwrap_or_else(|| panic!("{route}: no operation"));
            let operation = operation::named(name).unwrap_or_else(|| panic!("{route}: no operation {name}"));
            let responses = described["responses"].to_string();
            for code in operation.all_codes() {
                assert!(responses.contains(&format!("`{code}`")), "{route}: {code}");
            }
        }
        let acquire = &document["paths"]["/api/v1/locks"]["post"]["responses"];
        let held = &acquire["409"]["content"][PROBLEM_JSON]["examples"]["lock_held"]["value"];
        assert_eq!(held["code"], "lock_held");
    }

    #[test]
    fn token_is_taken_everywhere_but_where_it_is_given() {
        let document = document();
        assert_eq!(document["components"]["securitySchemes"][BEARER]["scheme"], "bearer");
        assert_eq!(document["security"], json!([{ BEARER: [] }]));
        for (route, operation) in all_operations(&document) {
            let open = operation.get("security").is_some();
            let expected = !route.contains("/api/") || OPEN.iter().any(|name| route.ends_with(name));
            assert_eq!(open, expected, "{route}");
            let responses = &operation["responses"];
            let asks = responses["401"]["headers"]["WWW-Authenticate"].is_object();
            assert_eq!(asks, responses.get("401").is_some(), "{route}");
            assert!(open || (asks && responses["403"].is_object()), "{route}");
        }
    }

    #[test]
    fn unions_by_job_are_described() {
        let document = document();
        let variants = |schema: &str| {
            let union = &document["components"]["schemas"][schema];
            union["oneOf"].as_array().map_or(0, Vec::len)
        };
        assert_eq!((variants("Facts"), variants("SnapshotObject"), variants("WatchItem")), (6, 4, 3));
    }

    #[test]
    fn parameters_are_named_as_they_are_sent() {
        let document = document();
        let acquire = &document["paths"]["/api/v1/locks"]["post"]["parameters"];
        let names: Vec<&str> =
            acquire.as_array().unwrap().iter().map(|parameter| parameter["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["Batuta-Namespace", "Idempotency-Key", "Batuta-Session-Sequence"]);
    }
}
