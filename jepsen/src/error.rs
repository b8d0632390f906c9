//! What can go wrong with the harness itself (what is wrong with the cluster is a [`crate::check::Problem`]).

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program of the machine is missing or failed.
    #[error("{command}: {said}")]
    Tool {
        /// What was run.
        command: String,
        /// What it said.
        said: String,
    },
    /// A file or a process.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file that is not what it should be.
    #[error("{path}: {problem}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A condition did not come true.
    #[error("not within {within:?}: {what}")]
    NotInTime {
        /// The condition.
        what: String,
        /// How long it was waited for.
        within: Duration,
    },
    /// Asked for something that is not there.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// An [`Error::Io`] of an attempt.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// What most of the harness gives.
pub type Result<T> = std::result::Result<T, Error>;
