//! What the commands of locks answer.

use std::sync::Arc;

use crate::LockId;
use crate::job_macros::{job_replies, job_usage};
use crate::lock::{Grant, Wait};

/// How an acquisition stands that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Acquired {
    /// The lock is held.
    Granted(Arc<Grant>),
    /// The acquisition waits.
    Queued(Wait),
}

impl Acquired {
    /// The acquisition.
    #[must_use]
    pub fn lock_id(&self) -> LockId {
        match self {
            Self::Granted(grant) => grant.lock_id,
            Self::Queued(wait) => wait.lock_id,
        }
    }
}

/// The wait is withdrawn (or had ended already).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WaitCancelled {
    /// The acquisition.
    pub lock_id: LockId,
}

/// The waits that a lost node served are withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WaitsWithdrawn {
    /// How many ended.
    pub waits: u64,
}

/// The grant is given back, or taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Released {
    /// The grant.
    pub lock_id: LockId,
    /// Its token.
    pub token: u64,
    /// What is left of a re-entrant count; 0 = the locks are free.
    pub remaining_count: u64,
}

/// The one-shot grant lives longer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Extended {
    /// The grant, with its new time to live.
    pub grant: Arc<Grant>,
}

job_replies! {
    Lock {
        /// An acquisition is held, or waits.
        Acquired,
        /// A wait is withdrawn.
        WaitCancelled,
        /// The waits of a lost node are withdrawn.
        WaitsWithdrawn,
        /// A grant is given back.
        Released,
        /// A one-shot grant lives longer.
        Extended,
    }
}

impl Reply {
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::Acquired(Acquired::Granted(grant)) | Self::Extended(Extended { grant }) => {
                grant.text_bytes()
            }
            Self::Acquired(Acquired::Queued(wait)) => wait.text_bytes(),
            Self::WaitCancelled(_) | Self::WaitsWithdrawn(_) | Self::Released(_) => 0,
        }
    }
}

job_usage! {
    /// Held acquisitions.
    grants,
    /// Queued acquisitions.
    waits,
    /// Locks that are held, waited for, or closed by lock-delay.
    locks,
}
