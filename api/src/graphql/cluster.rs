//! Queries and mutations of the cluster itself.

use async_graphql::{Context, Object};

use super::call::{Keys, answered, cluster_context, service};
use crate::contract::cluster::{
    ClusterStatus, HealthDetail, LeaderAnswer, LimitsAnswer, MemberAnswer, MemberList, MemberRequest,
    SetLimitsRequest, SnapshotAnswer, TransferLeaderRequest,
};
use crate::service::Consistency;

/// The queries of the cluster.
#[derive(Default)]
pub(super) struct ClusterQuery;

#[Object]
impl ClusterQuery {
    /// Reads the status of the answering node and its view of the cluster. Needs no quorum.
    async fn cluster(&self, ctx: &Context<'_>) -> Option<ClusterStatus> {
        let hashed = ctx.look_ahead().field("stateHash").exists();
        answered(ctx, async { Ok(service(ctx)?.cluster_status(&cluster_context(ctx), hashed).await?.into()) })
            .await
    }

    /// Lists the members, as the answering node knows them. Needs no quorum.
    async fn members(&self, ctx: &Context<'_>) -> Option<MemberList> {
        answered(ctx, async { Ok(service(ctx)?.members(&cluster_context(ctx)).await?.into()) }).await
    }

    /// Reads the limits in force.
    async fn limits(
        &self,
        ctx: &Context<'_>,
        #[graphql(default)] consistency: Consistency,
    ) -> Option<LimitsAnswer> {
        answered(ctx, async { Ok(service(ctx)?.limits(&cluster_context(ctx), consistency).await?.into()) })
            .await
    }

    /// Reads whether the answering node should get requests. Needs no quorum.
    async fn readiness(&self, ctx: &Context<'_>) -> Option<HealthDetail> {
        answered(ctx, async { Ok(service(ctx)?.health().into()) }).await
    }
}

/// The mutations of the cluster.
#[derive(Default)]
pub(super) struct ClusterMutation;

#[Object]
impl ClusterMutation {
    /// Removes a member: first its vote, then the member.
    async fn remove_member(&self, ctx: &Context<'_>, input: MemberRequest) -> Option<MemberAnswer> {
        answered(ctx, async {
            Ok(service(ctx)?.remove_member(&cluster_context(ctx), &input.member).await?.into())
        })
        .await
    }

    /// Makes a learner a voter.
    async fn promote_member(&self, ctx: &Context<'_>, input: MemberRequest) -> Option<MemberAnswer> {
        answered(ctx, async {
            Ok(service(ctx)?.promote_member(&cluster_context(ctx), &input.member).await?.into())
        })
        .await
    }

    /// Transfers leadership to a member, by default to the most up-to-date follower.
    async fn transfer_leader(
        &self,
        ctx: &Context<'_>,
        input: Option<TransferLeaderRequest>,
    ) -> Option<LeaderAnswer> {
        answered(ctx, async {
            let member = input.and_then(|input| input.member);
            Ok(service(ctx)?.transfer_leader(&cluster_context(ctx), member.as_deref()).await?.into())
        })
        .await
    }

    /// Takes a snapshot on the answering node and purges its log.
    async fn trigger_snapshot(&self, ctx: &Context<'_>) -> Option<SnapshotAnswer> {
        answered(ctx, async { Ok(service(ctx)?.trigger_snapshot(&cluster_context(ctx)).await?.into()) }).await
    }

    /// Changes the named limits on all nodes at once. Answers all limits.
    async fn set_limits(
        &self,
        ctx: &Context<'_>,
        input: SetLimitsRequest,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<LimitsAnswer> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async {
            Ok(service(ctx)?.set_limits(&keys.context(ctx, None)?, input.read()).await?.into())
        })
        .await
    }
}
