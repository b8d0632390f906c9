//! Routes of elections.

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Answer, path_segment};
use super::extract::{Body, CallHeaders, Headers, NamePath, Query, ReadHeaders};
use crate::contract::NoQuery;
use crate::contract::election::{
    CampaignRequest, ElectionAnswer, ElectionPage, ElectionQuery, LeadershipAnswer, ListElectionsQuery,
    ProclaimRequest, ResignAnswer, ResignQuery, leadership,
};
use crate::json::not_in_body;
use crate::service::{Service, parse};

/// The routes of elections.
pub(super) fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new()
        .routes(routes!(campaign, list_elections))
        .routes(routes!(get_election, resign))
        .routes(routes!(proclaim))
}

/// Stands as a candidate in an election.
///
/// With `wait_ms` the answer comes when the candidate is elected or the wait is over. Closing the connection withdraws the candidacy.
#[utoipa::path(
    post, path = "/api/v1/elections",
    extensions(("x-batuta-operation" = json!("campaign"))), tag = "elections", params(CallHeaders),
    request_body = CampaignRequest,
    responses((status = 201, description = "The caller leads.", body = LeadershipAnswer))
)]
async fn campaign(
    State(service): State<Service>,
    headers: Headers,
    Query(NoQuery {}): Query<NoQuery>,
    Body(request): Body<CampaignRequest>,
) -> answer::Result<LeadershipAnswer> {
    let request = request.read()?;
    let context = headers.context(request.owner.session)?;
    let location = format!("/api/v1/elections/{}", path_segment(request.name.as_str()));
    Ok(Answer::of(service.campaign(&context, request).await?).created(location))
}

/// Lists the elections that have a leader or candidates, or that lock-delay keeps closed, in order of their names.
#[utoipa::path(
    get, path = "/api/v1/elections",
    extensions(("x-batuta-operation" = json!("list_elections"))), tag = "elections",
    params(ReadHeaders, ListElectionsQuery),
    responses((status = 200, description = "A page.", body = ElectionPage))
)]
async fn list_elections(
    State(service): State<Service>,
    headers: Headers,
    Query(query): Query<ListElectionsQuery>,
) -> answer::Result<ElectionPage> {
    let consistency = query.consistency;
    let page = service.list_elections(&headers.read_context(), &query.read()?, consistency).await?;
    Ok(Answer::page(page))
}

/// Reads the leader and the candidates of one election. Without a leader and candidates, both are absent.
#[utoipa::path(
    get, path = "/api/v1/elections/{name}",
    extensions(("x-batuta-operation" = json!("get_election"))), tag = "elections",
    params(ReadHeaders, ElectionQuery, ("name" = String, Path, description = "Slashes are written %2F.", example = "billing/leader")),
    responses((status = 200, description = "The election.", body = ElectionAnswer))
)]
async fn get_election(
    State(service): State<Service>,
    headers: Headers,
    NamePath(name): NamePath,
    Query(query): Query<ElectionQuery>,
) -> answer::Result<ElectionAnswer> {
    let after = parse::candidates_cursor(&query.candidates_cursor)?;
    Ok(Answer::of(service.get_election(&headers.read_context(), &name, after, query.consistency).await?))
}

/// Gives up leadership. The next candidate is elected at once.
#[utoipa::path(
    delete, path = "/api/v1/elections/{name}",
    extensions(("x-batuta-operation" = json!("resign"))), tag = "elections",
    params(CallHeaders, ResignQuery, ("name" = String, Path, description = "Slashes are written %2F.", example = "billing/leader")),
    responses((status = 200, description = "The caller leads no more.", body = ResignAnswer))
)]
async fn resign(
    State(service): State<Service>,
    headers: Headers,
    NamePath(name): NamePath,
    Query(query): Query<ResignQuery>,
) -> answer::Result<ResignAnswer> {
    let leadership = leadership(name, query.fencing_token, query.session_id.as_deref())?;
    Ok(Answer::of(service.resign(&headers.context(None)?, leadership).await?))
}

/// Replaces the value of the leader; watchers see the change.
#[utoipa::path(
    put, path = "/api/v1/elections/{name}/value",
    extensions(("x-batuta-operation" = json!("proclaim"))), tag = "elections", request_body = ProclaimRequest,
    params(CallHeaders, ("name" = String, Path, description = "Slashes are written %2F.", example = "billing/leader")),
    responses((status = 200, description = "The leader has the new value.", body = LeadershipAnswer))
)]
async fn proclaim(
    State(service): State<Service>,
    headers: Headers,
    NamePath(name): NamePath,
    Query(NoQuery {}): Query<NoQuery>,
    Body(request): Body<ProclaimRequest>,
) -> answer::Result<LeadershipAnswer> {
    not_in_body("name", request.name.is_empty())?;
    let (leadership, value) = ProclaimRequest { name: name.to_string(), ..request }.read()?;
    Ok(Answer::of(service.proclaim(&headers.context(None)?, leadership, value).await?))
}
