//! Withdraws an acquisition.

use crate::Rejection;
use crate::lock::{
    CancelScope, CancelWait, Refusal, ReleaseReason, WaitCancelled, WaitEnd, end_grant, end_wait,
};
use crate::step::Step;

impl CancelWait {
    pub(super) fn apply(&self, step: &mut Step<'_>) -> Result<WaitCancelled, Rejection> {
        let Self { namespace, lock_id, call, scope } = self;
        let (lock_id, call) = (*lock_id, *call);
        if step.state.check_own(&step.actor, lock_id).is_err() {
            // As for an acquisition that has ended.
            return Ok(WaitCancelled { lock_id });
        }
        step.state.check_lives_in(lock_id, namespace)?;
        match scope {
            CancelScope::Wait => {
                if let (None, Some(grant)) = (call, step.state.lock.grants.get(&lock_id)) {
                    return Err(Refusal::AlreadyGranted { lock_id, token: grant.token }.into());
                }
                if call.is_none_or(|call| step.leave_wait(lock_id, call)) {
                    end_wait(step, lock_id, WaitEnd::Cancelled);
                }
            }
            CancelScope::WaitOrGrant => {
                let waits = step.state.lock.waits.contains_key(&lock_id);
                let ends = match call {
                    None => true,
                    Some(call) if waits => step.leave_wait(lock_id, call),
                    Some(call) => step.leave_grant(lock_id, call),
                };
                if ends {
                    end_wait(step, lock_id, WaitEnd::Cancelled);
                    end_grant(step, lock_id, ReleaseReason::Released);
                }
            }
            CancelScope::Call => {
                if let Some(call) = call {
                    step.leave_wait(lock_id, call);
                }
            }
        }
        Ok(WaitCancelled { lock_id })
    }
}
