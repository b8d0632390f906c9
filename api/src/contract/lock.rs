//! The public objects of locks.

use async_graphql::{Enum, InputObject, SimpleObject};
use batuta_statemachine::lock as core;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

mod convert;

use super::Long;
use crate::service::Consistency;
use crate::service::lock::LockMode;

/// One lock of an acquisition, and its mode.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema, SimpleObject, InputObject)]
#[serde(deny_unknown_fields)]
#[graphql(input_name = "LockInput")]
#[schema(example = json!({"name": "gpu", "mode": "semaphore", "permits": 2, "capacity": 8}))]
pub(crate) struct LockRequest {
    /// Name of the lock: a path of segments, such as `orders/42`.
    pub(crate) name: String,
    /// The mode; by default `exclusive`.
    #[serde(default)]
    #[graphql(default)]
    pub(crate) mode: LockMode,
    /// Semaphore only: the permits to take; by default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) permits: Option<u32>,
    /// Semaphore only: the total number of permits. The first request sets it; a request with another number is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) capacity: Option<u32>,
}

/// Takes one lock (`name`, `mode`, …), or several all or nothing (`locks`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema, InputObject)]
#[serde(deny_unknown_fields)]
#[graphql(name = "AcquireInput")]
#[schema(example = json!({"name": "orders/42", "ttl_ms": 30000, "wait_ms": 5000, "owner": "worker-7"}))]
pub(crate) struct AcquireRequest {
    /// The name of a single lock. Give either this or `locks`.
    pub(crate) name: Option<String>,
    /// With `name`: the mode; by default `exclusive`.
    pub(crate) mode: Option<LockMode>,
    /// With `name`, semaphore only: the permits to take; by default 1.
    pub(crate) permits: Option<u32>,
    /// With `name`, semaphore only: the total number of permits.
    pub(crate) capacity: Option<u32>,
    /// Several locks, taken all or nothing under one fencing token. Give either this or `name`.
    pub(crate) locks: Option<Vec<LockRequest>>,
    /// The session that owns the grant: the locks are released when the session ends. A grant without a session has its own TTL.
    pub(crate) session_id: Option<String>,
    /// A label of the owner. It distinguishes owners within a session (threads, for example); without a session it is for people.
    #[serde(default)]
    #[graphql(default)]
    pub(crate) owner: String,
    /// The TTL of a grant without a session, in milliseconds. Required without a session, refused with one.
    pub(crate) ttl_ms: Option<Long>,
    /// How long to wait in the queue, in milliseconds; 0, the default, answers at once. Closing the connection ends the wait.
    #[serde(default)]
    #[graphql(default)]
    pub(crate) wait_ms: Long,
    /// How long the locks stay closed to others after the holder lost them without releasing them, in milliseconds; by default 0.
    #[serde(default)]
    #[graphql(default)]
    pub(crate) lock_delay_ms: Long,
    /// Whether the owner may take locks again that it holds: the grant and its token stay the same, and a count rises. Needs a session.
    #[serde(default)]
    #[graphql(default)]
    pub(crate) reentrant: bool,
    /// Free text for people, shown in listings.
    #[serde(default)]
    #[graphql(default)]
    pub(crate) metadata: String,
}

/// Releases a grant, which is named by its id, or by `name` and a fencing token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema, InputObject)]
#[serde(deny_unknown_fields)]
#[graphql(name = "ReleaseInput")]
pub(crate) struct ReleaseRequest {
    /// The id of the grant. Give either this or a fencing token.
    pub(crate) lock_id: Option<String>,
    /// With the id of a grant: if given, must be a name of the grant. With a fencing token: required.
    pub(crate) name: Option<String>,
    /// The token under which `name` is held. A retry under the same key gets the same answer.
    pub(crate) fencing_token: Option<Long>,
    /// When given, the grant must belong to this session: a session that names itself gives back only what it owns.
    pub(crate) session_id: Option<String>,
}

/// Turns the exclusive locks of a grant into shared ones. The grant is named by its id, or by `name` and a fencing token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema, InputObject)]
#[serde(deny_unknown_fields)]
#[graphql(name = "DowngradeInput")]
#[schema(example = json!({"lock_id": "l-1532.0"}))]
pub(crate) struct DowngradeRequest {
    /// The grant. Either this or a fencing token.
    pub(crate) lock_id: Option<String>,
    /// With the id of a grant: must be a name of the grant, when given. With a fencing token: required. REST has it in the path.
    #[schema(ignore)]
    pub(crate) name: Option<String>,
    /// The token that holds `name`.
    pub(crate) fencing_token: Option<Long>,
    /// When given, the grant must belong to this session.
    pub(crate) session_id: Option<String>,
}

/// Replaces the free text of a grant, which is named by its id, or by `name` and a fencing token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema, InputObject)]
#[serde(deny_unknown_fields)]
#[graphql(name = "SetMetadataInput")]
#[schema(example = json!({"fencing_token": 17, "metadata": "batch 3 of 9"}))]
pub(crate) struct SetMetadataRequest {
    /// The grant. Either this or a fencing token.
    pub(crate) lock_id: Option<String>,
    /// With the id of a grant: must be a name of the grant, when given. With a fencing token: required. REST has it in the path.
    #[schema(ignore)]
    pub(crate) name: Option<String>,
    /// The token that holds `name`.
    pub(crate) fencing_token: Option<Long>,
    /// When given, the grant must belong to this session.
    pub(crate) session_id: Option<String>,
    /// The new text.
    pub(crate) metadata: String,
}

/// Changes the capacity of a semaphore that is in use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema, InputObject)]
#[serde(deny_unknown_fields)]
#[graphql(name = "ResizeInput")]
#[schema(example = json!({"capacity": 12}))]
pub(crate) struct ResizeRequest {
    /// The semaphore. REST has it in the path.
    #[serde(default)]
    #[schema(ignore)]
    pub(crate) name: String,
    /// Permits there will be. Below the permits that are held, nobody loses any: the semaphore is full until enough are given back.
    pub(crate) capacity: u32,
}

/// Takes a grant away from its owner.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema, InputObject)]
#[serde(deny_unknown_fields)]
#[graphql(name = "ForceReleaseInput")]
pub(crate) struct ForceReleaseRequest {
    /// A name of the grant.
    pub(crate) name: String,
    /// The holder's token, as it was seen. Refused when the lock is held under another token by now.
    pub(crate) fencing_token: Long,
    /// The reason, which is kept for the audit.
    pub(crate) reason: String,
}

/// Renews a one-shot grant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema, InputObject)]
#[serde(deny_unknown_fields)]
#[graphql(name = "ExtendInput")]
#[schema(example = json!({"lock_id": "l-1532.0", "ttl_ms": 30000}))]
pub(crate) struct ExtendRequest {
    /// The grant.
    pub(crate) lock_id: String,
    /// If given, must be a name of the grant. REST has it in the path.
    #[schema(ignore)]
    pub(crate) name: Option<String>,
    /// The grant lives at least this long from now on, in milliseconds. Never shortens its life.
    pub(crate) ttl_ms: Long,
}

/// Withdraws a queued acquisition.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema, InputObject)]
#[serde(deny_unknown_fields)]
#[graphql(name = "CancelWaitInput")]
pub(crate) struct CancelWaitRequest {
    /// The acquisition.
    pub(crate) lock_id: String,
}

/// A held acquisition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "lock_id": "l-1532.0", "fencing_token": 17, "namespace": "default", "name": "orders/42", "mode": "exclusive",
    "locks": [{"name": "orders/42", "mode": "exclusive"}], "owner": "worker-7", "count": 1,
    "granted_revision": 1532, "granted_at": "2026-11-23T10:00:00.000Z", "expires_at": "2026-11-23T10:00:30.000Z",
    "ttl_ms": 30000, "remaining_ms": 30000, "lock_delay_ms": 0, "metadata": ""
}))]
pub(crate) struct Grant {
    /// The id of the acquisition, for release, extend and cancel.
    pub(crate) lock_id: String,
    /// The fencing token. Send it with every write to the protected resource, which refuses a token older than one it has seen.
    pub(crate) fencing_token: Long,
    /// The namespace of the locks.
    pub(crate) namespace: String,
    /// The lock, when the grant holds exactly one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// The mode of the lock, when the grant holds exactly one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<LockMode>,
    /// All locks of the grant.
    pub(crate) locks: Vec<LockRequest>,
    /// The session that keeps the grant alive; left out for a one-shot grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_id: Option<String>,
    /// The owner label.
    pub(crate) owner: String,
    /// How often the owner has taken the locks; more than 1 only after re-entry.
    pub(crate) count: Long,
    /// Revision of the grant.
    pub(crate) granted_revision: Long,
    /// When the locks were granted. RFC 3339 UTC, for people.
    pub(crate) granted_at: String,
    /// One-shot grants only: when the grant expires unless it is extended. RFC 3339 UTC, for people; it decides nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<String>,
    /// One-shot grants only: the TTL, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl_ms: Option<Long>,
    /// One-shot grants only: the grant lives at least this long from the revision of the answer on, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remaining_ms: Option<Long>,
    /// How long the locks stay closed to others after an involuntary loss, in milliseconds.
    pub(crate) lock_delay_ms: Long,
    /// Free text of the owner.
    pub(crate) metadata: String,
}

/// A grant, and the revision at which it is true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "lock_id": "l-1532.0", "fencing_token": 17, "namespace": "default", "name": "orders/42", "mode": "exclusive",
    "locks": [{"name": "orders/42", "mode": "exclusive"}], "owner": "worker-7", "count": 1,
    "granted_revision": 1532, "granted_at": "2026-11-23T10:00:00.000Z", "expires_at": "2026-11-23T10:00:30.000Z",
    "ttl_ms": 30000, "remaining_ms": 30000, "lock_delay_ms": 0, "metadata": "", "revision": 1532
}))]
pub(crate) struct GrantAnswer {
    /// The grant.
    #[serde(flatten)]
    #[graphql(flatten)]
    pub(crate) grant: Grant,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// A queued acquisition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "lock_id": "l-1540.0", "locks": [{"name": "orders/42", "mode": "exclusive"}], "session_id": "s-12.0",
    "owner": "worker-8", "queue_position": 0, "remaining_ms": 4200
}))]
pub(crate) struct Waiter {
    /// The id of the acquisition; the grant will have the same id.
    pub(crate) lock_id: String,
    /// The requested locks.
    pub(crate) locks: Vec<LockRequest>,
    /// The session of the waiter, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_id: Option<String>,
    /// The owner label.
    pub(crate) owner: String,
    /// The number of waiters ahead.
    pub(crate) queue_position: Long,
    /// The wait lasts at least this long from the revision of the answer on, in milliseconds.
    pub(crate) remaining_ms: Long,
}

/// A lock that is held, waited for, or closed by lock-delay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "name": "orders/42", "namespace": "default", "holders": [], "holder_count": 0, "waiters": [],
    "waiter_count": 0, "delayed_ms": 3000
}))]
pub(crate) struct Lock {
    /// Name of the lock.
    pub(crate) name: String,
    /// The namespace of the lock.
    pub(crate) namespace: String,
    /// The mode in which the lock is held. Without holders, the mode that the first waiter requests; left out when only lock-delay keeps it closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<LockMode>,
    /// Semaphore only: the total number of permits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) capacity: Option<u32>,
    /// Semaphore only: the number of free permits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) permits_free: Option<u32>,
    /// The holders, oldest first. All of them, unless there is a cursor to the next holders.
    pub(crate) holders: Vec<Grant>,
    /// The total number of holders.
    pub(crate) holder_count: Long,
    /// Read the lock again with this cursor to get the next holders; left out when there are no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_holders_cursor: Option<String>,
    /// The first waiters, in the order of the queue.
    pub(crate) waiters: Vec<Waiter>,
    /// The total number of waiters.
    pub(crate) waiter_count: Long,
    /// Read the lock again with this cursor to get the next waiters; left out when there are no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_waiters_cursor: Option<String>,
    /// How long lock-delay keeps the lock closed, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delayed_ms: Option<Long>,
}

/// A lock, and the revision at which it is true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "name": "orders/42", "namespace": "default", "holders": [], "holder_count": 0, "waiters": [],
    "waiter_count": 0, "delayed_ms": 3000, "revision": 1544
}))]
pub(crate) struct LockAnswer {
    /// The lock.
    #[serde(flatten)]
    #[graphql(flatten)]
    pub(crate) lock: Lock,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// A page of locks, in order of their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"locks": [], "next_cursor": "n6f72646572732f3432", "filtered": false, "revision": 1544}))]
pub(crate) struct LockPage {
    /// The locks.
    pub(crate) locks: Vec<Lock>,
    /// The `cursor` of the next page; empty on the last page.
    pub(crate) next_cursor: String,
    /// Whether items may be missing because the caller may not see them.
    pub(crate) filtered: bool,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// The answer to a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({"lock_id": "l-1532.0", "fencing_token": 17, "remaining_count": 0, "revision": 1550}))]
pub(crate) struct ReleaseAnswer {
    /// The grant.
    pub(crate) lock_id: String,
    /// The token of the grant.
    pub(crate) fencing_token: Long,
    /// The remaining count of a reentrant grant; 0 means that the locks are free.
    pub(crate) remaining_count: Long,
    /// The revision of the release.
    pub(crate) revision: Long,
}

/// A semaphore with its new capacity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({"name": "gpu", "capacity": 12, "permits_held": 8, "revision": 1551}))]
pub(crate) struct ResizeAnswer {
    /// The semaphore.
    pub(crate) name: String,
    /// Permits there are now.
    pub(crate) capacity: u32,
    /// Permits that are held now; more than `capacity` until enough are given back.
    pub(crate) permits_held: u32,
    /// The revision of the change.
    pub(crate) revision: Long,
}

/// The status of a fencing token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema, Enum)]
#[serde(rename_all = "snake_case")]
#[graphql(remote = "core::TokenStatus")]
pub(crate) enum TokenStatus {
    /// The lock is held under this token.
    Held,
    /// The lock is held under another token.
    Superseded,
    /// Nobody holds the lock.
    NotHeld,
}

/// The answer to a token check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({"current": false, "status": "superseded", "newest_token": 21, "revision": 1600}))]
pub(crate) struct CheckAnswer {
    /// Whether the lock is held under this token now.
    pub(crate) current: bool,
    /// The status of the token.
    pub(crate) status: TokenStatus,
    /// The newest token under which the lock is held, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) newest_token: Option<Long>,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// An acquisition that blocks a waiter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "lock_id": "l-1532.0", "name": "orders/42", "session_id": "s-12.0", "owner": "worker-7",
    "fencing_token": 17, "waits_for": []
}))]
pub(crate) struct Blocker {
    /// The id of the blocking acquisition.
    pub(crate) lock_id: String,
    /// The lock on which it blocks the waiter.
    pub(crate) name: String,
    /// The session of the blocking acquisition, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_id: Option<String>,
    /// The owner label.
    pub(crate) owner: String,
    /// The token of a holder; left out for a waiter ahead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fencing_token: Option<Long>,
    /// The locks that the owner of the blocking acquisition waits for itself.
    pub(crate) waits_for: Vec<String>,
}

/// A waiter, and what blocks it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
pub(crate) struct WaiterExplanation {
    /// The waiter.
    pub(crate) waiter: Waiter,
    /// The acquisitions that block it.
    pub(crate) blockers: Vec<Blocker>,
}

/// Who holds a lock, who waits, and what blocks each waiter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "waiters": [], "names_hidden": 0, "summary": "orders/42 is free: nobody holds it or waits for it.", "revision": 1600
}))]
pub(crate) struct ExplainAnswer {
    /// The lock; left out when it is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lock: Option<Lock>,
    /// The first waiters, in the order of the queue.
    pub(crate) waiters: Vec<WaiterExplanation>,
    /// The number of names left out because the caller may not read them.
    pub(crate) names_hidden: Long,
    /// A summary in one sentence, for people.
    pub(crate) summary: String,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// Query of a listing of locks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListLocksQuery {
    /// Only locks whose name starts with this prefix.
    #[param(example = "orders/")]
    #[serde(default)]
    pub(crate) prefix: String,
    /// Only locks that this session holds or waits for.
    #[serde(default)]
    pub(crate) session_id: String,
    /// Only locks held or waited for under this owner label.
    pub(crate) owner: Option<String>,
    /// Page size: by default 100, at most 1,000. A page may be shorter, because its size in bytes is bounded, too.
    pub(crate) limit: Option<u32>,
    /// `next_cursor` of the previous page.
    pub(crate) cursor: Option<String>,
    /// The consistency of the read.
    #[serde(default)]
    #[param(inline)]
    pub(crate) consistency: Consistency,
}

/// Query of a read of one lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LockQuery {
    /// The consistency of the read.
    #[serde(default)]
    #[param(inline)]
    pub(crate) consistency: Consistency,
    /// `next_holders_cursor` of the previous answer: reads the holders after it.
    #[serde(default)]
    pub(crate) holders_cursor: String,
    /// `next_waiters_cursor` of the previous answer: reads the waiters after it.
    #[serde(default)]
    pub(crate) waiters_cursor: String,
}

/// Query of a release: by `lock_id`, by `fencing_token`, or by force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReleaseQuery {
    /// The id of the grant to release.
    #[param(example = "l-1532.0")]
    pub(crate) lock_id: Option<String>,
    /// The token of the grant to release; with `force`, the holder's token as it was seen.
    pub(crate) fencing_token: Option<Long>,
    /// When given, the grant must belong to this session.
    pub(crate) session_id: Option<String>,
    /// Takes the lock away from its owner.
    #[serde(default)]
    pub(crate) force: bool,
    /// With `force`: the reason, which is kept for the audit.
    pub(crate) reason: Option<String>,
}

/// Query of a check.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CheckQuery {
    /// The token that a writer presented.
    #[param(example = 17)]
    pub(crate) fencing_token: Long,
    /// The consistency of the read.
    #[serde(default)]
    #[param(inline)]
    pub(crate) consistency: Consistency,
}
