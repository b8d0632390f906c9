//! Routes of access: who may do what, and how callers prove who they are.

mod credential;
mod policy;
mod principal;

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Answer};
use super::extract::{Body, CallHeaders, Headers, Query, ReadHeaders};
use crate::contract::NoQuery;
use crate::contract::access::{
    AccessAnswer, AuditAnswer, AuditQuery, CheckAccessAnswer, CheckAccessRequest, ReportAnswer,
    SetModeRequest, WhoAmIAnswer,
};
use crate::service::Service;

/// The routes of access.
pub(super) fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new()
        .routes(routes!(get_access))
        .routes(routes!(set_access_mode))
        .routes(routes!(who_am_i))
        .routes(routes!(check_access))
        .routes(routes!(get_access_report))
        .routes(routes!(clear_access_report))
        .routes(routes!(read_audit))
        .merge(credential::routes())
        .merge(principal::routes())
        .merge(policy::routes())
}

/// Reads the mode of access, and how many principals, groups, roles, bindings and credentials there are.
#[utoipa::path(
    get, path = "/api/v1/access",
    extensions(("x-batuta-operation" = json!("get_access"))), tag = "access",
    responses((status = 200, description = "The mode and the counts.", body = AccessAnswer))
)]
async fn get_access(
    State(service): State<Service>,
    headers: Headers,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<AccessAnswer> {
    Ok(Answer::of(service.get_access(&headers.read_context()).await?))
}

/// Sets the mode of access for the whole cluster.
#[utoipa::path(
    put, path = "/api/v1/access/mode",
    extensions(("x-batuta-operation" = json!("set_access_mode"))), tag = "access", params(CallHeaders),
    request_body = SetModeRequest,
    responses((status = 200, description = "The mode is set.", body = AccessAnswer))
)]
async fn set_access_mode(
    State(service): State<Service>,
    headers: Headers,
    Query(NoQuery {}): Query<NoQuery>,
    Body(request): Body<SetModeRequest>,
) -> answer::Result<AccessAnswer> {
    Ok(Answer::of(service.set_access_mode(&headers.context(None)?, request.mode.into()).await?))
}

/// Tells who the caller is: its principal, groups, credential and bindings.
#[utoipa::path(
    get, path = "/api/v1/access/whoami",
    extensions(("x-batuta-operation" = json!("who_am_i"))), tag = "access",
    responses((status = 200, description = "The caller.", body = WhoAmIAnswer))
)]
async fn who_am_i(
    State(service): State<Service>,
    headers: Headers,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<WhoAmIAnswer> {
    Ok(Answer::of(service.who_am_i(&headers.read_context()).await?))
}

/// Tells whether a principal may do something in the namespace of the call, and which binding allows it or what is missing.
#[utoipa::path(
    post, path = "/api/v1/access/check",
    extensions(("x-batuta-operation" = json!("check_access"))), tag = "access", params(ReadHeaders),
    request_body = CheckAccessRequest,
    responses((status = 200, description = "The decision.", body = CheckAccessAnswer))
)]
async fn check_access(
    State(service): State<Service>,
    headers: Headers,
    Query(NoQuery {}): Query<NoQuery>,
    Body(request): Body<CheckAccessRequest>,
) -> answer::Result<CheckAccessAnswer> {
    Ok(Answer::of(service.check_access(&headers.read_context(), &request.read()?).await?))
}

/// Reads which calls the answering node would have denied in mode `observe`.
#[utoipa::path(
    get, path = "/api/v1/access/report",
    extensions(("x-batuta-operation" = json!("get_access_report"))), tag = "access",
    responses((status = 200, description = "The report.", body = ReportAnswer))
)]
async fn get_access_report(
    State(service): State<Service>,
    headers: Headers,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<ReportAnswer> {
    Ok(Answer::of(service.access_report(&headers.read_context(), false).await?))
}

/// Reads the report of the answering node and begins a new one.
#[utoipa::path(
    post, path = "/api/v1/access/report/clear",
    extensions(("x-batuta-operation" = json!("get_access_report"))), tag = "access",
    responses((status = 200, description = "The report until now.", body = ReportAnswer))
)]
async fn clear_access_report(
    State(service): State<Service>,
    headers: Headers,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<ReportAnswer> {
    Ok(Answer::of(service.access_report(&headers.read_context(), true).await?))
}

/// Reads the audit of the answering node, oldest lines first.
#[utoipa::path(
    get, path = "/api/v1/access/audit",
    extensions(("x-batuta-operation" = json!("read_audit"))), tag = "access", params(AuditQuery),
    responses((status = 200, description = "Lines of the audit.", body = AuditAnswer))
)]
async fn read_audit(
    State(service): State<Service>,
    headers: Headers,
    Query(AuditQuery { cursor, limit }): Query<AuditQuery>,
) -> answer::Result<AuditAnswer> {
    Ok(Answer::of(service.read_audit(&headers.read_context(), &cursor, limit).await?))
}
