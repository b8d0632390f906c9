//! Ends a session, by its owner or by time, with everything it owns, in one entry.

use crate::due::Due;
use crate::lock;
use crate::session::{Change, CloseSession, Refusal, SessionClosed, SessionEnd};
use crate::step::Step;
use crate::{Permission, Rejection, SessionId};

impl CloseSession {
    pub(super) fn apply(&self, step: &mut Step<'_>) -> Result<SessionClosed, Rejection> {
        let session = self.session;
        match step.state.authorise(&step.actor, Permission::SessionCloseAny, &self.namespace, None) {
            Ok(()) => step.state.check_session(session, &self.namespace)?,
            Err(_) => step.state.check_own_session(&step.actor, session, &self.namespace)?,
        }
        Ok(end_session(step, session, SessionEnd::Closed, self.lock_delay)
            .ok_or(Refusal::SessionNotFound { session })?)
    }
}

/// Ends a session. Watchers see the objects it owns end, one job after the other, then the session itself, and then what other owners
/// gain. With `lock_delay` its locks stay closed for theirs. Returns the number of ended grants and waits, `None` when there is no such session.
pub(crate) fn end_session(
    step: &mut Step<'_>,
    session: SessionId,
    reason: SessionEnd,
    lock_delay: bool,
) -> Option<SessionClosed> {
    let owned = step.state.session.owned(session)?.clone();
    lock::end_owned(step, &owned, reason, lock_delay);
    let ended = step.state.session.remove(session)?;
    for remembered in ended.window.answers.values() {
        step.state.retries.forget(remembered);
    }
    step.state.deadlines.remove(&(ended.deadline_ms, Due::Session(session)));
    step.account(&ended.namespace, |usage| usage.session.sessions -= 1);
    step.emit(Some(&ended.namespace), Change::SessionEnded { session, reason });
    Some(SessionClosed {
        released_grants: owned.grants.len() as u64,
        cancelled_waits: owned.waits.len() as u64,
    })
}
