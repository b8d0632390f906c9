//! Errors of a measurement.

use std::path::Path;

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file or process failed.
    #[error("{what}: {source}")]
    Io {
        /// The operation that failed.
        what: String,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A call was refused or broke.
    #[error("{} ({:?})", .0.message(), .0.code())]
    Call(#[from] tonic::Status),
    /// A call through Batuta's client was refused or broke.
    #[error("{0}")]
    Client(#[from] batuta_client::Error),
    /// No connection could be made.
    #[error("no connection: {0:?}")]
    Transport(#[from] tonic::transport::Error),
    /// A REST or GraphQL request failed.
    #[error("HTTP: {0}")]
    Http(#[from] reqwest::Error),
    /// The WebSocket failed.
    #[error("WebSocket: {0}")]
    WebSocket(#[from] Box<tokio_tungstenite::tungstenite::Error>),
    /// Redis refused, or its connection broke.
    #[error("Redis: {0}")]
    Redis(#[from] redis::RedisError),
    /// A report that cannot be written as JSON.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Any other error, as text.
    #[error("{0}")]
    Other(String),
}

impl Error {
    /// An error with this text.
    pub(crate) fn other(words: impl Into<String>) -> Self {
        Self::Other(words.into())
    }

    /// Converts an I/O error; `what` names the operation.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// Converts the error of a file that could not be used.
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        Self::io(path.display().to_string())
    }
}

/// A result with this crate's error.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
