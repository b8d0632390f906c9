//! Giving a grant back.

use std::sync::Arc;

use crate::lock::{Grant, Release, end_grant};
use crate::transition::Transition;
use crate::{ChangeKind, LockId, Name, Namespace, Outcome, Rejection, ReleaseReason, Reply, State};

impl Release {
    pub(crate) fn apply(&self, transition: &mut Transition<'_>) -> Outcome {
        let grant = transition.state.held(&self.namespace, self.lock_id, self.name.as_ref())?.clone();
        let remaining_count = grant.count - 1;
        if remaining_count == 0 {
            end_grant(transition, self.lock_id, ReleaseReason::Released);
        } else {
            let grant = Arc::new(Grant { count: remaining_count, ..grant.as_ref().clone() });
            transition.state.grants.insert(self.lock_id, Arc::clone(&grant));
            let reason = ReleaseReason::Released;
            transition.emit(Some(&self.namespace), ChangeKind::LockReleased { grant, reason });
        }
        Ok(Reply::Released { lock_id: self.lock_id, token: grant.token, remaining_count })
    }
}

impl State {
    /// The grant of that id, if it is held in the namespace and (when given) on that name. An acquisition of another namespace, held or
    /// waiting, is refused as such.
    pub(crate) fn held(
        &self,
        namespace: &Namespace,
        lock_id: LockId,
        name: Option<&Name>,
    ) -> Result<&Arc<Grant>, Rejection> {
        let lives_in = self
            .grants
            .get(&lock_id)
            .map(|grant| &grant.namespace)
            .or_else(|| self.waits.get(&lock_id).map(|wait| &wait.namespace));
        if lives_in.is_some_and(|lives_in| lives_in != namespace) {
            return Err(Rejection::ForeignLock { lock_id });
        }
        self.grants
            .get(&lock_id)
            .filter(|grant| {
                name.is_none_or(|name| grant.requests.iter().any(|request| request.name == *name))
            })
            .ok_or(Rejection::LockNotHeld { lock_id })
    }
}
