//! The nemesis: starts and ends faults, on a schedule that the seed decides.

mod act;
mod member;
mod plan;
mod run;
mod wires;

pub use plan::{Family, Fault, Pauses, Planned, RATE_PPM_MAX, Target, plan};
pub use run::{Nemesis, Unexpected};
