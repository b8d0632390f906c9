//! Makes an administrator with a bootstrap token.

use crate::access::binding::add_binding;
use crate::access::command::Bootstrap;
use crate::access::put_principal::{add_principal, tell_principal};
use crate::access::table::Holder;
use crate::access::token::{add_token, end_token};
use crate::access::{
    BindingId, BindingRecord, Bootstrapped, BuiltIn, End, Namespaces, NewToken, OnEnd, Refusal, TokenKind,
    TokenRecord,
};
use crate::rejection::invalid;
use crate::step::Step;
use crate::{Actor, Position, Principal, PrincipalId, PrincipalName, Rejection, State};

impl Bootstrap {
    /// The token is what gives the right, so the actor is not asked for more.
    pub(super) fn apply(
        &self,
        step: &mut Step<'_>,
        position: Position,
        _: &Actor,
    ) -> Result<Bootstrapped, Rejection> {
        let state = &*step.state;
        self.check_token(state)?;
        let principal = Principal::User(self.admin.clone());
        let existing = state.access.ids.get(&principal).copied();
        state.check_key(existing, &self.key)?;
        let admin = PrincipalName::new(BuiltIn::Admin.as_str())
            .map_err(|error| invalid("role", error.to_string()))?;
        for token in state.access.bootstraps.clone() {
            end_token(step, token, End::Used, None);
        }
        let id = match existing {
            Some(id) => id,
            None => add_principal(step, position, principal, String::new(), None),
        };
        resume(step, id);
        if !is_admin(step.state, id, &admin) {
            let record = BindingRecord {
                id: BindingId(position),
                holder: Holder::Principal(id),
                role: admin,
                namespaces: Namespaces::All,
                names: Vec::new(),
                not_before_ms: None,
                not_after_ms: None,
                deadline_ms: None,
                on_end: OnEnd::Keep,
                reason: "bootstrap".to_owned(),
                made_by: None,
            };
            add_binding(step, record, None);
        }
        let token = self.key.secret.id;
        let record = key_of(step.state, id, &self.key, None);
        add_token(step, record, None);
        Ok(Bootstrapped { id, token })
    }

    fn check_token(&self, state: &State) -> Result<(), Rejection> {
        let token = self.bootstrap;
        let record = state.access.tokens.get(&token);
        let Some(record) = record.filter(|record| matches!(record.kind, TokenKind::Bootstrap { .. })) else {
            return Err(Refusal::AlreadyBootstrapped { token }.into());
        };
        if record.is_live(state.now_ms, state.wall_ms) {
            Ok(())
        } else {
            Err(Refusal::TokenExpired { token }.into())
        }
    }
}

/// Whether a principal has the role `admin` for everything and without an end.
fn is_admin(state: &State, id: PrincipalId, admin: &PrincipalName) -> bool {
    state.access.held(&Holder::Principal(id)).iter().any(|held| {
        let binding = &held.binding;
        binding.role == *admin
            && binding.namespaces == Namespaces::All
            && binding.names.is_empty()
            && binding.not_after_ms.is_none()
            && binding.is_live(state.now_ms, state.wall_ms)
    })
}

fn resume(step: &mut Step<'_>, id: PrincipalId) {
    if let Some(entry) = step.state.access.principal_mut(id)
        && entry.record.suspended
    {
        entry.record.suspended = false;
        step.state.access.bump();
        tell_principal(step, id, None);
    }
}

/// The record of a new key.
pub(super) fn key_of(
    state: &State,
    principal: PrincipalId,
    key: &NewToken,
    made_by: Option<PrincipalId>,
) -> TokenRecord {
    TokenRecord {
        secret: key.secret.clone(),
        kind: TokenKind::Key,
        principal,
        label: key.label.clone(),
        not_after_ms: key.not_after_ms,
        deadline_ms: key.not_after_ms.map(|not_after_ms| state.deadline_of(not_after_ms)),
        narrowing: None,
        made_by,
        created_wall_ms: state.wall_ms,
        last_used_wall_ms: None,
    }
}
