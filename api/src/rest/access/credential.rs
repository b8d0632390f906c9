//! Routes of credentials: bootstrap, logins, passwords and API keys.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::contract::access::{
    BootstrapAnswer, BootstrapRequest, CreateKeyAnswer, CreateKeyRequest, CredentialPage,
    ListCredentialsQuery, LoginAnswer, LoginRequest, RotateKeyRequest, SetPasswordRequest,
};
use crate::contract::{Done, NoQuery};
use crate::json::Problem;
use crate::rest::answer::{self, Answer};
use crate::rest::extract::{Body, CallHeaders, Headers, OptionalBody, Query, TextPath};
use crate::service::Service;
use crate::service::access::parse;

pub(super) fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new()
        .routes(routes!(bootstrap))
        .routes(routes!(login))
        .routes(routes!(logout))
        .routes(routes!(set_password))
        .routes(routes!(create_key))
        .routes(routes!(rotate_key))
        .routes(routes!(list_credentials))
        .routes(routes!(delete_credential))
}

/// An answer with a secret, which no cache may keep (RFC 6749 section 5.1).
struct Confidential<T>(Answer<T>);

impl<T: serde::Serialize> IntoResponse for Confidential<T> {
    fn into_response(self) -> Response {
        let mut response = self.0.into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// Makes the first administrator with the one-time token of the cluster's founder, and voids the token. Needs no credential.
#[utoipa::path(
    post, path = "/api/v1/access/bootstrap",
    extensions(("x-batuta-operation" = json!("bootstrap"))), tag = "access", request_body = BootstrapRequest,
    responses((status = 200, description = "The administrator and its API key.", body = BootstrapAnswer))
)]
async fn bootstrap(
    State(service): State<Service>,
    headers: Headers,
    Query(NoQuery {}): Query<NoQuery>,
    Body(request): Body<BootstrapRequest>,
) -> Result<Confidential<BootstrapAnswer>, Problem> {
    let BootstrapRequest { token, admin } = request;
    let admin = parse::parse_principal_name("admin", &admin)?;
    Ok(Confidential(Answer::of(service.bootstrap(&headers.read_context(), token.0, admin).await?)))
}

/// Logs a user in with a password. Needs no credential.
#[utoipa::path(
    post, path = "/api/v1/access/login",
    extensions(("x-batuta-operation" = json!("login"))), tag = "access", request_body = LoginRequest,
    responses((status = 200, description = "The token to send with calls.", body = LoginAnswer))
)]
async fn login(
    State(service): State<Service>,
    headers: Headers,
    Query(NoQuery {}): Query<NoQuery>,
    Body(request): Body<LoginRequest>,
) -> Result<Confidential<LoginAnswer>, Problem> {
    let LoginRequest { user, password, ttl_ms } = request;
    let user = parse::parse_principal_name("user", &user)?;
    let logged_in = service.login(&headers.read_context(), user, password.0, ttl_ms.map(u64::from)).await?;
    Ok(Confidential(Answer::of(logged_in)))
}

/// Deletes the login of the caller. Its token is refused everywhere within a second.
#[utoipa::path(
    post, path = "/api/v1/access/logout",
    extensions(("x-batuta-operation" = json!("logout"))), tag = "access", params(CallHeaders),
    responses((status = 200, description = "The login is deleted.", body = Done))
)]
async fn logout(
    State(service): State<Service>,
    headers: Headers,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<Done> {
    Ok(Answer::of(service.logout(&headers.context(None)?).await?))
}

/// Sets the password of a user. Users that set their own send the old one as well.
#[utoipa::path(
    put, path = "/api/v1/access/users/{name}/password",
    extensions(("x-batuta-operation" = json!("set_password"))), tag = "access", request_body = SetPasswordRequest,
    params(CallHeaders, ("name" = String, Path, description = "The user.", example = "ann")),
    responses((status = 200, description = "The password is set.", body = Done))
)]
async fn set_password(
    State(service): State<Service>,
    headers: Headers,
    TextPath(name): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
    Body(request): Body<SetPasswordRequest>,
) -> answer::Result<Done> {
    let SetPasswordRequest { password, old_password } = request;
    let user = parse::parse_principal_name("name", &name)?;
    let old = old_password.map(|old| old.0);
    Ok(Answer::of(service.set_password(&headers.context(None)?, Some(user), password.0, old).await?))
}

/// Makes an API key. The answer is the only place that has its secret.
#[utoipa::path(
    post, path = "/api/v1/access/keys",
    extensions(("x-batuta-operation" = json!("create_key"))), tag = "access", params(CallHeaders),
    request_body = CreateKeyRequest,
    responses((status = 200, description = "The key.", body = CreateKeyAnswer))
)]
async fn create_key(
    State(service): State<Service>,
    headers: Headers,
    Query(NoQuery {}): Query<NoQuery>,
    Body(request): Body<CreateKeyRequest>,
) -> Result<Confidential<CreateKeyAnswer>, Problem> {
    Ok(Confidential(Answer::of(service.create_key(&headers.context(None)?, request.read()?).await?)))
}

/// Makes a new key with the rights of an old one, which stays valid for a while.
#[utoipa::path(
    post, path = "/api/v1/access/keys/{credential_id}/rotate",
    extensions(("x-batuta-operation" = json!("rotate_key"))), tag = "access", request_body = RotateKeyRequest,
    params(CallHeaders, ("credential_id" = String, Path, description = "The old key.", example = "4fGkP0sZqR81")),
    responses((status = 200, description = "The new key.", body = CreateKeyAnswer))
)]
async fn rotate_key(
    State(service): State<Service>,
    headers: Headers,
    TextPath(id): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
    OptionalBody(RotateKeyRequest { overlap_ms }): OptionalBody<RotateKeyRequest>,
) -> Result<Confidential<CreateKeyAnswer>, Problem> {
    let id = parse::parse_credential_id("credential_id", &id)?;
    let created = service.rotate_key(&headers.context(None)?, id, overlap_ms.map(u64::from)).await?;
    Ok(Confidential(Answer::of(created)))
}

/// Lists credentials, without secrets: by default those of the caller.
#[utoipa::path(
    get, path = "/api/v1/access/credentials",
    extensions(("x-batuta-operation" = json!("list_credentials"))), tag = "access", params(ListCredentialsQuery),
    responses((status = 200, description = "A page.", body = CredentialPage))
)]
async fn list_credentials(
    State(service): State<Service>,
    headers: Headers,
    Query(query): Query<ListCredentialsQuery>,
) -> answer::Result<CredentialPage> {
    let (principal, request) = query.read()?;
    let page = service.list_credentials(&headers.read_context(), principal.as_ref(), &request).await?;
    Ok(Answer::page(page))
}

/// Deletes a credential. It is refused everywhere within a second.
#[utoipa::path(
    delete, path = "/api/v1/access/credentials/{credential_id}",
    extensions(("x-batuta-operation" = json!("delete_credential"))), tag = "access",
    params(CallHeaders, ("credential_id" = String, Path, description = "The credential.", example = "4fGkP0sZqR81")),
    responses((status = 200, description = "The credential is deleted.", body = Done))
)]
async fn delete_credential(
    State(service): State<Service>,
    headers: Headers,
    TextPath(id): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<Done> {
    let id = parse::parse_credential_id("credential_id", &id)?;
    Ok(Answer::of(service.delete_credential(&headers.context(None)?, id).await?))
}
