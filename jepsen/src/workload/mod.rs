//! What clients do while the nemesis is at work.

mod lock;

use std::sync::Arc;

use clap::ValueEnum;
use tokio::task::JoinSet;

use crate::client::{Client, Shared};

/// A workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Locks of every mode: acquire, wait, extend, check, release, session loss.
    Lock,
}

impl Workload {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
        }
    }

    /// Log entries between two snapshots: few where snapshots are part of the matter.
    #[must_use]
    pub fn snapshot_entries(self) -> u64 {
        match self {
            Self::Lock => 1_000_000,
        }
    }

    /// Starts its processes; they end when the run is over.
    pub fn start(self, shared: &Arc<Shared>, processes: u64) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for process in 0..processes {
            let client = Client::new(shared, process);
            match self {
                Self::Lock => tasks.spawn(lock::process(client)),
            };
        }
        tasks
    }
}
