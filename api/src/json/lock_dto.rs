//! Wire types of the lock routes, as `proto/batuta/v1/lock.proto` names them.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// How a lock is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LockMode {
    /// One holder.
    #[default]
    Exclusive,
    /// Any number of holders, none of them exclusive.
    Shared,
    /// `permits` out of `capacity`.
    Semaphore,
}

/// One name of an acquisition.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "gpu", "mode": "semaphore", "permits": 2, "capacity": 8}))]
pub(crate) struct LockRequest {
    /// A path of segments, such as `orders/42`.
    pub(crate) name: String,
    /// Default `exclusive`.
    #[serde(default)]
    pub(crate) mode: LockMode,
    /// Semaphore only: permits taken, default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) permits: Option<u32>,
    /// Semaphore only: permits there are. The first request sets it; one that disagrees is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) capacity: Option<u32>,
}

/// Asks for one lock (`name`, `mode`, …) or for several all or nothing (`locks`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
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
    /// The session the grant lives and dies with. Without one the grant lives for `ttl_ms`.
    pub(crate) session_id: Option<String>,
    /// A label inside the session (a thread, a job); for people when there is no session.
    #[serde(default)]
    pub(crate) owner: String,
    /// Time to live of a grant without a session; required then, refused with a session.
    pub(crate) ttl_ms: Option<u64>,
    /// How long to wait in the queue; 0, the default, answers at once. Closing the connection ends the wait.
    #[serde(default)]
    pub(crate) wait_ms: u64,
    /// How long the locks stay closed after the holder lost them without giving them back; default 0.
    #[serde(default)]
    pub(crate) lock_delay_ms: u64,
    /// Whether the owner may take again what it holds: same grant, same token, a count. Needs a session.
    #[serde(default)]
    pub(crate) reentrant: bool,
    /// Free text for people, shown in listings.
    #[serde(default)]
    pub(crate) metadata: String,
}

/// A held acquisition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "lock_id": "l-1532.0", "fencing_token": 17, "namespace": "default", "name": "orders/42", "mode": "exclusive",
    "locks": [{"name": "orders/42", "mode": "exclusive"}], "owner": "worker-7", "count": 1,
    "granted_revision": 1532, "granted_at": "2026-11-23T10:00:00.000Z", "expires_at": "2026-11-23T10:00:30.000Z",
    "ttl_ms": 30000, "remaining_ms": 30000, "lock_delay_ms": 0, "metadata": ""
}))]
pub(crate) struct Grant {
    /// Names this acquisition; release, extend and cancel take it.
    pub(crate) lock_id: String,
    /// Send it with every write to what the lock protects; a resource refuses a token older than one it has seen.
    pub(crate) fencing_token: u64,
    /// Where the locks live.
    pub(crate) namespace: String,
    /// The lock, when the grant holds exactly one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// Its mode, when the grant holds exactly one lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<LockMode>,
    /// Everything the grant holds.
    pub(crate) locks: Vec<LockRequest>,
    /// The session that keeps it alive; absent for a one-shot grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_id: Option<String>,
    /// The owner label.
    pub(crate) owner: String,
    /// How often a re-entrant owner took it.
    pub(crate) count: u64,
    /// Revision of the grant.
    pub(crate) granted_revision: u64,
    /// When it was granted; RFC 3339 UTC, for people.
    pub(crate) granted_at: String,
    /// One-shot grants only. RFC 3339 UTC, for people; decides nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<String>,
    /// One-shot grants only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl_ms: Option<u64>,
    /// One-shot grants only: at least this long it lives from the answer's revision on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remaining_ms: Option<u64>,
    /// Lock-delay after an involuntary loss.
    pub(crate) lock_delay_ms: u64,
    /// Free text of the owner.
    pub(crate) metadata: String,
}

/// A grant and the revision it is true at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "lock_id": "l-1532.0", "fencing_token": 17, "namespace": "default", "name": "orders/42", "mode": "exclusive",
    "locks": [{"name": "orders/42", "mode": "exclusive"}], "owner": "worker-7", "count": 1,
    "granted_revision": 1532, "granted_at": "2026-11-23T10:00:00.000Z", "expires_at": "2026-11-23T10:00:30.000Z",
    "ttl_ms": 30000, "remaining_ms": 30000, "lock_delay_ms": 0, "metadata": "", "revision": 1532
}))]
pub(crate) struct GrantAnswer {
    /// The grant.
    #[serde(flatten)]
    pub(crate) grant: Grant,
    /// The answer is true at this revision.
    pub(crate) revision: u64,
}

/// A queued acquisition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "lock_id": "l-1540.0", "locks": [{"name": "orders/42", "mode": "exclusive"}], "session_id": "s-12.0",
    "owner": "worker-8", "queue_position": 0, "remaining_ms": 4200
}))]
pub(crate) struct Waiter {
    /// Names the acquisition; the grant will have the same id.
    pub(crate) lock_id: String,
    /// What it wants.
    pub(crate) locks: Vec<LockRequest>,
    /// Its session, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_id: Option<String>,
    /// Its owner label.
    pub(crate) owner: String,
    /// Waiters ahead.
    pub(crate) queue_position: u64,
    /// At least this long it waits on from the answer's revision on.
    pub(crate) remaining_ms: u64,
}

/// A lock that is held, waited for, or closed by lock-delay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "name": "orders/42", "namespace": "default", "mode": "exclusive", "holders": [], "holder_count": 0, "waiters": [],
    "waiter_count": 0, "delayed_ms": 3000
}))]
pub(crate) struct Lock {
    /// The lock.
    pub(crate) name: String,
    /// Where it lives.
    pub(crate) namespace: String,
    /// How it is held now; without holders, how the first waiter wants it; absent when only lock-delay keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<LockMode>,
    /// Semaphore only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) capacity: Option<u32>,
    /// Semaphore only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) permits_free: Option<u32>,
    /// Who holds it, oldest first; everybody unless there is a `next_holders_cursor`.
    pub(crate) holders: Vec<Grant>,
    /// How many hold it in all.
    pub(crate) holder_count: u64,
    /// Read the lock again with it as `holders_cursor` for the next holders. Absent when these are the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_holders_cursor: Option<String>,
    /// The first waiters.
    pub(crate) waiters: Vec<Waiter>,
    /// How many wait in all.
    pub(crate) waiter_count: u64,
    /// Read the lock again with it as `waiters_cursor` for the next waiters. Absent when these are the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_waiters_cursor: Option<String>,
    /// How long lock-delay keeps it closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delayed_ms: Option<u64>,
}

/// A lock and the revision it is true at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "name": "orders/42", "namespace": "default", "mode": "exclusive", "holders": [], "holder_count": 0, "waiters": [],
    "waiter_count": 0, "delayed_ms": 3000, "revision": 1544
}))]
pub(crate) struct LockAnswer {
    /// The lock.
    #[serde(flatten)]
    pub(crate) lock: Lock,
    /// The answer is true at this revision.
    pub(crate) revision: u64,
}

/// A page of locks in name order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"locks": [], "next_cursor": "orders/42", "revision": 1544}))]
pub(crate) struct LockPage {
    /// The locks.
    pub(crate) locks: Vec<Lock>,
    /// Ask for the next page with it; empty on the last page.
    pub(crate) next_cursor: String,
    /// The answer is true at this revision.
    pub(crate) revision: u64,
}

/// What was given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"lock_id": "l-1532.0", "fencing_token": 17, "remaining_count": 0, "revision": 1550}))]
pub(crate) struct ReleaseAnswer {
    /// The grant.
    pub(crate) lock_id: String,
    /// Its token.
    pub(crate) fencing_token: u64,
    /// What is left of a re-entrant count; 0 = the locks are free.
    pub(crate) remaining_count: u64,
    /// The revision of the release.
    pub(crate) revision: u64,
}

/// Asks for a longer life of a one-shot grant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"lock_id": "l-1532.0", "ttl_ms": 30000}))]
pub(crate) struct ExtendRequest {
    /// The grant.
    pub(crate) lock_id: String,
    /// It lives at least this long from now; never shortens.
    pub(crate) ttl_ms: u64,
}

/// Asks whether a token is still the newest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"fencing_token": 17}))]
pub(crate) struct CheckRequest {
    /// The token a writer presented.
    pub(crate) fencing_token: u64,
    /// How current the answer must be.
    #[serde(default)]
    pub(crate) consistency: super::Consistency,
}

/// How a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TokenStatus {
    /// The token is held on that name.
    Held,
    /// Another token is held.
    Superseded,
    /// Nobody holds the lock.
    NotHeld,
}

/// How a token stands on a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"current": false, "status": "superseded", "newest_token": 21, "revision": 1600}))]
pub(crate) struct CheckAnswer {
    /// Whether the token is held now.
    pub(crate) current: bool,
    /// How it stands.
    pub(crate) status: TokenStatus,
    /// The newest token held on that name, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) newest_token: Option<u64>,
    /// The answer is true at this revision.
    pub(crate) revision: u64,
}

/// What keeps one waiter waiting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "lock_id": "l-1532.0", "name": "orders/42", "session_id": "s-12.0", "owner": "worker-7",
    "fencing_token": 17, "waits_for": []
}))]
pub(crate) struct Blocker {
    /// The acquisition in the way.
    pub(crate) lock_id: String,
    /// The name it is in the way on.
    pub(crate) name: String,
    /// Its session, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_id: Option<String>,
    /// Its owner label.
    pub(crate) owner: String,
    /// Absent when it is a waiter ahead and not a holder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fencing_token: Option<u64>,
    /// What that owner itself waits for.
    pub(crate) waits_for: Vec<String>,
}

/// A waiter and what keeps it waiting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct WaiterExplanation {
    /// The waiter.
    pub(crate) waiter: Waiter,
    /// What is in its way.
    pub(crate) blockers: Vec<Blocker>,
}

/// Who holds a lock, who waits, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"waiters": [], "summary": "orders/42 is free", "revision": 1600}))]
pub(crate) struct ExplainAnswer {
    /// Absent when the lock is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lock: Option<Lock>,
    /// The first waiters.
    pub(crate) waiters: Vec<WaiterExplanation>,
    /// One sentence for people.
    pub(crate) summary: String,
    /// The answer is true at this revision.
    pub(crate) revision: u64,
}

/// A revision and nothing else: it is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"revision": 1600}))]
pub(crate) struct Done {
    /// The revision of the change.
    pub(crate) revision: u64,
}

/// Raises a register.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"fencing_token": 17}))]
pub(crate) struct AdvanceRequest {
    /// The token a writer presented to the resource.
    pub(crate) fencing_token: u64,
}

/// A high-water register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"high_water": 17, "revision": 1600}))]
pub(crate) struct RegisterAnswer {
    /// The highest token it has seen.
    pub(crate) high_water: u64,
    /// The answer is true at this revision.
    pub(crate) revision: u64,
}

/// Query of a listing of locks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Names that start with it.
    #[param(example = "orders/")]
    pub(crate) prefix: Option<String>,
    /// Held or waited for by this session.
    pub(crate) session_id: Option<String>,
    /// Held or waited for under this owner label.
    pub(crate) owner: Option<String>,
    /// Page size, default 100, at most 1,000. A page may be shorter, because its bytes are bounded too.
    pub(crate) limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
    /// How current the answer must be.
    #[serde(default)]
    #[param(inline)]
    pub(crate) consistency: super::Consistency,
}

/// Query of a read of one lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LockQuery {
    /// How current the answer must be.
    #[serde(default)]
    #[param(inline)]
    pub(crate) consistency: super::Consistency,
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
    pub(crate) fencing_token: Option<u64>,
    /// Takes the lock away from its owner.
    #[serde(default)]
    pub(crate) force: bool,
    /// With `force`: why, for the audit trail.
    pub(crate) reason: Option<String>,
}

/// Query of a check.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CheckQuery {
    /// The token a writer presented.
    #[param(example = 17)]
    pub(crate) fencing_token: u64,
    /// How current the answer must be.
    #[serde(default)]
    #[param(inline)]
    pub(crate) consistency: super::Consistency,
}
