//! Locks as readers see them.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdSet;

use crate::access::Scope;
use crate::lock::record::{Kind, LockKey, LockRecord};
use crate::lock::{Grant, Wait};
use crate::{LockId, Name, Namespace, SessionId, State};

/// The most locks that one page of a listing examines. A page may be short, or empty, and still have a cursor.
const EXAMINED_MAX: usize = 10_000;

/// The state of an acquisition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquisition {
    /// It is held.
    Granted(Arc<Grant>),
    /// It is queued.
    Waiting(Wait),
    /// It has ended, or never existed.
    Unknown,
}

/// The kind of a lock, with the numbers of a semaphore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Held exclusively; without holders, requested so by the oldest waiter.
    Exclusive,
    /// Held shared; without holders, requested so by the oldest waiter.
    Shared,
    /// A semaphore.
    Semaphore {
        /// The total number of permits.
        capacity: u32,
        /// The number of free permits.
        permits_free: u32,
    },
    /// An election.
    Election,
}

/// A lock that is held, waited for, or closed by lock-delay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockView {
    /// The namespace of the lock.
    pub namespace: Namespace,
    /// The name of the lock.
    pub name: Name,
    /// The kind of the lock.
    pub kind: LockKind,
    /// The requested holders, oldest acquisition first.
    pub holders: Vec<Arc<Grant>>,
    /// The total number of holders.
    pub holder_count: u64,
    /// The requested waiters, in the order of the queue.
    pub waiters: Vec<Wait>,
    /// The total number of waiters.
    pub waiter_count: u64,
    /// The cluster time until which lock-delay keeps it closed, in milliseconds.
    pub delayed_until_ms: Option<u64>,
}

/// Selects holders and waiters of a lock, which may have more of them than fit into one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockPart {
    /// Only holders after this acquisition; `None` starts with the oldest.
    pub holders_after: Option<LockId>,
    /// At most this many holders.
    pub holders_max: usize,
    /// Only waiters after this acquisition; `None` starts with the first in the queue.
    pub waiters_after: Option<LockId>,
    /// At most this many waiters.
    pub waiters_max: usize,
}

impl LockPart {
    /// Selects the first holders and the first waiters.
    #[must_use]
    pub fn first(holders_max: usize, waiters_max: usize) -> Self {
        Self { holders_after: None, holders_max, waiters_after: None, waiters_max }
    }
}

/// Selects locks for a listing. An empty filter selects all locks of the namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockFilter {
    /// Only names that start with this prefix.
    pub prefix: Option<String>,
    /// Only locks that this session holds or waits for.
    pub session: Option<SessionId>,
    /// Only locks held or waited for under this owner label.
    pub owner: Option<String>,
    /// Only elections, or only what is none; `None` selects both.
    pub elections: Option<bool>,
    /// Only these names.
    pub scope: Scope,
}

/// The status of a token on a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenStatus {
    /// The lock is held under this token.
    Held,
    /// The lock is held under other tokens.
    Superseded,
    /// Nobody holds the lock.
    NotHeld,
}

/// The answer to a token check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenCheck {
    /// The status of the token.
    pub status: TokenStatus,
    /// The newest token under which the lock is held.
    pub newest: Option<u64>,
}

impl State {
    /// Finds the grant of an id, if it is held.
    #[must_use]
    pub fn grant(&self, lock_id: LockId) -> Option<Arc<Grant>> {
        self.lock.grants.get(&lock_id).cloned()
    }

    /// Finds the wait of an id, if it is queued.
    #[must_use]
    pub fn wait(&self, lock_id: LockId) -> Option<Wait> {
        let wait = self.lock.waits.get(&lock_id)?;
        let ahead =
            |request| self.lock.by_key.get(&wait.key(request)).map_or(0, |lock| ahead_of(lock, lock_id));
        Some(Wait {
            lock_id,
            namespace: wait.namespace.clone(),
            requests: wait.requests.clone(),
            owner: wait.owner.clone(),
            deadline_ms: wait.deadline_ms,
            queue_position: wait.requests.iter().map(ahead).max().unwrap_or_default(),
        })
    }

    /// Finds the state of an acquisition.
    #[must_use]
    pub fn acquisition(&self, lock_id: LockId) -> Acquisition {
        let granted = self.grant(lock_id).map(Acquisition::Granted);
        granted.or_else(|| self.wait(lock_id).map(Acquisition::Waiting)).unwrap_or(Acquisition::Unknown)
    }

    /// Reads a lock with all of its holders and at most `waiters_max` of its waiters; `None` when it is free.
    #[must_use]
    pub fn lock(&self, namespace: &Namespace, name: &Name, waiters_max: usize) -> Option<LockView> {
        self.lock_part(namespace, name, &LockPart::first(usize::MAX, waiters_max))
    }

    /// Reads a lock with a part of its holders and waiters; `None` when it is free.
    #[must_use]
    pub fn lock_part(&self, namespace: &Namespace, name: &Name, part: &LockPart) -> Option<LockView> {
        let key = LockKey { namespace: namespace.clone(), name: name.clone() };
        self.lock.by_key.get(&key).map(|lock| self.lock_view(&key, lock, part))
    }

    /// Finds the grant that holds a name under a token; `None` when the name is not held under it.
    #[must_use]
    pub fn holder(&self, namespace: &Namespace, name: &Name, token: u64) -> Option<Arc<Grant>> {
        let key = LockKey { namespace: namespace.clone(), name: name.clone() };
        let mut holders = self.lock.by_key.get(&key)?.holders.iter().filter_map(|holder| self.grant(holder));
        holders.find(|grant| grant.token == token)
    }

    /// Lists at most `limit` locks of a namespace that match the filter, after `after`, in order of their names, each with `part` of its
    /// holders and waiters. The second value is where the next page starts; `None` on the last page.
    #[must_use]
    pub fn locks(
        &self,
        namespace: &Namespace,
        filter: &LockFilter,
        after: Option<&Name>,
        limit: usize,
        part: &LockPart,
    ) -> (Vec<LockView>, Option<Name>) {
        let prefix = filter.prefix.as_deref().unwrap_or_default();
        let mut views = Vec::new();
        let mut last: Option<Name> = None;
        for (examined, (key, lock)) in self.locks_from(namespace, prefix, after).enumerate() {
            if views.len() >= limit || examined >= EXAMINED_MAX {
                return (views, last);
            }
            last = Some(key.name.clone());
            if filter.scope.admits(&key.name) && self.fits(lock, filter) {
                views.push(self.lock_view(key, lock, part));
            }
        }
        (views, None)
    }

    fn locks_from<'a>(
        &'a self,
        namespace: &'a Namespace,
        prefix: &'a str,
        after: Option<&Name>,
    ) -> impl Iterator<Item = (&'a LockKey, &'a LockRecord)> {
        let key = |name| LockKey { namespace: namespace.clone(), name };
        let at_prefix = Bound::Included(key(Name::lower_bound(prefix)));
        let from = match after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(key(after.clone())),
            _ => at_prefix,
        };
        self.lock
            .by_key
            .range((from, Bound::Unbounded))
            .take_while(move |(key, _)| key.namespace == *namespace && key.name.as_str().starts_with(prefix))
    }

    fn fits(&self, lock: &LockRecord, filter: &LockFilter) -> bool {
        if filter.elections.is_some_and(|elections| elections != (lock.kind == Kind::Election)) {
            return false;
        }
        if filter.session.is_none() && filter.owner.is_none() {
            return true;
        }
        lock.holders.iter().chain(lock.queue()).filter_map(|lock_id| self.owner_of(lock_id)).any(|owner| {
            filter.session.is_none_or(|session| owner.session == Some(session))
                && filter.owner.as_ref().is_none_or(|label| *owner.label == **label)
        })
    }

    pub(crate) fn lock_view(&self, key: &LockKey, lock: &LockRecord, part: &LockPart) -> LockView {
        let kind = match lock.kind {
            Kind::Semaphore { capacity } => {
                LockKind::Semaphore { capacity, permits_free: capacity.saturating_sub(lock.permits_used) }
            }
            Kind::Election => LockKind::Election,
            Kind::ReadWrite if lock.held_exclusive => LockKind::Exclusive,
            Kind::ReadWrite if !lock.holders.is_empty() => LockKind::Shared,
            Kind::ReadWrite => match lock.head() {
                Some(head) if lock.shared_queue().contains(&head) => LockKind::Shared,
                _ => LockKind::Exclusive,
            },
        };
        // Both are ordered by id.
        let after =
            |after: Option<LockId>| move |lock_id: &LockId| after.is_none_or(|after| *lock_id > after);
        let holders = lock.holders.iter().filter(after(part.holders_after)).take(part.holders_max);
        let waiters = lock.queue().filter(after(part.waiters_after)).take(part.waiters_max);
        LockView {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            kind,
            holders: holders.filter_map(|lock_id| self.grant(lock_id)).collect(),
            holder_count: lock.holders.len() as u64,
            waiters: waiters.filter_map(|lock_id| self.wait(lock_id)).collect(),
            waiter_count: lock.waiters() as u64,
            delayed_until_ms: lock.delayed_until_ms(),
        }
    }

    /// Checks whether a name is held under a token now. On a shared lock or a semaphore, this is true for every holder's token.
    #[must_use]
    pub fn check(&self, namespace: &Namespace, name: &Name, token: u64) -> TokenCheck {
        let key = LockKey { namespace: namespace.clone(), name: name.clone() };
        let lock = self.lock.by_key.get(&key);
        let holders = lock.into_iter().flat_map(|lock| lock.holders.iter());
        let tokens: Vec<u64> =
            holders.filter_map(|holder| self.lock.grants.get(&holder)).map(|grant| grant.token).collect();
        let status = match tokens.is_empty() {
            true => TokenStatus::NotHeld,
            false if tokens.contains(&token) => TokenStatus::Held,
            false => TokenStatus::Superseded,
        };
        TokenCheck { status, newest: tokens.into_iter().max() }
    }
}

fn ahead_of(lock: &LockRecord, lock_id: LockId) -> u64 {
    // The newest waiter, which is just being queued, has all others ahead, so they need not be counted.
    let newest = |queue: &OrdSet<LockId>| queue.get_max().is_none_or(|last| *last <= lock_id);
    if newest(lock.shared_queue()) && newest(lock.other_queue()) {
        return (lock.waiters() as u64).saturating_sub(1);
    }
    lock.queue().take_while(|waiter| *waiter < lock_id).count() as u64
}
