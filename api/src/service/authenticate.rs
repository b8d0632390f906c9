//! Authenticates clients by their tokens, over the state that every node has.
//!
//! A token is looked up for each request, or once for a connection. That costs less than a microsecond (`statemachine/tests/access_speed.rs` and
//! `docs/access.md`), so nothing is cached that a revocation would have to reach.

use std::sync::Arc;

use batuta_statemachine::access::TokenRecord;
use batuta_statemachine::{Code, State, access};

use super::caller::{Client, Identity};
use super::{Clock, Consistency, Service};
use crate::ApiError;
use crate::access::Secret;
use crate::access::audit::{Decision, Event, Kind};
use crate::access::token::{Token, TokenHash, TokenKind};

/// The most tokens that this node does not know and looks up in the newest state at the same time.
pub(super) const UNKNOWN_TOKENS_MAX: usize = 64;

impl Service {
    /// Finds out who sends a token.
    ///
    /// # Errors
    /// `invalid_token`, `token_expired`, `principal_suspended`. A token that this node does not know is looked up in the newest state, so that a
    /// new one is good on every node at once; then also `no_leader` and `overloaded`.
    pub async fn authenticate(&self, token: Secret) -> Result<Arc<Identity>, ApiError> {
        let token = read(token)?;
        if let Some(found) = self.recognise_read(&token) {
            return found;
        }
        let busy = ApiError::Busy { what: "lookups of unknown tokens", max: UNKNOWN_TOKENS_MAX as u64 };
        let _place = self.inner.unknown_tokens.try_acquire().map_err(|_| busy)?;
        let permit = self.of_node();
        let state = permit.read(Consistency::Linearizable).await?;
        let unknown = || {
            let problem =
                "it belongs to no credential here: it was deleted, has ended, or is of another cluster";
            Err(ApiError::InvalidToken { problem: problem.to_owned() })
        };
        let clock = permit.clock(&state);
        let found = identify(&state, clock, &token).unwrap_or_else(unknown);
        found.inspect(|identity| self.inner.policy.note_use(identity, clock))
    }

    /// Renews what a client proved, with another token of the same principal: a stream belongs to who opened it.
    ///
    /// # Errors
    /// Those of [`Self::authenticate`], and `invalid_token` when the token is of somebody else.
    pub async fn renew(&self, client: &Client, token: Secret) -> Result<Client, ApiError> {
        let identity = self.authenticate(token).await.map_err(|error| self.refuse_client(client, error))?;
        if client.identity().is_some_and(|before| before.id != identity.id) {
            let problem = "the stream belongs to another principal; open another stream";
            return Err(self.refuse_client(client, ApiError::InvalidToken { problem: problem.to_owned() }));
        }
        Ok(client.proven(identity))
    }

    /// Writes a failed authentication into the audit, and returns its error.
    pub(crate) fn refuse_client(&self, client: &Client, error: ApiError) -> ApiError {
        self.inner.record(|| Event {
            ip: client.ip(),
            front: Some(client.front()),
            decision: Some(Decision::Refused),
            why: Some(error.code().as_str().to_owned()),
            ..Event::new(Kind::AuthFailed)
        });
        error
    }

    /// Like [`Self::authenticate`], with what this node knows; `None` when only the newest state can tell.
    pub(crate) fn recognise(&self, token: Secret) -> Option<Result<Arc<Identity>, ApiError>> {
        match read(token) {
            Ok(token) => self.recognise_read(&token),
            Err(error) => Some(Err(error)),
        }
    }

    fn recognise_read(&self, token: &Token) -> Option<Result<Arc<Identity>, ApiError>> {
        let (state, clock) = self.inner.gate.seen();
        let found = identify(&state, clock, token).filter(is_final)?;
        Some(found.inspect(|identity| self.inner.policy.note_use(identity, clock)))
    }
}

/// Whether an answer of this node holds: a suspension may have ended in the newest state.
fn is_final(found: &Result<Arc<Identity>, ApiError>) -> bool {
    found.as_ref().err().is_none_or(|error| error.code() != Code::PrincipalSuspended)
}

/// Reads a token that may identify a client.
fn read(token: Secret) -> Result<Token, ApiError> {
    let invalid = |problem: String| ApiError::InvalidToken { problem };
    let token = Token::parse(token).map_err(|error| invalid(error.to_string()))?;
    if token.kind() == TokenKind::Bootstrap {
        let problem =
            "a bootstrap token makes the first administrator and nothing else; send a key or a login";
        return Err(invalid(problem.to_owned()));
    }
    Ok(token)
}

/// Identifies the sender of a token; `None` when the state does not know the token.
fn identify(state: &State, clock: Clock, token: &Token) -> Option<Result<Arc<Identity>, ApiError>> {
    let record = state.token(token.id())?;
    Some(verify(state, clock, token, record))
}

fn verify(
    state: &State,
    clock: Clock,
    token: &Token,
    record: &TokenRecord,
) -> Result<Arc<Identity>, ApiError> {
    let refused = |refusal: access::Refusal| ApiError::rejected(refusal.into(), state.revision());
    if !token.hash().matches(&TokenHash::from_bytes(*record.secret.hash.expose())) {
        let problem = "its secret is not that of the credential whose id it has";
        return Err(ApiError::InvalidToken { problem: problem.to_owned() });
    }
    let Some(principal) = state.principal(record.principal) else {
        return Err(refused(access::Refusal::TokenRevoked { token: token.id() }));
    };
    let identity = Identity {
        id: principal.id,
        principal: principal.principal.clone(),
        credential: token.id(),
        not_after_ms: record.not_after_ms,
        deadline_ms: record.deadline_ms,
    };
    lost(state, clock, &identity).map_or_else(|| Ok(Arc::new(identity)), Err)
}

/// Why what a client proved no longer holds; `None` while it does.
pub(super) fn lost(state: &State, clock: Clock, identity: &Identity) -> Option<ApiError> {
    let token = identity.credential;
    let refusal = if identity.has_expired(clock) {
        // Also when the state has forgotten it since.
        access::Refusal::TokenExpired { token }
    } else if state.token(token).is_none_or(|record| record.principal != identity.id) {
        access::Refusal::TokenRevoked { token }
    } else {
        let principal = state.principal(identity.id).filter(|principal| principal.suspended)?;
        access::Refusal::PrincipalSuspended { principal: principal.principal.clone() }
    };
    Some(ApiError::rejected(refusal.into(), state.revision()))
}
