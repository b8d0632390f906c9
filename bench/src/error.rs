//! What can go wrong while measuring.

use std::path::Path;

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file or a process.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A call was refused or broke.
    #[error("{} ({:?})", .0.message(), .0.code())]
    Call(#[from] tonic::Status),
    /// Likewise, through Batuta's client.
    #[error("{0}")]
    Client(#[from] batuta_client::Error),
    /// No connection.
    #[error("no connection: {0:?}")]
    Transport(#[from] tonic::transport::Error),
    /// REST or GraphQL.
    #[error("HTTP: {0}")]
    Http(#[from] reqwest::Error),
    /// WebSocket.
    #[error("WebSocket: {0}")]
    WebSocket(#[from] Box<tokio_tungstenite::tungstenite::Error>),
    /// Redis.
    #[error("Redis: {0}")]
    Redis(#[from] redis::RedisError),
    /// A report that can not be written as JSON.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

impl Error {
    /// An error in words.
    pub(crate) fn other(words: impl Into<String>) -> Self {
        Self::Other(words.into())
    }

    /// Makes a system error one of ours; `what` says what was being done.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// Likewise for a file that could not be used.
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        Self::io(path.display().to_string())
    }
}

/// With our error.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
