//! Credentials and the audit: what proves who a caller is, and the record of what was changed and refused.
//!
//! What a caller may do is decided by the state machine; nothing here grants a right. Secrets are kept in types that never show them.

pub mod audit;
pub mod password;
pub mod report;
mod secret;
pub mod token;

pub use secret::Secret;
