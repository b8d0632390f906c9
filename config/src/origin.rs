//! The origin of a configuration value.

use std::fmt;
use std::path::PathBuf;

/// The origin of a value, shown next to the value and in every error about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The default: nobody set the key.
    Default,
    /// A line of the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The environment variable of this name.
    Env(String),
    /// The flag, as the user writes it.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "file {}:{line}", path.display()),
            Self::Env(name) => write!(f, "env {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}
