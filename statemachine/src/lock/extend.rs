//! Renewing a one-shot grant.

use std::sync::Arc;

use crate::deadline::Due;
use crate::lock::Extend;
use crate::transition::Transition;
use crate::{ChangeKind, Outcome, Rejection, Reply};

impl Extend {
    pub(crate) fn apply(&self, transition: &mut Transition<'_>) -> Outcome {
        let state = &mut *transition.state;
        state.check_ttl(self.ttl_ms)?;
        let grant = state.held(&self.namespace, self.lock_id, self.name.as_ref())?.clone();
        let lock_id = self.lock_id;
        if let Some(session) = grant.owner.session {
            return Err(Rejection::OwnedBySession { lock_id, session });
        }
        let before_ms = grant.deadline_ms.unwrap_or_default();
        let deadline_ms = before_ms.max(state.now_ms.saturating_add(self.ttl_ms));
        let mut extended = grant;
        let changed = Arc::make_mut(&mut extended);
        (changed.ttl_ms, changed.deadline_ms) = (Some(self.ttl_ms), Some(deadline_ms));
        state.deadlines.remove(&(before_ms, Due::Grant(lock_id)));
        state.deadlines.insert((deadline_ms, Due::Grant(lock_id)));
        state.grants.insert(lock_id, Arc::clone(&extended));
        transition.emit(Some(&self.namespace), ChangeKind::LockExtended(Arc::clone(&extended)));
        Ok(Reply::Extended(extended))
    }
}
