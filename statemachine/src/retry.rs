//! Recognises retries and remembers answers. Refusals that may end by themselves (`lock_held`, `lock_delayed`,
//! `limit_exceeded`) are not remembered, and neither are those that depend on rights (`permission_denied` and its kin).

use std::sync::Arc;

use crate::check::text_within;
use crate::lock::{self, Acquired, WaitEnd};
use crate::rejection::invalid;
use crate::retries::{Answer, Ended, Keyed, Remembered};
use crate::step::Step;
use crate::{
    Actor, Code, Command, DedupKey, LockId, Outcome, Position, Rejection, Reply, Retry, SessionId, State,
    session,
};

fn answer_of(outcome: &Outcome) -> Option<Answer> {
    match outcome {
        Ok(Reply::Lock(lock::Reply::Acquired(acquired))) => Some(Answer::Acquisition(acquired.lock_id())),
        Err(rejection) if rejection.retryable() || is_denial(rejection.code()) => None,
        _ => Some(Answer::Outcome(Arc::new(outcome.clone()))),
    }
}

/// Whether a code says what an actor may do, which changes with the policy and not with the request.
fn is_denial(code: Code) -> bool {
    matches!(
        code,
        Code::EscalationRefused
            | Code::PermissionDenied
            | Code::PrincipalSuspended
            | Code::TokenExpired
            | Code::TokenRevoked
    )
}

/// An outcome, with the revision of the effect that it reports.
pub(crate) struct Answered {
    pub(crate) revision: u64,
    pub(crate) outcome: Outcome,
}

/// The remembered answer of a retry.
pub(crate) enum Recalled {
    /// The answer.
    Answer(Answered),
    /// The acquisition ended only because the node that served it was lost. It is queued again under the same id, and its
    /// old answer is forgotten.
    Lost(LockId),
}

impl State {
    /// How a wait ended, if remembered answers refer to it.
    #[must_use]
    pub fn wait_end(&self, lock_id: LockId) -> Option<WaitEnd> {
        match self.retries.ended(lock_id)? {
            Ended::Wait(reason) => Some(*reason),
            Ended::Grant(_) => None,
        }
    }

    /// Makes an answer of the entry that is being applied.
    pub(crate) fn answered_now(&self, outcome: Outcome) -> Answered {
        Answered { revision: self.revision, outcome }
    }

    /// Makes the answer to a retry. Its revision is that of the reported effect; the end of an acquisition is reported as of now.
    fn answer_again(&self, remembered: &Remembered) -> Answered {
        // 0 in a snapshot of a build that did not store it.
        let effect = if remembered.revision == 0 { self.revision } else { remembered.revision };
        let lock_id = match &remembered.answer {
            Answer::Outcome(outcome) => {
                return Answered { revision: effect, outcome: outcome.as_ref().clone() };
            }
            Answer::Acquisition(lock_id) => *lock_id,
        };
        if let Some(grant) = self.grant(lock_id) {
            let revision = effect.max(grant.granted_revision);
            return Answered { revision, outcome: Ok(Acquired::Granted(grant).into()) };
        }
        if let Some(wait) = self.wait(lock_id) {
            return Answered { revision: effect, outcome: Ok(Acquired::Queued(wait).into()) };
        }
        let refusal = match self.retries.ended(lock_id).cloned() {
            Some(Ended::Grant(reason)) => lock::Refusal::GrantEnded { lock_id, reason },
            Some(Ended::Wait(reason)) => lock::Refusal::WaitEnded { lock_id, reason },
            None => lock::Refusal::LockNotHeld { lock_id },
        };
        self.answered_now(Err(refusal.into()))
    }

    /// Whether an answer is remembered under this key of an actor, so that the request would not be executed again.
    pub(crate) fn remembers(&self, actor: &Actor, key: &DedupKey) -> bool {
        let remembered = match key {
            DedupKey::Sequence { session, sequence } => {
                let window = self.session.window(*session).filter(|_| self.owns_session(actor, *session));
                window.and_then(|window| window.answers.get(sequence))
            }
            DedupKey::Idempotency { namespace, key } => {
                let keyed = self.retries.keyed(&(actor.principal(), namespace.clone(), key.clone()));
                keyed.filter(|keyed| !self.is_stale(keyed)).map(|keyed| &keyed.remembered)
            }
        };
        remembered.is_some_and(|remembered| match &remembered.answer {
            Answer::Outcome(_) => true,
            Answer::Acquisition(lock_id) => !self.retries.was_lost(*lock_id),
        })
    }

    /// Finds the answer of a sequence. The session of somebody else does not exist for the actor.
    fn recall_sequence(
        &self,
        actor: &Actor,
        session: SessionId,
        sequence: u64,
    ) -> Result<Option<&Remembered>, Rejection> {
        let window = self.session.window(session).filter(|_| self.owns_session(actor, session));
        let window = window.ok_or(session::Refusal::SessionNotFound { session })?;
        if sequence < window.floor || sequence == 0 {
            return Err(Rejection::SequenceTooOld { sequence, oldest: window.floor.max(1) });
        }
        Ok(window.answers.get(&sequence))
    }
}

impl Step<'_> {
    /// Finds the remembered answer of a retry; `None` when the request is new. If the retry comes through a call that waits, the call joins
    /// the wait for the queued acquisition.
    pub(crate) fn recall(&mut self, retry: &Retry, command: &Command) -> Option<Recalled> {
        let remembered = match self.remembered(retry) {
            Ok(remembered) => remembered?,
            Err(rejection) => return Some(Recalled::Answer(self.state.answered_now(Err(rejection)))),
        };
        if let (Answer::Acquisition(lock_id), Command::Lock(lock::Command::Acquire(acquire))) =
            (&remembered.answer, command)
        {
            if self.state.retries.was_lost(*lock_id) {
                self.forget_answer(retry);
                return Some(Recalled::Lost(*lock_id));
            }
            self.serve(*lock_id, acquire.call);
            self.ask_instead(*lock_id);
        }
        Some(Recalled::Answer(self.state.answer_again(&remembered)))
    }

    /// Looks up the answer under a key; refuses a key that was used for another request.
    fn remembered(&mut self, retry: &Retry) -> Result<Option<Remembered>, Rejection> {
        let remembered = match &retry.key {
            DedupKey::Sequence { session, sequence } => {
                self.state.recall_sequence(&self.actor, *session, *sequence)?
            }
            DedupKey::Idempotency { namespace, key } => {
                self.state.check_idempotency_key(key)?;
                match self.state.retries.keyed(&(self.actor.principal(), namespace.clone(), key.clone())) {
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

    /// Forgets the answer under a key.
    fn forget_answer(&mut self, retry: &Retry) {
        match &retry.key {
            DedupKey::Sequence { session, sequence } => {
                let window = self.state.session.window_mut(*session);
                if let Some(forgotten) = window.and_then(|window| window.answers.remove(sequence)) {
                    self.state.retries.forget(&forgotten);
                }
            }
            DedupKey::Idempotency { namespace, key } => {
                let principal = self.actor.principal();
                self.state.retries.remove_keyed(&(principal, namespace.clone(), key.clone()));
            }
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
                let at_ms = self.state.now_ms;
                let key = (self.actor.principal(), self.intern(namespace), key.clone());
                self.state.retries.insert_keyed(key, Keyed { remembered, position, at_ms });
                self.state.retries.keep_within(&self.state.limits.retries);
            }
        }
    }

    fn remember_sequence(&mut self, session: SessionId, sequence: u64, remembered: Remembered) {
        let kept = self.state.limits.retries.session_window;
        // The command itself may have closed the session.
        let Some(window) = self.state.session.window_mut(session) else { return };
        self.state.retries.track(&remembered.answer);
        window.answers.insert(sequence, remembered);
        let newest = window.answers.get_max().map_or(sequence, |(newest, _)| *newest);
        window.floor = window.floor.max(newest.saturating_add(1).saturating_sub(kept));
        while let Some((oldest, forgotten)) = window.answers.get_min().cloned()
            && oldest < window.floor
        {
            window.answers.remove(&oldest);
            self.state.retries.forget(&forgotten);
        }
    }

    /// Forgets keys past their retention, oldest first.
    fn forget_stale(&mut self) {
        while self.state.retries.oldest_keyed().is_some_and(|keyed| self.state.is_stale(keyed)) {
            self.state.retries.forget_oldest();
        }
    }
}

impl State {
    fn is_stale(&self, keyed: &Keyed) -> bool {
        keyed.at_ms.saturating_add(self.limits.retries.idempotency_retention_ms) <= self.now_ms
    }

    fn check_idempotency_key(&self, key: &str) -> Result<(), Rejection> {
        if key.is_empty() {
            return Err(invalid("idempotency_key", "must not be empty"));
        }
        text_within("idempotency_key", key, self.limits.retries.idempotency_key_bytes_max)
    }
}
