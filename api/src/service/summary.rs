//! One sentence about a lock, for people.

use batuta_statemachine::lock::Owner;

use super::lock::{GrantInfo, Lock, LockKind};

/// Holders that the sentence names.
const HOLDERS_NAMED_MAX: usize = 3;

/// Says who holds the lock, how, and who waits.
pub(super) fn of(lock: &Lock) -> String {
    let name = &lock.name;
    let held = match (lock.holder_count, lock.kind) {
        (0, _) => delayed(lock),
        (_, Some(LockKind::Semaphore { capacity, permits_free })) => {
            let taken = capacity.saturating_sub(permits_free);
            format!("{name} is a semaphore with {taken} of {capacity} permits taken by {}", holders(lock))
        }
        (_, Some(LockKind::Shared)) => format!("{name} is held shared by {}", holders(lock)),
        _ => format!("{name} is held by {}", holders(lock)),
    };
    let waiting = match (lock.waiter_count, lock.waiters.first()) {
        (0, _) => "nobody waits".to_owned(),
        (1, Some(first)) => format!("{} waits", owner(&first.owner)),
        (count, Some(first)) => format!("{count} wait, first {}", owner(&first.owner)),
        (count, None) => format!("{count} wait"),
    };
    format!("{held}; {waiting}.")
}

fn delayed(lock: &Lock) -> String {
    let name = &lock.name;
    match lock.delayed_ms {
        Some(delayed_ms) => {
            format!("{name} is held by nobody and stays closed for {delayed_ms} ms (lock-delay after a loss)")
        }
        None => format!("{name} is held by nobody"),
    }
}

fn holders(lock: &Lock) -> String {
    let mut names: Vec<String> = lock.holders.iter().take(HOLDERS_NAMED_MAX).map(holder).collect();
    let more = lock.holder_count.saturating_sub(names.len() as u64);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names.join(", ")
}

fn holder(info: &GrantInfo) -> String {
    let until = info.remaining_ms.map(|ms| format!(", {ms} ms left")).unwrap_or_default();
    format!("{} (token {}{until})", owner(&info.grant.owner), info.grant.token)
}

fn owner(owner: &Owner) -> String {
    match (&owner.session, owner.label.as_str()) {
        (None, "") => "a one-shot owner".to_owned(),
        (None, label) => format!("{label:?}"),
        (Some(session), "") => format!("session {session}"),
        (Some(session), label) => format!("{label:?} of session {session}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use batuta_statemachine::lock::{Grant, LockRequest, Mode};
    use batuta_statemachine::{LockId, Name, Namespace, Position, SessionId};

    use super::super::lock::Waiter;
    use super::super::wall::Clock;
    use super::*;

    fn id(index: u64) -> Position {
        Position { index, ordinal: 0 }
    }

    fn requests() -> Vec<LockRequest> {
        vec![LockRequest { name: Name::new("a").expect("valid"), mode: Mode::Exclusive }]
    }

    fn grant(index: u64, label: &str) -> GrantInfo {
        let grant = Grant {
            lock_id: LockId(id(index)),
            namespace: Namespace::default(),
            requests: requests().into(),
            owner: Owner { session: None, label: label.to_owned() },
            token: index,
            count: 1,
            granted_revision: index,
            granted_wall_ms: 0,
            ttl_ms: Some(1_000),
            deadline_ms: Some(1_500),
            lock_delay_ms: 0,
            metadata: "".into(),
        };
        GrantInfo::new(Arc::new(grant), Clock { now_ms: 500, wall_ms: 0 })
    }

    fn waiter(index: u64) -> Waiter {
        let owner = Owner { session: Some(SessionId(id(7))), label: String::new() };
        Waiter { lock_id: LockId(id(index)), requests: requests(), owner, queue_position: 0, remaining_ms: 5 }
    }

    #[test]
    fn the_sentence_says_who_holds_and_who_waits() {
        let mut lock = Lock {
            name: Name::new("a").expect("valid"),
            namespace: Namespace::default(),
            kind: Some(LockKind::Exclusive),
            holders: vec![grant(1, "job")],
            holder_count: 1,
            next_holders_cursor: None,
            waiters: Vec::new(),
            waiter_count: 0,
            next_waiters_cursor: None,
            delayed_ms: None,
        };
        assert_eq!(of(&lock), "a is held by \"job\" (token 1, 1000 ms left); nobody waits.");
        lock.waiters = vec![waiter(3)];
        lock.waiter_count = 1;
        assert_eq!(of(&lock), "a is held by \"job\" (token 1, 1000 ms left); session s-7.0 waits.");
        lock.kind = Some(LockKind::Semaphore { capacity: 9, permits_free: 5 });
        lock.holders = (1..=5).map(|index| grant(index, "")).collect();
        lock.holder_count = 5;
        lock.waiter_count = 12;
        let text = of(&lock);
        assert!(
            text.starts_with("a is a semaphore with 4 of 9 permits taken by a one-shot owner (token 1"),
            "{text}"
        );
        assert!(text.ends_with(", 2 more; 12 wait, first session s-7.0."), "{text}");
        lock.holders.clear();
        lock.holder_count = 0;
        lock.delayed_ms = Some(250);
        assert!(of(&lock).starts_with("a is held by nobody and stays closed for 250 ms"));
    }
}
