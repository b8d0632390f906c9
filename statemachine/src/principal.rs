//! Principals: who makes a call, and who owns what calls made.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::Position;
use crate::id::ParseIdError;

/// The name of a user, a service account or a group: lower case, so that no two names look alike by case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrincipalName(Arc<str>);

/// A text that is not the name of a principal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to 63 characters of a-z, 0-9, '.', '_', '@' and '-', and start with a letter or digit")]
pub struct PrincipalNameError;

impl PrincipalName {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 63;

    /// Parses a name.
    ///
    /// # Errors
    /// The text has a character, a beginning or a length that is not allowed.
    pub fn new(text: &str) -> Result<Self, PrincipalNameError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let fits = text.len() <= Self::BYTES_MAX
            && text.bytes().next().is_some_and(plain)
            && text.bytes().all(|byte| plain(byte) || matches!(byte, b'.' | b'_' | b'@' | b'-'));
        if fits { Ok(Self(text.into())) } else { Err(PrincipalNameError) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PrincipalName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Who makes calls, written `user/NAME`, `service/NAME` or `anonymous`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Principal {
    /// A caller without a credential.
    Anonymous,
    /// A person.
    User(PrincipalName),
    /// A service account.
    Service(PrincipalName),
}

impl Principal {
    /// The name, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&PrincipalName> {
        match self {
            Self::Anonymous => None,
            Self::User(name) | Self::Service(name) => Some(name),
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => formatter.write_str("anonymous"),
            Self::User(name) => write!(formatter, "user/{name}"),
            Self::Service(name) => write!(formatter, "service/{name}"),
        }
    }
}

/// The id of a principal, written `p-<index>.<ordinal>`: the position at which it was created. A principal that is deleted and created again
/// is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrincipalId(pub Position);

impl PrincipalId {
    /// Callers without a credential. No entry is at this position.
    pub const ANONYMOUS: Self = Self(Position { index: 0, ordinal: 0 });
}

impl Default for PrincipalId {
    fn default() -> Self {
        Self::ANONYMOUS
    }
}

impl fmt::Display for PrincipalId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { index, ordinal } = self.0;
        write!(formatter, "p-{index}.{ordinal}")
    }
}

impl FromStr for PrincipalId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        crate::id::parse(text, "principal", "p-").map(Self)
    }
}

/// The public id of a credential: 12 characters of base 62, drawn by the node that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId([u8; Self::LENGTH]);

/// A text that is not the id of a credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 12 characters of a-z, A-Z and 0-9")]
pub struct TokenIdError;

impl TokenId {
    /// The number of characters.
    pub const LENGTH: usize = 12;

    /// Parses an id.
    ///
    /// # Errors
    /// The text has another length or another character.
    pub fn new(text: &str) -> Result<Self, TokenIdError> {
        let bytes: [u8; Self::LENGTH] = text.as_bytes().try_into().map_err(|_| TokenIdError)?;
        if bytes.iter().all(u8::is_ascii_alphanumeric) { Ok(Self(bytes)) } else { Err(TokenIdError) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ASCII gets in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Who asked for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Actor {
    /// A node, for its own work: what nodes do on their own needs no permission. So do callers while access is off.
    #[default]
    Node,
    /// A caller of a front.
    Caller {
        /// The caller.
        principal: PrincipalId,
        /// The credential with which it proved who it is; `None` for anonymous callers.
        credential: Option<TokenId>,
    },
}

impl Actor {
    /// A caller without a credential.
    pub const ANONYMOUS: Self = Self::Caller { principal: PrincipalId::ANONYMOUS, credential: None };

    /// The principal that owns what the actor makes: [`PrincipalId::ANONYMOUS`] for nodes and for callers without a credential.
    #[must_use]
    pub fn principal(&self) -> PrincipalId {
        match self {
            Self::Node => PrincipalId::ANONYMOUS,
            Self::Caller { principal, .. } => *principal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_and_short() {
        for text in ["a", "0", "ann", "ann.b_c@shop-1", &"a".repeat(63)] {
            assert_eq!(PrincipalName::new(text).unwrap().as_str(), text);
        }
        for text in ["", "Ann", ".ann", "-a", "a b", "a/b", "ä", "a\n", &"a".repeat(64)] {
            assert_eq!(PrincipalName::new(text), Err(PrincipalNameError), "{text:?}");
        }
    }

    #[test]
    fn ids_are_read_back_from_their_text() {
        let id = PrincipalId(Position { index: 7, ordinal: 1 });
        assert_eq!((id.to_string().as_str(), "p-7.1".parse()), ("p-7.1", Ok(id)));
        assert!("l-7.1".parse::<PrincipalId>().is_err());
        assert_eq!(TokenId::new("abcDEF012345").unwrap().to_string(), "abcDEF012345");
        for text in ["", "abcDEF01234", "abcDEF0123456", "abcDEF01234-", "abcDEF01234é"] {
            assert_eq!(TokenId::new(text), Err(TokenIdError), "{text:?}");
        }
    }
}
