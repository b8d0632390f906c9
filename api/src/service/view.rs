//! What the state shows, as answers show it.

use batuta_statemachine::lock::{self as model, LockFilter, LockPart, LockView, Wait};
use batuta_statemachine::session::SessionView;
use batuta_statemachine::{LockId, Name, Namespace, SessionId, State};

use super::lock::{
    Blocker, Check, Explanation, GrantInfo, ListRequest, Lock, LockKind, TokenStatus, Waiter,
    WaiterExplanation,
};
use super::session::Session;
use super::wall::{Clock, rfc3339};
use super::{Page, parse, size};

/// Holders shown with each lock of a listing.
const LISTED_HOLDERS_MAX: usize = 100;
/// Waiters shown with each lock of a listing.
const LISTED_WAITERS_MAX: usize = 10;
/// What the holders of one lock weigh at most in an answer, and what its waiters do.
const HALF_BYTES: usize = size::ANSWER_BYTES / 2;

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
    let views = state.sessions(namespace, after, limit + 1);
    let mut items: Vec<Session> = views.into_iter().map(|view| session_of(view, clock)).collect();
    let more = size::keep(&mut items, limit, size::ANSWER_BYTES, size::session);
    let last = items.last().map(|session| session.session_id);
    Page { items, next_cursor: last.filter(|_| more).map(parse::session_cursor_text) }
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

/// One more of each than a part shows tells whether there are more.
fn one_more(part: &LockPart) -> LockPart {
    let LockPart { holders_max, waiters_max, .. } = *part;
    LockPart { holders_max: holders_max + 1, waiters_max: waiters_max + 1, ..*part }
}

/// The part of a lock that fits into an answer; read with [`one_more`].
fn lock_of(view: LockView, part: &LockPart, clock: Clock) -> Lock {
    // What nobody holds or wants has no mode: it is only closed.
    let used = view.holder_count > 0 || view.waiter_count > 0;
    let kind = used.then_some(match view.kind {
        model::LockKind::Exclusive => LockKind::Exclusive,
        model::LockKind::Shared => LockKind::Shared,
        model::LockKind::Semaphore { capacity, permits_free } => {
            LockKind::Semaphore { capacity, permits_free }
        }
    });
    let mut holders = view.holders;
    let more = size::keep(&mut holders, part.holders_max, HALF_BYTES, |grant| size::grant(grant));
    let next_holders = holders.last().filter(|_| more).map(|grant| parse::holders_cursor_text(grant.lock_id));
    let mut waiters: Vec<Waiter> = view.waiters.into_iter().map(|wait| waiter_of(wait, clock)).collect();
    let more = size::keep(&mut waiters, part.waiters_max, HALF_BYTES, size::waiter);
    let next_waiters =
        waiters.last().filter(|_| more).map(|waiter| parse::waiters_cursor_text(waiter.lock_id));
    Lock {
        name: view.name,
        namespace: view.namespace,
        kind,
        holders: holders.into_iter().map(|grant| GrantInfo::new(grant, clock)).collect(),
        holder_count: view.holder_count,
        next_holders_cursor: next_holders,
        waiters,
        waiter_count: view.waiter_count,
        next_waiters_cursor: next_waiters,
        delayed_ms: view.delayed_until_ms.map(|until_ms| clock.remaining_ms(until_ms)),
    }
}

pub(super) fn lock(
    state: &State,
    namespace: &Namespace,
    name: &Name,
    part: &LockPart,
    clock: Clock,
) -> Option<Lock> {
    state.lock_part(namespace, name, &one_more(part)).map(|view| lock_of(view, part, clock))
}

/// A lock as listings show it, with the holders behind one.
pub(super) fn listed_lock(
    state: &State,
    namespace: &Namespace,
    name: &Name,
    holders_after: Option<LockId>,
    clock: Clock,
) -> Option<Lock> {
    lock(state, namespace, name, &LockPart { holders_after, ..listed() }, clock)
}

/// What listings show of each lock.
fn listed() -> LockPart {
    LockPart::first(LISTED_HOLDERS_MAX, LISTED_WAITERS_MAX)
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
    let part = listed();
    let (views, next) = state.locks(namespace, &filter, after, limit, &one_more(&part));
    let mut items: Vec<Lock> = views.into_iter().map(|view| lock_of(view, &part, clock)).collect();
    let more = size::keep(&mut items, limit, size::ANSWER_BYTES, size::lock);
    let next = if more { items.last().map(|last| &last.name) } else { next.as_ref() };
    let next_cursor = next.map(parse::name_cursor_text);
    Page { items, next_cursor }
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
    part: &LockPart,
    clock: Clock,
) -> Explanation {
    let Some(found) = state.explain(namespace, name, &one_more(part)) else {
        let summary = format!("{name} is free: nobody holds it or waits for it.");
        return Explanation { lock: None, waiters: Vec::new(), summary };
    };
    let mut lock = lock_of(found.lock, part, clock);
    let explained = found.waiters.into_iter().map(|waiter| WaiterExplanation {
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
    let mut waiters: Vec<WaiterExplanation> = explained.take(lock.waiters.len()).collect();
    if size::keep(&mut waiters, part.waiters_max, size::ANSWER_BYTES, size::explanation) {
        // The lock shows the waiters that are explained, so that one cursor leads to the next ones.
        lock.waiters.truncate(waiters.len());
        let last = lock.waiters.last();
        lock.next_waiters_cursor = last.map(|waiter| parse::waiters_cursor_text(waiter.lock_id));
    }
    Explanation { waiters, summary: super::summary::of(&lock), lock: Some(lock) }
}
