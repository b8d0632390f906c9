//! Giving a grant back.

use std::sync::Arc;

use crate::lock::{By, Grant, Release, end_grant};
use crate::transition::Transition;
use crate::{ChangeKind, LockId, Name, Namespace, Outcome, Rejection, ReleaseReason, Reply, State};

impl Release {
    pub(crate) fn apply(&self, transition: &mut Transition<'_>) -> Outcome {
        let grant = self.grant(transition.state)?;
        let (lock_id, token, remaining_count) = (grant.lock_id, grant.token, grant.count - 1);
        if remaining_count == 0 {
            end_grant(transition, lock_id, ReleaseReason::Released);
        } else {
            let grant = Arc::new(Grant { count: remaining_count, ..grant.as_ref().clone() });
            transition.state.grants.insert(lock_id, Arc::clone(&grant));
            let reason = ReleaseReason::Released;
            transition.emit(Some(&self.namespace), ChangeKind::LockReleased { grant, reason });
        }
        Ok(Reply::Released { lock_id, token, remaining_count })
    }

    fn grant(&self, state: &State) -> Result<Arc<Grant>, Rejection> {
        match &self.by {
            By::Id { lock_id, name } => state.held(&self.namespace, *lock_id, name.as_ref()).cloned(),
            By::Token { name, token } => state.held_under(&self.namespace, name, *token),
        }
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
        self.check_lives_in(lock_id, namespace)?;
        self.grants
            .get(&lock_id)
            .filter(|grant| {
                name.is_none_or(|name| grant.requests.iter().any(|request| request.name == *name))
            })
            .ok_or(Rejection::LockNotHeld { lock_id })
    }

    /// The grant that holds a name under a token.
    pub(crate) fn held_under(
        &self,
        namespace: &Namespace,
        name: &Name,
        token: u64,
    ) -> Result<Arc<Grant>, Rejection> {
        self.holder(namespace, name, token).ok_or_else(|| {
            let newest = self.check(namespace, name, token).newest.unwrap_or_default();
            Rejection::TokenSuperseded { token, newest }
        })
    }

    /// Refuses an acquisition, held or waiting, that lives in another namespace. One that does not exist is not refused here.
    pub(crate) fn check_lives_in(&self, lock_id: LockId, namespace: &Namespace) -> Result<(), Rejection> {
        let grant = self.grants.get(&lock_id).map(|grant| &grant.namespace);
        let lives_in = grant.or_else(|| self.waits.get(&lock_id).map(|wait| &wait.namespace));
        match lives_in {
            Some(lives_in) if lives_in != namespace => Err(Rejection::ForeignLock { lock_id }),
            _ => Ok(()),
        }
    }
}
