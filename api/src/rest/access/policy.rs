//! Routes of the policy: groups, roles and bindings.

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::contract::access::{
    BindRequest, BindingAnswer, BindingPage, ExtendBindingRequest, GroupAnswer, GroupPage, ListAccessQuery,
    ListBindingsQuery, PutGroupRequest, PutRoleRequest, RoleAnswer, RolePage,
};
use crate::contract::{Done, NoQuery};
use crate::rest::answer::{self, Answer};
use crate::rest::extract::{Body, CallHeaders, Headers, Query, TextPath};
use crate::service::Service;
use crate::service::access::parse;

pub(super) fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new()
        .routes(routes!(list_groups))
        .routes(routes!(put_group, delete_group))
        .routes(routes!(list_roles))
        .routes(routes!(put_role, delete_role))
        .routes(routes!(list_bindings, bind))
        .routes(routes!(extend_binding, unbind))
}

/// Lists groups, in order of their names.
#[utoipa::path(
    get, path = "/api/v1/access/groups",
    extensions(("x-batuta-operation" = json!("list_groups"))), tag = "access", params(ListAccessQuery),
    responses((status = 200, description = "A page.", body = GroupPage))
)]
async fn list_groups(
    State(service): State<Service>,
    headers: Headers,
    Query(query): Query<ListAccessQuery>,
) -> answer::Result<GroupPage> {
    Ok(Answer::page(service.list_groups(&headers.read_context(), &query.groups()?).await?))
}

/// Creates a group or replaces its members.
#[utoipa::path(
    put, path = "/api/v1/access/groups/{name}",
    extensions(("x-batuta-operation" = json!("put_group"))), tag = "access", request_body = PutGroupRequest,
    params(CallHeaders, ("name" = String, Path, description = "The group.", example = "payments")),
    responses((status = 200, description = "The group.", body = GroupAnswer))
)]
async fn put_group(
    State(service): State<Service>,
    headers: Headers,
    TextPath(name): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
    Body(request): Body<PutGroupRequest>,
) -> answer::Result<GroupAnswer> {
    let name = parse::parse_principal_name("name", &name)?;
    let members = parse::parse_principals("members", &request.members)?;
    Ok(Answer::of(service.put_group(&headers.context(None)?, name, members).await?))
}

/// Deletes a group with its bindings.
#[utoipa::path(
    delete, path = "/api/v1/access/groups/{name}",
    extensions(("x-batuta-operation" = json!("delete_group"))), tag = "access",
    params(CallHeaders, ("name" = String, Path, description = "The group.", example = "payments")),
    responses((status = 200, description = "The group is deleted.", body = Done))
)]
async fn delete_group(
    State(service): State<Service>,
    headers: Headers,
    TextPath(name): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<Done> {
    let name = parse::parse_principal_name("name", &name)?;
    Ok(Answer::of(service.delete_group(&headers.context(None)?, name).await?))
}

/// Lists roles, built-in ones first.
#[utoipa::path(
    get, path = "/api/v1/access/roles",
    extensions(("x-batuta-operation" = json!("list_roles"))), tag = "access", params(ListAccessQuery),
    responses((status = 200, description = "A page.", body = RolePage))
)]
async fn list_roles(
    State(service): State<Service>,
    headers: Headers,
    Query(query): Query<ListAccessQuery>,
) -> answer::Result<RolePage> {
    Ok(Answer::page(service.list_roles(&headers.read_context(), &query.roles()?).await?))
}

/// Creates a role or replaces its rules.
#[utoipa::path(
    put, path = "/api/v1/access/roles/{name}",
    extensions(("x-batuta-operation" = json!("put_role"))), tag = "access", request_body = PutRoleRequest,
    params(CallHeaders, ("name" = String, Path, description = "The role.", example = "orders")),
    responses((status = 200, description = "The role.", body = RoleAnswer))
)]
async fn put_role(
    State(service): State<Service>,
    headers: Headers,
    TextPath(name): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
    Body(request): Body<PutRoleRequest>,
) -> answer::Result<RoleAnswer> {
    let name = parse::parse_principal_name("name", &name)?;
    let rules = request.read()?;
    Ok(Answer::of(service.put_role(&headers.context(None)?, name, rules).await?))
}

/// Deletes a role that no binding has.
#[utoipa::path(
    delete, path = "/api/v1/access/roles/{name}",
    extensions(("x-batuta-operation" = json!("delete_role"))), tag = "access",
    params(CallHeaders, ("name" = String, Path, description = "The role.", example = "orders")),
    responses((status = 200, description = "The role is deleted.", body = Done))
)]
async fn delete_role(
    State(service): State<Service>,
    headers: Headers,
    TextPath(name): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<Done> {
    let name = parse::parse_principal_name("name", &name)?;
    Ok(Answer::of(service.delete_role(&headers.context(None)?, name).await?))
}

/// Lists bindings, oldest first.
#[utoipa::path(
    get, path = "/api/v1/access/bindings",
    extensions(("x-batuta-operation" = json!("list_bindings"))), tag = "access", params(ListBindingsQuery),
    responses((status = 200, description = "A page.", body = BindingPage))
)]
async fn list_bindings(
    State(service): State<Service>,
    headers: Headers,
    Query(query): Query<ListBindingsQuery>,
) -> answer::Result<BindingPage> {
    let (subject, request) = query.read()?;
    Ok(Answer::page(service.list_bindings(&headers.read_context(), subject.as_ref(), &request).await?))
}

/// Gives a role to a subject.
#[utoipa::path(
    post, path = "/api/v1/access/bindings",
    extensions(("x-batuta-operation" = json!("bind"))), tag = "access", params(CallHeaders), request_body = BindRequest,
    responses((status = 200, description = "The binding.", body = BindingAnswer))
)]
async fn bind(
    State(service): State<Service>,
    headers: Headers,
    Query(NoQuery {}): Query<NoQuery>,
    Body(request): Body<BindRequest>,
) -> answer::Result<BindingAnswer> {
    Ok(Answer::of(service.bind(&headers.context(None)?, request.read()?).await?))
}

/// Changes when a binding ends.
#[utoipa::path(
    patch, path = "/api/v1/access/bindings/{binding_id}",
    extensions(("x-batuta-operation" = json!("extend_binding"))), tag = "access", request_body = ExtendBindingRequest,
    params(CallHeaders, ("binding_id" = String, Path, description = "The binding.", example = "b-47.0")),
    responses((status = 200, description = "The binding has another end.", body = BindingAnswer))
)]
async fn extend_binding(
    State(service): State<Service>,
    headers: Headers,
    TextPath(id): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
    Body(request): Body<ExtendBindingRequest>,
) -> answer::Result<BindingAnswer> {
    let id = parse::parse_binding_id("binding_id", &id)?;
    let ExtendBindingRequest { ttl_ms, reason } = request;
    let ttl_ms = ttl_ms.map(u64::from);
    Ok(Answer::of(service.extend_binding(&headers.context(None)?, id, ttl_ms, reason).await?))
}

/// Takes a binding away.
#[utoipa::path(
    delete, path = "/api/v1/access/bindings/{binding_id}",
    extensions(("x-batuta-operation" = json!("unbind"))), tag = "access",
    params(CallHeaders, ("binding_id" = String, Path, description = "The binding.", example = "b-47.0")),
    responses((status = 200, description = "The binding is gone.", body = Done))
)]
async fn unbind(
    State(service): State<Service>,
    headers: Headers,
    TextPath(id): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<Done> {
    let id = parse::parse_binding_id("binding_id", &id)?;
    Ok(Answer::of(service.unbind(&headers.context(None)?, id).await?))
}
