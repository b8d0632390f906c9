//! Whole nodes in one process, from one seed.
//!
//! Several nodes with the real log, consensus, state machine and service run over a simulated network, clock and disk. For a
//! while everything that can go wrong does; then the faults stop, and the cluster must come together and have everything it
//! acknowledged. The same seed does the same thing, byte for byte. `tests/sim/README.md` says how to use it.
//!
//! ```text
//! seed ─► plan ─┬─► nodes     Replica + Service, each on a runtime of its own (turmoil)
//!               ├─► clients   locks, sessions, registers, reads, watches; what they are told goes into the ledger
//!               ├─► nemesis   cuts power, kills, partitions, slows down, removes
//!               ├─► scenes    what shows only in a quiet cluster
//!               └─► observer  looks at every node after every millisecond: the history, hashes, leaders
//!                     └─► verify   replays the history and holds the ledger against it
//! ```

mod client;
mod context;
mod ledger;
mod machine;
mod nemesis;
mod net;
mod node;
mod observer;
mod plan;
mod run;
mod scenes;
mod trace;
mod verify;
mod watcher;
mod workload;

pub use run::{Report, run, system_rng};
