//! Use cases of sessions: open, keep alive, close, read.

use batuta_statemachine::session::{
    CloseSession, KeepAlive, OpenSession, Refusal, SessionClosed, SessionOpened, SessionView,
};
use batuta_statemachine::{Code, Namespace, Permission, PrincipalId, SessionId, State};

use super::admit::Permit;
use super::operation::{Area, Needs, Operation};
use super::{At, CallContext, Consistency, Page, Service, parse, size};
use crate::ApiError;

/// The operation that opens a session.
pub const OPEN_SESSION: Operation = Operation::write(
    "open_session",
    "Opens a session: a single keep-alive keeps everything alive that the client owns.",
    Area::Session,
    Needs::Permission(Permission::SessionOpen),
    &[Code::LimitExceeded, Code::DiskFull],
);
/// The operation that renews a session. It needs no retry key, because renewing twice does no harm.
pub const KEEP_ALIVE: Operation = Operation {
    retry_key: false,
    ..Operation::write(
        "keep_alive",
        "Renews a session.",
        Area::Session,
        Needs::Identity,
        &[Code::SessionNotFound, Code::NamespaceMismatch],
    )
};
/// The operation that closes a session.
pub const CLOSE_SESSION: Operation = Operation::write(
    "close_session",
    "Ends a session and everything it owns, in one revision.",
    Area::Session,
    Needs::Identity,
    &[Code::NamespaceMismatch],
);
/// The operation that reads one session: an own one, or with `session:read` any.
pub const GET_SESSION: Operation = Operation {
    needs: Needs::Identity,
    ..Operation::read(
        "get_session",
        "Reads one session.",
        Area::Session,
        Permission::SessionRead,
        &[Code::SessionNotFound, Code::NamespaceMismatch],
    )
};
/// The operation that lists sessions.
pub const LIST_SESSIONS: Operation = Operation::read(
    "list_sessions",
    "Lists sessions, oldest first.",
    Area::Session,
    Permission::SessionList,
    &[],
);

/// Opens a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRequest {
    /// The TTL without a keep-alive, in milliseconds.
    pub ttl_ms: u64,
    /// Free text for people.
    pub metadata: String,
}

/// The answer to a keep-alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAlive {
    /// The session.
    pub session: SessionId,
    /// The session lives at least this long from when the request was sent, in milliseconds.
    pub ttl_ms: u64,
}

/// The answer to closing a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The number of grants that were released.
    pub released_locks: u64,
    /// The number of waits that were cancelled.
    pub cancelled_waits: u64,
}

/// Lists sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// Page size; `None` means 100.
    pub limit: Option<u32>,
    /// The page begins after this session.
    pub after: Option<SessionId>,
}

/// The error for a session in another namespace than the call.
fn foreign(session: SessionId, namespace: Namespace, revision: u64) -> ApiError {
    ApiError::rejected(Refusal::NamespaceMismatch { session, namespace }.into(), revision)
}

impl Service {
    /// Opens a session.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn open_session(
        &self,
        context: &CallContext,
        request: OpenRequest,
    ) -> Result<At<SessionView>, ApiError> {
        let permit = self.admit(context, &OPEN_SESSION, [])?;
        let OpenRequest { ttl_ms, metadata } = request;
        let namespace = context.namespace.clone();
        let command = OpenSession { namespace: namespace.clone(), ttl_ms, metadata: metadata.clone() };
        let (answer, opened) = permit.propose(command).await?;
        let SessionOpened { session, ttl_ms, deadline_ms, opened_wall_ms, principal } = opened;
        let opened = SessionView {
            session,
            namespace,
            ttl_ms,
            deadline_ms,
            opened_wall_ms,
            metadata,
            principal,
            grants: 0,
            waits: 0,
        };
        Ok(At::of(&answer, opened))
    }

    /// Renews a session.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn keep_alive(
        &self,
        context: &CallContext,
        session: SessionId,
    ) -> Result<At<KeptAlive>, ApiError> {
        let kept = self.keep_alive_all(context, &[session]).await?;
        // There is one answer for each requested session.
        kept.into_iter()
            .next()
            .unwrap_or_else(|| Err(ApiError::Internal("a keep-alive without an answer".to_owned())))
    }

    /// Renews several sessions in one request, a few hundred at most. Answers are in the order of `sessions`, each as if renewed alone.
    ///
    /// # Errors
    /// Only failures that affect the whole batch; failures of one session are in the vector.
    pub async fn keep_alive_all(
        &self,
        context: &CallContext,
        sessions: &[SessionId],
    ) -> Result<Vec<Result<At<KeptAlive>, ApiError>>, ApiError> {
        let permit = self.admit(context, &KEEP_ALIVE, [])?;
        let checked = check_namespaces(&permit, &context.namespace, sessions).await?;
        let ours: Vec<SessionId> = checked.iter().flatten().copied().collect();
        if ours.is_empty() {
            return Ok(checked.into_iter().filter_map(Result::err).map(Err).collect());
        }
        for session in unowned(&permit, &ours) {
            permit.propose(KeepAlive { sessions: vec![session] }).await?;
        }
        let kept = permit.keep_alive(&ours).await?;
        let mut kept_until_ms = kept.deadlines_ms.into_iter();
        let clock = permit.clock(&permit.view());
        let mut answer = |session| {
            let deadline_ms = kept_until_ms.next().flatten();
            let deadline_ms =
                deadline_ms.ok_or_else(|| ApiError::session_not_found(session, kept.revision))?;
            let ttl_ms = deadline_ms.saturating_sub(kept.now_ms);
            Ok(At { revision: kept.revision, clock, value: KeptAlive { session, ttl_ms } })
        };
        Ok(checked.into_iter().map(|session| session.and_then(&mut answer)).collect())
    }

    /// When a session ends unless it is renewed, in milliseconds of cluster time, as this node knows it.
    #[must_use]
    pub fn session_deadline_ms(&self, session: SessionId) -> Option<u64> {
        self.of_node().view().session(session).map(|view| view.deadline_ms)
    }

    /// Ends a session and everything it owns, in one revision. With `lock_delay` its locks stay closed for theirs, as if it had expired.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn close_session(
        &self,
        context: &CallContext,
        session: SessionId,
        lock_delay: bool,
    ) -> Result<At<Closed>, ApiError> {
        let permit = self.admit(context, &CLOSE_SESSION, [])?;
        let command = CloseSession { namespace: context.namespace.clone(), session, lock_delay };
        let (answer, closed) = permit.propose(command).await?;
        let SessionClosed { released_grants, cancelled_waits } = closed;
        Ok(At::of(&answer, Closed { released_locks: released_grants, cancelled_waits }))
    }

    /// Reads one session.
    ///
    /// # Errors
    /// `session_not_found`, `namespace_mismatch`; otherwise see `docs/errors.md`.
    pub async fn get_session(
        &self,
        context: &CallContext,
        session: SessionId,
        consistency: Consistency,
    ) -> Result<At<SessionView>, ApiError> {
        let permit = self.admit(context, &GET_SESSION, [])?;
        let state = permit.read(consistency).await?;
        let revision = state.revision();
        let found = state.session(session).filter(|_| permit.may_know(&state, session));
        let found = found.ok_or_else(|| ApiError::session_not_found(session, revision))?;
        if found.namespace != context.namespace {
            return Err(foreign(session, found.namespace, revision));
        }
        Ok(permit.seen(&state, found))
    }

    /// Lists the sessions of the namespace, oldest first.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn list_sessions(
        &self,
        context: &CallContext,
        request: &ListRequest,
        consistency: Consistency,
    ) -> Result<At<Page<SessionView, SessionId>>, ApiError> {
        let permit = self.admit(context, &LIST_SESSIONS, [])?;
        let limit = parse::page_limit(request.limit)?;
        let state = permit.read(consistency).await?;
        Ok(permit.seen(&state, sessions(&state, &context.namespace, request.after, limit)))
    }
}

impl Permit {
    /// Whether the caller may know of a session: it is its own, or it may read those of others.
    fn may_know(&self, state: &State, session: SessionId) -> bool {
        let namespace = state.session_namespace(session);
        let reads =
            |namespace| state.authorise(&self.actor(), Permission::SessionRead, namespace, None).is_ok();
        state.owns_session(&self.actor(), session) || namespace.is_some_and(reads)
    }

    /// Whether the caller may renew a session: it is its own, or nobody's yet, and then it becomes that of the first who uses it.
    fn may_keep(&self, state: &State, session: SessionId) -> bool {
        state.owns_session(&self.actor(), session)
            || state.session_owner(session) == Some(PrincipalId::ANONYMOUS)
    }
}

/// The sessions that nobody owns yet: the caller becomes their owner with a keep-alive of its own in the log.
fn unowned(permit: &Permit, sessions: &[SessionId]) -> Vec<SessionId> {
    let state = permit.view();
    if permit.actor().principal() == PrincipalId::ANONYMOUS || !state.enforces(Permission::SessionOpen) {
        return Vec::new();
    }
    let unowned = |session: &&SessionId| state.session_owner(**session) == Some(PrincipalId::ANONYMOUS);
    sessions.iter().filter(unowned).copied().collect()
}

/// Refuses each session of another namespace, and of another owner. A session never moves between namespaces, so this node's own state is enough; only for
/// sessions that it does not know, the state is read linearizably.
async fn check_namespaces(
    permit: &Permit,
    own: &Namespace,
    sessions: &[SessionId],
) -> Result<Vec<Result<SessionId, ApiError>>, ApiError> {
    let checked = check_on(permit, own, sessions, &permit.view());
    if checked.iter().all(|check| matches!(check, Check::Good)) {
        return Ok(sessions.iter().copied().map(Ok).collect());
    }
    // What this node has applied may not have yet a session, or the right to keep it.
    let state = permit.read(Consistency::Linearizable).await?;
    let told = |(check, session): (Check, &SessionId)| match check {
        // An ended session may still have a remembered answer, so the command itself must decide.
        Check::Good | Check::Unknown => Ok(*session),
        Check::NotOwn => Err(ApiError::session_not_found(*session, state.revision())),
        Check::Elsewhere(namespace) => Err(foreign(*session, namespace, state.revision())),
        Check::NoRight => permit.require(&state, Permission::SessionOpen, None).map(|()| *session),
    };
    Ok(check_on(permit, own, sessions, &state).into_iter().zip(sessions).map(told).collect())
}

/// What is the matter with a session that is to be renewed.
enum Check {
    Good,
    Unknown,
    NotOwn,
    Elsewhere(Namespace),
    /// Whoever keeps a session must still have the right to open one.
    NoRight,
}

fn check_on(permit: &Permit, own: &Namespace, sessions: &[SessionId], state: &State) -> Vec<Check> {
    let may_open = state.authorise(&permit.actor(), Permission::SessionOpen, own, None).is_ok();
    let check = |session: &SessionId| match state.session_namespace(*session) {
        None => Check::Unknown,
        Some(_) if !permit.may_keep(state, *session) => Check::NotOwn,
        Some(namespace) if namespace != own => Check::Elsewhere(namespace.clone()),
        Some(_) if !may_open => Check::NoRight,
        Some(_) => Check::Good,
    };
    sessions.iter().map(check).collect()
}

/// A page of sessions.
pub(crate) fn sessions(
    state: &State,
    namespace: &Namespace,
    after: Option<SessionId>,
    limit: usize,
) -> Page<SessionView, SessionId> {
    Page::cut(state.sessions(namespace, after, limit + 1), limit, size::session, |view| view.session)
}
