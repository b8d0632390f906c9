//! Breaks things, on a schedule that the seed decides, and mends them again.

mod act;
mod member;
mod plan;
mod run;
mod wires;

pub use plan::{Family, Fault, Pauses, Planned, RATE_PPM_MAX, Target, plan};
pub use run::{Nemesis, Unexpected};
