//! Renews a one-shot grant.

use std::sync::Arc;

use crate::Rejection;
use crate::due::Due;
use crate::lock::{Change, Extend, Extended, Refusal};
use crate::step::Step;

impl Extend {
    pub(super) fn apply(&self, step: &mut Step<'_>) -> Result<Extended, Rejection> {
        let state = &mut *step.state;
        state.check_ttl(self.ttl_ms)?;
        let grant = state.held(&step.actor, &self.namespace, self.lock_id, self.name.as_ref())?.clone();
        let lock_id = self.lock_id;
        if let Some(session) = grant.owner.session {
            return Err(Refusal::OwnedBySession { lock_id, session }.into());
        }
        let before_ms = grant.deadline_ms.unwrap_or_default();
        let deadline_ms = before_ms.max(state.now_ms.saturating_add(self.ttl_ms));
        let mut extended = grant;
        let changed = Arc::make_mut(&mut extended);
        (changed.ttl_ms, changed.deadline_ms) = (Some(self.ttl_ms), Some(deadline_ms));
        state.deadlines.remove(&(before_ms, Due::Grant(lock_id)));
        state.deadlines.insert((deadline_ms, Due::Grant(lock_id)));
        state.lock.grants.insert(lock_id, Arc::clone(&extended));
        step.emit(Some(&self.namespace), Change::LockExtended(Arc::clone(&extended)));
        Ok(Extended { grant: extended })
    }
}
