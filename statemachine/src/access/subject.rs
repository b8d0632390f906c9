//! The subjects of bindings, and the texts of principals.

use std::fmt;
use std::str::FromStr;

use crate::{Principal, PrincipalName};

/// Who has what a binding gives, written `user/NAME`, `service/NAME`, `group/NAME` or `anonymous`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// Callers without a credential.
    Anonymous,
    /// A person.
    User(PrincipalName),
    /// A service account.
    Service(PrincipalName),
    /// The members of a group.
    Group(PrincipalName),
}

/// A text that names no subject or no principal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} must be {expected}, with a name of 1 to 63 characters of a-z, 0-9, '.', '_', '@' and '-'")]
pub struct SubjectError {
    /// The text that was given.
    pub text: String,
    /// What the text must be.
    pub expected: &'static str,
}

impl From<Principal> for Subject {
    fn from(principal: Principal) -> Self {
        match principal {
            Principal::Anonymous => Self::Anonymous,
            Principal::User(name) => Self::User(name),
            Principal::Service(name) => Self::Service(name),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => formatter.write_str("anonymous"),
            Self::User(name) => write!(formatter, "user/{name}"),
            Self::Service(name) => write!(formatter, "service/{name}"),
            Self::Group(name) => write!(formatter, "group/{name}"),
        }
    }
}

fn parse(text: &str, expected: &'static str) -> Result<Subject, SubjectError> {
    let parsed = || {
        if text == "anonymous" {
            return Some(Subject::Anonymous);
        }
        let (kind, name) = text.split_once('/')?;
        let name = PrincipalName::new(name).ok()?;
        Some(match kind {
            "user" => Subject::User(name),
            "service" => Subject::Service(name),
            "group" => Subject::Group(name),
            _ => return None,
        })
    };
    parsed().ok_or_else(|| SubjectError { text: text.chars().take(80).collect(), expected })
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        parse(text, "user/NAME, service/NAME, group/NAME or anonymous")
    }
}

impl FromStr for Principal {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let expected = "user/NAME, service/NAME or anonymous";
        match parse(text, expected)? {
            Subject::Anonymous => Ok(Self::Anonymous),
            Subject::User(name) => Ok(Self::User(name)),
            Subject::Service(name) => Ok(Self::Service(name)),
            Subject::Group(_) => Err(SubjectError { text: text.to_owned(), expected }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_read_back_from_their_text() {
        for text in ["anonymous", "user/ann", "service/shop.1", "group/ops"] {
            assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
        }
        assert_eq!("user/ann".parse::<Principal>().unwrap().to_string(), "user/ann");
        for text in ["", "user", "user/", "users/ann", "user/Ann", "ann", "group/a/b", "Anonymous"] {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
        assert!("group/ops".parse::<Principal>().is_err());
    }
}
