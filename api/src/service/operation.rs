//! The operations of the API, in one table that feeds the documents, the WebSocket dispatch, and any code that counts, limits or
//! authorises calls.
//!
//! An operation is declared once, next to its use case, and listed in [`ALL`].

use batuta_statemachine::{Code, Permission};

use super::{access, acquire, cluster, election, lock, register, session, watch};

/// The area of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Area {
    /// Calls about locks and the waits for them.
    Lock,
    /// Calls about elections.
    Election,
    /// Calls about sessions.
    Session,
    /// High-water registers.
    Register,
    /// Changes of any area.
    Watch,
    /// The cluster itself.
    Cluster,
    /// Access: who may do what.
    Access,
}

impl Area {
    /// The word for metrics and spans.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Election => "election",
            Self::Session => "session",
            Self::Register => "register",
            Self::Watch => "watch",
            Self::Cluster => "cluster",
            Self::Access => "access",
        }
    }
}

/// The class of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Answers from the state, or from the node's knowledge.
    Read,
    /// Proposes a command.
    Write,
    /// Sends changes until it ends.
    Watch,
    /// Changes the cluster itself.
    Admin,
}

impl Class {
    /// The word for metrics and spans.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Watch => "watch",
            Self::Admin => "admin",
        }
    }
}

/// What a caller needs for an operation, while access is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Needs {
    /// Nothing: the operation is how a caller proves who it is, or asks who it is.
    Nothing,
    /// To have proved who it is. What it may do depends on what it names: its own grants and sessions, for example.
    Identity,
    /// This permission, for each name of the call.
    Permission(Permission),
}

impl Needs {
    /// The permission, if one is needed whatever the call names.
    #[must_use]
    pub const fn permission(self) -> Option<Permission> {
        match self {
            Self::Permission(permission) => Some(permission),
            Self::Nothing | Self::Identity => None,
        }
    }
}

/// An operation, the same over every front.
#[derive(Debug, PartialEq, Eq)]
pub struct Operation {
    /// The name of the operation: the `op` of WebSocket, and the label of metrics and spans.
    pub name: &'static str,
    /// What the operation does, in one sentence.
    pub summary: &'static str,
    /// The area of the operation.
    pub area: Area,
    /// What the caller needs.
    pub needs: Needs,
    /// The class of the operation.
    pub class: Class,
    /// Whether a retry under the same key takes effect once.
    pub retry_key: bool,
    /// The codes with which it may be refused, besides those of its class.
    pub codes: &'static [Code],
}

/// Codes with which any call may be refused.
const COMMON: &[Code] = &[
    Code::InvalidArgument,
    Code::UnknownField,
    Code::NoLeader,
    Code::Overloaded,
    Code::ShuttingDown,
    Code::NodeRemoved,
    Code::Internal,
];
/// Codes with which calls are refused whose caller lacks something.
const DENIALS: &[Code] = &[
    Code::Unauthenticated,
    Code::InvalidToken,
    Code::TokenExpired,
    Code::TokenRevoked,
    Code::PrincipalSuspended,
    Code::PermissionDenied,
];
/// Codes of calls that propose something.
const CHANGES: &[Code] = &[Code::OutcomeUnknown, Code::UpgradePending];
/// Codes of calls that take a retry key.
const KEYED: &[Code] = &[Code::KeyReused, Code::SequenceTooOld, Code::SessionNotFound];
/// Codes of calls that watch.
const WATCHES: &[Code] = &[Code::Compacted, Code::Lagged, Code::Draining];

impl Operation {
    /// Makes a read.
    pub(super) const fn read(
        name: &'static str,
        summary: &'static str,
        area: Area,
        permission: Permission,
        codes: &'static [Code],
    ) -> Self {
        Self {
            name,
            summary,
            area,
            needs: Needs::Permission(permission),
            class: Class::Read,
            retry_key: false,
            codes,
        }
    }

    /// Makes a write that accepts a retry key.
    pub(super) const fn write(
        name: &'static str,
        summary: &'static str,
        area: Area,
        needs: Needs,
        codes: &'static [Code],
    ) -> Self {
        Self { name, summary, area, needs, class: Class::Write, retry_key: true, codes }
    }

    /// Makes a change of the cluster itself.
    pub(super) const fn admin(
        name: &'static str,
        summary: &'static str,
        permission: Permission,
        codes: &'static [Code],
    ) -> Self {
        let needs = Needs::Permission(permission);
        Self { name, summary, area: Area::Cluster, needs, class: Class::Admin, retry_key: false, codes }
    }

    /// All codes with which the operation may be refused, each once.
    #[must_use]
    pub fn all_codes(&self) -> Vec<Code> {
        let of_class = match self.class {
            Class::Read => &[],
            Class::Write | Class::Admin => CHANGES,
            Class::Watch => WATCHES,
        };
        let keyed = if self.retry_key { KEYED } else { &[] };
        let mut codes = Vec::new();
        for code in [COMMON, DENIALS, of_class, keyed, self.codes].into_iter().flatten() {
            if !codes.contains(code) {
                codes.push(*code);
            }
        }
        codes
    }
}

/// All operations.
pub const ALL: [&Operation; 64] = [
    &acquire::ACQUIRE,
    &lock::RELEASE,
    &lock::EXTEND,
    &lock::FORCE_RELEASE,
    &lock::DOWNGRADE,
    &lock::SET_METADATA,
    &lock::RESIZE,
    &lock::CANCEL_WAIT,
    &lock::CHECK,
    &lock::GET_LOCK,
    &lock::LIST_LOCKS,
    &lock::EXPLAIN,
    &election::CAMPAIGN,
    &election::PROCLAIM,
    &election::RESIGN,
    &election::GET_ELECTION,
    &election::LIST_ELECTIONS,
    &session::OPEN_SESSION,
    &session::KEEP_ALIVE,
    &session::CLOSE_SESSION,
    &session::GET_SESSION,
    &session::LIST_SESSIONS,
    &register::ADVANCE_REGISTER,
    &register::GET_REGISTER,
    &register::DELETE_REGISTER,
    &watch::WATCH,
    &cluster::GET_CLUSTER,
    &cluster::LIST_MEMBERS,
    &cluster::REMOVE_MEMBER,
    &cluster::PROMOTE_MEMBER,
    &cluster::TRANSFER_LEADER,
    &cluster::TRIGGER_SNAPSHOT,
    &cluster::GET_LIMITS,
    &cluster::SET_LIMITS,
    &access::BOOTSTRAP,
    &access::LOGIN,
    &access::LOGOUT,
    &access::WHO_AM_I,
    &access::CHECK_ACCESS,
    &access::PUT_PRINCIPAL,
    &access::GET_PRINCIPAL,
    &access::LIST_PRINCIPALS,
    &access::DELETE_PRINCIPAL,
    &access::SUSPEND_PRINCIPAL,
    &access::RESUME_PRINCIPAL,
    &access::SET_PASSWORD,
    &access::PUT_GROUP,
    &access::LIST_GROUPS,
    &access::DELETE_GROUP,
    &access::PUT_ROLE,
    &access::LIST_ROLES,
    &access::DELETE_ROLE,
    &access::BIND,
    &access::EXTEND_BINDING,
    &access::LIST_BINDINGS,
    &access::UNBIND,
    &access::CREATE_KEY,
    &access::ROTATE_KEY,
    &access::LIST_CREDENTIALS,
    &access::DELETE_CREDENTIAL,
    &access::GET_ACCESS,
    &access::SET_ACCESS_MODE,
    &access::GET_ACCESS_REPORT,
    &access::READ_AUDIT,
];

/// Finds an operation by name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Operation> {
    ALL.into_iter().find(|operation| operation.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_have_names_of_their_own() {
        for (place, operation) in ALL.into_iter().enumerate() {
            assert!(ALL[..place].iter().all(|other| other.name != operation.name), "{}", operation.name);
            assert_eq!(named(operation.name), Some(operation));
        }
    }

    #[test]
    fn retry_keys_belong_to_writes() {
        for operation in ALL {
            let codes = operation.all_codes();
            assert_eq!(operation.retry_key, codes.contains(&Code::KeyReused), "{}", operation.name);
            if operation.retry_key {
                assert!(matches!(operation.class, Class::Write | Class::Admin), "{}", operation.name);
            }
        }
    }
}
