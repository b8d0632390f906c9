//! The rights of the principals at each revision, from the changes that the history tells.
//!
//! It knows less than the state machine, and needs no more: a principal has all its rights or none, because a run binds whole roles without
//! an end, and takes away the only binding or the only key.

use std::collections::{BTreeMap, BTreeSet};

use batuta_statemachine::access::{BindingId, Change, Mode};
use batuta_statemachine::{Actor, Principal, PrincipalId, TokenId};

#[derive(Default)]
pub(crate) struct Rights {
    enforced: bool,
    principals: BTreeMap<PrincipalId, Principal>,
    suspended: BTreeSet<PrincipalId>,
    /// Who has each binding, as text: a principal is a subject.
    bindings: BTreeMap<BindingId, String>,
    credentials: BTreeMap<TokenId, Principal>,
}

impl Rights {
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::PrincipalChanged { id, principal, suspended, .. } => {
                self.principals.insert(*id, principal.clone());
                if *suspended {
                    self.suspended.insert(*id);
                } else {
                    self.suspended.remove(id);
                }
            }
            Change::PrincipalDeleted { id, .. } => {
                self.principals.remove(id);
                self.suspended.remove(id);
            }
            Change::BindingAdded { binding, subject, .. } => {
                self.bindings.insert(*binding, subject.to_string());
            }
            Change::BindingEnded { binding, .. } => {
                self.bindings.remove(binding);
            }
            Change::TokenCreated { token, principal, .. } => {
                self.credentials.insert(*token, principal.clone());
            }
            Change::TokenEnded { token, .. } => {
                self.credentials.remove(token);
            }
            Change::AccessModeChanged { mode, .. } => self.enforced = *mode == Mode::Enforce,
            // Nobody here binds groups, or writes roles.
            Change::GroupChanged { .. } | Change::RoleChanged { .. } => {}
        }
    }

    /// Whether a principal could be given something: it is not suspended, has a credential, and a role.
    pub(crate) fn may_own(&self, id: PrincipalId) -> bool {
        if !self.enforced {
            return true;
        }
        let Some(principal) = self.principals.get(&id) else { return false };
        let bound = self.bindings.values().any(|subject| *subject == principal.to_string());
        let has_credential = self.credentials.values().any(|owner| owner == principal);
        bound && has_credential && !self.suspended.contains(&id)
    }

    /// Whether a caller is answered.
    pub(crate) fn may_ask(&self, actor: Actor) -> bool {
        match actor {
            Actor::Node => true,
            Actor::Caller { principal, credential } => {
                let proved = credential.is_some_and(|credential| {
                    let owner = self.credentials.get(&credential);
                    owner.is_some() && owner == self.principals.get(&principal)
                });
                self.may_own(principal) && (proved || !self.enforced)
            }
        }
    }

    /// The principals that are suspended.
    pub(crate) fn suspended(&self) -> impl Iterator<Item = (PrincipalId, &Principal)> {
        self.suspended.iter().filter_map(|id| Some((*id, self.principals.get(id)?)))
    }
}

#[cfg(test)]
mod tests {
    use batuta_statemachine::access::{End, TokenKind};
    use batuta_statemachine::{Position, PrincipalName};

    use super::*;

    const ID: PrincipalId = PrincipalId(Position { index: 5, ordinal: 0 });
    const BINDING: BindingId = BindingId(Position { index: 6, ordinal: 0 });

    fn word(text: &str) -> PrincipalName {
        PrincipalName::new(text).unwrap()
    }

    fn ann() -> Principal {
        Principal::User(word("ann"))
    }

    fn token() -> TokenId {
        TokenId::new("000000000001").unwrap()
    }

    fn actor() -> Actor {
        Actor::Caller { principal: ID, credential: Some(token()) }
    }

    fn principal(suspended: bool) -> Change {
        Change::PrincipalChanged { id: ID, principal: ann(), suspended, by: None }
    }

    fn binding(ends: bool) -> Change {
        let (subject, role) = ("user/ann".parse().unwrap(), word("editor"));
        if ends {
            let reason = End::Revoked;
            Change::BindingEnded { binding: BINDING, subject, role, reason, by: None }
        } else {
            Change::BindingAdded { binding: BINDING, subject, role, by: None }
        }
    }

    fn key(ends: bool) -> Change {
        let (token, kind, principal) = (token(), TokenKind::Key, ann());
        if ends {
            Change::TokenEnded { token, kind, principal, reason: End::Revoked, by: None }
        } else {
            Change::TokenCreated { token, kind, principal, by: None }
        }
    }

    fn enforced() -> Rights {
        let mut rights = Rights::default();
        for change in [
            principal(false),
            binding(false),
            key(false),
            Change::AccessModeChanged { mode: Mode::Enforce, by: None },
        ] {
            rights.apply(&change);
        }
        rights
    }

    #[test]
    fn everybody_may_before_access_is_enforced() {
        assert!(Rights::default().may_ask(Actor::ANONYMOUS) && Rights::default().may_own(ID));
        let rights = enforced();
        assert!(rights.may_ask(actor()) && rights.may_own(ID));
        assert!(!rights.may_ask(Actor::ANONYMOUS) && !rights.may_own(PrincipalId::ANONYMOUS));
        assert!(!rights.may_ask(Actor::Caller { principal: ID, credential: None }));
    }

    #[test]
    fn each_loss_takes_the_right_away() {
        for (loss, back) in
            [(principal(true), principal(false)), (binding(true), binding(false)), (key(true), key(false))]
        {
            let mut rights = enforced();
            rights.apply(&loss);
            assert!(!rights.may_ask(actor()) && !rights.may_own(ID), "{loss:?}");
            rights.apply(&back);
            assert!(rights.may_ask(actor()) && rights.may_own(ID), "{back:?}");
        }
        let mut rights = enforced();
        rights.apply(&principal(true));
        assert_eq!(rights.suspended().map(|(id, _)| id).collect::<Vec<_>>(), [ID]);
    }
}
