//! The meaning of one error code.

use batuta_statemachine::Code;
use tonic::Code as Grpc;

/// The meaning of one code on every front, and what to do about it.
#[derive(Clone, Copy, Debug)]
pub struct CodeInfo {
    /// The stable code.
    pub code: Code,
    /// The HTTP status.
    pub http: u16,
    /// The gRPC status.
    pub grpc: Grpc,
    /// A suitable pause before a retry, in milliseconds; present exactly for retryable codes.
    pub retry_after_ms: Option<u64>,
    /// The title of a problem document: a few words.
    pub summary: &'static str,
    /// The cause of the error.
    pub cause: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

impl CodeInfo {
    /// Sets the pause before a retry.
    pub(super) const fn retry_after(self, retry_after_ms: u64) -> Self {
        Self { retry_after_ms: Some(retry_after_ms), ..self }
    }
}

/// Makes a line of the catalogue: the statuses and texts of a code.
pub(super) const fn line(
    code: Code,
    http: u16,
    grpc: Grpc,
    [summary, cause, remedy]: [&'static str; 3],
) -> CodeInfo {
    CodeInfo { code, http, grpc, retry_after_ms: None, summary, cause, remedy }
}
