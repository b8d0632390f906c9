//! What is due when: one ordered index over everything that ends by itself.

use crate::lock::LockKey;
use crate::{LockId, SessionId};

/// Something that ends by itself. Of things due at the same millisecond the earlier variant comes first, so that a
/// lock that becomes free reaches a waiter whose time runs out in the same millisecond.
///
/// The order of the variants is what every replica does: new variants go to the end. One flat enum, not one a job: an entry of the index
/// stays small.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Due {
    /// A session's time to live.
    Session(SessionId),
    /// A one-shot grant's time to live.
    Grant(LockId),
    /// A lock's delay.
    Delay(Box<LockKey>),
    /// A wait.
    Wait(LockId),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_of_deadlines_stays_small() {
        assert_eq!(size_of::<(u64, Due)>(), 24);
    }
}
