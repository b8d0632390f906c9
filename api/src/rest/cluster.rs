//! Routes of the cluster itself.

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Answer};
use super::extract::{Body, CallHeaders, Headers, OptionalBody, Query, TextPath};
use crate::json::cluster_dto::{
    ClusterStatus, LeaderAnswer, Limit, LimitsAnswer, Member, MemberAnswer, MemberList, SetLimitsRequest,
    SnapshotAnswer, TransferLeaderRequest,
};
use crate::json::session_dto::{NoQuery, ReadQuery};
use crate::service::{At, CallContext, Service, cluster};

/// The routes of this job.
pub(super) fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new()
        .routes(routes!(get_cluster))
        .routes(routes!(list_members))
        .routes(routes!(remove_member))
        .routes(routes!(promote_member))
        .routes(routes!(transfer_leader))
        .routes(routes!(trigger_snapshot))
        .routes(routes!(get_limits, set_limits))
}

/// How the cluster looks from the node that answers. Needs no quorum.
#[utoipa::path(
    get, path = "/api/v1/cluster", tag = "cluster",
    responses((status = 200, description = "The status.", body = ClusterStatus))
)]
async fn get_cluster(
    State(service): State<Service>,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<ClusterStatus> {
    let status = service.cluster_status(true).await?;
    Ok(Answer::at(status.state_revision, status.into()))
}

/// Lists members, as the node that answers knows them. Needs no quorum.
#[utoipa::path(
    get, path = "/api/v1/cluster/members", tag = "cluster",
    responses((status = 200, description = "The members.", body = MemberList))
)]
async fn list_members(
    State(service): State<Service>,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<MemberList> {
    let At { revision, value } = service.members();
    let members = value.into_iter().map(Member::from).collect();
    Ok(Answer::at(revision, MemberList { members, revision }))
}

/// Takes a member out: first its vote, then the member.
#[utoipa::path(
    delete, path = "/api/v1/cluster/members/{member}", tag = "cluster",
    params(("member" = String, Path, description = "Id or name.", example = "n3")),
    responses((status = 200, description = "It is no member any more.", body = MemberAnswer))
)]
async fn remove_member(
    State(service): State<Service>,
    TextPath(member): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<MemberAnswer> {
    let node_id = service.remove_member(&CallContext::default(), &member).await?;
    Ok(Answer::plain(MemberAnswer { node_id }))
}

/// Makes a learner a voter.
#[utoipa::path(
    post, path = "/api/v1/cluster/members/{member}/promote", tag = "cluster",
    params(("member" = String, Path, description = "Id or name.", example = "n3")),
    responses((status = 200, description = "It votes.", body = MemberAnswer))
)]
async fn promote_member(
    State(service): State<Service>,
    TextPath(member): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<MemberAnswer> {
    let node_id = service.promote_member(&CallContext::default(), &member).await?;
    Ok(Answer::plain(MemberAnswer { node_id }))
}

/// Hands leadership over, to a member or to the most up-to-date follower.
#[utoipa::path(
    post, path = "/api/v1/cluster/transfer-leader", tag = "cluster", request_body = TransferLeaderRequest,
    responses((status = 200, description = "Who leads now.", body = LeaderAnswer))
)]
async fn transfer_leader(
    State(service): State<Service>,
    Query(NoQuery {}): Query<NoQuery>,
    OptionalBody(TransferLeaderRequest { member }): OptionalBody<TransferLeaderRequest>,
) -> answer::Result<LeaderAnswer> {
    let leader = service.transfer_leader(&CallContext::default(), member.as_deref()).await?;
    let cluster::Leader { leader_id, leader_name } = leader;
    Ok(Answer::plain(LeaderAnswer { leader_id, leader_name: leader_name.unwrap_or_default() }))
}

/// Takes a snapshot on the node that answers and purges its log.
#[utoipa::path(
    post, path = "/api/v1/cluster/snapshot", tag = "cluster",
    responses((status = 200, description = "The snapshot is durable.", body = SnapshotAnswer))
)]
async fn trigger_snapshot(
    State(service): State<Service>,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<SnapshotAnswer> {
    let snapshot_index = service.trigger_snapshot(&CallContext::default()).await?;
    Ok(Answer::plain(SnapshotAnswer { snapshot_index }))
}

/// Reads the limits in force.
#[utoipa::path(
    get, path = "/api/v1/cluster/limits", tag = "cluster", params(ReadQuery),
    responses((status = 200, description = "The limits.", body = LimitsAnswer))
)]
async fn get_limits(
    State(service): State<Service>,
    Query(ReadQuery { consistency }): Query<ReadQuery>,
) -> answer::Result<LimitsAnswer> {
    Ok(limits_answer(service.limits(&CallContext::default(), consistency.into()).await?))
}

/// Changes limits on every node at once; the ones not named stay. Answers all of them.
#[utoipa::path(
    put, path = "/api/v1/cluster/limits", tag = "cluster", params(CallHeaders), request_body = SetLimitsRequest,
    responses((status = 200, description = "The limits are in force.", body = LimitsAnswer))
)]
async fn set_limits(
    State(service): State<Service>,
    headers: Headers,
    Query(NoQuery {}): Query<NoQuery>,
    Body(SetLimitsRequest { limits }): Body<SetLimitsRequest>,
) -> answer::Result<LimitsAnswer> {
    let limits = limits.into_iter().map(|Limit { name, value }| cluster::Limit { name, value }).collect();
    Ok(limits_answer(service.set_limits(&headers.context(None)?, limits).await?))
}

fn limits_answer(limits: At<Vec<cluster::Limit>>) -> Answer<LimitsAnswer> {
    let revision = limits.revision;
    let limits =
        limits.value.into_iter().map(|cluster::Limit { name, value }| Limit { name, value }).collect();
    Answer::at(revision, LimitsAnswer { limits, revision })
}
