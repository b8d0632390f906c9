//! Stores and replicates the state machine's log.
//!
//! The only crate that names openraft: log store, snapshots, peers and the `Replica` handle.

pub mod codec;
pub mod disk;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod history;
mod inspect;
mod integrity;
mod level;
mod lineage;
pub mod log;
mod machine;
mod metrics;
mod peer;
mod platform;
mod replica;
mod snapshot;
mod store;
mod types;

pub use batuta_statemachine::LEVEL;
pub use history::{History, RevisionChanges};
pub use inspect::{InspectError, LoggedEntry, read_log};
pub use level::TooNew;
pub use platform::{OsPlatform, Platform};
pub use replica::{
    Answer, KeptAlive, MemberStatus, Options, ProposeError, Replica, Role, StartError, Status,
};
pub use snapshot::SnapshotError;
pub use types::Addresses;
