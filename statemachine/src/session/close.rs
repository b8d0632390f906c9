//! The end of a session, by its owner or by time, and of everything it owns, in one entry.

use crate::deadline::Due;
use crate::lock::{end_grant, end_wait};
use crate::session::CloseSession;
use crate::transition::Transition;
use crate::{ChangeKind, Outcome, Rejection, ReleaseReason, Reply, SessionEnd, SessionId, WaitEnd};

impl CloseSession {
    pub(crate) fn apply(&self, transition: &mut Transition<'_>) -> Outcome {
        transition.state.check_session(self.session, &self.namespace)?;
        let (released_grants, cancelled_waits) = end_session(transition, self.session, SessionEnd::Closed)
            .ok_or(Rejection::SessionNotFound { session: self.session })?;
        Ok(Reply::SessionClosed { released_grants, cancelled_waits })
    }
}

/// Ends a session. Watchers see its waits end, its grants end, then the session itself; what others get from it
/// comes after. Gives the number of grants and of waits that went with it, `None` when there is no such session.
pub(crate) fn end_session(
    transition: &mut Transition<'_>,
    session: SessionId,
    reason: SessionEnd,
) -> Option<(u64, u64)> {
    let record = transition.state.sessions.get(&session)?.clone();
    for lock_id in &record.waits {
        end_wait(transition, *lock_id, WaitEnd::SessionEnded(reason));
    }
    for lock_id in &record.grants {
        end_grant(transition, *lock_id, ReleaseReason::SessionEnded(reason));
    }
    let window = transition.state.sessions.remove(&session).map(|ended| ended.window.clone());
    for remembered in window.iter().flat_map(|window| window.values()) {
        transition.state.dedup.forget(remembered);
    }
    transition.state.sessions_by_namespace.remove(&(record.namespace.clone(), session));
    transition.state.deadlines.remove(&(record.deadline_ms, Due::Session(session)));
    transition.account(&record.namespace, |usage| usage.sessions -= 1);
    transition.emit(Some(&record.namespace), ChangeKind::SessionEnded { session, reason });
    Some((record.grants.len() as u64, record.waits.len() as u64))
}
