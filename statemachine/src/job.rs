//! What every job has: a module of its own with its commands, replies, refusals, changes, records, limits, usage and table.

use crate::due::Due;
use crate::image_error::ImageError;
use crate::level::LEVEL_MIN;
use crate::state::NamespaceUsage;
use crate::step::Step;
use crate::{Namespace, Outcome, Position, State};

/// What the core asks of a job. Jobs are told apart where they are listed ([`crate::jobs`]), never at run time.
pub(crate) trait Job {
    /// Everything that can be asked of the job.
    type Command;
    /// What snapshots keep of the job.
    type Record;

    /// Executes a command, which stands at `position` in the log. A command that is refused changes nothing.
    fn apply(step: &mut Step<'_>, position: Position, command: &Self::Command) -> Outcome;

    /// The level of the cluster from which on a command may be proposed: that of the first build that knows it, with all its fields as
    /// they are set.
    fn level(_command: &Self::Command) -> u32 {
        LEVEL_MIN
    }

    /// Whether a command, if it came now, would add an object to the state.
    fn adds(state: &State, command: &Self::Command) -> bool;

    /// Does what follows from earlier changes of the same request: called after each request and each end of something that was due.
    fn settle(_step: &mut Step<'_>) {}

    /// The records of a snapshot, what others refer to first.
    fn records(state: &State) -> impl Iterator<Item = Self::Record>;

    /// Puts a record back.
    fn restore(step: &mut Step<'_>, record: Self::Record) -> Result<(), ImageError>;

    /// What of the job ends by itself, and when.
    fn deadlines(state: &State) -> impl Iterator<Item = (u64, Due)>;

    /// Counts what each namespace holds of the job.
    fn count(state: &State, count: &mut impl FnMut(&Namespace, fn(&mut NamespaceUsage)));
}
