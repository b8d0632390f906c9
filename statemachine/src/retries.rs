//! The memory of answers, so that a retried request has its effect once and gets the same answer.
//!
//! An answer that names an acquisition is remembered as a reference: a retry learns how the acquisition stands now.

use std::sync::Arc;

use imbl::OrdMap;

use crate::job_macros::job_limits;
use crate::limit::{DAY_MS, ENTRIES_MAX};
use crate::lock::{ReleaseReason, WaitEnd};
use crate::{LockId, Namespace, Outcome, Position};

job_limits! {
    /// What bounds the memory of answers.
    {
        /// Longest idempotency key, bytes.
        idempotency_key_bytes_max = 128, 16 => 4096;
        /// Idempotency keys remembered in the whole cluster; the oldest is forgotten first.
        idempotency_keys_max = 200_000, 1 => ENTRIES_MAX;
        /// How long an idempotency key is remembered, milliseconds of cluster time.
        idempotency_retention_ms = 10 * 60 * 1000, 1000 => 7 * DAY_MS;
        /// How many of a session's newest sequences are remembered.
        session_window = 256, 1 => 65_536;
    }
}

/// How an acquisition ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ended {
    /// It was granted, and the grant ended.
    Grant(ReleaseReason),
    /// It ended while it waited.
    Wait(WaitEnd),
}

/// An answer kept for retries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Remembered {
    /// Hash of the command that was answered: the key must not be used for another.
    pub(crate) fingerprint: u64,
    /// Of the entry that executed the request.
    pub(crate) revision: u64,
    pub(crate) answer: Answer,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    /// The outcome as it was.
    Outcome(Arc<Outcome>),
    /// An acquisition; its state is looked up when asked again.
    Acquisition(LockId),
}

/// An acquisition that remembered answers refer to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tracked {
    pub(crate) references: u64,
    /// `None` while it waits or is held.
    pub(crate) ended: Option<Ended>,
}

/// An answer remembered under an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Keyed {
    pub(crate) remembered: Remembered,
    pub(crate) position: Position,
    pub(crate) at_ms: u64,
}

pub(crate) type IdempotencyKey = (Namespace, String);

/// The cluster-wide part of the memory; a session's window lies in the session.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Retries {
    pub(crate) keys: OrdMap<IdempotencyKey, Keyed>,
    /// The keys by age.
    pub(crate) by_age: OrdMap<Position, IdempotencyKey>,
    pub(crate) tracked: OrdMap<LockId, Tracked>,
}

impl Retries {
    pub(crate) fn keys_len(&self) -> u64 {
        self.keys.len() as u64
    }

    pub(crate) fn track(&mut self, answer: &Answer) {
        if let Answer::Acquisition(lock_id) = answer {
            let mut tracked =
                self.tracked.get(lock_id).cloned().unwrap_or(Tracked { references: 0, ended: None });
            tracked.references += 1;
            self.tracked.insert(*lock_id, tracked);
        }
    }

    /// Notes that an acquisition ended, if an answer refers to it.
    pub(crate) fn note_end(&mut self, lock_id: LockId, ended: Ended) {
        if let Some(tracked) = self.tracked.get_mut(&lock_id) {
            tracked.ended = Some(ended);
        }
    }

    /// Whether an acquisition ended only because the node that served it was lost: a retry asks for it anew.
    pub(crate) fn was_lost(&self, lock_id: LockId) -> bool {
        let tracked = self.tracked.get(&lock_id);
        tracked.is_some_and(|tracked| tracked.ended == Some(Ended::Wait(WaitEnd::NodeLost)))
    }

    /// Notes that an acquisition which ended lives again.
    pub(crate) fn note_return(&mut self, lock_id: LockId) {
        if let Some(tracked) = self.tracked.get_mut(&lock_id) {
            tracked.ended = None;
        }
    }

    /// Drops an answer's reference.
    pub(crate) fn forget(&mut self, remembered: &Remembered) {
        let Answer::Acquisition(lock_id) = &remembered.answer else { return };
        let Some(tracked) = self.tracked.get_mut(lock_id) else { return };
        tracked.references -= 1;
        if tracked.references == 0 {
            self.tracked.remove(lock_id);
        }
    }

    /// Forgets the oldest keys beyond the bound.
    pub(crate) fn keep_at_most(&mut self, keys_max: u64) {
        while self.keys_len() > keys_max {
            self.forget_oldest();
        }
    }

    pub(crate) fn forget_oldest(&mut self) {
        let Some((position, key)) = self.by_age.get_min().cloned() else { return };
        self.by_age.remove(&position);
        if let Some(keyed) = self.keys.remove(&key) {
            self.forget(&keyed.remembered);
        }
    }
}

impl Retries {
    /// Whether an answer that is remembered names an acquisition.
    pub(crate) fn refers_to(&self, lock_id: LockId) -> bool {
        self.tracked.contains_key(&lock_id)
    }

    /// How an acquisition ended that remembered answers name.
    pub(crate) fn ended(&self, lock_id: LockId) -> Option<&Ended> {
        self.tracked.get(&lock_id)?.ended.as_ref()
    }
}
