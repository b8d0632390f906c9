//! Queries and mutations of the cluster itself.

use async_graphql::{Context, Object};

use super::call::{Keys, answered, service};
use crate::contract::cluster::{
    ClusterStatus, HealthDetail, LeaderAnswer, LimitsAnswer, MemberAnswer, MemberList, MemberRequest,
    SetLimitsRequest, SnapshotAnswer, TransferLeaderRequest,
};
use crate::service::{CallContext, Consistency};

/// What can be read of the cluster.
#[derive(Default)]
pub(super) struct ClusterQuery;

#[Object]
impl ClusterQuery {
    /// How the cluster looks from the node that answers. Needs no quorum.
    async fn cluster(&self, ctx: &Context<'_>) -> Option<ClusterStatus> {
        let hashed = ctx.look_ahead().field("stateHash").exists();
        answered(ctx, async {
            Ok(service(ctx)?.cluster_status(&CallContext::in_default_namespace(), hashed).await?.into())
        })
        .await
    }

    /// Lists members, as the node that answers knows them. Needs no quorum.
    async fn members(&self, ctx: &Context<'_>) -> Option<MemberList> {
        answered(ctx, async { Ok(service(ctx)?.members(&CallContext::in_default_namespace())?.into()) }).await
    }

    /// Reads the limits in force.
    async fn limits(
        &self,
        ctx: &Context<'_>,
        #[graphql(default)] consistency: Consistency,
    ) -> Option<LimitsAnswer> {
        answered(ctx, async {
            Ok(service(ctx)?.limits(&CallContext::in_default_namespace(), consistency).await?.into())
        })
        .await
    }

    /// Whether the node that answers should get requests. Needs no quorum.
    async fn readiness(&self, ctx: &Context<'_>) -> Option<HealthDetail> {
        answered(ctx, async { Ok(service(ctx)?.health().into()) }).await
    }
}

/// What can be done with the cluster.
#[derive(Default)]
pub(super) struct ClusterMutation;

#[Object]
impl ClusterMutation {
    /// Takes a member out: first its vote, then the member.
    async fn remove_member(&self, ctx: &Context<'_>, input: MemberRequest) -> Option<MemberAnswer> {
        answered(ctx, async {
            Ok(service(ctx)?.remove_member(&CallContext::in_default_namespace(), &input.member).await?.into())
        })
        .await
    }

    /// Makes a learner a voter.
    async fn promote_member(&self, ctx: &Context<'_>, input: MemberRequest) -> Option<MemberAnswer> {
        answered(ctx, async {
            Ok(service(ctx)?
                .promote_member(&CallContext::in_default_namespace(), &input.member)
                .await?
                .into())
        })
        .await
    }

    /// Hands leadership over, to a member or to the most up-to-date follower.
    async fn transfer_leader(
        &self,
        ctx: &Context<'_>,
        input: Option<TransferLeaderRequest>,
    ) -> Option<LeaderAnswer> {
        answered(ctx, async {
            let member = input.and_then(|input| input.member);
            Ok(service(ctx)?
                .transfer_leader(&CallContext::in_default_namespace(), member.as_deref())
                .await?
                .into())
        })
        .await
    }

    /// Takes a snapshot on the node that answers and purges its log.
    async fn trigger_snapshot(&self, ctx: &Context<'_>) -> Option<SnapshotAnswer> {
        answered(ctx, async {
            Ok(service(ctx)?.trigger_snapshot(&CallContext::in_default_namespace()).await?.into())
        })
        .await
    }

    /// Changes limits on every node at once; the ones not named stay. Answers all of them.
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
            Ok(service(ctx)?.set_limits(&keys.context(None)?, input.read()).await?.into())
        })
        .await
    }
}
