//! Use cases that tell a caller who it is and what it may do.

use batuta_statemachine::access::Refusal;
use batuta_statemachine::{Actor, Code, Permission, Principal, PrincipalId, State};

use super::explain::{Question, explain};
use super::view::missing;
use super::{BindingView, CheckAnswer, CheckRequest, CredentialView, WhoAmI, read, read_own};
use crate::ApiError;
use crate::service::admit::Permit;
use crate::service::operation::{Needs, Operation};
use crate::service::{At, CallContext, Client, Consistency, Service, authenticate};

/// The operation that tells who the caller is.
pub const WHO_AM_I: Operation = Operation {
    needs: Needs::Nothing,
    ..read("who_am_i", "Tells who the caller is and which bindings it has.", &[])
};
/// The operation that tells what a principal may do: the caller, or with `access:read` another.
pub const CHECK_ACCESS: Operation = read_own(
    "check_access",
    "Tells whether a principal may do something, and which binding allows it or what is missing.",
    &[Code::PrincipalNotFound],
);

impl Service {
    /// Tells who the caller is: also a caller without a credential, who is anonymous.
    ///
    /// # Errors
    /// `token_expired`, `token_revoked`, `principal_suspended`; otherwise see `docs/errors.md`.
    pub async fn who_am_i(&self, context: &CallContext) -> Result<At<WhoAmI>, ApiError> {
        let permit = self.admit(context, &WHO_AM_I, [])?;
        let state = permit.read(Consistency::Linearizable).await?;
        let clock = permit.clock(&state);
        let identity = permit.client().and_then(Client::identity);
        if let Some(lost) = identity.and_then(|identity| authenticate::lost(&state, clock, identity)) {
            return Err(lost);
        }
        let id = identity.map_or(PrincipalId::ANONYMOUS, |identity| identity.id);
        let live = state.bindings_of(id).filter(|binding| binding.is_live(clock.now_ms, clock.wall_ms));
        let record = identity.and_then(|identity| state.token(identity.credential));
        let value = WhoAmI {
            principal: permit.client().map_or(Principal::Anonymous, Client::principal),
            groups: state.groups_of(id).cloned().collect(),
            credential: record.map(|record| CredentialView::of(&state, record)),
            bindings: live.map(|binding| BindingView::of(&state, binding)).collect(),
            mode: state.access_mode(),
        };
        Ok(permit.seen(&state, value))
    }

    /// Tells whether a principal may do something in the namespace of the call, as if access were enforced, and why.
    ///
    /// # Errors
    /// `principal_not_found`; otherwise see `docs/errors.md`.
    pub async fn check_access(
        &self,
        context: &CallContext,
        request: &CheckRequest,
    ) -> Result<At<CheckAnswer>, ApiError> {
        let permit = self.admit(context, &CHECK_ACCESS, [])?;
        let state = permit.read(Consistency::Linearizable).await?;
        let actor = actor_of(&permit, &state, request)?;
        let question = Question {
            actor,
            permission: request.permission,
            namespace: &context.namespace,
            name: request.name.as_ref(),
        };
        Ok(permit.seen(&state, explain(&state, permit.clock(&state), &question)))
    }
}

/// Whom a request asks about. The caller is asked about with its own credential, which may be narrowed.
fn actor_of(permit: &Permit, state: &State, request: &CheckRequest) -> Result<Actor, ApiError> {
    let Some(principal) = request.principal.as_ref().filter(|principal| !permit.is_itself(principal)) else {
        return Ok(permit.actor());
    };
    permit.require(state, Permission::AccessRead, None)?;
    let id = state.principal_id(principal);
    let id = id.ok_or_else(|| missing(state, Refusal::PrincipalNotFound { principal: principal.clone() }))?;
    Ok(Actor::Caller { principal: id, credential: None })
}
