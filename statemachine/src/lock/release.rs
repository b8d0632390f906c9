//! Releases a grant.

use std::sync::Arc;

use crate::lock::record::Kind;
use crate::lock::{By, Change, Grant, GrantRef, Mode, Refusal, Release, ReleaseReason, Released, end_grant};
use crate::step::Step;
use crate::{Actor, LockId, Name, Namespace, State};

impl Release {
    pub(super) fn apply(&self, step: &mut Step<'_>) -> Result<Released, Refusal> {
        let grant = step.state.named_grant(&step.actor, &self.namespace, &self.grant)?;
        let (lock_id, token, remaining_count) = (grant.lock_id, grant.token, grant.count - 1);
        if remaining_count == 0 {
            end_grant(step, lock_id, ReleaseReason::Released);
        } else {
            let grant = Arc::new(Grant { count: remaining_count, ..grant.as_ref().clone() });
            step.state.lock.grants.insert(lock_id, Arc::clone(&grant));
            let reason = ReleaseReason::Released;
            step.emit(Some(&self.namespace), Change::LockReleased { grant, reason });
        }
        Ok(Released { lock_id, token, remaining_count })
    }
}

impl State {
    /// The grant that a command names, if it belongs to the actor, and to the session that is given with it.
    pub(super) fn named_grant(
        &self,
        actor: &Actor,
        namespace: &Namespace,
        named: &GrantRef,
    ) -> Result<Arc<Grant>, Refusal> {
        let grant = match &named.by {
            By::Id { lock_id, name } => self.held(actor, namespace, *lock_id, name.as_ref())?.clone(),
            By::Token { name, token } => self.own_under(actor, namespace, name, *token)?,
            By::Leader { name, token } => self.led_under(actor, namespace, name, *token)?,
        };
        match named.session {
            Some(session) if grant.owner.session != Some(session) => {
                Err(Refusal::NotOwner { lock_id: grant.lock_id, session })
            }
            _ => Ok(grant),
        }
    }

    /// Finds the actor's grant of an id, if it is held in the namespace and, if given, includes the name. An acquisition of another namespace,
    /// held or waiting, is refused as such.
    pub(super) fn held(
        &self,
        actor: &Actor,
        namespace: &Namespace,
        lock_id: LockId,
        name: Option<&Name>,
    ) -> Result<&Arc<Grant>, Refusal> {
        self.check_own(actor, lock_id)?;
        self.check_lives_in(lock_id, namespace)?;
        self.lock
            .grants
            .get(&lock_id)
            .filter(|grant| {
                name.is_none_or(|name| grant.requests.iter().any(|request| request.name == *name))
            })
            .ok_or(Refusal::LockNotHeld { lock_id })
    }

    /// Finds the grant that holds a name under a token.
    pub(super) fn held_under(
        &self,
        namespace: &Namespace,
        name: &Name,
        token: u64,
    ) -> Result<Arc<Grant>, Refusal> {
        self.holder(namespace, name, token).ok_or_else(|| {
            let newest = self.check(namespace, name, token).newest.unwrap_or_default();
            Refusal::TokenSuperseded { token, newest }
        })
    }

    /// Finds the actor's leadership of an election under a token.
    fn led_under(
        &self,
        actor: &Actor,
        namespace: &Namespace,
        name: &Name,
        token: u64,
    ) -> Result<Arc<Grant>, Refusal> {
        let grant = self.own_under(actor, namespace, name, token)?;
        match grant.requests.iter().find(|request| request.name == *name) {
            Some(request) if request.mode != Mode::Election => Err(Refusal::ModeMismatch {
                name: name.clone(),
                actual: Kind::of(request.mode).as_str().into(),
            }),
            _ => Ok(grant),
        }
    }

    /// Refuses an acquisition, held or waiting, of another namespace. An acquisition that does not exist is not refused here.
    pub(super) fn check_lives_in(&self, lock_id: LockId, namespace: &Namespace) -> Result<(), Refusal> {
        let grant = self.lock.grants.get(&lock_id).map(|grant| &grant.namespace);
        let lives_in = grant.or_else(|| self.lock.waits.get(&lock_id).map(|wait| &wait.namespace));
        match lives_in {
            Some(lives_in) if lives_in != namespace => Err(Refusal::ForeignLock { lock_id }),
            _ => Ok(()),
        }
    }
}
