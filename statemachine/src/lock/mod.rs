//! Locks: exclusive, shared and semaphore, single or several taken together; and elections, whose leadership is a lock of its own mode.

mod acquire;
mod cancel_wait;
mod change;
mod check;
mod command;
mod deadlock;
mod downgrade;
mod explain;
mod extend;
mod force_release;
mod grant;
mod image;
mod job;
mod limits;
mod outcome;
mod permit;
mod promote;
mod record;
mod refusal;
mod release;
mod resize;
mod serving;
mod set_metadata;
mod table;
mod types;
mod validate;
mod view;
mod withdraw_waits;

pub use change::Change;
pub use command::{
    Acquire, By, CancelScope, CancelWait, Command, Downgrade, Extend, ForceRelease, GrantRef, Release,
    Resize, SetMetadata, WithdrawWaits,
};
pub use explain::{Blocker, Explanation, WaiterExplanation};
pub use image::Record;
pub use limits::Limits;
pub use outcome::{
    Acquired, Downgraded, Extended, MetadataSet, Released, Reply, Resized, Usage, WaitCancelled,
    WaitsWithdrawn,
};
pub use record::WaitRecord;
pub use refusal::Refusal;
pub use types::{Grant, LockRequest, Mode, Owner, OwnerRecord, ReleaseReason, ServingCall, Wait, WaitEnd};
pub use view::{Acquisition, LockFilter, LockKind, LockPart, LockView, TokenCheck, TokenStatus};

pub(crate) use grant::{end_delay, end_grant, end_owned, end_wait};
pub(crate) use job::Lock;
pub(crate) use record::LockKey;
pub(crate) use table::Table;
