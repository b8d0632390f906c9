//! Locks: the calls beside acquire (which is in [`super::acquire`]).

use std::sync::Arc;

use batuta_statemachine::lock::{
    AdvanceRegister, By, CancelScope, CancelWait, DeleteRegister, Extend, ForceRelease, Grant, LockPart,
    LockRequest, Owner, Release,
};
use batuta_statemachine::{Command, LockId, Name, Namespace, Rejection, Reply, SessionId};

use super::wall::{Clock, rfc3339};
use super::{At, CallContext, Consistency, Page, Service, parse, unexpected, view};
use crate::ApiError;

/// A held acquisition as answers show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantInfo {
    /// The grant.
    pub grant: Arc<Grant>,
    /// At least this long a one-shot grant lives from the answer's revision on.
    pub remaining_ms: Option<u64>,
    /// RFC 3339 UTC.
    pub granted_at: String,
    /// One-shot grants only. RFC 3339 UTC; for people.
    pub expires_at: Option<String>,
}

impl GrantInfo {
    pub(crate) fn new(grant: Arc<Grant>, clock: Clock) -> Self {
        Self {
            remaining_ms: grant.deadline_ms.map(|deadline_ms| clock.remaining_ms(deadline_ms)),
            granted_at: rfc3339(grant.granted_wall_ms),
            expires_at: grant.deadline_ms.map(|deadline_ms| clock.text_of(deadline_ms)),
            grant,
        }
    }
}

/// A queued acquisition as answers show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// Names it; the grant will have the same id.
    pub lock_id: LockId,
    /// What it wants.
    pub requests: Vec<LockRequest>,
    /// Who waits.
    pub owner: Owner,
    /// Waiters ahead.
    pub queue_position: u64,
    /// At least this long it waits on from the answer's revision on.
    pub remaining_ms: u64,
}

/// How a lock is held or wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// One holder.
    Exclusive,
    /// Any number of holders.
    Shared,
    /// Counted permits.
    Semaphore {
        /// Permits there are.
        capacity: u32,
        /// Permits nobody holds.
        permits_free: u32,
    },
}

/// A lock that is held, waited for, or closed by lock-delay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Its name.
    pub name: Name,
    /// Where it lives.
    pub namespace: Namespace,
    /// How it is held; without holders, how the first waiter wants it; `None` when it is only closed by lock-delay.
    pub kind: Option<LockKind>,
    /// The holders, oldest first, as far as they fit.
    pub holders: Vec<GrantInfo>,
    /// How many hold it in all.
    pub holder_count: u64,
    /// Leads to the holders that did not fit.
    pub next_holders_cursor: Option<String>,
    /// The first waiters.
    pub waiters: Vec<Waiter>,
    /// How many wait in all.
    pub waiter_count: u64,
    /// Leads to the waiters that did not fit.
    pub next_waiters_cursor: Option<String>,
    /// How long lock-delay keeps it closed.
    pub delayed_ms: Option<u64>,
}

/// A grant was given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// The grant.
    pub lock_id: LockId,
    /// Its token.
    pub fencing_token: u64,
    /// What is left of a re-entrant count; 0 = free.
    pub remaining_count: u64,
}

/// Gives a grant back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseRequest {
    /// The grant.
    pub lock_id: LockId,
    /// When given, must be a name of the grant.
    pub name: Option<Name>,
}

/// Renews a one-shot grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtendRequest {
    /// The grant.
    pub lock_id: LockId,
    /// When given, must be a name of the grant.
    pub name: Option<Name>,
    /// New time to live.
    pub ttl_ms: u64,
}

/// Takes a grant away from its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForceReleaseRequest {
    /// A name of the grant.
    pub name: Name,
    /// The token the operator saw.
    pub fencing_token: u64,
    /// Why.
    pub reason: String,
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenStatus {
    /// The token is held on that name.
    Held,
    /// Another token is held.
    Superseded,
    /// Nobody holds the lock.
    NotHeld,
}

/// The answer of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was found.
    pub status: TokenStatus,
    /// The newest token held on that name, if any.
    pub newest_token: Option<u64>,
}

impl Check {
    /// Whether the token is held now.
    #[must_use]
    pub fn current(self) -> bool {
        self.status == TokenStatus::Held
    }
}

/// Lists locks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// Names that start with it; empty = all.
    pub prefix: String,
    /// Held or waited for by this session.
    pub session: Option<SessionId>,
    /// Held or waited for under this owner label.
    pub owner: Option<String>,
    /// Page size; `None` = 100.
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// What keeps one waiter waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// The acquisition in the way.
    pub lock_id: LockId,
    /// The name it is in the way on.
    pub name: Name,
    /// Its owner.
    pub owner: Owner,
    /// Its token; `None` when it is a waiter ahead.
    pub fencing_token: Option<u64>,
    /// What that owner itself waits for.
    pub waits_for: Vec<Name>,
}

/// A waiter and what is in its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaiterExplanation {
    /// The waiter.
    pub waiter: Waiter,
    /// What is in its way.
    pub blockers: Vec<Blocker>,
}

/// Who holds a lock, who waits, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The lock; `None` when it is free.
    pub lock: Option<Lock>,
    /// The first waiters, each with what is in its way.
    pub waiters: Vec<WaiterExplanation>,
    /// One sentence for people.
    pub summary: String,
}

/// Where an answer about one lock goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockCursors {
    /// `next_holders_cursor` of the answer before.
    pub holders: Option<String>,
    /// `next_waiters_cursor` of the answer before.
    pub waiters: Option<String>,
}

impl LockCursors {
    /// Of texts that may be empty.
    #[must_use]
    pub fn of(holders: String, waiters: String) -> Self {
        let given = |text: String| (!text.is_empty()).then_some(text);
        Self { holders: given(holders), waiters: given(waiters) }
    }

    fn part(&self) -> Result<LockPart, ApiError> {
        Ok(LockPart {
            holders_after: self.holders.as_deref().map(parse::holders_cursor).transpose()?,
            waiters_after: self.waiters.as_deref().map(parse::waiters_cursor).transpose()?,
            ..LockPart::first(HOLDERS_SHOWN_MAX, WAITERS_SHOWN_MAX)
        })
    }
}

/// A register's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// The highest token it was raised to.
    pub high_water: u64,
}

/// Holders that an answer about one lock shows.
const HOLDERS_SHOWN_MAX: usize = 1_000;
/// Waiters that an answer about one lock shows.
const WAITERS_SHOWN_MAX: usize = 100;

impl Service {
    /// Gives a grant back.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn release(
        &self,
        context: &CallContext,
        request: ReleaseRequest,
    ) -> Result<At<Released>, ApiError> {
        let ReleaseRequest { lock_id, name } = request;
        let command = Release { namespace: context.namespace.clone(), by: By::Id { lock_id, name } };
        self.released(context, Command::Release(command)).await
    }

    /// Gives back the grant that holds `name` under `fencing_token` now.
    ///
    /// # Errors
    /// `token_superseded` when the token does not hold the lock; otherwise see `docs/errors.md`.
    pub async fn release_by_token(
        &self,
        context: &CallContext,
        name: Name,
        fencing_token: u64,
    ) -> Result<At<Released>, ApiError> {
        let by = By::Token { name, token: fencing_token };
        self.released(context, Command::Release(Release { namespace: context.namespace.clone(), by })).await
    }

    /// Takes a grant away from its owner, if the token is still held.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn force_release(
        &self,
        context: &CallContext,
        request: ForceReleaseRequest,
    ) -> Result<At<Released>, ApiError> {
        let ForceReleaseRequest { name, fencing_token, reason } = request;
        let command =
            ForceRelease { namespace: context.namespace.clone(), name, token: fencing_token, reason };
        self.released(context, Command::ForceRelease(command)).await
    }

    async fn released(&self, context: &CallContext, command: Command) -> Result<At<Released>, ApiError> {
        let (answer, reply) = self.propose(context, command).await?;
        match reply {
            Reply::Released { lock_id, token, remaining_count } => Ok(At {
                revision: answer.revision,
                value: Released { lock_id, fencing_token: token, remaining_count },
            }),
            other => Err(unexpected(&other)),
        }
    }

    /// Renews a one-shot grant.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn extend(
        &self,
        context: &CallContext,
        request: ExtendRequest,
    ) -> Result<At<GrantInfo>, ApiError> {
        let ExtendRequest { lock_id, name, ttl_ms } = request;
        let command = Extend { namespace: context.namespace.clone(), lock_id, name, ttl_ms };
        let (answer, reply) = self.propose(context, Command::Extend(command)).await?;
        match reply {
            Reply::Extended(grant) => {
                let clock = Clock { now_ms: answer.now_ms, wall_ms: answer.wall_ms };
                Ok(At { revision: answer.revision, value: GrantInfo::new(grant, clock) })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Withdraws a queued acquisition. One that holds its lock goes on holding it: giving it back is `release`.
    ///
    /// # Errors
    /// `already_granted` when it holds its lock, `namespace_mismatch` when it lives elsewhere; otherwise see `docs/errors.md`.
    pub async fn cancel_wait(&self, context: &CallContext, lock_id: LockId) -> Result<At<()>, ApiError> {
        let namespace = context.namespace.clone();
        let command = CancelWait { namespace, lock_id, call: None, scope: CancelScope::Wait };
        let (answer, reply) = self.propose(context, Command::CancelWait(command)).await?;
        match reply {
            Reply::WaitCancelled { .. } => Ok(At { revision: answer.revision, value: () }),
            other => Err(unexpected(&other)),
        }
    }

    /// Is this token the newest?
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn check(
        &self,
        context: &CallContext,
        name: &Name,
        fencing_token: u64,
        consistency: Consistency,
    ) -> Result<At<Check>, ApiError> {
        let state = self.state(context, consistency).await?;
        let value = view::check(&state, &context.namespace, name, fencing_token);
        Ok(At { revision: state.revision(), value })
    }

    /// Reads one lock.
    ///
    /// # Errors
    /// `lock_not_found` when it is free; otherwise see `docs/errors.md`.
    pub async fn get_lock(
        &self,
        context: &CallContext,
        name: &Name,
        consistency: Consistency,
    ) -> Result<At<Lock>, ApiError> {
        self.get_lock_part(context, name, &LockCursors::default(), consistency).await
    }

    /// Reads one lock with the holders and waiters behind those of an answer before.
    ///
    /// # Errors
    /// As [`Self::get_lock`].
    pub async fn get_lock_part(
        &self,
        context: &CallContext,
        name: &Name,
        cursors: &LockCursors,
        consistency: Consistency,
    ) -> Result<At<Lock>, ApiError> {
        let part = cursors.part()?;
        let state = self.state(context, consistency).await?;
        let value = view::lock(&state, &context.namespace, name, &part, self.clock(&state))
            .ok_or_else(|| ApiError::LockNotFound { name: name.clone(), revision: state.revision() })?;
        Ok(At { revision: state.revision(), value })
    }

    /// Lists locks in name order.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn list_locks(
        &self,
        context: &CallContext,
        request: &ListRequest,
        consistency: Consistency,
    ) -> Result<At<Page<Lock>>, ApiError> {
        parse::require_visible("prefix", &request.prefix)?;
        parse::require_visible("owner", request.owner.as_deref().unwrap_or_default())?;
        let limit = parse::page_limit(request.limit)?;
        let after = request.cursor.as_deref().map(parse::name_cursor).transpose()?;
        let state = self.state(context, consistency).await?;
        let value =
            view::locks(&state, &context.namespace, request, after.as_ref(), limit, self.clock(&state));
        Ok(At { revision: state.revision(), value })
    }

    /// Says who holds a lock, who waits, and what each waiter is blocked by.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn explain(
        &self,
        context: &CallContext,
        name: &Name,
        consistency: Consistency,
    ) -> Result<At<Explanation>, ApiError> {
        self.explain_part(context, name, &LockCursors::default(), consistency).await
    }

    /// Explains a lock with the holders and waiters behind those of an answer before.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn explain_part(
        &self,
        context: &CallContext,
        name: &Name,
        cursors: &LockCursors,
        consistency: Consistency,
    ) -> Result<At<Explanation>, ApiError> {
        let part = cursors.part()?;
        let state = self.state(context, consistency).await?;
        let value = view::explain(&state, &context.namespace, name, &part, self.clock(&state));
        Ok(At { revision: state.revision(), value })
    }

    /// Raises a high-water register.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn advance_register(
        &self,
        context: &CallContext,
        name: Name,
        fencing_token: u64,
    ) -> Result<At<Register>, ApiError> {
        let command = AdvanceRegister { namespace: context.namespace.clone(), name, token: fencing_token };
        let (answer, reply) = self.propose(context, Command::AdvanceRegister(command)).await?;
        match reply {
            Reply::RegisterAdvanced { high_water } => {
                Ok(At { revision: answer.revision, value: Register { high_water } })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Reads a high-water register.
    ///
    /// # Errors
    /// `register_not_found`; otherwise see `docs/errors.md`.
    pub async fn get_register(
        &self,
        context: &CallContext,
        name: &Name,
        consistency: Consistency,
    ) -> Result<At<Register>, ApiError> {
        let state = self.state(context, consistency).await?;
        let high_water = state.register(&context.namespace, name).ok_or_else(|| {
            ApiError::rejected(Rejection::RegisterNotFound { name: name.clone() }, state.revision())
        })?;
        Ok(At { revision: state.revision(), value: Register { high_water } })
    }

    /// Forgets a high-water register; answers its last value.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn delete_register(&self, context: &CallContext, name: Name) -> Result<At<Register>, ApiError> {
        let command = DeleteRegister { namespace: context.namespace.clone(), name };
        let (answer, reply) = self.propose(context, Command::DeleteRegister(command)).await?;
        match reply {
            Reply::RegisterDeleted { high_water } => {
                Ok(At { revision: answer.revision, value: Register { high_water } })
            }
            other => Err(unexpected(&other)),
        }
    }
}
