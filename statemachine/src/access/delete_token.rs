//! Deletes a credential.

use crate::access::command::DeleteToken;
use crate::access::job::by;
use crate::access::token::end_token;
use crate::access::{AccessChanged, End, Refusal};
use crate::step::Step;
use crate::{Actor, Permission, Rejection};

impl DeleteToken {
    /// Its owner may delete it with whatever credential, a narrowed one too: that gives nothing.
    pub(super) fn apply(&self, step: &mut Step<'_>, actor: &Actor) -> Result<AccessChanged, Rejection> {
        let state = &*step.state;
        let token = self.token;
        let record = state.access.tokens.get(&token);
        let own = match (*actor, record) {
            (Actor::Caller { principal, .. }, Some(record)) => {
                record.principal == principal && state.access.principal(principal).is_some()
            }
            _ => false,
        };
        if !own {
            state.may(actor, Permission::AccessKeys)?;
        }
        if record.is_none() {
            return Err(Refusal::TokenNotFound { token }.into());
        }
        state.check_keeps_admin(|table| {
            table.remove_token(token);
        })?;
        end_token(step, token, End::Revoked, by(actor));
        Ok(AccessChanged)
    }
}
