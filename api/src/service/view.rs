//! What the state shows, as answers show it.

use batuta_statemachine::lock::{self as model, LockFilter, LockView, Wait};
use batuta_statemachine::session::SessionView;
use batuta_statemachine::{Name, Namespace, SessionId, State};

use super::lock::{
    Blocker, Check, Explanation, GrantInfo, ListRequest, Lock, LockKind, TokenStatus, Waiter,
    WaiterExplanation,
};
use super::session::Session;
use super::wall::{Clock, rfc3339};
use super::{Page, parse};

/// Waiters shown with each lock of a listing.
pub(super) const LISTED_WAITERS_MAX: usize = 10;

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

pub(super) fn session(state: &State, session: SessionId, clock: Clock) -> Option<Session> {
    state.session(session).map(|view| session_of(view, clock))
}

pub(super) fn sessions(
    state: &State,
    namespace: &Namespace,
    after: Option<SessionId>,
    limit: usize,
    clock: Clock,
) -> Page<Session> {
    // One more than asked for tells whether there is a next page.
    let mut views = state.sessions(namespace, after, limit + 1);
    let more = views.len() > limit;
    views.truncate(limit);
    let last = views.last().map(|view| view.session);
    Page {
        items: views.into_iter().map(|view| session_of(view, clock)).collect(),
        next_cursor: last.filter(|_| more).map(parse::session_cursor_text),
    }
}

pub(super) fn waiter_of(wait: Wait, clock: Clock) -> Waiter {
    Waiter {
        lock_id: wait.lock_id,
        requests: wait.requests,
        owner: wait.owner,
        queue_position: wait.queue_position,
        remaining_ms: clock.remaining_ms(wait.deadline_ms),
    }
}

fn lock_of(view: LockView, clock: Clock) -> Lock {
    // What nobody holds or wants has no mode: it is only closed.
    let used = !view.holders.is_empty() || view.waiter_count > 0;
    let kind = used.then_some(match view.kind {
        model::LockKind::Exclusive => LockKind::Exclusive,
        model::LockKind::Shared => LockKind::Shared,
        model::LockKind::Semaphore { capacity, permits_free } => {
            LockKind::Semaphore { capacity, permits_free }
        }
    });
    Lock {
        name: view.name,
        namespace: view.namespace,
        kind,
        holders: view.holders.into_iter().map(|grant| GrantInfo::new(grant, clock)).collect(),
        waiters: view.waiters.into_iter().map(|wait| waiter_of(wait, clock)).collect(),
        waiter_count: view.waiter_count,
        delayed_ms: view.delayed_until_ms.map(|until_ms| clock.remaining_ms(until_ms)),
    }
}

pub(super) fn lock(
    state: &State,
    namespace: &Namespace,
    name: &Name,
    waiters_max: usize,
    clock: Clock,
) -> Option<Lock> {
    state.lock(namespace, name, waiters_max).map(|view| lock_of(view, clock))
}

pub(super) fn locks(
    state: &State,
    namespace: &Namespace,
    request: &ListRequest,
    after: Option<&Name>,
    limit: usize,
    clock: Clock,
) -> Page<Lock> {
    let filter = LockFilter {
        prefix: (!request.prefix.is_empty()).then(|| request.prefix.clone()),
        session: request.session,
        owner: request.owner.clone(),
    };
    let (views, next) = state.locks(namespace, &filter, after, limit, LISTED_WAITERS_MAX);
    Page {
        items: views.into_iter().map(|view| lock_of(view, clock)).collect(),
        next_cursor: next.as_ref().map(parse::name_cursor_text),
    }
}

pub(super) fn check(state: &State, namespace: &Namespace, name: &Name, token: u64) -> Check {
    let found = state.check(namespace, name, token);
    let status = match found.status {
        model::TokenStatus::Held => TokenStatus::Held,
        model::TokenStatus::Superseded => TokenStatus::Superseded,
        model::TokenStatus::NotHeld => TokenStatus::NotHeld,
    };
    Check { status, newest_token: found.newest }
}

pub(super) fn explain(
    state: &State,
    namespace: &Namespace,
    name: &Name,
    waiters_max: usize,
    clock: Clock,
) -> Explanation {
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
