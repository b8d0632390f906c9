//! Wire types of the cluster and health routes, as `proto/batuta/v1/cluster.proto` names them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a member is in Raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
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

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "node_id": 2, "name": "n2", "role": "follower", "voter": true, "rest": "http://127.0.0.1:8082",
    "grpc": "http://127.0.0.1:9092", "ws": "ws://127.0.0.1:8084", "peer": "127.0.0.1:7002",
    "matched_index": 1600, "last_contact_ms": 12
}))]
pub(super) struct Member {
    /// Raft id: given once, never reused.
    pub(super) node_id: u64,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) matched_index: Option<u64>,
    /// Known on the leader only: milliseconds since it last answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_contact_ms: Option<u64>,
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
pub(super) struct ClusterStatus {
    /// The id born with the cluster; absent before it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cluster_id: Option<String>,
    /// The node that answers; absent before it has an id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) node_id: Option<u64>,
    /// Its name.
    pub(super) node_name: String,
    /// What it is in Raft.
    pub(super) role: MemberRole,
    /// The Raft term.
    pub(super) term: u64,
    /// Absent while no leader is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) leader_id: Option<u64>,
    /// Absent while no leader is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) leader_name: Option<String>,
    /// Last entry of its log.
    pub(super) last_log_index: u64,
    /// Last entry it knows committed.
    pub(super) committed_index: u64,
    /// Last entry it applied.
    pub(super) applied_index: u64,
    /// Last entry its snapshot covers.
    pub(super) snapshot_index: u64,
    /// Last entry its log no longer has.
    pub(super) purged_index: u64,
    /// Milliseconds since the leader last heard from a quorum; on the leader only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) quorum_ack_ms: Option<u64>,
    /// Whether it takes requests.
    pub(super) ready: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) not_ready_reason: Option<String>,
    /// Batuta's version.
    pub(super) version: String,
    /// Sessions in the state.
    pub(super) sessions: u64,
    /// Grants in the state.
    pub(super) grants: u64,
    /// Queued acquisitions in the state.
    pub(super) waiters: u64,
    /// Locks in the state.
    pub(super) locks: u64,
    /// Hash of the applied state; two nodes at the same `applied_index` have the same.
    pub(super) state_hash: String,
    /// Whether writes are refused because the disk is nearly full.
    pub(super) disk_full: bool,
    /// How long the node runs.
    pub(super) uptime_ms: u64,
    /// Cluster time.
    pub(super) cluster_time_ms: u64,
    /// The cluster's last given fencing token.
    pub(super) token_high_water: u64,
    /// Every member.
    pub(super) members: Vec<Member>,
}

/// The members, as the node that answers knows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"members": [], "revision": 1600}))]
pub(super) struct MemberList {
    /// The members by id.
    pub(super) members: Vec<Member>,
    /// The answer is true at this revision.
    pub(super) revision: u64,
}

/// The member that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"node_id": 3}))]
pub(super) struct MemberAnswer {
    /// Its id.
    pub(super) node_id: u64,
}

/// Hands leadership over. The body may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"member": "n2"}))]
pub(super) struct TransferLeaderRequest {
    /// Id or name; default the most up-to-date follower.
    #[serde(default)]
    pub(super) member: Option<String>,
}

/// Who leads now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"leader_id": 2, "leader_name": "n2"}))]
pub(super) struct LeaderAnswer {
    /// Its id.
    pub(super) leader_id: u64,
    /// Its name.
    pub(super) leader_name: String,
}

/// The snapshot that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"snapshot_index": 1600}))]
pub(super) struct SnapshotAnswer {
    /// Last entry it covers.
    pub(super) snapshot_index: u64,
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "waiters_per_lock_max", "value": 20000}))]
pub(super) struct Limit {
    /// Its name.
    pub(super) name: String,
    /// Its value.
    pub(super) value: u64,
}

/// Changes some limits on every node at once; the others stay.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"limits": [{"name": "waiters_per_lock_max", "value": 20000}]}))]
pub(super) struct SetLimitsRequest {
    /// The limits to change.
    pub(super) limits: Vec<Limit>,
}

/// The limits in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"limits": [{"name": "waiters_per_lock_max", "value": 10000}], "revision": 1600}))]
pub(super) struct LimitsAnswer {
    /// All of them.
    pub(super) limits: Vec<Limit>,
    /// The answer is true at this revision.
    pub(super) revision: u64,
}

/// How the node is, in a word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"status": "ready"}))]
pub(super) struct Health {
    /// `live`, `ready` or `not_ready`.
    pub(super) status: &'static str,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

/// How the node is, in detail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "status": "ready", "live": true, "ready": true, "draining": false, "revision": 1600, "leader_name": "n1", "members": []
}))]
pub(super) struct HealthDetail {
    /// `ready` or `not_ready`.
    pub(super) status: &'static str,
    /// Always true: a node that can not go on exits.
    pub(super) live: bool,
    /// Whether it should get requests.
    pub(super) ready: bool,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// Whether it is shutting down.
    pub(super) draining: bool,
    /// The last revision it applied.
    pub(super) revision: u64,
    /// Absent while no leader is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) leader_name: Option<String>,
    /// The members, as the node knows them.
    pub(super) members: Vec<Member>,
}
