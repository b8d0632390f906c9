//! What can be wrong with a configuration.

use std::path::PathBuf;

use crate::origin::Origin;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can not be read.
    #[error("configuration file {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("configuration file {path} is not valid TOML: {problem}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        problem: String,
    },
    /// There is no such key or section.
    #[error("{origin}: unknown key `{key}`{}", did_you_mean(suggestion.as_deref()))]
    UnknownKey {
        /// Where it was given.
        origin: Origin,
        /// What was given.
        key: String,
        /// What may have been meant.
        suggestion: Option<String>,
    },
    /// The value is of the wrong kind.
    #[error("{origin}: `{key}` must be {expected}, not {found}")]
    Kind {
        /// Where it was given.
        origin: Origin,
        /// The key.
        key: &'static str,
        /// The kind it must be.
        expected: &'static str,
        /// What was given.
        found: String,
    },
    /// The value is no text.
    #[error("{origin}: `{key}` must be UTF-8, and `{found}` is not; write it anew, or remove the variable")]
    NotUtf8 {
        /// Where it was given.
        origin: Origin,
        /// The key.
        key: &'static str,
        /// What was given, with a replacement character for each byte that is none.
        found: String,
    },
    /// The value breaks a rule.
    #[error("`{key}` ({origin}): {problem}; {remedy}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// Where its value came from.
        origin: Origin,
        /// The rule it breaks, with the limit.
        problem: String,
        /// What to do.
        remedy: String,
    },
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    match suggestion {
        Some(name) => format!("; did you mean `{name}`?"),
        None => "; docs/configuration.md lists the keys".to_owned(),
    }
}
