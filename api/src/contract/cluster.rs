//! Objects of the cluster and of health checks.

use async_graphql::{Enum, InputObject, SimpleObject};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Long;
use crate::service::{At, cluster, health};

/// The role of a member in Raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema, Enum)]
#[serde(rename_all = "snake_case")]
#[graphql(remote = "batuta_raft::Role")]
pub(crate) enum MemberRole {
    /// The member leads: it orders the log.
    Leader,
    /// The member receives the log and votes.
    Follower,
    /// The member stands for election.
    Candidate,
    /// The member receives the log but does not vote.
    Learner,
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "node_id": 2, "name": "n2", "role": "follower", "voter": true, "rest": "http://127.0.0.1:8082",
    "grpc": "http://127.0.0.1:9092", "ws": "ws://127.0.0.1:8084", "peer": "127.0.0.1:7002",
    "matched_index": 1600, "last_contact_ms": 12, "level": 2, "version": "0.1.0"
}))]
pub(crate) struct Member {
    /// The node id, which is never reused.
    pub(crate) node_id: Long,
    /// The stable name, for people.
    pub(crate) name: String,
    /// The current role of the member, as far as the answering node knows.
    pub(crate) role: MemberRole,
    /// Whether the member is a voter.
    pub(crate) voter: bool,
    /// Base URL of its REST API.
    pub(crate) rest: String,
    /// Base URL of its gRPC API.
    pub(crate) grpc: String,
    /// URL of its WebSocket API.
    pub(crate) ws: String,
    /// host:port of its peer port.
    pub(crate) peer: String,
    /// Known on the leader only: the last log index the member has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) matched_index: Option<Long>,
    /// Known on the leader only: the time since the member last answered, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_contact_ms: Option<Long>,
    /// The level that the member's process has told; left out when it has told none to the answering node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) level: Option<u32>,
    /// Version of Batuta on the member, as it has told; left out when the answering node does not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// Set when the answering node found that this member lost acknowledged entries, or applied other entries than the leader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<String>,
}

/// The status of the answering node, and its view of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "cluster_id": "c-5f0c", "node_id": 1, "node_name": "n1", "role": "leader", "term": 3, "leader_id": 1,
    "leader_name": "n1", "last_log_index": 1600, "committed_index": 1600, "applied_index": 1600,
    "snapshot_index": 0, "purged_index": 0, "quorum_ack_ms": 40, "ready": true, "version": "0.1.0", "level": 2,
    "sessions": 1, "grants": 1, "waiters": 0, "locks": 1, "state_hash": "9b1c", "disk_full": false,
    "uptime_ms": 60000, "cluster_time_ms": 61000, "token_high_water": 17, "access_mode": "enforce", "members": [],
    "revision": 1600
}))]
pub(crate) struct ClusterStatus {
    /// The id of the cluster; left out before the cluster is created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cluster_id: Option<String>,
    /// The id of the answering node; left out before it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node_id: Option<Long>,
    /// Name of the answering node.
    pub(crate) node_name: String,
    /// The role of the answering node.
    pub(crate) role: MemberRole,
    /// The Raft term.
    pub(crate) term: Long,
    /// Id of the leader; left out while none is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) leader_id: Option<Long>,
    /// Name of the leader; left out while none is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) leader_name: Option<String>,
    /// Index of the last entry in the node's log.
    pub(crate) last_log_index: Long,
    /// Index of the last entry that the node knows to be committed.
    pub(crate) committed_index: Long,
    /// Index of the last entry that the node has applied.
    pub(crate) applied_index: Long,
    /// Index of the last entry in the node's snapshot.
    pub(crate) snapshot_index: Long,
    /// Index of the last entry that is purged from the node's log.
    pub(crate) purged_index: Long,
    /// The time since a quorum last acknowledged the leader, in milliseconds; on the leader only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) quorum_ack_ms: Option<Long>,
    /// Whether the node can serve requests.
    pub(crate) ready: bool,
    /// Why the node is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) not_ready_reason: Option<String>,
    /// Version of Batuta on the node.
    pub(crate) version: String,
    /// The level of the cluster, as the node knows it: requests up to this level are taken. It rises once every member is upgraded.
    pub(crate) level: u32,
    /// The number of sessions.
    pub(crate) sessions: Long,
    /// The number of grants.
    pub(crate) grants: Long,
    /// The number of queued acquisitions.
    pub(crate) waiters: Long,
    /// The number of locks that are held, waited for, or closed by lock-delay.
    pub(crate) locks: Long,
    /// A hash of the applied state. Two nodes that have applied the same last entry have the same hash.
    pub(crate) state_hash: String,
    /// Whether the disk of the answering node is nearly full.
    pub(crate) disk_full: bool,
    /// Why requests that add to the state are refused; left out when they are accepted. The node may be ready at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) writes_refused_reason: Option<String>,
    /// The time since the node started, in milliseconds.
    pub(crate) uptime_ms: Long,
    /// Cluster time, in milliseconds.
    pub(crate) cluster_time_ms: Long,
    /// The last fencing token that the cluster has issued.
    pub(crate) token_high_water: Long,
    /// The mode of access, as the node knows it: `off`, `observe` or `enforce`.
    pub(crate) access_mode: String,
    /// All members.
    pub(crate) members: Vec<Member>,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// The members, as the answering node knows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({"members": [], "revision": 1600}))]
pub(crate) struct MemberList {
    /// The members, in order of their ids.
    pub(crate) members: Vec<Member>,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// Names a member.
#[derive(Clone, Debug, PartialEq, Eq, InputObject)]
#[graphql(name = "MemberInput")]
pub(crate) struct MemberRequest {
    /// Id or name of the member.
    pub(crate) member: String,
}

/// The member that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({"node_id": 3, "revision": 1600}))]
pub(crate) struct MemberAnswer {
    /// Id of the member.
    pub(crate) node_id: Long,
    /// The last revision that the answering node had applied at the time of the answer.
    pub(crate) revision: Long,
}

/// Transfers leadership to another member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema, InputObject)]
#[serde(deny_unknown_fields)]
#[graphql(name = "TransferLeaderInput")]
#[schema(example = json!({"member": "n2"}))]
pub(crate) struct TransferLeaderRequest {
    /// Id or name of the new leader; by default the most up-to-date follower.
    #[serde(default)]
    pub(crate) member: Option<String>,
}

/// The new leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({"leader_id": 2, "leader_name": "n2", "revision": 1600}))]
pub(crate) struct LeaderAnswer {
    /// Id of the leader.
    pub(crate) leader_id: Long,
    /// Name of the leader; left out when the answering node does not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) leader_name: Option<String>,
    /// The last revision that the answering node had applied at the time of the answer.
    pub(crate) revision: Long,
}

/// The snapshot that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({"snapshot_index": 1600, "revision": 1600}))]
pub(crate) struct SnapshotAnswer {
    /// Index of the last entry in the snapshot.
    pub(crate) snapshot_index: Long,
    /// The last revision that the answering node had applied at the time of the answer.
    pub(crate) revision: Long,
}

/// A limit, with its value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema, SimpleObject, InputObject)]
#[serde(deny_unknown_fields)]
#[graphql(input_name = "LimitInput")]
#[schema(example = json!({"name": "waiters_per_lock_max", "value": 20000}))]
pub(crate) struct Limit {
    /// Name of the limit.
    pub(crate) name: String,
    /// Value of the limit.
    pub(crate) value: Long,
}

/// Changes some limits on all nodes at once; other limits stay as they are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema, InputObject)]
#[serde(deny_unknown_fields)]
#[graphql(name = "SetLimitsInput")]
#[schema(example = json!({"limits": [{"name": "waiters_per_lock_max", "value": 20000}]}))]
pub(crate) struct SetLimitsRequest {
    /// The limits to change.
    pub(crate) limits: Vec<Limit>,
}

/// The limits in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({"limits": [{"name": "waiters_per_lock_max", "value": 10000}], "revision": 1600}))]
pub(crate) struct LimitsAnswer {
    /// All limits.
    pub(crate) limits: Vec<Limit>,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// The health of a node, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema, Enum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HealthStatus {
    /// The process answers.
    Live,
    /// The node can serve requests.
    Ready,
    /// The node should not get requests.
    NotReady,
}

/// The health of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"status": "ready"}))]
pub(crate) struct Health {
    /// `live`, `ready` or `not_ready`.
    pub(crate) status: HealthStatus,
    /// Why the node is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Why writes that add to the state are refused. The node is ready all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) writes_refused_reason: Option<String>,
}

/// The health of the node, in detail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "status": "ready", "live": true, "ready": true, "draining": false, "revision": 1600, "leader_name": "n1", "members": []
}))]
pub(crate) struct HealthDetail {
    /// Whether the node is ready: `ready` or `not_ready`.
    pub(crate) status: HealthStatus,
    /// Always true: a node that cannot continue exits.
    pub(crate) live: bool,
    /// Whether the node should get requests: it knows a leader, keeps up with applying entries, and is not shutting down.
    pub(crate) ready: bool,
    /// Why the node is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Why writes that add to the state are refused. The node is ready all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) writes_refused_reason: Option<String>,
    /// Whether the node is shutting down.
    pub(crate) draining: bool,
    /// The last revision that the node has applied.
    pub(crate) revision: Long,
    /// Name of the leader; left out while none is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) leader_name: Option<String>,
    /// The members, as the node knows them.
    pub(crate) members: Vec<Member>,
}

impl SetLimitsRequest {
    /// Converts to the limits of the use case.
    pub(crate) fn read(self) -> Vec<cluster::Limit> {
        let limit = |Limit { name, value }| cluster::Limit { name, value: value.into() };
        self.limits.into_iter().map(limit).collect()
    }
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
            level: member.level,
            version: member.version,
            fault: member.fault,
        }
    }
}

fn members(members: Vec<batuta_raft::MemberStatus>) -> Vec<Member> {
    members.into_iter().map(Member::from).collect()
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
            level: replica.level,
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
            access_mode: status.access_mode.as_str().to_owned(),
            members: members(replica.members),
            revision: Long(status.state_revision),
        }
    }
}

impl From<At<Vec<batuta_raft::MemberStatus>>> for MemberList {
    fn from(At { revision, value, .. }: At<Vec<batuta_raft::MemberStatus>>) -> Self {
        Self { members: members(value), revision: Long(revision) }
    }
}

impl From<At<cluster::ChangedMember>> for MemberAnswer {
    fn from(At { revision, value, .. }: At<cluster::ChangedMember>) -> Self {
        Self { node_id: Long(value.node_id), revision: Long(revision) }
    }
}

impl From<At<cluster::Leader>> for LeaderAnswer {
    fn from(At { revision, value, .. }: At<cluster::Leader>) -> Self {
        let cluster::Leader { leader_id, leader_name } = value;
        Self { leader_id: Long(leader_id), leader_name, revision: Long(revision) }
    }
}

impl From<At<cluster::TakenSnapshot>> for SnapshotAnswer {
    fn from(At { revision, value, .. }: At<cluster::TakenSnapshot>) -> Self {
        Self { snapshot_index: Long(value.snapshot_index), revision: Long(revision) }
    }
}

impl From<At<Vec<cluster::Limit>>> for LimitsAnswer {
    fn from(At { revision, value, .. }: At<Vec<cluster::Limit>>) -> Self {
        let limit = |cluster::Limit { name, value }| Limit { name, value: Long(value) };
        Self { limits: value.into_iter().map(limit).collect(), revision: Long(revision) }
    }
}

impl From<health::Readiness> for Health {
    fn from(readiness: health::Readiness) -> Self {
        let health::Readiness { not_ready: reason, writes_refused: writes_refused_reason } = readiness;
        let status = if reason.is_none() { HealthStatus::Ready } else { HealthStatus::NotReady };
        Self { status, reason, writes_refused_reason }
    }
}

impl From<At<health::Health>> for HealthDetail {
    fn from(At { revision, value, .. }: At<health::Health>) -> Self {
        let Health { status, reason, writes_refused_reason } = value.readiness.into();
        Self {
            status,
            live: true,
            ready: reason.is_none(),
            reason,
            writes_refused_reason,
            draining: value.draining,
            revision: Long(revision),
            leader_name: value.leader_name,
            members: members(value.members),
        }
    }
}
