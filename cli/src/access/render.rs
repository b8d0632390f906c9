//! Renders principals, groups, roles, grants and credentials as tables and as JSON with the names of the API.

use batuta_client::v1::{AccessDone, AccessMode, Binding, Credential, Group, Principal, Role, Rule};
use serde_json::{Value, json};

use crate::output::{Answer, fields, rows, text_json};

/// The answer to a change that has no other result.
pub(super) fn done(answer: AccessDone) -> Answer {
    let text = fields([("revision", answer.revision.to_string())]);
    Answer::new(json!({"revision": answer.revision}), text)
}

pub(super) fn mode_name(mode: AccessMode) -> &'static str {
    match mode {
        AccessMode::Unspecified => "unspecified",
        AccessMode::Off => "off",
        AccessMode::Observe => "observe",
        AccessMode::Enforce => "enforce",
    }
}

/// When something ends, for people.
pub(super) fn or_never(instant: &str) -> &str {
    if instant.is_empty() { "never" } else { instant }
}

/// A list of which nothing means everything, for people.
fn or_all(items: &[String]) -> String {
    if items.is_empty() { "all".to_owned() } else { items.join(", ") }
}

pub(super) fn principal_json(principal: &Principal) -> Value {
    json!({
        "principal": principal.principal,
        "principal_id": principal.principal_id,
        "description": principal.description,
        "suspended": principal.suspended,
        "has_password": principal.has_password,
        "groups": principal.groups,
        "created_at": principal.created_at,
    })
}

pub(super) fn principal_fields(principal: &Principal, revision: u64) -> String {
    let yes = |is_so| if is_so { "yes".to_owned() } else { String::new() };
    fields([
        ("principal", principal.principal.clone()),
        ("principal_id", principal.principal_id.clone()),
        ("description", principal.description.clone()),
        ("suspended", yes(principal.suspended)),
        ("has_password", yes(principal.has_password)),
        ("groups", principal.groups.join(", ")),
        ("created_at", principal.created_at.clone()),
        ("revision", revision.to_string()),
    ])
}

pub(super) fn principal_rows(principals: &[Principal]) -> String {
    rows(
        ["PRINCIPAL", "STATE", "PASSWORD", "GROUPS", "CREATED", "DESCRIPTION"],
        principals.iter().map(|principal| {
            [
                principal.principal.clone(),
                if principal.suspended { "suspended" } else { "active" }.to_owned(),
                if principal.has_password { "yes" } else { "no" }.to_owned(),
                or_none(&principal.groups),
                principal.created_at.clone(),
                principal.description.clone(),
            ]
        }),
    )
}

fn or_none(items: &[String]) -> String {
    if items.is_empty() { "-".to_owned() } else { items.join(", ") }
}

pub(super) fn group_json(group: &Group) -> Value {
    json!({"name": group.name, "members": group.members})
}

pub(super) fn group_rows(groups: &[Group]) -> String {
    rows(["GROUP", "MEMBERS"], groups.iter().map(|group| [group.name.clone(), or_none(&group.members)]))
}

pub(super) fn role_json(role: &Role) -> Value {
    let shown = |rule: &Rule| json!({"permissions": rule.permissions, "names": rule.names});
    json!({
        "name": role.name,
        "rules": role.rules.iter().map(shown).collect::<Vec<_>>(),
        "built_in": role.built_in,
    })
}

/// One row for each rule of each role.
pub(super) fn role_rows(roles: &[Role]) -> String {
    let lines = roles.iter().flat_map(|role| {
        let row = |permissions: String, names: String| {
            let built_in = if role.built_in { "yes" } else { "no" };
            [role.name.clone(), built_in.to_owned(), names, permissions]
        };
        let mut found: Vec<_> =
            role.rules.iter().map(|rule| row(rule.permissions.join(", "), rule.names.join(", "))).collect();
        if found.is_empty() {
            found.push(row("-".to_owned(), "-".to_owned()));
        }
        found
    });
    rows(["ROLE", "BUILT IN", "NAMES", "PERMISSIONS"], lines)
}

pub(super) fn binding_json(binding: &Binding) -> Value {
    json!({
        "binding_id": binding.binding_id,
        "subject": binding.subject,
        "role": binding.role,
        "namespaces": binding.namespaces,
        "names": binding.names,
        "not_before": text_json(&binding.not_before),
        "not_after": text_json(&binding.not_after),
        "end_sessions": binding.end_sessions,
        "reason": binding.reason,
        "made_by": text_json(&binding.made_by),
    })
}

pub(super) fn binding_fields(binding: &Binding, revision: u64) -> String {
    fields([
        ("binding_id", binding.binding_id.clone()),
        ("subject", binding.subject.clone()),
        ("role", binding.role.clone()),
        ("namespaces", or_all(&binding.namespaces)),
        ("names", binding.names.join(", ")),
        ("not_before", binding.not_before.clone()),
        ("not_after", or_never(&binding.not_after).to_owned()),
        ("end_sessions", if binding.end_sessions { "yes".to_owned() } else { String::new() }),
        ("reason", binding.reason.clone()),
        ("made_by", binding.made_by.clone()),
        ("revision", revision.to_string()),
    ])
}

pub(super) fn binding_rows(bindings: &[Binding]) -> String {
    rows(
        ["GRANT", "SUBJECT", "ROLE", "NAMESPACES", "NAMES", "ENDS", "REASON"],
        bindings.iter().map(|binding| {
            [
                binding.binding_id.clone(),
                binding.subject.clone(),
                binding.role.clone(),
                or_all(&binding.namespaces),
                if binding.names.is_empty() { "of the role".to_owned() } else { binding.names.join(", ") },
                or_never(&binding.not_after).to_owned(),
                binding.reason.clone(),
            ]
        }),
    )
}

pub(super) fn credential_json(credential: &Credential) -> Value {
    json!({
        "credential_id": credential.credential_id,
        "kind": credential.kind,
        "principal": credential.principal,
        "label": credential.label,
        "created_at": credential.created_at,
        "not_after": text_json(&credential.not_after),
        "last_used_at": text_json(&credential.last_used_at),
        "roles": credential.roles,
        "namespaces": credential.namespaces,
        "names": credential.names,
    })
}

pub(super) fn credential_rows(credentials: &[Credential]) -> String {
    let narrowed = |credential: &Credential| {
        let parts = [&credential.roles, &credential.namespaces, &credential.names];
        let parts = ["roles", "namespaces", "names"].into_iter().zip(parts);
        let parts = parts.filter(|(_, items)| !items.is_empty());
        let parts: Vec<String> = parts.map(|(what, items)| format!("{what} {}", items.join(", "))).collect();
        or_none(&parts)
    };
    rows(
        ["CREDENTIAL", "KIND", "PRINCIPAL", "LABEL", "ENDS", "LAST USED", "NARROWED TO"],
        credentials.iter().map(|credential| {
            [
                credential.credential_id.clone(),
                credential.kind.clone(),
                credential.principal.clone(),
                credential.label.clone(),
                or_never(&credential.not_after).to_owned(),
                or_never(&credential.last_used_at).to_owned(),
                narrowed(credential),
            ]
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_ends_are_null_and_never() {
        let binding = Binding { subject: "user/ann".to_owned(), ..Binding::default() };
        let json = binding_json(&binding);
        assert_eq!((&json["not_after"], &json["namespaces"]), (&Value::Null, &json!([])));
        let text = binding_rows(&[binding]);
        assert!(text.contains("user/ann") && text.contains("all") && text.contains("never"), "{text}");
        let used = Credential { not_after: "2027-01-01T00:00:00.000Z".to_owned(), ..Credential::default() };
        assert_eq!(credential_json(&used)["not_after"], "2027-01-01T00:00:00.000Z");
        let narrow = Credential { names: vec!["a/**".to_owned()], ..used };
        assert!(credential_rows(&[narrow]).contains("names a/**"));
    }

    #[test]
    fn each_rule_of_a_role_is_a_row() {
        let rule = |names: &str| Rule {
            permissions: vec!["lock:read".to_owned(), "lock:list".to_owned()],
            names: vec![names.to_owned()],
        };
        let reader =
            Role { name: "reader".to_owned(), rules: vec![rule("a/**"), rule("b")], built_in: false };
        assert_eq!(
            role_rows(std::slice::from_ref(&reader)),
            "ROLE    BUILT IN  NAMES  PERMISSIONS\n\
             reader  no        a/**   lock:read, lock:list\n\
             reader  no        b      lock:read, lock:list"
        );
        assert_eq!(role_json(&reader)["rules"][1]["names"], json!(["b"]));
    }
}
