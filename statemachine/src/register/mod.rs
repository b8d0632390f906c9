//! High-water registers: the newest token that a resource has seen, for resources that cannot store one themselves.

mod advance;
mod command;
mod delete;
mod job;
mod limits;
mod outcome;
mod table;

pub use command::{AdvanceRegister, Command, DeleteRegister};
pub use limits::Limits;
pub use outcome::{Change, Record, Refusal, RegisterAdvanced, RegisterDeleted, Reply, Usage};

pub(crate) use job::Register;
pub(crate) use table::Table;
