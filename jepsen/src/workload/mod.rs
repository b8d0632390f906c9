//! The workloads that clients run while the nemesis injects faults.

mod access;
mod election;
mod keeper;
mod lock;
mod queue;
mod register;
mod resource;
mod retry;
mod sessions;

use std::sync::Arc;

use clap::ValueEnum;
use tokio::task::JoinSet;

use crate::client::{Client, Shared};
use crate::nemesis::Pauses;

pub use access::ADMIN;
pub use keeper::{HELD, LOST};
pub use queue::leave_everywhere;
pub use resource::Stores;

/// A workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Locks of every mode: acquire, wait, extend, check, release, session loss.
    Lock,
    /// Elections: campaign, wait, proclaim, write under the token, resign, lose the leadership.
    Election,
    /// High-water registers.
    Register,
    /// Counters under a lock, in a store that ignores tokens and in a store that checks them.
    Resource,
    /// Sessions: their TTL, their end, and what they own.
    Sessions,
    /// The same request under the same key, concurrently and repeatedly.
    Retry,
    /// Waiting, disconnecting while waiting, losing the session while waiting.
    Queue,
    /// Locks, and many watchers that move from node to node.
    Watch,
    /// Sessions and locks with a short TTL that the Rust client keeps alive.
    Keeper,
    /// Locks of three principals, whose rights are taken away and given back, in a cluster that enforces access.
    Access,
}

impl Workload {
    /// The name of the workload.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Election => "election",
            Self::Register => "register",
            Self::Resource => "resource",
            Self::Sessions => "sessions",
            Self::Retry => "retry",
            Self::Queue => "queue",
            Self::Watch => "watch",
            Self::Keeper => "keeper",
            Self::Access => "access",
        }
    }

    /// Which nodes the nemesis pauses, and for how long.
    #[must_use]
    pub fn pauses(self) -> Pauses {
        if self == Self::Keeper { Pauses::LongOfMinority } else { Pauses::OfAnybody }
    }

    /// Whether the cluster enforces access from the start, and clients have keys.
    #[must_use]
    pub fn is_secured(self) -> bool {
        self == Self::Access
    }

    /// Log entries between two snapshots: few where the workload tests snapshots.
    #[must_use]
    pub fn snapshot_entries(self) -> u64 {
        if self == Self::Retry { 1200 } else { 1_000_000 }
    }

    /// The least number of watchers, and whether they move to other nodes on their own.
    #[must_use]
    pub fn watchers(self) -> (usize, bool) {
        if self == Self::Watch { (12, true) } else { (0, false) }
    }

    /// Starts the processes of the workload; they end when the run is over.
    pub fn start(self, shared: &Arc<Shared>, processes: u64) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for process in 0..processes {
            let client = Client::new(shared, process);
            match self {
                Self::Lock | Self::Watch => tasks.spawn(lock::process(client)),
                Self::Election => tasks.spawn(election::process(client)),
                Self::Register => tasks.spawn(register::process(client)),
                Self::Resource => tasks.spawn(resource::process(client)),
                Self::Sessions => tasks.spawn(sessions::process(client)),
                Self::Retry => tasks.spawn(retry::process(client)),
                Self::Queue => tasks.spawn(queue::process(client)),
                Self::Keeper => tasks.spawn(keeper::process(client)),
                Self::Access => tasks.spawn(access::process(client)),
            };
        }
        if let Some(keys) = shared.keys.clone().filter(|_| self.is_secured()) {
            tasks.spawn(access::administrate(Arc::clone(shared), keys));
        }
        tasks
    }
}
