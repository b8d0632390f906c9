//! Implements the job trait for sessions.

use crate::due::Due;
use crate::image_error::ImageError;
use crate::job::Job;
use crate::level::LEVEL_MIN;
use crate::session::open::insert;
use crate::session::table::{Owned, SessionRecord, Window};
use crate::session::{Command, Record};
use crate::state::NamespaceUsage;
use crate::step::Step;
use crate::{Actor, Namespace, Outcome, Permission, Position, State, access};

/// The job of sessions, as [`crate::jobs`] lists it.
pub(crate) struct Session;

impl Job for Session {
    type Command = Command;
    type Record = Record;

    fn apply(step: &mut Step<'_>, position: Position, command: &Command) -> Outcome {
        match command {
            Command::OpenSession(command) => command.apply(step, position).map(Into::into),
            Command::KeepAlive(command) => Ok(command.apply(step).into()),
            Command::CloseSession(command) => command.apply(step).map(Into::into),
        }
    }

    /// Who owns a session may close it. Keep-alives are collected by nodes, which ask for the permission of each owner; a caller sends its own to
    /// adopt a session that nobody owns.
    fn authorise(state: &State, actor: &Actor, command: &Command) -> Result<(), access::Refusal> {
        match command {
            Command::OpenSession(open) => {
                state.authorise(actor, Permission::SessionOpen, &open.namespace, None)
            }
            Command::KeepAlive(keep) => match *actor {
                Actor::Node | Actor::ANONYMOUS => state.check_is_node(actor, Permission::SessionOpen),
                Actor::Caller { .. } => {
                    let namespaces =
                        keep.sessions.iter().filter_map(|session| state.session_namespace(*session));
                    let open = Permission::SessionOpen;
                    namespaces
                        .into_iter()
                        .try_for_each(|namespace| state.authorise(actor, open, namespace, None))
                }
            },
            Command::CloseSession(_) => Ok(()),
        }
    }

    fn level(command: &Command) -> u32 {
        match command {
            Command::CloseSession(close) if close.lock_delay => 2,
            Command::OpenSession(_) | Command::KeepAlive(_) | Command::CloseSession(_) => LEVEL_MIN,
        }
    }

    fn adds(_: &State, command: &Command) -> bool {
        match command {
            Command::OpenSession(_) => true,
            Command::KeepAlive(_) | Command::CloseSession(_) => false,
        }
    }

    fn records(state: &State) -> impl Iterator<Item = Record> {
        state.session.by_id.iter().map(|(session, record)| record.record(*session))
    }

    fn restore(step: &mut Step<'_>, record: Record) -> Result<(), ImageError> {
        let Record {
            session,
            namespace,
            ttl_ms,
            deadline_ms,
            opened_wall_ms,
            metadata,
            window_floor,
            principal,
        } = record;
        let record = SessionRecord {
            namespace: step.intern(&namespace),
            principal,
            ttl_ms,
            deadline_ms,
            opened_wall_ms,
            metadata,
            owned: Owned::default(),
            window: Window { floor: window_floor, ..Window::default() },
        };
        insert(step, session, record);
        Ok(())
    }

    fn deadlines(state: &State) -> impl Iterator<Item = (u64, Due)> {
        let sessions = state.session.by_id.iter();
        sessions.map(|(session, record)| (record.deadline_ms, Due::Session(*session)))
    }

    fn count(state: &State, count: &mut impl FnMut(&Namespace, fn(&mut NamespaceUsage))) {
        for record in state.session.by_id.values() {
            count(&record.namespace, |usage| usage.session.sessions += 1);
        }
    }
}
