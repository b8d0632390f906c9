//! Renews sessions, many in one entry.

use std::sync::Arc;

use crate::due::Due;
use crate::session::{KeepAlive, KeptAlive};
use crate::step::Step;
use crate::{SessionId, State};

impl KeepAlive {
    pub(super) fn apply(&self, step: &mut Step<'_>) -> KeptAlive {
        let actor = step.actor;
        let deadlines_ms = self.sessions.iter().map(|session| {
            let own = step.state.owns_session(&actor, *session);
            own.then(|| renew(step.state, *session)).flatten()
        });
        KeptAlive { deadlines_ms: deadlines_ms.collect() }
    }
}

/// Moves the deadline of a session later, never earlier. An ended session stays ended.
fn renew(state: &mut State, session: SessionId) -> Option<u64> {
    let record = state.session.by_id.get_mut(&session)?;
    let deadline_ms = state.now_ms.saturating_add(record.ttl_ms).max(record.deadline_ms);
    if deadline_ms != record.deadline_ms {
        state.deadlines.remove(&(record.deadline_ms, Due::Session(session)));
        state.deadlines.insert((deadline_ms, Due::Session(session)));
        Arc::make_mut(record).deadline_ms = deadline_ms;
    }
    Some(deadline_ms)
}
