//! Parses the texts of access: principals, permissions, names of roles and groups, ids of bindings and credentials.

use std::fmt::Display;
use std::str::FromStr;

use batuta_statemachine::access::{BindingId, Namespaces, Narrowing, Pattern, Rule, Subject};
use batuta_statemachine::{Permission, PermissionSet, Principal, PrincipalName, TokenId};

use super::{listing_cursor, parse_namespace, seal};
use crate::ApiError;
use crate::service::parse_rfc3339;

fn parse<T: FromStr>(field: &str, text: &str) -> Result<T, ApiError>
where
    T::Err: Display,
{
    text.parse().map_err(|error: T::Err| ApiError::invalid(field, error.to_string()))
}

/// Parses each text of a list; an error names its place.
fn each<'a, T>(
    field: &str,
    texts: &'a [String],
    read: impl Fn(&str, &'a str) -> Result<T, ApiError>,
) -> Result<Vec<T>, ApiError> {
    texts.iter().enumerate().map(|(place, text)| read(&format!("{field}[{place}]"), text)).collect()
}

/// Parses `user/NAME`, `service/NAME` or `anonymous`.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn parse_principal(field: &str, text: &str) -> Result<Principal, ApiError> {
    parse(field, text)
}

/// Parses a list of principals.
///
/// # Errors
/// `invalid_argument` with the field and the place in the list.
pub fn parse_principals(field: &str, texts: &[String]) -> Result<Vec<Principal>, ApiError> {
    each(field, texts, parse_principal)
}

/// Parses the name of a user, a service account, a group or a role.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn parse_principal_name(field: &str, text: &str) -> Result<PrincipalName, ApiError> {
    PrincipalName::new(text).map_err(|error| ApiError::invalid(field, error.to_string()))
}

/// Parses `user/NAME`, `service/NAME`, `group/NAME` or `anonymous`.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn parse_subject(field: &str, text: &str) -> Result<Subject, ApiError> {
    parse(field, text)
}

/// Parses the id of a binding.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn parse_binding_id(field: &str, text: &str) -> Result<BindingId, ApiError> {
    parse(field, text)
}

/// Parses the public id of a credential.
///
/// # Errors
/// `invalid_argument` with the field. Its text is not shown: a whole token may have been sent by mistake.
pub fn parse_token_id(field: &str, text: &str) -> Result<TokenId, ApiError> {
    TokenId::new(text).map_err(|error| ApiError::invalid(field, error.to_string()))
}

/// Parses a permission, `area:verb`.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn parse_permission(field: &str, text: &str) -> Result<Permission, ApiError> {
    parse(field, text)
}

/// Parses a list of namespaces; an empty list means all.
///
/// # Errors
/// `invalid_argument` with the field and the place in the list.
pub fn parse_namespaces(field: &str, texts: &[String]) -> Result<Namespaces, ApiError> {
    if texts.is_empty() {
        return Ok(Namespaces::All);
    }
    Ok(Namespaces::Listed(each(field, texts, parse_namespace)?))
}

/// Parses patterns of names.
///
/// # Errors
/// `invalid_argument` with the field and the place in the list.
pub fn parse_patterns(field: &str, texts: &[String]) -> Result<Vec<Pattern>, ApiError> {
    each(field, texts, parse)
}

/// Parses a rule of a role: permissions (also `area:*`), and patterns of names.
///
/// # Errors
/// `invalid_argument` with the field of the rule and the place in its list.
pub fn parse_rule(field: &str, permissions: &[String], names: &[String]) -> Result<Rule, ApiError> {
    let read = |field: &str, text: &str| {
        PermissionSet::parse(text).map_err(|error| ApiError::invalid(field, error.to_string()))
    };
    let sets = each(&format!("{field}.permissions"), permissions, read)?;
    let permissions = sets.into_iter().fold(PermissionSet::default(), PermissionSet::union);
    Ok(Rule { permissions, names: parse_patterns(&format!("{field}.names"), names)? })
}

/// Parses what narrows a key; three empty lists narrow nothing.
///
/// # Errors
/// `invalid_argument` with the field `roles`, `namespaces` or `names`.
pub fn parse_narrowing(
    roles: &[String],
    namespaces: &[String],
    names: &[String],
) -> Result<Option<Narrowing>, ApiError> {
    let narrowing = Narrowing {
        roles: each("roles", roles, parse_principal_name)?,
        namespaces: parse_namespaces("namespaces", namespaces)?,
        names: parse_patterns("names", names)?,
    };
    Ok(Some(narrowing).filter(|narrowing| *narrowing != Narrowing::default()))
}

/// Parses an instant of RFC 3339 to milliseconds since the Unix epoch.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn parse_instant(field: &str, text: &str) -> Result<u64, ApiError> {
    parse_rfc3339(text).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        ApiError::invalid(field, format!("is {shown:?}; must be an instant as in 2026-12-01T08:00:00Z"))
    })
}

/// Encodes the cursor after a principal.
pub(crate) fn principal_cursor_text(principal: &Principal) -> String {
    seal('p', &principal.to_string())
}

/// Decodes the cursor of a page of principals; an absent or empty cursor means the start.
pub(crate) fn principal_cursor(cursor: Option<&str>) -> Result<Option<Principal>, ApiError> {
    listing_cursor('p', cursor, |text| text.parse().ok())
}

/// Encodes the cursor after a group or a role.
pub(crate) fn principal_name_cursor_text(name: &PrincipalName) -> String {
    seal('g', name.as_str())
}

/// Decodes the cursor of a page of groups or roles; an absent or empty cursor means the start.
pub(crate) fn principal_name_cursor(cursor: Option<&str>) -> Result<Option<PrincipalName>, ApiError> {
    listing_cursor('g', cursor, |text| PrincipalName::new(text).ok())
}

/// Encodes the cursor after a binding.
pub(crate) fn binding_cursor_text(binding: BindingId) -> String {
    seal('b', &binding.to_string())
}

/// Decodes the cursor of a page of bindings; an absent or empty cursor means the start.
pub(crate) fn binding_cursor(cursor: Option<&str>) -> Result<Option<BindingId>, ApiError> {
    listing_cursor('b', cursor, |text| text.parse().ok())
}

/// Encodes the cursor after a credential.
pub(crate) fn token_cursor_text(token: TokenId) -> String {
    seal('t', token.as_str())
}

/// Decodes the cursor of a page of credentials; an absent or empty cursor means the start.
pub(crate) fn token_cursor(cursor: Option<&str>) -> Result<Option<TokenId>, ApiError> {
    listing_cursor('t', cursor, |text| TokenId::new(text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field_of<T: std::fmt::Debug>(result: Result<T, ApiError>) -> String {
        let error = result.expect_err("must be refused");
        error.field().expect("names the field").to_owned()
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().copied().map(str::to_owned).collect()
    }

    #[test]
    fn wrong_text_names_its_field() {
        assert_eq!(field_of(parse_principal("principal", "group/ops")), "principal");
        assert_eq!(field_of(parse_principals("members", &texts(&["user/ann", "ann"]))), "members[1]");
        assert_eq!(field_of(parse_principal_name("name", "Ann")), "name");
        assert_eq!(field_of(parse_subject("subject", "role/admin")), "subject");
        assert_eq!(field_of(parse_binding_id("binding_id", "s-1.0")), "binding_id");
        assert_eq!(field_of(parse_permission("permission", "lock:*")), "permission");
        assert_eq!(field_of(parse_namespaces("namespaces", &texts(&["a", "B"]))), "namespaces[1]");
        assert_eq!(field_of(parse_patterns("names", &texts(&["a/*"]))), "names[0]");
        assert_eq!(field_of(parse_rule("rules[2]", &texts(&["lock:fly"]), &[])), "rules[2].permissions[0]");
        assert_eq!(field_of(parse_rule("rules[2]", &[], &texts(&["*"]))), "rules[2].names[0]");
        assert_eq!(field_of(parse_narrowing(&texts(&["no role"]), &[], &[])), "roles[0]");
        assert_eq!(field_of(parse_instant("not_before", "tomorrow")), "not_before");
    }

    #[test]
    fn credential_sent_as_an_id_is_not_shown() {
        let error = parse_token_id("credential_id", "btk_4fGkP0sZqR81_secret").expect_err("no id");
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn empty_lists_narrow_nothing() {
        assert_eq!(parse_narrowing(&[], &[], &[]).expect("valid"), None);
        let narrowing = parse_narrowing(&[], &texts(&["default"]), &[]).expect("valid").expect("narrow");
        assert!(narrowing.roles.is_empty() && narrowing.names.is_empty());
        assert_ne!(narrowing.namespaces, Namespaces::All);
    }

    #[test]
    fn cursors_survive_a_round_trip() {
        let principal = Principal::Service(PrincipalName::new("billing").expect("valid"));
        let cursor = principal_cursor_text(&principal);
        assert_eq!(principal_cursor(Some(&cursor)).expect("own cursor"), Some(principal));
        let token = TokenId::new("4fGkP0sZqR81").expect("valid");
        assert_eq!(token_cursor(Some(&token_cursor_text(token))).expect("own cursor"), Some(token));
        assert_eq!(field_of(binding_cursor(Some(&cursor))), "cursor");
        assert_eq!(principal_name_cursor(Some("")).expect("the beginning"), None);
    }
}
