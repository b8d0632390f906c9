//! Remembering answers, so that a retried request has its effect once and gets the same answer.
//!
//! An answer that names an acquisition is remembered as a reference: a retry learns how the acquisition stands now.
//! Refusals that a retry may turn around (`lock_held`, `lock_delayed`, `limit_exceeded`) are not remembered.

use std::sync::Arc;

use imbl::OrdMap;

use crate::state::Answered;
use crate::transition::Transition;
use crate::{
    Command, DedupKey, LockId, Namespace, Outcome, Position, Rejection, ReleaseReason, Reply, Retry,
    SessionId, State, WaitEnd,
};

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

/// What is known of a retry.
pub(crate) enum Recalled {
    /// Its answer.
    Answer(Answered),
    /// Its acquisition ended only because the node that served it was lost: it is asked for anew, under the same id, and its
    /// old answer is forgotten.
    Lost(LockId),
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
pub(crate) struct Dedup {
    pub(crate) keys: OrdMap<IdempotencyKey, Keyed>,
    /// The keys by age.
    pub(crate) by_age: OrdMap<Position, IdempotencyKey>,
    pub(crate) tracked: OrdMap<LockId, Tracked>,
}

impl Dedup {
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
    fn was_lost(&self, lock_id: LockId) -> bool {
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

    fn forget_oldest(&mut self) {
        let Some((position, key)) = self.by_age.get_min().cloned() else { return };
        self.by_age.remove(&position);
        if let Some(keyed) = self.keys.remove(&key) {
            self.forget(&keyed.remembered);
        }
    }
}

fn answer_of(outcome: &Outcome) -> Option<Answer> {
    match outcome {
        Ok(Reply::Granted(grant)) => Some(Answer::Acquisition(grant.lock_id)),
        Ok(Reply::Queued(wait)) => Some(Answer::Acquisition(wait.lock_id)),
        Err(rejection) if rejection.retryable() => None,
        _ => Some(Answer::Outcome(Arc::new(outcome.clone()))),
    }
}

impl State {
    /// How a wait ended that remembered answers refer to.
    #[must_use]
    pub fn wait_end(&self, lock_id: LockId) -> Option<WaitEnd> {
        match self.dedup.tracked.get(&lock_id)?.ended {
            Some(Ended::Wait(reason)) => Some(reason),
            Some(Ended::Grant(_)) | None => None,
        }
    }

    /// The answer to a retry. Its revision is that of the effect it tells of; how an acquisition ended is told as of now.
    fn answer_again(&self, remembered: &Remembered) -> Answered {
        // A snapshot of a build that did not keep it has none.
        let effect = if remembered.revision == 0 { self.revision } else { remembered.revision };
        let lock_id = match &remembered.answer {
            Answer::Outcome(outcome) => {
                return Answered { revision: effect, outcome: outcome.as_ref().clone() };
            }
            Answer::Acquisition(lock_id) => *lock_id,
        };
        if let Some(grant) = self.grant(lock_id) {
            let revision = effect.max(grant.granted_revision);
            return Answered { revision, outcome: Ok(Reply::Granted(grant)) };
        }
        if let Some(wait) = self.wait(lock_id) {
            return Answered { revision: effect, outcome: Ok(Reply::Queued(wait)) };
        }
        let ended = self.dedup.tracked.get(&lock_id).and_then(|tracked| tracked.ended.clone());
        self.answered_now(Err(match ended {
            Some(Ended::Grant(reason)) => Rejection::GrantEnded { lock_id, reason },
            Some(Ended::Wait(reason)) => Rejection::WaitEnded { lock_id, reason },
            None => Rejection::LockNotHeld { lock_id },
        }))
    }

    /// Whether the answer to a request under this key is remembered, so that the request would not be executed again.
    pub(crate) fn remembers(&self, key: &DedupKey) -> bool {
        let remembered = match key {
            DedupKey::Sequence { session, sequence } => {
                self.sessions.get(session).and_then(|record| record.window.get(sequence))
            }
            DedupKey::Idempotency { namespace, key } => {
                let keyed = self.dedup.keys.get(&(namespace.clone(), key.clone()));
                keyed.filter(|keyed| !self.is_stale(keyed)).map(|keyed| &keyed.remembered)
            }
        };
        remembered.is_some_and(|remembered| match &remembered.answer {
            Answer::Outcome(_) => true,
            Answer::Acquisition(lock_id) => !self.dedup.was_lost(*lock_id),
        })
    }

    fn recall_sequence(&self, session: SessionId, sequence: u64) -> Result<Option<&Remembered>, Rejection> {
        let record = self.sessions.get(&session).ok_or(Rejection::SessionNotFound { session })?;
        if sequence < record.window_floor || sequence == 0 {
            return Err(Rejection::SequenceTooOld { sequence, oldest: record.window_floor.max(1) });
        }
        Ok(record.window.get(&sequence))
    }
}

impl Transition<'_> {
    /// What is known of a retry, or `None` when the request is new. Its call, if it is one that waits, waits for the acquisition
    /// that the first one queued.
    pub(crate) fn recall(&mut self, retry: &Retry, command: &Command) -> Option<Recalled> {
        let remembered = match self.remembered(retry) {
            Ok(remembered) => remembered?,
            Err(rejection) => return Some(Recalled::Answer(self.state.answered_now(Err(rejection)))),
        };
        if let (Answer::Acquisition(lock_id), Command::Acquire(acquire)) = (&remembered.answer, command) {
            if self.state.dedup.was_lost(*lock_id) {
                self.forget_answer(retry);
                return Some(Recalled::Lost(*lock_id));
            }
            self.serve(*lock_id, acquire.call);
        }
        Some(Recalled::Answer(self.state.answer_again(&remembered)))
    }

    /// The answer remembered under a key.
    fn remembered(&mut self, retry: &Retry) -> Result<Option<Remembered>, Rejection> {
        let remembered = match &retry.key {
            DedupKey::Sequence { session, sequence } => self.state.recall_sequence(*session, *sequence)?,
            DedupKey::Idempotency { namespace, key } => {
                self.state.check_idempotency_key(key)?;
                match self.state.dedup.keys.get(&(namespace.clone(), key.clone())) {
                    Some(keyed) if self.state.is_stale(keyed) => {
                        self.forget_stale();
                        None
                    }
                    keyed => keyed.map(|keyed| &keyed.remembered),
                }
            }
        };
        match remembered {
            Some(remembered) if remembered.fingerprint != retry.fingerprint => Err(Rejection::KeyReused),
            remembered => Ok(remembered.cloned()),
        }
    }

    /// Forgets what is remembered under a key.
    fn forget_answer(&mut self, retry: &Retry) {
        let forgotten = match &retry.key {
            DedupKey::Sequence { session, sequence } => {
                let record = self.state.sessions.get_mut(session);
                record.and_then(|record| Arc::make_mut(record).window.remove(sequence))
            }
            DedupKey::Idempotency { namespace, key } => {
                let keyed = self.state.dedup.keys.remove(&(namespace.clone(), key.clone()));
                keyed.map(|keyed| {
                    self.state.dedup.by_age.remove(&keyed.position);
                    keyed.remembered
                })
            }
        };
        if let Some(forgotten) = forgotten {
            self.state.dedup.forget(&forgotten);
        }
    }

    pub(crate) fn remember(&mut self, position: Position, retry: &Retry, outcome: &Outcome) {
        let Some(answer) = answer_of(outcome) else { return };
        let remembered = Remembered { fingerprint: retry.fingerprint, revision: position.index, answer };
        match &retry.key {
            DedupKey::Sequence { session, sequence } => {
                self.remember_sequence(*session, *sequence, remembered);
            }
            DedupKey::Idempotency { namespace, key } => {
                self.forget_stale();
                self.state.dedup.track(&remembered.answer);
                let at_ms = self.state.now_ms;
                let key = (self.intern(namespace), key.clone());
                self.state.dedup.by_age.insert(position, key.clone());
                self.state.dedup.keys.insert(key, Keyed { remembered, position, at_ms });
                self.state.dedup.keep_at_most(self.state.limits.idempotency_keys_max);
            }
        }
    }

    fn remember_sequence(&mut self, session: SessionId, sequence: u64, remembered: Remembered) {
        let window = self.state.limits.session_window;
        // The command itself may have closed the session.
        let Some(record) = self.state.sessions.get_mut(&session) else { return };
        self.state.dedup.track(&remembered.answer);
        let record = Arc::make_mut(record);
        record.window.insert(sequence, remembered);
        let newest = record.window.get_max().map_or(sequence, |(newest, _)| *newest);
        record.window_floor = record.window_floor.max(newest.saturating_add(1).saturating_sub(window));
        while let Some((oldest, forgotten)) = record.window.get_min().cloned()
            && oldest < record.window_floor
        {
            record.window.remove(&oldest);
            self.state.dedup.forget(&forgotten);
        }
    }

    /// Keys past their retention go, oldest first.
    fn forget_stale(&mut self) {
        while let Some((_, key)) = self.state.dedup.by_age.get_min()
            && self.state.dedup.keys.get(key).is_none_or(|keyed| self.state.is_stale(keyed))
        {
            self.state.dedup.forget_oldest();
        }
    }
}

impl State {
    fn is_stale(&self, keyed: &Keyed) -> bool {
        keyed.at_ms.saturating_add(self.limits.idempotency_retention_ms) <= self.now_ms
    }
}
