//! The replicated state of a Batuta cluster and the only rules that change it.
//!
//! This crate is pure: [`State::apply`] is a total, deterministic function of the state and one log
//! [`Entry`]. It does no I/O, reads no clock, draws no randomness and writes no log lines; the same log gives
//! the same state on every node and every build. Time enters through the [`Stamp`] of each entry.

mod change;
mod check;
mod code;
mod command;
mod deadline;
mod dedup;
mod hash;
mod id;
mod image;
mod limits;
mod name;
mod rejection;
mod reply;
mod state;
mod transition;
mod validate;

pub mod cluster;
pub mod invisible;
pub mod lock;
pub mod session;

pub use change::{Change, ChangeKind, ReleaseReason, SessionEnd, WaitEnd};
pub use code::Code;
pub use command::{Command, DedupKey, Entry, Request, Retry, Stamp};
pub use dedup::Ended;
pub use id::{LockId, ParseIdError, Position, SessionId};
pub use image::{ImageError, ImageHeader, ImageRecord, RememberedReply};
pub use limits::{Limits, LimitsPatch};
pub use name::{Name, NameError, Namespace};
pub use rejection::Rejection;
pub use reply::{Outcome, Reply};
pub use state::{Applied, Counts, NamespaceUsage, State};
pub use validate::Check;
