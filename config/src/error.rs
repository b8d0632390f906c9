//! Errors in a configuration.

use std::path::PathBuf;

use crate::origin::Origin;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("configuration file {path} is not valid TOML: {problem}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        problem: String,
    },
    /// No key or section has this name.
    #[error("{origin}: unknown key `{key}`{}", did_you_mean(suggestion.as_deref()))]
    UnknownKey {
        /// Where it was given.
        origin: Origin,
        /// The unknown name.
        key: String,
        /// The known key or section with the most similar name.
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
        /// The value that was given.
        found: String,
    },
    /// The value is not UTF-8.
    #[error(
        "{origin}: `{key}` must be UTF-8, and `{found}` is not; correct the value, or remove the variable"
    )]
    NotUtf8 {
        /// Where it was given.
        origin: Origin,
        /// The key.
        key: &'static str,
        /// The value that was given, with a replacement character for each byte that is not UTF-8.
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
