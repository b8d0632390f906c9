//! Runs whole nodes in one process, from one seed.
//!
//! Several nodes with the real log, consensus, state machine and service run over a simulated network, clock and disk. For a
//! while faults of every kind happen. Then the faults stop, and the cluster must recover and still have everything it
//! acknowledged. The same seed gives the same run, byte for byte. `tests/sim/README.md` says how to use it.
//!
//! ```text
//! seed ─► plan ─┬─► nodes     Replica + Service, each on a runtime of its own (turmoil)
//!               ├─► clients   locks, sessions, registers, reads, watches; their answers go into the ledger
//!               ├─► access    in every third seed: an operator takes rights away and gives them back
//!               ├─► nemesis   cuts power, kills, partitions, slows down, removes
//!               ├─► scenes    faults that show only in a quiet cluster
//!               └─► observer  checks every node after every millisecond: the history, hashes, leaders
//!                     └─► verify   replays the history and compares the ledger with it
//! ```

mod access;
mod client;
mod context;
mod ledger;
mod machine;
mod nemesis;
mod net;
mod node;
mod observer;
mod plan;
mod rights;
mod run;
mod scenes;
mod trace;
mod verify;
mod watcher;
mod workload;

pub use run::{Report, run, system_rng};
