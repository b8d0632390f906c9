//! What the state shows, as answers show it.

use batuta_statemachine::lock::{Mode, Wait};
use batuta_statemachine::{LockFilter, LockView, Name, Namespace, SessionId, SessionView, State, TokenCheck};

use super::lock::{
    Blocker, Check, Explanation, GrantInfo, ListRequest, Lock, LockKind, TokenStatus, Waiter,
    WaiterExplanation,
};
use super::session::Session;
use super::wall::{Clock, rfc3339};
use super::{Page, parse};

fn session_of(view: SessionView, clock: Clock) -> Session {
    Session {
        session_id: view.session,
        namespace: view.namespace,
        ttl_ms: view.ttl_ms,
        remaining_ms: clock.remaining_ms(view.deadline_ms),
        opened_at: rfc3339(view.opened_wall_ms),
        expires_at: clock.text_of(view.deadline_ms),
        metadata: view.metadata,
        locks_held: view.grants,
        locks_waiting: view.waits,
    }
}

pub(super) fn session(state: &State, session: SessionId) -> Option<Session> {
    state.session(session).map(|view| session_of(view, Clock::of(state)))
}

pub(super) fn session_namespace(state: &State, session: SessionId) -> Option<Namespace> {
    state.session(session).map(|view| view.namespace)
}

pub(super) fn sessions(
    state: &State,
    namespace: &Namespace,
    after: Option<SessionId>,
    limit: usize,
) -> Page<Session> {
    let clock = Clock::of(state);
    let (views, next) = state.sessions(namespace, after, limit);
    Page {
        items: views.into_iter().map(|view| session_of(view, clock)).collect(),
        next_cursor: next.map(parse::session_cursor_text),
    }
}

fn waiter_of(wait: Wait, clock: Clock) -> Waiter {
    Waiter {
        lock_id: wait.lock_id,
        requests: wait.requests,
        owner: wait.owner,
        queue_position: wait.queue_position,
        remaining_ms: clock.remaining_ms(wait.deadline_ms),
    }
}

fn lock_of(view: LockView, clock: Clock) -> Lock {
    let kind = view.mode.map(|mode| match mode {
        Mode::Exclusive => LockKind::Exclusive,
        Mode::Shared => LockKind::Shared,
        Mode::Semaphore { capacity, .. } => {
            LockKind::Semaphore { capacity, permits_free: view.permits_free.unwrap_or(capacity) }
        }
    });
    Lock {
        name: view.name,
        namespace: view.namespace,
        kind,
        holders: view.holders.into_iter().map(|grant| GrantInfo::new(grant, clock)).collect(),
        waiters: view.waiters.into_iter().map(|wait| waiter_of(wait, clock)).collect(),
        waiter_count: view.waiter_count,
        delayed_ms: view.delayed_ms,
    }
}

pub(super) fn lock(state: &State, namespace: &Namespace, name: &Name, waiters_max: usize) -> Option<Lock> {
    state.lock(namespace, name, waiters_max).map(|view| lock_of(view, Clock::of(state)))
}

pub(super) fn locks(
    state: &State,
    namespace: &Namespace,
    request: &ListRequest,
    after: Option<&Name>,
    limit: usize,
) -> Page<Lock> {
    let clock = Clock::of(state);
    let filter =
        LockFilter { prefix: request.prefix.clone(), session: request.session, label: request.owner.clone() };
    let (views, next) = state.locks(namespace, &filter, after, limit);
    Page {
        items: views.into_iter().map(|view| lock_of(view, clock)).collect(),
        next_cursor: next.as_ref().map(parse::name_cursor_text),
    }
}

pub(super) fn check(state: &State, namespace: &Namespace, name: &Name, token: u64) -> Check {
    match state.check(namespace, name, token) {
        TokenCheck::Held => Check { status: TokenStatus::Held, newest_token: Some(token) },
        TokenCheck::Superseded { newest } => {
            Check { status: TokenStatus::Superseded, newest_token: Some(newest) }
        }
        TokenCheck::NotHeld => Check { status: TokenStatus::NotHeld, newest_token: None },
    }
}

pub(super) fn explain(state: &State, namespace: &Namespace, name: &Name, waiters_max: usize) -> Explanation {
    let clock = Clock::of(state);
    let Some(found) = state.explain(namespace, name, waiters_max) else {
        let summary = format!("{name} is free: nobody holds it or waits for it.");
        return Explanation { lock: None, waiters: Vec::new(), summary };
    };
    let lock = lock_of(found.lock, clock);
    let waiters = found.waiters.into_iter().map(|waiter| WaiterExplanation {
        waiter: waiter_of(waiter.wait, clock),
        blockers: waiter
            .blockers
            .into_iter()
            .map(|blocker| Blocker {
                lock_id: blocker.lock_id,
                name: blocker.name,
                owner: blocker.owner,
                fencing_token: blocker.token,
                waits_for: blocker.waits_for,
            })
            .collect(),
    });
    Explanation { waiters: waiters.collect(), summary: super::summary::of(&lock), lock: Some(lock) }
}
