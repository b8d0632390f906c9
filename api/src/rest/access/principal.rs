//! Routes of principals: users and service accounts. Both kinds have the same operations, at paths of their own.

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::contract::access::{
    ListAccessQuery, PrincipalAnswer, PrincipalKind, PrincipalPage, PutPrincipalRequest, SuspendRequest,
};
use crate::contract::{Done, NoQuery};
use crate::rest::answer::{self, Answer};
use crate::rest::extract::{CallHeaders, Headers, OptionalBody, Query, TextPath};
use crate::service::Service;

pub(super) fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new()
        .routes(routes!(list_users))
        .routes(routes!(get_user, put_user, delete_user))
        .routes(routes!(suspend_user))
        .routes(routes!(resume_user))
        .routes(routes!(list_services))
        .routes(routes!(get_service, put_service, delete_service))
        .routes(routes!(suspend_service))
        .routes(routes!(resume_service))
}

async fn list(
    service: &Service,
    headers: &Headers,
    kind: PrincipalKind,
    query: &ListAccessQuery,
) -> answer::Result<PrincipalPage> {
    let page = service.list_principals(&headers.read_context(), &query.principals(kind)?).await?;
    Ok(Answer::at(page.revision, PrincipalPage::of(kind, page)))
}

/// Lists users in order of their names.
#[utoipa::path(
    get, path = "/api/v1/access/users",
    extensions(("x-batuta-operation" = json!("list_principals"))), tag = "access", params(ListAccessQuery),
    responses((status = 200, description = "A page.", body = PrincipalPage))
)]
async fn list_users(
    State(service): State<Service>,
    headers: Headers,
    Query(query): Query<ListAccessQuery>,
) -> answer::Result<PrincipalPage> {
    list(&service, &headers, PrincipalKind::User, &query).await
}

/// Reads one user.
#[utoipa::path(
    get, path = "/api/v1/access/users/{name}",
    extensions(("x-batuta-operation" = json!("get_principal"))), tag = "access",
    params(("name" = String, Path, description = "The user.", example = "ann")),
    responses((status = 200, description = "The user.", body = PrincipalAnswer))
)]
async fn get_user(
    State(service): State<Service>,
    headers: Headers,
    TextPath(name): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<PrincipalAnswer> {
    let principal = PrincipalKind::User.named(&name)?;
    Ok(Answer::of(service.get_principal(&headers.read_context(), &principal).await?))
}

/// Creates a user, or changes the description of one.
#[utoipa::path(
    put, path = "/api/v1/access/users/{name}",
    extensions(("x-batuta-operation" = json!("put_principal"))), tag = "access", request_body = PutPrincipalRequest,
    params(CallHeaders, ("name" = String, Path, description = "The user.", example = "ann")),
    responses((status = 200, description = "The user.", body = PrincipalAnswer))
)]
async fn put_user(
    State(service): State<Service>,
    headers: Headers,
    TextPath(name): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
    OptionalBody(PutPrincipalRequest { description }): OptionalBody<PutPrincipalRequest>,
) -> answer::Result<PrincipalAnswer> {
    let principal = PrincipalKind::User.named(&name)?;
    Ok(Answer::of(service.put_principal(&headers.context(None)?, principal, description).await?))
}

/// Deletes a user with its password, credentials and bindings, and ends what it owns.
#[utoipa::path(
    delete, path = "/api/v1/access/users/{name}",
    extensions(("x-batuta-operation" = json!("delete_principal"))), tag = "access",
    params(CallHeaders, ("name" = String, Path, description = "The user.", example = "ann")),
    responses((status = 200, description = "The user is deleted.", body = Done))
)]
async fn delete_user(
    State(service): State<Service>,
    headers: Headers,
    TextPath(name): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<Done> {
    let principal = PrincipalKind::User.named(&name)?;
    Ok(Answer::of(service.delete_principal(&headers.context(None)?, principal).await?))
}

/// Suspends a user: it may do nothing until it is resumed. Its sessions, grants and waits end, unless `keep_sessions` is set.
#[utoipa::path(
    post, path = "/api/v1/access/users/{name}/suspend",
    extensions(("x-batuta-operation" = json!("suspend_principal"))), tag = "access", request_body = SuspendRequest,
    params(CallHeaders, ("name" = String, Path, description = "The user.", example = "ann")),
    responses((status = 200, description = "The user is suspended.", body = PrincipalAnswer))
)]
async fn suspend_user(
    State(service): State<Service>,
    headers: Headers,
    TextPath(name): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
    OptionalBody(SuspendRequest { keep_sessions }): OptionalBody<SuspendRequest>,
) -> answer::Result<PrincipalAnswer> {
    let principal = PrincipalKind::User.named(&name)?;
    Ok(Answer::of(service.suspend_principal(&headers.context(None)?, principal, keep_sessions).await?))
}

/// Resumes a user that was suspended.
#[utoipa::path(
    post, path = "/api/v1/access/users/{name}/resume",
    extensions(("x-batuta-operation" = json!("resume_principal"))), tag = "access",
    params(CallHeaders, ("name" = String, Path, description = "The user.", example = "ann")),
    responses((status = 200, description = "The user is resumed.", body = PrincipalAnswer))
)]
async fn resume_user(
    State(service): State<Service>,
    headers: Headers,
    TextPath(name): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<PrincipalAnswer> {
    let principal = PrincipalKind::User.named(&name)?;
    Ok(Answer::of(service.resume_principal(&headers.context(None)?, principal).await?))
}

/// Lists service accounts in order of their names.
#[utoipa::path(
    get, path = "/api/v1/access/services",
    extensions(("x-batuta-operation" = json!("list_principals"))), tag = "access", params(ListAccessQuery),
    responses((status = 200, description = "A page.", body = PrincipalPage))
)]
async fn list_services(
    State(service): State<Service>,
    headers: Headers,
    Query(query): Query<ListAccessQuery>,
) -> answer::Result<PrincipalPage> {
    list(&service, &headers, PrincipalKind::Service, &query).await
}

/// Reads one service account.
#[utoipa::path(
    get, path = "/api/v1/access/services/{name}",
    extensions(("x-batuta-operation" = json!("get_principal"))), tag = "access",
    params(("name" = String, Path, description = "The service account.", example = "billing")),
    responses((status = 200, description = "The service account.", body = PrincipalAnswer))
)]
async fn get_service(
    State(service): State<Service>,
    headers: Headers,
    TextPath(name): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<PrincipalAnswer> {
    let principal = PrincipalKind::Service.named(&name)?;
    Ok(Answer::of(service.get_principal(&headers.read_context(), &principal).await?))
}

/// Creates a service account, or changes the description of one.
#[utoipa::path(
    put, path = "/api/v1/access/services/{name}",
    extensions(("x-batuta-operation" = json!("put_principal"))), tag = "access", request_body = PutPrincipalRequest,
    params(CallHeaders, ("name" = String, Path, description = "The service account.", example = "billing")),
    responses((status = 200, description = "The service account.", body = PrincipalAnswer))
)]
async fn put_service(
    State(service): State<Service>,
    headers: Headers,
    TextPath(name): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
    OptionalBody(PutPrincipalRequest { description }): OptionalBody<PutPrincipalRequest>,
) -> answer::Result<PrincipalAnswer> {
    let principal = PrincipalKind::Service.named(&name)?;
    Ok(Answer::of(service.put_principal(&headers.context(None)?, principal, description).await?))
}

/// Deletes a service account with its credentials and bindings, and ends what it owns.
#[utoipa::path(
    delete, path = "/api/v1/access/services/{name}",
    extensions(("x-batuta-operation" = json!("delete_principal"))), tag = "access",
    params(CallHeaders, ("name" = String, Path, description = "The service account.", example = "billing")),
    responses((status = 200, description = "The service account is deleted.", body = Done))
)]
async fn delete_service(
    State(service): State<Service>,
    headers: Headers,
    TextPath(name): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<Done> {
    let principal = PrincipalKind::Service.named(&name)?;
    Ok(Answer::of(service.delete_principal(&headers.context(None)?, principal).await?))
}

/// Suspends a service account: it may do nothing until it is resumed. Its sessions, grants and waits end, unless `keep_sessions` is set.
#[utoipa::path(
    post, path = "/api/v1/access/services/{name}/suspend",
    extensions(("x-batuta-operation" = json!("suspend_principal"))), tag = "access", request_body = SuspendRequest,
    params(CallHeaders, ("name" = String, Path, description = "The service account.", example = "billing")),
    responses((status = 200, description = "The service account is suspended.", body = PrincipalAnswer))
)]
async fn suspend_service(
    State(service): State<Service>,
    headers: Headers,
    TextPath(name): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
    OptionalBody(SuspendRequest { keep_sessions }): OptionalBody<SuspendRequest>,
) -> answer::Result<PrincipalAnswer> {
    let principal = PrincipalKind::Service.named(&name)?;
    Ok(Answer::of(service.suspend_principal(&headers.context(None)?, principal, keep_sessions).await?))
}

/// Resumes a service account that was suspended.
#[utoipa::path(
    post, path = "/api/v1/access/services/{name}/resume",
    extensions(("x-batuta-operation" = json!("resume_principal"))), tag = "access",
    params(CallHeaders, ("name" = String, Path, description = "The service account.", example = "billing")),
    responses((status = 200, description = "The service account is resumed.", body = PrincipalAnswer))
)]
async fn resume_service(
    State(service): State<Service>,
    headers: Headers,
    TextPath(name): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<PrincipalAnswer> {
    let principal = PrincipalKind::Service.named(&name)?;
    Ok(Answer::of(service.resume_principal(&headers.context(None)?, principal).await?))
}
