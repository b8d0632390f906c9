//! Ownership: what a principal made is its own, and does not exist for others that name it.

use crate::access::Refusal;
use crate::lock::{LockRequest, Mode};
use crate::{Actor, LockId, Namespace, Permission, PrincipalId, SessionId, State};

impl State {
    /// The principal that owns an acquisition, while it is held or queued.
    #[must_use]
    pub fn grant_owner(&self, lock_id: LockId) -> Option<PrincipalId> {
        self.owner_of(lock_id).map(|owner| owner.principal)
    }

    /// Checks that an actor may take locks, each in its mode: to lead an election is another permission than to hold a lock.
    ///
    /// # Errors
    /// What is missing for the first of them.
    pub fn authorise_taking(
        &self,
        actor: &Actor,
        namespace: &Namespace,
        requests: &[LockRequest],
    ) -> Result<(), Refusal> {
        requests.iter().try_for_each(|request| {
            let permission = match request.mode {
                Mode::Election => Permission::ElectionCampaign,
                Mode::Exclusive | Mode::Shared | Mode::Semaphore { .. } => Permission::LockAcquire,
            };
            self.authorise(actor, permission, namespace, Some(&request.name))
        })
    }

    /// Whether an actor may know that a name is in use in this mode.
    #[must_use]
    pub fn may_read(&self, actor: &Actor, namespace: &Namespace, request: &LockRequest) -> bool {
        let permission = match request.mode {
            Mode::Election => Permission::ElectionRead,
            Mode::Exclusive | Mode::Shared | Mode::Semaphore { .. } => Permission::LockRead,
        };
        self.authorise(actor, permission, namespace, Some(&request.name)).is_ok()
    }

    /// Whether an actor owns a session; `false` when there is no such session.
    #[must_use]
    pub fn owns_session(&self, actor: &Actor, session: SessionId) -> bool {
        self.session_owner(session).is_some_and(|owner| {
            self.owns(actor, owner, Permission::SessionOpen, || {
                let namespace = self.session_namespace(session);
                namespace.is_some_and(|namespace| {
                    self.authorise(actor, Permission::SessionOpen, namespace, None).is_ok()
                })
            })
        })
    }

    /// Whether an actor owns an acquisition; `false` when it is neither held nor queued.
    #[must_use]
    pub fn owns_acquisition(&self, actor: &Actor, lock_id: LockId) -> bool {
        self.owner_of(lock_id).is_some_and(|owner| {
            self.owns(actor, owner.principal, Permission::LockAcquire, || {
                self.requests_of(lock_id).is_some_and(|(namespace, requests)| {
                    self.authorise_taking(actor, namespace, requests).is_ok()
                })
            })
        })
    }

    /// Nodes count as the owner of everything, and so does every caller while `made_by`, the permission to make such things, is not enforced.
    /// An anonymous caller owns what nobody owns, as long as it `may` make such things itself.
    fn owns(
        &self,
        actor: &Actor,
        owner: PrincipalId,
        made_by: Permission,
        may: impl FnOnce() -> bool,
    ) -> bool {
        match actor {
            Actor::Node => true,
            Actor::Caller { .. } if !self.enforces(made_by) => true,
            Actor::Caller { principal: PrincipalId::ANONYMOUS, .. } => {
                owner == PrincipalId::ANONYMOUS && may()
            }
            Actor::Caller { principal, .. } => owner == *principal,
        }
    }
}
