//! What one code of the catalogue means.

use tonic::Code;

/// What one code means on every front, and what to do about it.
#[derive(Clone, Copy, Debug)]
pub struct CodeInfo {
    /// The stable code.
    pub code: &'static str,
    /// HTTP status.
    pub http: u16,
    /// gRPC status.
    pub grpc: Code,
    /// Whether the same request may be sent again as it is. For `outcome_unknown` only under a retry key.
    pub retryable: bool,
    /// A good pause before a retry, milliseconds; `None` = the usual one.
    pub retry_after_ms: Option<u64>,
    /// What it says, in a few words: the title of a problem document.
    pub summary: &'static str,
    /// What leads to it.
    pub cause: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// A code whose request fails again when it is sent again.
pub(super) const fn fatal(
    code: &'static str,
    http: u16,
    grpc: Code,
    [summary, cause, remedy]: [&'static str; 3],
) -> CodeInfo {
    CodeInfo { code, http, grpc, retryable: false, retry_after_ms: None, summary, cause, remedy }
}

/// A code whose request may be sent again as it is.
pub(super) const fn passing(
    code: &'static str,
    http: u16,
    grpc: Code,
    retry_after_ms: u64,
    [summary, cause, remedy]: [&'static str; 3],
) -> CodeInfo {
    CodeInfo {
        code,
        http,
        grpc,
        retryable: true,
        retry_after_ms: Some(retry_after_ms),
        summary,
        cause,
        remedy,
    }
}
