//! Withdrawing a wait.

use crate::lock::{AbandonWait, CancelWait, end_grant, end_wait};
use crate::transition::Transition;
use crate::{ReleaseReason, Reply, WaitEnd};

impl CancelWait {
    /// Always succeeds: whoever withdraws wants neither the wait nor a grant it may have become meanwhile.
    pub(crate) fn apply(&self, transition: &mut Transition<'_>) -> Reply {
        let waits = transition.state.waits.contains_key(&self.lock_id);
        let ends = match self.call {
            None => true,
            Some(call) if waits => transition.leave_wait(self.lock_id, call),
            Some(call) => transition.leave_grant(self.lock_id, call),
        };
        if ends {
            end_wait(transition, self.lock_id, WaitEnd::Cancelled);
            end_grant(transition, self.lock_id, ReleaseReason::Released);
        }
        Reply::WaitCancelled { lock_id: self.lock_id }
    }
}

impl AbandonWait {
    pub(crate) fn apply(&self, transition: &mut Transition<'_>) -> Reply {
        let last = self.call.is_none_or(|call| transition.leave_wait(self.lock_id, call));
        if last && !self.keeps_place {
            end_wait(transition, self.lock_id, WaitEnd::Cancelled);
        }
        Reply::WaitCancelled { lock_id: self.lock_id }
    }
}
