//! Taking a grant away.

use crate::lock::{ForceRelease, end_grant};
use crate::transition::Transition;
use crate::{Outcome, ReleaseReason, Reply};

impl ForceRelease {
    pub(crate) fn apply(&self, transition: &mut Transition<'_>) -> Outcome {
        let state = &*transition.state;
        state.check_reason(&self.reason)?;
        let grant = state.held_under(&self.namespace, &self.name, self.token)?;
        let (lock_id, token) = (grant.lock_id, grant.token);
        end_grant(transition, lock_id, ReleaseReason::Forced { reason: self.reason.clone() });
        Ok(Reply::Released { lock_id, token, remaining_count: 0 })
    }
}
