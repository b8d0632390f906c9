//! What a command answers when it is not refused.

use std::sync::Arc;

use crate::lock::{Grant, Wait};
use crate::{LockId, Rejection, SessionId};

/// The answer of a command.
pub type Outcome = Result<Reply, Rejection>;

/// The answer of a command that was not refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// A session is open.
    SessionOpened {
        /// Names it.
        session: SessionId,
        /// Its time to live, milliseconds.
        ttl_ms: u64,
        /// Cluster time before which it does not expire.
        deadline_ms: u64,
        /// Wall clock of the entry, for people.
        opened_wall_ms: u64,
    },
    /// Keep-alives were taken; per session, in order: its new deadline in cluster time, `None` when it does not exist (any more).
    KeptAlive(Vec<Option<u64>>),
    /// A session is closed.
    SessionClosed {
        /// How many grants went with it.
        released_grants: u64,
        /// How many waits went with it.
        cancelled_waits: u64,
    },
    /// The lock is held.
    Granted(Arc<Grant>),
    /// The acquisition waits.
    Queued(Wait),
    /// The wait is withdrawn (or had ended already).
    WaitCancelled {
        /// The acquisition.
        lock_id: LockId,
    },
    /// The waits that a lost node served are withdrawn.
    WaitsWithdrawn {
        /// How many ended.
        waits: u64,
    },
    /// The grant is given back.
    Released {
        /// The grant.
        lock_id: LockId,
        /// Its token.
        token: u64,
        /// What is left of a re-entrant count; 0 = the locks are free.
        remaining_count: u64,
    },
    /// The one-shot grant lives longer.
    Extended(Arc<Grant>),
    /// The register stands at the token.
    RegisterAdvanced {
        /// Its value now.
        high_water: u64,
    },
    /// The register is gone.
    RegisterDeleted {
        /// Its last value.
        high_water: u64,
    },
    /// The cluster has its identity.
    ClusterInitialised,
    /// A node id was given out.
    NodeAllocated {
        /// The id.
        node_id: u64,
    },
    /// The limits are in force.
    LimitsSet,
}
