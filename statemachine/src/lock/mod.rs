//! Locks: exclusive, shared, semaphore, and sets of them taken together.

mod acquire;
mod cancel_wait;
mod deadlock;
mod explain;
mod extend;
mod force_release;
mod grant;
mod promote;
mod record;
mod register;
mod release;
mod serving;
mod view;

pub use explain::{Blocker, Explanation, WaiterExplanation};
pub use serving::ServingCall;
pub use view::{Acquisition, LockFilter, LockKind, LockPart, LockView, TokenCheck, TokenStatus};

pub(crate) use grant::{TOKEN_END, end_grant, end_wait};
pub(crate) use promote::promote;
pub(crate) use record::{Kind, LockKey, LockRecord, WaitRecord};
pub(crate) use serving::{Serving, Unconfirmed, same_locks};

use crate::{LockId, Name, Namespace, SessionId};

/// How a lock is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// One holder.
    Exclusive,
    /// Any number of holders, none of them exclusive.
    Shared,
    /// `permits` of a counted resource. The first request sets the capacity; a request that disagrees while the
    /// lock exists is refused.
    Semaphore {
        /// Permits this acquisition takes, from 1 to `capacity`.
        permits: u32,
        /// Permits there are in all.
        capacity: u32,
    },
}

/// One name of an acquisition and how it is wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockRequest {
    /// The lock.
    pub name: Name,
    /// The mode.
    pub mode: Mode,
}

/// Who asks for, waits for or holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The session it lives and dies with; `None` = a one-shot lock that lives by its own time to live.
    pub session: Option<SessionId>,
    /// A label inside the session (a thread, a job). Two labels of one session are two owners. A one-shot lock's
    /// label is for people only: every one-shot acquisition is an owner of its own.
    pub label: String,
}

/// Asks for one lock, or for several all or nothing.
///
/// Reply: [`crate::Reply::Granted`], or [`crate::Reply::Queued`] when `wait_ms` allows waiting; refused with
/// `lock_held`, `lock_delayed`, `deadlock`, `mode_mismatch`, `capacity_mismatch`, `limit_exceeded`, `session_not_found`,
/// `invalid_argument`.
/// A retry under the same dedup key answers with how the acquisition stands *now*: still queued, granted (same lock
/// id, same token), or ended and why. One whose wait ended because its node was lost is queued again, where it was.
/// An owner that asks for the locks it waits for already takes that wait over; one that holds them without having been told
/// (the node that should have told it was lost) gets that grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acquire {
    /// Where the locks live; the session must live there too.
    pub namespace: Namespace,
    /// One request per name, names distinct, at least one.
    pub requests: Vec<LockRequest>,
    /// Who asks.
    pub owner: Owner,
    /// Time to live of a one-shot lock, milliseconds from the grant. Given exactly when the owner has no session.
    pub ttl_ms: Option<u64>,
    /// How long to wait in the queue, milliseconds; 0 = answer at once.
    pub wait_ms: u64,
    /// How long the locks stay closed after an involuntary loss (session expiry, ttl expiry, forced release), milliseconds.
    pub lock_delay_ms: u64,
    /// Whether the owner may take again what it holds (same names and modes; same grant, same token, a count).
    /// Needs a session.
    pub reentrant: bool,
    /// Free text for people, shown in listings.
    pub metadata: String,
    /// The call that waits for the answer; `None` when it cannot wait, or is of a build that did not say. Not part of what
    /// is asked: the same request through another call is the same request.
    pub call: Option<ServingCall>,
}

/// Withdraws an acquisition, or takes one call out of those that wait for it. An acquisition that ended already is left alone.
///
/// Reply: [`crate::Reply::WaitCancelled`]; refused with `namespace_mismatch`, and with `already_granted` when its owner withdraws a
/// wait that was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelWait {
    /// Where its locks live.
    pub namespace: Namespace,
    /// The acquisition.
    pub lock_id: LockId,
    /// The call that leaves: nothing ends while other calls wait for the acquisition, or when this call is none of them (any more).
    /// `None`: the owner withdraws the acquisition, whoever waits for it.
    pub call: Option<ServingCall>,
    /// What ends.
    pub scope: CancelScope,
}

/// What a [`CancelWait`] ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelScope {
    /// The wait, and never a grant. For users, and for a call that leaves under a retry key: its caller may have asked again
    /// elsewhere and hold the lock by now.
    Wait,
    /// The wait, or the grant that it became meanwhile. For a call that leaves without a retry key: nobody else can know of the grant.
    WaitOrGrant,
    /// Nothing: the call leaves, and the wait goes on without it. For a caller that was told to ask again.
    Call,
}

/// Ends the calls that a lost node served, and every wait that no other call waits for, at once and before anybody is granted.
/// Reply: [`crate::Reply::WaitsWithdrawn`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithdrawWaits {
    /// The node.
    pub node_id: u64,
    /// The run of its process that lives; `None`: none does.
    pub except_boot: Option<u64>,
}

/// Gives a grant back: all its names, or one level of a re-entrant count. Reply: [`crate::Reply::Released`];
/// refused with `lock_not_held`, `namespace_mismatch`, `token_superseded`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Where the lock lives.
    pub namespace: Namespace,
    /// What is given back.
    pub by: By,
}

/// How a command names a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// By its id.
    Id {
        /// The grant.
        lock_id: LockId,
        /// When given, must be a name of the grant (guards against releasing another lock by mistake).
        name: Option<Name>,
    },
    /// By a lock and the token that holds it now.
    Token {
        /// A name of the grant.
        name: Name,
        /// Its fencing token.
        token: u64,
    },
}

/// Renews a one-shot grant: it lives at least `ttl_ms` from now. Never shortens. Reply: [`crate::Reply::Extended`];
/// refused with `lock_not_held`, `owned_by_session`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extend {
    /// Where the lock lives.
    pub namespace: Namespace,
    /// The grant.
    pub lock_id: LockId,
    /// When given, must be a name of the grant.
    pub name: Option<Name>,
    /// New time to live, milliseconds.
    pub ttl_ms: u64,
}

/// Takes a grant away from its owner. Conditional: refused with `token_superseded` unless `token` is held on `name`
/// now, so that an operator never breaks a lock other than the one looked at. Reply: [`crate::Reply::Released`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForceRelease {
    /// Where the lock lives.
    pub namespace: Namespace,
    /// A name of the grant.
    pub name: Name,
    /// The fencing token the operator saw.
    pub token: u64,
    /// Why, for the audit trail; not empty.
    pub reason: String,
}

/// Raises a high-water register to `token`, for resources that cannot store one themselves.
/// Reply: [`crate::Reply::RegisterAdvanced`]; refused with `token_superseded` when the register is already higher, and
/// with `invalid_argument` when the cluster never gave out such a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvanceRegister {
    /// Where the register lives.
    pub namespace: Namespace,
    /// The register (by convention the name of the resource).
    pub name: Name,
    /// The token a writer presented to the resource.
    pub token: u64,
}

/// Forgets a register. Reply: [`crate::Reply::RegisterDeleted`]; refused with `register_not_found`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRegister {
    /// Where the register lives.
    pub namespace: Namespace,
    /// The register.
    pub name: Name,
}

/// A held acquisition, as replies, changes and listings show it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    /// Names this acquisition.
    pub lock_id: LockId,
    /// Where its locks live.
    pub namespace: Namespace,
    /// What it holds.
    pub requests: Box<[LockRequest]>,
    /// Who holds it.
    pub owner: Owner,
    /// The fencing token, the same for every name of the set. Below 2^53.
    pub token: u64,
    /// How often a re-entrant owner took it; 1 otherwise.
    pub count: u64,
    /// Revision of the grant.
    pub granted_revision: u64,
    /// Wall clock at the grant, for people.
    pub granted_wall_ms: u64,
    /// Time to live of a one-shot grant, milliseconds.
    pub ttl_ms: Option<u64>,
    /// Cluster time before which a one-shot grant does not expire.
    pub deadline_ms: Option<u64>,
    /// Lock-delay after an involuntary loss, milliseconds.
    pub lock_delay_ms: u64,
    /// Free text of the owner.
    pub metadata: Box<str>,
}

/// A queued acquisition, as replies, changes and listings show it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wait {
    /// Names this acquisition; the grant will have the same id.
    pub lock_id: LockId,
    /// Where its locks live.
    pub namespace: Namespace,
    /// What it wants.
    pub requests: Vec<LockRequest>,
    /// Who waits.
    pub owner: Owner,
    /// Cluster time before which the wait does not time out.
    pub deadline_ms: u64,
    /// Waiters ahead of it on the lock where most are ahead.
    pub queue_position: u64,
}
