//! Opening a session.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::deadline::Due;
use crate::session::{OpenSession, SessionRecord};
use crate::transition::Transition;
use crate::{ChangeKind, Outcome, Position, Rejection, Reply, SessionId};

impl OpenSession {
    pub(crate) fn apply(&self, transition: &mut Transition<'_>, position: Position) -> Outcome {
        let state = &transition.state;
        state.check_ttl(self.ttl_ms)?;
        state.check_metadata(&self.metadata)?;
        state.check_room_for_namespace(&self.namespace)?;
        let max = state.limits.sessions_per_namespace_max;
        if state.namespaces.get(&self.namespace).is_some_and(|usage| usage.sessions >= max) {
            return Err(Rejection::LimitExceeded {
                limit: "sessions_per_namespace_max".into(),
                max,
                remedy: "close sessions, use another namespace, or raise the limit".into(),
            });
        }
        let session = SessionId(position);
        let deadline_ms = state.now_ms.saturating_add(self.ttl_ms);
        let opened_wall_ms = state.wall_ms;
        let namespace = transition.intern(&self.namespace);
        let record = SessionRecord {
            namespace: namespace.clone(),
            ttl_ms: self.ttl_ms,
            deadline_ms,
            opened_wall_ms,
            metadata: self.metadata.clone(),
            grants: OrdSet::new(),
            waits: OrdSet::new(),
            window: OrdMap::new(),
            window_floor: 0,
        };
        transition.state.sessions.insert(session, Arc::new(record));
        transition.state.sessions_by_namespace.insert((namespace.clone(), session));
        transition.state.deadlines.insert((deadline_ms, Due::Session(session)));
        transition.account(&namespace, |usage| usage.sessions += 1);
        transition.emit(
            Some(&namespace),
            ChangeKind::SessionOpened { session, ttl_ms: self.ttl_ms, metadata: self.metadata.clone() },
        );
        Ok(Reply::SessionOpened { session, ttl_ms: self.ttl_ms, deadline_ms, opened_wall_ms })
    }
}
