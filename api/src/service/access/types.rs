//! What the use cases of access take and answer.

use std::sync::Arc;

use batuta_statemachine::access::{
    BindingId, BindingRecord, GroupRecord, Mode, Namespaces, Narrowing, Pattern, PrincipalRecord, RoleRecord,
    Subject, TokenRecord,
};
use batuta_statemachine::{Name, Permission, Principal, PrincipalName};

use crate::access::Secret;
use crate::access::report::Missing;

/// A principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrincipalView {
    /// Its record. Fronts show of its password only whether there is one.
    pub record: PrincipalRecord,
    /// Its groups, in order of their names.
    pub groups: Vec<PrincipalName>,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// The name of the group.
    pub name: PrincipalName,
    /// Its members, in order.
    pub members: Vec<Principal>,
}

/// A role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleView {
    /// Its record.
    pub record: RoleRecord,
    /// Whether it is built in.
    pub built_in: bool,
}

/// A binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingView {
    /// Its record.
    pub record: Arc<BindingRecord>,
    /// Who has the role.
    pub subject: Subject,
    /// Who made it; `None` when a node did, or a caller while access was off.
    pub made_by: Option<Principal>,
}

/// A credential. Fronts show nothing of the hash in its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialView {
    /// Its record.
    pub record: Arc<TokenRecord>,
    /// Whose it is.
    pub principal: Principal,
}

/// A list of principals, groups, bindings or credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRequest<A> {
    /// Page size; `None` means 100.
    pub limit: Option<u32>,
    /// The page begins after this item.
    pub after: Option<A>,
}

/// The first administrator, or one more after a recovery.
#[derive(Debug)]
pub struct Bootstrapped {
    /// The administrator.
    pub principal: Principal,
    /// Its key. No other answer has it.
    pub key: Secret,
    /// The key without its secret.
    pub credential: CredentialView,
}

/// A login.
#[derive(Debug)]
pub struct LoggedIn {
    /// The token to send with calls.
    pub token: Secret,
    /// The login without its secret.
    pub credential: CredentialView,
}

/// A new API key.
#[derive(Debug)]
pub struct Created {
    /// The key. No other answer has it.
    pub key: Secret,
    /// The key without its secret.
    pub credential: CredentialView,
}

/// Who the caller is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhoAmI {
    /// The principal.
    pub principal: Principal,
    /// Its groups, in order of their names.
    pub groups: Vec<PrincipalName>,
    /// The credential of the call; `None` for anonymous callers.
    pub credential: Option<CredentialView>,
    /// The bindings of the principal and its groups that hold now.
    pub bindings: Vec<BindingView>,
    /// The mode of access.
    pub mode: Mode,
}

/// Asks whether a principal may do something in the namespace of the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckRequest {
    /// Whom to ask about; `None` means the caller.
    pub principal: Option<Principal>,
    /// What it would do.
    pub permission: Permission,
    /// With which name; `None` asks without one.
    pub name: Option<Name>,
}

/// Whether a principal may do something, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckAnswer {
    /// Whether it may, as if access were enforced.
    pub allowed: bool,
    /// The binding that allows it.
    pub binding: Option<BindingId>,
    /// The role that allows it.
    pub role: Option<PrincipalName>,
    /// An explanation in one sentence, for people.
    pub summary: String,
}

/// Gives a role to a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindRequest {
    /// Who gets the role.
    pub subject: Subject,
    /// The role.
    pub role: PrincipalName,
    /// Where it holds.
    pub namespaces: Namespaces,
    /// Narrower names; empty means those of the role.
    pub names: Vec<Pattern>,
    /// The wall clock from which on it holds, in milliseconds since the Unix epoch.
    pub not_before_ms: Option<u64>,
    /// How long it holds, in milliseconds, from `not_before_ms` or else from now; `None` means without an end.
    pub ttl_ms: Option<u64>,
    /// Whether sessions of the subject end with the binding.
    pub end_sessions: bool,
    /// Why it is made.
    pub reason: String,
}

/// Makes an API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateKey {
    /// Whose it is; `None` means the caller's.
    pub principal: Option<Principal>,
    /// A label, for people.
    pub label: String,
    /// How long it is valid, in milliseconds; `None` means 90 days.
    pub ttl_ms: Option<u64>,
    /// Makes a key without an end; then `ttl_ms` must be `None`.
    pub never_expires: bool,
    /// What narrows it.
    pub narrowing: Option<Narrowing>,
}

/// The mode of access, and how much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessView {
    /// The mode.
    pub mode: Mode,
    /// Rises with every change that can alter or take away a right.
    pub access_revision: u64,
    /// The number of principals.
    pub principals: u64,
    /// The number of groups.
    pub groups: u64,
    /// The number of roles that are not built in.
    pub roles: u64,
    /// The number of bindings.
    pub bindings: u64,
    /// The number of credentials.
    pub credentials: u64,
}

/// What the answering node would have denied in mode `observe`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportView {
    /// The missing rights, with the number of calls.
    pub missing: Vec<(Missing, u64)>,
    /// The number of calls beyond the most that a report lists.
    pub other_calls: u64,
}

/// Lines of the audit of the answering node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditPage {
    /// The lines, each a JSON object.
    pub lines: Vec<String>,
    /// Where the next page begins, as text.
    pub next: String,
    /// Whether there were no more lines.
    pub end: bool,
}

impl GroupView {
    /// The group with its members in words.
    pub(super) fn of(
        record: GroupRecord,
        principal_of: impl Fn(batuta_statemachine::PrincipalId) -> Principal,
    ) -> Self {
        let mut members: Vec<Principal> = record.members.into_iter().map(principal_of).collect();
        members.sort();
        Self { name: record.name, members }
    }
}
