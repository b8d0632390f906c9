//! What the calls of access take.

use batuta_statemachine::access::{BindingId, Rule as CoreRule, Subject};
use batuta_statemachine::{Principal as CorePrincipal, PrincipalName, TokenId};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::super::Long;
use super::super::SecretText;
use super::{AccessMode, Rule};
use crate::ApiError;
use crate::service::access::{self as service, parse as read};
use crate::service::parse;

/// Makes the first administrator with the one-time token of the cluster's founder, and voids the token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"token": "btb_…", "admin": "root"}))]
pub(crate) struct BootstrapRequest {
    /// The one-time token.
    #[schema(value_type = String, format = Password)]
    pub(crate) token: SecretText,
    /// The name of the administrator, a user.
    pub(crate) admin: String,
}

/// Logs a user in with a password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"user": "ann", "password": "correct horse battery staple"}))]
pub(crate) struct LoginRequest {
    /// The name of the user.
    pub(crate) user: String,
    /// The password.
    #[schema(value_type = String, format = Password)]
    pub(crate) password: SecretText,
    /// How long the login is valid, in milliseconds: by default 12 hours, at most 7 days.
    pub(crate) ttl_ms: Option<Long>,
}

/// Asks whether a principal may do something in the namespace of the call.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"principal": "user/ann", "permission": "lock:acquire", "name": "orders/42"}))]
pub(crate) struct CheckAccessRequest {
    /// Whom to ask about: `user/NAME`, `service/NAME` or `anonymous`; by default the caller.
    pub(crate) principal: Option<String>,
    /// The permission, such as `lock:acquire`.
    pub(crate) permission: String,
    /// The name; without it, the question is about calls that name nothing.
    pub(crate) name: Option<String>,
}

/// Creates a principal, or changes its description.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"description": "Ann of the payments team"}))]
pub(crate) struct PutPrincipalRequest {
    /// Free text for people; by default empty.
    #[serde(default)]
    pub(crate) description: String,
}

/// Suspends a principal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"keep_sessions": false}))]
pub(crate) struct SuspendRequest {
    /// Whether the sessions and grants of the principal stay, although the principal cannot use them while it is suspended.
    #[serde(default)]
    pub(crate) keep_sessions: bool,
}

/// Sets the password of a user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"password": "correct horse battery staple", "old_password": "until now it was this"}))]
pub(crate) struct SetPasswordRequest {
    /// The new password: 12 to 256 bytes.
    #[schema(value_type = String, format = Password)]
    pub(crate) password: SecretText,
    /// The password until now, for users that set their own.
    #[schema(value_type = Option<String>, format = Password)]
    pub(crate) old_password: Option<SecretText>,
}

/// Creates a group or replaces its members.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"members": ["user/ann", "service/billing"]}))]
pub(crate) struct PutGroupRequest {
    /// All members: `user/NAME` or `service/NAME`.
    pub(crate) members: Vec<String>,
}

/// Creates a role or replaces its rules.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"rules": [{"permissions": ["lock:*", "session:*"], "names": ["orders/**"]}]}))]
pub(crate) struct PutRoleRequest {
    /// All rules, at most 64.
    pub(crate) rules: Vec<Rule>,
}

/// Gives a role to a subject.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "subject": "group/payments", "role": "orders", "namespaces": ["shop"], "ttl_ms": 28_800_000, "reason": "incident 7"
}))]
pub(crate) struct BindRequest {
    /// Who gets the role: `user/NAME`, `service/NAME`, `group/NAME` or `anonymous`.
    pub(crate) subject: String,
    /// The role.
    pub(crate) role: String,
    /// The namespaces in which the binding holds; empty, the default, means all.
    #[serde(default)]
    pub(crate) namespaces: Vec<String>,
    /// Narrower names; empty, the default, means those of the role.
    #[serde(default)]
    pub(crate) names: Vec<String>,
    /// From when on the binding holds. RFC 3339; by default at once.
    pub(crate) not_before: Option<String>,
    /// How long the binding holds, in milliseconds, from `not_before` or else from now on; by default without an end.
    pub(crate) ttl_ms: Option<Long>,
    /// Whether the sessions of the subject end with the binding.
    #[serde(default)]
    pub(crate) end_sessions: bool,
    /// The reason, which is kept for the audit.
    pub(crate) reason: String,
}

/// Changes when a binding ends.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"ttl_ms": 28_800_000, "reason": "incident 7 goes on"}))]
pub(crate) struct ExtendBindingRequest {
    /// How long the binding holds from now on, in milliseconds; by default without an end.
    pub(crate) ttl_ms: Option<Long>,
    /// The reason, which is kept for the audit.
    pub(crate) reason: String,
}

/// Makes an API key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"principal": "service/billing", "label": "billing on host-3", "namespaces": ["shop"]}))]
pub(crate) struct CreateKeyRequest {
    /// Whose key: `user/NAME` or `service/NAME`; by default the caller's.
    pub(crate) principal: Option<String>,
    /// Free text for people.
    pub(crate) label: String,
    /// How long the key is valid, in milliseconds; by default 90 days.
    pub(crate) ttl_ms: Option<Long>,
    /// Makes a key without an end; not together with `ttl_ms`.
    #[serde(default)]
    pub(crate) never_expires: bool,
    /// Narrows the key to what these roles give; empty, the default, narrows nothing.
    #[serde(default)]
    pub(crate) roles: Vec<String>,
    /// Narrows the key to these namespaces; empty, the default, narrows nothing.
    #[serde(default)]
    pub(crate) namespaces: Vec<String>,
    /// Narrows the key to these names; empty, the default, narrows nothing.
    #[serde(default)]
    pub(crate) names: Vec<String>,
}

/// Makes a new key with the rights of an old one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"overlap_ms": 3_600_000}))]
pub(crate) struct RotateKeyRequest {
    /// How long the old key stays valid, in milliseconds; by default a day.
    pub(crate) overlap_ms: Option<Long>,
}

/// Sets the mode of access.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"mode": "observe"}))]
pub(crate) struct SetModeRequest {
    /// The mode.
    pub(crate) mode: AccessMode,
}

/// Query of a listing of principals, groups or roles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListAccessQuery {
    /// Page size: by default 100, at most 1,000.
    pub(crate) limit: Option<u32>,
    /// `next_cursor` of the previous page.
    pub(crate) cursor: Option<String>,
}

/// Query of a listing of bindings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListBindingsQuery {
    /// Only bindings of this subject.
    #[param(example = "group/payments")]
    pub(crate) subject: Option<String>,
    /// Page size: by default 100, at most 1,000.
    pub(crate) limit: Option<u32>,
    /// `next_cursor` of the previous page.
    pub(crate) cursor: Option<String>,
}

/// Query of a listing of credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListCredentialsQuery {
    /// Whose credentials; by default the caller's.
    #[param(example = "service/billing")]
    pub(crate) principal: Option<String>,
    /// Page size: by default 100, at most 1,000.
    pub(crate) limit: Option<u32>,
    /// `next_cursor` of the previous page.
    pub(crate) cursor: Option<String>,
}

/// Query of a read of the audit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditQuery {
    /// `next_cursor` of the previous answer; without it, the oldest line that is kept comes first.
    #[serde(default)]
    pub(crate) cursor: String,
    /// The most lines: by default 100, at most 1,000.
    pub(crate) limit: Option<u32>,
}

/// The kinds of principals, which have paths of their own in REST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PrincipalKind {
    /// People, who log in with a password.
    User,
    /// Service accounts.
    Service,
}

impl PrincipalKind {
    /// The principal of this kind and name.
    pub(crate) fn named(self, name: &str) -> Result<CorePrincipal, ApiError> {
        let name = read::parse_principal_name("name", name)?;
        Ok(match self {
            Self::User => CorePrincipal::User(name),
            Self::Service => CorePrincipal::Service(name),
        })
    }

    /// Whether a principal is of this kind.
    pub(crate) fn has(self, principal: &CorePrincipal) -> bool {
        match principal {
            CorePrincipal::Anonymous => false,
            CorePrincipal::User(_) => self == Self::User,
            CorePrincipal::Service(_) => self == Self::Service,
        }
    }

    /// The last principal before those of this kind; `None` when they come first.
    fn predecessor(self) -> Option<CorePrincipal> {
        // No name is greater: `z` is the last letter of the alphabet of names.
        let last = || PrincipalName::new(&"z".repeat(PrincipalName::BYTES_MAX)).ok();
        match self {
            Self::User => None,
            Self::Service => last().map(CorePrincipal::User),
        }
    }
}

impl ListAccessQuery {
    /// The request for principals of a kind. Its page may go on with those of another kind.
    pub(crate) fn principals(
        &self,
        kind: PrincipalKind,
    ) -> Result<service::ListRequest<CorePrincipal>, ApiError> {
        let after = read::principal_cursor(self.cursor.as_deref())?;
        Ok(service::ListRequest { limit: self.limit, after: after.or_else(|| kind.predecessor()) })
    }

    /// The request for groups.
    pub(crate) fn groups(&self) -> Result<service::ListRequest<PrincipalName>, ApiError> {
        let after = read::group_cursor(self.cursor.as_deref())?;
        Ok(service::ListRequest { limit: self.limit, after })
    }

    /// The request for roles.
    pub(crate) fn roles(&self) -> Result<service::ListRequest<PrincipalName>, ApiError> {
        let after = read::role_cursor(self.cursor.as_deref())?;
        Ok(service::ListRequest { limit: self.limit, after })
    }
}

impl ListBindingsQuery {
    /// The subject, if only its bindings are asked for, and the request.
    pub(crate) fn read(&self) -> Result<(Option<Subject>, service::ListRequest<BindingId>), ApiError> {
        let subject = self.subject.as_deref().map(|text| read::parse_subject("subject", text)).transpose()?;
        let after = read::binding_cursor(self.cursor.as_deref())?;
        Ok((subject, service::ListRequest { limit: self.limit, after }))
    }
}

impl ListCredentialsQuery {
    /// The principal, if it is not the caller, and the request.
    pub(crate) fn read(&self) -> Result<(Option<CorePrincipal>, service::ListRequest<TokenId>), ApiError> {
        let after = read::credential_cursor(self.cursor.as_deref())?;
        let principal = principal(self.principal.as_deref())?;
        Ok((principal, service::ListRequest { limit: self.limit, after }))
    }
}

fn principal(text: Option<&str>) -> Result<Option<CorePrincipal>, ApiError> {
    text.map(|text| read::parse_principal("principal", text)).transpose()
}

impl CheckAccessRequest {
    /// The request of the use case.
    pub(crate) fn read(&self) -> Result<service::CheckRequest, ApiError> {
        Ok(service::CheckRequest {
            principal: principal(self.principal.as_deref())?,
            permission: read::parse_permission("permission", &self.permission)?,
            name: self.name.as_deref().map(|name| parse::parse_name("name", name)).transpose()?,
        })
    }
}

impl PutRoleRequest {
    /// The rules.
    pub(crate) fn read(&self) -> Result<Vec<CoreRule>, ApiError> {
        let rule = |(place, rule): (usize, &Rule)| {
            read::parse_rule(&format!("rules[{place}]"), &rule.permissions, &rule.names)
        };
        self.rules.iter().enumerate().map(rule).collect()
    }
}

impl BindRequest {
    /// The request of the use case.
    pub(crate) fn read(self) -> Result<service::BindRequest, ApiError> {
        let Self { subject, role, namespaces, names, not_before, ttl_ms, end_sessions, reason } = self;
        let instant = |text: String| read::parse_instant("not_before", &text);
        Ok(service::BindRequest {
            subject: read::parse_subject("subject", &subject)?,
            role: read::parse_principal_name("role", &role)?,
            namespaces: read::parse_namespaces("namespaces", &namespaces)?,
            names: read::parse_patterns("names", &names)?,
            not_before_ms: not_before.map(instant).transpose()?,
            ttl_ms: ttl_ms.map(u64::from),
            end_sessions,
            reason,
        })
    }
}

impl CreateKeyRequest {
    /// The request of the use case.
    pub(crate) fn read(self) -> Result<service::CreateKey, ApiError> {
        let Self { principal: whose, label, ttl_ms, never_expires, roles, namespaces, names } = self;
        Ok(service::CreateKey {
            principal: principal(whose.as_deref())?,
            label,
            ttl_ms: ttl_ms.map(u64::from),
            never_expires,
            narrowing: read::parse_narrowing(&roles, &namespaces, &names)?,
        })
    }
}
