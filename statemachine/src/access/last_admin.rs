//! The last administrator stays: no change may leave nobody who can change anything.

use crate::access::table::Table;
use crate::access::{BuiltIn, Namespaces, Refusal, TokenKind};
use crate::{PrincipalId, PrincipalName, State};

impl State {
    /// Checks that a change, which is tried on a copy of the table, leaves an administrator if there is one.
    pub(super) fn check_keeps_admin(&self, change: impl FnOnce(&mut Table)) -> Result<(), Refusal> {
        let mut after = self.access.clone();
        change(&mut after);
        let (now_ms, wall_ms) = (self.now_ms, self.wall_ms);
        if self.access.has_admin(now_ms, wall_ms, true) && !after.has_admin(now_ms, wall_ms, true) {
            return Err(Refusal::LastAdmin);
        }
        Ok(())
    }
}

impl Table {
    /// Whether a principal that is not suspended has the role `admin` for everything, and a credential that is good now. With `lasting`, its
    /// binding must have no end.
    pub(super) fn has_admin(&self, now_ms: u64, wall_ms: u64, lasting: bool) -> bool {
        let Ok(admin) = PrincipalName::new(BuiltIn::Admin.as_str()) else { return false };
        let bindings = self.bound.get(&admin).into_iter().flatten().filter_map(|id| self.bindings.get(id));
        let mut whole = bindings.filter(|binding| {
            binding.namespaces == Namespaces::All
                && binding.names.is_empty()
                && binding.is_live(now_ms, wall_ms)
                && !(lasting && binding.not_after_ms.is_some())
        });
        let usable = |id: &PrincipalId| self.can_prove_itself(*id, now_ms, wall_ms);
        whole.any(|binding| self.principals_of(&binding.holder).iter().any(usable))
    }

    /// Whether a principal is not suspended, and has a password or a key that is good now and not narrowed.
    fn can_prove_itself(&self, id: PrincipalId, now_ms: u64, wall_ms: u64) -> bool {
        let Some(entry) = self.principal(id) else { return false };
        let is_key = |token: &&crate::TokenId| {
            self.tokens.get(*token).is_some_and(|record| {
                record.kind == TokenKind::Key && record.narrowing.is_none() && record.is_live(now_ms, wall_ms)
            })
        };
        !entry.record.suspended
            && (entry.record.password.is_some() || entry.tokens.iter().any(|token| is_key(&token)))
    }

    /// From the first administrator on, calls of access are enforced.
    pub(super) fn note_admin(&mut self, now_ms: u64, wall_ms: u64) {
        if !self.guarded && self.has_admin(now_ms, wall_ms, false) {
            self.guarded = true;
            self.bump();
        }
    }
}
