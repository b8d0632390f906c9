//! The errors of the public APIs: one type, one stable code per kind of failure, and one table
//! ([`info`]) with the statuses of each front and what the reader can do.

mod catalogue;
mod code_info;
mod details;

use std::time::Duration;

use batuta_raft::ProposeError;
use batuta_statemachine::{LockId, Name, Rejection, SessionId, TokenId, lock, session};

pub use batuta_statemachine::Code;
pub use catalogue::info;
pub use code_info::CodeInfo;

/// The default pause before a retry, in milliseconds.
const RETRY_AFTER_MS: u64 = 200;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The state machine refused the command.
    #[error("{rejection}")]
    Rejected {
        /// The refusal.
        rejection: Rejection,
        /// The revision at which it is true, if it depends on the state.
        revision: Option<u64>,
    },
    /// The command could not be proposed, or its proposal failed.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The command was sent, and its outcome is unknown.
    #[error("{}", unknown_text(*.waited_ms, *.keyed, *.lock_id))]
    OutcomeUnknown {
        /// How long the call waited for the answer, in milliseconds.
        waited_ms: u64,
        /// Whether the request has a key with which it can be repeated safely.
        keyed: bool,
        /// The acquisition, if it is known.
        lock_id: Option<LockId>,
    },
    /// A field of the request is wrong.
    #[error("{field}: {problem}")]
    InvalidArgument {
        /// The field, as the APIs spell it.
        field: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The request has a field that does not exist.
    #[error("unknown field {field}{}", .suggestion.as_ref().map(|name| format!("; did you mean {name}?")).unwrap_or_default())]
    UnknownField {
        /// The field as given.
        field: String,
        /// The field that was probably intended.
        suggestion: Option<String>,
    },
    /// The body does not match its content type.
    #[error("the body cannot be read: {problem}")]
    MalformedBody {
        /// The problem and its place.
        problem: String,
    },
    /// The body is larger than allowed.
    #[error("the body is larger than {max_bytes} bytes")]
    BodyTooLarge {
        /// The largest allowed size, in bytes.
        max_bytes: u64,
    },
    /// The body has an unsupported format.
    #[error("send the body as application/json")]
    UnsupportedMediaType,
    /// The body is compressed or otherwise encoded.
    #[error("the body is coded as {coding}; send it as it is, without {header}")]
    UnsupportedCoding {
        /// The header that names the coding.
        header: &'static str,
        /// The coding.
        coding: String,
    },
    /// The GraphQL document does not match the schema, or asks for something that this node does not answer.
    #[error("{problem}")]
    InvalidQuery {
        /// The problem and its place.
        problem: String,
    },
    /// The GraphQL document exceeds a limit of one request.
    #[error("the query is larger than {limit} = {max} allows; ask for less, or in several requests")]
    QueryTooLarge {
        /// The exceeded limit.
        limit: &'static str,
        /// The value of the limit.
        max: usize,
    },
    /// There is nothing at this path.
    #[error("there is no {path} here; the paths are listed at /docs and /openapi.json")]
    PathNotFound {
        /// The requested path.
        path: String,
    },
    /// The path does not support the method.
    #[error("{path} does not know {method}")]
    MethodNotAllowed {
        /// The requested method.
        method: String,
        /// The requested path.
        path: String,
    },
    /// Nobody holds the lock or waits for it.
    #[error("lock {name} is free: nobody holds it or waits for it")]
    LockNotFound {
        /// The lock.
        name: Name,
        /// The revision at which it is free.
        revision: u64,
    },
    /// No member has that id or name.
    #[error("{member:?} is not a member; members are {}", .members.join(", "))]
    UnknownMember {
        /// The given id or name.
        member: String,
        /// The names of all members.
        members: Vec<String>,
    },
    /// The node is shutting down.
    #[error("this node is shutting down; ask another node")]
    Draining,
    /// The node has as many calls in flight as it accepts.
    #[error("this node is busy: {what} reached {max}")]
    Busy {
        /// The limit that was reached.
        what: &'static str,
        /// The value of the limit.
        max: u64,
    },
    /// The client cancelled its call while it waited.
    #[error("the call was cancelled by its client, and its acquisition is withdrawn")]
    CallCancelled,
    /// A WebSocket connection cannot be made this way.
    #[error("the WebSocket handshake is refused: {problem}")]
    HandshakeRefused {
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The request is for a host that this node does not have.
    #[error("this node does not answer to host {host:?}: {remedy}")]
    HostNotAllowed {
        /// The host, as the request names it.
        host: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The requested changes are no longer kept on this node.
    #[error(
        "changes before revision {oldest_revision} are no longer kept here, {from_revision} was asked for; begin with a snapshot, \
         or at {oldest_revision}"
    )]
    Compacted {
        /// The first requested revision.
        from_revision: u64,
        /// The oldest revision that this node has.
        oldest_revision: u64,
    },
    /// A watcher did not read its changes fast enough.
    #[error("the watcher is too slow and was cut off; go on at revision {resume_revision}")]
    Lagged {
        /// The revision at which to resume.
        resume_revision: u64,
    },
    /// The call has no credential, or the password is wrong. Why a password is wrong is never said.
    #[error("{problem}")]
    Unauthenticated {
        /// What the caller has to send.
        problem: &'static str,
    },
    /// The token of the call is not one of this cluster.
    #[error("the token is not valid: {problem}")]
    InvalidToken {
        /// What is wrong, without any of the text of the token.
        problem: String,
    },
    /// As many passwords wait to be checked as this node accepts.
    #[error("{waiting_max} logins wait on this node already; try again, or log in at another node")]
    AuthBusy {
        /// How many logins may wait.
        waiting_max: usize,
    },
    /// The audit cannot be written, and privileged calls are refused without it.
    #[error("{problem}")]
    AuditUnavailable {
        /// What is wrong, and what to do.
        problem: &'static str,
    },
    /// Too many attempts failed shortly before.
    #[error("too many attempts failed ({limit}); try again in {retry_after_ms} ms")]
    RateLimited {
        /// The limit that was reached.
        limit: &'static str,
        /// When the next attempt is let through, in milliseconds from now.
        retry_after_ms: u64,
    },
    /// The secret of a key was in the answer to an earlier attempt.
    #[error("credential {credential} was made by an earlier attempt, and its secret cannot be shown again")]
    SecretNotRepeatable {
        /// The credential that was made.
        credential: TokenId,
    },
    /// A defect of Batuta itself.
    #[error("internal error: {0}")]
    Internal(String),
}

fn unknown_text(waited_ms: u64, keyed: bool, lock_id: Option<LockId>) -> String {
    let what = lock_id.map_or_else(|| "the request".to_owned(), |id| format!("acquisition {id}"));
    let how = if keyed {
        "send the same request again under the same key: it has its effect once"
    } else {
        "read the state before asking again, and send a retry key next time"
    };
    format!("no answer after {waited_ms} ms: whether {what} took effect is unknown; {how}")
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected { rejection, revision: None }
    }
}

impl ApiError {
    /// Makes the error of a refusal that is true at a revision.
    #[must_use]
    pub fn rejected(rejection: Rejection, revision: u64) -> Self {
        Self::Rejected { rejection, revision: Some(revision) }
    }

    /// Makes the error of a wrong field.
    pub fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::InvalidArgument { field: field.into(), problem: problem.into() }
    }

    /// Makes the error of a session that does not exist at a revision.
    #[must_use]
    pub fn session_not_found(session: SessionId, revision: u64) -> Self {
        Self::rejected(Rejection::Session(session::Refusal::SessionNotFound { session }), revision)
    }

    /// The revision at which the refusal is true; `None` when it does not depend on the state.
    #[must_use]
    pub fn revision(&self) -> Option<u64> {
        match self {
            Self::Rejected { revision, .. } => *revision,
            Self::LockNotFound { revision, .. } => Some(*revision),
            _ => None,
        }
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Rejected { rejection, .. } => rejection.code(),
            Self::Propose(error) => error.code(),
            Self::OutcomeUnknown { .. } => Code::OutcomeUnknown,
            Self::InvalidArgument { .. } => Code::InvalidArgument,
            Self::UnknownField { .. } => Code::UnknownField,
            Self::MalformedBody { .. } => Code::MalformedBody,
            Self::BodyTooLarge { .. } => Code::BodyTooLarge,
            Self::UnsupportedMediaType | Self::UnsupportedCoding { .. } => Code::UnsupportedMediaType,
            Self::InvalidQuery { .. } => Code::InvalidQuery,
            Self::QueryTooLarge { .. } => Code::QueryTooLarge,
            Self::PathNotFound { .. } => Code::PathNotFound,
            Self::MethodNotAllowed { .. } => Code::MethodNotAllowed,
            Self::LockNotFound { .. } => Code::LockNotFound,
            Self::UnknownMember { .. } => Code::UnknownMember,
            Self::Draining => Code::Draining,
            Self::Busy { .. } => Code::Overloaded,
            Self::CallCancelled => Code::WaitCancelled,
            Self::HandshakeRefused { .. } => Code::HandshakeRefused,
            Self::HostNotAllowed { .. } => Code::HostNotAllowed,
            Self::Compacted { .. } => Code::Compacted,
            Self::Lagged { .. } => Code::Lagged,
            Self::Unauthenticated { .. } => Code::Unauthenticated,
            Self::InvalidToken { .. } => Code::InvalidToken,
            Self::AuthBusy { .. } => Code::AuthBusy,
            Self::AuditUnavailable { .. } => Code::AuditUnavailable,
            Self::RateLimited { .. } => Code::RateLimited,
            Self::SecretNotRepeatable { .. } => Code::SecretNotRepeatable,
            Self::Internal(_) => Code::Internal,
        }
    }

    /// The meaning of the code on every front.
    #[must_use]
    pub fn info(&self) -> CodeInfo {
        info(self.code())
    }

    /// Whether repeating the same request is safe and may succeed.
    ///
    /// The code decides, except for an unknown outcome, after which a request may be repeated only with a retry key.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::OutcomeUnknown { keyed, .. } => *keyed,
            other => other.code().retryable(),
        }
    }

    /// How long to wait before a retry, for errors that allow one.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        if !self.retryable() {
            return None;
        }
        let wait_ms = match self {
            Self::Rejected {
                rejection: Rejection::Lock(lock::Refusal::LockDelayed { remaining_ms, .. }),
                ..
            } => (*remaining_ms).max(1),
            Self::RateLimited { retry_after_ms, .. } => (*retry_after_ms).max(1),
            other => other.info().retry_after_ms.unwrap_or(RETRY_AFTER_MS),
        };
        Some(Duration::from_millis(wait_ms))
    }

    /// [`Self::retry_after`] in milliseconds.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<u64> {
        self.retry_after().map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
    }

    /// The offending field of the request, if there is one.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Rejected { rejection: Rejection::InvalidArgument { field, .. }, .. } => Some(field),
            Self::InvalidArgument { field, .. } | Self::UnknownField { field, .. } => Some(field),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
