//! Use cases of the cluster: status, members, limits.

use std::sync::Arc;

use batuta_raft::{MemberStatus, Status};
use batuta_statemachine::access::Mode;
use batuta_statemachine::cluster::SetLimits;
use batuta_statemachine::{Code, Limits, LimitsPatch, Permission, State};

use super::operation::{Area, Needs, Operation};
use super::{At, CallContext, Consistency, Service};
use crate::ApiError;

/// The operation that shows the cluster.
pub const GET_CLUSTER: Operation = Operation::read(
    "get_cluster",
    "Shows the cluster as the answering node sees it.",
    Area::Cluster,
    Permission::ClusterRead,
    &[],
);
/// The operation that lists the members. Clients need it to find another node, so every known caller may.
pub const LIST_MEMBERS: Operation = Operation {
    needs: Needs::Identity,
    ..Operation::read(
        "list_members",
        "Lists the members, as the answering node knows them.",
        Area::Cluster,
        Permission::ClusterRead,
        &[],
    )
};
/// The operation that removes a member.
pub const REMOVE_MEMBER: Operation = Operation::admin(
    "remove_member",
    "Removes a member: first its vote, then the member.",
    Permission::ClusterMembers,
    MEMBERSHIP,
);
/// The operation that makes a learner a voter.
pub const PROMOTE_MEMBER: Operation =
    Operation::admin("promote_member", "Makes a learner a voter.", Permission::ClusterMembers, MEMBERSHIP);
/// The operation that transfers leadership.
pub const TRANSFER_LEADER: Operation = Operation::admin(
    "transfer_leader",
    "Transfers leadership to another member.",
    Permission::ClusterTransfer,
    MEMBERSHIP,
);
/// The operation that takes a snapshot.
pub const TRIGGER_SNAPSHOT: Operation = Operation::admin(
    "trigger_snapshot",
    "Takes a snapshot on the answering node and purges its log.",
    Permission::ClusterSnapshot,
    &[],
);
/// The operation that reads the limits.
pub const GET_LIMITS: Operation =
    Operation::read("get_limits", "Reads the limits in force.", Area::Cluster, Permission::ClusterRead, &[]);
/// The operation that changes limits.
pub const SET_LIMITS: Operation = Operation {
    retry_key: true,
    ..Operation::admin("set_limits", "Changes limits on all nodes at once.", Permission::ClusterLimits, &[])
};

const MEMBERSHIP: &[Code] = &[Code::UnknownMember, Code::MembershipChangeRefused];

/// The status of the answering node, and its view of the cluster.
#[derive(Clone, Debug)]
pub struct ClusterStatus {
    /// The status of the replica.
    pub replica: Status,
    /// The leader's name, when one is known.
    pub leader_name: Option<String>,
    /// Why the node is not ready; `None` when it is.
    pub not_ready: Option<String>,
    /// The node's version.
    pub version: String,
    /// The number of sessions.
    pub sessions: u64,
    /// The number of grants.
    pub grants: u64,
    /// The number of queued acquisitions.
    pub waiters: u64,
    /// The number of locks that are held, waited for, or closed by lock-delay.
    pub locks: u64,
    /// The hash of the state at `state_revision`, in hexadecimal, if it was requested.
    pub state_hash: Option<String>,
    /// The revision of the described state.
    pub state_revision: u64,
    /// The time since the node started, in milliseconds.
    pub uptime_ms: u64,
    /// Cluster time, in milliseconds.
    pub cluster_time_ms: u64,
    /// The last fencing token that the cluster has issued.
    pub token_high_water: u64,
    /// The mode of access.
    pub access_mode: Mode,
}

/// A limit, with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Field name of [`Limits`].
    pub name: String,
    /// The value of the limit.
    pub value: u64,
}

/// The leader after a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The id of the leader.
    pub leader_id: u64,
    /// The name of the leader, if the node knows it.
    pub leader_name: Option<String>,
}

/// A member that was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangedMember {
    /// The id of the member.
    pub node_id: u64,
}

/// A snapshot that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenSnapshot {
    /// Index of the last entry in the snapshot.
    pub snapshot_index: u64,
}

/// Hashes a state, as text. Runs on a blocking thread, because it reads the whole state.
async fn hash(state: Arc<State>) -> Result<String, ApiError> {
    let hash = tokio::task::spawn_blocking(move || state.hash()).await;
    let hash = hash.map_err(|error| ApiError::Internal(format!("hashing the state failed: {error}")))?;
    Ok(format!("{hash:016x}"))
}

impl Service {
    /// Reads the status of this node and its view of the cluster. Needs no quorum. The state is hashed only on request, because that reads all of it.
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
        let state = permit.look().await?;
        // The hash and its index come from the same state: another entry may be applied at any moment.
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
            access_mode: state.access_mode(),
            replica,
        })
    }

    /// Lists the members, as this node knows them.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn members(&self, context: &CallContext) -> Result<At<Vec<MemberStatus>>, ApiError> {
        let permit = self.admit(context, &LIST_MEMBERS, [])?;
        permit.look().await?;
        Ok(permit.applied(self.inner.gate.status().members))
    }

    /// The id of the cluster, once the node belongs to one.
    #[must_use]
    pub fn cluster_id(&self) -> Option<String> {
        self.inner.gate.status().cluster_id
    }

    /// The other members, as this node knows them, to which its clients can go.
    #[must_use]
    pub fn other_members(&self) -> Vec<MemberStatus> {
        let Status { node_id, members, .. } = self.inner.gate.status();
        members.into_iter().filter(|member| Some(member.node_id) != node_id).collect()
    }

    /// Removes a member, given by id or name.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn remove_member(
        &self,
        context: &CallContext,
        member: &str,
    ) -> Result<At<ChangedMember>, ApiError> {
        let permit = self.admit(context, &REMOVE_MEMBER, [])?;
        // No command of the log decides this call, so it is decided on the newest state, before it tells which members there are.
        permit.read(Consistency::Linearizable).await?;
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
        permit.read(Consistency::Linearizable).await?;
        let node_id = self.member_id(member)?;
        permit.promote_member(node_id).await?;
        Ok(permit.applied(ChangedMember { node_id }))
    }

    /// Transfers leadership to a member, by default to the most up-to-date follower.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn transfer_leader(
        &self,
        context: &CallContext,
        member: Option<&str>,
    ) -> Result<At<Leader>, ApiError> {
        let permit = self.admit(context, &TRANSFER_LEADER, [])?;
        permit.read(Consistency::Linearizable).await?;
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
        permit.look().await?;
        let snapshot_index = permit.trigger_snapshot().await?;
        Ok(permit.applied(TakenSnapshot { snapshot_index }))
    }

    /// Reads the limits in force.
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

    /// Changes limits on all nodes at once; answers all limits after the change.
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

/// Finds a member by name, or else by id. Names come first, because a name may look like a number.
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
