//! Types of locks and registers in the schema: the names of `proto/batuta/v1/lock.proto`, in camelCase.

use async_graphql::{Enum, InputObject, SimpleObject};

use super::connection::PageInfo;
use super::long::Long;

/// How a lock is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum LockMode {
    /// One holder.
    Exclusive,
    /// Any number of holders, none of them exclusive.
    Shared,
    /// `permits` out of `capacity`.
    Semaphore,
}

/// One name of an acquisition.
#[derive(Clone, Debug, PartialEq, Eq, InputObject)]
pub(super) struct LockInput {
    /// A path of segments, such as `orders/42`.
    pub(super) name: String,
    /// Default `EXCLUSIVE`.
    pub(super) mode: Option<LockMode>,
    /// Semaphore only: permits taken, default 1.
    pub(super) permits: Option<u32>,
    /// Semaphore only: permits there are. The first request sets it; one that disagrees is refused.
    pub(super) capacity: Option<u32>,
}

/// Asks for one lock (`name`, `mode`, …) or for several all or nothing (`locks`).
#[derive(Clone, Debug, PartialEq, Eq, InputObject)]
pub(super) struct AcquireInput {
    /// The one lock that is asked for. Either this or `locks`.
    pub(super) name: Option<String>,
    /// With `name`: default `EXCLUSIVE`.
    pub(super) mode: Option<LockMode>,
    /// With `name`, semaphore only: permits taken, default 1.
    pub(super) permits: Option<u32>,
    /// With `name`, semaphore only: permits there are.
    pub(super) capacity: Option<u32>,
    /// The locks that are asked for, all or nothing, under one fencing token. Either this or `name`.
    pub(super) locks: Option<Vec<LockInput>>,
    /// The session the grant lives and dies with. Without one the grant lives for `ttlMs`.
    pub(super) session_id: Option<String>,
    /// A label inside the session (a thread, a job); for people when there is no session.
    #[graphql(default)]
    pub(super) owner: String,
    /// Time to live of a grant without a session; required then, refused with a session.
    pub(super) ttl_ms: Option<Long>,
    /// How long to wait in the queue; 0, the default, answers at once. Closing the connection ends the wait.
    pub(super) wait_ms: Option<Long>,
    /// How long the locks stay closed after the holder lost them without giving them back; default 0.
    pub(super) lock_delay_ms: Option<Long>,
    /// Whether the owner may take again what it holds: same grant, same token, a count. Needs a session.
    #[graphql(default)]
    pub(super) reentrant: bool,
    /// Free text for people, shown in listings.
    #[graphql(default)]
    pub(super) metadata: String,
}

/// Gives a grant back, named by `lockId`, or by `name` and `fencingToken`.
#[derive(Clone, Debug, PartialEq, Eq, InputObject)]
pub(super) struct ReleaseInput {
    /// The grant to give back. Either this or `fencingToken`.
    pub(super) lock_id: Option<String>,
    /// With `lockId`: must be a name of the grant, when given. With `fencingToken`: required.
    pub(super) name: Option<String>,
    /// The token that holds `name`. A retry under the same key gets the same answer.
    pub(super) fencing_token: Option<Long>,
}

/// Takes a grant away from its owner.
#[derive(Clone, Debug, PartialEq, Eq, InputObject)]
pub(super) struct ForceReleaseInput {
    /// A name of the grant.
    pub(super) name: String,
    /// The token that was looked at; refused when another holds the lock by now.
    pub(super) fencing_token: Long,
    /// Why, for the audit trail.
    pub(super) reason: String,
}

/// Asks for a longer life of a one-shot grant.
#[derive(Clone, Debug, PartialEq, Eq, InputObject)]
pub(super) struct ExtendInput {
    /// The grant.
    pub(super) lock_id: String,
    /// When given, must be a name of the grant.
    pub(super) name: Option<String>,
    /// It lives at least this long from now; never shortens.
    pub(super) ttl_ms: Long,
}

/// Withdraws a queued acquisition.
#[derive(Clone, Debug, PartialEq, Eq, InputObject)]
pub(super) struct CancelWaitInput {
    /// The acquisition.
    pub(super) lock_id: String,
}

/// One name of an acquisition.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct LockRequest {
    /// A path of segments.
    pub(super) name: String,
    /// How it is taken.
    pub(super) mode: LockMode,
    /// Semaphore only: permits taken.
    pub(super) permits: Option<u32>,
    /// Semaphore only: permits there are.
    pub(super) capacity: Option<u32>,
}

/// A held acquisition.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct Grant {
    /// Names this acquisition; release, extend and cancel take it.
    pub(super) lock_id: String,
    /// Send it with every write to what the lock protects; a resource refuses a token older than one it has seen.
    pub(super) fencing_token: Long,
    /// Where the locks live.
    pub(super) namespace: String,
    /// The lock, when the grant holds exactly one.
    pub(super) name: Option<String>,
    /// Its mode, when the grant holds exactly one lock.
    pub(super) mode: Option<LockMode>,
    /// Everything the grant holds.
    pub(super) locks: Vec<LockRequest>,
    /// The session that keeps it alive; null for a one-shot grant.
    pub(super) session_id: Option<String>,
    /// The owner label.
    pub(super) owner: String,
    /// How often a re-entrant owner took it.
    pub(super) count: Long,
    /// Revision of the grant.
    pub(super) granted_revision: Long,
    /// When it was granted; RFC 3339 UTC, for people.
    pub(super) granted_at: String,
    /// One-shot grants only. RFC 3339 UTC, for people; decides nothing.
    pub(super) expires_at: Option<String>,
    /// One-shot grants only.
    pub(super) ttl_ms: Option<Long>,
    /// One-shot grants only: at least this long it lives from the answer's revision on.
    pub(super) remaining_ms: Option<Long>,
    /// Lock-delay after an involuntary loss.
    pub(super) lock_delay_ms: Long,
    /// Free text of the owner.
    pub(super) metadata: String,
    /// The answer is true at this revision.
    pub(super) revision: Long,
}

/// A queued acquisition.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct Waiter {
    /// Names the acquisition; the grant will have the same id.
    pub(super) lock_id: String,
    /// What it wants.
    pub(super) locks: Vec<LockRequest>,
    /// Its session, if it has one.
    pub(super) session_id: Option<String>,
    /// Its owner label.
    pub(super) owner: String,
    /// Waiters ahead.
    pub(super) queue_position: Long,
    /// At least this long it waits on from the answer's revision on.
    pub(super) remaining_ms: Long,
}

/// A lock that is held, waited for, or closed by lock-delay.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct Lock {
    /// The lock.
    pub(super) name: String,
    /// Where it lives.
    pub(super) namespace: String,
    /// How it is held now; without holders, how the first waiter wants it; null when only lock-delay keeps it.
    pub(super) mode: Option<LockMode>,
    /// Semaphore only.
    pub(super) capacity: Option<u32>,
    /// Semaphore only.
    pub(super) permits_free: Option<u32>,
    /// Who holds it, oldest first; everybody unless there is a `nextHoldersCursor`.
    pub(super) holders: Vec<Grant>,
    /// How many hold it in all.
    pub(super) holder_count: Long,
    /// Read the lock again with it as `holdersAfter` for the next holders; null when these are the last.
    pub(super) next_holders_cursor: Option<String>,
    /// The first waiters.
    pub(super) waiters: Vec<Waiter>,
    /// How many wait in all.
    pub(super) waiter_count: Long,
    /// Read the lock again with it as `waitersAfter` for the next waiters; null when these are the last.
    pub(super) next_waiters_cursor: Option<String>,
    /// How long lock-delay keeps it closed.
    pub(super) delayed_ms: Option<Long>,
    /// The answer is true at this revision.
    pub(super) revision: Long,
}

/// A lock and where the listing goes on after it.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct LockEdge {
    /// The lock.
    pub(super) node: Lock,
    /// Ask for what follows with it as `after`.
    pub(super) cursor: String,
}

/// A page of locks in name order.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct LockConnection {
    /// The locks.
    pub(super) edges: Vec<LockEdge>,
    /// Whether there is more, and how to get it.
    pub(super) page_info: PageInfo,
    /// The answer is true at this revision.
    pub(super) revision: Long,
}

/// What was given back.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct Released {
    /// The grant.
    pub(super) lock_id: String,
    /// Its token.
    pub(super) fencing_token: Long,
    /// What is left of a re-entrant count; 0 = the locks are free.
    pub(super) remaining_count: Long,
    /// The revision of the release.
    pub(super) revision: Long,
}

/// A revision and nothing else: it is done.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct Done {
    /// The revision of the change.
    pub(super) revision: Long,
}

/// How a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum TokenStatus {
    /// The token is held on that name.
    Held,
    /// Another token is held.
    Superseded,
    /// Nobody holds the lock.
    NotHeld,
}

/// How a token stands on a name.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct Check {
    /// Whether the token is held now.
    pub(super) current: bool,
    /// How it stands.
    pub(super) status: TokenStatus,
    /// The newest token held on that name, if any.
    pub(super) newest_token: Option<Long>,
    /// The answer is true at this revision.
    pub(super) revision: Long,
}

/// What keeps one waiter waiting.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct Blocker {
    /// The acquisition in the way.
    pub(super) lock_id: String,
    /// The name it is in the way on.
    pub(super) name: String,
    /// Its session, if it has one.
    pub(super) session_id: Option<String>,
    /// Its owner label.
    pub(super) owner: String,
    /// Null when it is a waiter ahead and not a holder.
    pub(super) fencing_token: Option<Long>,
    /// What that owner itself waits for.
    pub(super) waits_for: Vec<String>,
}

/// A waiter and what keeps it waiting.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct WaiterExplanation {
    /// The waiter.
    pub(super) waiter: Waiter,
    /// What is in its way.
    pub(super) blockers: Vec<Blocker>,
}

/// Who holds a lock, who waits, and why.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct Explanation {
    /// Null when the lock is free.
    pub(super) lock: Option<Lock>,
    /// The first waiters.
    pub(super) waiters: Vec<WaiterExplanation>,
    /// One sentence for people.
    pub(super) summary: String,
    /// The answer is true at this revision.
    pub(super) revision: Long,
}
