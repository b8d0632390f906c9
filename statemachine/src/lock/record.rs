//! The records of locks and waits in the state.

use std::sync::LazyLock;

use imbl::OrdSet;

use crate::lock::types::{LockRequest, Mode, OwnerRecord, ServingCall};
use crate::{Actor, LockId, Name, Namespace};

/// The key of a lock: names of different namespaces are different locks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LockKey {
    pub(crate) namespace: Namespace,
    pub(crate) name: Name,
}

/// The kind of a lock, which it has while it is held, waited for or delayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Exclusive or shared.
    ReadWrite,
    /// A semaphore.
    Semaphore { capacity: u32 },
    /// An election.
    Election,
}

impl Kind {
    pub(crate) fn of(mode: Mode) -> Self {
        match mode {
            Mode::Exclusive | Mode::Shared => Self::ReadWrite,
            Mode::Semaphore { capacity, .. } => Self::Semaphore { capacity },
            Mode::Election => Self::Election,
        }
    }

    /// The word for people.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ReadWrite => "exclusive/shared",
            Self::Semaphore { .. } => "semaphore",
            Self::Election => "election",
        }
    }
}

/// The acquisitions that hold a lock. A single holder, the usual case, needs no allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Holders {
    #[default]
    None,
    One(LockId),
    Many(Box<OrdSet<LockId>>),
}

impl Holders {
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(_) => 1,
            Self::Many(ids) => ids.len(),
        }
    }

    /// Iterates over the holders, oldest acquisition first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = LockId> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(id) => (Some(*id), None),
            Self::Many(ids) => (None, Some(ids.as_ref())),
        };
        one.into_iter().chain(many.into_iter().flatten().copied())
    }

    pub(crate) fn insert(&mut self, lock_id: LockId) {
        match self {
            Self::None => *self = Self::One(lock_id),
            Self::One(other) => *self = Self::Many(Box::new([*other, lock_id].into_iter().collect())),
            Self::Many(ids) => {
                ids.insert(lock_id);
            }
        }
    }

    pub(crate) fn remove(&mut self, lock_id: LockId) {
        match self {
            Self::One(id) if *id == lock_id => *self = Self::None,
            Self::Many(ids) => {
                ids.remove(&lock_id);
                if ids.len() == 1 {
                    *self = ids.get_min().map_or(Self::None, |id| Self::One(*id));
                }
            }
            _ => {}
        }
    }
}

/// A lock that is held, waited for, or closed by lock-delay. A free lock has no record. The struct is small, because there may be millions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LockRecord {
    pub(crate) kind: Kind,
    pub(crate) holders: Holders,
    /// Whether its holder holds it alone.
    pub(crate) held_exclusive: bool,
    pub(crate) permits_used: u32,
    /// `None` when it would be empty, as for most locks.
    closed: Option<Box<Closed>>,
}

/// What keeps others out of a lock, besides its holders.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Closed {
    /// Shared waiters, oldest first.
    shared_queue: OrdSet<LockId>,
    /// Exclusive waiters or, on a semaphore or an election, all waiters; oldest first.
    other_queue: OrdSet<LockId>,
    /// The cluster time before which nobody is granted, in milliseconds.
    delayed_until_ms: Option<u64>,
}

impl Closed {
    fn is_empty(&self) -> bool {
        self.shared_queue.is_empty() && self.other_queue.is_empty() && self.delayed_until_ms.is_none()
    }

    fn queue_of(&mut self, mode: Mode) -> &mut OrdSet<LockId> {
        match mode {
            Mode::Shared => &mut self.shared_queue,
            Mode::Exclusive | Mode::Semaphore { .. } | Mode::Election => &mut self.other_queue,
        }
    }
}

/// Stands in for the queues of a lock without waiters.
static EMPTY: LazyLock<OrdSet<LockId>> = LazyLock::new(OrdSet::new);

impl LockRecord {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, holders: Holders::None, held_exclusive: false, permits_used: 0, closed: None }
    }

    /// Changes what keeps others out, and drops it when it becomes empty.
    fn close(&mut self, change: impl FnOnce(&mut Closed)) {
        let closed = self.closed.get_or_insert_default();
        change(closed);
        if closed.is_empty() {
            self.closed = None;
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.holders.is_empty() && self.closed.is_none()
    }

    /// Shared waiters, oldest first.
    pub(crate) fn shared_queue(&self) -> &OrdSet<LockId> {
        self.closed.as_ref().map_or(&EMPTY, |closed| &closed.shared_queue)
    }

    /// Exclusive waiters or, on a semaphore or an election, all waiters; oldest first.
    pub(crate) fn other_queue(&self) -> &OrdSet<LockId> {
        self.closed.as_ref().map_or(&EMPTY, |closed| &closed.other_queue)
    }

    /// The cluster time before which nobody is granted, in milliseconds.
    pub(crate) fn delayed_until_ms(&self) -> Option<u64> {
        self.closed.as_ref().and_then(|closed| closed.delayed_until_ms)
    }

    pub(crate) fn delay_until(&mut self, until_ms: Option<u64>) {
        self.close(|closed| closed.delayed_until_ms = until_ms);
    }

    pub(crate) fn enqueue(&mut self, lock_id: LockId, mode: Mode) {
        self.close(|closed| {
            closed.queue_of(mode).insert(lock_id);
        });
    }

    pub(crate) fn dequeue(&mut self, lock_id: LockId, mode: Mode) {
        self.close(|closed| {
            closed.queue_of(mode).remove(&lock_id);
        });
    }

    pub(crate) fn is_queued(&self, lock_id: LockId, mode: Mode) -> bool {
        match mode {
            Mode::Shared => self.shared_queue().contains(&lock_id),
            Mode::Exclusive | Mode::Semaphore { .. } | Mode::Election => {
                self.other_queue().contains(&lock_id)
            }
        }
    }

    pub(crate) fn waiters(&self) -> usize {
        self.shared_queue().len() + self.other_queue().len()
    }

    /// The waiters of all modes, oldest first.
    pub(crate) fn queue(&self) -> impl Iterator<Item = LockId> {
        let mut shared = self.shared_queue().iter().copied().peekable();
        let mut other = self.other_queue().iter().copied().peekable();
        std::iter::from_fn(move || match (shared.peek(), other.peek()) {
            (Some(left), Some(right)) if left < right => shared.next(),
            (Some(_), None) => shared.next(),
            _ => other.next(),
        })
    }

    pub(crate) fn head(&self) -> Option<LockId> {
        self.queue().next()
    }

    pub(crate) fn add_holder(&mut self, lock_id: LockId, mode: Mode) {
        self.holders.insert(lock_id);
        match mode {
            Mode::Exclusive | Mode::Election => self.held_exclusive = true,
            Mode::Shared => {}
            Mode::Semaphore { permits, .. } => self.permits_used = self.permits_used.saturating_add(permits),
        }
    }

    pub(crate) fn remove_holder(&mut self, lock_id: LockId, mode: Mode) {
        self.holders.remove(lock_id);
        match mode {
            Mode::Exclusive | Mode::Election => self.held_exclusive = false,
            Mode::Shared => {}
            Mode::Semaphore { permits, .. } => self.permits_used = self.permits_used.saturating_sub(permits),
        }
    }

    /// Whether an acquisition may hold this lock now. `bypass` lets a shared acquisition past exclusive waiters (a reader turn).
    pub(crate) fn admits(&self, lock_id: LockId, mode: Mode, bypass: bool) -> bool {
        let nobody_ahead = |queue: &OrdSet<LockId>| queue.get_min().is_none_or(|first| *first >= lock_id);
        if self.delayed_until_ms().is_some() {
            return false;
        }
        match mode {
            Mode::Shared => !self.held_exclusive && (bypass || nobody_ahead(self.other_queue())),
            Mode::Exclusive | Mode::Election => {
                self.holders.is_empty()
                    && nobody_ahead(self.other_queue())
                    && nobody_ahead(self.shared_queue())
            }
            Mode::Semaphore { permits, capacity } => {
                nobody_ahead(self.other_queue()) && self.permits_used.saturating_add(permits) <= capacity
            }
        }
    }
}

/// A queued acquisition, with everything that its grant will need.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WaitRecord {
    /// The namespace of its locks.
    pub namespace: Namespace,
    /// The requested locks.
    pub requests: Vec<LockRequest>,
    /// The owner.
    pub owner: OwnerRecord,
    /// Who asks, with the credential: whether the caller may hold the locks is decided again when its turn comes.
    pub actor: Actor,
    /// The TTL of a one-shot grant, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// How long the locks stay closed to others after an involuntary loss, in milliseconds.
    pub lock_delay_ms: u64,
    /// The free text of the owner.
    pub metadata: String,
    /// The cluster time at which the wait times out, in milliseconds.
    pub deadline_ms: u64,
    /// The calls that wait for it, oldest first. Empty when its caller was asked to retry.
    pub calls: Vec<ServingCall>,
}

impl WaitRecord {
    pub(crate) fn key(&self, request: &LockRequest) -> LockKey {
        LockKey { namespace: self.namespace.clone(), name: request.name.clone() }
    }
}

#[cfg(test)]
mod tests {
    use crate::lock::Grant;

    use super::*;

    #[test]
    fn records_of_locks_stay_small() {
        assert_eq!(size_of::<(LockKey, LockRecord)>(), 72);
        assert_eq!(size_of::<Grant>(), 184);
    }

    #[test]
    fn reopened_lock_keeps_no_extra_record() {
        let lock_id = LockId(crate::Position { index: 7, ordinal: 0 });
        let mut lock = LockRecord::new(Kind::ReadWrite);
        let free = lock.clone();
        for mode in [Mode::Exclusive, Mode::Shared] {
            lock.enqueue(lock_id, mode);
            assert!(lock.is_queued(lock_id, mode) && !lock.is_idle() && lock.waiters() == 1);
            lock.dequeue(lock_id, mode);
            assert_eq!(lock, free);
        }
        lock.delay_until(Some(9));
        assert!(!lock.is_idle() && lock.delayed_until_ms() == Some(9));
        lock.delay_until(None);
        assert_eq!(lock, free);
    }
}
