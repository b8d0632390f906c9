//! The changes of locks.

use std::sync::Arc;

use crate::lock::{Grant, LockRequest, ReleaseReason, Wait, WaitEnd};

/// The changes of locks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// An acquisition was queued.
    LockQueued(Wait),
    /// An acquisition was granted, or a re-entrant count rose.
    LockGranted(Arc<Grant>),
    /// A one-shot grant was extended.
    LockExtended(Arc<Grant>),
    /// A grant ended, or a re-entrant count fell (then `grant.count` is what is left).
    LockReleased {
        /// The grant as it was, with the count that is left.
        grant: Arc<Grant>,
        /// Why.
        reason: ReleaseReason,
    },
    /// A wait ended without a grant.
    WaitEnded {
        /// The wait as it was; its place in the queue is gone, so it says 0.
        wait: Wait,
        /// Why.
        reason: WaitEnd,
    },
}

impl Change {
    pub(crate) fn text_bytes(&self) -> usize {
        let requests = |requests: &[LockRequest]| -> usize {
            requests.iter().map(|request| size_of::<LockRequest>() + request.name.as_str().len()).sum()
        };
        let grant =
            |grant: &Grant| requests(&grant.requests) + grant.owner.label.len() + grant.metadata.len();
        match self {
            Self::LockQueued(wait) | Self::WaitEnded { wait, .. } => {
                requests(&wait.requests) + wait.owner.label.len()
            }
            Self::LockGranted(held) | Self::LockExtended(held) => grant(held),
            Self::LockReleased { grant: held, reason } => {
                let words = if let ReleaseReason::Forced { reason } = reason { reason.len() } else { 0 };
                grant(held) + words
            }
        }
    }
}
