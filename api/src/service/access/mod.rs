//! Use cases of access: who may do what, and how callers prove who they are.

mod types;

pub use types::{
    AccessView, AuditPage, BindRequest, BindingView, Bootstrapped, CheckAnswer, CheckRequest, CreateKey,
    Created, CredentialView, GroupView, ListRequest, LoggedIn, PrincipalView, ReportView, RoleView, WhoAmI,
};
