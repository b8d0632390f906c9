//! Use cases of credentials: API keys and logins.

use batuta_statemachine::access::{self, CreateToken, DeleteToken, NewToken, Refusal, RotateToken};
use batuta_statemachine::{Code, Permission, Principal, State, TokenId};

use super::login::secret_of;
use super::view::missing;
use super::{CreateKey, Created, CredentialView, ListRequest, read_own, write_own};
use crate::ApiError;
use crate::access::token::{Token, TokenKind};
use crate::service::operation::Operation;
use crate::service::{At, CallContext, Consistency, Page, Service, parse, size};

/// The operation that makes an API key: for the caller, or with `access:keys` for others.
pub const CREATE_KEY: Operation = write_own(
    "create_key",
    "Makes an API key. The answer is the only place that has its secret.",
    &[
        Code::SecretNotRepeatable,
        Code::PrincipalNotFound,
        Code::EscalationRefused,
        Code::LimitExceeded,
        Code::DiskFull,
    ],
);
/// The operation that replaces an API key.
pub const ROTATE_KEY: Operation = write_own(
    "rotate_key",
    "Makes a new key with the rights of an old one, which stays valid for a while.",
    &[
        Code::SecretNotRepeatable,
        Code::TokenNotFound,
        Code::EscalationRefused,
        Code::LimitExceeded,
        Code::DiskFull,
    ],
);
/// The operation that lists credentials: the own ones, or with `access:read` those of others.
pub const LIST_CREDENTIALS: Operation =
    read_own("list_credentials", "Lists keys and logins, without secrets.", &[Code::PrincipalNotFound]);
/// The operation that deletes a credential: an own one, or with `access:keys` any.
pub const DELETE_CREDENTIAL: Operation = write_own(
    "delete_credential",
    "Deletes a credential. It is refused everywhere within a second.",
    &[Code::TokenNotFound, Code::LastAdmin],
);

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// The time of a key without another, in milliseconds: 90 days.
pub(super) const KEY_TTL_MS: u64 = 90 * DAY_MS;
/// The longest time of a key that has an end, in milliseconds: a year. A longer one would be a key without an end for those who may not make one.
const KEY_TTL_MS_MAX: u64 = 366 * DAY_MS;
/// How long a key stays valid after it was replaced, without another time, in milliseconds: a day.
const OVERLAP_MS: u64 = DAY_MS;

impl Service {
    /// Makes an API key.
    ///
    /// # Errors
    /// `secret_not_repeatable` when this is the retry of a call that made the key; otherwise see `docs/errors.md`.
    pub async fn create_key(
        &self,
        context: &CallContext,
        request: CreateKey,
    ) -> Result<At<Created>, ApiError> {
        let permit = self.admit(context, &CREATE_KEY, [])?;
        let CreateKey { principal, label, ttl_ms, never_expires, narrowing } = request;
        let principal = match principal {
            Some(principal) => principal,
            None => permit.identity()?.principal.clone(),
        };
        let wall_ms = permit.clock(&permit.view()).wall_ms;
        let not_after_ms = not_after(wall_ms, ttl_ms, never_expires)?;
        let drawn = draw(TokenKind::Key)?;
        let token = NewToken { secret: secret_of(&drawn), label, not_after_ms };
        let (answer, made) = permit.propose(CreateToken { principal, token, narrowing }).await?;
        let key = shown_once(drawn, made.token)?;
        let state = permit.effect(&answer).await?;
        let credential = CredentialView::find(&state, made.token)?;
        Ok(permit.seen(&state, Created { key: key.into_text(), credential }))
    }

    /// Makes a new key of the same principal, with the label, the narrowing and the duration of an old one. The old one ends after `overlap_ms`,
    /// `None` = a day, if it does not end earlier.
    ///
    /// # Errors
    /// `secret_not_repeatable` when this is the retry of a call that made the key; otherwise see `docs/errors.md`.
    pub async fn rotate_key(
        &self,
        context: &CallContext,
        token: TokenId,
        overlap_ms: Option<u64>,
    ) -> Result<At<Created>, ApiError> {
        let permit = self.admit(context, &ROTATE_KEY, [])?;
        let drawn = draw(TokenKind::Key)?;
        let overlap_ms = overlap_ms.unwrap_or(OVERLAP_MS);
        let command = RotateToken { token, new: secret_of(&drawn), overlap_ms };
        let (answer, made) = permit.propose(command).await?;
        let key = shown_once(drawn, made.token)?;
        let state = permit.effect(&answer).await?;
        let credential = CredentialView::find(&state, made.token)?;
        Ok(permit.seen(&state, Created { key: key.into_text(), credential }))
    }

    /// Lists the credentials of a principal, `None` = the caller, in order of their ids.
    ///
    /// # Errors
    /// `principal_not_found`; otherwise see `docs/errors.md`.
    pub async fn list_credentials(
        &self,
        context: &CallContext,
        principal: Option<&Principal>,
        request: &ListRequest<TokenId>,
    ) -> Result<At<Page<CredentialView, TokenId>>, ApiError> {
        let permit = self.admit(context, &LIST_CREDENTIALS, [])?;
        let limit = parse::page_limit(request.limit)?;
        let principal = match principal {
            Some(principal) => principal,
            None => &permit.identity()?.principal,
        };
        let state = permit.read(Consistency::Linearizable).await?;
        permit.require_for(&state, principal, Permission::AccessRead)?;
        let items = credentials(&state, principal, request.after, limit + 1)?;
        Ok(permit.seen(&state, Page::cut(items, limit, size::credential, |view| view.record.secret.id)))
    }

    /// Deletes a credential.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn delete_credential(&self, context: &CallContext, token: TokenId) -> Result<At<()>, ApiError> {
        let permit = self.admit(context, &DELETE_CREDENTIAL, [])?;
        let (answer, _) = permit.propose(DeleteToken { token }).await?;
        Ok(At::of(&answer, ()))
    }
}

/// Draws a token.
pub(super) fn draw(kind: TokenKind) -> Result<Token, ApiError> {
    Token::generate(kind).map_err(|error| ApiError::Internal(format!("no token can be drawn: {error}")))
}

/// Gives the drawn token, unless the answer is that of an earlier attempt, whose secret nobody knows any more.
fn shown_once(drawn: Token, made: TokenId) -> Result<Token, ApiError> {
    if drawn.id() == made { Ok(drawn) } else { Err(ApiError::SecretNotRepeatable { credential: made }) }
}

/// The wall clock at which a new key ends; `None` = never.
fn not_after(wall_ms: u64, ttl_ms: Option<u64>, never_expires: bool) -> Result<Option<u64>, ApiError> {
    match (ttl_ms, never_expires) {
        (Some(_), true) => Err(ApiError::invalid("ttl_ms", "must be left out for a key that never expires")),
        (None, true) => Ok(None),
        (Some(ttl_ms), false) if !(1..=KEY_TTL_MS_MAX).contains(&ttl_ms) => {
            let problem = format!(
                "must be from 1 to {KEY_TTL_MS_MAX}; a key without an end needs `never_expires` and access:keys"
            );
            Err(ApiError::invalid("ttl_ms", problem))
        }
        (ttl_ms, false) => Ok(Some(wall_ms.saturating_add(ttl_ms.unwrap_or(KEY_TTL_MS)))),
    }
}

fn credentials(
    state: &State,
    principal: &Principal,
    after: Option<TokenId>,
    limit: usize,
) -> Result<Vec<CredentialView>, ApiError> {
    let id = state.principal_id(principal);
    let id = id.ok_or_else(|| missing(state, Refusal::PrincipalNotFound { principal: principal.clone() }))?;
    let records = state.tokens_of(id).filter(|record| after.is_none_or(|after| record.secret.id > after));
    let shown = records.filter(|record| !matches!(record.kind, access::TokenKind::Bootstrap { .. }));
    Ok(shown.take(limit).map(|record| CredentialView::of(state, record)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_ends_unless_it_is_asked_not_to() {
        for (ttl_ms, never_expires, expected) in [
            (None, false, Some(1_000 + KEY_TTL_MS)),
            (Some(5), false, Some(1_005)),
            (Some(KEY_TTL_MS_MAX), false, Some(1_000 + KEY_TTL_MS_MAX)),
            (None, true, None),
        ] {
            assert_eq!(not_after(1_000, ttl_ms, never_expires).unwrap(), expected, "{ttl_ms:?}");
        }
        for (ttl_ms, never_expires) in [(0, false), (KEY_TTL_MS_MAX + 1, false), (5, true)] {
            let refused = not_after(1_000, Some(ttl_ms), never_expires).unwrap_err();
            assert_eq!(refused.field(), Some("ttl_ms"), "{ttl_ms}");
        }
    }

    #[test]
    fn secret_is_shown_by_the_call_that_drew_it() {
        let (drawn, earlier) = (draw(TokenKind::Key).unwrap(), draw(TokenKind::Key).unwrap());
        let refused = shown_once(drawn, earlier.id()).unwrap_err();
        assert_eq!(refused.code(), Code::SecretNotRepeatable);
        assert_eq!(refused.details()["credential_id"], earlier.id().as_str());
        let id = earlier.id();
        assert_eq!(shown_once(earlier, id).unwrap().id(), id);
    }
}
