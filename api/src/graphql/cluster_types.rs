//! Types of the cluster in the schema: the names of `proto/batuta/v1/cluster.proto`, in camelCase.

use async_graphql::{Enum, InputObject, SimpleObject};

use super::long::Long;
use crate::service::cluster;

/// What a member is in Raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum MemberRole {
    /// Orders the log.
    Leader,
    /// Copies it and votes.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Copies it and does not vote.
    Learner,
}

impl From<batuta_raft::Role> for MemberRole {
    fn from(role: batuta_raft::Role) -> Self {
        match role {
            batuta_raft::Role::Leader => Self::Leader,
            batuta_raft::Role::Follower => Self::Follower,
            batuta_raft::Role::Candidate => Self::Candidate,
            batuta_raft::Role::Learner => Self::Learner,
        }
    }
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct Member {
    /// Raft id: given once, never reused.
    pub(super) node_id: Long,
    /// Stable name for people.
    pub(super) name: String,
    /// What it is now, as the answering node knows it.
    pub(super) role: MemberRole,
    /// Whether its vote counts.
    pub(super) voter: bool,
    /// Base URL of its REST API.
    pub(super) rest: String,
    /// Base URL of its gRPC API.
    pub(super) grpc: String,
    /// URL of its WebSocket API.
    pub(super) ws: String,
    /// host:port of its peer port.
    pub(super) peer: String,
    /// Known on the leader only: last log index it has.
    pub(super) matched_index: Option<Long>,
    /// Known on the leader only: milliseconds since it last answered.
    pub(super) last_contact_ms: Option<Long>,
    /// Set when the answering node found that this member lost acknowledged entries, or applied other entries than the leader.
    pub(super) fault: Option<String>,
}

impl From<batuta_raft::MemberStatus> for Member {
    fn from(member: batuta_raft::MemberStatus) -> Self {
        Self {
            node_id: Long(member.node_id),
            name: member.name,
            role: member.role.into(),
            voter: member.voter,
            rest: member.addresses.rest,
            grpc: member.addresses.grpc,
            ws: member.addresses.ws,
            peer: member.addresses.peer,
            matched_index: member.matched_index.map(Long),
            last_contact_ms: member.last_contact_ms.map(Long),
            fault: member.fault,
        }
    }
}

/// How the cluster looks from the node that answers.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct ClusterStatus {
    /// The id born with the cluster; absent before it is.
    pub(super) cluster_id: Option<String>,
    /// The node that answers; absent before it has an id.
    pub(super) node_id: Option<Long>,
    /// Its name.
    pub(super) node_name: String,
    /// What it is in Raft.
    pub(super) role: MemberRole,
    /// The Raft term.
    pub(super) term: Long,
    /// Absent while no leader is known.
    pub(super) leader_id: Option<Long>,
    /// Absent while no leader is known.
    pub(super) leader_name: Option<String>,
    /// Last entry of its log.
    pub(super) last_log_index: Long,
    /// Last entry it knows committed.
    pub(super) committed_index: Long,
    /// Last entry it applied.
    pub(super) applied_index: Long,
    /// Last entry its snapshot covers.
    pub(super) snapshot_index: Long,
    /// Last entry its log no longer has.
    pub(super) purged_index: Long,
    /// Milliseconds since the leader last heard from a quorum; on the leader only.
    pub(super) quorum_ack_ms: Option<Long>,
    /// Whether it takes requests.
    pub(super) ready: bool,
    /// Why not.
    pub(super) not_ready_reason: Option<String>,
    /// Batuta's version.
    pub(super) version: String,
    /// Sessions in the state.
    pub(super) sessions: Long,
    /// Grants in the state.
    pub(super) grants: Long,
    /// Queued acquisitions in the state.
    pub(super) waiters: Long,
    /// Locks in the state.
    pub(super) locks: Long,
    /// Hash of the applied state; two nodes at the same `applied_index` have the same.
    pub(super) state_hash: String,
    /// Whether the disk of the node that answers is nearly full.
    pub(super) disk_full: bool,
    /// Why writes that add to the state are refused; null when they are taken. The node is ready all the same.
    pub(super) writes_refused_reason: Option<String>,
    /// How long the node runs.
    pub(super) uptime_ms: Long,
    /// Cluster time.
    pub(super) cluster_time_ms: Long,
    /// The cluster's last given fencing token.
    pub(super) token_high_water: Long,
    /// Every member.
    pub(super) members: Vec<Member>,
    /// The answer is true at this revision.
    pub(super) revision: Long,
}

impl From<cluster::ClusterStatus> for ClusterStatus {
    fn from(status: cluster::ClusterStatus) -> Self {
        let replica = status.replica;
        Self {
            cluster_id: replica.cluster_id,
            node_id: replica.node_id.map(Long),
            node_name: replica.node_name,
            role: replica.role.into(),
            term: Long(replica.term),
            leader_id: replica.leader_id.map(Long),
            leader_name: status.leader_name,
            last_log_index: Long(replica.last_log_index),
            committed_index: Long(replica.committed_index),
            applied_index: Long(replica.applied_index),
            snapshot_index: Long(replica.snapshot_index),
            purged_index: Long(replica.purged_index),
            quorum_ack_ms: replica.quorum_ack_ms.map(Long),
            ready: status.not_ready.is_none(),
            not_ready_reason: status.not_ready,
            version: status.version,
            sessions: Long(status.sessions),
            grants: Long(status.grants),
            waiters: Long(status.waiters),
            locks: Long(status.locks),
            state_hash: status.state_hash.unwrap_or_default(),
            disk_full: replica.disk_full,
            writes_refused_reason: replica.writes_refused,
            uptime_ms: Long(status.uptime_ms),
            cluster_time_ms: Long(status.cluster_time_ms),
            token_high_water: Long(status.token_high_water),
            members: replica.members.into_iter().map(Member::from).collect(),
            revision: Long(status.state_revision),
        }
    }
}

/// The members, as the node that answers knows them.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct Members {
    /// The members by id.
    pub(super) members: Vec<Member>,
    /// The answer is true at this revision.
    pub(super) revision: Long,
}

/// Whether the node that answers should get requests.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct Readiness {
    /// A leader is known, apply keeps up, no shutdown is under way.
    pub(super) ready: bool,
    /// Why it is not ready.
    pub(super) reason: Option<String>,
    /// Whether it is shutting down.
    pub(super) draining: bool,
    /// Null while no leader is known.
    pub(super) leader_name: Option<String>,
    /// The last revision it applied.
    pub(super) revision: Long,
}

/// Names a member.
#[derive(Clone, Debug, PartialEq, Eq, InputObject)]
pub(super) struct MemberInput {
    /// Id or name.
    pub(super) member: String,
}

/// The member that was changed.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct MemberChanged {
    /// Its id.
    pub(super) node_id: Long,
    /// The last revision the answering node had applied then.
    pub(super) revision: Long,
}

/// Hands leadership over.
#[derive(Clone, Debug, PartialEq, Eq, InputObject)]
pub(super) struct TransferLeaderInput {
    /// Id or name; default the most up-to-date follower.
    pub(super) member: Option<String>,
}

/// Who leads now.
#[expect(clippy::struct_field_names, reason = "the wire contract names the fields")]
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct Leader {
    /// Its id.
    pub(super) leader_id: Long,
    /// Its name, when the node knows it.
    pub(super) leader_name: Option<String>,
    /// The last revision the answering node had applied then.
    pub(super) revision: Long,
}

/// The snapshot that was taken.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct SnapshotTaken {
    /// Last entry it covers.
    pub(super) snapshot_index: Long,
    /// The last revision the answering node had applied then.
    pub(super) revision: Long,
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct Limit {
    /// Its name.
    pub(super) name: String,
    /// Its value.
    pub(super) value: Long,
}

/// A new value of one limit.
#[derive(Clone, Debug, PartialEq, Eq, InputObject)]
pub(super) struct LimitInput {
    /// Its name.
    pub(super) name: String,
    /// Its value.
    pub(super) value: Long,
}

/// Changes some limits on every node at once; the others stay.
#[derive(Clone, Debug, PartialEq, Eq, InputObject)]
pub(super) struct SetLimitsInput {
    /// The limits to change.
    pub(super) limits: Vec<LimitInput>,
}

/// The limits in force.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct Limits {
    /// All of them.
    pub(super) limits: Vec<Limit>,
    /// The answer is true at this revision.
    pub(super) revision: Long,
}
