//! Breaks things, on a schedule that the seed decides, and mends them again.

mod plan;
mod run;

pub use plan::{Family, Fault, Planned, Target, plan};
pub use run::{Nemesis, Unexpected};
