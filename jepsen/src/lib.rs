//! Runs real Batuta clusters under real faults, and checks what their clients saw (`jepsen/README.md`).

pub mod access;
pub mod check;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod disk;
pub mod drive;
pub mod error;
pub mod history;
pub mod ledger;
pub mod nemesis;
pub mod network;
pub mod proxy;
pub mod random;
pub mod report;
pub mod run;
pub mod sandbox;
pub mod watch;
pub mod watch_event;
pub mod workload;
