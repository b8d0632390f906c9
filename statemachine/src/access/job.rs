//! Implements the job trait for access.

use crate::access::{Command, Record, Refusal, image};
use crate::due::Due;
use crate::image_error::ImageError;
use crate::job::Job;
use crate::state::NamespaceUsage;
use crate::step::Step;
use crate::{Actor, Namespace, Outcome, Position, PrincipalId, State};

/// The job of access, as [`crate::jobs`] lists it.
pub(crate) struct Access;

impl Job for Access {
    type Command = Command;
    type Record = Record;

    fn apply(step: &mut Step<'_>, position: Position, command: &Command) -> Outcome {
        let actor = step.actor;
        run(step, position, &actor, command)
    }

    /// What a command of access needs depends on what it would give, so each command checks its actor itself.
    fn authorise(_: &State, _: &Actor, _: &Command) -> Result<(), Refusal> {
        Ok(())
    }

    fn level(_: &Command) -> u32 {
        2
    }

    fn adds(state: &State, command: &Command) -> bool {
        match command {
            Command::PutPrincipal(put) => !state.access.ids.contains_key(&put.principal),
            Command::PutGroup(put) => !state.access.groups.contains_key(&put.name),
            Command::PutRole(put) => !state.access.roles.contains_key(&put.name),
            Command::Bind(_) | Command::CreateToken(_) | Command::RotateToken(_) | Command::OpenLogin(_) => {
                true
            }
            Command::OpenBootstrap(_)
            | Command::Bootstrap(_)
            | Command::DeletePrincipal(_)
            | Command::SuspendPrincipal(_)
            | Command::ResumePrincipal(_)
            | Command::SetPassword(_)
            | Command::DeleteGroup(_)
            | Command::DeleteRole(_)
            | Command::Unbind(_)
            | Command::ExtendBinding(_)
            | Command::DeleteToken(_)
            | Command::SetMode(_)
            | Command::NoteTokenUse(_) => false,
        }
    }

    fn records(state: &State) -> impl Iterator<Item = Record> {
        image::records(state)
    }

    fn restore(step: &mut Step<'_>, record: Record) -> Result<(), ImageError> {
        image::restore(step, record)
    }

    fn deadlines(state: &State) -> impl Iterator<Item = (u64, Due)> {
        let bindings = state.access.bindings.iter();
        let bindings = bindings.filter_map(|(id, record)| Some((record.deadline_ms?, Due::Binding(*id))));
        let tokens = state.access.tokens.iter();
        bindings.chain(tokens.filter_map(|(id, record)| Some((record.deadline_ms?, Due::Token(*id)))))
    }

    fn count(_: &State, _: &mut impl FnMut(&Namespace, fn(&mut NamespaceUsage))) {}
}

/// Executes a command for an actor.
pub(super) fn run(step: &mut Step<'_>, position: Position, actor: &Actor, command: &Command) -> Outcome {
    let outcome: Outcome = match command {
        Command::OpenBootstrap(command) => command.apply(step, actor).map(Into::into),
        Command::Bootstrap(command) => command.apply(step, position, actor).map(Into::into),
        Command::PutPrincipal(command) => command.apply(step, position, actor).map(Into::into),
        Command::DeletePrincipal(command) => command.apply(step, actor).map(Into::into),
        Command::SuspendPrincipal(command) => command.apply(step, actor).map(Into::into),
        Command::ResumePrincipal(command) => command.apply(step, actor).map(Into::into),
        Command::SetPassword(command) => command.apply(step, actor).map(Into::into),
        Command::PutGroup(command) => command.apply(step, actor).map(Into::into),
        Command::DeleteGroup(command) => command.apply(step, actor).map(Into::into),
        Command::PutRole(command) => command.apply(step, actor).map(Into::into),
        Command::DeleteRole(command) => command.apply(step, actor).map(Into::into),
        Command::Bind(command) => command.apply(step, position, actor).map(Into::into),
        Command::Unbind(command) => command.apply(step, actor).map(Into::into),
        Command::ExtendBinding(command) => command.apply(step, actor).map(Into::into),
        Command::CreateToken(command) => command.apply(step, actor).map(Into::into),
        Command::DeleteToken(command) => command.apply(step, actor).map(Into::into),
        Command::OpenLogin(command) => command.apply(step).map(Into::into),
        Command::SetMode(command) => command.apply(step, actor).map(Into::into),
        Command::NoteTokenUse(command) => command.apply(step, actor).map(Into::into),
        Command::RotateToken(command) => command.apply(step, actor).map(Into::into),
    };
    let state = &mut *step.state;
    state.access.note_admin(state.now_ms, state.wall_ms);
    outcome
}

/// The principal that makes a change, for records and events; `None` for a node.
pub(super) fn by(actor: &Actor) -> Option<PrincipalId> {
    match *actor {
        Actor::Node | Actor::ANONYMOUS => None,
        Actor::Caller { principal, .. } => Some(principal),
    }
}
