//! Renewing sessions, many in one entry.

use std::sync::Arc;

use crate::deadline::Due;
use crate::session::KeepAlive;
use crate::transition::Transition;
use crate::{Reply, SessionId, State};

impl KeepAlive {
    pub(crate) fn apply(&self, transition: &mut Transition<'_>) -> Reply {
        Reply::KeptAlive(self.sessions.iter().map(|session| renew(transition.state, *session)).collect())
    }
}

/// A session's deadline moves out, never in. A session that ended stays ended.
fn renew(state: &mut State, session: SessionId) -> Option<u64> {
    let record = state.sessions.get_mut(&session)?;
    let deadline_ms = state.now_ms.saturating_add(record.ttl_ms).max(record.deadline_ms);
    if deadline_ms != record.deadline_ms {
        state.deadlines.remove(&(record.deadline_ms, Due::Session(session)));
        state.deadlines.insert((deadline_ms, Due::Session(session)));
        Arc::make_mut(record).deadline_ms = deadline_ms;
    }
    Some(deadline_ms)
}
