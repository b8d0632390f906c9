//! Routes of sessions.

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Answer};
use super::extract::{Body, CallHeaders, Headers, Query, ReadHeaders, TextPath};
use crate::contract::session::{
    CloseSessionAnswer, CloseSessionQuery, KeepAliveAnswer, ListSessionsQuery, OpenSessionRequest,
    SessionAnswer, SessionPage,
};
use crate::contract::{NoQuery, ReadQuery};
use crate::service::{Service, parse, session};

/// The routes of sessions.
pub(super) fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new()
        .routes(routes!(open_session, list_sessions))
        .routes(routes!(get_session, close_session))
        .routes(routes!(keep_session_alive))
}

/// Opens a session: a single keep-alive keeps everything alive that the client owns.
#[utoipa::path(
    post, path = "/api/v1/sessions",
    extensions(("x-batuta-operation" = json!("open_session"))), tag = "sessions", params(CallHeaders),
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
    let request = session::OpenRequest { ttl_ms: ttl_ms.into(), metadata };
    let opened = service.open_session(&headers.context(None)?, request).await?;
    let location = format!("/api/v1/sessions/{}", opened.value.session);
    Ok(Answer::of(opened).created(location))
}

/// Lists the sessions of the namespace, oldest first.
#[utoipa::path(
    get, path = "/api/v1/sessions",
    extensions(("x-batuta-operation" = json!("list_sessions"))), tag = "sessions", params(ReadHeaders, ListSessionsQuery),
    responses((status = 200, description = "A page.", body = SessionPage))
)]
async fn list_sessions(
    State(service): State<Service>,
    headers: Headers,
    Query(query): Query<ListSessionsQuery>,
) -> answer::Result<SessionPage> {
    let ListSessionsQuery { limit, cursor, consistency } = query;
    let request = session::ListRequest { limit, after: parse::session_cursor(cursor.as_deref())? };
    Ok(Answer::page(service.list_sessions(&headers.read_context(), &request, consistency).await?))
}

/// Reads one session.
#[utoipa::path(
    get, path = "/api/v1/sessions/{session_id}",
    extensions(("x-batuta-operation" = json!("get_session"))), tag = "sessions",
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
    Ok(Answer::of(service.get_session(&headers.read_context(), session, consistency).await?))
}

/// Ends a session and everything it owns, in one revision.
#[utoipa::path(
    delete, path = "/api/v1/sessions/{session_id}",
    extensions(("x-batuta-operation" = json!("close_session"))), tag = "sessions",
    params(
        CallHeaders, CloseSessionQuery,
        ("session_id" = String, Path, description = "The session.", example = "s-12.0")
    ),
    responses((status = 200, description = "The session is closed.", body = CloseSessionAnswer))
)]
async fn close_session(
    State(service): State<Service>,
    headers: Headers,
    TextPath(session_id): TextPath,
    Query(CloseSessionQuery { lock_delay }): Query<CloseSessionQuery>,
) -> answer::Result<CloseSessionAnswer> {
    let session = parse::parse_session_id("session_id", &session_id)?;
    Ok(Answer::of(service.close_session(&headers.context(Some(session))?, session, lock_delay).await?))
}

/// Renews a session. The new TTL counts from when the request was sent.
#[utoipa::path(
    put, path = "/api/v1/sessions/{session_id}/keep-alive",
    extensions(("x-batuta-operation" = json!("keep_alive"))), tag = "sessions",
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
    Ok(Answer::of(service.keep_alive(&headers.read_context(), session).await?))
}
