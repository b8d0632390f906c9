//! Converts objects of access to messages.

use batuta_proto::v1;
use batuta_statemachine::access::{Mode, Namespaces, OnEnd, Pattern, Rule};
use batuta_statemachine::{Namespace, PrincipalName};

use crate::ApiError;
use crate::access::Secret;
use crate::access::report::Missing;
use crate::service::access::{
    AccessView, BindingView, Created, CredentialView, GroupView, PrincipalView, RoleView,
};
use crate::service::{At, rfc3339};

pub(super) fn mode_message(mode: Mode) -> v1::AccessMode {
    match mode {
        Mode::Off => v1::AccessMode::Off,
        Mode::Observe => v1::AccessMode::Observe,
        Mode::Enforce => v1::AccessMode::Enforce,
    }
}

pub(super) fn mode_of(value: i32) -> Result<Mode, ApiError> {
    match v1::AccessMode::try_from(value) {
        Ok(v1::AccessMode::Off) => Ok(Mode::Off),
        Ok(v1::AccessMode::Observe) => Ok(Mode::Observe),
        Ok(v1::AccessMode::Enforce) => Ok(Mode::Enforce),
        Ok(v1::AccessMode::Unspecified) | Err(_) => {
            Err(ApiError::invalid("mode", "is required, and must be a value of AccessMode"))
        }
    }
}

pub(super) fn words(names: &[PrincipalName]) -> Vec<String> {
    names.iter().map(PrincipalName::to_string).collect()
}

fn namespace_words(namespaces: &Namespaces) -> Vec<String> {
    match namespaces {
        Namespaces::All => Vec::new(),
        Namespaces::Listed(listed) => listed.iter().map(Namespace::to_string).collect(),
    }
}

fn pattern_words(patterns: &[Pattern]) -> Vec<String> {
    patterns.iter().map(Pattern::to_string).collect()
}

/// An instant, empty without one.
fn instant_word(wall_ms: Option<u64>) -> String {
    wall_ms.map(rfc3339).unwrap_or_default()
}

pub(super) fn principal_message(view: &PrincipalView) -> v1::Principal {
    let record = &view.record;
    v1::Principal {
        principal: record.principal.to_string(),
        principal_id: record.id.to_string(),
        description: record.description.clone(),
        suspended: record.suspended,
        has_password: record.password.is_some(),
        groups: words(&view.groups),
        created_at: rfc3339(record.created_wall_ms),
    }
}

pub(super) fn principal_response(at: &At<PrincipalView>) -> v1::PrincipalResponse {
    v1::PrincipalResponse { principal: Some(principal_message(&at.value)), revision: at.revision }
}

pub(super) fn group_message(view: &GroupView) -> v1::Group {
    let members = view.members.iter().map(ToString::to_string).collect();
    v1::Group { name: view.name.to_string(), members }
}

fn rule_message(rule: &Rule) -> v1::Rule {
    let permissions = rule.permissions.iter().map(|permission| permission.to_string()).collect();
    v1::Rule { permissions, names: pattern_words(&rule.names) }
}

pub(super) fn role_message(view: &RoleView) -> v1::Role {
    let rules = view.record.rules.iter().map(rule_message).collect();
    v1::Role { name: view.record.name.to_string(), rules, built_in: view.built_in }
}

pub(super) fn binding_message(view: &BindingView) -> v1::Binding {
    let record = &view.record;
    v1::Binding {
        binding_id: record.id.to_string(),
        subject: view.subject.to_string(),
        role: record.role.to_string(),
        namespaces: namespace_words(&record.namespaces),
        names: pattern_words(&record.names),
        not_before: instant_word(record.not_before_ms),
        not_after: instant_word(record.not_after_ms),
        end_sessions: record.on_end == OnEnd::EndSessions,
        reason: record.reason.clone(),
        made_by: view.made_by.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

pub(super) fn binding_response(at: &At<BindingView>) -> v1::BindingResponse {
    v1::BindingResponse { binding: Some(binding_message(&at.value)), revision: at.revision }
}

/// The message has nothing of the hash in the record.
pub(super) fn credential_message(view: &CredentialView) -> v1::Credential {
    let record = &view.record;
    let narrowing = record.narrowing.clone().unwrap_or_default();
    v1::Credential {
        credential_id: record.secret.id.to_string(),
        kind: record.kind.as_str().to_owned(),
        principal: view.principal.to_string(),
        label: record.label.clone(),
        created_at: rfc3339(record.created_wall_ms),
        not_after: instant_word(record.not_after_ms),
        last_used_at: instant_word(record.last_used_wall_ms),
        roles: words(&narrowing.roles),
        namespaces: namespace_words(&narrowing.namespaces),
        names: pattern_words(&narrowing.names),
    }
}

pub(super) fn created_response(at: &At<Created>) -> v1::CreateKeyResponse {
    let Created { key, credential } = &at.value;
    v1::CreateKeyResponse {
        key: key.expose().to_owned(),
        credential: Some(credential_message(credential)),
        revision: at.revision,
    }
}

pub(super) fn access_response(at: &At<AccessView>) -> v1::GetAccessResponse {
    let AccessView { mode, access_revision, principals, groups, roles, bindings, credentials } = at.value;
    v1::GetAccessResponse {
        mode: mode_message(mode).into(),
        access_revision,
        principals,
        groups,
        roles,
        bindings,
        credentials,
        revision: at.revision,
    }
}

pub(super) fn missing_message((missing, calls): (Missing, u64)) -> v1::MissingRight {
    let Missing { principal, permission, namespace, names } = missing;
    v1::MissingRight {
        principal,
        permission: permission.to_string(),
        namespace: namespace.to_string(),
        names: names.unwrap_or_default(),
        calls,
    }
}

pub(super) fn done(at: &At<()>) -> v1::AccessDone {
    v1::AccessDone { revision: at.revision }
}

/// A number of which 0 means the default.
pub(super) fn given(number: u64) -> Option<u64> {
    (number > 0).then_some(number)
}

/// An optional secret; the empty text means none.
pub(super) fn optional_secret(text: String) -> Option<Secret> {
    (!text.is_empty()).then(|| Secret::new(text))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use batuta_statemachine::access::{Narrowing, SecretHash, TokenKind, TokenRecord, TokenSecret};
    use batuta_statemachine::{Position, Principal, PrincipalId, TokenId};
    use prost::Message as _;

    use super::*;

    #[test]
    fn modes_are_read_back() {
        for mode in Mode::ALL {
            assert_eq!(mode_of(mode_message(mode).into()).unwrap(), mode);
        }
        for value in [0, 9] {
            assert_eq!(mode_of(value).unwrap_err().field(), Some("mode"));
        }
    }

    #[test]
    fn credential_is_shown_without_its_hash() {
        let id = TokenId::new("abcDEF012345").unwrap();
        let record = TokenRecord {
            secret: TokenSecret { id, hash: SecretHash::new([0xA5; SecretHash::LENGTH]) },
            kind: TokenKind::Key,
            principal: PrincipalId(Position { index: 7, ordinal: 0 }),
            label: "ci".to_owned(),
            not_after_ms: Some(1_000),
            deadline_ms: Some(5),
            narrowing: Some(Narrowing {
                roles: vec![PrincipalName::new("viewer").unwrap()],
                namespaces: Namespaces::Listed(vec![Namespace::default()]),
                names: vec![Pattern::all()],
            }),
            made_by: None,
            created_wall_ms: 0,
            last_used_wall_ms: None,
        };
        let principal: Principal = "service/shop".parse().unwrap();
        let message = credential_message(&CredentialView { record: Arc::new(record), principal });
        let expected = v1::Credential {
            credential_id: id.to_string(),
            kind: "key".to_owned(),
            principal: "service/shop".to_owned(),
            label: "ci".to_owned(),
            created_at: "1970-01-01T00:00:00.000Z".to_owned(),
            not_after: "1970-01-01T00:00:01.000Z".to_owned(),
            last_used_at: String::new(),
            roles: vec!["viewer".to_owned()],
            namespaces: vec!["default".to_owned()],
            names: vec!["**".to_owned()],
        };
        assert!(!message.encode_to_vec().windows(4).any(|bytes| bytes == [0xA5; 4]));
        assert_eq!(message, expected);
    }
}
