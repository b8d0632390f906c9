//! Implements the job trait for the cluster itself.

use crate::cluster::{Command, Record};
use crate::due::Due;
use crate::image_error::ImageError;
use crate::job::Job;
use crate::level::LEVEL_MIN;
use crate::state::NamespaceUsage;
use crate::step::Step;
use crate::{Actor, Namespace, Outcome, Permission, Position, State, access};

/// The job of the cluster itself, as [`crate::jobs`] lists it.
pub(crate) struct Cluster;

impl Job for Cluster {
    type Command = Command;
    type Record = Record;

    fn apply(step: &mut Step<'_>, _: Position, command: &Command) -> Outcome {
        match command {
            Command::InitCluster(command) => command.apply(step).map(Into::into),
            Command::AllocateNode(command) => command.apply(step).map(Into::into),
            Command::SetLimits(command) => command.apply(step).map(Into::into),
            Command::RaiseLevel(command) => command.apply(step).map(Into::into),
        }
    }

    fn authorise(state: &State, actor: &Actor, command: &Command) -> Result<(), access::Refusal> {
        match command {
            Command::SetLimits(_) => {
                state.authorise(actor, Permission::ClusterLimits, &Namespace::default(), None)
            }
            Command::InitCluster(_) | Command::AllocateNode(_) | Command::RaiseLevel(_) => {
                state.check_is_node(actor, Permission::ClusterMembers)
            }
        }
    }

    /// Every build knows [`RaiseLevel`](crate::cluster::RaiseLevel), whatever level it raises to.
    fn level(command: &Command) -> u32 {
        match command {
            Command::SetLimits(command) => command.patch.level(),
            Command::InitCluster(_) | Command::AllocateNode(_) | Command::RaiseLevel(_) => LEVEL_MIN,
        }
    }

    fn adds(_: &State, command: &Command) -> bool {
        match command {
            Command::InitCluster(_)
            | Command::AllocateNode(_)
            | Command::SetLimits(_)
            | Command::RaiseLevel(_) => false,
        }
    }

    fn records(_: &State) -> impl Iterator<Item = Record> {
        std::iter::empty()
    }

    fn restore(_: &mut Step<'_>, record: Record) -> Result<(), ImageError> {
        match record {}
    }

    fn deadlines(_: &State) -> impl Iterator<Item = (u64, Due)> {
        std::iter::empty()
    }

    fn count(_: &State, _: &mut impl FnMut(&Namespace, fn(&mut NamespaceUsage))) {}
}
