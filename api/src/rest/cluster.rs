//! Routes of the cluster itself.

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Answer};
use super::extract::{Body, CallHeaders, Headers, OptionalBody, Query, TextPath};
use crate::contract::cluster::{
    ClusterStatus, LeaderAnswer, LimitsAnswer, MemberAnswer, MemberList, SetLimitsRequest, SnapshotAnswer,
    TransferLeaderRequest,
};
use crate::contract::{NoQuery, ReadQuery};
use crate::service::Service;

/// The routes of the cluster.
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

/// Reads the status of the answering node and its view of the cluster. Needs no quorum.
#[utoipa::path(
    get, path = "/api/v1/cluster",
    extensions(("x-batuta-operation" = json!("get_cluster"))), tag = "cluster",
    responses((status = 200, description = "The status.", body = ClusterStatus))
)]
async fn get_cluster(
    State(service): State<Service>,
    headers: Headers,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<ClusterStatus> {
    let status = service.cluster_status(&headers.read_context(), true).await?;
    Ok(Answer::at(status.state_revision, status.into()))
}

/// Lists the members, as the answering node knows them. Needs no quorum.
#[utoipa::path(
    get, path = "/api/v1/cluster/members",
    extensions(("x-batuta-operation" = json!("list_members"))), tag = "cluster",
    responses((status = 200, description = "The members.", body = MemberList))
)]
async fn list_members(
    State(service): State<Service>,
    headers: Headers,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<MemberList> {
    Ok(Answer::of(service.members(&headers.read_context()).await?))
}

/// Removes a member: first its vote, then the member.
#[utoipa::path(
    delete, path = "/api/v1/cluster/members/{member}",
    extensions(("x-batuta-operation" = json!("remove_member"))), tag = "cluster",
    params(("member" = String, Path, description = "Id or name.", example = "n3")),
    responses((status = 200, description = "The node is no longer a member.", body = MemberAnswer))
)]
async fn remove_member(
    State(service): State<Service>,
    headers: Headers,
    TextPath(member): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<MemberAnswer> {
    Ok(Answer::of(service.remove_member(&headers.read_context(), &member).await?))
}

/// Makes a learner a voter.
#[utoipa::path(
    post, path = "/api/v1/cluster/members/{member}/promote",
    extensions(("x-batuta-operation" = json!("promote_member"))), tag = "cluster",
    params(("member" = String, Path, description = "Id or name.", example = "n3")),
    responses((status = 200, description = "It votes.", body = MemberAnswer))
)]
async fn promote_member(
    State(service): State<Service>,
    headers: Headers,
    TextPath(member): TextPath,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<MemberAnswer> {
    Ok(Answer::of(service.promote_member(&headers.read_context(), &member).await?))
}

/// Transfers leadership to a member, by default to the most up-to-date follower.
#[utoipa::path(
    post, path = "/api/v1/cluster/transfer-leader",
    extensions(("x-batuta-operation" = json!("transfer_leader"))), tag = "cluster", request_body = TransferLeaderRequest,
    responses((status = 200, description = "The new leader.", body = LeaderAnswer))
)]
async fn transfer_leader(
    State(service): State<Service>,
    headers: Headers,
    Query(NoQuery {}): Query<NoQuery>,
    OptionalBody(TransferLeaderRequest { member }): OptionalBody<TransferLeaderRequest>,
) -> answer::Result<LeaderAnswer> {
    Ok(Answer::of(service.transfer_leader(&headers.read_context(), member.as_deref()).await?))
}

/// Takes a snapshot on the answering node and purges its log.
#[utoipa::path(
    post, path = "/api/v1/cluster/snapshot",
    extensions(("x-batuta-operation" = json!("trigger_snapshot"))), tag = "cluster",
    responses((status = 200, description = "The snapshot is durable.", body = SnapshotAnswer))
)]
async fn trigger_snapshot(
    State(service): State<Service>,
    headers: Headers,
    Query(NoQuery {}): Query<NoQuery>,
) -> answer::Result<SnapshotAnswer> {
    Ok(Answer::of(service.trigger_snapshot(&headers.read_context()).await?))
}

/// Reads the limits in force.
#[utoipa::path(
    get, path = "/api/v1/cluster/limits",
    extensions(("x-batuta-operation" = json!("get_limits"))), tag = "cluster", params(ReadQuery),
    responses((status = 200, description = "The limits.", body = LimitsAnswer))
)]
async fn get_limits(
    State(service): State<Service>,
    headers: Headers,
    Query(ReadQuery { consistency }): Query<ReadQuery>,
) -> answer::Result<LimitsAnswer> {
    Ok(Answer::of(service.limits(&headers.read_context(), consistency).await?))
}

/// Changes the named limits on all nodes at once. Answers all limits.
#[utoipa::path(
    put, path = "/api/v1/cluster/limits",
    extensions(("x-batuta-operation" = json!("set_limits"))), tag = "cluster", params(CallHeaders), request_body = SetLimitsRequest,
    responses((status = 200, description = "The limits are in force.", body = LimitsAnswer))
)]
async fn set_limits(
    State(service): State<Service>,
    headers: Headers,
    Query(NoQuery {}): Query<NoQuery>,
    Body(request): Body<SetLimitsRequest>,
) -> answer::Result<LimitsAnswer> {
    Ok(Answer::of(service.set_limits(&headers.context(None)?, request.read()).await?))
}
