//! How the state machine's log is written down.
//!
//! The crate that will name openraft: log store, snapshots, peers and the `Replica` handle. So far it holds the encoding of
//! log entries.

pub mod codec;
pub mod disk;
pub mod log;
