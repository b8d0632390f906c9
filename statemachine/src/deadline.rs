//! What is due when: one ordered index over everything that ends by itself.

use crate::lock::{LockKey, end_grant, end_wait, promote};
use crate::session::end_session;
use crate::transition::Transition;
use crate::{LockId, ReleaseReason, SessionEnd, SessionId, WaitEnd};

/// Something that ends by itself. Of things due at the same millisecond the earlier variant comes first, so that a
/// lock that becomes free reaches a waiter whose time runs out in the same millisecond.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Due {
    /// A session's time to live.
    Session(SessionId),
    /// A one-shot grant's time to live.
    Grant(LockId),
    /// A lock's delay.
    Delay(Box<LockKey>),
    /// A wait.
    Wait(LockId),
}

impl Transition<'_> {
    /// Ends everything whose deadline has come, earliest first.
    pub(crate) fn expire_due(&mut self) {
        while let Some((deadline_ms, due)) = self.state.deadlines.get_min().cloned() {
            if deadline_ms > self.state.now_ms {
                break;
            }
            self.state.deadlines.remove(&(deadline_ms, due.clone()));
            match due {
                Due::Session(session) => {
                    end_session(self, session, SessionEnd::Expired);
                }
                Due::Grant(lock_id) => end_grant(self, lock_id, ReleaseReason::Expired),
                Due::Delay(key) => {
                    if let Some(lock) = self.state.locks.get_mut(key.as_ref()) {
                        lock.delay_until(None);
                    }
                    self.touch(*key, false);
                }
                Due::Wait(lock_id) => end_wait(self, lock_id, WaitEnd::TimedOut),
            }
            promote(self);
        }
    }
}
