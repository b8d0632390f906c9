//! The replies and changes of access.

use crate::access::{BindingId, Mode, Subject, TokenKind};
use crate::job_macros::{job_replies, job_usage};
use crate::{Principal, PrincipalId, PrincipalName, TokenId};

/// The change is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AccessChanged;

/// The principal exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PrincipalPut {
    /// Its id.
    pub id: PrincipalId,
    /// Whether it was made now.
    pub created: bool,
}

/// The subject has the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bound {
    /// The binding.
    pub binding: BindingId,
}

/// The credential was made. A retry is answered with the id of the first attempt, whose secret cannot be shown again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenCreated {
    /// The credential.
    pub token: TokenId,
    /// The wall clock at which it ends, in milliseconds since the Unix epoch; `None` = never.
    pub not_after_ms: Option<u64>,
}

/// The administrator was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bootstrapped {
    /// The administrator.
    pub id: PrincipalId,
    /// Its key.
    pub token: TokenId,
}

/// The password is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PasswordSet {
    /// The version of the password.
    pub version: u64,
}

job_replies! {
    Access {
        /// The change is made.
        AccessChanged,
        /// The principal exists.
        PrincipalPut,
        /// The subject has the role.
        Bound,
        /// The credential was made.
        TokenCreated,
        /// The administrator was made.
        Bootstrapped,
        /// The password is set.
        PasswordSet,
    }
}

impl Reply {
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::AccessChanged(_)
            | Self::PrincipalPut(_)
            | Self::Bound(_)
            | Self::TokenCreated(_)
            | Self::Bootstrapped(_)
            | Self::PasswordSet(_) => 0,
        }
    }
}

job_usage! {}

/// Why a binding or a credential ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// Its time is over.
    Expired,
    /// Somebody took it back.
    Revoked,
    /// A bootstrap token was used, or another took its place.
    Used,
    /// The password was changed.
    PasswordChanged,
    /// Its principal or group was deleted.
    SubjectDeleted,
}

impl End {
    /// The word that events use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Used => "used",
            Self::PasswordChanged => "password_changed",
            Self::SubjectDeleted => "subject_deleted",
        }
    }
}

/// The changes of access. None of them holds a secret or a hash. `by` is who made it: `None` when a node or time did, or a caller while
/// access was off.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// A principal was made, described, suspended or resumed, or has a new password.
    PrincipalChanged {
        /// The id.
        id: PrincipalId,
        /// The principal.
        principal: Principal,
        /// Whether it is suspended now.
        suspended: bool,
        /// Who changed it.
        by: Option<PrincipalId>,
    },
    /// A principal was deleted.
    PrincipalDeleted {
        /// The id.
        id: PrincipalId,
        /// The principal.
        principal: Principal,
        /// Who deleted it.
        by: Option<PrincipalId>,
    },
    /// A group was made, filled or deleted.
    GroupChanged {
        /// The name of the group.
        group: PrincipalName,
        /// Whether it was deleted.
        deleted: bool,
        /// Who changed it.
        by: Option<PrincipalId>,
    },
    /// A role was made, changed or deleted.
    RoleChanged {
        /// The name of the role.
        role: PrincipalName,
        /// Whether it was deleted.
        deleted: bool,
        /// Who changed it.
        by: Option<PrincipalId>,
    },
    /// A binding was made, or its end was moved.
    BindingAdded {
        /// The binding.
        binding: BindingId,
        /// Who has the role.
        subject: Subject,
        /// The role.
        role: PrincipalName,
        /// Who made it.
        by: Option<PrincipalId>,
    },
    /// A binding ended.
    BindingEnded {
        /// The binding.
        binding: BindingId,
        /// Who had the role.
        subject: Subject,
        /// The role.
        role: PrincipalName,
        /// Why the binding ended.
        reason: End,
        /// Who ended it.
        by: Option<PrincipalId>,
    },
    /// A credential was made.
    TokenCreated {
        /// The credential.
        token: TokenId,
        /// What it is for.
        kind: TokenKind,
        /// Whose it is.
        principal: Principal,
        /// Who made it.
        by: Option<PrincipalId>,
    },
    /// A credential ended.
    TokenEnded {
        /// The credential.
        token: TokenId,
        /// What it was for.
        kind: TokenKind,
        /// Whose it was.
        principal: Principal,
        /// Why the credential ended.
        reason: End,
        /// Who ended it.
        by: Option<PrincipalId>,
    },
    /// The mode changed.
    AccessModeChanged {
        /// The mode now.
        mode: Mode,
        /// Who set it.
        by: Option<PrincipalId>,
    },
}

impl Change {
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::PrincipalChanged { principal, .. }
            | Self::PrincipalDeleted { principal, .. }
            | Self::TokenCreated { principal, .. }
            | Self::TokenEnded { principal, .. } => principal.name().map_or(0, |name| name.as_str().len()),
            Self::GroupChanged { group: name, .. } | Self::RoleChanged { role: name, .. } => {
                name.as_str().len()
            }
            Self::BindingAdded { role, .. } | Self::BindingEnded { role, .. } => {
                role.as_str().len() + PrincipalName::BYTES_MAX
            }
            Self::AccessModeChanged { .. } => 0,
        }
    }
}
