//! Turning exclusive locks into shared ones.

use std::sync::Arc;

use crate::Rejection;
use crate::lock::record::{Kind, LockKey};
use crate::lock::{Change, Downgrade, Downgraded, Grant, Mode, Refusal};
use crate::step::Step;

impl Downgrade {
    pub(super) fn apply(&self, step: &mut Step<'_>) -> Result<Downgraded, Rejection> {
        let grant = step.state.named_grant(&step.actor, &self.namespace, &self.grant)?;
        check_modes(&grant)?;
        if grant.requests.iter().all(|request| request.mode != Mode::Exclusive) {
            return Ok(Downgraded { grant });
        }
        let mut downgraded = grant;
        let lock_id = downgraded.lock_id;
        for request in &mut Arc::make_mut(&mut downgraded).requests {
            if request.mode != Mode::Exclusive {
                continue;
            }
            let key = LockKey { namespace: self.namespace.clone(), name: request.name.clone() };
            if let Some(lock) = step.state.lock.by_key.get_mut(&key) {
                lock.remove_holder(lock_id, Mode::Exclusive);
                lock.add_holder(lock_id, Mode::Shared);
            }
            request.mode = Mode::Shared;
            // As when an exclusive holder leaves: the readers that wait share the lock with it from now on.
            step.state.lock.touch(key, true);
        }
        step.state.lock.grants.insert(lock_id, Arc::clone(&downgraded));
        step.emit(Some(&self.namespace), Change::LockChanged(Arc::clone(&downgraded)));
        Ok(Downgraded { grant: downgraded })
    }
}

/// Refuses a grant that has no lock with a shared mode.
fn check_modes(grant: &Grant) -> Result<(), Refusal> {
    let shareable = |mode| Kind::of(mode) == Kind::ReadWrite;
    match grant.requests.first() {
        Some(first) if !grant.requests.iter().any(|request| shareable(request.mode)) => {
            let actual = Kind::of(first.mode).as_str().into();
            Err(Refusal::ModeMismatch { name: first.name.clone(), actual })
        }
        _ => Ok(()),
    }
}
