//! The trait of jobs. Every job has its own module with its commands, replies, refusals, changes, records, limits, usage and table.

use crate::due::Due;
use crate::image_error::ImageError;
use crate::level::LEVEL_MIN;
use crate::state::NamespaceUsage;
use crate::step::Step;
use crate::{Actor, Namespace, Outcome, Position, State, access};

/// The interface between the core and a job. It is dispatched statically, where the jobs are listed ([`crate::jobs`]).
pub(crate) trait Job {
    /// The commands of the job.
    type Command;
    /// The records of the job in snapshots.
    type Record;

    /// Executes a command at `position` in the log. A refused command changes nothing.
    fn apply(step: &mut Step<'_>, position: Position, command: &Self::Command) -> Outcome;

    /// Checks that an actor has the permission that a command needs. That a grant or a session belongs to the actor is checked by the command
    /// itself. Called before [`Self::apply`], and before a remembered answer is given again.
    fn authorise(state: &State, actor: &Actor, command: &Self::Command) -> Result<(), access::Refusal>;

    /// The level of the cluster from which on a command may be proposed: that of the first build that knows it, with all its fields as
    /// they are set.
    fn level(_command: &Self::Command) -> u32 {
        LEVEL_MIN
    }

    /// Whether a command, if applied now, would add an object to the state.
    fn adds(state: &State, command: &Self::Command) -> bool;

    /// Completes the effects of earlier changes. Called after each request, and after each end of something due.
    fn settle(_step: &mut Step<'_>) {}

    /// Makes the records for a snapshot, in an order in which a record only refers to earlier ones.
    fn records(state: &State) -> impl Iterator<Item = Self::Record>;

    /// Restores a record.
    fn restore(step: &mut Step<'_>, record: Self::Record) -> Result<(), ImageError>;

    /// The objects of the job that end by themselves, with their deadlines in cluster time.
    fn deadlines(state: &State) -> impl Iterator<Item = (u64, Due)>;

    /// Counts the objects of the job in each namespace.
    fn count(state: &State, count: &mut impl FnMut(&Namespace, fn(&mut NamespaceUsage)));
}
