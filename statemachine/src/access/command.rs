//! The commands of access. Ids, hashes and wall times are made by the node that proposes; deadlines are made by apply.

use crate::access::{
    AccessChanged, BindingId, Bootstrapped, Bound, Mode, Namespaces, Narrowing, NewToken, OnEnd,
    PasswordHash, PasswordSet, Pattern, PrincipalPut, Rule, Subject, TokenCreated, TokenSecret, TokenUse,
};
use crate::job_macros::job_commands;
use crate::{Principal, PrincipalName, TokenId};

/// Opens a bootstrap token in place of those before; only nodes do. Reply: [`TokenCreated`]; refused with `already_bootstrapped` when
/// there was an administrator, unless it is a recovery that does not enforce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenBootstrap {
    /// What the node made.
    pub token: TokenSecret,
    /// It lives this long, in milliseconds of cluster time.
    pub ttl_ms: u64,
    /// The wall clock at which it ends, in milliseconds since the Unix epoch.
    pub not_after_wall_ms: u64,
    /// Whether it lets in an administrator of a cluster that had one before.
    pub recovery: bool,
    /// Whether access is enforced from this entry on, although there is no administrator yet: the token is the only way in.
    pub enforce: bool,
}

/// Makes an administrator and its key with a bootstrap token, which is void then. The front has compared the secret.
/// Reply: [`Bootstrapped`]; refused with `already_bootstrapped`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// The bootstrap token.
    pub bootstrap: TokenId,
    /// The name of the user. One that exists is made an administrator, and no longer suspended.
    pub admin: PrincipalName,
    /// Its key.
    pub key: NewToken,
}

/// Makes a principal, or changes its description. Reply: [`PrincipalPut`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutPrincipal {
    /// The principal.
    pub principal: Principal,
    /// Free text for people.
    pub description: String,
}

/// Deletes a principal with its credentials, bindings and memberships. Reply: [`AccessChanged`]; refused with
/// `principal_not_found`, `last_admin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletePrincipal {
    /// The principal.
    pub principal: Principal,
    /// Whether its sessions, grants and waits end in the same entry.
    pub end: bool,
}

/// Suspends a principal: it may do nothing, whatever its bindings give. Reply: [`AccessChanged`]; refused with
/// `principal_not_found`, `last_admin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuspendPrincipal {
    /// The principal.
    pub principal: Principal,
    /// Whether its sessions, grants and waits end in the same entry.
    pub end: bool,
}

/// Ends the suspension of a principal. Reply: [`AccessChanged`]; refused with `principal_not_found`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumePrincipal {
    /// The principal.
    pub principal: Principal,
}

/// Sets the password of a user and ends its logins, except the one that asks. Reply: [`PasswordSet`]; refused with
/// `principal_not_found`, `password_changed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetPassword {
    /// The user.
    pub principal: Principal,
    /// The hash of the new password.
    pub phc: PasswordHash,
    /// The version of the password that the front saw: 0 = no password, `None` = any version.
    pub expected_version: Option<u64>,
}

/// Makes a group, or gives a group these members and no others. Reply: [`AccessChanged`]; refused with `principal_not_found`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutGroup {
    /// The name of the group.
    pub name: PrincipalName,
    /// Its members.
    pub members: Vec<Principal>,
}

/// Deletes a group with its bindings. Reply: [`AccessChanged`]; refused with `group_not_found`, `last_admin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteGroup {
    /// The name of the group.
    pub name: PrincipalName,
}

/// Makes a role, or gives a role these rules and no others. Reply: [`AccessChanged`]; refused with `built_in_role`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutRole {
    /// The name of the role.
    pub name: PrincipalName,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// Deletes a role that no binding has. Reply: [`AccessChanged`]; refused with `role_not_found`, `built_in_role`, and
/// `invalid_argument` while bindings have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRole {
    /// The name of the role.
    pub name: PrincipalName,
}

/// Gives a subject a role. Reply: [`Bound`]; refused with `principal_not_found`, `group_not_found`,
/// `role_not_found`, `escalation_refused`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Who gets the role.
    pub subject: Subject,
    /// The role.
    pub role: PrincipalName,
    /// The namespaces in which it holds.
    pub namespaces: Namespaces,
    /// The names for which it holds; empty = all names of the role.
    pub names: Vec<Pattern>,
    /// The wall clock from which on it holds, in milliseconds since the Unix epoch.
    pub not_before_ms: Option<u64>,
    /// The wall clock at which it ends, in milliseconds since the Unix epoch.
    pub not_after_ms: Option<u64>,
    /// What happens to sessions when it ends.
    pub on_end: OnEnd,
    /// Why, for people.
    pub reason: String,
}

/// Ends a binding. Reply: [`AccessChanged`]; refused with `binding_not_found`, `last_admin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unbind {
    /// The binding.
    pub binding: BindingId,
}

/// Moves the end of a binding. Reply: [`AccessChanged`]; refused with `binding_not_found`, `escalation_refused`, `last_admin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtendBinding {
    /// The binding.
    pub binding: BindingId,
    /// The wall clock at which it ends, in milliseconds since the Unix epoch; `None` = never.
    pub not_after_ms: Option<u64>,
    /// Why, for people. It replaces the earlier reason.
    pub reason: String,
}

/// Makes an API key. Reply: [`TokenCreated`]; refused with `principal_not_found`, `escalation_refused`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateToken {
    /// The owner of the key.
    pub principal: Principal,
    /// The key.
    pub token: NewToken,
    /// What narrows it.
    pub narrowing: Option<Narrowing>,
}

/// Makes an API key with the principal, the label, the narrowing and the duration of an old one, which ends soon. Reply: [`TokenCreated`];
/// refused with `token_not_found`, `escalation_refused`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotateToken {
    /// The old key.
    pub token: TokenId,
    /// What the node made of the new one.
    pub new: TokenSecret,
    /// The old key stays good for at most this long, in milliseconds; 0 = it ends at once.
    pub overlap_ms: u64,
}

/// Deletes a credential. Reply: [`AccessChanged`]; refused with `token_not_found`, `last_admin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteToken {
    /// The credential.
    pub token: TokenId,
}

/// Opens a login of a user whose password the front has verified. Reply: [`TokenCreated`]; refused with `principal_not_found`,
/// `principal_suspended`, `password_changed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenLogin {
    /// The user.
    pub principal: Principal,
    /// The version of the password that was verified.
    pub password_version: u64,
    /// What the node made.
    pub token: TokenSecret,
    /// It lives this long, in milliseconds.
    pub ttl_ms: u64,
}

/// Sets the mode of access. Reply: [`AccessChanged`]; refused with `last_admin` when access would be enforced without an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetMode {
    /// The mode.
    pub mode: Mode,
}

/// Notes uses of credentials; only nodes do. Credentials that have ended are left out. Reply: [`AccessChanged`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteTokenUse {
    /// The uses.
    pub uses: Vec<TokenUse>,
}

job_commands! {
    Access {
        /// Opens a bootstrap token.
        OpenBootstrap => TokenCreated,
        /// Makes the first administrator.
        Bootstrap => Bootstrapped,
        /// Makes or describes a principal.
        PutPrincipal => PrincipalPut,
        /// Deletes a principal.
        DeletePrincipal => AccessChanged,
        /// Suspends a principal.
        SuspendPrincipal => AccessChanged,
        /// Ends a suspension.
        ResumePrincipal => AccessChanged,
        /// Sets a password.
        SetPassword => PasswordSet,
        /// Makes or fills a group.
        PutGroup => AccessChanged,
        /// Deletes a group.
        DeleteGroup => AccessChanged,
        /// Makes or changes a role.
        PutRole => AccessChanged,
        /// Deletes a role.
        DeleteRole => AccessChanged,
        /// Gives a role.
        Bind => Bound,
        /// Takes a role away.
        Unbind => AccessChanged,
        /// Moves the end of a binding.
        ExtendBinding => AccessChanged,
        /// Makes an API key.
        CreateToken => TokenCreated,
        /// Deletes a credential.
        DeleteToken => AccessChanged,
        /// Opens a login.
        OpenLogin => TokenCreated,
        /// Sets the mode.
        SetMode => AccessChanged,
        /// Notes uses of credentials.
        NoteTokenUse => AccessChanged,
        /// Replaces an API key.
        RotateToken => TokenCreated,
    }
}
