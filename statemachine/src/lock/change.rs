//! The changes of locks.

use std::sync::Arc;

use crate::Name;
use crate::lock::{Grant, ReleaseReason, Wait, WaitEnd};

/// The changes of locks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// An acquisition was queued.
    LockQueued(Wait),
    /// An acquisition was granted, or a reentrant count rose.
    LockGranted(Arc<Grant>),
    /// A one-shot grant was extended.
    LockExtended(Arc<Grant>),
    /// The holder changed its grant: it downgraded its locks, or replaced its text.
    LockChanged(Arc<Grant>),
    /// A semaphore has another capacity; so has every grant and every wait that names it.
    LockResized {
        /// The semaphore.
        name: Name,
        /// Permits there are now.
        capacity: u32,
    },
    /// A grant ended, or a reentrant count fell (then `grant.count` is the remaining count).
    LockReleased {
        /// The grant as it was, with the remaining count.
        grant: Arc<Grant>,
        /// Why the grant ended.
        reason: ReleaseReason,
    },
    /// A wait ended without a grant.
    WaitEnded {
        /// The wait as it was. It no longer has a place in the queue, so `queue_position` is 0.
        wait: Wait,
        /// Why the wait ended.
        reason: WaitEnd,
    },
}

impl Change {
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::LockQueued(wait) | Self::WaitEnded { wait, .. } => wait.text_bytes(),
            Self::LockGranted(grant) | Self::LockExtended(grant) | Self::LockChanged(grant) => {
                grant.text_bytes()
            }
            Self::LockResized { name, .. } => name.as_str().len(),
            Self::LockReleased { grant, reason } => grant.text_bytes() + reason.text_bytes(),
        }
    }
}
