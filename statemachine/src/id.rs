//! Ids taken from the log: the position of a request determines the id of its session or grant, so every
//! replica assigns the same id without random numbers.

use std::fmt;
use std::str::FromStr;

/// A position in the log: the index of an entry, and the ordinal of a request inside it.
///
/// Positions are totally ordered and never reused, even across restarts and leader changes. The struct is packed, because a held lock has
/// several, and there may be millions of locks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(Rust, packed(4))]
pub struct Position {
    /// Log index of the entry (the *revision* users see).
    pub index: u64,
    /// Ordinal of the request inside its entry, from 0.
    pub ordinal: u32,
}

/// A text that is not an id of the expected kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind} id: expected {prefix}<index>.<ordinal>, for example {prefix}1532.0")]
pub struct ParseIdError {
    /// The text that was given.
    pub text: String,
    /// `lock`, `session` or `principal`.
    pub kind: &'static str,
    /// The prefix such an id starts with.
    pub prefix: &'static str,
}

pub(crate) fn parse(text: &str, kind: &'static str, prefix: &'static str) -> Result<Position, ParseIdError> {
    let canonical_number = |digits: &str| {
        !digits.is_empty()
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && (digits.len() == 1 || !digits.starts_with('0'))
    };
    text.strip_prefix(prefix)
        .and_then(|rest| rest.split_once('.'))
        .filter(|(index, ordinal)| canonical_number(index) && canonical_number(ordinal))
        .and_then(|(index, ordinal)| {
            Some(Position { index: index.parse().ok()?, ordinal: ordinal.parse().ok()? })
        })
        .ok_or_else(|| ParseIdError { text: text.chars().take(64).collect(), kind, prefix })
}

/// The id of a session, written `s-<index>.<ordinal>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub Position);

/// The id of an acquisition, first of the wait and then of the grant, written `l-<index>.<ordinal>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockId(pub Position);

impl SessionId {
    /// The least there can be.
    pub(crate) const MIN: Self = Self(Position { index: 0, ordinal: 0 });
}

impl LockId {
    /// The least there can be.
    pub(crate) const MIN: Self = Self(Position { index: 0, ordinal: 0 });
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { index, ordinal } = self.0;
        write!(f, "s-{index}.{ordinal}")
    }
}

impl fmt::Display for LockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { index, ordinal } = self.0;
        write!(f, "l-{index}.{ordinal}")
    }
}

impl FromStr for SessionId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text, "session", "s-").map(Self)
    }
}

impl FromStr for LockId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text, "lock", "l-").map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_a_round_trip() {
        let id = LockId(Position { index: 1532, ordinal: 7 });
        assert_eq!(id.to_string().parse(), Ok(id));
        let id = SessionId(Position { index: u64::MAX, ordinal: u32::MAX });
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn only_the_canonical_text_names_an_id() {
        for text in ["", "l-", "l-1", "l-1.", "l-.1", "l-01.0", "l-+1.0", "s-1.0", "l-1.0 ", "l-1.4294967296"]
        {
            assert!(text.parse::<LockId>().is_err(), "{text:?} must be refused");
        }
    }
}
