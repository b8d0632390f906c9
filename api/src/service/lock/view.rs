//! Selects the parts of locks that fit into an answer.

use batuta_statemachine::access::Scope;
use batuta_statemachine::lock::{LockFilter, LockPart, LockView, WaiterExplanation};
use batuta_statemachine::{Actor, LockId, Name, Namespace, State};

use super::super::{Clock, Page, size};
use super::{Explanation, Lock, summary};

/// The most holders shown with each lock of a listing.
const LISTED_HOLDERS_MAX: usize = 100;
/// The most waiters shown with each lock of a listing.
const LISTED_WAITERS_MAX: usize = 10;
/// The most bytes of the holders of one lock in an answer, and of its waiters.
const HALF_BYTES: usize = size::ANSWER_BYTES / 2;

/// A part with one holder and one waiter more than shown, which tell whether there are more.
fn one_more(part: &LockPart) -> LockPart {
    let LockPart { holders_max, waiters_max, .. } = *part;
    LockPart { holders_max: holders_max + 1, waiters_max: waiters_max + 1, ..*part }
}

/// The part of a lock that fits into an answer; read with [`one_more`].
fn part_of(mut view: LockView, part: &LockPart) -> Lock {
    let more = size::keep(&mut view.holders, part.holders_max, HALF_BYTES, |grant| size::grant(grant));
    let next_holders = view.holders.last().filter(|_| more).map(|grant| grant.lock_id);
    let more = size::keep(&mut view.waiters, part.waiters_max, HALF_BYTES, size::waiter);
    let next_waiters = view.waiters.last().filter(|_| more).map(|wait| wait.lock_id);
    Lock { view, next_holders, next_waiters }
}

pub(crate) fn lock(state: &State, namespace: &Namespace, name: &Name, part: &LockPart) -> Option<Lock> {
    state.lock_part(namespace, name, &one_more(part)).map(|view| part_of(view, part))
}

/// A lock as listings show it, with the holders after a given one.
pub(crate) fn listed_lock(
    state: &State,
    namespace: &Namespace,
    name: &Name,
    holders_after: Option<LockId>,
) -> Option<Lock> {
    lock(state, namespace, name, &LockPart { holders_after, ..listed() })
}

/// The part of each lock that listings show.
fn listed() -> LockPart {
    LockPart::first(LISTED_HOLDERS_MAX, LISTED_WAITERS_MAX)
}

/// A page of locks.
pub(crate) fn locks(
    state: &State,
    actor: &Actor,
    namespace: &Namespace,
    filter: &LockFilter,
    after: Option<&Name>,
    limit: usize,
) -> Page<Lock, Name> {
    let part = listed();
    let (views, next) = state.locks(namespace, filter, after, limit, &one_more(&part));
    let mut items: Vec<Lock> = views.into_iter().map(|view| part_of(view, &part)).collect();
    for lock in &mut items {
        state.hide_names(actor, &mut lock.view);
    }
    let more = size::keep(&mut items, limit, size::ANSWER_BYTES, |lock| size::lock(&lock.view));
    let last = items.last().filter(|_| more).map(|lock| lock.view.name.clone());
    Page { items, next: last.or(next), filtered: filter.scope != Scope::All }
}

pub(super) fn explain(
    state: &State,
    actor: &Actor,
    namespace: &Namespace,
    name: &Name,
    part: &LockPart,
    clock: Clock,
) -> Explanation {
    let Some(found) = state.explain(actor, namespace, name, &one_more(part)) else {
        let summary = format!("{name} is free: nobody holds it or waits for it.");
        return Explanation { lock: None, waiters: Vec::new(), summary, names_hidden: 0 };
    };
    let names_hidden = found.names_hidden;
    let mut lock = part_of(found.lock, part);
    let shown = lock.view.waiters.len();
    let mut waiters: Vec<WaiterExplanation> = found.waiters.into_iter().take(shown).collect();
    if size::keep(&mut waiters, part.waiters_max, size::ANSWER_BYTES, size::explanation) {
        // The lock shows the explained waiters, so that one cursor leads to the next ones.
        lock.view.waiters.truncate(waiters.len());
        lock.next_waiters = lock.view.waiters.last().map(|wait| wait.lock_id);
    }
    Explanation { waiters, summary: summary::of(&lock, clock), lock: Some(lock), names_hidden }
}
