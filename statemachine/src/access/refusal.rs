//! Why a caller is refused.

use crate::access::BindingId;
use crate::access::decide::is_global;
use crate::{Code, Name, Namespace, Permission, Principal, PrincipalName, TokenId};

/// Why a caller is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The caller lacks a permission.
    #[error(
        "{principal} lacks {permission} {}; `{}` tells what would give it",
        place(*.permission, Some(.namespace), .name.as_ref().map(Name::as_str)),
        question(*.permission, .namespace, .name.as_ref())
    )]
    PermissionDenied {
        /// The caller.
        principal: Principal,
        /// What is missing.
        permission: Permission,
        /// The namespace in which it is missing.
        namespace: Namespace,
        /// For what; `None` when the call names nothing.
        name: Option<Name>,
    },
    /// The caller is suspended.
    #[error("{principal} is suspended")]
    PrincipalSuspended {
        /// The caller.
        principal: Principal,
    },
    /// The credential of the caller has expired.
    #[error("credential {token} has expired")]
    TokenExpired {
        /// The credential.
        token: TokenId,
    },
    /// The credential of the caller, or the caller itself, was deleted.
    #[error("credential {token} was revoked")]
    TokenRevoked {
        /// The credential.
        token: TokenId,
    },
    /// The caller would give a right that it does not have.
    #[error(
        "{principal} cannot give {permission} {}: it does not have it there, or not for as long; ask somebody who has, or who has access:escalate",
        place(*.permission, .namespace.as_ref(), Some(.names))
    )]
    EscalationRefused {
        /// The caller.
        principal: Principal,
        /// What it would give.
        permission: Permission,
        /// Where; `None` = in all namespaces.
        namespace: Option<Namespace>,
        /// For which names, as a pattern.
        names: String,
    },
    /// The change would leave nobody who can change access.
    #[error(
        "that would leave no administrator: at least one principal that is not suspended needs the role admin in all namespaces, without an end, and a password or a key"
    )]
    LastAdmin,
    /// No such principal.
    #[error("{principal} does not exist")]
    PrincipalNotFound {
        /// The principal.
        principal: Principal,
    },
    /// No such group.
    #[error("group/{group} does not exist")]
    GroupNotFound {
        /// The name of the group.
        group: PrincipalName,
    },
    /// No such role.
    #[error("role {role} does not exist")]
    RoleNotFound {
        /// The name of the role.
        role: PrincipalName,
    },
    /// No such binding.
    #[error("binding {binding} does not exist: it ended, or never was")]
    BindingNotFound {
        /// The given id.
        binding: BindingId,
    },
    /// No such credential.
    #[error("credential {token} does not exist: it ended, or never was")]
    TokenNotFound {
        /// The given id.
        token: TokenId,
    },
    /// The password was changed meanwhile.
    #[error("the password of {principal} was changed meanwhile; try again with the new one")]
    PasswordChanged {
        /// The user.
        principal: Principal,
    },
    /// No bootstrap token of this id is open.
    #[error("no bootstrap token {token} is open: it was used, has ended, or never was")]
    AlreadyBootstrapped {
        /// The given id.
        token: TokenId,
    },
    /// The role is built in and stays as it is.
    #[error("role {role} is built in; make a role of another name")]
    BuiltInRole {
        /// The name of the role.
        role: PrincipalName,
    },
}

/// Where and for what a permission is missing, in words.
fn place(permission: Permission, namespace: Option<&Namespace>, name: Option<&str>) -> String {
    let place = match namespace {
        _ if is_global(permission) => "for the cluster".to_owned(),
        Some(namespace) => format!("in {namespace}"),
        None => "in all namespaces".to_owned(),
    };
    match name {
        Some(name) if !is_global(permission) => format!("{place} for {name}"),
        _ => place,
    }
}

/// The command that explains a decision.
fn question(permission: Permission, namespace: &Namespace, name: Option<&Name>) -> String {
    let mut command = format!("batuta access explain {permission}");
    if is_global(permission) {
        return command;
    }
    if let Some(name) = name {
        command.push(' ');
        command.push_str(name.as_str());
    }
    if *namespace != Namespace::default() {
        command.push_str(" --namespace ");
        command.push_str(namespace.as_str());
    }
    command
}

impl Refusal {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::PermissionDenied { .. } => Code::PermissionDenied,
            Self::PrincipalSuspended { .. } => Code::PrincipalSuspended,
            Self::TokenExpired { .. } => Code::TokenExpired,
            Self::TokenRevoked { .. } => Code::TokenRevoked,
            Self::EscalationRefused { .. } => Code::EscalationRefused,
            Self::LastAdmin => Code::LastAdmin,
            Self::PrincipalNotFound { .. } => Code::PrincipalNotFound,
            Self::GroupNotFound { .. } => Code::GroupNotFound,
            Self::RoleNotFound { .. } => Code::RoleNotFound,
            Self::BindingNotFound { .. } => Code::BindingNotFound,
            Self::TokenNotFound { .. } => Code::TokenNotFound,
            Self::PasswordChanged { .. } => Code::PasswordChanged,
            Self::AlreadyBootstrapped { .. } => Code::AlreadyBootstrapped,
            Self::BuiltInRole { .. } => Code::BuiltInRole,
        }
    }

    /// The bytes of its texts.
    pub(crate) fn text_bytes(&self) -> usize {
        let named = |principal: &Principal| principal.name().map_or(0, |name| name.as_str().len());
        match self {
            Self::PermissionDenied { principal, namespace, name, .. } => {
                named(principal)
                    + namespace.as_str().len()
                    + name.as_ref().map_or(0, |name| name.as_str().len())
            }
            Self::EscalationRefused { principal, namespace, names, .. } => {
                named(principal)
                    + names.len()
                    + namespace.as_ref().map_or(0, |namespace| namespace.as_str().len())
            }
            Self::PrincipalSuspended { principal }
            | Self::PrincipalNotFound { principal }
            | Self::PasswordChanged { principal } => named(principal),
            Self::GroupNotFound { group: name }
            | Self::RoleNotFound { role: name }
            | Self::BuiltInRole { role: name } => name.as_str().len(),
            Self::TokenExpired { .. }
            | Self::TokenRevoked { .. }
            | Self::TokenNotFound { .. }
            | Self::AlreadyBootstrapped { .. }
            | Self::BindingNotFound { .. }
            | Self::LastAdmin => 0,
        }
    }
}
