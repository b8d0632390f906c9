//! Deadlines: one ordered index over everything that ends by itself.

use crate::access::BindingId;
use crate::lock::LockKey;
use crate::{LockId, SessionId, TokenId};

/// Something that ends by itself. Among those due in the same millisecond, the earlier variant comes first, so that a
/// lock that becomes free is granted to a waiter whose time runs out in the same millisecond.
///
/// All replicas depend on the order of the variants, so new variants go to the end. The enum is flat, not one per job, which keeps the
/// entries of the index small.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Due {
    /// The TTL of a session.
    Session(SessionId),
    /// The TTL of a one-shot grant.
    Grant(LockId),
    /// The lock-delay of a lock.
    Delay(Box<LockKey>),
    /// The longest time of a wait.
    Wait(LockId),
    /// The time of a binding.
    Binding(BindingId),
    /// The time of a credential.
    Token(TokenId),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_of_deadlines_stays_small() {
        assert_eq!(size_of::<(u64, Due)>(), 24);
    }
}
