//! What the state keeps of a session, and what readers see of it.

use std::ops::Bound;

use imbl::{OrdMap, OrdSet};

use crate::dedup::Remembered;
use crate::{LockId, Namespace, SessionId, State};

/// An open session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionRecord {
    pub(crate) namespace: Namespace,
    pub(crate) ttl_ms: u64,
    pub(crate) deadline_ms: u64,
    pub(crate) opened_wall_ms: u64,
    pub(crate) metadata: String,
    pub(crate) grants: OrdSet<LockId>,
    pub(crate) waits: OrdSet<LockId>,
    /// Answers by sequence, the newest [`crate::Limits::session_window`] of them.
    pub(crate) window: OrdMap<u64, Remembered>,
    /// Sequences below this are forgotten.
    pub(crate) window_floor: u64,
}

/// An open session, as readers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Names it.
    pub session: SessionId,
    /// Where it lives.
    pub namespace: Namespace,
    /// Time to live without a keep-alive, milliseconds.
    pub ttl_ms: u64,
    /// Cluster time before which it does not expire.
    pub deadline_ms: u64,
    /// Wall clock at its opening, for people.
    pub opened_wall_ms: u64,
    /// Free text of its owner.
    pub metadata: String,
    /// Grants it owns.
    pub grants: u64,
    /// Acquisitions it has queued.
    pub waits: u64,
}

impl SessionRecord {
    fn view(&self, session: SessionId) -> SessionView {
        SessionView {
            session,
            namespace: self.namespace.clone(),
            ttl_ms: self.ttl_ms,
            deadline_ms: self.deadline_ms,
            opened_wall_ms: self.opened_wall_ms,
            metadata: self.metadata.clone(),
            grants: self.grants.len() as u64,
            waits: self.waits.len() as u64,
        }
    }
}

impl State {
    /// The session of that id, while it is open.
    #[must_use]
    pub fn session(&self, session: SessionId) -> Option<SessionView> {
        self.sessions.get(&session).map(|record| record.view(session))
    }

    /// Where a session lives, while it is alive.
    #[must_use]
    pub fn session_namespace(&self, session: SessionId) -> Option<&Namespace> {
        self.sessions.get(&session).map(|record| &record.namespace)
    }

    /// The time to live of a session, milliseconds, while it is alive.
    #[must_use]
    pub fn session_ttl_ms(&self, session: SessionId) -> Option<u64> {
        self.sessions.get(&session).map(|record| record.ttl_ms)
    }

    /// The sessions of a namespace after `after`, oldest first, at most `limit`. O(`limit`), however many there are.
    #[must_use]
    pub fn sessions(
        &self,
        namespace: &Namespace,
        after: Option<SessionId>,
        limit: usize,
    ) -> Vec<SessionView> {
        let from = match after {
            Some(after) => Bound::Excluded((namespace.clone(), after)),
            None => Bound::Included((namespace.clone(), SessionId::MIN)),
        };
        self.sessions_by_namespace
            .range((from, Bound::Unbounded))
            .take_while(|(lives_in, _)| lives_in == namespace)
            .take(limit)
            .filter_map(|(_, session)| self.session(*session))
            .collect()
    }
}
