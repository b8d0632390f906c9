//! Sets the password of a user.

use crate::access::command::SetPassword;
use crate::access::job::by;
use crate::access::put_principal::tell_principal;
use crate::access::token::end_token;
use crate::access::{End, Password, PasswordHash, PasswordSet, Refusal, TokenKind};
use crate::rejection::invalid;
use crate::step::Step;
use crate::{Actor, Principal, PrincipalId, Rejection, TokenId};

impl SetPassword {
    pub(super) fn apply(&self, step: &mut Step<'_>, actor: &Actor) -> Result<PasswordSet, Rejection> {
        let state = &mut *step.state;
        if !matches!(self.principal, Principal::User(_)) {
            return Err(invalid("principal", "must be user/NAME; only users have passwords"));
        }
        let id = state.find_credential_owner(actor, &self.principal)?;
        state.check_credential_of(actor, id, None)?;
        if self.phc.expose().is_empty() || self.phc.expose().len() > PasswordHash::BYTES_MAX {
            return Err(invalid(
                "password",
                format!("must have a hash of 1 to {} bytes", PasswordHash::BYTES_MAX),
            ));
        }
        let before = version_of(step, id);
        if self.expected_version.is_some_and(|expected| expected != before) {
            return Err(Refusal::PasswordChanged { principal: self.principal.clone() }.into());
        }
        let version = before.saturating_add(1);
        if let Some(entry) = step.state.access.principal_mut(id) {
            entry.record.password = Some(Password { phc: self.phc.clone(), version });
        }
        tell_principal(step, id, by(actor));
        for login in other_logins(step, id, actor) {
            end_token(step, login, End::PasswordChanged, by(actor));
        }
        Ok(PasswordSet { version })
    }
}

fn version_of(step: &Step<'_>, id: PrincipalId) -> u64 {
    let password = step.state.access.principal(id).and_then(|entry| entry.record.password.as_ref());
    password.map_or(0, |password| password.version)
}

/// The logins of a user without the one that asks.
fn other_logins(step: &Step<'_>, id: PrincipalId, actor: &Actor) -> Vec<TokenId> {
    let own = match *actor {
        Actor::Node => None,
        Actor::Caller { credential, .. } => credential,
    };
    let table = &step.state.access;
    let tokens = table.principal(id).into_iter().flat_map(|entry| entry.tokens.iter().copied());
    let is_login =
        |token: &TokenId| table.tokens.get(token).is_some_and(|record| record.kind == TokenKind::Login);
    tokens.filter(|token| Some(*token) != own && is_login(token)).collect()
}
