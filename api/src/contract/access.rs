//! The public objects of access: principals, groups, roles, bindings and credentials, as answers show them.
//!
//! No object has a hash, and only the answer to the call that makes a secret has the secret.

use async_graphql::{Enum, SimpleObject};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Long;
use super::SecretText;

mod convert;
mod request;

pub(crate) use request::{
    AuditQuery, BindRequest, BootstrapRequest, CheckAccessRequest, CreateKeyRequest, ExtendBindingRequest,
    ListAccessQuery, ListBindingsQuery, ListCredentialsQuery, LoginRequest, PrincipalKind, PutGroupRequest,
    PutPrincipalRequest, PutRoleRequest, RotateKeyRequest, SetModeRequest, SetPasswordRequest,
    SuspendRequest,
};

/// The mode of access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, Enum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AccessMode {
    /// Nothing is enforced.
    Off,
    /// Everything is allowed; what would be denied is counted.
    Observe,
    /// What is not allowed is denied.
    Enforce,
}

/// What a credential is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema, Enum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CredentialKind {
    /// An API key.
    Key,
    /// A login with a password.
    Login,
    /// Makes the first administrator, or one more when the others are locked out.
    Bootstrap,
}

/// A user or a service account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "principal": "user/ann", "principal_id": "p-40.0", "description": "Ann of the payments team", "suspended": false,
    "has_password": true, "groups": ["payments"], "created_at": "2026-11-23T10:00:00.000Z"
}))]
#[allow(clippy::struct_field_names, reason = "the fields are named as in all answers")]
pub(crate) struct Principal {
    /// The kind and the name: `user/NAME` or `service/NAME`.
    pub(crate) principal: String,
    /// The id. A principal that is deleted and created again has another one.
    pub(crate) principal_id: String,
    /// Free text for people.
    pub(crate) description: String,
    /// Whether the principal is suspended, and may do nothing.
    pub(crate) suspended: bool,
    /// Whether the principal has a password.
    pub(crate) has_password: bool,
    /// The groups of the principal, in order of their names.
    pub(crate) groups: Vec<String>,
    /// When the principal was created. RFC 3339 UTC.
    pub(crate) created_at: String,
}

/// A principal, and the revision at which it is true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "principal": "user/ann", "principal_id": "p-40.0", "description": "Ann of the payments team", "suspended": false,
    "has_password": true, "groups": ["payments"], "created_at": "2026-11-23T10:00:00.000Z", "revision": 44
}))]
pub(crate) struct PrincipalAnswer {
    /// The principal.
    #[serde(flatten)]
    pub(crate) principal: Principal,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// A page of principals, in order of their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"principals": [], "next_cursor": "", "revision": 44}))]
pub(crate) struct PrincipalPage {
    /// The principals.
    pub(crate) principals: Vec<Principal>,
    /// The `cursor` of the next page; empty on the last page.
    pub(crate) next_cursor: String,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// A group of principals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({"name": "payments", "members": ["user/ann", "service/billing"]}))]
pub(crate) struct Group {
    /// The name of the group.
    pub(crate) name: String,
    /// The members, in order: `user/NAME` or `service/NAME`.
    pub(crate) members: Vec<String>,
}

/// A group, and the revision at which it is true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"name": "payments", "members": ["user/ann", "service/billing"], "revision": 45}))]
pub(crate) struct GroupAnswer {
    /// The group.
    #[serde(flatten)]
    pub(crate) group: Group,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// A page of groups, in order of their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"groups": [], "next_cursor": "", "revision": 45}))]
pub(crate) struct GroupPage {
    /// The groups.
    pub(crate) groups: Vec<Group>,
    /// The `cursor` of the next page; empty on the last page.
    pub(crate) next_cursor: String,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// What a role allows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema, SimpleObject)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"permissions": ["lock:*", "session:*"], "names": ["orders/**"]}))]
pub(crate) struct Rule {
    /// The permissions, such as `lock:acquire`. A request may also name all permissions of an area that are not privileged: `lock:*`.
    pub(crate) permissions: Vec<String>,
    /// The names: `orders/42` exactly, `orders/**` for everything below, or `**` for all. The segment `{principal}` stands for the name of
    /// the caller.
    pub(crate) names: Vec<String>,
}

/// A role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "name": "orders", "rules": [{"permissions": ["lock:acquire", "lock:read"], "names": ["orders/**"]}], "built_in": false
}))]
pub(crate) struct Role {
    /// The name of the role.
    pub(crate) name: String,
    /// The rules of the role. Rules only add up.
    pub(crate) rules: Vec<Rule>,
    /// Whether the role is built in and cannot be changed.
    pub(crate) built_in: bool,
}

/// A role, and the revision at which it is true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "name": "orders", "rules": [{"permissions": ["lock:acquire", "lock:read"], "names": ["orders/**"]}], "built_in": false,
    "revision": 46
}))]
pub(crate) struct RoleAnswer {
    /// The role.
    #[serde(flatten)]
    pub(crate) role: Role,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// A page of roles, built-in ones first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"roles": [], "next_cursor": "", "revision": 46}))]
pub(crate) struct RolePage {
    /// The roles.
    pub(crate) roles: Vec<Role>,
    /// The `cursor` of the next page; empty on the last page.
    pub(crate) next_cursor: String,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// A binding: who has which role, where, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "binding_id": "b-47.0", "subject": "group/payments", "role": "orders", "namespaces": ["shop"], "names": [],
    "not_after": "2026-11-23T18:00:00.000Z", "end_sessions": false, "reason": "incident 7", "made_by": "user/root"
}))]
#[allow(clippy::struct_field_names, reason = "the fields are named as in all answers")]
pub(crate) struct Binding {
    /// The id of the binding.
    pub(crate) binding_id: String,
    /// Who has the role: `user/NAME`, `service/NAME`, `group/NAME` or `anonymous`.
    pub(crate) subject: String,
    /// The role.
    pub(crate) role: String,
    /// The namespaces in which the binding holds; empty means all.
    pub(crate) namespaces: Vec<String>,
    /// Narrower names; empty means those of the role.
    pub(crate) names: Vec<String>,
    /// From when on the binding holds. RFC 3339 UTC; left out when it holds from the beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) not_before: Option<String>,
    /// When the binding ends. RFC 3339 UTC; left out when it has no end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) not_after: Option<String>,
    /// Whether the sessions of the subject end with the binding.
    pub(crate) end_sessions: bool,
    /// Why the binding was made.
    pub(crate) reason: String,
    /// Who made the binding; left out when a node did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) made_by: Option<String>,
}

/// A binding, and the revision at which it is true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "binding_id": "b-47.0", "subject": "group/payments", "role": "orders", "namespaces": ["shop"], "names": [],
    "not_after": "2026-11-23T18:00:00.000Z", "end_sessions": false, "reason": "incident 7", "made_by": "user/root",
    "revision": 47
}))]
pub(crate) struct BindingAnswer {
    /// The binding.
    #[serde(flatten)]
    pub(crate) binding: Binding,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// A page of bindings, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"bindings": [], "next_cursor": "", "revision": 47}))]
pub(crate) struct BindingPage {
    /// The bindings.
    pub(crate) bindings: Vec<Binding>,
    /// The `cursor` of the next page; empty on the last page.
    pub(crate) next_cursor: String,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// A credential, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "credential_id": "4fGkP0sZqR81", "kind": "key", "principal": "service/billing", "label": "billing on host-3",
    "created_at": "2026-11-23T10:00:00.000Z", "not_after": "2027-02-21T10:00:00.000Z", "roles": [], "namespaces": [], "names": []
}))]
#[allow(clippy::struct_field_names, reason = "the fields are named as in all answers")]
pub(crate) struct Credential {
    /// The public id of the credential.
    pub(crate) credential_id: String,
    /// What the credential is for.
    pub(crate) kind: CredentialKind,
    /// Whose credential it is: `user/NAME`, `service/NAME`, or `anonymous` for a bootstrap token.
    pub(crate) principal: String,
    /// Free text for people.
    pub(crate) label: String,
    /// When the credential was made. RFC 3339 UTC.
    pub(crate) created_at: String,
    /// When the credential ends. RFC 3339 UTC; left out when it has no end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) not_after: Option<String>,
    /// When the credential was last used, to ten minutes. RFC 3339 UTC; left out when it was not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_used_at: Option<String>,
    /// Narrowing: only what these roles give; empty means no narrowing.
    pub(crate) roles: Vec<String>,
    /// Narrowing: only these namespaces; empty means no narrowing.
    pub(crate) namespaces: Vec<String>,
    /// Narrowing: only these names; empty means no narrowing.
    pub(crate) names: Vec<String>,
}

/// A page of credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"credentials": [], "next_cursor": "", "revision": 48}))]
pub(crate) struct CredentialPage {
    /// The credentials.
    pub(crate) credentials: Vec<Credential>,
    /// The `cursor` of the next page; empty on the last page.
    pub(crate) next_cursor: String,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// The first administrator, or one more after a recovery.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "principal": "user/root", "key": "btk_…", "credential": {
        "credential_id": "4fGkP0sZqR81", "kind": "key", "principal": "user/root", "label": "bootstrap",
        "created_at": "2026-11-23T10:00:00.000Z", "roles": [], "namespaces": [], "names": []
    }, "revision": 9
}))]
pub(crate) struct BootstrapAnswer {
    /// The administrator.
    pub(crate) principal: String,
    /// The API key of the administrator. No other answer has it.
    #[schema(value_type = String, format = Password)]
    pub(crate) key: SecretText,
    /// The key without its secret.
    pub(crate) credential: Credential,
    /// The revision at which the administrator was made.
    pub(crate) revision: Long,
}

/// A login.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "token": "bts_…", "credential": {
        "credential_id": "4fGkP0sZqR81", "kind": "login", "principal": "user/ann", "label": "", "created_at": "2026-11-23T10:00:00.000Z",
        "not_after": "2026-11-23T22:00:00.000Z", "roles": [], "namespaces": [], "names": []
    }, "revision": 50
}))]
pub(crate) struct LoginAnswer {
    /// The token to send with calls. No other answer has it.
    #[schema(value_type = String, format = Password)]
    pub(crate) token: SecretText,
    /// The login without its secret.
    pub(crate) credential: Credential,
    /// The revision of the login.
    pub(crate) revision: Long,
}

/// A new API key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "key": "btk_…", "credential": {
        "credential_id": "4fGkP0sZqR81", "kind": "key", "principal": "service/billing", "label": "billing on host-3",
        "created_at": "2026-11-23T10:00:00.000Z", "not_after": "2027-02-21T10:00:00.000Z", "roles": [], "namespaces": [], "names": []
    }, "revision": 48
}))]
pub(crate) struct CreateKeyAnswer {
    /// The key. No other answer has it.
    #[schema(value_type = String, format = Password)]
    pub(crate) key: SecretText,
    /// The key without its secret.
    pub(crate) credential: Credential,
    /// The revision at which the key was made.
    pub(crate) revision: Long,
}

/// Who the caller is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "principal": "user/ann", "groups": ["payments"], "bindings": [], "mode": "enforce", "revision": 51
}))]
pub(crate) struct WhoAmIAnswer {
    /// The kind and the name of the caller: `user/NAME`, `service/NAME` or `anonymous`.
    pub(crate) principal: String,
    /// The groups of the caller, in order of their names.
    pub(crate) groups: Vec<String>,
    /// The credential of the call; left out for anonymous callers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) credential: Option<Credential>,
    /// The bindings of the caller and its groups that hold now.
    pub(crate) bindings: Vec<Binding>,
    /// The mode of access.
    pub(crate) mode: AccessMode,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// Whether a principal may do something, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "allowed": true, "binding_id": "b-47.0", "role": "orders",
    "summary": "user/ann may lock:acquire orders/42 in namespace shop by binding b-47.0 with role orders.", "revision": 51
}))]
pub(crate) struct CheckAccessAnswer {
    /// Whether the principal may do it, as if access were enforced.
    pub(crate) allowed: bool,
    /// The binding that allows it; left out when nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) binding_id: Option<String>,
    /// The role that allows it; left out when nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<String>,
    /// An explanation in one sentence, for people.
    pub(crate) summary: String,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// The mode of access, and how much there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "mode": "enforce", "access_revision": 51, "principals": 12, "groups": 3, "roles": 2, "bindings": 9, "credentials": 20,
    "revision": 60
}))]
pub(crate) struct AccessAnswer {
    /// The mode.
    pub(crate) mode: AccessMode,
    /// Rises with every change that can alter or take away a right.
    pub(crate) access_revision: Long,
    /// The number of principals.
    pub(crate) principals: Long,
    /// The number of groups.
    pub(crate) groups: Long,
    /// The number of roles that are not built in.
    pub(crate) roles: Long,
    /// The number of bindings.
    pub(crate) bindings: Long,
    /// The number of credentials.
    pub(crate) credentials: Long,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// Calls that would be denied, all for the same reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "principal": "service/billing", "permission": "lock:acquire", "namespace": "shop", "names": "orders/**", "calls": 17
}))]
pub(crate) struct MissingRight {
    /// Who called: `user/NAME`, `service/NAME` or `anonymous`.
    pub(crate) principal: String,
    /// The permission that is missing.
    pub(crate) permission: String,
    /// The namespace of the calls.
    pub(crate) namespace: String,
    /// The first segment of the names and `/**`, or a name of one segment; left out for calls without a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) names: Option<String>,
    /// The number of calls.
    pub(crate) calls: Long,
}

/// What the answering node would have denied in mode `observe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"missing": [], "other_calls": 0, "revision": 60}))]
pub(crate) struct ReportAnswer {
    /// The missing rights.
    pub(crate) missing: Vec<MissingRight>,
    /// The number of calls beyond the most that a report lists.
    pub(crate) other_calls: Long,
    /// The newest revision that the node knows.
    pub(crate) revision: Long,
}

/// Lines of the audit of the answering node, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"lines": ["{\"seq\":1,\"kind\":\"denied\"}"], "next_cursor": "1:1", "end": true}))]
pub(crate) struct AuditAnswer {
    /// The lines, each a JSON object as it stands in the file.
    pub(crate) lines: Vec<String>,
    /// Send it as `cursor` to read on, also when this was the end for now.
    pub(crate) next_cursor: String,
    /// Whether there were no more lines.
    pub(crate) end: bool,
}
