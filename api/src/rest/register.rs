//! Routes of high-water registers, for resources that cannot store a fencing token themselves.

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Answer};
use super::extract::{Body, CallHeaders, Headers, IfNoneMatch, NamePath, Query, ReadHeaders};
use crate::contract::register::{AdvanceRegisterRequest, RegisterAnswer};
use crate::contract::{NoQuery, ReadQuery};
use crate::json::not_in_body;
use crate::service::Service;

/// The routes of this job.
pub(super) fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new().routes(routes!(advance_register, get_register, delete_register))
}

/// Raises a register to a token; refused when it has seen a newer one.
#[utoipa::path(
    put, path = "/api/v1/registers/{name}",
    extensions(("x-batuta-operation" = json!("advance_register"))), tag = "registers", request_body = AdvanceRegisterRequest,
    params(CallHeaders, ("name" = String, Path, description = "Slashes are written %2F.", example = "orders/42")),
    responses((status = 200, description = "The register stands at the token.", body = RegisterAnswer))
)]
async fn advance_register(
    State(service): State<Service>,
    headers: Headers,
    NamePath(name): NamePath,
    Query(NoQuery {}): Query<NoQuery>,
    Body(request): Body<AdvanceRegisterRequest>,
) -> answer::Result<RegisterAnswer> {
    not_in_body("name", request.name.is_empty())?;
    let token = request.fencing_token.into();
    Ok(Answer::of(service.advance_register(&headers.context(None)?, name, token).await?))
}

/// Reads a register. Its `ETag` is its value: with it as `If-None-Match` a poll of a register at rest costs no body.
#[utoipa::path(
    get, path = "/api/v1/registers/{name}",
    extensions(("x-batuta-operation" = json!("get_register"))), tag = "registers",
    params(ReadHeaders, IfNoneMatch, ReadQuery, ("name" = String, Path, description = "Slashes are written %2F.", example = "orders/42")),
    responses(
        (status = 200, description = "The register.", body = RegisterAnswer, headers(("ETag" = String, description = "The value, quoted."))),
        (status = 304, description = "It still has the value of `If-None-Match`.")
    )
)]
async fn get_register(
    State(service): State<Service>,
    headers: Headers,
    NamePath(name): NamePath,
    Query(ReadQuery { consistency }): Query<ReadQuery>,
) -> answer::Result<RegisterAnswer> {
    let found = service.get_register(&headers.read_context(), name, consistency).await?;
    let etag = format!("\"{}\"", found.value.high_water);
    Ok(Answer::of(found).tagged(etag, &headers))
}

/// Forgets a register; answers its last value.
#[utoipa::path(
    delete, path = "/api/v1/registers/{name}",
    extensions(("x-batuta-operation" = json!("delete_register"))), tag = "registers",
    params(CallHeaders, ("name" = String, Path, description = "Slashes are written %2F.", example = "orders/42")),
    responses((status = 200, description = "It is forgotten.", body = RegisterAnswer))
)]
async fn delete_register(
    State(service): State<Service>,
    headers: Headers,
    NamePath(name): NamePath,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<RegisterAnswer> {
    Ok(Answer::of(service.delete_register(&headers.context(None)?, name).await?))
}
