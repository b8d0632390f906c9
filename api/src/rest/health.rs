//! Routes for probes. None of them needs a quorum.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::contract::cluster::{Health, HealthDetail, HealthStatus};
use crate::service::Service;

/// The routes for probes.
pub(super) fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new().routes(routes!(livez)).routes(routes!(readyz)).routes(routes!(healthz))
}

/// Answers as long as the process runs.
#[utoipa::path(
    get, path = "/livez", tag = "health", responses((status = 200, description = "The process answers.", body = Health))
)]
async fn livez() -> Json<Health> {
    Json(Health { status: HealthStatus::Live, reason: None, writes_refused_reason: None })
}

/// Reports whether the node should get requests: it knows a leader, keeps up with applying entries, and is not shutting down.
///
/// A node is ready even while requests that add to the state are refused for lack of disk space; `writes_refused_reason` then says why.
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses(
        (status = 200, description = "The node is ready.", body = Health),
        (status = 503, description = "The node is not ready; `reason` says why.", body = Health)
    )
)]
async fn readyz(State(service): State<Service>) -> (StatusCode, Json<Health>) {
    let readiness = service.readiness();
    (status(readiness.ready()), Json(readiness.into()))
}

/// Reports the health of the node in detail.
#[utoipa::path(
    get, path = "/healthz", tag = "health",
    responses(
        (status = 200, description = "The node is ready.", body = HealthDetail),
        (status = 503, description = "The node is not ready; `reason` says why.", body = HealthDetail)
    )
)]
async fn healthz(State(service): State<Service>) -> (StatusCode, Json<HealthDetail>) {
    let health = service.health();
    (status(health.value.readiness.ready()), Json(health.into()))
}

fn status(ready: bool) -> StatusCode {
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
