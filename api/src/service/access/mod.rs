//! Use cases of access: who may do what, and how callers prove who they are.

mod binding;
mod credential;
mod effect;
mod explain;
mod group;
mod login;
mod logins;
mod mode;
pub mod parse;
mod principal;
mod role;
mod types;
mod view;
mod whoami;

pub use binding::{BIND, EXTEND_BINDING, LIST_BINDINGS, UNBIND};
pub use credential::{CREATE_KEY, DELETE_CREDENTIAL, LIST_CREDENTIALS, ROTATE_KEY};
pub use group::{DELETE_GROUP, LIST_GROUPS, PUT_GROUP};
pub use login::{BOOTSTRAP, LOGIN, LOGOUT};
pub use mode::{GET_ACCESS, GET_ACCESS_REPORT, READ_AUDIT, SET_ACCESS_MODE};
pub use principal::{
    DELETE_PRINCIPAL, GET_PRINCIPAL, LIST_PRINCIPALS, PUT_PRINCIPAL, RESUME_PRINCIPAL, SET_PASSWORD,
    SUSPEND_PRINCIPAL,
};
pub use role::{DELETE_ROLE, LIST_ROLES, PUT_ROLE};
pub use types::{
    AccessView, AuditPage, BindRequest, BindingView, Bootstrapped, CheckAnswer, CheckRequest, CreateKey,
    Created, CredentialView, GroupView, ListRequest, LoggedIn, PrincipalView, ReportView, RoleView, WhoAmI,
};
pub use whoami::{CHECK_ACCESS, WHO_AM_I};

pub(super) use effect::NO_CREDENTIAL;
pub(super) use logins::Logins;

use super::operation::{Area, Class, Needs, Operation};
use batuta_statemachine::{Code, Permission};

/// Makes a read for which the caller needs to read access.
const fn read(name: &'static str, summary: &'static str, codes: &'static [Code]) -> Operation {
    Operation::read(name, summary, Area::Access, Permission::AccessRead, codes)
}

/// Makes a change for which the caller needs to write access. The log decides as well what the change would give.
const fn write(name: &'static str, summary: &'static str, codes: &'static [Code]) -> Operation {
    Operation::write(name, summary, Area::Access, Needs::Permission(Permission::AccessWrite), codes)
}

/// Makes a change for which it is enough that the caller has proved who it is, as long as it changes its own.
const fn write_own(name: &'static str, summary: &'static str, codes: &'static [Code]) -> Operation {
    Operation::write(name, summary, Area::Access, Needs::Identity, codes)
}

/// Makes a read for which it is enough that the caller has proved who it is, as long as it reads its own.
const fn read_own(name: &'static str, summary: &'static str, codes: &'static [Code]) -> Operation {
    Operation { needs: Needs::Identity, ..read(name, summary, codes) }
}

/// Makes a call that begins with a secret instead of a credential. A secret is shown once, so that a retry under the same key could not be answered: such
/// calls take no retry key.
const fn open(name: &'static str, summary: &'static str, codes: &'static [Code]) -> Operation {
    let (area, needs, class) = (Area::Access, Needs::Nothing, Class::Write);
    Operation { name, summary, area, needs, class, retry_key: false, codes }
}
