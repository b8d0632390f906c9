//! The commands of locks.

use crate::job_macros::job_commands;
use crate::lock::{
    Acquired, Downgraded, Extended, LockRequest, MetadataSet, Owner, Released, Resized, ServingCall,
    WaitCancelled, WaitsWithdrawn,
};
use crate::{LockId, Name, Namespace, SessionId};

/// Acquires one lock, or several all or nothing.
///
/// Reply: [`Acquired::Granted`], or [`Acquired::Queued`] when `wait_ms` allows waiting; refused with
/// `lock_held`, `lock_delayed`, `deadlock`, `mode_mismatch`, `capacity_mismatch`, `limit_exceeded`, `session_not_found`,
/// `invalid_argument`.
/// A retry under the same dedup key answers with the *current* state of the acquisition: still queued, granted (same lock
/// id, same token), or ended and why. A wait that ended because its node was lost is queued again at its old place.
/// An owner that asks for locks it already waits for takes over that wait. An owner that holds them without having been told
/// (the node that should have told it was lost) gets that grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acquire {
    /// The namespace of the locks, and of the session.
    pub namespace: Namespace,
    /// The requested locks: at least one, with distinct names.
    pub requests: Vec<LockRequest>,
    /// The owner.
    pub owner: Owner,
    /// The TTL of a one-shot lock, in milliseconds from the grant. Set exactly when the owner has no session.
    pub ttl_ms: Option<u64>,
    /// How long to wait in the queue, in milliseconds; 0 answers at once.
    pub wait_ms: u64,
    /// How long the locks stay closed to others after an involuntary loss (session expiry, TTL expiry, forced release), in milliseconds.
    pub lock_delay_ms: u64,
    /// Whether the owner may take locks again that it holds (same names and modes; same grant, same token, a count).
    /// Needs a session.
    pub reentrant: bool,
    /// Free text for people, shown in listings.
    pub metadata: String,
    /// The call that waits for the answer; `None` when it cannot wait, or when the entry is of a build that did not set it. It is not part of
    /// the request: the same request through another call is the same request.
    pub call: Option<ServingCall>,
}

/// Withdraws an acquisition, or removes one call from those that wait for it. An ended acquisition is left alone.
///
/// Reply: [`WaitCancelled`]; refused with `namespace_mismatch`, and with `already_granted` when its owner withdraws a
/// wait that was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelWait {
    /// The namespace of its locks.
    pub namespace: Namespace,
    /// The acquisition.
    pub lock_id: LockId,
    /// The call that leaves. Nothing ends while other calls wait for the acquisition, or when this call does not (any more).
    /// `None` when the owner withdraws the acquisition, whichever calls wait for it.
    pub call: Option<ServingCall>,
    /// What the command ends.
    pub scope: CancelScope,
}

/// What a [`CancelWait`] ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelScope {
    /// The wait, and never a grant. For users, and for a call with a retry key: its caller may have asked again
    /// at another node and may hold the lock by now.
    Wait,
    /// The wait, or the grant that it has become. For a call without a retry key: nobody else can know of the grant.
    WaitOrGrant,
    /// Nothing: the call leaves, and the wait continues without it. For a caller that was asked to retry.
    Call,
}

/// Ends the calls that a lost node served, and every wait that no other call waits for, before any grant.
/// Reply: [`WaitsWithdrawn`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithdrawWaits {
    /// The lost node.
    pub node_id: u64,
    /// The boot id of its process that still runs; `None` when none does.
    pub except_boot: Option<u64>,
}

/// Releases a grant: all its names, or one level of a reentrant count. Reply: [`Released`];
/// refused with `lock_not_held`, `namespace_mismatch`, `token_superseded`, `not_owner`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Where the lock lives.
    pub namespace: Namespace,
    /// The grant to give back.
    pub grant: GrantRef,
}

/// Turns every exclusive lock of a grant into a shared one, without letting go of it: nobody else holds the lock exclusively in between.
/// The grant keeps its id and its token. Shared and counted locks stay as they are, so a repetition changes nothing.
///
/// There is no way back: two shared holders that both waited to become exclusive would wait for each other.
/// Reply: [`Downgraded`]; refused with `lock_not_held`, `namespace_mismatch`, `token_superseded`, `not_owner`, and `mode_mismatch` when
/// no lock of the grant is exclusive or shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Downgrade {
    /// Where the lock lives.
    pub namespace: Namespace,
    /// The grant to downgrade.
    pub grant: GrantRef,
}

/// Replaces the free text of a grant; watchers see the grant with its new text. Reply: [`MetadataSet`];
/// refused with `lock_not_held`, `namespace_mismatch`, `token_superseded`, `not_owner`, `invalid_argument`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetMetadata {
    /// Where the lock lives.
    pub namespace: Namespace,
    /// The grant to change.
    pub grant: GrantRef,
    /// The new text.
    pub metadata: String,
}

/// Changes the capacity of a semaphore that is in use. Waiters that fit are granted at once. When it shrinks below the permits
/// that are held, nobody loses any: the semaphore is full until enough of them are given back.
///
/// Reply: [`Resized`]; refused with `lock_not_found` when nobody uses the semaphore, `mode_mismatch`, `invalid_argument` when a
/// waiter wants more permits than there would be, and `deadlock` when waiters would block each other for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resize {
    /// Where the semaphore lives.
    pub namespace: Namespace,
    /// The semaphore.
    pub name: Name,
    /// Permits there will be, at least 1.
    pub capacity: u32,
}

/// Names a grant in a command, and says whose it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRef {
    /// The grant.
    pub by: By,
    /// When given, the grant must belong to this session (guards against changing what another session holds).
    pub session: Option<SessionId>,
}

impl GrantRef {
    /// The lock that the command names, if it names one.
    #[must_use]
    pub fn name(&self) -> Option<&Name> {
        match &self.by {
            By::Id { name, .. } => name.as_ref(),
            By::Token { name, .. } | By::Leader { name, .. } => Some(name),
        }
    }
}

impl From<By> for GrantRef {
    fn from(by: By) -> Self {
        Self { by, session: None }
    }
}

/// How a command names a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// By its id.
    Id {
        /// The grant.
        lock_id: LockId,
        /// If given, must be a name of the grant, which guards against releasing another lock by mistake.
        name: Option<Name>,
    },
    /// By a lock and the token under which it is held.
    Token {
        /// A name of the grant.
        name: Name,
        /// The fencing token of the grant.
        token: u64,
    },
    /// By an election and the token under which it is led. A grant of a lock is refused with `mode_mismatch`.
    Leader {
        /// The election.
        name: Name,
        /// The fencing token of the leader.
        token: u64,
    },
}

/// Renews a one-shot grant: it lives at least `ttl_ms` from now. Never shortens. Reply: [`Extended`];
/// refused with `lock_not_held`, `owned_by_session`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extend {
    /// The namespace of the lock.
    pub namespace: Namespace,
    /// The grant.
    pub lock_id: LockId,
    /// If given, must be a name of the grant.
    pub name: Option<Name>,
    /// The new TTL, in milliseconds.
    pub ttl_ms: u64,
}

/// Takes a grant away from its owner. Refused with `token_superseded` unless `name` is held under `token`
/// now, so that an operator never releases another grant than the one that was seen. Reply: [`Released`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForceRelease {
    /// The namespace of the lock.
    pub namespace: Namespace,
    /// A name of the grant.
    pub name: Name,
    /// The holder's fencing token, as the operator saw it.
    pub token: u64,
    /// The reason, for the audit; not empty.
    pub reason: String,
}

job_commands! {
    Lock {
        /// Acquires locks.
        Acquire => Acquired,
        /// Withdraws an acquisition.
        CancelWait => WaitCancelled,
        /// Ends the calls of a lost node.
        WithdrawWaits => WaitsWithdrawn,
        /// Releases a grant.
        Release => Released,
        /// Renews a one-shot grant.
        Extend => Extended,
        /// Takes a grant away.
        ForceRelease => Released,
        /// Turns exclusive locks into shared ones.
        Downgrade => Downgraded,
        /// Replaces the text of a grant.
        SetMetadata => MetadataSet,
        /// Changes the capacity of a semaphore.
        Resize => Resized,
    }
}
