//! Routes of sessions.

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Answer};
use super::extract::{Body, CallHeaders, Headers, Query, ReadHeaders, TextPath};
use crate::json::session_dto::{
    CloseSessionAnswer, KeepAliveAnswer, ListSessionsQuery, NoQuery, OpenSessionRequest, ReadQuery, Session,
    SessionAnswer, SessionPage,
};
use crate::service::{Service, parse, session};

/// The routes of this job.
pub(super) fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new()
        .routes(routes!(open_session, list_sessions))
        .routes(routes!(get_session, close_session))
        .routes(routes!(keep_session_alive))
}

/// Opens a session: one heartbeat that keeps everything a client owns alive.
#[utoipa::path(
    post, path = "/api/v1/sessions", tag = "sessions", params(CallHeaders),
    request_body = OpenSessionRequest,
    responses((status = 201, description = "The session is open.", body = SessionAnswer))
)]
async fn open_session(
    State(service): State<Service>,
    headers: Headers,
    Query(NoQuery {}): Query<NoQuery>,
    Body(request): Body<OpenSessionRequest>,
) -> answer::Result<SessionAnswer> {
    let OpenSessionRequest { ttl_ms, metadata } = request;
    let opened =
        service.open_session(&headers.context(None)?, session::OpenRequest { ttl_ms, metadata }).await?;
    let revision = opened.revision;
    let session = Session::from(opened.value);
    let location = format!("/api/v1/sessions/{}", session.session_id);
    Ok(Answer::at(revision, SessionAnswer { session, revision }).created(location))
}

/// Lists the sessions of the namespace, oldest first.
#[utoipa::path(
    get, path = "/api/v1/sessions", tag = "sessions", params(ReadHeaders, ListSessionsQuery),
    responses((status = 200, description = "A page.", body = SessionPage))
)]
async fn list_sessions(
    State(service): State<Service>,
    headers: Headers,
    Query(query): Query<ListSessionsQuery>,
) -> answer::Result<SessionPage> {
    let ListSessionsQuery { limit, cursor, consistency } = query;
    let request = session::ListRequest { limit, cursor: cursor.filter(|cursor| !cursor.is_empty()) };
    let page = service.list_sessions(&headers.read_context(), &request, consistency.into()).await?;
    let revision = page.revision;
    let sessions = page.value.items.into_iter().map(Session::from).collect();
    let next_cursor = page.value.next_cursor.unwrap_or_default();
    Ok(Answer::at(revision, SessionPage { sessions, next_cursor, revision }))
}

/// Reads one session.
#[utoipa::path(
    get, path = "/api/v1/sessions/{session_id}", tag = "sessions",
    params(ReadHeaders, ReadQuery, ("session_id" = String, Path, description = "The session.", example = "s-12.0")),
    responses((status = 200, description = "The session.", body = SessionAnswer))
)]
async fn get_session(
    State(service): State<Service>,
    headers: Headers,
    TextPath(session_id): TextPath,
    Query(ReadQuery { consistency }): Query<ReadQuery>,
) -> answer::Result<SessionAnswer> {
    let session = parse::parse_session_id("session_id", &session_id)?;
    let found = service.get_session(&headers.read_context(), session, consistency.into()).await?;
    let revision = found.revision;
    Ok(Answer::at(revision, SessionAnswer { session: found.value.into(), revision }))
}

/// Ends a session and everything it owns, in one revision.
#[utoipa::path(
    delete, path = "/api/v1/sessions/{session_id}", tag = "sessions",
    params(CallHeaders, ("session_id" = String, Path, description = "The session.", example = "s-12.0")),
    responses((status = 200, description = "The session is closed.", body = CloseSessionAnswer))
)]
async fn close_session(
    State(service): State<Service>,
    headers: Headers,
    TextPath(session_id): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<CloseSessionAnswer> {
    let session = parse::parse_session_id("session_id", &session_id)?;
    let closed = service.close_session(&headers.context(Some(session))?, session).await?;
    let revision = closed.revision;
    let session::Closed { released_locks, cancelled_waits } = closed.value;
    Ok(Answer::at(revision, CloseSessionAnswer { released_locks, cancelled_waits, revision }))
}

/// Renews a session. The new time to live counts from when the request was sent.
#[utoipa::path(
    put, path = "/api/v1/sessions/{session_id}/keep-alive", tag = "sessions",
    params(ReadHeaders, ("session_id" = String, Path, description = "The session.", example = "s-12.0")),
    responses((status = 200, description = "The session is renewed.", body = KeepAliveAnswer))
)]
async fn keep_session_alive(
    State(service): State<Service>,
    headers: Headers,
    TextPath(session_id): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<KeepAliveAnswer> {
    let session = parse::parse_session_id("session_id", &session_id)?;
    let kept = service.keep_alive(&headers.read_context(), session).await?;
    let revision = kept.revision;
    let session::KeptAlive { session_id, ttl_ms } = kept.value;
    Ok(Answer::at(revision, KeepAliveAnswer { session_id: session_id.to_string(), ttl_ms, revision }))
}
