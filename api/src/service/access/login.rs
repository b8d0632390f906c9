//! Use cases that begin or end what a caller proves: the first administrator, logins and logouts.

use batuta_statemachine::access::{
    self, Bootstrap, DeleteToken, NewToken, OpenLogin, Refusal, SecretHash, TokenSecret,
};
use batuta_statemachine::{Code, Principal, PrincipalName, State};

use super::credential::{KEY_TTL_MS, draw};
use super::logins::Account;
use super::view::missing;
use super::{Bootstrapped, CredentialView, LoggedIn, open, write_own};
use crate::ApiError;
use crate::access::Secret;
use crate::access::token::{Token, TokenHash, TokenKind};
use crate::service::admit::Permit;
use crate::service::operation::Operation;
use crate::service::{At, CallContext, Clock, Consistency, Service};

/// The operation that makes an administrator with a bootstrap token.
pub const BOOTSTRAP: Operation = open(
    "bootstrap",
    "Makes the first administrator with the one-time token of the cluster, which is void then.",
    &[Code::AlreadyBootstrapped, Code::LimitExceeded],
);
/// The operation that logs a user in.
pub const LOGIN: Operation = open(
    "login",
    "Logs a user in with a password.",
    &[
        Code::RateLimited,
        Code::AuthBusy,
        Code::PrincipalNotFound,
        Code::PasswordChanged,
        Code::LimitExceeded,
        Code::DiskFull,
    ],
);
/// The operation that ends the login of the caller.
pub const LOGOUT: Operation = write_own("logout", "Deletes the login of the caller.", &[Code::TokenNotFound]);

/// The time of a login without another, in milliseconds: 12 hours.
const LOGIN_TTL_MS: u64 = 12 * 60 * 60 * 1_000;
/// The label of the key that a bootstrap token makes.
const BOOTSTRAP_LABEL: &str = "bootstrap";
/// The one answer to a login that fails, whether the user exists or not.
const WRONG: &str = "the user and the password do not fit together";
/// The one answer to a bootstrap token that is not open.
const NOT_OPEN: &str =
    "it is not the open bootstrap token of this cluster: it was mistyped, was used, or has ended";

impl Service {
    /// Makes an administrator and its key with a bootstrap token, which is void then. A wrong token changes nothing, so that nobody can stand in the
    /// way of the right one.
    ///
    /// # Errors
    /// `invalid_token`, `token_expired`, `already_bootstrapped`; otherwise see `docs/errors.md`.
    pub async fn bootstrap(
        &self,
        context: &CallContext,
        token: Secret,
        admin: PrincipalName,
    ) -> Result<At<Bootstrapped>, ApiError> {
        let permit = self.admit(&unkeyed(context), &BOOTSTRAP, [])?;
        let refuse = |error: ApiError| match permit.client() {
            Some(client) => self.refuse_client(client, error),
            None => error,
        };
        let given = Token::parse(token).map_err(|error| refuse(invalid(error.to_string())))?;
        let state = permit.read(Consistency::Linearizable).await?;
        let clock = permit.clock(&state);
        check_bootstrap(&state, clock, &given).map_err(refuse)?;
        drop(state);
        let key = draw(TokenKind::Key)?;
        let not_after_ms = Some(clock.wall_ms.saturating_add(KEY_TTL_MS));
        let new = NewToken { secret: secret_of(&key), label: BOOTSTRAP_LABEL.to_owned(), not_after_ms };
        let command = Bootstrap { bootstrap: given.id(), admin, key: new };
        let (answer, made) = permit.propose(command).await?;
        let state = permit.effect(&answer).await?;
        let credential = CredentialView::find(&state, made.token)?;
        let principal = credential.principal.clone();
        Ok(permit.seen(&state, Bootstrapped { principal, key: key.into_text(), credential }))
    }

    /// Logs a user in with a password.
    ///
    /// # Errors
    /// `unauthenticated` for an unknown user and for a wrong password alike, `principal_suspended` only after the right one; `rate_limited`,
    /// `auth_busy`; otherwise see `docs/errors.md`.
    pub async fn login(
        &self,
        context: &CallContext,
        user: PrincipalName,
        password: Secret,
        ttl_ms: Option<u64>,
    ) -> Result<At<LoggedIn>, ApiError> {
        let permit = self.admit(&unkeyed(context), &LOGIN, [])?;
        let (principal, password_version) = self.check_login(&permit, user, password).await?;
        let drawn = draw(TokenKind::Login)?;
        let (token, ttl_ms) = (secret_of(&drawn), ttl_ms.unwrap_or(LOGIN_TTL_MS));
        let command = OpenLogin { principal, password_version, token, ttl_ms };
        let (answer, opened) = permit.propose(command).await?;
        let state = permit.effect(&answer).await?;
        let credential = CredentialView::find(&state, opened.token)?;
        Ok(permit.seen(&state, LoggedIn { token: drawn.into_text(), credential }))
    }

    /// Checks the password of a login. Returns the user, and the version of the password that is right.
    async fn check_login(
        &self,
        permit: &Permit,
        user: PrincipalName,
        password: Secret,
    ) -> Result<(Principal, u64), ApiError> {
        let attempt = self.inner.logins.begin(&user, permit.client())?;
        let principal = Principal::User(user);
        let state = match permit.read(Consistency::Linearizable).await {
            Ok(state) => state,
            Err(error) => {
                attempt.not_checked();
                return Err(error);
            }
        };
        let account = Account::of(&state, &principal);
        drop(state);
        let right = self.inner.logins.check(attempt, password, account.password.as_ref()).await?;
        let Some(password) = account.password.as_ref().filter(|_| right) else {
            let error = ApiError::Unauthenticated { problem: WRONG };
            return Err(self.refuse_password(permit, &account, error));
        };
        if account.suspended {
            let refusal = Refusal::PrincipalSuspended { principal };
            let error = ApiError::rejected(refusal.into(), account.revision);
            return Err(self.refuse_password(permit, &account, error));
        }
        Ok((principal, password.version))
    }

    /// Deletes the login of the caller.
    ///
    /// # Errors
    /// `invalid_argument` when the caller did not log in but sent an API key; otherwise see `docs/errors.md`.
    pub async fn logout(&self, context: &CallContext) -> Result<At<()>, ApiError> {
        let permit = self.admit(context, &LOGOUT, [])?;
        let token = permit.identity()?.credential;
        let state = permit.read(Consistency::Linearizable).await?;
        let record = state.token(token).ok_or_else(|| missing(&state, Refusal::TokenNotFound { token }))?;
        if record.kind != access::TokenKind::Login {
            let problem = "is an API key, which a logout does not end; delete the key if it is not wanted";
            return Err(ApiError::invalid("authorization", problem));
        }
        drop(state);
        let (answer, _) = permit.propose(DeleteToken { token }).await?;
        Ok(At::of(&answer, ()))
    }
}

/// The context without its retry key, for calls whose answer cannot be given twice.
fn unkeyed(context: &CallContext) -> CallContext {
    CallContext { dedup: None, ..context.clone() }
}

fn invalid(problem: String) -> ApiError {
    ApiError::InvalidToken { problem }
}

/// What the state keeps of a token.
pub(super) fn secret_of(token: &Token) -> TokenSecret {
    TokenSecret { id: token.id(), hash: SecretHash::new(*token.hash().as_bytes()) }
}

/// Checks that a token is an open bootstrap token.
fn check_bootstrap(state: &State, clock: Clock, given: &Token) -> Result<(), ApiError> {
    if given.kind() != TokenKind::Bootstrap {
        return Err(invalid("it is no bootstrap token, which starts with btb_".to_owned()));
    }
    let record = state.token(given.id());
    let record = record.filter(|record| matches!(record.kind, access::TokenKind::Bootstrap { .. }));
    let same = |hash: &[u8; SecretHash::LENGTH]| given.hash().matches(&TokenHash::from_bytes(*hash));
    let record = record.filter(|record| same(record.secret.hash.expose()));
    let record = record.ok_or_else(|| invalid(NOT_OPEN.to_owned()))?;
    if record.is_live(clock.now_ms, clock.wall_ms) {
        Ok(())
    } else {
        Err(missing(state, Refusal::TokenExpired { token: given.id() }))
    }
}

#[cfg(test)]
mod tests {
    use batuta_statemachine::access::OpenBootstrap;
    use batuta_statemachine::{Entry, Request, Stamp};

    use super::*;

    const WALL_MS: u64 = 1_700_000_000_000;

    /// A state in which a bootstrap token is open for a second.
    fn opened(token: TokenSecret) -> State {
        let open = OpenBootstrap {
            token,
            ttl_ms: 1_000,
            not_after_wall_ms: WALL_MS + 1_000,
            recovery: false,
            enforce: false,
        };
        let stamp = Stamp { now_ms: 5, wall_ms: WALL_MS };
        let mut state = State::default();
        let applied = state.apply(1, &Entry { stamp, requests: vec![Request::new(None, open)] });
        assert!(applied.outcomes.iter().all(Result::is_ok), "{:?}", applied.outcomes);
        state
    }

    fn code(state: &State, after_ms: u64, given: &Token) -> Option<Code> {
        let clock = Clock { now_ms: 5 + after_ms, wall_ms: WALL_MS + after_ms };
        check_bootstrap(state, clock, given).err().map(|error| error.code())
    }

    #[test]
    fn only_the_open_bootstrap_token_passes() {
        let token = Token::generate(TokenKind::Bootstrap).unwrap();
        let state = opened(secret_of(&token));
        assert_eq!(code(&state, 0, &token), None);
        assert_eq!(code(&state, 1_000, &token), Some(Code::TokenExpired));
        for kind in TokenKind::ALL {
            let other = Token::generate(kind).unwrap();
            assert_eq!(code(&state, 0, &other), Some(Code::InvalidToken), "{kind:?}");
        }
        assert_eq!(code(&State::default(), 0, &token), Some(Code::InvalidToken));
    }

    /// The id of a token is not secret.
    #[test]
    fn id_without_its_secret_is_refused() {
        let token = Token::generate(TokenKind::Bootstrap).unwrap();
        let other = Token::generate(TokenKind::Bootstrap).unwrap();
        let state = opened(TokenSecret { id: token.id(), hash: secret_of(&other).hash });
        assert_eq!(code(&state, 0, &token), Some(Code::InvalidToken));
        assert_eq!(code(&state, 0, &other), Some(Code::InvalidToken));
    }
}
