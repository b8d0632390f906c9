//! Adoption: what was made while nobody had to say who they are belongs to the first principal that names it and may make such things.

use crate::lock::{self, By, GrantRef};
use crate::session;
use crate::step::Step;
use crate::{
    Actor, Command, DedupKey, LockId, Namespace, Permission, PrincipalId, Request, SessionId, State,
};

/// What a command names as the caller's own.
enum Named {
    Session(SessionId),
    Acquisition(LockId),
}

impl Step<'_> {
    /// Makes the caller the owner of what the request names as its own, if nobody owns it.
    pub(crate) fn adopt_named(&mut self, request: &Request) {
        let Actor::Caller { principal, .. } = self.actor else { return };
        if principal == PrincipalId::ANONYMOUS {
            return;
        }
        if let Some(DedupKey::Sequence { session, .. }) = request.dedup.as_ref().map(|retry| &retry.key) {
            self.adopt_session(*session, principal);
        }
        match named(self.state, &request.command) {
            Some(Named::Session(session)) => self.adopt_session(session, principal),
            Some(Named::Acquisition(lock_id)) => self.adopt_acquisition(lock_id, principal),
            None => {}
        }
    }

    fn adopt_session(&mut self, session: SessionId, principal: PrincipalId) {
        if self.state.session_owner(session) != Some(PrincipalId::ANONYMOUS) {
            return;
        }
        let namespace = self.state.session_namespace(session);
        let may = namespace.is_some_and(|namespace| {
            self.state.authorise(&self.actor, Permission::SessionOpen, namespace, None).is_ok()
        });
        if !may {
            return;
        }
        self.state.session.set_principal(session, principal);
        let Some(owned) = self.state.session.owned(session).cloned() else { return };
        for lock_id in owned.waits.iter().chain(&owned.grants) {
            self.state.lock.set_principal(*lock_id, principal);
            self.ask_instead(*lock_id);
        }
    }

    fn adopt_acquisition(&mut self, lock_id: LockId, principal: PrincipalId) {
        let Some(owner) = self.state.owner_of(lock_id) else { return };
        if let Some(session) = owner.session {
            return self.adopt_session(session, principal);
        }
        if owner.principal != PrincipalId::ANONYMOUS {
            return;
        }
        let may = self.state.requests_of(lock_id).is_some_and(|(namespace, requests)| {
            self.state.authorise_taking(&self.actor, namespace, requests).is_ok()
        });
        if may {
            self.state.lock.set_principal(lock_id, principal);
            self.ask_instead(lock_id);
        }
    }
}

fn named(state: &State, command: &Command) -> Option<Named> {
    match command {
        Command::Session(session::Command::CloseSession(close)) => Some(Named::Session(close.session)),
        Command::Session(session::Command::KeepAlive(keep)) => match &*keep.sessions {
            [session] => Some(Named::Session(*session)),
            _ => None,
        },
        Command::Session(session::Command::OpenSession(_))
        | Command::Register(_)
        | Command::Cluster(_)
        | Command::Access(_) => None,
        Command::Lock(command) => match command {
            lock::Command::Acquire(acquire) => acquire.owner.session.map(Named::Session),
            lock::Command::CancelWait(cancel) => Some(Named::Acquisition(cancel.lock_id)),
            lock::Command::Extend(extend) => Some(Named::Acquisition(extend.lock_id)),
            lock::Command::Release(lock::Release { namespace, grant })
            | lock::Command::Downgrade(lock::Downgrade { namespace, grant })
            | lock::Command::SetMetadata(lock::SetMetadata { namespace, grant, .. }) => {
                acquisition_of(state, namespace, grant).map(Named::Acquisition)
            }
            lock::Command::WithdrawWaits(_) | lock::Command::ForceRelease(_) | lock::Command::Resize(_) => {
                None
            }
        },
    }
}

fn acquisition_of(state: &State, namespace: &Namespace, grant: &GrantRef) -> Option<LockId> {
    match &grant.by {
        By::Id { lock_id, .. } => Some(*lock_id),
        By::Token { name, token } | By::Leader { name, token } => {
            state.holder(namespace, name, *token).map(|grant| grant.lock_id)
        }
    }
}
