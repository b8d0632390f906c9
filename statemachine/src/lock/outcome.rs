//! The replies of locks.

use std::sync::Arc;

use crate::job_macros::{job_replies, job_usage};
use crate::lock::{Grant, Wait};
use crate::{LockId, Name};

/// The state of a requested acquisition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Acquired {
    /// The acquisition holds its locks.
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

/// The wait was withdrawn, or had already ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WaitCancelled {
    /// The acquisition.
    pub lock_id: LockId,
}

/// The waits that a lost node served were withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WaitsWithdrawn {
    /// The number of ended waits.
    pub waits: u64,
}

/// The grant was released, or taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Released {
    /// The grant.
    pub lock_id: LockId,
    /// The token of the grant.
    pub token: u64,
    /// The remaining count of a reentrant grant; 0 means that the locks are free.
    pub remaining_count: u64,
}

/// The one-shot grant was renewed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Extended {
    /// The grant, with its new TTL.
    pub grant: Arc<Grant>,
}

/// The exclusive locks of a grant are shared ones now.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Downgraded {
    /// The grant, with its new modes.
    pub grant: Arc<Grant>,
}

/// The grant has a new text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MetadataSet {
    /// The grant, with its new text.
    pub grant: Arc<Grant>,
}

/// The semaphore has a new capacity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resized {
    /// The semaphore.
    pub name: Name,
    /// Permits there are now.
    pub capacity: u32,
    /// Permits that are held now; more than `capacity` while a semaphore that shrank waits for some of them.
    pub permits_held: u32,
}

job_replies! {
    Lock {
        /// An acquisition is held, or waits.
        Acquired,
        /// A wait was withdrawn.
        WaitCancelled,
        /// The waits of a lost node were withdrawn.
        WaitsWithdrawn,
        /// A grant was released.
        Released,
        /// A one-shot grant was renewed.
        Extended,
        /// Exclusive locks are shared.
        Downgraded,
        /// A grant has a new text.
        MetadataSet,
        /// A semaphore has a new capacity.
        Resized,
    }
}

impl Reply {
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::Acquired(Acquired::Granted(grant))
            | Self::Extended(Extended { grant })
            | Self::Downgraded(Downgraded { grant })
            | Self::MetadataSet(MetadataSet { grant }) => grant.text_bytes(),
            Self::Resized(resized) => resized.name.as_str().len(),
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
