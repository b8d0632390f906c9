//! Opens a login of a user whose password was verified.

use crate::access::command::OpenLogin;
use crate::access::token::add_token;
use crate::access::{Refusal, TokenCreated, TokenKind, TokenRecord};
use crate::check::number_within;
use crate::step::Step;
use crate::{PrincipalId, Rejection, State};

impl OpenLogin {
    /// The password is what gives the right, so no actor is asked for.
    pub(super) fn apply(&self, step: &mut Step<'_>) -> Result<TokenCreated, Rejection> {
        let state = &*step.state;
        let id = state.find_principal(&self.principal)?;
        self.check(state, id)?;
        let not_after_ms = Some(state.wall_ms.saturating_add(self.ttl_ms));
        let record = TokenRecord {
            secret: self.token.clone(),
            kind: TokenKind::Login,
            principal: id,
            label: String::new(),
            not_after_ms,
            deadline_ms: Some(state.now_ms.saturating_add(self.ttl_ms)),
            narrowing: None,
            made_by: Some(id),
            created_wall_ms: state.wall_ms,
            last_used_wall_ms: None,
        };
        let token = self.token.id;
        add_token(step, record, Some(id));
        Ok(TokenCreated { token, not_after_ms })
    }

    fn check(&self, state: &State, id: PrincipalId) -> Result<(), Rejection> {
        let record = state.access.principal(id).map(|entry| &entry.record);
        let principal = || self.principal.clone();
        if record.is_some_and(|record| record.suspended) {
            return Err(Refusal::PrincipalSuspended { principal: principal() }.into());
        }
        let password = record.and_then(|record| record.password.as_ref());
        if password.is_none_or(|password| password.version != self.password_version) {
            return Err(Refusal::PasswordChanged { principal: principal() }.into());
        }
        let limits = &state.limits.access;
        number_within("ttl_ms", self.ttl_ms, 1_000, limits.login_ttl_ms_max)?;
        state.check_new_token(&self.token)?;
        let max = limits.logins_per_principal_max;
        if state.tokens_of_kind(id, TokenKind::Login) >= max {
            return Err(Rejection::LimitExceeded {
                limit: "logins_per_principal_max".into(),
                max,
                remedy: "log out elsewhere, use an API key for programs, or raise the limit".into(),
            });
        }
        Ok(())
    }
}
