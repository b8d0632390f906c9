//! What one code means.

use batuta_statemachine::Code;
use tonic::Code as Grpc;

/// What one code means on every front, and what to do about it.
#[derive(Clone, Copy, Debug)]
pub struct CodeInfo {
    /// The stable code.
    pub code: Code,
    /// HTTP status.
    pub http: u16,
    /// gRPC status.
    pub grpc: Grpc,
    /// A good pause before a retry, milliseconds; present exactly for codes that are retryable.
    pub retry_after_ms: Option<u64>,
    /// The title of a problem document: a few words.
    pub summary: &'static str,
    /// What leads to this code.
    pub cause: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

impl CodeInfo {
    /// The same with a pause before a retry.
    pub(super) const fn retry_after(self, retry_after_ms: u64) -> Self {
        Self { retry_after_ms: Some(retry_after_ms), ..self }
    }
}

/// The statuses and words of a code.
pub(super) const fn line(
    code: Code,
    http: u16,
    grpc: Grpc,
    [summary, cause, remedy]: [&'static str; 3],
) -> CodeInfo {
    CodeInfo { code, http, grpc, retry_after_ms: None, summary, cause, remedy }
}
