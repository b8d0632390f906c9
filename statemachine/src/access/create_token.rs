//! Makes an API key.

use crate::access::bind::{check_namespaces, check_not_after};
use crate::access::bootstrap::key_of;
use crate::access::command::CreateToken;
use crate::access::job::by;
use crate::access::put_principal::check_text;
use crate::access::put_role::check_patterns;
use crate::access::token::add_token;
use crate::access::{Narrowing, NewToken, TokenCreated, TokenKind, TokenRecord, TokenSecret};
use crate::rejection::invalid;
use crate::step::Step;
use crate::{Actor, Permission, Principal, PrincipalId, Rejection, State};

impl CreateToken {
    pub(super) fn apply(&self, step: &mut Step<'_>, actor: &Actor) -> Result<TokenCreated, Rejection> {
        let state = &*step.state;
        let id = state.find_credential_owner(actor, &self.principal)?;
        state.check_credential_of(actor, id, self.token.not_after_ms)?;
        if self.token.not_after_ms.is_none() {
            state.may(actor, Permission::AccessKeys)?;
        }
        state.check_key(Some(id), &self.token)?;
        if let Some(narrowing) = &self.narrowing {
            check_narrowing(narrowing)?;
        }
        let record =
            TokenRecord { narrowing: self.narrowing.clone(), ..key_of(state, id, &self.token, by(actor)) };
        let (token, not_after_ms) = (record.secret.id, record.not_after_ms);
        add_token(step, record, by(actor));
        Ok(TokenCreated { token, not_after_ms })
    }
}

fn check_narrowing(narrowing: &Narrowing) -> Result<(), Rejection> {
    check_namespaces(&narrowing.namespaces)?;
    check_patterns("names", &narrowing.names)?;
    if narrowing.roles.len() > Narrowing::ROLES_MAX {
        let problem =
            format!("lists {}; at most {} are allowed", narrowing.roles.len(), Narrowing::ROLES_MAX);
        return Err(invalid("roles", problem));
    }
    Ok(())
}

impl Narrowing {
    /// The most roles in one list.
    pub const ROLES_MAX: usize = 16;
}

impl State {
    /// Finds the principal whose credential an actor would change. An actor that may change only its own learns nothing of others.
    pub(super) fn find_credential_owner(
        &self,
        actor: &Actor,
        principal: &Principal,
    ) -> Result<PrincipalId, Rejection> {
        if let Ok(id) = self.find_principal(principal)
            && self.is_own(actor, id)
        {
            return self.check_usable(actor).map(|()| id);
        }
        self.principal_named(actor, Permission::AccessKeys, principal)
    }

    /// Checks that the principal and the credential of an actor are good, whatever it may do.
    fn check_usable(&self, actor: &Actor) -> Result<(), Rejection> {
        match *actor {
            Actor::Caller { principal, credential } if self.enforces(Permission::AccessKeys) => {
                Ok(self.identify(principal, credential).map(|_| ())?)
            }
            Actor::Caller { .. } | Actor::Node => Ok(()),
        }
    }

    /// Checks a new key of a principal; `None` = one that is about to be made.
    pub(super) fn check_key(&self, principal: Option<PrincipalId>, key: &NewToken) -> Result<(), Rejection> {
        check_text("label", &key.label)?;
        check_not_after(self, key.not_after_ms)?;
        self.check_new_token(&key.secret)?;
        let max = self.limits.access.keys_per_principal_max;
        if principal.is_some_and(|id| self.tokens_of_kind(id, TokenKind::Key) >= max) {
            return Err(Rejection::LimitExceeded {
                limit: "keys_per_principal_max".into(),
                max,
                remedy: "delete keys that are no longer used, or raise the limit".into(),
            });
        }
        Ok(())
    }

    /// Checks that the id of a new credential is free.
    pub(super) fn check_new_token(&self, secret: &TokenSecret) -> Result<(), Rejection> {
        if self.access.tokens.contains_key(&secret.id) {
            return Err(invalid(
                "token",
                format!("{} is the id of another credential; try again", secret.id),
            ));
        }
        Ok(())
    }

    pub(super) fn tokens_of_kind(&self, principal: PrincipalId, kind: TokenKind) -> u64 {
        let tokens = self.access.principal(principal).into_iter().flat_map(|entry| entry.tokens.iter());
        let records = tokens.filter_map(|token| self.access.tokens.get(token));
        records.filter(|record| record.kind == kind).count() as u64
    }
}
