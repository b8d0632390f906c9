//! Opens a session.

use crate::due::Due;
use crate::session::table::{Owned, SessionRecord, Window};
use crate::session::{Change, OpenSession, SessionOpened};
use crate::step::Step;
use crate::{Position, Rejection, SessionId};

impl OpenSession {
    pub(super) fn apply(&self, step: &mut Step<'_>, position: Position) -> Result<SessionOpened, Rejection> {
        let state = &step.state;
        state.check_ttl(self.ttl_ms)?;
        state.check_metadata(&self.metadata)?;
        state.check_room_for_namespace(&self.namespace)?;
        let max = state.limits.session.sessions_per_namespace_max;
        if state.namespaces.get(&self.namespace).is_some_and(|usage| usage.session.sessions >= max) {
            return Err(Rejection::LimitExceeded {
                limit: "sessions_per_namespace_max".into(),
                max,
                remedy: "close sessions, use another namespace, or raise the limit".into(),
            });
        }
        let session = SessionId(position);
        let deadline_ms = state.now_ms.saturating_add(self.ttl_ms);
        let opened_wall_ms = state.wall_ms;
        let namespace = step.intern(&self.namespace);
        let record = SessionRecord {
            namespace: namespace.clone(),
            principal: step.actor.principal(),
            ttl_ms: self.ttl_ms,
            deadline_ms,
            opened_wall_ms,
            metadata: self.metadata.clone(),
            owned: Owned::default(),
            window: Window::default(),
        };
        insert(step, session, record);
        let principal = step.actor.principal();
        let (ttl_ms, metadata) = (self.ttl_ms, self.metadata.clone());
        step.emit(Some(&namespace), Change::SessionOpened { session, ttl_ms, metadata });
        Ok(SessionOpened { session, ttl_ms, deadline_ms, opened_wall_ms, principal })
    }
}

pub(super) fn insert(step: &mut Step<'_>, session: SessionId, record: SessionRecord) {
    step.account(&record.namespace, |usage| usage.session.sessions += 1);
    step.state.deadlines.insert((record.deadline_ms, Due::Session(session)));
    step.state.session.insert(session, record);
}
