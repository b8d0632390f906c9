//! Replaces an API key: a new one like it, while the old one stays good for a while.

use std::sync::Arc;

use crate::access::bootstrap::key_of;
use crate::access::command::RotateToken;
use crate::access::job::by;
use crate::access::token::{add_token, end_token, insert_token};
use crate::access::{End, NewToken, Refusal, TokenCreated, TokenKind, TokenRecord};
use crate::due::Due;
use crate::rejection::invalid;
use crate::step::Step;
use crate::{Actor, Permission, Rejection, State};

impl RotateToken {
    /// What the new key needs is what making it needs: otherwise whoever has a key for a week would have it for ever. One that a principal has
    /// without an end may have a successor without an end.
    pub(super) fn apply(&self, step: &mut Step<'_>, actor: &Actor) -> Result<TokenCreated, Rejection> {
        let state = &*step.state;
        let old = self.find_old(state, actor)?;
        if old.kind != TokenKind::Key {
            return Err(invalid(
                "credential_id",
                "must be that of an API key; log in again for another login",
            ));
        }
        let not_after_ms = old.not_after_ms.map(|not_after_ms| {
            state.wall_ms.saturating_add(not_after_ms.saturating_sub(old.created_wall_ms).max(1))
        });
        state.check_credential_of(actor, old.principal, not_after_ms)?;
        let new = NewToken { secret: self.new.clone(), label: old.label.clone(), not_after_ms };
        state.check_key(Some(old.principal), &new)?;
        let record =
            TokenRecord { narrowing: old.narrowing.clone(), ..key_of(state, old.principal, &new, by(actor)) };
        let token = record.secret.id;
        add_token(step, record, by(actor));
        self.shorten(step, &old, actor);
        Ok(TokenCreated { token, not_after_ms })
    }

    /// Finds the old key. One who may only change its own learns nothing of others.
    fn find_old(&self, state: &State, actor: &Actor) -> Result<Arc<TokenRecord>, Rejection> {
        let record = state.access.tokens.get(&self.token);
        let owner = record.and_then(|record| state.access.principal(record.principal));
        match owner {
            Some(owner) => state.find_credential_owner(actor, &owner.record.principal).map(|_| ())?,
            None => state.may(actor, Permission::AccessKeys)?,
        }
        Ok(record.cloned().ok_or(Refusal::TokenNotFound { token: self.token })?)
    }

    /// Moves the end of the old key to an earlier instant.
    fn shorten(&self, step: &mut Step<'_>, old: &TokenRecord, actor: &Actor) {
        if self.overlap_ms == 0 {
            return end_token(step, self.token, End::Revoked, by(actor));
        }
        let (now_ms, wall_ms) = (step.state.now_ms, step.state.wall_ms);
        let earlier = |end_ms: Option<u64>, from_ms: u64| {
            let overlap_end_ms = from_ms.saturating_add(self.overlap_ms);
            Some(end_ms.map_or(overlap_end_ms, |end_ms| end_ms.min(overlap_end_ms)))
        };
        if let Some(deadline_ms) = old.deadline_ms {
            step.state.deadlines.remove(&(deadline_ms, Due::Token(self.token)));
        }
        let shortened = TokenRecord {
            not_after_ms: earlier(old.not_after_ms, wall_ms),
            deadline_ms: earlier(old.deadline_ms, now_ms),
            ..old.clone()
        };
        insert_token(step, shortened);
        // Whoever knows the old end has to look again.
        step.state.access.bump();
    }
}
