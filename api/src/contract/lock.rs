//! Objects of locks.

use async_graphql::{Enum, InputObject, SimpleObject};
use batuta_statemachine::lock as core;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

mod convert;

use super::Long;
use crate::service::Consistency;
use crate::service::lock::LockMode;

/// How one lock is taken by an acquisition.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema, SimpleObject, InputObject)]
#[serde(deny_unknown_fields)]
#[graphql(input_name = "LockInput")]
#[schema(example = json!({"name": "gpu", "mode": "semaphore", "permits": 2, "capacity": 8}))]
pub(crate) struct LockRequest {
    /// Name of the lock: a path of segments, such as `orders/42`.
    pub(crate) name: String,
    /// Default `exclusive`.
    #[serde(default)]
    #[graphql(default)]
    pub(crate) mode: LockMode,
    /// Semaphore only: permits taken, default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) permits: Option<u32>,
    /// Semaphore only: permits there are. The first request sets the capacity; one that disagrees is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) capacity: Option<u32>,
}

/// Asks for one lock (`name`, `mode`, …) or for several all or nothing (`locks`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema, InputObject)]
#[serde(deny_unknown_fields)]
#[graphql(name = "AcquireInput")]
#[schema(example = json!({"name": "orders/42", "ttl_ms": 30000, "wait_ms": 5000, "owner": "worker-7"}))]
pub(crate) struct AcquireRequest {
    /// The one lock that is asked for. Either this or `locks`.
    pub(crate) name: Option<String>,
    /// With `name`: default `exclusive`.
    pub(crate) mode: Option<LockMode>,
    /// With `name`, semaphore only: permits taken, default 1.
    pub(crate) permits: Option<u32>,
    /// With `name`, semaphore only: permits there are.
    pub(crate) capacity: Option<u32>,
    /// The locks that are asked for, all or nothing, under one fencing token. Either this or `name`.
    pub(crate) locks: Option<Vec<LockRequest>>,
    /// The session the grant lives and dies with. A grant without a session has a time to live of its own.
    pub(crate) session_id: Option<String>,
    /// A label inside the session (a thread, a job); without a session, for people.
    #[serde(default)]
    #[graphql(default)]
    pub(crate) owner: String,
    /// Time to live of a grant without a session, milliseconds; required then, refused with a session.
    pub(crate) ttl_ms: Option<Long>,
    /// How long to wait in the queue, milliseconds; 0, the default, answers at once. Closing the connection ends the wait.
    #[serde(default)]
    #[graphql(default)]
    pub(crate) wait_ms: Long,
    /// How long the locks stay closed after the holder lost them without giving them back, milliseconds; default 0.
    #[serde(default)]
    #[graphql(default)]
    pub(crate) lock_delay_ms: Long,
    /// Whether the owner may take again what it holds: same grant, same token, a count. Needs a session.
    #[serde(default)]
    #[graphql(default)]
    pub(crate) reentrant: bool,
    /// Free text for people, shown in listings.
    #[serde(default)]
    #[graphql(default)]
    pub(crate) metadata: String,
}

/// Gives a grant back, named by its id, or by `name` and a fencing token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema, InputObject)]
#[serde(deny_unknown_fields)]
#[graphql(name = "ReleaseInput")]
pub(crate) struct ReleaseRequest {
    /// The grant to give back. Either this or a fencing token.
    pub(crate) lock_id: Option<String>,
    /// With the id of a grant: must be a name of the grant, when given. With a fencing token: required.
    pub(crate) name: Option<String>,
    /// The token that holds `name`. A retry under the same key gets the same answer.
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
    /// The token that was looked at; refused when another holds the lock by now.
    pub(crate) fencing_token: Long,
    /// Why, for the audit trail.
    pub(crate) reason: String,
}

/// Asks for a longer life of a one-shot grant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema, InputObject)]
#[serde(deny_unknown_fields)]
#[graphql(name = "ExtendInput")]
#[schema(example = json!({"lock_id": "l-1532.0", "ttl_ms": 30000}))]
pub(crate) struct ExtendRequest {
    /// The grant.
    pub(crate) lock_id: String,
    /// When given, must be a name of the grant. REST has it in the path.
    #[schema(ignore)]
    pub(crate) name: Option<String>,
    /// The grant lives at least this long from now, milliseconds; never shortens.
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
    /// Names this acquisition; release, extend and cancel take it.
    pub(crate) lock_id: String,
    /// Send the token with every write to what the lock protects; a resource refuses a token older than one it has seen.
    pub(crate) fencing_token: Long,
    /// The namespace the locks live in.
    pub(crate) namespace: String,
    /// The lock, when the grant holds exactly one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// How the lock is held, when the grant holds exactly one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<LockMode>,
    /// Everything the grant holds.
    pub(crate) locks: Vec<LockRequest>,
    /// The session that keeps the grant alive; left out for a one-shot grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_id: Option<String>,
    /// The owner label.
    pub(crate) owner: String,
    /// How often a re-entrant owner took the locks.
    pub(crate) count: Long,
    /// Revision of the grant.
    pub(crate) granted_revision: Long,
    /// When the locks were granted. RFC 3339 UTC, for people.
    pub(crate) granted_at: String,
    /// One-shot grants only: when the grant expires unless it is extended. RFC 3339 UTC, for people; decides nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<String>,
    /// One-shot grants only: time to live, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl_ms: Option<Long>,
    /// One-shot grants only: the grant lives at least this long from the answer's revision on, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remaining_ms: Option<Long>,
    /// Lock-delay after an involuntary loss, milliseconds.
    pub(crate) lock_delay_ms: Long,
    /// Free text of the owner.
    pub(crate) metadata: String,
}

/// A grant and the revision it is true at.
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
    /// The answer is true at this revision.
    pub(crate) revision: Long,
}

/// A queued acquisition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "lock_id": "l-1540.0", "locks": [{"name": "orders/42", "mode": "exclusive"}], "session_id": "s-12.0",
    "owner": "worker-8", "queue_position": 0, "remaining_ms": 4200
}))]
pub(crate) struct Waiter {
    /// Names the acquisition; the grant will have the same id.
    pub(crate) lock_id: String,
    /// The locks that are wanted.
    pub(crate) locks: Vec<LockRequest>,
    /// The session of the waiter, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_id: Option<String>,
    /// The owner label.
    pub(crate) owner: String,
    /// Waiters ahead.
    pub(crate) queue_position: Long,
    /// The wait goes on at least this long from the answer's revision on, milliseconds.
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
    /// The namespace the lock lives in.
    pub(crate) namespace: String,
    /// How the lock is held now; without holders, how the first waiter wants it; left out when only lock-delay keeps it closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<LockMode>,
    /// Semaphore only: permits there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) capacity: Option<u32>,
    /// Semaphore only: permits nobody holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) permits_free: Option<u32>,
    /// The holders, oldest first; all of them unless there is a cursor to the next holders.
    pub(crate) holders: Vec<Grant>,
    /// How many hold the lock in all.
    pub(crate) holder_count: Long,
    /// Read the lock again with this cursor for the next holders; left out when these are the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_holders_cursor: Option<String>,
    /// The first waiters.
    pub(crate) waiters: Vec<Waiter>,
    /// How many wait in all.
    pub(crate) waiter_count: Long,
    /// Read the lock again with this cursor for the next waiters; left out when these are the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_waiters_cursor: Option<String>,
    /// How long lock-delay keeps the lock closed, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delayed_ms: Option<Long>,
}

/// A lock and the revision it is true at.
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
    /// The answer is true at this revision.
    pub(crate) revision: Long,
}

/// A page of locks in name order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"locks": [], "next_cursor": "n6f72646572732f3432", "revision": 1544}))]
pub(crate) struct LockPage {
    /// The locks.
    pub(crate) locks: Vec<Lock>,
    /// The `cursor` of the next page; empty on the last page.
    pub(crate) next_cursor: String,
    /// The answer is true at this revision.
    pub(crate) revision: Long,
}

/// What was given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({"lock_id": "l-1532.0", "fencing_token": 17, "remaining_count": 0, "revision": 1550}))]
pub(crate) struct ReleaseAnswer {
    /// The grant.
    pub(crate) lock_id: String,
    /// The token of the grant.
    pub(crate) fencing_token: Long,
    /// What is left of a re-entrant count; 0 = the locks are free.
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

/// How a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema, Enum)]
#[serde(rename_all = "snake_case")]
#[graphql(remote = "core::TokenStatus")]
pub(crate) enum TokenStatus {
    /// The token holds the lock.
    Held,
    /// Another token holds the lock.
    Superseded,
    /// Nobody holds the lock.
    NotHeld,
}

/// How a token stands on a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({"current": false, "status": "superseded", "newest_token": 21, "revision": 1600}))]
pub(crate) struct CheckAnswer {
    /// Whether the token holds the lock now.
    pub(crate) current: bool,
    /// How the token stands.
    pub(crate) status: TokenStatus,
    /// The newest token that holds the lock, if any does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) newest_token: Option<Long>,
    /// The answer is true at this revision.
    pub(crate) revision: Long,
}

/// What keeps one waiter waiting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "lock_id": "l-1532.0", "name": "orders/42", "session_id": "s-12.0", "owner": "worker-7",
    "fencing_token": 17, "waits_for": []
}))]
pub(crate) struct Blocker {
    /// The acquisition in the way.
    pub(crate) lock_id: String,
    /// The lock on which the acquisition is in the way.
    pub(crate) name: String,
    /// The session of the acquisition, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_id: Option<String>,
    /// The owner label.
    pub(crate) owner: String,
    /// The token of a holder; left out for a waiter ahead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fencing_token: Option<Long>,
    /// The locks that owner itself waits for.
    pub(crate) waits_for: Vec<String>,
}

/// A waiter and what keeps it waiting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
pub(crate) struct WaiterExplanation {
    /// The waiter.
    pub(crate) waiter: Waiter,
    /// The acquisitions in the way.
    pub(crate) blockers: Vec<Blocker>,
}

/// Who holds a lock, who waits, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "waiters": [], "summary": "orders/42 is free: nobody holds it or waits for it.", "revision": 1600
}))]
pub(crate) struct ExplainAnswer {
    /// The lock; left out when it is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lock: Option<Lock>,
    /// The first waiters.
    pub(crate) waiters: Vec<WaiterExplanation>,
    /// One sentence for people.
    pub(crate) summary: String,
    /// The answer is true at this revision.
    pub(crate) revision: Long,
}

/// Query of a listing of locks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListLocksQuery {
    /// Names that start with this text.
    #[param(example = "orders/")]
    #[serde(default)]
    pub(crate) prefix: String,
    /// Held or waited for by this session.
    #[serde(default)]
    pub(crate) session_id: String,
    /// Held or waited for under this owner label.
    pub(crate) owner: Option<String>,
    /// Page size, default 100, at most 1,000. A page may be shorter, because its bytes are bounded too.
    pub(crate) limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
    /// How current the answer must be.
    #[serde(default)]
    #[param(inline)]
    pub(crate) consistency: Consistency,
}

/// Query of a read of one lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LockQuery {
    /// How current the answer must be.
    #[serde(default)]
    #[param(inline)]
    pub(crate) consistency: Consistency,
    /// `next_holders_cursor` of the answer before: only the holders behind it.
    #[serde(default)]
    pub(crate) holders_cursor: String,
    /// `next_waiters_cursor` of the answer before: only the waiters behind it.
    #[serde(default)]
    pub(crate) waiters_cursor: String,
}

/// Query of a release: by `lock_id`, by `fencing_token`, or by force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReleaseQuery {
    /// The grant to give back.
    #[param(example = "l-1532.0")]
    pub(crate) lock_id: Option<String>,
    /// The token of the grant to give back, or with `force` the token that was looked at.
    pub(crate) fencing_token: Option<Long>,
    /// When given, the grant must belong to this session.
    pub(crate) session_id: Option<String>,
    /// Takes the lock away from its owner.
    #[serde(default)]
    pub(crate) force: bool,
    /// With `force`: why, for the audit trail.
    pub(crate) reason: Option<String>,
}

/// Query of a check.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CheckQuery {
    /// The token a writer presented.
    #[param(example = 17)]
    pub(crate) fencing_token: Long,
    /// How current the answer must be.
    #[serde(default)]
    #[param(inline)]
    pub(crate) consistency: Consistency,
}
