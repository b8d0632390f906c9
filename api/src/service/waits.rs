//! The calls of this node that wait for a lock. The task of the watch hub notifies them of the end of their acquisition.
//!
//! Invariant: an attached call is notified of the end of its acquisition, however the end races with attaching
//! (the call reads the published state after attaching, and again when changes were missed).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use batuta_statemachine::lock::{Acquisition, Grant};
use batuta_statemachine::{Change, ChangeKind, LockId, State, WaitEnd, lock};
use tokio::sync::{Notify, watch};

/// The end of a queued acquisition.
#[derive(Clone, Debug)]
pub(crate) enum Ended {
    /// The acquisition was granted.
    Granted {
        /// The revision at which this is true.
        revision: u64,
        /// The grant.
        grant: Arc<Grant>,
    },
    /// The acquisition ended without a grant.
    Refused {
        /// The revision at which it ended.
        revision: u64,
        /// The reason.
        reason: WaitEnd,
    },
    /// The acquisition is neither held nor queued, and this node did not see its end.
    Gone {
        /// The revision of the state that no longer has it.
        revision: u64,
    },
}

struct Slot {
    /// The acquisition waits at this revision. Earlier states are not conclusive.
    queued_revision: u64,
    ended: watch::Sender<Option<Ended>>,
    /// Whether a state no longer had it. The changes with the reason may still arrive.
    missing: bool,
    /// The number of calls that wait for it.
    attached: u64,
}

/// The calls that wait, by acquisition.
pub(crate) struct Waits {
    slots: Mutex<HashMap<LockId, Slot>>,
    calls_max: u64,
    /// Notifies the task of the hub that calls wait.
    interest: Arc<Notify>,
}

/// A call that waits for an acquisition.
pub(crate) struct Attached {
    waits: Arc<Waits>,
    lock_id: LockId,
    ended: watch::Receiver<Option<Ended>>,
}

impl Waits {
    pub(crate) fn new(calls_max: u64, interest: Arc<Notify>) -> Self {
        Self { slots: Mutex::default(), calls_max, interest }
    }

    /// Locks the map. A panic cannot leave it inconsistent, because every change is a single insertion or removal.
    fn slots(&self) -> MutexGuard<'_, HashMap<LockId, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The limit, if as many acquisitions are waited for as allowed.
    pub(crate) fn full(&self) -> Option<u64> {
        let waiting = u64::try_from(self.slots().len()).unwrap_or(u64::MAX);
        (waiting >= self.calls_max).then_some(self.calls_max)
    }

    /// Whether no call waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots().is_empty()
    }

    /// The number of acquisitions that calls wait for.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.slots().len()
    }

    /// Attaches a call to an acquisition that was seen in its queue at `queued_revision`.
    pub(crate) fn attach(self: &Arc<Self>, lock_id: LockId, queued_revision: u64) -> Attached {
        let mut slots = self.slots();
        let slot = slots.entry(lock_id).or_insert_with(|| Slot {
            queued_revision,
            ended: watch::Sender::new(None),
            missing: false,
            attached: 0,
        });
        slot.queue_again(queued_revision);
        slot.attached += 1;
        let ended = slot.ended.subscribe();
        drop(slots);
        self.interest.notify_one();
        Attached { waits: Arc::clone(self), lock_id, ended }
    }

    /// Notifies waiting calls of the changes of an entry.
    pub(crate) fn on_changes(&self, changes: &[Change]) {
        let slots = self.slots();
        if slots.is_empty() {
            return;
        }
        for change in changes {
            let (lock_id, ended) = match &change.kind {
                ChangeKind::Lock(lock::Change::LockGranted(grant)) => {
                    (grant.lock_id, Ended::Granted { revision: change.revision, grant: Arc::clone(grant) })
                }
                ChangeKind::Lock(lock::Change::WaitEnded { wait, reason }) => {
                    (wait.lock_id, Ended::Refused { revision: change.revision, reason: *reason })
                }
                _ => continue,
            };
            if let Some(slot) = slots.get(&lock_id)
                && !slot.is_past(change.revision, &ended)
            {
                slot.settle(ended);
            }
        }
    }

    /// Looks up every acquisition in the state, after changes were missed.
    pub(crate) fn recheck_all(&self, state: &State) {
        for (lock_id, slot) in &mut *self.slots() {
            slot.missing = true;
            slot.look(state, *lock_id);
        }
    }
}

impl Slot {
    /// Notes that another call saw it in its queue. If its wait had ended with a lost node, it has been queued again since.
    fn queue_again(&mut self, queued_revision: u64) {
        self.queued_revision = self.queued_revision.max(queued_revision);
        if matches!(*self.ended.borrow(), Some(Ended::Refused { reason: WaitEnd::NodeLost, .. })) {
            self.ended = watch::Sender::new(None);
        }
    }

    /// Whether an end is older than the last time the acquisition was queued under its id. In the same revision, the state
    /// decides.
    fn is_past(&self, revision: u64, ended: &Ended) -> bool {
        revision <= self.queued_revision && matches!(ended, Ended::Refused { reason: WaitEnd::NodeLost, .. })
    }

    /// Records the end, unless one is known: a later one is the end of a grant, not of the wait.
    fn settle(&self, ended: Ended) {
        self.ended.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(ended);
            }
            first
        });
    }

    fn look(&mut self, state: &State, lock_id: LockId) {
        if state.revision() < self.queued_revision {
            return;
        }
        match (state.acquisition(lock_id), state.wait_end(lock_id)) {
            (Acquisition::Waiting(_), _) => self.missing = false,
            (Acquisition::Granted(grant), _) => {
                self.settle(Ended::Granted { revision: grant.granted_revision, grant });
            }
            (Acquisition::Unknown, Some(reason)) => {
                self.settle(Ended::Refused { revision: state.revision(), reason });
            }
            (Acquisition::Unknown, None) if self.missing => {
                self.settle(Ended::Gone { revision: state.revision() });
            }
            (Acquisition::Unknown, None) => self.missing = true,
        }
    }
}

impl Attached {
    /// Looks up the acquisition in a state that may be newer than the changes seen so far.
    pub(crate) fn look(&self, state: &State) {
        if let Some(slot) = self.waits.slots().get_mut(&self.lock_id) {
            slot.look(state, self.lock_id);
        }
    }

    /// Resolves when the acquisition's end is known.
    pub(crate) async fn ended(&mut self) -> Ended {
        // The sender lives in the slot, and the slot as long as anything is attached: it cannot close before.
        match self.ended.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone().unwrap_or(Ended::Gone { revision: 0 }),
            Err(_) => Ended::Gone { revision: 0 },
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut slots = self.waits.slots();
        let Some(slot) = slots.get_mut(&self.lock_id) else { return };
        slot.attached -= 1;
        if slot.attached == 0 {
            slots.remove(&self.lock_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use batuta_statemachine::lock::{
        Acquire, CancelScope, CancelWait, LockRequest, Mode, Owner, OwnerRecord, Wait,
    };
    use batuta_statemachine::{Command, Entry, Name, Namespace, Position, PrincipalId, Request, Stamp};

    use super::*;

    fn id(index: u64) -> LockId {
        LockId(Position { index, ordinal: 0 })
    }

    fn end(lock_id: LockId, reason: WaitEnd) -> Change {
        let wait = Wait {
            lock_id,
            namespace: Namespace::default(),
            requests: Vec::new(),
            owner: OwnerRecord { principal: PrincipalId::ANONYMOUS, session: None, label: "".into() },
            deadline_ms: 0,
            queue_position: 0,
        };
        Change {
            revision: 9,
            ordinal: 0,
            namespace: None,
            kind: ChangeKind::Lock(lock::Change::WaitEnded { wait, reason }),
        }
    }

    #[tokio::test]
    async fn waiting_calls_learn_only_the_first_end() {
        let waits = Arc::new(Waits::new(10, Arc::default()));
        let (mut one, mut two) = (waits.attach(id(1), 1), waits.attach(id(1), 1));
        let other = waits.attach(id(2), 2);
        waits.on_changes(&[end(id(1), WaitEnd::Cancelled), end(id(1), WaitEnd::TimedOut)]);
        for call in [&mut one, &mut two] {
            assert!(matches!(call.ended().await, Ended::Refused { reason: WaitEnd::Cancelled, .. }));
        }
        assert!(other.ended.borrow().is_none());
    }

    #[test]
    fn last_call_leaves_nothing_behind() {
        let waits = Arc::new(Waits::new(10, Arc::default()));
        let (one, two) = (waits.attach(id(1), 1), waits.attach(id(1), 1));
        drop(one);
        assert_eq!(waits.len(), 1, "another call still waits");
        drop(two);
        assert!(waits.is_empty());
    }

    #[test]
    fn end_before_requeueing_is_ignored() {
        let waits = Arc::new(Waits::new(10, Arc::default()));
        let again = waits.attach(id(1), 12);
        waits.on_changes(&[end(id(1), WaitEnd::NodeLost)]);
        assert!(again.ended.borrow().is_none(), "it was queued again at 12, the end is of 9");
        let first = waits.attach(id(2), 2);
        waits.on_changes(&[end(id(2), WaitEnd::NodeLost)]);
        let again = waits.attach(id(2), 12);
        assert!(matches!(*first.ended.borrow(), Some(Ended::Refused { reason: WaitEnd::NodeLost, .. })));
        assert!(again.ended.borrow().is_none(), "the first is told, the second waits on");
    }

    #[test]
    fn state_before_the_wait_is_ignored() {
        let waits = Arc::new(Waits::new(10, Arc::default()));
        let call = waits.attach(id(5), 5);
        call.look(&State::default());
        assert!(call.ended.borrow().is_none(), "revision 0 is before revision 5");
        let early = waits.attach(id(0), 0);
        early.look(&State::default());
        assert!(early.ended.borrow().is_none(), "a change may say how it ended");
        early.look(&State::default());
        assert!(matches!(*early.ended.borrow(), Some(Ended::Gone { .. })));
    }

    #[test]
    fn after_missed_changes_the_state_tells() {
        let acquire = |wait_ms| {
            Command::from(Acquire {
                namespace: Namespace::default(),
                requests: vec![LockRequest { name: Name::new("a").expect("valid"), mode: Mode::Exclusive }],
                owner: Owner { session: None, label: String::new() },
                ttl_ms: Some(60_000),
                wait_ms,
                lock_delay_ms: 0,
                reentrant: false,
                metadata: String::new(),
                call: None,
            })
        };
        let mut state = State::default();
        let mut apply = |revision, command| {
            let requests = vec![Request::new(None, command)];
            let applied = state.apply(revision, &Entry { stamp: Stamp::default(), requests });
            assert!(applied.outcomes[0].is_ok(), "{applied:?}");
            state.clone()
        };
        let waits = Arc::new(Waits::new(10, Arc::default()));
        apply(1, acquire(0));
        let queued = apply(2, acquire(60_000));
        let call = waits.attach(id(2), 2);
        waits.recheck_all(&queued);
        assert!(call.ended.borrow().is_none(), "it waits still");
        let cancel = CancelWait {
            namespace: Namespace::default(),
            lock_id: id(1),
            call: None,
            scope: CancelScope::WaitOrGrant,
        };
        let granted = apply(3, Command::from(cancel));
        waits.recheck_all(&granted);
        let ended = call.ended.borrow().clone();
        assert!(matches!(ended, Some(Ended::Granted { revision: 3, grant }) if grant.lock_id == id(2)));
    }

    #[test]
    fn registry_knows_when_it_is_full() {
        let waits = Arc::new(Waits::new(1, Arc::default()));
        assert_eq!(waits.full(), None);
        let _call = waits.attach(id(1), 1);
        assert_eq!(waits.full(), Some(1));
    }
}
