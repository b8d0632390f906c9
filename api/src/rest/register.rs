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

/// The routes of registers.
pub(super) fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new().routes(routes!(advance_register, get_register, delete_register))
}

/// Advances a register to a fencing token. Refused when the register has seen a newer token.
#[utoipa::path(
    put, path = "/api/v1/registers/{name}",
    extensions(("x-batuta-operation" = json!("advance_register"))), tag = "registers", request_body = AdvanceRegisterRequest,
    params(CallHeaders, ("name" = String, Path, description = "Slashes are written %2F.", example = "orders/42")),
    responses((status = 200, description = "The register has the value of the token.", body = RegisterAnswer))
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

/// Reads a register. Its `ETag` is its value: with `If-None-Match`, polling an unchanged register transfers no body.
#[utoipa::path(
    get, path = "/api/v1/registers/{name}",
    extensions(("x-batuta-operation" = json!("get_register"))), tag = "registers",
    params(ReadHeaders, IfNoneMatch, ReadQuery, ("name" = String, Path, description = "Slashes are written %2F.", example = "orders/42")),
    responses(
        (status = 200, description = "The register.", body = RegisterAnswer, headers(("ETag" = String, description = "The value, quoted."))),
        (status = 304, description = "The register still has the value of `If-None-Match`.")
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

/// Deletes a register, which then accepts every token again. Answers its last value.
#[utoipa::path(
    delete, path = "/api/v1/registers/{name}",
    extensions(("x-batuta-operation" = json!("delete_register"))), tag = "registers",
    params(CallHeaders, ("name" = String, Path, description = "Slashes are written %2F.", example = "orders/42")),
    responses((status = 200, description = "The register is deleted.", body = RegisterAnswer))
)]
async fn delete_register(
    State(service): State<Service>,
    headers: Headers,
    NamePath(name): NamePath,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<RegisterAnswer> {
    Ok(Answer::of(service.delete_register(&headers.context(None)?, name).await?))
}
