//! Routes of locks.

use axum::extract::State;
use batuta_statemachine::Name;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Answer, path_segment};
use super::extract::{Body, CallHeaders, Headers, NamePath, Query, ReadHeaders, TextPath};
use crate::contract::lock::{
    AcquireRequest, CheckAnswer, CheckQuery, DowngradeRequest, ExplainAnswer, ExtendRequest, GrantAnswer,
    ListLocksQuery, LockAnswer, LockPage, LockQuery, ReleaseAnswer, ReleaseQuery, ResizeAnswer,
    ResizeRequest, SetMetadataRequest,
};
use crate::contract::{Done, NoQuery};
use crate::json::not_in_body;
use crate::service::lock::{Ending, Extend};
use crate::service::{Service, parse};

/// The routes of locks.
pub(super) fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new()
        .routes(routes!(acquire_lock, list_locks))
        .routes(routes!(get_lock, release_lock))
        .routes(routes!(extend_lock))
        .routes(routes!(downgrade_lock))
        .routes(routes!(set_metadata))
        .routes(routes!(resize_semaphore))
        .routes(routes!(check_token))
        .routes(routes!(explain_lock))
        .routes(routes!(cancel_wait))
}

/// Takes one lock, or several all or nothing.
///
/// With `wait_ms` the answer comes when the lock is granted or the wait is over. Closing the connection withdraws the wait.
#[utoipa::path(
    post, path = "/api/v1/locks",
    extensions(("x-batuta-operation" = json!("acquire"))), tag = "locks", params(CallHeaders), request_body = AcquireRequest,
    responses((status = 201, description = "The lock is held.", body = GrantAnswer))
)]
async fn acquire_lock(
    State(service): State<Service>,
    headers: Headers,
    Query(NoQuery {}): Query<NoQuery>,
    Body(request): Body<AcquireRequest>,
) -> answer::Result<GrantAnswer> {
    let request = request.read()?;
    let context = headers.context(request.owner.session)?;
    let location = request.requests.first().map(|first| location_of(&first.name)).unwrap_or_default();
    Ok(Answer::of(service.acquire(&context, request).await?).created(location))
}

/// Lists the locks that are held, waited for or closed by lock-delay, in order of their names.
#[utoipa::path(
    get, path = "/api/v1/locks",
    extensions(("x-batuta-operation" = json!("list_locks"))), tag = "locks", params(ReadHeaders, ListLocksQuery),
    responses((status = 200, description = "A page.", body = LockPage))
)]
async fn list_locks(
    State(service): State<Service>,
    headers: Headers,
    Query(query): Query<ListLocksQuery>,
) -> answer::Result<LockPage> {
    let consistency = query.consistency;
    let page = service.list_locks(&headers.read_context(), &query.read()?, consistency).await?;
    Ok(Answer::page(page))
}

/// Reads one lock. A free lock is not stored, so it is not found.
#[utoipa::path(
    get, path = "/api/v1/locks/{name}",
    extensions(("x-batuta-operation" = json!("get_lock"))), tag = "locks",
    params(ReadHeaders, LockQuery, ("name" = String, Path, description = "Slashes are written %2F.", example = "orders/42")),
    responses((status = 200, description = "The lock.", body = LockAnswer))
)]
async fn get_lock(
    State(service): State<Service>,
    headers: Headers,
    NamePath(name): NamePath,
    Query(query): Query<LockQuery>,
) -> answer::Result<LockAnswer> {
    let context = headers.read_context();
    Ok(Answer::of(service.get_lock(&context, &name, query.cursors()?, query.consistency).await?))
}

/// Releases a grant, named by `lock_id` or by `fencing_token`; or, with `force`, takes it away from its owner.
///
/// A grant of several locks is released as a whole, by any of its names.
#[utoipa::path(
    delete, path = "/api/v1/locks/{name}",
    extensions(("x-batuta-operation" = json!("release"))), tag = "locks",
    params(CallHeaders, ReleaseQuery, ("name" = String, Path, description = "Slashes are written %2F.", example = "orders/42")),
    responses((status = 200, description = "The grant is released.", body = ReleaseAnswer))
)]
async fn release_lock(
    State(service): State<Service>,
    headers: Headers,
    NamePath(name): NamePath,
    Query(query): Query<ReleaseQuery>,
) -> answer::Result<ReleaseAnswer> {
    let context = headers.context(None)?;
    let ReleaseQuery { lock_id, fencing_token, session_id, force, reason } = query;
    let token = fencing_token.map(u64::from);
    let released = match Ending::of(name, lock_id.as_deref(), token, session_id.as_deref(), force, reason)? {
        Ending::Release(grant) => service.release(&context, grant).await?,
        Ending::Force(request) => service.force_release(&context, request).await?,
    };
    Ok(Answer::of(released))
}

/// Renews a one-shot grant. Never shortens it.
#[utoipa::path(
    put, path = "/api/v1/locks/{name}/extend",
    extensions(("x-batuta-operation" = json!("extend"))), tag = "locks", request_body = ExtendRequest,
    params(CallHeaders, ("name" = String, Path, description = "Slashes are written %2F.", example = "orders/42")),
    responses((status = 200, description = "The grant is renewed.", body = GrantAnswer))
)]
async fn extend_lock(
    State(service): State<Service>,
    headers: Headers,
    NamePath(name): NamePath,
    Query(NoQuery {}): Query<NoQuery>,
    Body(request): Body<ExtendRequest>,
) -> answer::Result<GrantAnswer> {
    not_in_body("name", request.name.is_none())?;
    let request = Extend { name: Some(name), ..request.read()? };
    Ok(Answer::of(service.extend(&headers.context(None)?, request).await?))
}

/// Turns the exclusive locks of a grant into shared ones without letting go of them. The token stays; a repetition changes nothing.
///
/// There is no way back: release the lock and acquire it again to become exclusive.
#[utoipa::path(
    put, path = "/api/v1/locks/{name}/downgrade",
    extensions(("x-batuta-operation" = json!("downgrade"))), tag = "locks", request_body = DowngradeRequest,
    params(CallHeaders, ("name" = String, Path, description = "Slashes are written %2F.", example = "orders/42")),
    responses((status = 200, description = "The grant is shared.", body = GrantAnswer))
)]
async fn downgrade_lock(
    State(service): State<Service>,
    headers: Headers,
    NamePath(name): NamePath,
    Query(NoQuery {}): Query<NoQuery>,
    Body(request): Body<DowngradeRequest>,
) -> answer::Result<GrantAnswer> {
    not_in_body("name", request.name.is_none())?;
    let request = DowngradeRequest { name: Some(name.to_string()), ..request };
    Ok(Answer::of(service.downgrade(&headers.context(None)?, request.read()?).await?))
}

/// Replaces the free text of a grant; watchers see the change.
#[utoipa::path(
    put, path = "/api/v1/locks/{name}/metadata",
    extensions(("x-batuta-operation" = json!("set_metadata"))), tag = "locks", request_body = SetMetadataRequest,
    params(CallHeaders, ("name" = String, Path, description = "Slashes are written %2F.", example = "orders/42")),
    responses((status = 200, description = "The grant has the new text.", body = GrantAnswer))
)]
async fn set_metadata(
    State(service): State<Service>,
    headers: Headers,
    NamePath(name): NamePath,
    Query(NoQuery {}): Query<NoQuery>,
    Body(request): Body<SetMetadataRequest>,
) -> answer::Result<GrantAnswer> {
    not_in_body("name", request.name.is_none())?;
    let request = SetMetadataRequest { name: Some(name.to_string()), ..request };
    Ok(Answer::of(service.set_metadata(&headers.context(None)?, request.read()?).await?))
}

/// Changes the capacity of a semaphore while it is in use. Nobody loses a permit; waiters that fit are granted at once.
#[utoipa::path(
    put, path = "/api/v1/locks/{name}/capacity",
    extensions(("x-batuta-operation" = json!("resize"))), tag = "locks", request_body = ResizeRequest,
    params(CallHeaders, ("name" = String, Path, description = "Slashes are written %2F.", example = "gpu")),
    responses((status = 200, description = "The semaphore has the new capacity.", body = ResizeAnswer))
)]
async fn resize_semaphore(
    State(service): State<Service>,
    headers: Headers,
    NamePath(name): NamePath,
    Query(NoQuery {}): Query<NoQuery>,
    Body(request): Body<ResizeRequest>,
) -> answer::Result<ResizeAnswer> {
    not_in_body("name", request.name.is_empty())?;
    let request = ResizeRequest { name: name.to_string(), ..request };
    Ok(Answer::of(service.resize(&headers.context(None)?, request.read()?).await?))
}

/// Checks whether the lock is held under this token.
#[utoipa::path(
    get, path = "/api/v1/locks/{name}/check",
    extensions(("x-batuta-operation" = json!("check"))), tag = "locks",
    params(ReadHeaders, CheckQuery, ("name" = String, Path, description = "Slashes are written %2F.", example = "orders/42")),
    responses((status = 200, description = "The status of the token.", body = CheckAnswer))
)]
async fn check_token(
    State(service): State<Service>,
    headers: Headers,
    NamePath(name): NamePath,
    Query(CheckQuery { fencing_token, consistency }): Query<CheckQuery>,
) -> answer::Result<CheckAnswer> {
    let token = fencing_token.into();
    Ok(Answer::of(service.check(&headers.read_context(), &name, token, consistency).await?))
}

/// Explains who holds the lock, who waits, and what blocks each waiter.
#[utoipa::path(
    get, path = "/api/v1/locks/{name}/explain",
    extensions(("x-batuta-operation" = json!("explain"))), tag = "locks",
    params(ReadHeaders, LockQuery, ("name" = String, Path, description = "Slashes are written %2F.", example = "orders/42")),
    responses((status = 200, description = "The explanation, also for a free lock.", body = ExplainAnswer))
)]
async fn explain_lock(
    State(service): State<Service>,
    headers: Headers,
    NamePath(name): NamePath,
    Query(query): Query<LockQuery>,
) -> answer::Result<ExplainAnswer> {
    let context = headers.read_context();
    Ok(Answer::of(service.explain(&context, &name, query.cursors()?, query.consistency).await?))
}

/// Withdraws a queued acquisition. Refused with `already_granted` when it holds its lock: release it instead.
#[utoipa::path(
    delete, path = "/api/v1/waits/{lock_id}",
    extensions(("x-batuta-operation" = json!("cancel_wait"))), tag = "locks",
    params(CallHeaders, ("lock_id" = String, Path, description = "The acquisition.", example = "l-1540.0")),
    responses((status = 200, description = "The acquisition no longer waits.", body = Done))
)]
async fn cancel_wait(
    State(service): State<Service>,
    headers: Headers,
    TextPath(lock_id): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<Done> {
    let lock_id = parse::parse_lock_id("lock_id", &lock_id)?;
    let revision = service.cancel_wait(&headers.context(None)?, lock_id).await?.revision;
    Ok(Answer::at(revision, Done { revision: revision.into() }))
}

fn location_of(name: &Name) -> String {
    format!("/api/v1/locks/{}", path_segment(name.as_str()))
}
