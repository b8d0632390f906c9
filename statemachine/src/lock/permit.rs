//! The permissions of the commands of locks, and who may use a grant.

use std::sync::Arc;

use crate::lock::record::{Kind, LockKey};
use crate::lock::{Command, Extend, Grant, LockRequest, Refusal};
use crate::{Actor, LockId, Name, Namespace, Permission, State, access};

/// Checks that an actor may make a command. Who owns a grant or a wait may give it back and change its text without a permission.
pub(super) fn authorise(state: &State, actor: &Actor, command: &Command) -> Result<(), access::Refusal> {
    match command {
        Command::Acquire(acquire) => state.authorise_taking(actor, &acquire.namespace, &acquire.requests),
        Command::Extend(extend) => authorise_extend(state, actor, extend),
        Command::ForceRelease(force) => {
            let permission = Permission::LockForceRelease;
            state.authorise(actor, permission, &force.namespace, Some(&force.name))
        }
        Command::Resize(resize) => {
            state.authorise(actor, Permission::LockResize, &resize.namespace, Some(&resize.name))
        }
        Command::WithdrawWaits(_) => state.check_is_node(actor, Permission::ClusterMembers),
        Command::Release(_) | Command::CancelWait(_) | Command::Downgrade(_) | Command::SetMetadata(_) => {
            Ok(())
        }
    }
}

/// Whoever holds locks longer must still have the right to take them. The refusal names locks, so it is only for the owner.
fn authorise_extend(state: &State, actor: &Actor, extend: &Extend) -> Result<(), access::Refusal> {
    match state.requests_of(extend.lock_id) {
        Some((namespace, requests)) if state.owns_acquisition(actor, extend.lock_id) => {
            state.authorise_taking(actor, namespace, requests)
        }
        _ => Ok(()),
    }
}

impl State {
    /// The namespace and the locks of an acquisition, while it is held or queued.
    pub(crate) fn requests_of(&self, lock_id: LockId) -> Option<(&Namespace, &[LockRequest])> {
        let held = self.lock.grants.get(&lock_id).map(|grant| (&grant.namespace, &*grant.requests));
        held.or_else(|| self.lock.waits.get(&lock_id).map(|wait| (&wait.namespace, &*wait.requests)))
    }

    /// Refuses an acquisition of somebody else as if it did not exist.
    pub(super) fn check_own(&self, actor: &Actor, lock_id: LockId) -> Result<(), Refusal> {
        if self.lock.lives(lock_id) && !self.owns_acquisition(actor, lock_id) {
            return Err(Refusal::LockNotHeld { lock_id });
        }
        Ok(())
    }

    /// Finds the grant of an actor that holds a name under a token. A token is no right: others see it too.
    pub(super) fn own_under(
        &self,
        actor: &Actor,
        namespace: &Namespace,
        name: &Name,
        token: u64,
    ) -> Result<Arc<Grant>, Refusal> {
        let held = self.holder(namespace, name, token);
        held.filter(|grant| self.owns_acquisition(actor, grant.lock_id)).ok_or_else(|| {
            let newest = self.check(namespace, name, token).newest;
            let newest = newest.filter(|_| self.may_know_tokens(actor, namespace, name));
            Refusal::TokenSuperseded { token, newest: newest.unwrap_or_default() }
        })
    }

    /// Whether an actor may learn who holds a lock: it may read it, or ask for it and be told.
    fn may_know_tokens(&self, actor: &Actor, namespace: &Namespace, name: &Name) -> bool {
        let key = LockKey { namespace: namespace.clone(), name: name.clone() };
        let kind = self.lock.by_key.get(&key).map(|lock| lock.kind);
        let permissions = match kind {
            Some(Kind::Election) => [Permission::ElectionRead, Permission::ElectionCampaign],
            _ => [Permission::LockRead, Permission::LockAcquire],
        };
        permissions
            .into_iter()
            .any(|permission| self.authorise(actor, permission, namespace, Some(name)).is_ok())
    }
}
