//! Use cases of principals and of the passwords of users.

use batuta_statemachine::access::{
    DeletePrincipal, PasswordHash, PutPrincipal, ResumePrincipal, SetPassword, SuspendPrincipal,
};
use batuta_statemachine::{Code, Permission, Principal, PrincipalName, State};

use super::logins::Account;
use super::{ListRequest, PrincipalView, read, read_own, write, write_own};
use crate::ApiError;
use crate::access::Secret;
use crate::access::password::check_new;
use crate::service::admit::Permit;
use crate::service::operation::Operation;
use crate::service::{At, CallContext, Consistency, Page, Service, parse, size};

/// The operation that makes a principal, or changes its description.
pub const PUT_PRINCIPAL: Operation = write(
    "put_principal",
    "Makes a user or a service account, or changes its description.",
    &[Code::LimitExceeded, Code::DiskFull],
);
/// The operation that reads a principal: itself, or with `access:read` any.
pub const GET_PRINCIPAL: Operation =
    read_own("get_principal", "Reads one principal.", &[Code::PrincipalNotFound]);
/// The operation that lists principals.
pub const LIST_PRINCIPALS: Operation =
    read("list_principals", "Lists principals in order of their kinds and names.", &[]);
/// The operation that deletes a principal.
pub const DELETE_PRINCIPAL: Operation = write(
    "delete_principal",
    "Deletes a principal with its credentials and bindings, and ends what it owns.",
    &[Code::PrincipalNotFound, Code::LastAdmin],
);
/// The operation that suspends a principal.
pub const SUSPEND_PRINCIPAL: Operation = write(
    "suspend_principal",
    "Suspends a principal: it may do nothing until it is resumed.",
    &[Code::PrincipalNotFound, Code::LastAdmin],
);
/// The operation that resumes a principal.
pub const RESUME_PRINCIPAL: Operation =
    write("resume_principal", "Resumes a suspended principal.", &[Code::PrincipalNotFound]);
/// The operation that sets a password: the own one, or with `access:keys` that of another user.
pub const SET_PASSWORD: Operation = write_own(
    "set_password",
    "Sets the password of a user and ends its other logins.",
    &[
        Code::PrincipalNotFound,
        Code::PasswordChanged,
        Code::EscalationRefused,
        Code::RateLimited,
        Code::AuthBusy,
    ],
);

impl Service {
    /// Makes a principal, or changes its description.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn put_principal(
        &self,
        context: &CallContext,
        principal: Principal,
        description: String,
    ) -> Result<At<PrincipalView>, ApiError> {
        let permit = self.admit(context, &PUT_PRINCIPAL, [])?;
        let (answer, _) = permit.propose(PutPrincipal { principal: principal.clone(), description }).await?;
        let state = permit.effect(&answer).await?;
        Ok(permit.seen(&state, PrincipalView::find(&state, &principal)?))
    }

    /// Reads one principal.
    ///
    /// # Errors
    /// `principal_not_found`; otherwise see `docs/errors.md`.
    pub async fn get_principal(
        &self,
        context: &CallContext,
        principal: &Principal,
    ) -> Result<At<PrincipalView>, ApiError> {
        let permit = self.admit(context, &GET_PRINCIPAL, [])?;
        let state = permit.read(Consistency::Linearizable).await?;
        permit.require_for(&state, principal, Permission::AccessRead)?;
        Ok(permit.seen(&state, PrincipalView::find(&state, principal)?))
    }

    /// Lists principals: users, then service accounts, each in order of their names.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn list_principals(
        &self,
        context: &CallContext,
        request: &ListRequest<Principal>,
    ) -> Result<At<Page<PrincipalView, Principal>>, ApiError> {
        let permit = self.admit(context, &LIST_PRINCIPALS, [])?;
        let limit = parse::page_limit(request.limit)?;
        let state = permit.read(Consistency::Linearizable).await?;
        let records = state.principals(request.after.as_ref(), limit + 1).into_iter();
        let items: Vec<PrincipalView> = records.map(|record| PrincipalView::of(&state, record)).collect();
        Ok(permit
            .seen(&state, Page::cut(items, limit, size::principal, |view| view.record.principal.clone())))
    }

    /// Deletes a principal with its credentials and bindings, and ends what it owns.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn delete_principal(
        &self,
        context: &CallContext,
        principal: Principal,
    ) -> Result<At<()>, ApiError> {
        let permit = self.admit(context, &DELETE_PRINCIPAL, [])?;
        let (answer, _) = permit.propose(DeletePrincipal { principal, end: true }).await?;
        Ok(At::of(&answer, ()))
    }

    /// Suspends a principal, and ends what it owns unless its sessions are kept.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn suspend_principal(
        &self,
        context: &CallContext,
        principal: Principal,
        keep_sessions: bool,
    ) -> Result<At<PrincipalView>, ApiError> {
        let permit = self.admit(context, &SUSPEND_PRINCIPAL, [])?;
        let command = SuspendPrincipal { principal: principal.clone(), end: !keep_sessions };
        let (answer, _) = permit.propose(command).await?;
        let state = permit.effect(&answer).await?;
        Ok(permit.seen(&state, PrincipalView::find(&state, &principal)?))
    }

    /// Resumes a suspended principal.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn resume_principal(
        &self,
        context: &CallContext,
        principal: Principal,
    ) -> Result<At<PrincipalView>, ApiError> {
        let permit = self.admit(context, &RESUME_PRINCIPAL, [])?;
        let (answer, _) = permit.propose(ResumePrincipal { principal: principal.clone() }).await?;
        let state = permit.effect(&answer).await?;
        Ok(permit.seen(&state, PrincipalView::find(&state, &principal)?))
    }

    /// Sets the password of a user, `None` = the caller. Whoever replaces its own password has to know it.
    ///
    /// # Errors
    /// `invalid_argument` when the password cannot be chosen or the old one is wrong, `rate_limited`, `auth_busy`; otherwise see
    /// `docs/errors.md`.
    pub async fn set_password(
        &self,
        context: &CallContext,
        user: Option<PrincipalName>,
        password: Secret,
        old: Option<Secret>,
    ) -> Result<At<()>, ApiError> {
        let permit = self.admit(context, &SET_PASSWORD, [])?;
        let principal = match user {
            Some(name) => Principal::User(name),
            None => permit.identity()?.principal.clone(),
        };
        let Principal::User(name) = &principal else {
            let problem = "is a service account, which has no password; make a key for it";
            return Err(ApiError::invalid("user", problem));
        };
        check_new(&password, name).map_err(|error| ApiError::invalid("password", error.to_string()))?;
        let state = permit.read(Consistency::Linearizable).await?;
        let expected_version = if permit.is_itself(&principal) {
            let account = Account::of(&state, &principal);
            drop(state);
            Some(self.check_old_password(&permit, name, account, old).await?)
        } else {
            permit.require(&state, Permission::AccessKeys, None)?;
            drop(state);
            None
        };
        let phc = self.inner.logins.hash(password).await?;
        let phc = PasswordHash::new(&phc.expose());
        let (answer, _) = permit.propose(SetPassword { principal, phc, expected_version }).await?;
        Ok(At::of(&answer, ()))
    }

    /// Checks that a user who replaces its password knows it. Returns the version of that password; 0 = the user has none.
    async fn check_old_password(
        &self,
        permit: &Permit,
        name: &PrincipalName,
        account: Account,
        old: Option<Secret>,
    ) -> Result<u64, ApiError> {
        let Some(stored) = &account.password else { return Ok(0) };
        let old =
            old.ok_or_else(|| ApiError::invalid("old_password", "is required to replace a password"))?;
        // Whoever found an open terminal or a token must not guess here what it cannot guess at the login.
        let attempt = self.inner.logins.begin(name, permit.client())?;
        if self.inner.logins.check(attempt, old, Some(stored)).await? {
            return Ok(stored.version);
        }
        let problem = "is not the password until now";
        Err(self.refuse_password(permit, &account, ApiError::invalid("old_password", problem)))
    }
}

impl Permit {
    /// Whether the caller is this principal.
    pub(super) fn is_itself(&self, principal: &Principal) -> bool {
        self.identity().is_ok_and(|identity| identity.principal == *principal)
    }

    /// Checks that the caller is this principal, or has a permission for those of others.
    pub(super) fn require_for(
        &self,
        state: &State,
        principal: &Principal,
        permission: Permission,
    ) -> Result<(), ApiError> {
        if self.is_itself(principal) { Ok(()) } else { self.require(state, permission, None) }
    }
}
