//! The operations of the API, in one table that feeds the documents, the WebSocket dispatch, and any code that counts, limits or
//! authorises calls.
//!
//! An operation is declared once, next to its use case, and listed in [`ALL`].

use batuta_statemachine::Code;

use super::{acquire, cluster, election, lock, register, session, watch};

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

/// An operation, the same over every front.
#[derive(Debug, PartialEq, Eq)]
pub struct Operation {
    /// The name of the operation: the `op` of WebSocket, and the label of metrics and spans.
    pub name: &'static str,
    /// What the operation does, in one sentence.
    pub summary: &'static str,
    /// The area of the operation.
    pub area: Area,
    /// The required permission, `area:verb`. `None` when any known caller may use it: the holder of a grant or session may keep and release it.
    pub permission: Option<&'static str>,
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
        permission: &'static str,
        codes: &'static [Code],
    ) -> Self {
        Self {
            name,
            summary,
            area,
            permission: Some(permission),
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
        permission: Option<&'static str>,
        codes: &'static [Code],
    ) -> Self {
        Self { name, summary, area, permission, class: Class::Write, retry_key: true, codes }
    }

    /// Makes a change of the cluster itself.
    pub(super) const fn admin(
        name: &'static str,
        summary: &'static str,
        permission: &'static str,
        codes: &'static [Code],
    ) -> Self {
        let permission = Some(permission);
        Self { name, summary, area: Area::Cluster, permission, class: Class::Admin, retry_key: false, codes }
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
        for code in [COMMON, of_class, keyed, self.codes].into_iter().flatten() {
            if !codes.contains(code) {
                codes.push(*code);
            }
        }
        codes
    }
}

/// All operations.
pub const ALL: [&Operation; 34] = [
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
