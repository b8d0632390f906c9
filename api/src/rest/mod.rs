//! The REST front: decodes HTTP, calls the service, encodes JSON.
//!
//! Every answer of the API carries `Batuta-Revision`, except to a foreign host, which learns nothing; every refusal, even of an unknown path, is a
//! problem document.
//! When a client disconnects, the handler's future is dropped, and with it its wait.

mod access;
mod answer;
mod cluster;
mod election;
pub(crate) mod extract;
mod health;
mod lock;
mod openapi;
mod problem;
mod register;
mod session;
mod watch;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use axum::routing::get;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::json::Problem;

use crate::ApiError;
use crate::middleware::{Doorkeeper, Front, stack};
use crate::service::Service;

/// Builds the REST API over the service: the routes, their `OpenAPI` document at `/openapi.json`, and its viewer at `/docs`.
pub fn router(service: Service) -> Router {
    let (routes, document) = documented_routes();
    finish(routes.with_state(service.clone()).merge(documentation(&document)), &Doorkeeper::of(&service))
        .layer(axum::middleware::map_response_with_state(service, say_revision))
}

/// Builds the routes and the document that describes them.
fn documented_routes() -> (Router<Service>, OpenApi) {
    let described = OpenApiRouter::with_openapi(openapi::base())
        .merge(lock::routes())
        .merge(election::routes())
        .merge(register::routes())
        .merge(session::routes())
        .merge(watch::routes())
        .merge(cluster::routes())
        .merge(access::routes())
        .merge(health::routes());
    let (router, mut document) = described.split_for_parts();
    openapi::complete(&mut document);
    (router, document)
}

fn documentation(document: &OpenApi) -> Router {
    // The document consists of strings, numbers and maps with string keys, so its serialization cannot fail.
    let json = Bytes::from(document.to_json().expect("an OpenAPI document is serializable"));
    let answer =
        move || async move { ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], json) };
    // By default the page would have the document validated by an external service.
    let config = Config::from("/openapi.json").validator_url("none");
    Router::new().route("/openapi.json", get(answer)).merge(SwaggerUi::new("/docs").config(config))
}

/// Adds the behaviour of all paths: limits, problem documents for unknown paths and methods, request ids, the check of the host, authentication.
fn finish(router: Router, doorkeeper: &Doorkeeper) -> Router {
    let complete = router
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(path_not_found)
        .layer(DefaultBodyLimit::max(extract::BODY_BYTES_MAX));
    stack(complete, Front::Rest, doorkeeper)
}

/// Adds the newest revision that this node knows to an answer without a revision of its own.
async fn say_revision(State(service): State<Service>, mut response: Response) -> Response {
    let newest = || HeaderValue::from(service.applied_revision());
    if response.status() != StatusCode::MISDIRECTED_REQUEST {
        response.headers_mut().entry(answer::REVISION).or_insert_with(newest);
    }
    response
}

async fn path_not_found(uri: Uri) -> Problem {
    let path = uri.path();
    let mut problem = Problem::from(ApiError::PathNotFound { path: path.chars().take(256).collect() });
    let named = ["/api/v1/locks/", "/api/v1/elections/", "/api/v1/registers/"];
    if named.iter().any(|prefix| path.starts_with(prefix)) {
        problem.detail.push_str("; a slash inside a name is written %2F in the path");
    }
    problem
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let path = uri.path().chars().take(256).collect();
    ApiError::MethodNotAllowed { method: method.to_string(), path }.into()
}

#[cfg(test)]
mod tests;
