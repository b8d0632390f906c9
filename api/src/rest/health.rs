//! Routes that probes ask. None of them needs a quorum.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::json::cluster_dto::{Health, HealthDetail, Member};
use crate::service::health::Readiness;
use crate::service::{At, Service};

/// The routes of this job.
pub(super) fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new().routes(routes!(livez)).routes(routes!(readyz)).routes(routes!(healthz))
}

/// The process answers.
#[utoipa::path(
    get, path = "/livez", tag = "health", responses((status = 200, description = "It lives.", body = Health))
)]
async fn livez() -> Json<Health> {
    Json(Health { status: "live", reason: None, writes_refused_reason: None })
}

/// Whether the node should get requests: a leader is known, apply keeps up, no shutdown is under way.
///
/// A node is ready also while writes that add to the state are refused for want of disk space; `writes_refused_reason` then says so.
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses(
        (status = 200, description = "It is ready.", body = Health),
        (status = 503, description = "It is not ready; `reason` says why.", body = Health)
    )
)]
async fn readyz(State(service): State<Service>) -> (StatusCode, Json<Health>) {
    let Readiness { not_ready: reason, writes_refused: writes_refused_reason } = service.readiness();
    let (code, status) = outcome(reason.is_none());
    (code, Json(Health { status, reason, writes_refused_reason }))
}

/// How the node is, in detail.
#[utoipa::path(
    get, path = "/healthz", tag = "health",
    responses(
        (status = 200, description = "It is ready.", body = HealthDetail),
        (status = 503, description = "It is not ready; `reason` says why.", body = HealthDetail)
    )
)]
async fn healthz(State(service): State<Service>) -> (StatusCode, Json<HealthDetail>) {
    let Readiness { not_ready: reason, writes_refused: writes_refused_reason } = service.readiness();
    let ready = reason.is_none();
    let (code, status) = outcome(ready);
    let At { revision, value: members } = service.members();
    let leader = members.iter().find(|member| member.role == batuta_raft::Role::Leader);
    let detail = HealthDetail {
        status,
        live: service.live(),
        ready,
        reason,
        writes_refused_reason,
        draining: service.is_draining(),
        revision,
        leader_name: leader.map(|member| member.name.clone()),
        members: members.into_iter().map(Member::from).collect(),
    };
    (code, Json(detail))
}

fn outcome(ready: bool) -> (StatusCode, &'static str) {
    if ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not_ready") }
}
