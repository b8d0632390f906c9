//! The memory of answers, by which a repeated request takes effect once and gets the same answer.
//!
//! An answer that names an acquisition is remembered as a reference, so that a retry learns the current state of the acquisition.

use std::sync::Arc;

use imbl::OrdMap;

use crate::ensure::ensure;
use crate::job_macros::job_limits;
use crate::limit::{DAY_MS, ENTRIES_MAX};
use crate::lock::{ReleaseReason, WaitEnd};
use crate::{LockId, Namespace, Outcome, Position, PrincipalId};

job_limits! {
    /// The limits of remembered answers.
    {
        /// Longest idempotency key, in bytes.
        idempotency_key_bytes_max = 128, 16 => 4096;
        /// The most idempotency keys remembered in the whole cluster; the oldest is forgotten first.
        idempotency_keys_max = 200_000, 1 => ENTRIES_MAX;
        /// The most bytes (approximately) of idempotency keys and their answers in the whole cluster; the oldest is forgotten first.
        idempotency_bytes_max = 64 << 20, 1 << 20 => 16 << 30;
        /// How long an idempotency key is remembered, in milliseconds of cluster time.
        idempotency_retention_ms = 10 * 60 * 1000, 1000 => 7 * DAY_MS;
        /// How many of a session's newest sequences are remembered.
        session_window = 256, 1 => 65_536;
    }
}

/// How an acquisition ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ended {
    /// The acquisition was granted, and the grant ended.
    Grant(ReleaseReason),
    /// The acquisition ended while it waited.
    Wait(WaitEnd),
}

/// An answer that is kept for retries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Remembered {
    /// The hash of the answered command: the key must not be used for another command.
    pub(crate) fingerprint: u64,
    /// The revision of the entry that executed the request.
    pub(crate) revision: u64,
    pub(crate) answer: Answer,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    /// The outcome itself.
    Outcome(Arc<Outcome>),
    /// An acquisition, whose current state answers a retry.
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

/// A key is its principal's own: nobody learns an answer by guessing a key of somebody else.
pub(crate) type IdempotencyKey = (PrincipalId, Namespace, String);

/// The approximate bytes of a key and its answer besides their texts. All replicas depend on this value, as on the counted texts.
const KEYED_BYTES: u64 = 256;

/// The approximate memory of a key and its answer, in bytes. The text of the key is kept twice.
fn keyed_bytes(key: &IdempotencyKey, keyed: &Keyed) -> u64 {
    let answer = match &keyed.remembered.answer {
        Answer::Outcome(outcome) => match outcome.as_ref() {
            Ok(reply) => reply.text_bytes(),
            Err(rejection) => rejection.text_bytes(),
        },
        Answer::Acquisition(_) => 0,
    };
    KEYED_BYTES + 2 * key.2.len() as u64 + answer as u64
}

/// The cluster-wide part of the memory; the window of a session is part of the session.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Retries {
    keys: OrdMap<IdempotencyKey, Keyed>,
    /// The keys by age.
    by_age: OrdMap<Position, IdempotencyKey>,
    /// The approximate bytes of the keys and their answers.
    keys_bytes: u64,
    pub(crate) tracked: OrdMap<LockId, Tracked>,
}

impl Retries {
    pub(crate) fn keys_len(&self) -> u64 {
        self.keys.len() as u64
    }

    /// The answer remembered under a key.
    pub(crate) fn keyed(&self, key: &IdempotencyKey) -> Option<&Keyed> {
        self.keys.get(key)
    }

    /// All answers remembered under keys.
    pub(crate) fn all_keyed(&self) -> impl Iterator<Item = (&IdempotencyKey, &Keyed)> {
        self.keys.iter()
    }

    /// Remembers an answer under a key.
    pub(crate) fn insert_keyed(&mut self, key: IdempotencyKey, keyed: Keyed) {
        self.remove_keyed(&key);
        self.track(&keyed.remembered.answer);
        self.keys_bytes += keyed_bytes(&key, &keyed);
        self.by_age.insert(keyed.position, key.clone());
        self.keys.insert(key, keyed);
    }

    /// Forgets the answer under a key.
    pub(crate) fn remove_keyed(&mut self, key: &IdempotencyKey) {
        let Some(keyed) = self.keys.remove(key) else { return };
        self.keys_bytes -= keyed_bytes(key, &keyed);
        self.by_age.remove(&keyed.position);
        self.forget(&keyed.remembered);
    }

    /// The oldest answer remembered under a key.
    pub(crate) fn oldest_keyed(&self) -> Option<&Keyed> {
        let (_, key) = self.by_age.get_min()?;
        self.keys.get(key)
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

    /// Whether an acquisition ended only because the node that served it was lost, so that a retry queues it again.
    pub(crate) fn was_lost(&self, lock_id: LockId) -> bool {
        let tracked = self.tracked.get(&lock_id);
        tracked.is_some_and(|tracked| tracked.ended == Some(Ended::Wait(WaitEnd::NodeLost)))
    }

    /// Notes that an ended acquisition is queued again.
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

    /// Forgets the oldest keys beyond the limits.
    pub(crate) fn keep_within(&mut self, limits: &Limits) {
        while self.keys_len() > limits.idempotency_keys_max || self.keys_bytes > limits.idempotency_bytes_max
        {
            self.forget_oldest();
        }
    }

    pub(crate) fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.by_age.get_min().cloned() {
            self.remove_keyed(&key);
        }
    }

    /// Checks that the index by age and the sum of bytes match the keys, and are within the limits.
    pub(crate) fn validate(&self, limits: &Limits) -> Result<(), String> {
        ensure!(self.keys_len() <= limits.idempotency_keys_max, "too many idempotency keys");
        ensure!(self.keys_bytes <= limits.idempotency_bytes_max, "idempotency keys take too many bytes");
        let bytes: u64 = self.keys.iter().map(|(key, keyed)| keyed_bytes(key, keyed)).sum();
        ensure!(bytes == self.keys_bytes, "bytes of idempotency keys are counted wrong");
        ensure!(self.keys.len() == self.by_age.len(), "idempotency keys and their ages differ in number");
        for (position, key) in &self.by_age {
            let known = self.keys.get(key).is_some_and(|keyed| keyed.position == *position);
            ensure!(known, "idempotency key {:?} has a wrong age", key.2);
        }
        Ok(())
    }

    /// Whether a remembered answer names an acquisition.
    pub(crate) fn refers_to(&self, lock_id: LockId) -> bool {
        self.tracked.contains_key(&lock_id)
    }

    /// How an acquisition ended, if remembered answers name it.
    pub(crate) fn ended(&self, lock_id: LockId) -> Option<&Ended> {
        self.tracked.get(&lock_id)?.ended.as_ref()
    }
}
