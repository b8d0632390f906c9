//! The table of sessions.

use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::retries::Remembered;
use crate::session::{Record, Refusal, SessionView};
use crate::{Actor, LockId, Namespace, PrincipalId, SessionId, State};

/// The open sessions.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Table {
    pub(super) by_id: OrdMap<SessionId, Arc<SessionRecord>>,
    /// The sessions of each namespace, oldest first.
    pub(super) by_namespace: OrdSet<(Namespace, SessionId)>,
    /// The sessions of each principal, without those of [`PrincipalId::ANONYMOUS`].
    pub(super) owners: OrdSet<(PrincipalId, SessionId)>,
}

/// An open session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SessionRecord {
    pub(super) namespace: Namespace,
    /// The owner, which everything that the session owns has too.
    pub(super) principal: PrincipalId,
    pub(super) ttl_ms: u64,
    pub(super) deadline_ms: u64,
    pub(super) opened_wall_ms: u64,
    pub(super) metadata: String,
    pub(super) owned: Owned,
    pub(super) window: Window,
}

/// The objects that a session owns, in the order in which they end with the session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Owned {
    pub(crate) waits: OrdSet<LockId>,
    pub(crate) grants: OrdSet<LockId>,
}

/// The remembered answers of a session's sequences.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Window {
    /// The newest [`crate::retries::Limits::session_window`] answers, by sequence.
    pub(crate) answers: OrdMap<u64, Remembered>,
    /// Sequences below this are forgotten.
    pub(crate) floor: u64,
}

impl Table {
    pub(super) fn get(&self, session: SessionId) -> Option<&SessionRecord> {
        self.by_id.get(&session).map(AsRef::as_ref)
    }

    pub(super) fn insert(&mut self, session: SessionId, record: SessionRecord) {
        self.by_namespace.insert((record.namespace.clone(), session));
        if record.principal != PrincipalId::ANONYMOUS {
            self.owners.insert((record.principal, session));
        }
        self.by_id.insert(session, Arc::new(record));
    }

    pub(super) fn remove(&mut self, session: SessionId) -> Option<Arc<SessionRecord>> {
        let record = self.by_id.remove(&session)?;
        self.by_namespace.remove(&(record.namespace.clone(), session));
        self.owners.remove(&(record.principal, session));
        Some(record)
    }

    /// Gives a session that belongs to nobody its owner.
    pub(crate) fn set_principal(&mut self, session: SessionId, principal: PrincipalId) {
        let Some(record) = self.by_id.get_mut(&session) else { return };
        self.owners.remove(&(record.principal, session));
        Arc::make_mut(record).principal = principal;
        self.owners.insert((principal, session));
    }

    /// The sessions of a principal that has a name, oldest first.
    pub(crate) fn of_principal(&self, principal: PrincipalId) -> Vec<SessionId> {
        let sessions = self.owners.range((principal, SessionId::MIN)..);
        sessions.take_while(|(owner, _)| *owner == principal).map(|(_, session)| *session).collect()
    }

    /// The objects that a session owns, while it is open.
    pub(crate) fn owned(&self, session: SessionId) -> Option<&Owned> {
        self.get(session).map(|record| &record.owned)
    }

    /// Like [`Self::owned`], but mutable.
    pub(crate) fn owned_mut(&mut self, session: SessionId) -> Option<&mut Owned> {
        self.by_id.get_mut(&session).map(|record| &mut Arc::make_mut(record).owned)
    }

    /// The remembered answers of a session, while it is open.
    pub(crate) fn window(&self, session: SessionId) -> Option<&Window> {
        self.get(session).map(|record| &record.window)
    }

    /// Like [`Self::window`], but mutable.
    pub(crate) fn window_mut(&mut self, session: SessionId) -> Option<&mut Window> {
        self.by_id.get_mut(&session).map(|record| &mut Arc::make_mut(record).window)
    }

    /// The windows of all sessions, by id.
    pub(crate) fn windows(&self) -> impl Iterator<Item = (SessionId, &Window)> {
        self.by_id.iter().map(|(session, record)| (*session, &record.window))
    }
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
            principal: self.principal,
            grants: self.owned.grants.len() as u64,
            waits: self.owned.waits.len() as u64,
        }
    }

    pub(super) fn record(&self, session: SessionId) -> Record {
        Record {
            session,
            namespace: self.namespace.clone(),
            ttl_ms: self.ttl_ms,
            deadline_ms: self.deadline_ms,
            opened_wall_ms: self.opened_wall_ms,
            metadata: self.metadata.clone(),
            window_floor: self.window.floor,
            principal: self.principal,
        }
    }
}

impl State {
    /// Finds a session, while it is open.
    #[must_use]
    pub fn session(&self, session: SessionId) -> Option<SessionView> {
        self.session.get(session).map(|record| record.view(session))
    }

    /// The principal that owns a session, while it is open.
    #[must_use]
    pub fn session_owner(&self, session: SessionId) -> Option<PrincipalId> {
        self.session.get(session).map(|record| record.principal)
    }

    /// The namespace of a session, while it is open.
    #[must_use]
    pub fn session_namespace(&self, session: SessionId) -> Option<&Namespace> {
        self.session.get(session).map(|record| &record.namespace)
    }

    /// The TTL of a session, in milliseconds, while it is open.
    #[must_use]
    pub fn session_ttl_ms(&self, session: SessionId) -> Option<u64> {
        self.session.get(session).map(|record| record.ttl_ms)
    }

    /// Lists at most `limit` sessions of a namespace after `after`, oldest first. O(`limit`), however many there are.
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
        self.session
            .by_namespace
            .range((from, Bound::Unbounded))
            .take_while(|(lives_in, _)| lives_in == namespace)
            .take(limit)
            .filter_map(|(_, session)| self.session(*session))
            .collect()
    }

    /// Checks that the session exists for the actor, which must own it, and is in the namespace.
    pub(crate) fn check_own_session(
        &self,
        actor: &Actor,
        session: SessionId,
        namespace: &Namespace,
    ) -> Result<(), Refusal> {
        if !self.owns_session(actor, session) {
            return Err(Refusal::SessionNotFound { session });
        }
        self.check_session(session, namespace)
    }

    /// Checks that the session exists and is in the namespace.
    pub(crate) fn check_session(&self, session: SessionId, namespace: &Namespace) -> Result<(), Refusal> {
        match self.session_namespace(session) {
            None => Err(Refusal::SessionNotFound { session }),
            Some(lives_in) if lives_in == namespace => Ok(()),
            Some(lives_in) => Err(Refusal::NamespaceMismatch { session, namespace: lives_in.clone() }),
        }
    }
}
