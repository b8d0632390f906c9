//! Taking a grant away.

use crate::lock::{ForceRelease, LockKey, end_grant};
use crate::transition::Transition;
use crate::{Outcome, Rejection, ReleaseReason, Reply};

impl ForceRelease {
    pub(crate) fn apply(&self, transition: &mut Transition<'_>) -> Outcome {
        let state = &*transition.state;
        state.check_reason(&self.reason)?;
        let key = LockKey { namespace: self.namespace.clone(), name: self.name.clone() };
        let holders = || {
            let lock = state.locks.get(&key);
            lock.into_iter()
                .flat_map(|lock| lock.holders.iter())
                .filter_map(|holder| state.grants.get(&holder))
        };
        let Some(grant) = holders().find(|grant| grant.token == self.token) else {
            let newest = holders().map(|grant| grant.token).max().unwrap_or_default();
            return Err(Rejection::TokenSuperseded { token: self.token, newest });
        };
        let (lock_id, token) = (grant.lock_id, grant.token);
        end_grant(transition, lock_id, ReleaseReason::Forced { reason: self.reason.clone() });
        Ok(Reply::Released { lock_id, token, remaining_count: 0 })
    }
}
