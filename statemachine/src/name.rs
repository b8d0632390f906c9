//! Names of namespaces, locks and registers. They are parsed once at the edge, and valid from then on.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::invisible::{self, Invisible};

/// Why a text is not a valid name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("must not be empty")]
    Empty,
    /// The text is longer than the format allows (the replicated limits may be lower).
    #[error("is {actual_bytes} bytes long; at most {max_bytes} are allowed")]
    TooLong {
        /// The length of the text, in bytes.
        actual_bytes: usize,
        /// The largest allowed length, in bytes.
        max_bytes: usize,
    },
    /// A segment between slashes is empty, `.` or `..`.
    #[error("has an empty, '.' or '..' segment; write segments like orders/42, with no slash at either end")]
    Segment,
    /// A segment starts or ends with white space.
    #[error("has white space at an end of a segment")]
    EdgeSpace,
    /// The text contains an invisible character, or one that changes the look of others.
    #[error("{0}")]
    Invisible(Invisible),
    /// The text contains a character that is not allowed in namespaces.
    #[error("may only have lower-case letters, digits, '-', '_' and '.', and starts with a letter or digit")]
    NamespaceCharacter,
}

/// A path of UTF-8 segments such as `orders/42`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The longest name that the format allows, in bytes. [`crate::common_limits::Limits::name_bytes_max`] may be lower.
    pub const BYTES_MAX: usize = 1024;

    /// Parses a name from a request. Invisible characters are refused, so that different names also look different, as far as single
    /// characters decide it.
    ///
    /// # Errors
    /// [`NameError`] says which rule the text breaks.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if let Some(invisible) = invisible::first(text) {
            return Err(NameError::Invisible(invisible));
        }
        Self::stored(text)
    }

    /// Parses a name from a log or a snapshot, by the rules of format 1, which allowed more characters than [`Name::new`].
    ///
    /// # Errors
    /// Those of [`Name::new`].
    pub fn stored(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > Self::BYTES_MAX {
            return Err(NameError::TooLong { actual_bytes: text.len(), max_bytes: Self::BYTES_MAX });
        }
        for segment in text.split('/') {
            if matches!(segment, "" | "." | "..") {
                return Err(NameError::Segment);
            }
            if segment.trim() != segment {
                return Err(NameError::EdgeSpace);
            }
        }
        if let Some(invisible) = invisible::find(text, char::is_control) {
            return Err(NameError::Invisible(invisible));
        }
        Ok(Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The lower bound of the names that start with `prefix`, in name order. It is not a valid name itself.
    pub(crate) fn lower_bound(prefix: &str) -> Self {
        Self(prefix.into())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The unit of isolation: a short lower-case label. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Namespace(Arc<str>);

impl Namespace {
    /// The longest namespace, in bytes.
    pub const BYTES_MAX: usize = 63;
    /// The namespace of a request that names none.
    pub const DEFAULT: &str = "default";

    /// Parses a namespace.
    ///
    /// # Errors
    /// [`NameError`] says which rule the text breaks.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > Self::BYTES_MAX {
            return Err(NameError::TooLong { actual_bytes: text.len(), max_bytes: Self::BYTES_MAX });
        }
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        if !text.bytes().all(allowed) || !text.as_bytes()[0].is_ascii_alphanumeric() {
            return Err(NameError::NamespaceCharacter);
        }
        Ok(Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl Ord for Namespace {
    fn cmp(&self, other: &Self) -> Ordering {
        // Stored keys share the text of their namespace.
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl PartialOrd for Namespace {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_paths_of_clean_segments() {
        for text in ["a", "orders/42", "größe/π", "a b/c", "UPPER/x.y-z_"] {
            assert!(Name::new(text).is_ok(), "{text:?}");
        }
        for (text, error) in [
            ("", NameError::Empty),
            ("/a", NameError::Segment),
            ("a/", NameError::Segment),
            ("a//b", NameError::Segment),
            ("a/../b", NameError::Segment),
            (" a", NameError::EdgeSpace),
            ("a/b /c", NameError::EdgeSpace),
        ] {
            assert_eq!(Name::new(text), Err(error), "{text:?}");
        }
        assert!(Name::new(&"x".repeat(Name::BYTES_MAX)).is_ok());
        assert!(matches!(Name::new(&"x".repeat(Name::BYTES_MAX + 1)), Err(NameError::TooLong { .. })));
    }

    #[test]
    fn invisible_characters_are_named_with_their_place() {
        for (text, told) in [
            ("a\nb", "has the control character U+000A as its character 2"),
            ("orders\u{200b}/42", "has the invisible character U+200B as its character 7"),
            ("\u{202e}24/sredro", "has the invisible character U+202E as its character 1"),
            ("größe\u{feff}", "has the invisible character U+FEFF as its character 6"),
            ("a\u{a0}b", "has the white space U+00A0 as its character 2"),
        ] {
            let error = Name::new(text).expect_err("refused").to_string();
            assert!(error.starts_with(told), "{text:?}: {error}");
            assert!(!error.contains(char::is_control), "it goes to terminals: {error:?}");
        }
    }

    #[test]
    fn stored_names_keep_the_rules_of_their_format() {
        let old = "orders\u{200b}/42";
        assert_eq!(Name::stored(old).expect("format 1 had it").as_str(), old);
        assert!(Name::stored("a\nb").is_err());
        assert!(Name::stored("a//b").is_err());
    }

    #[test]
    fn namespaces_are_short_lower_case_labels() {
        for text in ["default", "team-a", "0", "a.b_c"] {
            assert!(Namespace::new(text).is_ok(), "{text:?}");
        }
        for text in ["", "Team", "-a", "a/b", "a b", "ä", &"x".repeat(64)] {
            assert!(Namespace::new(text).is_err(), "{text:?}");
        }
    }
}
