//! Wire types of the cluster and health routes, as `proto/batuta/v1/cluster.proto` names them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::service::cluster;

/// What a member is in Raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MemberRole {
    /// Orders the log.
    Leader,
    /// Copies it and votes.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Copies it and does not vote.
    Learner,
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "node_id": 2, "name": "n2", "role": "follower", "voter": true, "rest": "http://127.0.0.1:8082",
    "grpc": "http://127.0.0.1:9092", "ws": "ws://127.0.0.1:8084", "peer": "127.0.0.1:7002",
    "matched_index": 1600, "last_contact_ms": 12
}))]
pub(crate) struct Member {
    /// Raft id: given once, never reused.
    pub(crate) node_id: u64,
    /// Stable name for people.
    pub(crate) name: String,
    /// What it is now, as the answering node knows it.
    pub(crate) role: MemberRole,
    /// Whether its vote counts.
    pub(crate) voter: bool,
    /// Base URL of its REST API.
    pub(crate) rest: String,
    /// Base URL of its gRPC API.
    pub(crate) grpc: String,
    /// URL of its WebSocket API.
    pub(crate) ws: String,
    /// host:port of its peer port.
    pub(crate) peer: String,
    /// Known on the leader only: last log index it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) matched_index: Option<u64>,
    /// Known on the leader only: milliseconds since it last answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_contact_ms: Option<u64>,
    /// Set when the answering node found that this member lost acknowledged entries, or applied other entries than the leader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<String>,
}

/// How the cluster looks from the node that answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "cluster_id": "c-5f0c", "node_id": 1, "node_name": "n1", "role": "leader", "term": 3, "leader_id": 1,
    "leader_name": "n1", "last_log_index": 1600, "committed_index": 1600, "applied_index": 1600,
    "snapshot_index": 0, "purged_index": 0, "quorum_ack_ms": 40, "ready": true, "version": "0.1.0",
    "sessions": 1, "grants": 1, "waiters": 0, "locks": 1, "state_hash": "9b1c", "disk_full": false,
    "uptime_ms": 60000, "cluster_time_ms": 61000, "token_high_water": 17, "members": []
}))]
pub(crate) struct ClusterStatus {
    /// The id born with the cluster; absent before it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cluster_id: Option<String>,
    /// The node that answers; absent before it has an id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node_id: Option<u64>,
    /// Its name.
    pub(crate) node_name: String,
    /// What it is in Raft.
    pub(crate) role: MemberRole,
    /// The Raft term.
    pub(crate) term: u64,
    /// Absent while no leader is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) leader_id: Option<u64>,
    /// Absent while no leader is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) leader_name: Option<String>,
    /// Last entry of its log.
    pub(crate) last_log_index: u64,
    /// Last entry it knows committed.
    pub(crate) committed_index: u64,
    /// Last entry it applied.
    pub(crate) applied_index: u64,
    /// Last entry its snapshot covers.
    pub(crate) snapshot_index: u64,
    /// Last entry its log no longer has.
    pub(crate) purged_index: u64,
    /// Milliseconds since the leader last heard from a quorum; on the leader only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) quorum_ack_ms: Option<u64>,
    /// Whether it takes requests.
    pub(crate) ready: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) not_ready_reason: Option<String>,
    /// Batuta's version.
    pub(crate) version: String,
    /// Sessions in the state.
    pub(crate) sessions: u64,
    /// Grants in the state.
    pub(crate) grants: u64,
    /// Queued acquisitions in the state.
    pub(crate) waiters: u64,
    /// Locks in the state.
    pub(crate) locks: u64,
    /// Hash of the applied state; two nodes at the same `applied_index` have the same.
    pub(crate) state_hash: String,
    /// Whether the disk of the node that answers is nearly full.
    pub(crate) disk_full: bool,
    /// Why writes that add to the state are refused; absent when they are taken. The node is ready all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) writes_refused_reason: Option<String>,
    /// How long the node runs.
    pub(crate) uptime_ms: u64,
    /// Cluster time.
    pub(crate) cluster_time_ms: u64,
    /// The cluster's last given fencing token.
    pub(crate) token_high_water: u64,
    /// Every member.
    pub(crate) members: Vec<Member>,
}

/// The members, as the node that answers knows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"members": [], "revision": 1600}))]
pub(crate) struct MemberList {
    /// The members by id.
    pub(crate) members: Vec<Member>,
    /// The answer is true at this revision.
    pub(crate) revision: u64,
}

/// The member that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"node_id": 3}))]
pub(crate) struct MemberAnswer {
    /// Its id.
    pub(crate) node_id: u64,
}

/// Hands leadership over. The body may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"member": "n2"}))]
pub(crate) struct TransferLeaderRequest {
    /// Id or name; default the most up-to-date follower.
    #[serde(default)]
    pub(crate) member: Option<String>,
}

/// Who leads now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"leader_id": 2, "leader_name": "n2"}))]
pub(crate) struct LeaderAnswer {
    /// Its id.
    pub(crate) leader_id: u64,
    /// Its name.
    pub(crate) leader_name: String,
}

/// The snapshot that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"snapshot_index": 1600}))]
pub(crate) struct SnapshotAnswer {
    /// Last entry it covers.
    pub(crate) snapshot_index: u64,
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "waiters_per_lock_max", "value": 20000}))]
pub(crate) struct Limit {
    /// Its name.
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: u64,
}

/// Changes some limits on every node at once; the others stay.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"limits": [{"name": "waiters_per_lock_max", "value": 20000}]}))]
pub(crate) struct SetLimitsRequest {
    /// The limits to change.
    pub(crate) limits: Vec<Limit>,
}

/// The limits in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"limits": [{"name": "waiters_per_lock_max", "value": 10000}], "revision": 1600}))]
pub(crate) struct LimitsAnswer {
    /// All of them.
    pub(crate) limits: Vec<Limit>,
    /// The answer is true at this revision.
    pub(crate) revision: u64,
}

/// How the node is, in a word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"status": "ready"}))]
pub(crate) struct Health {
    /// `live`, `ready` or `not_ready`.
    pub(crate) status: &'static str,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Why writes that add to the state are refused. A node is ready all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) writes_refused_reason: Option<String>,
}

/// How the node is, in detail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "status": "ready", "live": true, "ready": true, "draining": false, "revision": 1600, "leader_name": "n1", "members": []
}))]
pub(crate) struct HealthDetail {
    /// `ready` or `not_ready`.
    pub(crate) status: &'static str,
    /// Always true: a node that can not go on exits.
    pub(crate) live: bool,
    /// Whether it should get requests.
    pub(crate) ready: bool,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Why writes that add to the state are refused. A node is ready all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) writes_refused_reason: Option<String>,
    /// Whether it is shutting down.
    pub(crate) draining: bool,
    /// The last revision it applied.
    pub(crate) revision: u64,
    /// Absent while no leader is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) leader_name: Option<String>,
    /// The members, as the node knows them.
    pub(crate) members: Vec<Member>,
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

impl From<batuta_raft::MemberStatus> for Member {
    fn from(member: batuta_raft::MemberStatus) -> Self {
        Self {
            node_id: member.node_id,
            name: member.name,
            role: member.role.into(),
            voter: member.voter,
            rest: member.addresses.rest,
            grpc: member.addresses.grpc,
            ws: member.addresses.ws,
            peer: member.addresses.peer,
            matched_index: member.matched_index,
            last_contact_ms: member.last_contact_ms,
            fault: member.fault,
        }
    }
}

impl From<cluster::ClusterStatus> for ClusterStatus {
    fn from(status: cluster::ClusterStatus) -> Self {
        let replica = status.replica;
        Self {
            cluster_id: replica.cluster_id,
            node_id: replica.node_id,
            node_name: replica.node_name,
            role: replica.role.into(),
            term: replica.term,
            leader_id: replica.leader_id,
            leader_name: status.leader_name,
            last_log_index: replica.last_log_index,
            committed_index: replica.committed_index,
            applied_index: replica.applied_index,
            snapshot_index: replica.snapshot_index,
            purged_index: replica.purged_index,
            quorum_ack_ms: replica.quorum_ack_ms,
            ready: status.not_ready.is_none(),
            not_ready_reason: status.not_ready,
            version: status.version,
            sessions: status.sessions,
            grants: status.grants,
            waiters: status.waiters,
            locks: status.locks,
            state_hash: status.state_hash.unwrap_or_default(),
            disk_full: replica.disk_full,
            writes_refused_reason: replica.writes_refused,
            uptime_ms: status.uptime_ms,
            cluster_time_ms: status.cluster_time_ms,
            token_high_water: status.token_high_water,
            members: replica.members.into_iter().map(Member::from).collect(),
        }
    }
}
