//! Use cases of locks, except acquire (which is in [`super::acquire`]).

mod change;
mod summary;
mod view;

use batuta_statemachine::lock::{
    By, CancelScope, CancelWait, Extended, GrantRef, LockFilter, LockKind, LockPart, LockView, Mode,
    TokenCheck, WaiterExplanation,
};
use batuta_statemachine::lock::{Extend as ExtendCommand, ForceRelease as ForceReleaseCommand, Release};
use batuta_statemachine::{Ask, Code, LockId, Name, Permission, SessionId, lock};

use super::acquire::Held;
use super::admit::Permit;
use super::operation::{Area, Needs, Operation};
use super::{At, CallContext, Consistency, Page, Service, parse};
use crate::ApiError;

pub use change::{DOWNGRADE, RESIZE, Resize, Resized, SET_METADATA, SetMetadata};
pub(crate) use view::{listed_lock, lock as lock_part, locks};

/// The operation that releases a grant.
pub const RELEASE: Operation = Operation::write(
    "release",
    "Releases a grant.",
    Area::Lock,
    Needs::Identity,
    &[Code::LockNotHeld, Code::NamespaceMismatch, Code::NotOwner, Code::TokenSuperseded],
);
/// The operation that renews a one-shot grant.
pub const EXTEND: Operation = Operation::write(
    "extend",
    "Renews a grant that has its own TTL. Never shortens it.",
    Area::Lock,
    Needs::Identity,
    &[Code::LockNotHeld, Code::NamespaceMismatch, Code::OwnedBySession],
);
/// The operation that takes a grant away from its owner.
pub const FORCE_RELEASE: Operation = Operation::write(
    "force_release",
    "Takes a grant away from its owner, if the lock is still held under the given token.",
    Area::Lock,
    Needs::Permission(Permission::LockForceRelease),
    &[Code::TokenSuperseded],
);
/// The operation that withdraws a queued acquisition.
pub const CANCEL_WAIT: Operation = Operation::write(
    "cancel_wait",
    "Withdraws a queued acquisition.",
    Area::Lock,
    Needs::Identity,
    &[Code::AlreadyGranted, Code::NamespaceMismatch],
);
/// The operation that checks a token.
pub const CHECK: Operation = Operation::read(
    "check",
    "Checks whether a lock is held under a token.",
    Area::Lock,
    Permission::LockRead,
    &[],
);
/// The operation that reads one lock.
pub const GET_LOCK: Operation = Operation::read(
    "get_lock",
    "Reads one lock. A free lock is not found.",
    Area::Lock,
    Permission::LockRead,
    &[Code::LockNotFound],
);
/// The operation that lists locks.
pub const LIST_LOCKS: Operation = Operation::read(
    "list_locks",
    "Lists locks in order of their names.",
    Area::Lock,
    Permission::LockList,
    &[],
);
/// The operation that explains a lock.
pub const EXPLAIN: Operation = Operation::read(
    "explain",
    "Explains who holds a lock, who waits, and what blocks each waiter.",
    Area::Lock,
    Permission::LockRead,
    &[],
);

/// The mode in which a lock is held or requested, without its numbers.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Deserialize,
    serde::Serialize,
    utoipa::ToSchema,
    async_graphql::Enum,
)]
#[serde(rename_all = "snake_case")]
pub enum LockMode {
    /// One holder.
    #[default]
    Exclusive,
    /// Any number of shared holders.
    Shared,
    /// As many holders as the permits allow.
    Semaphore,
    /// The leadership of an election. Only answers have it: a campaign takes it.
    Election,
}

impl LockMode {
    /// Adds the numbers of the mode: a semaphore needs a capacity and takes one permit by default; the other modes have neither.
    ///
    /// # Errors
    /// `invalid_argument` with the field `permits` or `capacity`.
    pub fn with(self, permits: Option<u32>, capacity: Option<u32>) -> Result<Mode, ApiError> {
        let plain = match self {
            Self::Exclusive => Mode::Exclusive,
            Self::Shared => Mode::Shared,
            Self::Semaphore => {
                let capacity = capacity
                    .ok_or_else(|| ApiError::invalid("capacity", "a semaphore needs its capacity"))?;
                return Ok(Mode::Semaphore { permits: permits.unwrap_or(1), capacity });
            }
            Self::Election => {
                return Err(ApiError::invalid(
                    "mode",
                    "is only for elections; campaign for the election instead of acquiring a lock",
                ));
            }
        };
        for (field, given) in [("permits", permits), ("capacity", capacity)] {
            if given.is_some() {
                return Err(ApiError::invalid(field, "only a semaphore has it; set mode to 'semaphore'"));
            }
        }
        Ok(plain)
    }
}

impl From<Mode> for LockMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Exclusive => Self::Exclusive,
            Mode::Shared => Self::Shared,
            Mode::Semaphore { .. } => Self::Semaphore,
            Mode::Election => Self::Election,
        }
    }
}

impl From<LockKind> for LockMode {
    fn from(kind: LockKind) -> Self {
        match kind {
            LockKind::Exclusive => Self::Exclusive,
            LockKind::Shared => Self::Shared,
            LockKind::Semaphore { .. } => Self::Semaphore,
            LockKind::Election => Self::Election,
        }
    }
}

/// A part of a lock that fits into an answer, with the start of the remaining holders and waiters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The lock, with the holders and waiters of this part.
    pub view: LockView,
    /// The last holder of this part, if there are more.
    pub next_holders: Option<LockId>,
    /// The last waiter of this part, if there are more.
    pub next_waiters: Option<LockId>,
}

impl Lock {
    /// Whether the lock is held or waited for. A lock that is only closed by lock-delay has no mode.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.view.holder_count > 0 || self.view.waiter_count > 0
    }
}

/// A released grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// The grant.
    pub lock_id: LockId,
    /// The token of the grant.
    pub fencing_token: u64,
    /// The remaining count of a reentrant grant; 0 means that the lock is free.
    pub remaining_count: u64,
}

/// Renews a one-shot grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extend {
    /// The grant.
    pub lock_id: LockId,
    /// If given, must be a name of the grant.
    pub name: Option<Name>,
    /// The new TTL, in milliseconds.
    pub ttl_ms: u64,
}

/// Takes a grant away from its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForceRelease {
    /// A name of the grant.
    pub name: Name,
    /// The holder's token, as the operator saw it.
    pub fencing_token: u64,
    /// The operator's reason.
    pub reason: String,
}

/// Reads which grant a call names, by its id or by a lock and the token under which it is held, and the session that names itself.
///
/// # Errors
/// `invalid_argument` with the field that is missing, wrong, or superfluous.
pub fn grant_named(
    name: Option<Name>,
    lock_id: Option<&str>,
    fencing_token: Option<u64>,
    session_id: Option<&str>,
) -> Result<GrantRef, ApiError> {
    let by = by(name, lock_id, fencing_token)?;
    let session = parse::parse_optional_session_id("session_id", session_id.unwrap_or_default())?;
    Ok(GrantRef { by, session })
}

fn by(name: Option<Name>, lock_id: Option<&str>, fencing_token: Option<u64>) -> Result<By, ApiError> {
    match (lock_id, fencing_token, name) {
        (Some(_), Some(_), _) => {
            Err(ApiError::invalid("fencing_token", "give lock_id or fencing_token, not both"))
        }
        (None, None, _) => {
            Err(ApiError::invalid("lock_id", "is required (or fencing_token): which grant is meant"))
        }
        (None, Some(_), None) => {
            Err(ApiError::invalid("name", "is required with fencing_token: the lock it holds"))
        }
        (Some(lock_id), None, name) => {
            Ok(By::Id { lock_id: parse::parse_lock_id("lock_id", lock_id)?, name })
        }
        (None, Some(token), Some(name)) => Ok(By::Token { name, token }),
    }
}

/// A request to end a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The owner releases it.
    Release(GrantRef),
    /// An operator takes it away.
    Force(ForceRelease),
}

impl Ending {
    /// Reads a request that may be a release or a forced release.
    ///
    /// # Errors
    /// `invalid_argument` with the field that is missing, wrong, or one too many.
    pub fn of(
        name: Name,
        lock_id: Option<&str>,
        fencing_token: Option<u64>,
        session_id: Option<&str>,
        force: bool,
        reason: Option<String>,
    ) -> Result<Self, ApiError> {
        if !force {
            if reason.is_some() {
                return Err(ApiError::invalid("reason", "only a forced release has one; set force=true"));
            }
            return Ok(Self::Release(grant_named(Some(name), lock_id, fencing_token, session_id)?));
        }
        if session_id.is_some() {
            return Err(ApiError::invalid(
                "session_id",
                "a forced release takes a grant from whoever owns it",
            ));
        }
        if lock_id.is_some() {
            return Err(ApiError::invalid("lock_id", "a forced release takes fencing_token instead"));
        }
        let fencing_token = fencing_token.ok_or_else(|| {
            ApiError::invalid("fencing_token", "is required with force: the token that was looked at")
        })?;
        let reason = reason.filter(|reason| !reason.is_empty());
        let reason = reason
            .ok_or_else(|| ApiError::invalid("reason", "is required with force, for the audit trail"))?;
        Ok(Self::Force(ForceRelease { name, fencing_token, reason }))
    }
}

/// Lists locks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// Only names that start with this prefix; empty means all.
    pub prefix: String,
    /// Only locks that this session holds or waits for.
    pub session: Option<SessionId>,
    /// Only locks held or waited for under this owner label.
    pub owner: Option<String>,
    /// Page size; `None` means 100.
    pub limit: Option<u32>,
    /// The page begins after this name.
    pub after: Option<Name>,
}

/// Who holds a lock, who waits, and what blocks each waiter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The lock; `None` when it is free.
    pub lock: Option<Lock>,
    /// The first waiters, each with its blockers.
    pub waiters: Vec<WaiterExplanation>,
    /// A summary in one sentence, for people.
    pub summary: String,
    /// How many names are left out because the caller may not see them.
    pub names_hidden: u64,
}

/// Where an answer about one lock continues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockCursors {
    /// Only the holders after this one.
    pub holders_after: Option<LockId>,
    /// Only the waiters after this one.
    pub waiters_after: Option<LockId>,
}

impl LockCursors {
    /// Reads the cursors of the previous answer; an empty text means none.
    ///
    /// # Errors
    /// `invalid_argument` with the field `holders_cursor` or `waiters_cursor`.
    pub fn read(holders: &str, waiters: &str) -> Result<Self, ApiError> {
        Ok(Self {
            holders_after: parse::holders_cursor(holders)?,
            waiters_after: parse::waiters_cursor(waiters)?,
        })
    }

    fn part(self) -> LockPart {
        let Self { holders_after, waiters_after } = self;
        LockPart { holders_after, waiters_after, ..LockPart::first(HOLDERS_SHOWN_MAX, WAITERS_SHOWN_MAX) }
    }
}

/// The most holders in an answer about one lock.
const HOLDERS_SHOWN_MAX: usize = 1_000;
/// The most waiters in an answer about one lock.
pub(super) const WAITERS_SHOWN_MAX: usize = 100;

impl Service {
    /// Releases a grant.
    ///
    /// # Errors
    /// `lock_not_held`, or `token_superseded` when the lock is held under another token; otherwise see `docs/errors.md`.
    pub async fn release(
        &self,
        context: &CallContext,
        grant: impl Into<GrantRef>,
    ) -> Result<At<Released>, ApiError> {
        let grant = grant.into();
        let permit = self.admit(context, &RELEASE, grant.name())?;
        released(&permit, Release { namespace: context.namespace.clone(), grant }).await
    }

    /// Takes a grant away from its owner, if the lock is still held under the token.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn force_release(
        &self,
        context: &CallContext,
        request: ForceRelease,
    ) -> Result<At<Released>, ApiError> {
        let ForceRelease { name, fencing_token, reason } = request;
        let permit = self.admit(context, &FORCE_RELEASE, [&name])?;
        let namespace = context.namespace.clone();
        let command = ForceReleaseCommand { namespace, name, token: fencing_token, reason };
        released(&permit, command).await
    }

    /// Renews a one-shot grant.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn extend(&self, context: &CallContext, request: Extend) -> Result<At<Held>, ApiError> {
        let Extend { lock_id, name, ttl_ms } = request;
        let permit = self.admit(context, &EXTEND, &name)?;
        let command = ExtendCommand { namespace: context.namespace.clone(), lock_id, name, ttl_ms };
        let (answer, Extended { grant }) = permit.propose(command).await?;
        Ok(At::of(&answer, grant))
    }

    /// Withdraws a queued acquisition. An acquisition that holds its lock keeps it; use `release` to release it.
    ///
    /// # Errors
    /// `already_granted` when it holds its lock, `namespace_mismatch` when it is in another namespace; otherwise see `docs/errors.md`.
    pub async fn cancel_wait(&self, context: &CallContext, lock_id: LockId) -> Result<At<()>, ApiError> {
        let permit = self.admit(context, &CANCEL_WAIT, [])?;
        let (namespace, scope) = (context.namespace.clone(), CancelScope::Wait);
        let command = CancelWait { namespace, lock_id, call: None, scope };
        let (answer, _) = permit.propose(command).await?;
        Ok(At::of(&answer, ()))
    }

    /// Checks whether a lock is held under a token.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn check(
        &self,
        context: &CallContext,
        name: &Name,
        fencing_token: u64,
        consistency: Consistency,
    ) -> Result<At<TokenCheck>, ApiError> {
        let permit = self.admit(context, &CHECK, [name])?;
        let state = permit.read(consistency).await?;
        Ok(permit.seen(&state, state.check(&context.namespace, name, fencing_token)))
    }

    /// Reads one lock, or the holders and waiters after those of a previous answer.
    ///
    /// # Errors
    /// `lock_not_found` when it is free; otherwise see `docs/errors.md`.
    pub async fn get_lock(
        &self,
        context: &CallContext,
        name: &Name,
        cursors: LockCursors,
        consistency: Consistency,
    ) -> Result<At<Lock>, ApiError> {
        let permit = self.admit(context, &GET_LOCK, [name])?;
        let state = permit.read(consistency).await?;
        let mut lock = view::lock(&state, &context.namespace, name, &cursors.part())
            .ok_or_else(|| ApiError::LockNotFound { name: name.clone(), revision: state.revision() })?;
        state.hide_names(&permit.actor(), &mut lock.view);
        Ok(permit.seen(&state, lock))
    }

    /// Lists locks in order of their names.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn list_locks(
        &self,
        context: &CallContext,
        request: &ListRequest,
        consistency: Consistency,
    ) -> Result<At<Page<Lock, Name>>, ApiError> {
        let permit = self.admit(context, &LIST_LOCKS, [])?;
        parse::require_visible("prefix", &request.prefix)?;
        parse::require_visible("owner", request.owner.as_deref().unwrap_or_default())?;
        let limit = parse::page_limit(request.limit)?;
        let filter = LockFilter {
            prefix: (!request.prefix.is_empty()).then(|| request.prefix.clone()),
            session: request.session,
            owner: request.owner.clone(),
            ..LockFilter::default()
        };
        let state = permit.read(consistency).await?;
        let filter = LockFilter { scope: permit.scope(&state, Permission::LockList), ..filter };
        let after = request.after.as_ref();
        let page = view::locks(&state, &permit.actor(), &context.namespace, &filter, after, limit);
        Ok(permit.seen(&state, page))
    }

    /// Explains who holds a lock, who waits, and what blocks each waiter; or does so for the holders and waiters after those of a previous
    /// answer.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn explain(
        &self,
        context: &CallContext,
        name: &Name,
        cursors: LockCursors,
        consistency: Consistency,
    ) -> Result<At<Explanation>, ApiError> {
        let permit = self.admit(context, &EXPLAIN, [name])?;
        let state = permit.read(consistency).await?;
        let clock = permit.clock(&state);
        let value = view::explain(&state, &permit.actor(), &context.namespace, name, &cursors.part(), clock);
        Ok(At { revision: state.revision(), clock, value })
    }
}

pub(super) async fn released(
    permit: &Permit,
    command: impl Ask<Reply = lock::Released>,
) -> Result<At<Released>, ApiError> {
    let (answer, lock::Released { lock_id, token, remaining_count }) = permit.propose(command).await?;
    Ok(At::of(&answer, Released { lock_id, fencing_token: token, remaining_count }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).expect("valid")
    }

    #[test]
    fn modes_know_what_belongs_to_them() {
        for (mode, permits, capacity, expected) in [
            (LockMode::Exclusive, None, None, Mode::Exclusive),
            (LockMode::Shared, None, None, Mode::Shared),
            (LockMode::Semaphore, None, Some(5), Mode::Semaphore { permits: 1, capacity: 5 }),
            (LockMode::Semaphore, Some(3), Some(5), Mode::Semaphore { permits: 3, capacity: 5 }),
        ] {
            assert_eq!(mode.with(permits, capacity).expect("valid"), expected);
        }
        for (mode, permits, capacity, field) in [
            (LockMode::Semaphore, Some(1), None, "capacity"),
            (LockMode::Shared, Some(1), None, "permits"),
            (LockMode::Exclusive, None, Some(2), "capacity"),
            (LockMode::Election, None, None, "mode"),
        ] {
            assert_eq!(mode.with(permits, capacity).expect_err("refused").field(), Some(field));
        }
    }

    #[test]
    fn release_names_one_grant() {
        let end = |force, lock_id: Option<&str>, token, reason: Option<&str>| {
            Ending::of(name("a"), lock_id, token, None, force, reason.map(str::to_owned))
        };
        for (force, lock_id, token, reason, field) in [
            (false, None, None, None, "lock_id"),
            (false, Some("s-1.0"), None, None, "lock_id"),
            (false, Some("l-1.0"), Some(1), None, "fencing_token"),
            (false, Some("l-1.0"), None, Some("why"), "reason"),
            (true, None, None, Some("why"), "fencing_token"),
            (true, None, Some(1), None, "reason"),
            (true, Some("l-1.0"), Some(1), Some("why"), "lock_id"),
        ] {
            let error = end(force, lock_id, token, reason).expect_err("refused");
            assert_eq!(error.field(), Some(field), "{force} {lock_id:?} {token:?} {reason:?}");
        }
        let forced = ForceRelease { name: name("a"), fencing_token: 7, reason: "stuck".to_owned() };
        assert_eq!(end(true, None, Some(7), Some("stuck")).expect("valid"), Ending::Force(forced));
        let token = By::Token { name: name("a"), token: 7 };
        assert_eq!(end(false, None, Some(7), None).expect("valid"), Ending::Release(token.into()));
        let lock_id = "l-1.0".parse().expect("an id");
        let id = By::Id { lock_id, name: Some(name("a")) };
        assert_eq!(end(false, Some("l-1.0"), None, None).expect("valid"), Ending::Release(id.into()));
        assert_eq!(grant_named(None, None, Some(7), None).expect_err("refused").field(), Some("name"));
        let session = grant_named(None, Some("l-1.0"), None, Some("7")).expect_err("refused");
        assert_eq!(session.field(), Some("session_id"));
        let forced = Ending::of(name("a"), None, Some(1), Some("s-1.0"), true, Some("why".to_owned()));
        assert_eq!(forced.expect_err("refused").field(), Some("session_id"));
    }
}
