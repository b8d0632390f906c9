//! Rules: which permissions, for which names.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::{Name, NameError, PermissionSet, PrincipalName};

/// The segment that stands for the caller's name.
const CALLER: &str = "{principal}";
/// The segment that stands for everything below, at the end of a pattern.
const BELOW: &str = "**";

/// A pattern of names: `orders/42` exactly, `orders/**` for everything below `orders/`, or `**` for every name. A segment `{principal}`
/// stands for the caller's own name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    text: Arc<str>,
    /// The bytes of the text before `/**`, or all of them.
    stem_bytes: usize,
    below: bool,
    of_caller: bool,
}

/// A text that is not a pattern of names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Without the `**` at its end it is not a valid name.
    #[error("{0}")]
    Name(#[from] NameError),
    /// A star stands in another place than the end.
    #[error("has a '*' that is not a last segment '**'; write orders/42, orders/** or **")]
    Star,
    /// `{principal}` is a part of a segment.
    #[error("has a segment with '{{principal}}' and more; it must be a whole segment")]
    Caller,
}

impl Pattern {
    /// The most patterns in one list.
    pub const LIST_MAX: usize = 64;

    /// Parses a pattern.
    ///
    /// # Errors
    /// [`PatternError`] says which rule the text breaks.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text == BELOW {
            return Ok(Self { text: text.into(), stem_bytes: 0, below: true, of_caller: false });
        }
        let below = text.strip_suffix(BELOW).and_then(|stem| stem.strip_suffix('/'));
        let stem = below.unwrap_or(text);
        let name = Name::new(stem)?;
        if stem.contains('*') {
            return Err(PatternError::Star);
        }
        let of_caller = stem.split('/').any(|segment| segment == CALLER);
        if stem.split('/').any(|segment| segment != CALLER && segment.contains(CALLER)) {
            return Err(PatternError::Caller);
        }
        let stem_bytes = name.as_str().len();
        Ok(Self { text: text.into(), stem_bytes, below: below.is_some(), of_caller })
    }

    /// The pattern of every name.
    #[must_use]
    pub fn all() -> Self {
        Self { text: BELOW.into(), stem_bytes: 0, below: true, of_caller: false }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it covers every name.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.stem_bytes == 0
    }

    /// Whether it covers a name, for a caller of this name. It allocates nothing.
    #[must_use]
    pub fn covers(&self, name: &Name, caller: Option<&PrincipalName>) -> bool {
        let name = name.as_str();
        if self.is_all() {
            return true;
        }
        if self.of_caller {
            return caller.is_some_and(|caller| self.covers_segments(name, caller.as_str()));
        }
        match name.strip_prefix(self.stem()) {
            Some(rest) if self.below => rest.starts_with('/'),
            Some(rest) => rest.is_empty(),
            None => false,
        }
    }

    fn covers_segments(&self, name: &str, caller: &str) -> bool {
        let mut segments = name.split('/');
        for wanted in self.stem().split('/') {
            let wanted = if wanted == CALLER { caller } else { wanted };
            if segments.next() != Some(wanted) {
                return false;
            }
        }
        segments.next().is_some() == self.below
    }

    /// Whether it covers every name that `other` covers. `{principal}` stands for `caller` in this pattern, and for `for_caller` in the other,
    /// or for any name when `for_caller` is `None`.
    pub(super) fn includes(
        &self,
        caller: Option<&PrincipalName>,
        other: &Self,
        for_caller: Option<&PrincipalName>,
    ) -> bool {
        if self.is_all() {
            return true;
        }
        if other.is_all() {
            return false;
        }
        let mut theirs = other.stem().split('/');
        for wanted in self.stem().split('/') {
            let Some(wanted) = named(wanted, caller) else { return false };
            if theirs.next().and_then(|segment| named(segment, for_caller)) != Some(wanted) {
                return false;
            }
        }
        // Names below `a/` are covered by `a/**`; `a` itself is not.
        let deeper = theirs.next().is_some();
        if self.below { deeper || other.below } else { !deeper && !other.below }
    }

    fn stem(&self) -> &str {
        &self.text[..self.stem_bytes]
    }
}

/// The text of a segment; `None` when it stands for the name of a caller that is not known.
fn named<'a>(segment: &'a str, caller: Option<&'a PrincipalName>) -> Option<&'a str> {
    if segment == CALLER { caller.map(PrincipalName::as_str) } else { Some(segment) }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::new(text)
    }
}

/// A rule of a role: these permissions, for the names that a pattern covers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// What it allows.
    pub permissions: PermissionSet,
    /// For which names; at least one pattern.
    pub names: Vec<Pattern>,
}

impl Rule {
    /// Allows permissions for every name.
    #[must_use]
    pub fn everywhere(permissions: PermissionSet) -> Self {
        Self { permissions, names: vec![Pattern::all()] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).unwrap()
    }

    fn caller(text: &str) -> PrincipalName {
        PrincipalName::new(text).unwrap()
    }

    #[test]
    fn patterns_cover_whole_segments() {
        let ann = caller("ann");
        for (text, covered, others) in [
            ("a/b", &["a/b"][..], &["a", "a/bc", "a/b/c", "b"][..]),
            ("a/**", &["a/b", "a/b/c"], &["a", "ab", "ab/c", "b/a/c"]),
            ("**", &["a", "a/b"], &[]),
            ("home/{principal}", &["home/ann"], &["home/bob", "home", "home/ann/x", "home/{principal}"]),
            ("{principal}/**", &["ann/x", "ann/x/y"], &["ann", "anna/x", "bob/x"]),
        ] {
            let covers = |name: &&str| pattern(text).covers(&Name::new(name).unwrap(), Some(&ann));
            assert!(covered.iter().all(covers), "{text}");
            assert!(!others.iter().any(covers), "{text}");
        }
        assert!(!pattern("{principal}/**").covers(&Name::new("ann/x").unwrap(), None));
    }

    #[test]
    fn text_that_could_mislead_is_refused() {
        for text in ["", "/", "a/", "a//b", "*", "a/*", "a*", "**/a", "a/**/b", "a**", "/**", "***"] {
            assert!(Pattern::new(text).is_err(), "{text:?}");
        }
        assert_eq!(Pattern::new("x-{principal}/a"), Err(PatternError::Caller));
        assert_eq!(pattern("a/**").to_string(), "a/**");
    }

    #[test]
    fn pattern_includes_only_what_it_covers() {
        let (ann, bob) = (caller("ann"), caller("bob"));
        for (whole, part, included) in [
            ("**", "a/**", true),
            ("a/**", "**", false),
            ("a/**", "a/**", true),
            ("a/**", "a/b/**", true),
            ("a/**", "a/b", true),
            ("a/**", "a", false),
            ("a/b", "a/b", true),
            ("a/b", "a/b/**", false),
            ("a/b/**", "a/**", false),
            ("a/**", "ab/**", false),
            ("home/**", "home/{principal}", true),
            ("home/{principal}/**", "home/ann/**", true),
            ("home/{principal}/**", "home/{principal}/**", false),
            ("home/bob/**", "home/{principal}/**", true),
        ] {
            let got = pattern(whole).includes(Some(&ann), &pattern(part), Some(&bob));
            assert_eq!(got, included, "{whole} includes {part}");
        }
        assert!(!pattern("home/bob").includes(Some(&ann), &pattern("home/{principal}"), None));
    }
}
