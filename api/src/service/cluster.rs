//! The cluster itself: status, members, limits.

use std::sync::Arc;

use batuta_raft::{MemberStatus, Status};
use batuta_statemachine::cluster::SetLimits;
use batuta_statemachine::{Code, Limits, LimitsPatch, State};

use super::operation::{Area, Operation};
use super::{At, CallContext, Consistency, Service};
use crate::ApiError;

/// Showing the cluster.
pub const GET_CLUSTER: Operation = Operation::read(
    "get_cluster",
    "Shows the cluster as the answering node sees it.",
    Area::Cluster,
    "cluster:read",
    &[],
);
/// Listing the members.
pub const LIST_MEMBERS: Operation = Operation::read(
    "list_members",
    "Lists members, as the answering node knows them.",
    Area::Cluster,
    "cluster:read",
    &[],
);
/// Taking a member out.
pub const REMOVE_MEMBER: Operation = Operation::admin(
    "remove_member",
    "Takes a member out: first its vote, then the member.",
    "cluster:members",
    MEMBERSHIP,
);
/// Making a learner a voter.
pub const PROMOTE_MEMBER: Operation =
    Operation::admin("promote_member", "Makes a learner a voter.", "cluster:members", MEMBERSHIP);
/// Handing leadership over.
pub const TRANSFER_LEADER: Operation =
    Operation::admin("transfer_leader", "Hands leadership over.", "cluster:transfer", MEMBERSHIP);
/// Taking a snapshot.
pub const TRIGGER_SNAPSHOT: Operation = Operation::admin(
    "trigger_snapshot",
    "Takes a snapshot on the answering node and purges its log.",
    "cluster:snapshot",
    &[],
);
/// Reading the limits.
pub const GET_LIMITS: Operation =
    Operation::read("get_limits", "Reads the limits in force.", Area::Cluster, "cluster:read", &[]);
/// Changing limits.
pub const SET_LIMITS: Operation = Operation {
    retry_key: true,
    ..Operation::admin("set_limits", "Changes limits on every node at once.", "cluster:limits", &[])
};

const MEMBERSHIP: &[Code] = &[Code::UnknownMember, Code::MembershipChangeRefused];

/// How the cluster looks from the node that answers.
#[derive(Clone, Debug)]
pub struct ClusterStatus {
    /// What the replica says.
    pub replica: Status,
    /// The leader's name, when one is known.
    pub leader_name: Option<String>,
    /// Why the node is not ready; `None` = ready.
    pub not_ready: Option<String>,
    /// The node's version.
    pub version: String,
    /// Sessions there are.
    pub sessions: u64,
    /// Grants there are.
    pub grants: u64,
    /// Acquisitions that wait.
    pub waiters: u64,
    /// Locks that are held or waited for.
    pub locks: u64,
    /// Hash of the applied state at `state_revision`, hexadecimal; when it was wanted.
    pub state_hash: Option<String>,
    /// Revision of the state described here.
    pub state_revision: u64,
    /// How long the node runs.
    pub uptime_ms: u64,
    /// Cluster time.
    pub cluster_time_ms: u64,
    /// The last given fencing token.
    pub token_high_water: u64,
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Field name of [`Limits`].
    pub name: String,
    /// Its value.
    pub value: u64,
}

/// Who leads after a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Its id.
    pub leader_id: u64,
    /// Its name, when the node knows it.
    pub leader_name: Option<String>,
}

/// A member that was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangedMember {
    /// Its id.
    pub node_id: u64,
}

/// A snapshot that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenSnapshot {
    /// Last entry it covers.
    pub snapshot_index: u64,
}

/// The hash of a state, as text; not on a thread that serves requests, since it reads everything.
async fn hash(state: Arc<State>) -> Result<String, ApiError> {
    let hash = tokio::task::spawn_blocking(move || state.hash()).await;
    let hash = hash.map_err(|error| ApiError::Internal(format!("hashing the state failed: {error}")))?;
    Ok(format!("{hash:016x}"))
}

impl Service {
    /// How the cluster looks from this node. Needs no quorum. The hash of the state is made when it is wanted: it reads everything.
    ///
    /// # Errors
    /// `internal` when hashing the state fails.
    pub async fn cluster_status(
        &self,
        context: &CallContext,
        hashed: bool,
    ) -> Result<ClusterStatus, ApiError> {
        let permit = self.admit(context, &GET_CLUSTER, [])?;
        let mut replica = self.inner.gate.status();
        let state = permit.view();
        // The hash and the index it belongs to are read together: another entry may be applied at any moment.
        replica.applied_index = state.revision();
        replica.committed_index = replica.committed_index.max(replica.applied_index);
        let state_hash = if hashed { Some(hash(Arc::clone(&state)).await?) } else { None };
        let counts = state.counts();
        Ok(ClusterStatus {
            leader_name: replica.leader_id.and_then(|id| name_of(&replica.members, id)),
            not_ready: self.readiness_of(&replica).not_ready,
            version: self.inner.options.version.clone(),
            sessions: counts.session.sessions,
            grants: counts.lock.grants,
            waiters: counts.lock.waits,
            locks: counts.lock.locks,
            state_hash,
            state_revision: state.revision(),
            uptime_ms: u64::try_from(self.inner.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            cluster_time_ms: permit.clock(&state).now_ms,
            token_high_water: state.token_high_water(),
            replica,
        })
    }

    /// The members, as this node knows them.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub fn members(&self, context: &CallContext) -> Result<At<Vec<MemberStatus>>, ApiError> {
        let permit = self.admit(context, &LIST_MEMBERS, [])?;
        Ok(permit.applied(self.inner.gate.status().members))
    }

    /// The members besides this node, as it knows them: where its clients can go on.
    #[must_use]
    pub fn other_members(&self) -> Vec<MemberStatus> {
        let Status { node_id, members, .. } = self.inner.gate.status();
        members.into_iter().filter(|member| Some(member.node_id) != node_id).collect()
    }

    /// Takes a member out, named by id or name.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn remove_member(
        &self,
        context: &CallContext,
        member: &str,
    ) -> Result<At<ChangedMember>, ApiError> {
        let permit = self.admit(context, &REMOVE_MEMBER, [])?;
        let node_id = self.member_id(member)?;
        permit.remove_member(node_id).await?;
        Ok(permit.applied(ChangedMember { node_id }))
    }

    /// Makes a learner a voter.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn promote_member(
        &self,
        context: &CallContext,
        member: &str,
    ) -> Result<At<ChangedMember>, ApiError> {
        let permit = self.admit(context, &PROMOTE_MEMBER, [])?;
        let node_id = self.member_id(member)?;
        permit.promote_member(node_id).await?;
        Ok(permit.applied(ChangedMember { node_id }))
    }

    /// Hands leadership over: to the member named, or to the most up-to-date follower.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn transfer_leader(
        &self,
        context: &CallContext,
        member: Option<&str>,
    ) -> Result<At<Leader>, ApiError> {
        let permit = self.admit(context, &TRANSFER_LEADER, [])?;
        let to =
            member.filter(|member| !member.is_empty()).map(|member| self.member_id(member)).transpose()?;
        let leader_id = permit.transfer_leader(to).await?;
        let leader_name = name_of(&self.inner.gate.status().members, leader_id);
        Ok(permit.applied(Leader { leader_id, leader_name }))
    }

    /// Takes a snapshot on this node and purges its log.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn trigger_snapshot(&self, context: &CallContext) -> Result<At<TakenSnapshot>, ApiError> {
        let permit = self.admit(context, &TRIGGER_SNAPSHOT, [])?;
        let snapshot_index = permit.trigger_snapshot().await?;
        Ok(permit.applied(TakenSnapshot { snapshot_index }))
    }

    /// The limits in force.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn limits(
        &self,
        context: &CallContext,
        consistency: Consistency,
    ) -> Result<At<Vec<Limit>>, ApiError> {
        let permit = self.admit(context, &GET_LIMITS, [])?;
        let state = permit.read(consistency).await?;
        Ok(permit.seen(&state, limits_list(state.limits())))
    }

    /// Changes limits on every node at once; answers all the limits as they are then.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn set_limits(
        &self,
        context: &CallContext,
        limits: Vec<Limit>,
    ) -> Result<At<Vec<Limit>>, ApiError> {
        let permit = self.admit(context, &SET_LIMITS, [])?;
        let values = limits.into_iter().map(|limit| (limit.name, limit.value)).collect();
        permit.propose(SetLimits { patch: LimitsPatch { values } }).await?;
        let state = permit.read(Consistency::Linearizable).await?;
        Ok(permit.seen(&state, limits_list(state.limits())))
    }

    fn member_id(&self, member: &str) -> Result<u64, ApiError> {
        find_member(&self.inner.gate.status().members, member)
    }
}

fn name_of(members: &[MemberStatus], node_id: u64) -> Option<String> {
    members.iter().find(|member| member.node_id == node_id).map(|member| member.name.clone())
}

/// A member by name, or else by id: names are checked first, since a name may look like a number.
fn find_member(members: &[MemberStatus], text: &str) -> Result<u64, ApiError> {
    let by_name = members.iter().find(|member| member.name == text);
    let by_id = || text.parse().ok().and_then(|id: u64| members.iter().find(|member| member.node_id == id));
    by_name.or_else(by_id).map(|member| member.node_id).ok_or_else(|| ApiError::UnknownMember {
        member: text.chars().take(128).collect(),
        members: members.iter().map(|member| format!("{} ({})", member.name, member.node_id)).collect(),
    })
}

fn limits_list(limits: &Limits) -> Vec<Limit> {
    limits.values().into_iter().map(|(name, value)| Limit { name: name.to_owned(), value }).collect()
}
