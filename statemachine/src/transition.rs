//! One entry on its way into the state: what it has changed so far, and which locks wait to be looked at again.

use std::collections::BTreeSet;

use crate::dedup::Recalled;
use crate::lock::{LockKey, promote};
use crate::state::{Answered, NamespaceUsage};
use crate::{Change, ChangeKind, Command, Namespace, Outcome, Position, Rejection, Request, State};

/// The state while an entry is applied.
pub(crate) struct Transition<'a> {
    pub(crate) state: &'a mut State,
    changes: Vec<Change>,
    /// Locks that changed since they were last checked for waiters that may go.
    pub(crate) touched: BTreeSet<LockKey>,
    /// Locks an exclusive holder left in this step: their shared waiters go first (see [`promote`]).
    pub(crate) reader_turns: BTreeSet<LockKey>,
}

impl<'a> Transition<'a> {
    pub(crate) fn new(state: &'a mut State) -> Self {
        Self { state, changes: Vec::new(), touched: BTreeSet::new(), reader_turns: BTreeSet::new() }
    }

    pub(crate) fn into_changes(self) -> Vec<Change> {
        self.changes
    }

    /// Records a change for the watchers.
    pub(crate) fn emit(&mut self, namespace: Option<&Namespace>, kind: ChangeKind) {
        // An entry is bounded in bytes far below 2^32 changes; saturating keeps the function total all the same.
        let ordinal = u32::try_from(self.changes.len()).unwrap_or(u32::MAX);
        self.changes.push(Change {
            revision: self.state.revision,
            ordinal,
            namespace: namespace.cloned(),
            kind,
        });
    }

    /// Marks a lock whose waiters may have become grantable.
    pub(crate) fn touch(&mut self, key: LockKey, exclusive_left: bool) {
        if exclusive_left {
            self.reader_turns.insert(key.clone());
        }
        self.touched.insert(key);
    }

    /// The stored twin of a namespace, so that a million keys share one text.
    pub(crate) fn intern(&self, namespace: &Namespace) -> Namespace {
        self.state
            .namespaces
            .get_key_value(namespace)
            .map_or_else(|| namespace.clone(), |(stored, _)| stored.clone())
    }

    /// Changes what a namespace holds; a namespace that holds nothing goes.
    pub(crate) fn account(&mut self, namespace: &Namespace, change: impl FnOnce(&mut NamespaceUsage)) {
        let mut usage = self.state.namespaces.get(namespace).copied().unwrap_or_default();
        change(&mut usage);
        if usage == NamespaceUsage::default() {
            self.state.namespaces.remove(namespace);
        } else {
            self.state.namespaces.insert(namespace.clone(), usage);
        }
    }

    /// Executes one request, once: a retry under a known key gets the remembered answer.
    pub(crate) fn execute(&mut self, position: Position, request: &Request) -> Answered {
        let recalled = request.dedup.as_ref().and_then(|retry| self.recall(retry, &request.command));
        let outcome = match recalled {
            Some(Recalled::Answer(answered)) => return answered,
            Some(Recalled::Lost(lock_id)) => {
                let outcome = self.run(lock_id.0, &request.command);
                if self.state.waits.contains_key(&lock_id) || self.state.grants.contains_key(&lock_id) {
                    self.state.dedup.note_return(lock_id);
                }
                outcome
            }
            None => self.run(position, &request.command),
        };
        promote(self);
        if let Some(retry) = &request.dedup
            && !self.may_turn_around(&request.command, &outcome)
        {
            self.remember(position, retry, &outcome);
        }
        self.state.answered_now(outcome)
    }

    /// Whether a refusal is the owner's own grant, which it is told when the node that should have told it counts as lost.
    fn may_turn_around(&self, command: &Command, outcome: &Outcome) -> bool {
        match (command, outcome) {
            (Command::Acquire(acquire), Err(Rejection::Deadlock { .. })) => {
                self.state.answered_elsewhere(acquire).is_some()
            }
            _ => false,
        }
    }

    fn run(&mut self, position: Position, command: &Command) -> Outcome {
        match command {
            Command::OpenSession(command) => command.apply(self, position),
            Command::KeepAlive(command) => Ok(command.apply(self)),
            Command::CloseSession(command) => command.apply(self),
            Command::Acquire(command) => command.apply(self, position),
            Command::CancelWait(command) => command.apply(self),
            Command::WithdrawWaits(command) => Ok(command.apply(self)),
            Command::Release(command) => command.apply(self),
            Command::Extend(command) => command.apply(self),
            Command::ForceRelease(command) => command.apply(self),
            Command::AdvanceRegister(command) => command.apply(self),
            Command::DeleteRegister(command) => command.apply(self),
            Command::InitCluster(command) => command.apply(self),
            Command::AllocateNode(command) => command.apply(self),
            Command::SetLimits(command) => command.apply(self),
        }
    }
}
