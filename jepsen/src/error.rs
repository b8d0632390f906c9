//! Errors of the harness itself (a defect of the cluster is a [`crate::check::Problem`]).

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a run could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program of the machine is missing or failed.
    #[error("{command}: {said}")]
    Tool {
        /// The command line.
        command: String,
        /// The output of the program.
        said: String,
    },
    /// An operation on a file or a process failed.
    #[error("{what}: {source}")]
    Io {
        /// The attempted operation.
        what: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file has unexpected contents.
    #[error("{path}: {problem}", path = path.display())]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The problem with its contents.
        problem: String,
    },
    /// A condition did not come true in time.
    #[error("not within {within:?}: {what}")]
    NotInTime {
        /// The condition.
        what: String,
        /// How long the harness waited.
        within: Duration,
    },
    /// The harness was used in a wrong way.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// Makes an [`Error::Io`] for an attempted operation.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// The result type of the harness.
pub type Result<T> = std::result::Result<T, Error>;
