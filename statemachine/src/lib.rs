//! The replicated state of a Batuta cluster and the only rules that change it.
//!
//! This crate is pure: [`State::apply`] is a total, deterministic function of the state and one log
//! [`Entry`]. It does no I/O, reads no clock, draws no randomness and writes no log lines; the same log gives
//! the same state on every node and every build. Time enters through the [`Stamp`] of each entry.

mod apply;
mod change;
mod check;
mod code;
mod due;
mod ensure;
mod entry;
mod hash;
mod id;
mod image;
mod image_error;
mod job;
mod job_macros;
mod jobs;
mod level;
mod limit;
mod limits;
mod name;
mod permission;
mod principal;
mod rejection;
mod retry;
mod state;
mod step;
mod validate;

pub mod access;
pub mod cluster;
pub mod common_limits;
pub mod invisible;
pub mod lock;
pub mod register;
pub mod retries;
pub mod session;

pub use apply::Applied;
pub use change::Change;
pub use code::Code;
pub use entry::{DedupKey, Entry, Request, Retry, Stamp};
pub use id::{LockId, ParseIdError, Position, SessionId};
pub use image::{ImageHeader, ImageRecord, RememberedReply, RetryRecord};
pub use image_error::ImageError;
pub use jobs::{Ask, ChangeKind, Command, Reply};
pub use level::{LEVEL, LEVEL_MIN, version_of};
pub use limits::{Limits, LimitsPatch};
pub use lock::{ReleaseReason, WaitEnd};
pub use name::{Name, NameError, Namespace};
pub use permission::{Permission, PermissionSet, UnknownPermission};
pub use principal::{
    Actor, Principal, PrincipalId, PrincipalName, PrincipalNameError, TokenId, TokenIdError,
};
pub use rejection::Rejection;
pub use retries::Ended;
pub use session::SessionEnd;
pub use state::{Counts, NamespaceUsage, State};
pub use validate::Check;

/// The outcome of a command: its reply, or its refusal.
pub type Outcome = Result<Reply, Rejection>;
