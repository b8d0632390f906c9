//! Applies entries: the only function that changes the state.

use crate::access::{binding_due, token_due};
use crate::due::Due;
use crate::job::Job as _;
use crate::jobs::jobs;
use crate::lock::{ReleaseReason, WaitEnd, end_delay, end_grant, end_wait};
use crate::retry::{Answered, Recalled};
use crate::session::{SessionEnd, end_session};
use crate::step::Step;
use crate::{Actor, Change, Command, Entry, Outcome, Position, Rejection, Request, State, access, lock};

/// The result of applying one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// One outcome per request of the entry, in order.
    pub outcomes: Vec<Outcome>,
    /// For each outcome, the revision of the effect that it reports: that of this entry, or, for a retry under a known key, that of the entry
    /// that executed the request.
    pub revisions: Vec<u64>,
    /// The changes, in order.
    pub changes: Vec<Change>,
}

impl State {
    /// Applies the entry at log index `revision`: takes its time, ends what is due, then executes its requests in
    /// order. Total (never panics, refuses instead) and deterministic.
    pub fn apply(&mut self, revision: u64, entry: &Entry) -> Applied {
        self.revision = revision;
        self.now_ms = self.now_ms.max(entry.stamp.now_ms);
        if entry.stamp.wall_ms != 0 {
            self.wall_ms = entry.stamp.wall_ms;
        }
        let mut step = Step::new(self);
        step.end_due();
        let mut outcomes = Vec::with_capacity(entry.requests.len());
        let mut revisions = Vec::with_capacity(entry.requests.len());
        for (request, ordinal) in entry.requests.iter().zip(0..) {
            let answered = step.execute(Position { index: revision, ordinal }, request);
            outcomes.push(answered.outcome);
            revisions.push(answered.revision);
        }
        Applied { outcomes, revisions, changes: step.into_changes() }
    }

    /// Whether a request, if applied now, would add an object to the state: a session, an acquisition, a register. A request that only changes
    /// or removes objects is still accepted when the disk is nearly full, and so is the retry of an executed request.
    ///
    /// The remembered answer of a request with a key does not count, because that memory is bounded in any case.
    #[must_use]
    pub fn adds(&self, request: &Request) -> bool {
        macro_rules! adds {
            ($($Job:ident = $module:ident),*) => {
                match &request.command {
                    $(Command::$Job(command) => crate::$module::$Job::adds(self, command),)*
                }
            };
        }
        jobs!(adds) && !request.dedup.as_ref().is_some_and(|retry| self.remembers(&request.actor, &retry.key))
    }
}

impl Step<'_> {
    /// Ends everything whose deadline has come, earliest first.
    fn end_due(&mut self) {
        while let Some((deadline_ms, due)) = self.state.deadlines.get_min().cloned() {
            if deadline_ms > self.state.now_ms {
                break;
            }
            self.state.deadlines.remove(&(deadline_ms, due.clone()));
            match due {
                Due::Session(session) => {
                    end_session(self, session, SessionEnd::Expired, true);
                }
                Due::Grant(lock_id) => end_grant(self, lock_id, ReleaseReason::Expired),
                Due::Delay(key) => end_delay(self, *key),
                Due::Wait(lock_id) => end_wait(self, lock_id, WaitEnd::TimedOut),
                Due::Binding(binding) => binding_due(self, binding),
                Due::Token(token) => token_due(self, token),
            }
            self.settle();
        }
    }

    /// Executes one request, once: a retry under a known key gets the remembered answer.
    fn execute(&mut self, position: Position, request: &Request) -> Answered {
        self.actor = request.actor;
        let answered = self.execute_as_actor(position, request);
        self.actor = Actor::Node;
        answered
    }

    /// Executes a request of [`Step::actor`]. A caller that lacks the permission learns nothing, not even the answer that was given under its
    /// key before; its refusal is not remembered.
    fn execute_as_actor(&mut self, position: Position, request: &Request) -> Answered {
        // The credential is checked also for what needs no permission, such as a release: the node that accepted the request may not have known of
        // its end.
        let allowed = self.state.check_identity(&self.actor).and_then(|()| self.authorise(&request.command));
        if let Err(refusal) = allowed {
            return self.state.answered_now(Err(refusal.into()));
        }
        self.adopt_named(request);
        let recalled = request.dedup.as_ref().and_then(|retry| self.recall(retry, &request.command));
        let outcome = match recalled {
            Some(Recalled::Answer(answered)) => return answered,
            Some(Recalled::Lost(lock_id)) => {
                let outcome = self.run(lock_id.0, &request.command);
                if self.state.lock.lives(lock_id) {
                    self.state.retries.note_return(lock_id);
                }
                outcome
            }
            None => self.run(position, &request.command),
        };
        self.settle();
        if let Some(retry) = &request.dedup
            && !self.may_turn_around(&request.command, &outcome)
        {
            self.remember(position, retry, &outcome);
        }
        self.state.answered_now(outcome)
    }

    /// Whether the owner is refused because of its own grant, which it learns once the node that should have told it counts as lost.
    fn may_turn_around(&self, command: &Command, outcome: &Outcome) -> bool {
        match (command, outcome) {
            (
                Command::Lock(lock::Command::Acquire(acquire)),
                Err(Rejection::Lock(lock::Refusal::Deadlock { .. })),
            ) => self.state.answered_elsewhere(acquire).is_some(),
            _ => false,
        }
    }

    /// Checks that the actor has the permission that a command needs.
    fn authorise(&self, command: &Command) -> Result<(), access::Refusal> {
        macro_rules! authorise {
            ($($Job:ident = $module:ident),*) => {
                match command {
                    $(Command::$Job(command) => crate::$module::$Job::authorise(self.state, &self.actor, command),)*
                }
            };
        }
        jobs!(authorise)
    }

    fn run(&mut self, position: Position, command: &Command) -> Outcome {
        macro_rules! run {
            ($($Job:ident = $module:ident),*) => {
                match command {
                    $(Command::$Job(command) => crate::$module::$Job::apply(self, position, command),)*
                }
            };
        }
        jobs!(run)
    }

    fn settle(&mut self) {
        macro_rules! settle {
            ($($Job:ident = $module:ident),*) => {
                $(crate::$module::$Job::settle(self);)*
            };
        }
        jobs!(settle);
    }
}
