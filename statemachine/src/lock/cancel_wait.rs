//! Withdrawing an acquisition.

use crate::lock::{CancelScope, CancelWait, end_grant, end_wait};
use crate::transition::Transition;
use crate::{Outcome, Rejection, ReleaseReason, Reply, WaitEnd};

impl CancelWait {
    pub(crate) fn apply(&self, transition: &mut Transition<'_>) -> Outcome {
        let Self { namespace, lock_id, call, scope } = self;
        let (lock_id, call) = (*lock_id, *call);
        transition.state.check_lives_in(lock_id, namespace)?;
        match scope {
            CancelScope::Wait => {
                if let (None, Some(grant)) = (call, transition.state.grants.get(&lock_id)) {
                    return Err(Rejection::AlreadyGranted { lock_id, token: grant.token });
                }
                if call.is_none_or(|call| transition.leave_wait(lock_id, call)) {
                    end_wait(transition, lock_id, WaitEnd::Cancelled);
                }
            }
            CancelScope::WaitOrGrant => {
                let waits = transition.state.waits.contains_key(&lock_id);
                let ends = match call {
                    None => true,
                    Some(call) if waits => transition.leave_wait(lock_id, call),
                    Some(call) => transition.leave_grant(lock_id, call),
                };
                if ends {
                    end_wait(transition, lock_id, WaitEnd::Cancelled);
                    end_grant(transition, lock_id, ReleaseReason::Released);
                }
            }
            CancelScope::Call => {
                if let Some(call) = call {
                    transition.leave_wait(lock_id, call);
                }
            }
        }
        Ok(Reply::WaitCancelled { lock_id })
    }
}
