//! The nemesis: starts and ends faults, on a schedule that the seed decides.

mod act;
mod member;
mod network_faults;
mod plan;
mod run;

pub use plan::{Family, Fault, Pauses, Planned, RATE_PPM_MAX, Target, plan};
pub use run::{Nemesis, Unexpected};
