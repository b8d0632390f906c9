//! Queries and mutations of the cluster itself.

use async_graphql::{Context, Object};

use super::call::{Consistency, Keys, answered, service};
use super::cluster_types::{
    ClusterStatus, Leader, Limit, Limits, Member, MemberChanged, MemberInput, Members, Readiness,
    SetLimitsInput, SnapshotTaken, TransferLeaderInput,
};
use super::long::Long;
use crate::ApiError;
use crate::service::{At, CallContext, Service, cluster};

/// What can be read of the cluster.
#[derive(Default)]
pub(super) struct ClusterQuery;

#[Object]
impl ClusterQuery {
    /// How the cluster looks from the node that answers. Needs no quorum.
    async fn cluster(&self, ctx: &Context<'_>) -> Option<ClusterStatus> {
        let hashed = ctx.look_ahead().field("stateHash").exists();
        answered(ctx, async { Ok(service(ctx)?.cluster_status(hashed).await?.into()) }).await
    }

    /// Lists members, as the node that answers knows them. Needs no quorum.
    async fn members(&self, ctx: &Context<'_>) -> Option<Members> {
        answered(ctx, async {
            let At { revision, value } = service(ctx)?.members();
            let members = value.into_iter().map(Member::from).collect();
            Ok(Members { members, revision: Long(revision) })
        })
        .await
    }

    /// Reads the limits in force.
    async fn limits(
        &self,
        ctx: &Context<'_>,
        #[graphql(default)] consistency: Consistency,
    ) -> Option<Limits> {
        answered(ctx, async {
            Ok(service(ctx)?.limits(&CallContext::default(), consistency.into()).await?.into())
        })
        .await
    }

    /// Whether the node that answers should get requests. Needs no quorum.
    async fn readiness(&self, ctx: &Context<'_>) -> Option<Readiness> {
        answered(ctx, async {
            let service = service(ctx)?;
            let reason = service.readiness().not_ready;
            let At { revision, value: members } = service.members();
            let leader = members.into_iter().find(|member| member.role == batuta_raft::Role::Leader);
            Ok(Readiness {
                ready: reason.is_none(),
                reason,
                draining: service.is_draining(),
                leader_name: leader.map(|leader| leader.name),
                revision: Long(revision),
            })
        })
        .await
    }
}

/// What can be done with the cluster.
#[derive(Default)]
pub(super) struct ClusterMutation;

#[Object]
impl ClusterMutation {
    /// Takes a member out: first its vote, then the member.
    async fn remove_member(&self, ctx: &Context<'_>, input: MemberInput) -> Option<MemberChanged> {
        answered(ctx, async {
            let service = service(ctx)?;
            let node_id = service.remove_member(&CallContext::default(), &input.member).await?;
            Ok(MemberChanged { node_id: Long(node_id), revision: applied(service) })
        })
        .await
    }

    /// Makes a learner a voter.
    async fn promote_member(&self, ctx: &Context<'_>, input: MemberInput) -> Option<MemberChanged> {
        answered(ctx, async {
            let service = service(ctx)?;
            let node_id = service.promote_member(&CallContext::default(), &input.member).await?;
            Ok(MemberChanged { node_id: Long(node_id), revision: applied(service) })
        })
        .await
    }

    /// Hands leadership over, to a member or to the most up-to-date follower.
    async fn transfer_leader(&self, ctx: &Context<'_>, input: Option<TransferLeaderInput>) -> Option<Leader> {
        answered(ctx, async {
            let service = service(ctx)?;
            let member = input.and_then(|input| input.member);
            let leader = service.transfer_leader(&CallContext::default(), member.as_deref()).await?;
            let cluster::Leader { leader_id, leader_name } = leader;
            Ok(Leader { leader_id: Long(leader_id), leader_name, revision: applied(service) })
        })
        .await
    }

    /// Takes a snapshot on the node that answers and purges its log.
    async fn trigger_snapshot(&self, ctx: &Context<'_>) -> Option<SnapshotTaken> {
        answered(ctx, async {
            let service = service(ctx)?;
            let snapshot_index = service.trigger_snapshot(&CallContext::default()).await?;
            Ok(SnapshotTaken { snapshot_index: Long(snapshot_index), revision: applied(service) })
        })
        .await
    }

    /// Changes limits on every node at once; the ones not named stay. Answers all of them.
    async fn set_limits(
        &self,
        ctx: &Context<'_>,
        input: SetLimitsInput,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<Limits> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async {
            let limits = input.limits.into_iter();
            let limits = limits.map(|limit| cluster::Limit { name: limit.name, value: limit.value.into() });
            let set = service(ctx)?.set_limits(&keys.context(None)?, limits.collect()).await?;
            Ok::<Limits, ApiError>(set.into())
        })
        .await
    }
}

/// The last revision the node has applied: what changes members or snapshots has no revision of its own.
fn applied(service: &Service) -> Long {
    Long(service.members().revision)
}

impl From<At<Vec<cluster::Limit>>> for Limits {
    fn from(At { revision, value }: At<Vec<cluster::Limit>>) -> Self {
        let limit = |cluster::Limit { name, value }| Limit { name, value: Long(value) };
        Self { limits: value.into_iter().map(limit).collect(), revision: Long(revision) }
    }
}
