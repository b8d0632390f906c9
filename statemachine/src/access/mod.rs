//! Access: who may do what. Principals, their credentials, roles and bindings, and the one decision over them.
//!
//! Rights only add up: no rule takes one away. Only the suspension of a principal beats every rule. What a binding gives ends when cluster time
//! passes its deadline or wall time passes its `not_after`, whichever is first (decision 0036).

mod adopt;
mod bind;
mod binding;
mod bootstrap;
mod command;
mod create_token;
mod decide;
mod delete_group;
mod delete_principal;
mod delete_role;
mod delete_token;
mod ended;
mod escalation;
mod extend_binding;
mod image;
mod job;
mod last_admin;
mod limits;
mod note_token_use;
mod open_bootstrap;
mod open_login;
mod outcome;
mod ownership;
mod principal;
mod put_group;
mod put_principal;
mod put_role;
mod query;
mod refusal;
mod role;
mod rotate_token;
mod rule;
mod set_mode;
mod set_password;
mod subject;
mod suspend;
mod table;
mod token;
mod unbind;
mod validate;

#[cfg(test)]
mod tests;

pub use binding::{BindingId, BindingRecord, Namespaces, OnEnd};
pub use command::{
    Bind, Bootstrap, Command, CreateToken, DeleteGroup, DeletePrincipal, DeleteRole, DeleteToken,
    ExtendBinding, NoteTokenUse, OpenBootstrap, OpenLogin, PutGroup, PutPrincipal, PutRole, ResumePrincipal,
    RotateToken, SetMode, SetPassword, SuspendPrincipal, Unbind,
};
pub use decide::{Allowed, Names, Scope};
pub use image::{Record, SettingsRecord};
pub use limits::Limits;
pub use outcome::{
    AccessChanged, Bootstrapped, Bound, Change, End, PasswordSet, PrincipalPut, Reply, TokenCreated, Usage,
};
pub use principal::{GroupRecord, Password, PasswordHash, PrincipalRecord};
pub use query::AccessCounts;
pub use refusal::Refusal;
pub use role::{BuiltIn, RoleRecord};
pub use rule::{Pattern, PatternError, Rule};
pub use set_mode::Mode;
pub use subject::{Subject, SubjectError};
pub use table::Holder;
pub use token::{Narrowing, NewToken, SecretHash, TokenKind, TokenRecord, TokenSecret, TokenUse};

pub(crate) use ended::end_principal;
pub(crate) use job::Access;
pub(crate) use table::Table;
pub(crate) use {binding::binding_due, token::token_due};
