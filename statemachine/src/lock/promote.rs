//! Grants waiters: decides who is next.
//!
//! Waiters are granted in the order in which they asked, across modes, with one exception that makes the queue
//! phase-fair (Brandenburg and Anderson, "Reader-Writer Synchronization for Shared-Memory Multiprocessor Real-Time Systems", ECRTS 2009):
//! when an exclusive holder leaves, every shared waiter that can be granted completely at that moment is granted,
//! even past exclusive waiters. So a reader waits for at most one writer, and writers are never starved, because a
//! new reader queues behind a waiting writer.
//!
//! A caller that lost the right to a lock while it waited is found here, when its turn comes: its wait ends, and the turn is the next one's.
//!
//! A bypass is always an actual grant, never a reservation. The oldest waiter is therefore blocked only by holders,
//! and acquisitions of several locks cannot block each other in the queues.

use std::sync::Arc;

use crate::lock::record::{LockKey, WaitRecord};
use crate::lock::table::TOKEN_END;
use crate::lock::{WaitEnd, end_wait};
use crate::step::Step;
use crate::{LockId, State};

/// Grants waiters until no further waiter can be granted.
pub(crate) fn promote(step: &mut Step<'_>) {
    while let Some(key) = step.state.lock.touched.pop_first() {
        if step.state.lock.reader_turns.contains(&key) {
            grant_waiting_readers(step, &key);
        }
        while let Some((lock_id, wait)) = next_in_line(step.state, &key) {
            grant_waiter(step, lock_id, &wait);
        }
        step.drop_if_idle(&key);
    }
    step.state.lock.reader_turns.clear();
}

/// Grants a waiter its locks if its caller may still take them; otherwise its wait ends. The next one goes in any case.
fn grant_waiter(step: &mut Step<'_>, lock_id: LockId, wait: &WaitRecord) {
    if step.state.authorise_taking(&wait.actor, &wait.namespace, &wait.requests).is_err() {
        return end_wait(step, lock_id, WaitEnd::Denied);
    }
    step.dequeue(lock_id);
    step.grant(lock_id, wait);
}

fn grant_waiting_readers(step: &mut Step<'_>, key: &LockKey) {
    let readers = step.state.lock.by_key.get(key).map(|lock| lock.shared_queue().clone()).unwrap_or_default();
    for lock_id in &readers {
        let Some(wait) = step.state.lock.waits.get(lock_id).cloned() else { continue };
        let turns = &step.state.lock.reader_turns;
        if step.state.admits(*lock_id, &wait, |key| turns.contains(key)) {
            grant_waiter(step, *lock_id, &wait);
        }
    }
}

/// The oldest waiter if it can be granted, otherwise the first shared waiter with no exclusive waiter ahead of it.
fn next_in_line(state: &State, key: &LockKey) -> Option<(LockId, Arc<WaitRecord>)> {
    let lock = state.lock.by_key.get(key)?;
    let head = lock.head()?;
    let first_other = lock.other_queue().get_min().copied();
    let readers = lock.shared_queue().iter().copied();
    let candidates = std::iter::once(head).chain(
        readers
            .take_while(|reader| first_other.is_none_or(|other| *reader < other))
            .filter(|reader| *reader != head),
    );
    // Holders alone decide for every waiter of this lock, so most calls end here.
    if lock.held_exclusive || lock.delayed_until_ms().is_some() {
        return None;
    }
    candidates
        .filter_map(|lock_id| Some((lock_id, state.lock.waits.get(&lock_id)?)))
        .find(|(lock_id, wait)| state.admits(*lock_id, wait, |_| false))
        .map(|(lock_id, wait)| (lock_id, wait.clone()))
}

impl State {
    /// Whether every lock of an acquisition admits it now, and a token is left for it.
    pub(crate) fn admits(
        &self,
        lock_id: LockId,
        wait: &WaitRecord,
        bypass: impl Fn(&LockKey) -> bool,
    ) -> bool {
        self.lock.last_token + 1 < TOKEN_END
            && wait.requests.iter().all(|request| {
                let key = wait.key(request);
                self.lock.by_key.get(&key).is_none_or(|lock| lock.admits(lock_id, request.mode, bypass(&key)))
            })
    }
}
