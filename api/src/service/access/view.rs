//! Makes views of the objects of access.

use std::sync::Arc;

use batuta_statemachine::access::{
    BindingId, BindingRecord, BuiltIn, PrincipalRecord, Refusal, RoleRecord, TokenRecord,
};
use batuta_statemachine::{Principal, PrincipalId, PrincipalName, State, TokenId};

use super::{BindingView, CredentialView, GroupView, PrincipalView, RoleView};
use crate::ApiError;

/// Makes the error of something that does not exist in a state.
pub(super) fn missing(state: &State, refusal: Refusal) -> ApiError {
    ApiError::rejected(refusal.into(), state.revision())
}

/// The kind and name of a principal; that of callers without a credential for an id that no principal has.
fn principal_of(state: &State, id: PrincipalId) -> Principal {
    state.principal(id).map_or(Principal::Anonymous, |record| record.principal.clone())
}

impl PrincipalView {
    pub(super) fn of(state: &State, record: &PrincipalRecord) -> Self {
        Self { record: record.clone(), groups: state.groups_of(record.id).cloned().collect() }
    }

    /// Finds a principal.
    pub(super) fn find(state: &State, principal: &Principal) -> Result<Self, ApiError> {
        let record = state.principal_id(principal).and_then(|id| state.principal(id));
        let record = record
            .ok_or_else(|| missing(state, Refusal::PrincipalNotFound { principal: principal.clone() }))?;
        Ok(Self::of(state, record))
    }
}

impl GroupView {
    /// Finds a group.
    pub(super) fn find(state: &State, name: &PrincipalName) -> Result<Self, ApiError> {
        let record = state.group(name);
        let record = record.ok_or_else(|| missing(state, Refusal::GroupNotFound { group: name.clone() }))?;
        Ok(Self::of(record, |id| principal_of(state, id)))
    }

    /// Lists at most `limit` groups after `after`.
    pub(super) fn list(state: &State, after: Option<&PrincipalName>, limit: usize) -> Vec<Self> {
        let records = state.groups(after, limit).into_iter();
        records.map(|record| Self::of(record, |id| principal_of(state, id))).collect()
    }
}

impl RoleView {
    pub(super) fn of(record: &RoleRecord) -> Self {
        Self { record: record.clone(), built_in: is_built_in(&record.name) }
    }

    /// Finds a role.
    pub(super) fn find(state: &State, name: &PrincipalName) -> Result<Self, ApiError> {
        let record = state.role(name);
        let record = record.ok_or_else(|| missing(state, Refusal::RoleNotFound { role: name.clone() }))?;
        Ok(Self::of(record))
    }
}

/// Whether a name is that of a built-in role.
pub(super) fn is_built_in(name: &PrincipalName) -> bool {
    BuiltIn::ALL.into_iter().any(|role| role.as_str() == name.as_str())
}

impl BindingView {
    pub(super) fn of(state: &State, record: &Arc<BindingRecord>) -> Self {
        let made_by = record.made_by.and_then(|id| state.principal(id));
        Self {
            record: Arc::clone(record),
            subject: state.subject_of(&record.holder),
            made_by: made_by.map(|record| record.principal.clone()),
        }
    }

    /// Finds a binding.
    pub(super) fn find(state: &State, binding: BindingId) -> Result<Self, ApiError> {
        let record = state.binding(binding);
        let record = record.ok_or_else(|| missing(state, Refusal::BindingNotFound { binding }))?;
        Ok(Self::of(state, record))
    }
}

impl CredentialView {
    pub(super) fn of(state: &State, record: &Arc<TokenRecord>) -> Self {
        Self { record: Arc::clone(record), principal: principal_of(state, record.principal) }
    }

    /// Finds a credential.
    pub(super) fn find(state: &State, token: TokenId) -> Result<Self, ApiError> {
        let record = state.token(token);
        let record = record.ok_or_else(|| missing(state, Refusal::TokenNotFound { token }))?;
        Ok(Self::of(state, record))
    }
}
