//! Converts what the use cases of access answer.

use batuta_statemachine::access::{
    BindingId, Mode, Namespaces, Narrowing, OnEnd, Pattern, Rule as CoreRule, TokenKind,
};
use batuta_statemachine::{Principal as CorePrincipal, PrincipalName, TokenId};

use super::super::{Done, Long};
use super::{
    AccessAnswer, AccessMode, AuditAnswer, Binding, BindingAnswer, BindingPage, BootstrapAnswer,
    CheckAccessAnswer, CreateKeyAnswer, Credential, CredentialKind, CredentialPage, Group, GroupAnswer,
    GroupPage, LoginAnswer, MissingRight, Principal, PrincipalAnswer, PrincipalKind, PrincipalPage,
    ReportAnswer, Role, RoleAnswer, RolePage, Rule, WhoAmIAnswer,
};
use crate::access::report::Missing;
use crate::contract::SecretText;
use crate::service::access::{self as service, parse};
use crate::service::{At, Page, rfc3339};

fn texts<T: ToString>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}

/// The listed namespaces; none means all.
fn listed(namespaces: &Namespaces) -> Vec<String> {
    match namespaces {
        Namespaces::All => Vec::new(),
        Namespaces::Listed(listed) => texts(listed),
    }
}

impl From<Mode> for AccessMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Off => Self::Off,
            Mode::Observe => Self::Observe,
            Mode::Enforce => Self::Enforce,
        }
    }
}

impl From<AccessMode> for Mode {
    fn from(mode: AccessMode) -> Self {
        match mode {
            AccessMode::Off => Self::Off,
            AccessMode::Observe => Self::Observe,
            AccessMode::Enforce => Self::Enforce,
        }
    }
}

impl From<TokenKind> for CredentialKind {
    fn from(kind: TokenKind) -> Self {
        match kind {
            TokenKind::Key => Self::Key,
            TokenKind::Login => Self::Login,
            TokenKind::Bootstrap { .. } => Self::Bootstrap,
        }
    }
}

impl From<service::PrincipalView> for Principal {
    fn from(service::PrincipalView { record, groups }: service::PrincipalView) -> Self {
        Self {
            principal: record.principal.to_string(),
            principal_id: record.id.to_string(),
            description: record.description,
            suspended: record.suspended,
            has_password: record.password.is_some(),
            groups: texts(groups),
            created_at: rfc3339(record.created_wall_ms),
        }
    }
}

impl From<service::GroupView> for Group {
    fn from(service::GroupView { name, members }: service::GroupView) -> Self {
        Self { name: name.to_string(), members: texts(members) }
    }
}

impl From<CoreRule> for Rule {
    fn from(CoreRule { permissions, names }: CoreRule) -> Self {
        Self { permissions: texts(permissions.iter()), names: texts(names) }
    }
}

impl From<service::RoleView> for Role {
    fn from(service::RoleView { record, built_in }: service::RoleView) -> Self {
        let rules = record.rules.into_iter().map(Rule::from).collect();
        Self { name: record.name.to_string(), rules, built_in }
    }
}

impl From<service::BindingView> for Binding {
    fn from(service::BindingView { record, subject, made_by }: service::BindingView) -> Self {
        Self {
            binding_id: record.id.to_string(),
            subject: subject.to_string(),
            role: record.role.to_string(),
            namespaces: listed(&record.namespaces),
            names: texts(&record.names),
            not_before: record.not_before_ms.map(rfc3339),
            not_after: record.not_after_ms.map(rfc3339),
            end_sessions: record.on_end == OnEnd::EndSessions,
            reason: record.reason.clone(),
            made_by: made_by.map(|principal| principal.to_string()),
        }
    }
}

impl From<service::CredentialView> for Credential {
    fn from(service::CredentialView { record, principal }: service::CredentialView) -> Self {
        let none = Narrowing::default();
        let Narrowing { roles, namespaces, names } = record.narrowing.as_ref().unwrap_or(&none);
        Self {
            credential_id: record.secret.id.to_string(),
            kind: record.kind.into(),
            principal: principal.to_string(),
            label: record.label.clone(),
            created_at: rfc3339(record.created_wall_ms),
            not_after: record.not_after_ms.map(rfc3339),
            last_used_at: record.last_used_wall_ms.map(rfc3339),
            roles: texts(roles),
            namespaces: listed(namespaces),
            names: names.iter().map(Pattern::to_string).collect(),
        }
    }
}

impl From<At<()>> for Done {
    fn from(At { revision, .. }: At<()>) -> Self {
        Self { revision: Long(revision) }
    }
}

impl From<At<service::PrincipalView>> for PrincipalAnswer {
    fn from(At { revision, value, .. }: At<service::PrincipalView>) -> Self {
        Self { principal: value.into(), revision: Long(revision) }
    }
}

impl From<At<service::GroupView>> for GroupAnswer {
    fn from(At { revision, value, .. }: At<service::GroupView>) -> Self {
        Self { group: value.into(), revision: Long(revision) }
    }
}

impl From<At<service::RoleView>> for RoleAnswer {
    fn from(At { revision, value, .. }: At<service::RoleView>) -> Self {
        Self { role: value.into(), revision: Long(revision) }
    }
}

impl From<At<service::BindingView>> for BindingAnswer {
    fn from(At { revision, value, .. }: At<service::BindingView>) -> Self {
        Self { binding: value.into(), revision: Long(revision) }
    }
}

impl PrincipalPage {
    /// Converts a page that began among principals of a kind: it ends with the last of them.
    pub(crate) fn of(kind: PrincipalKind, page: At<Page<service::PrincipalView, CorePrincipal>>) -> Self {
        let At { revision, value: Page { items, next, .. }, .. } = page;
        let items = items.into_iter().filter(|view| kind.has(&view.record.principal));
        let next = next.filter(|next| kind.has(next));
        Self {
            principals: items.map(Principal::from).collect(),
            next_cursor: next.as_ref().map(parse::principal_cursor_text).unwrap_or_default(),
            revision: Long(revision),
        }
    }
}

impl From<At<Page<service::GroupView, PrincipalName>>> for GroupPage {
    fn from(page: At<Page<service::GroupView, PrincipalName>>) -> Self {
        let At { revision, value: Page { items, next, .. }, .. } = page;
        Self {
            groups: items.into_iter().map(Group::from).collect(),
            next_cursor: next.as_ref().map(parse::group_cursor_text).unwrap_or_default(),
            revision: Long(revision),
        }
    }
}

impl From<At<Page<service::RoleView, PrincipalName>>> for RolePage {
    fn from(page: At<Page<service::RoleView, PrincipalName>>) -> Self {
        let At { revision, value: Page { items, next, .. }, .. } = page;
        Self {
            roles: items.into_iter().map(Role::from).collect(),
            next_cursor: next.as_ref().map(parse::role_cursor_text).unwrap_or_default(),
            revision: Long(revision),
        }
    }
}

impl From<At<Page<service::BindingView, BindingId>>> for BindingPage {
    fn from(page: At<Page<service::BindingView, BindingId>>) -> Self {
        let At { revision, value: Page { items, next, .. }, .. } = page;
        Self {
            bindings: items.into_iter().map(Binding::from).collect(),
            next_cursor: next.as_ref().map(parse::binding_cursor_text).unwrap_or_default(),
            revision: Long(revision),
        }
    }
}

impl From<At<Page<service::CredentialView, TokenId>>> for CredentialPage {
    fn from(page: At<Page<service::CredentialView, TokenId>>) -> Self {
        let At { revision, value: Page { items, next, .. }, .. } = page;
        Self {
            credentials: items.into_iter().map(Credential::from).collect(),
            next_cursor: next.as_ref().map(parse::credential_cursor_text).unwrap_or_default(),
            revision: Long(revision),
        }
    }
}

impl From<At<service::Bootstrapped>> for BootstrapAnswer {
    fn from(At { revision, value, .. }: At<service::Bootstrapped>) -> Self {
        let service::Bootstrapped { principal, key, credential } = value;
        Self {
            principal: principal.to_string(),
            key: SecretText(key),
            credential: credential.into(),
            revision: Long(revision),
        }
    }
}

impl From<At<service::LoggedIn>> for LoginAnswer {
    fn from(At { revision, value, .. }: At<service::LoggedIn>) -> Self {
        let service::LoggedIn { token, credential } = value;
        Self { token: SecretText(token), credential: credential.into(), revision: Long(revision) }
    }
}

impl From<At<service::Created>> for CreateKeyAnswer {
    fn from(At { revision, value, .. }: At<service::Created>) -> Self {
        let service::Created { key, credential } = value;
        Self { key: SecretText(key), credential: credential.into(), revision: Long(revision) }
    }
}

impl From<At<service::WhoAmI>> for WhoAmIAnswer {
    fn from(At { revision, value, .. }: At<service::WhoAmI>) -> Self {
        let service::WhoAmI { principal, groups, credential, bindings, mode } = value;
        Self {
            principal: principal.to_string(),
            groups: texts(groups),
            credential: credential.map(Credential::from),
            bindings: bindings.into_iter().map(Binding::from).collect(),
            mode: mode.into(),
            revision: Long(revision),
        }
    }
}

impl From<At<service::CheckAnswer>> for CheckAccessAnswer {
    fn from(At { revision, value, .. }: At<service::CheckAnswer>) -> Self {
        let service::CheckAnswer { allowed, binding, role, summary } = value;
        Self {
            allowed,
            binding_id: binding.map(|binding| binding.to_string()),
            role: role.map(|role| role.to_string()),
            summary,
            revision: Long(revision),
        }
    }
}

impl From<At<service::AccessView>> for AccessAnswer {
    fn from(At { revision, value, .. }: At<service::AccessView>) -> Self {
        Self {
            mode: value.mode.into(),
            access_revision: Long(value.access_revision),
            principals: Long(value.principals),
            groups: Long(value.groups),
            roles: Long(value.roles),
            bindings: Long(value.bindings),
            credentials: Long(value.credentials),
            revision: Long(revision),
        }
    }
}

impl From<(Missing, u64)> for MissingRight {
    fn from((missing, calls): (Missing, u64)) -> Self {
        let Missing { principal, permission, namespace, names } = missing;
        Self {
            principal,
            permission: permission.to_string(),
            namespace: namespace.to_string(),
            names,
            calls: Long(calls),
        }
    }
}

impl From<At<service::ReportView>> for ReportAnswer {
    fn from(At { revision, value, .. }: At<service::ReportView>) -> Self {
        let service::ReportView { missing, other_calls } = value;
        Self {
            missing: missing.into_iter().map(MissingRight::from).collect(),
            other_calls: Long(other_calls),
            revision: Long(revision),
        }
    }
}

impl From<At<service::AuditPage>> for AuditAnswer {
    fn from(At { value, .. }: At<service::AuditPage>) -> Self {
        let service::AuditPage { lines, next, end } = value;
        Self { lines, next_cursor: next, end }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use batuta_statemachine::access::{
        Password, PasswordHash, PrincipalRecord, SecretHash, TokenRecord, TokenSecret,
    };
    use batuta_statemachine::{Position, PrincipalId};
    use serde_json::{Value, json};

    use super::super::{ListAccessQuery, SetPasswordRequest};
    use super::*;
    use crate::access::Secret;
    use crate::json::decode_json;
    use crate::service::Clock;

    fn name(text: &str) -> PrincipalName {
        PrincipalName::new(text).expect("valid")
    }

    fn at<T>(value: T) -> At<T> {
        At { revision: 9, clock: Clock { now_ms: 0, wall_ms: 0 }, value }
    }

    fn principal(principal: CorePrincipal) -> service::PrincipalView {
        let record = PrincipalRecord {
            id: PrincipalId(Position { index: 7, ordinal: 0 }),
            principal,
            description: String::new(),
            suspended: false,
            password: Some(Password { phc: PasswordHash::new("$argon2id$hidden"), version: 1 }),
            created_wall_ms: 0,
        };
        service::PrincipalView { record, groups: Vec::new() }
    }

    fn credential() -> service::CredentialView {
        let record = TokenRecord {
            secret: TokenSecret {
                id: TokenId::new("4fGkP0sZqR81").expect("valid"),
                hash: SecretHash::new([7; SecretHash::LENGTH]),
            },
            kind: TokenKind::Key,
            principal: PrincipalId(Position { index: 7, ordinal: 0 }),
            label: "host-3".to_owned(),
            not_after_ms: None,
            deadline_ms: None,
            narrowing: None,
            made_by: None,
            created_wall_ms: 0,
            last_used_wall_ms: None,
        };
        service::CredentialView { record: Arc::new(record), principal: CorePrincipal::User(name("ann")) }
    }

    fn json_of(value: &impl serde::Serialize) -> Value {
        serde_json::to_value(value).expect("serializable")
    }

    #[test]
    fn no_object_has_a_hash() {
        let shown = json_of(&PrincipalAnswer::from(at(principal(CorePrincipal::User(name("ann"))))));
        assert_eq!((&shown["principal"], &shown["has_password"]), (&json!("user/ann"), &json!(true)));
        let shown = json_of(&Credential::from(credential()));
        let keys: Vec<&str> = shown.as_object().expect("an object").keys().map(String::as_str).collect();
        let expected =
            ["created_at", "credential_id", "kind", "label", "names", "namespaces", "principal", "roles"];
        assert_eq!(keys, expected);
    }

    #[test]
    fn secret_is_in_the_body_and_not_in_the_debug_form() {
        let created = service::Created { key: Secret::new("btk_x".to_owned()), credential: credential() };
        let answer = CreateKeyAnswer::from(at(created));
        assert_eq!(json_of(&answer)["key"], "btk_x");
        assert!(!format!("{answer:?}").contains("btk_x"));
        let body = br#"{"password": "open sesame", "old_password": "closed"}"#;
        let request: SetPasswordRequest = decode_json(body).expect("a request");
        let shown = format!("{request:?}");
        assert!(!shown.contains("sesame") && !shown.contains("closed"), "{shown}");
    }

    #[test]
    fn listing_of_a_kind_ends_with_its_last_principal() {
        let user = |text| principal(CorePrincipal::User(name(text)));
        let service = |text| principal(CorePrincipal::Service(name(text)));
        let next = Some(CorePrincipal::Service(name("b")));
        let page = || Page {
            items: vec![user("z"), service("a"), service("b")],
            next: next.clone(),
            filtered: false,
        };
        let of = |kind| PrincipalPage::of(kind, at(page()));
        let (users, services) = (of(PrincipalKind::User), of(PrincipalKind::Service));
        assert_eq!((users.principals.len(), users.next_cursor.as_str()), (1, ""));
        assert_eq!(services.principals.len(), 2);
        assert!(!services.next_cursor.is_empty());
        let query = ListAccessQuery::default();
        assert_eq!(query.principals(PrincipalKind::User).expect("valid").after, None);
        let after = query.principals(PrincipalKind::Service).expect("valid").after.expect("a start");
        assert!(after >= CorePrincipal::User(name("zz")) && after < CorePrincipal::Service(name("0")));
    }
}
