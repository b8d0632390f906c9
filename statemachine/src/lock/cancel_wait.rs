//! Withdrawing a wait.

use crate::lock::{AbandonWait, CancelWait, end_grant, end_wait};
use crate::transition::Transition;
use crate::{ReleaseReason, Reply, WaitEnd};

impl CancelWait {
    /// Always succeeds: whoever withdraws wants neither the wait nor a grant it may have become meanwhile.
    pub(crate) fn apply(&self, transition: &mut Transition<'_>) -> Reply {
        end_wait(transition, self.lock_id, WaitEnd::Cancelled);
        end_grant(transition, self.lock_id, ReleaseReason::Released);
        Reply::WaitCancelled { lock_id: self.lock_id }
    }
}

impl AbandonWait {
    pub(crate) fn apply(&self, transition: &mut Transition<'_>) -> Reply {
        end_wait(transition, self.lock_id, WaitEnd::Cancelled);
        Reply::WaitCancelled { lock_id: self.lock_id }
    }
}
