//! Routes of locks.

use axum::extract::State;
use batuta_statemachine::{LockId, Name};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Answer, path_segment};
use super::extract::{Body, CallHeaders, Headers, NamePath, Query, ReadHeaders, TextPath};
use crate::ApiError;
use crate::json::acquire_request;
use crate::json::lock_dto::{
    AcquireRequest, CheckAnswer, CheckQuery, CheckRequest, Done, ExplainAnswer, ExtendRequest, Grant,
    GrantAnswer, ListQuery, Lock, LockAnswer, LockPage, LockQuery, ReleaseAnswer, ReleaseQuery,
};
use crate::json::session_dto::NoQuery;
use crate::service::{At, Service, lock, parse};

/// The routes of this job.
pub(super) fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new()
        .routes(routes!(acquire_lock, list_locks))
        .routes(routes!(get_lock, release_lock))
        .routes(routes!(extend_lock))
        .routes(routes!(check_token, check_token_post, check_token_put))
        .routes(routes!(explain_lock))
        .routes(routes!(cancel_wait))
}

/// Takes one lock, or several all or nothing.
///
/// With `wait_ms` the answer comes when the lock is granted or the wait is over. Closing the connection withdraws the wait.
#[utoipa::path(
    post, path = "/api/v1/locks", tag = "locks", params(CallHeaders), request_body = AcquireRequest,
    responses((status = 201, description = "The lock is held.", body = GrantAnswer))
)]
async fn acquire_lock(
    State(service): State<Service>,
    headers: Headers,
    Query(NoQuery {}): Query<NoQuery>,
    Body(request): Body<AcquireRequest>,
) -> answer::Result<GrantAnswer> {
    let acquire = acquire_request(request)?;
    let context = headers.context(acquire.owner.session)?;
    let location = acquire.requests.first().map(|first| location_of(&first.name)).unwrap_or_default();
    let granted = service.acquire(&context, acquire).await?;
    Ok(grant_answer(granted).created(location))
}

/// Lists the locks that are held, waited for or closed by lock-delay, in name order.
#[utoipa::path(
    get, path = "/api/v1/locks", tag = "locks", params(ReadHeaders, ListQuery),
    responses((status = 200, description = "A page.", body = LockPage))
)]
async fn list_locks(
    State(service): State<Service>,
    headers: Headers,
    Query(query): Query<ListQuery>,
) -> answer::Result<LockPage> {
    let session = query.session_id.as_deref().unwrap_or_default();
    let request = lock::ListRequest {
        prefix: query.prefix.unwrap_or_default(),
        session: parse::parse_optional_session_id("session_id", session)?,
        owner: query.owner,
        limit: query.limit,
        cursor: query.cursor.filter(|cursor| !cursor.is_empty()),
    };
    let page = service.list_locks(&headers.read_context(), &request, query.consistency.into()).await?;
    let revision = page.revision;
    let locks = page.value.items.into_iter().map(Lock::from).collect();
    let next_cursor = page.value.next_cursor.unwrap_or_default();
    Ok(Answer::at(revision, LockPage { locks, next_cursor, revision }))
}

/// Reads one lock. A free lock leaves nothing behind: it is not found.
#[utoipa::path(
    get, path = "/api/v1/locks/{name}", tag = "locks",
    params(ReadHeaders, LockQuery, ("name" = String, Path, description = "Slashes are written %2F.", example = "orders/42")),
    responses((status = 200, description = "The lock.", body = LockAnswer))
)]
async fn get_lock(
    State(service): State<Service>,
    headers: Headers,
    NamePath(name): NamePath,
    Query(LockQuery { consistency, holders_cursor, waiters_cursor }): Query<LockQuery>,
) -> answer::Result<LockAnswer> {
    let cursors = lock::LockCursors::of(holders_cursor, waiters_cursor);
    let found = service.get_lock_part(&headers.read_context(), &name, &cursors, consistency.into()).await?;
    let revision = found.revision;
    Ok(Answer::at(revision, LockAnswer { lock: found.value.into(), revision }))
}

/// Gives a grant back, named by `lock_id` or by `fencing_token`; or, with `force`, takes it away from its owner.
///
/// A multi-lock is given back whole, by any of its names.
#[utoipa::path(
    delete, path = "/api/v1/locks/{name}", tag = "locks",
    params(CallHeaders, ReleaseQuery, ("name" = String, Path, description = "Slashes are written %2F.", example = "orders/42")),
    responses((status = 200, description = "It is given back.", body = ReleaseAnswer))
)]
async fn release_lock(
    State(service): State<Service>,
    headers: Headers,
    NamePath(name): NamePath,
    Query(query): Query<ReleaseQuery>,
) -> answer::Result<ReleaseAnswer> {
    let context = headers.context(None)?;
    let how = how_to_release(&query)?;
    let released = match how {
        Release::Force { fencing_token, reason } => {
            service.force_release(&context, lock::ForceReleaseRequest { name, fencing_token, reason }).await?
        }
        Release::Id(lock_id) => {
            service.release(&context, lock::ReleaseRequest { lock_id, name: Some(name) }).await?
        }
        Release::Token(fencing_token) => service.release_by_token(&context, name, fencing_token).await?,
    };
    let revision = released.revision;
    let lock::Released { lock_id, fencing_token, remaining_count } = released.value;
    let lock_id = lock_id.to_string();
    Ok(Answer::at(revision, ReleaseAnswer { lock_id, fencing_token, remaining_count, revision }))
}

/// How a release names what it gives back.
#[derive(Debug, PartialEq, Eq)]
enum Release {
    Id(LockId),
    Token(u64),
    Force { fencing_token: u64, reason: String },
}

fn how_to_release(query: &ReleaseQuery) -> Result<Release, ApiError> {
    if !query.force && query.reason.is_some() {
        return Err(ApiError::invalid("reason", "only a forced release has one; set force=true"));
    }
    match (query.force, &query.lock_id, query.fencing_token) {
        (true, Some(_), _) => {
            Err(ApiError::invalid("lock_id", "a forced release takes fencing_token instead"))
        }
        (true, None, None) => {
            Err(ApiError::invalid("fencing_token", "is required with force: the token that was looked at"))
        }
        (true, None, Some(fencing_token)) => {
            let reason = query.reason.clone().unwrap_or_default();
            if reason.is_empty() {
                return Err(ApiError::invalid("reason", "is required with force, for the audit trail"));
            }
            Ok(Release::Force { fencing_token, reason })
        }
        (false, Some(_), Some(_)) => {
            Err(ApiError::invalid("fencing_token", "give lock_id or fencing_token, not both"))
        }
        (false, Some(lock_id), None) => Ok(Release::Id(parse::parse_lock_id("lock_id", lock_id)?)),
        (false, None, Some(fencing_token)) => Ok(Release::Token(fencing_token)),
        (false, None, None) => {
            Err(ApiError::invalid("lock_id", "is required (or fencing_token): which grant to give back"))
        }
    }
}

/// Renews a one-shot grant. Never shortens it.
#[utoipa::path(
    put, path = "/api/v1/locks/{name}/extend", tag = "locks", request_body = ExtendRequest,
    params(CallHeaders, ("name" = String, Path, description = "Slashes are written %2F.", example = "orders/42")),
    responses((status = 200, description = "The grant lives longer.", body = GrantAnswer))
)]
async fn extend_lock(
    State(service): State<Service>,
    headers: Headers,
    NamePath(name): NamePath,
    Query(NoQuery {}): Query<NoQuery>,
    Body(ExtendRequest { lock_id, ttl_ms }): Body<ExtendRequest>,
) -> answer::Result<GrantAnswer> {
    let lock_id = parse::parse_lock_id("lock_id", &lock_id)?;
    let request = lock::ExtendRequest { lock_id, name: Some(name), ttl_ms };
    Ok(grant_answer(service.extend(&headers.context(None)?, request).await?))
}

/// Is this token still the newest on that name?
#[utoipa::path(
    get, path = "/api/v1/locks/{name}/check", tag = "locks",
    params(ReadHeaders, CheckQuery, ("name" = String, Path, description = "Slashes are written %2F.", example = "orders/42")),
    responses((status = 200, description = "How the token stands.", body = CheckAnswer))
)]
async fn check_token(
    State(service): State<Service>,
    headers: Headers,
    NamePath(name): NamePath,
    Query(CheckQuery { fencing_token, consistency }): Query<CheckQuery>,
) -> answer::Result<CheckAnswer> {
    check(&service, &headers, &name, CheckRequest { fencing_token, consistency }).await
}

/// Is this token still the newest on that name? As with GET, the token in the body.
#[utoipa::path(
    post, path = "/api/v1/locks/{name}/check", tag = "locks", request_body = CheckRequest,
    params(ReadHeaders, ("name" = String, Path, description = "Slashes are written %2F.", example = "orders/42")),
    responses((status = 200, description = "How the token stands.", body = CheckAnswer))
)]
async fn check_token_post(
    State(service): State<Service>,
    headers: Headers,
    NamePath(name): NamePath,
    Query(NoQuery {}): Query<NoQuery>,
    Body(request): Body<CheckRequest>,
) -> answer::Result<CheckAnswer> {
    check(&service, &headers, &name, request).await
}

/// Is this token still the newest on that name? As with GET, the token in the body.
#[utoipa::path(
    put, path = "/api/v1/locks/{name}/check", tag = "locks", request_body = CheckRequest,
    params(ReadHeaders, ("name" = String, Path, description = "Slashes are written %2F.", example = "orders/42")),
    responses((status = 200, description = "How the token stands.", body = CheckAnswer))
)]
async fn check_token_put(
    State(service): State<Service>,
    headers: Headers,
    NamePath(name): NamePath,
    Query(NoQuery {}): Query<NoQuery>,
    Body(request): Body<CheckRequest>,
) -> answer::Result<CheckAnswer> {
    check(&service, &headers, &name, request).await
}

async fn check(
    service: &Service,
    headers: &Headers,
    name: &Name,
    request: CheckRequest,
) -> answer::Result<CheckAnswer> {
    let CheckRequest { fencing_token, consistency } = request;
    let checked = service.check(&headers.read_context(), name, fencing_token, consistency.into()).await?;
    Ok(Answer::at(checked.revision, CheckAnswer::from(checked)))
}

/// Who holds the lock, who waits, and what each waiter is blocked by.
#[utoipa::path(
    get, path = "/api/v1/locks/{name}/explain", tag = "locks",
    params(ReadHeaders, LockQuery, ("name" = String, Path, description = "Slashes are written %2F.", example = "orders/42")),
    responses((status = 200, description = "The explanation; of a free lock too.", body = ExplainAnswer))
)]
async fn explain_lock(
    State(service): State<Service>,
    headers: Headers,
    NamePath(name): NamePath,
    Query(LockQuery { consistency, holders_cursor, waiters_cursor }): Query<LockQuery>,
) -> answer::Result<ExplainAnswer> {
    let cursors = lock::LockCursors::of(holders_cursor, waiters_cursor);
    let explained =
        service.explain_part(&headers.read_context(), &name, &cursors, consistency.into()).await?;
    Ok(Answer::at(explained.revision, ExplainAnswer::from(explained)))
}

/// Withdraws a queued acquisition. One that holds its lock is refused (`already_granted`): release it instead.
#[utoipa::path(
    delete, path = "/api/v1/waits/{lock_id}", tag = "locks",
    params(CallHeaders, ("lock_id" = String, Path, description = "The acquisition.", example = "l-1540.0")),
    responses((status = 200, description = "It neither waits nor holds.", body = Done))
)]
async fn cancel_wait(
    State(service): State<Service>,
    headers: Headers,
    TextPath(lock_id): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<Done> {
    let lock_id = parse::parse_lock_id("lock_id", &lock_id)?;
    let revision = service.cancel_wait(&headers.context(None)?, lock_id).await?.revision;
    Ok(Answer::at(revision, Done { revision }))
}

fn grant_answer(granted: At<lock::GrantInfo>) -> Answer<GrantAnswer> {
    let revision = granted.revision;
    Answer::at(revision, GrantAnswer { grant: Grant::from(granted.value), revision })
}

fn location_of(name: &Name) -> String {
    format!("/api/v1/locks/{}", path_segment(name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_names_one_grant() {
        let query = |force, lock_id: Option<&str>, fencing_token, reason: Option<&str>| ReleaseQuery {
            lock_id: lock_id.map(str::to_owned),
            fencing_token,
            force,
            reason: reason.map(str::to_owned),
        };
        for (query, field) in [
            (query(false, None, None, None), "lock_id"),
            (query(false, Some("s-1.0"), None, None), "lock_id"),
            (query(false, Some("l-1.0"), Some(1), None), "fencing_token"),
            (query(false, Some("l-1.0"), None, Some("why")), "reason"),
            (query(true, None, None, Some("why")), "fencing_token"),
            (query(true, None, Some(1), None), "reason"),
            (query(true, Some("l-1.0"), Some(1), Some("why")), "lock_id"),
        ] {
            let error = how_to_release(&query).unwrap_err();
            assert_eq!(error.field(), Some(field), "{query:?}");
        }
        let force = how_to_release(&query(true, None, Some(7), Some("stuck"))).unwrap();
        assert_eq!(force, Release::Force { fencing_token: 7, reason: "stuck".to_owned() });
        assert_eq!(how_to_release(&query(false, None, Some(7), None)).unwrap(), Release::Token(7));
        let id = "l-1.0".parse().unwrap();
        assert_eq!(how_to_release(&query(false, Some("l-1.0"), None, None)).unwrap(), Release::Id(id));
    }
}
