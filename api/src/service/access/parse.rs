//! Parses texts of access from the wire into types; errors name the field. Shared by the fronts.

use std::fmt::Display;
use std::str::FromStr;

use batuta_statemachine::access::{BindingId, Mode, Namespaces, Narrowing, Pattern, Rule, Subject};
use batuta_statemachine::{Permission, PermissionSet, Principal, PrincipalName, TokenId};

use crate::ApiError;
use crate::service::clock::parse_rfc3339;
use crate::service::parse::{listing_cursor, parse_namespace, seal};

fn parsed<T: FromStr<Err: Display>>(field: &str, text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|error: T::Err| ApiError::invalid(field, error.to_string()))
}

/// Parses the name of a user, a service account, a group or a role.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn parse_principal_name(field: &str, text: &str) -> Result<PrincipalName, ApiError> {
    PrincipalName::new(text).map_err(|error| ApiError::invalid(field, error.to_string()))
}

/// Parses `user/NAME`, `service/NAME` or `anonymous`.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn parse_principal(field: &str, text: &str) -> Result<Principal, ApiError> {
    parsed(field, text)
}

/// Parses an optional principal; the empty text means none.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn parse_optional_principal(field: &str, text: &str) -> Result<Option<Principal>, ApiError> {
    if text.is_empty() { Ok(None) } else { parse_principal(field, text).map(Some) }
}

/// Parses `user/NAME`, `service/NAME`, `group/NAME` or `anonymous`.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn parse_subject(field: &str, text: &str) -> Result<Subject, ApiError> {
    parsed(field, text)
}

/// Parses the id of a binding.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn parse_binding_id(field: &str, text: &str) -> Result<BindingId, ApiError> {
    parsed(field, text)
}

/// Parses the id of a credential. A whole token is refused without its text: its secret does not belong there.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn parse_credential_id(field: &str, text: &str) -> Result<TokenId, ApiError> {
    TokenId::new(text).map_err(|_| {
        let problem = format!(
            "must be the id of a credential: {} letters and digits, which a token has between its underscores",
            TokenId::LENGTH
        );
        ApiError::invalid(field, problem)
    })
}

/// Parses a permission.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn parse_permission(field: &str, text: &str) -> Result<Permission, ApiError> {
    parsed(field, text)
}

/// Parses a mode.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn parse_mode(field: &str, text: &str) -> Result<Mode, ApiError> {
    let mode = Mode::ALL.into_iter().find(|mode| mode.as_str() == text);
    mode.ok_or_else(|| ApiError::invalid(field, "must be off, observe or enforce"))
}

/// Parses an instant, RFC 3339, into milliseconds since the Unix epoch.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn parse_instant(field: &str, text: &str) -> Result<u64, ApiError> {
    let problem = "must be an instant from 1970 on in the form of RFC 3339, as in 2026-07-01T08:00:00Z";
    parse_rfc3339(text).ok_or_else(|| ApiError::invalid(field, problem))
}

/// Parses an optional instant; the empty text means none.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn parse_optional_instant(field: &str, text: &str) -> Result<Option<u64>, ApiError> {
    if text.is_empty() { Ok(None) } else { parse_instant(field, text).map(Some) }
}

/// Parses a rule: permissions, each `area:verb` or `area:*`, and patterns of names. `field` is the path of the rule.
///
/// # Errors
/// `invalid_argument` with the field.
pub fn parse_rule(field: &str, permissions: &[String], names: &[String]) -> Result<Rule, ApiError> {
    let mut set = PermissionSet::default();
    for (place, text) in permissions.iter().enumerate() {
        let given = PermissionSet::parse(text);
        let field = || format!("{field}.permissions[{place}]");
        set = set.union(given.map_err(|error| ApiError::invalid(field(), error.to_string()))?);
    }
    Ok(Rule { permissions: set, names: parse_patterns(&format!("{field}.names"), names)? })
}

/// Parses patterns of names.
///
/// # Errors
/// `invalid_argument` with the field and the place in the list.
pub fn parse_patterns(field: &str, texts: &[String]) -> Result<Vec<Pattern>, ApiError> {
    each(field, texts, parsed)
}

/// Parses a list of principals.
///
/// # Errors
/// `invalid_argument` with the field and the place in the list.
pub fn parse_principals(field: &str, texts: &[String]) -> Result<Vec<Principal>, ApiError> {
    each(field, texts, parsed)
}

/// Parses a list of namespaces; an empty list means all.
///
/// # Errors
/// `invalid_argument` with the field and the place in the list.
pub fn parse_namespaces(field: &str, texts: &[String]) -> Result<Namespaces, ApiError> {
    if texts.is_empty() {
        return Ok(Namespaces::All);
    }
    each(field, texts, parse_namespace).map(Namespaces::Listed)
}

/// Parses what narrows a key; three empty lists narrow nothing.
///
/// # Errors
/// `invalid_argument` with the field and the place in the list.
pub fn parse_narrowing(
    roles: &[String],
    namespaces: &[String],
    names: &[String],
) -> Result<Option<Narrowing>, ApiError> {
    if [roles, namespaces, names].iter().all(|list| list.is_empty()) {
        return Ok(None);
    }
    Ok(Some(Narrowing {
        roles: each("roles", roles, parse_principal_name)?,
        namespaces: parse_namespaces("namespaces", namespaces)?,
        names: parse_patterns("names", names)?,
    }))
}

fn each<T>(
    field: &str,
    texts: &[String],
    parse: impl Fn(&str, &str) -> Result<T, ApiError>,
) -> Result<Vec<T>, ApiError> {
    texts.iter().enumerate().map(|(place, text)| parse(&format!("{field}[{place}]"), text)).collect()
}

/// Cursors of listings, each of its own kind: one of another listing is refused.
macro_rules! cursors {
    ($($kind:literal $read:ident $write:ident: $Item:ty = $parse:expr;)*) => {$(
        #[doc = concat!("Encodes the cursor after an item, for [`", stringify!($read), "`].")]
        #[must_use]
        pub fn $write(item: &$Item) -> String {
            seal($kind, &item.to_string())
        }

        /// Decodes the cursor of a page; an absent or empty cursor means the start.
        ///
        /// # Errors
        /// `invalid_argument` with the field `cursor`.
        pub fn $read(cursor: Option<&str>) -> Result<Option<$Item>, ApiError> {
            listing_cursor($kind, cursor, |text| $parse(text).ok())
        }
    )*};
}

cursors! {
    'p' principal_cursor principal_cursor_text: Principal = str::parse::<Principal>;
    'g' group_cursor group_cursor_text: PrincipalName = PrincipalName::new;
    'r' role_cursor role_cursor_text: PrincipalName = PrincipalName::new;
    'b' binding_cursor binding_cursor_text: BindingId = str::parse::<BindingId>;
    'c' credential_cursor credential_cursor_text: TokenId = TokenId::new;
}

#[cfg(test)]
mod tests {
    use batuta_statemachine::Position;

    use super::*;

    fn field_of<T: std::fmt::Debug>(result: Result<T, ApiError>) -> String {
        result.unwrap_err().field().expect("names the field").to_owned()
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn wrong_text_names_its_field_and_place() {
        assert_eq!(field_of(parse_principal_name("user", "Ann")), "user");
        assert_eq!(field_of(parse_principal("principal", "ann")), "principal");
        assert_eq!(field_of(parse_subject("subject", "team/a")), "subject");
        assert_eq!(field_of(parse_binding_id("binding_id", "b-1")), "binding_id");
        assert_eq!(field_of(parse_permission("permission", "lock:*")), "permission");
        assert_eq!(field_of(parse_mode("mode", "Off")), "mode");
        assert_eq!(field_of(parse_instant("not_before", "tomorrow")), "not_before");
        assert_eq!(field_of(parse_patterns("names", &texts(&["a", "a//b"]))), "names[1]");
        assert_eq!(field_of(parse_namespaces("namespaces", &texts(&["A"]))), "namespaces[0]");
        assert_eq!(field_of(parse_principals("members", &texts(&["user/a", "group/b"]))), "members[1]");
        let rule = |permissions: &[&str], names: &[&str]| {
            field_of(parse_rule("rules[2]", &texts(permissions), &texts(names)))
        };
        assert_eq!(rule(&["lock:*", "lock:fly"], &["**"]), "rules[2].permissions[1]");
        assert_eq!(rule(&["lock:*"], &["*"]), "rules[2].names[0]");
        assert_eq!(field_of(parse_narrowing(&texts(&["A"]), &[], &[])), "roles[0]");
    }

    #[test]
    fn whole_token_is_not_repeated() {
        let token = "btk_6AkSp3WsPxY7_dHMOUNLh0UTx6gmQ9MHQdRUvZdbXMLLlzChlYYN1shx4YTnag";
        let refused = parse_credential_id("credential_id", token).unwrap_err();
        assert!(!format!("{refused} {refused:?}").contains("dHMOUN"), "{refused}");
        assert_eq!(parse_credential_id("credential_id", "6AkSp3WsPxY7").unwrap().as_str(), "6AkSp3WsPxY7");
    }

    #[test]
    fn empty_lists_narrow_nothing() {
        assert_eq!(parse_narrowing(&[], &[], &[]).unwrap(), None);
        assert_eq!(parse_namespaces("namespaces", &[]).unwrap(), Namespaces::All);
        let narrowed = parse_narrowing(&[], &[], &texts(&["a/**"])).unwrap().unwrap();
        assert_eq!((narrowed.namespaces, narrowed.names.len()), (Namespaces::All, 1));
    }

    #[test]
    fn cursors_are_read_back_by_their_listing_only() {
        let principal: Principal = "service/shop".parse().unwrap();
        let cursor = principal_cursor_text(&principal);
        assert_eq!(principal_cursor(Some(&cursor)).unwrap(), Some(principal));
        assert_eq!(principal_cursor(Some("")).unwrap(), None);
        let binding = BindingId(Position { index: 7, ordinal: 1 });
        assert_eq!(binding_cursor(Some(&binding_cursor_text(&binding))).unwrap(), Some(binding));
        let name = PrincipalName::new("ops").unwrap();
        assert_eq!(role_cursor(Some(&role_cursor_text(&name))).unwrap(), Some(name.clone()));
        for wrong in [cursor.as_str(), "ops", "g6", &group_cursor_text(&name)] {
            assert_eq!(field_of(role_cursor(Some(wrong))), "cursor", "{wrong}");
        }
    }
}
