//! What the cluster knows of itself: its identity, the ids it gave to nodes, the limits in force, the level that all members have.

mod apply;
mod command;
mod job;
mod limits;
mod outcome;
mod table;

pub use command::{AllocateNode, Command, InitCluster, RaiseLevel, SetLimits};
pub use limits::Limits;
pub use outcome::{
    Change, ClusterInitialised, LevelRaised, LimitsSet, NodeAllocated, Record, Refusal, Reply, Usage,
};

pub(crate) use job::Cluster;
pub(crate) use table::{Raised, Table};
