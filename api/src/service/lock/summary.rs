//! One sentence about a lock, for people.

use batuta_statemachine::lock::{Grant, LockKind, OwnerRecord};

use super::super::Clock;
use super::Lock;

/// The most holders that the sentence names.
const HOLDERS_NAMED_MAX: usize = 3;

/// Makes a sentence about who holds the lock, in which mode, and who waits.
pub(super) fn of(lock: &Lock, clock: Clock) -> String {
    let view = &lock.view;
    let name = &view.name;
    let held = match (view.holder_count, view.kind) {
        (0, _) => delayed(lock, clock),
        (_, LockKind::Semaphore { capacity, permits_free }) => {
            let taken = capacity.saturating_sub(permits_free);
            format!(
                "{name} is a semaphore with {taken} of {capacity} permits taken by {}",
                holders(lock, clock)
            )
        }
        (_, LockKind::Shared) => format!("{name} is held shared by {}", holders(lock, clock)),
        (_, LockKind::Exclusive | LockKind::Election) => {
            format!("{name} is held by {}", holders(lock, clock))
        }
    };
    let waiting = match (view.waiter_count, view.waiters.first()) {
        (0, _) => "nobody waits".to_owned(),
        (1, Some(first)) => format!("{} waits", owner(&first.owner)),
        (count, Some(first)) => format!("{count} wait, first {}", owner(&first.owner)),
        (count, None) => format!("{count} wait"),
    };
    format!("{held}; {waiting}.")
}

fn delayed(lock: &Lock, clock: Clock) -> String {
    let name = &lock.view.name;
    match lock.view.delayed_until_ms {
        Some(until_ms) => {
            let delayed_ms = clock.remaining_ms(until_ms);
            format!("{name} is held by nobody and stays closed for {delayed_ms} ms (lock-delay after a loss)")
        }
        None => format!("{name} is held by nobody"),
    }
}

fn holders(lock: &Lock, clock: Clock) -> String {
    let first = lock.view.holders.iter().take(HOLDERS_NAMED_MAX);
    let mut names: Vec<String> = first.map(|grant| holder(grant, clock)).collect();
    let more = lock.view.holder_count.saturating_sub(names.len() as u64);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names.join(", ")
}

fn holder(grant: &Grant, clock: Clock) -> String {
    let left = grant.deadline_ms.map(|deadline_ms| clock.remaining_ms(deadline_ms));
    let until = left.map(|ms| format!(", {ms} ms left")).unwrap_or_default();
    format!("{} (token {}{until})", owner(&grant.owner), grant.token)
}

fn owner(owner: &OwnerRecord) -> String {
    match (&owner.session, &*owner.label) {
        (None, "") => "a one-shot owner".to_owned(),
        (None, label) => format!("{label:?}"),
        (Some(session), "") => format!("session {session}"),
        (Some(session), label) => format!("{label:?} of session {session}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use batuta_statemachine::lock::{LockRequest, LockView, Mode, Wait};
    use batuta_statemachine::{LockId, Name, Namespace, Position, PrincipalId, SessionId};

    use super::*;

    const CLOCK: Clock = Clock { now_ms: 500, wall_ms: 0 };

    fn id(index: u64) -> Position {
        Position { index, ordinal: 0 }
    }

    fn requests() -> Vec<LockRequest> {
        vec![LockRequest { name: Name::new("a").expect("valid"), mode: Mode::Exclusive }]
    }

    fn owner(session: Option<SessionId>, label: &str) -> OwnerRecord {
        OwnerRecord { principal: PrincipalId::ANONYMOUS, session, label: label.into() }
    }

    fn grant(index: u64, label: &str) -> Arc<Grant> {
        let grant = Grant {
            lock_id: LockId(id(index)),
            namespace: Namespace::default(),
            requests: requests().into(),
            owner: owner(None, label),
            token: index,
            count: 1,
            granted_revision: index,
            granted_wall_ms: 0,
            ttl_ms: Some(1_000),
            deadline_ms: Some(1_500),
            lock_delay_ms: 0,
            metadata: "".into(),
        };
        Arc::new(grant)
    }

    fn waiter(index: u64) -> Wait {
        Wait {
            lock_id: LockId(id(index)),
            namespace: Namespace::default(),
            requests: requests(),
            owner: owner(Some(SessionId(id(7))), ""),
            deadline_ms: 505,
            queue_position: 0,
        }
    }

    #[test]
    fn sentence_says_who_holds_and_who_waits() {
        let view = LockView {
            name: Name::new("a").expect("valid"),
            namespace: Namespace::default(),
            kind: LockKind::Exclusive,
            holders: vec![grant(1, "job")],
            holder_count: 1,
            waiters: Vec::new(),
            waiter_count: 0,
            delayed_until_ms: None,
        };
        let mut lock = Lock { view, next_holders: None, next_waiters: None };
        let said = |lock: &Lock| of(lock, CLOCK);
        assert_eq!(said(&lock), "a is held by \"job\" (token 1, 1000 ms left); nobody waits.");
        lock.view.waiters = vec![waiter(3)];
        lock.view.waiter_count = 1;
        assert_eq!(said(&lock), "a is held by \"job\" (token 1, 1000 ms left); session s-7.0 waits.");
        lock.view.kind = LockKind::Semaphore { capacity: 9, permits_free: 5 };
        lock.view.holders = (1..=5).map(|index| grant(index, "")).collect();
        lock.view.holder_count = 5;
        lock.view.waiter_count = 12;
        let text = said(&lock);
        assert!(
            text.starts_with("a is a semaphore with 4 of 9 permits taken by a one-shot owner (token 1"),
            "{text}"
        );
        assert!(text.ends_with(", 2 more; 12 wait, first session s-7.0."), "{text}");
        lock.view.holders.clear();
        lock.view.holder_count = 0;
        lock.view.delayed_until_ms = Some(750);
        assert!(said(&lock).starts_with("a is held by nobody and stays closed for 250 ms"));
    }
}
