//! Takes a grant away from its owner.

use crate::Rejection;
use crate::lock::{ForceRelease, ReleaseReason, Released, end_grant};
use crate::step::Step;

impl ForceRelease {
    pub(super) fn apply(&self, step: &mut Step<'_>) -> Result<Released, Rejection> {
        let state = &*step.state;
        state.check_reason(&self.reason)?;
        let grant = state.held_under(&self.namespace, &self.name, self.token)?;
        let (lock_id, token) = (grant.lock_id, grant.token);
        end_grant(step, lock_id, ReleaseReason::Forced { reason: self.reason.clone() });
        Ok(Released { lock_id, token, remaining_count: 0 })
    }
}
