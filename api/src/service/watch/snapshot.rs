//! The objects a watcher wants, as they are at one revision, a page at a time.

use std::sync::Arc;

use batuta_statemachine::{Name, SessionId, State};

use super::super::lock::{ListRequest, Lock};
use super::super::session::Session;
use super::super::wall::Clock;
use super::super::{parse, view};
use super::event::Job;
use super::filter::{Filter, Names};
use crate::ApiError;

/// Objects on one page.
const PAGE: usize = 100;

/// A part of the objects at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotPage {
    /// What they are true at; the same on every page.
    pub revision: u64,
    /// Sessions, oldest first.
    pub sessions: Vec<Session>,
    /// Locks that are held, waited for, or closed by lock-delay, in name order.
    pub locks: Vec<Lock>,
    /// Registers and their values, in name order.
    pub registers: Vec<(Name, u64)>,
    /// Whether changes come next.
    pub last: bool,
}

#[derive(Debug)]
enum Stage {
    Sessions(Option<SessionId>),
    Locks(Option<Name>),
    Registers(Option<Name>),
    Done,
}

/// Reads page after page out of one state.
#[derive(Debug)]
pub(super) struct Snapshot {
    state: Arc<State>,
    clock: Clock,
    filter: Filter,
    stage: Stage,
}

impl Snapshot {
    pub(super) fn new(state: Arc<State>, clock: Clock, filter: Filter) -> Self {
        Self { state, clock, filter, stage: Stage::Sessions(None) }
    }

    pub(super) fn revision(&self) -> u64 {
        self.state.revision()
    }

    /// The next page; `None` after the last one.
    pub(super) fn page(&mut self) -> Result<Option<SnapshotPage>, ApiError> {
        if matches!(self.stage, Stage::Done) {
            return Ok(None);
        }
        let mut page = SnapshotPage { revision: self.revision(), ..SnapshotPage::default() };
        while page.sessions.len() + page.locks.len() + page.registers.len() < PAGE {
            self.stage = match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Sessions(after) => self.sessions(after, &mut page)?,
                Stage::Locks(after) => self.locks(after.as_ref(), &mut page)?,
                Stage::Registers(after) => self.registers(after.as_ref(), &mut page),
                Stage::Done => break,
            };
        }
        page.last = matches!(self.stage, Stage::Done);
        Ok(Some(page))
    }

    fn sessions(&self, after: Option<SessionId>, page: &mut SnapshotPage) -> Result<Stage, ApiError> {
        let Filter { namespace, names, session, .. } = &self.filter;
        // A session has no name: who asks for names does not ask for sessions.
        if !self.filter.wants(Job::Session) || *names != Names::Any {
            return Ok(Stage::Locks(None));
        }
        if let Some(session) = session {
            let own = view::session(&self.state, *session, self.clock);
            page.sessions.extend(own.filter(|own| own.namespace == *namespace));
            return Ok(Stage::Locks(None));
        }
        let found = view::sessions(&self.state, namespace, after, PAGE, self.clock);
        page.sessions.extend(found.items);
        match found.next_cursor {
            Some(cursor) => Ok(Stage::Sessions(Some(parse::session_cursor(&cursor)?))),
            None => Ok(Stage::Locks(None)),
        }
    }

    fn locks(&self, after: Option<&Name>, page: &mut SnapshotPage) -> Result<Stage, ApiError> {
        let Filter { namespace, names, session, .. } = &self.filter;
        if !self.filter.wants(Job::Lock) {
            return Ok(Stage::Registers(None));
        }
        if let Names::Exact(name) = names {
            page.locks.extend(view::lock(&self.state, namespace, name, view::LISTED_WAITERS_MAX, self.clock));
            return Ok(Stage::Registers(None));
        }
        let request =
            ListRequest { prefix: self.prefix().to_owned(), session: *session, ..ListRequest::default() };
        let found = view::locks(&self.state, namespace, &request, after, PAGE, self.clock);
        page.locks.extend(found.items);
        match found.next_cursor {
            Some(cursor) => Ok(Stage::Locks(Some(parse::name_cursor(&cursor)?))),
            None => Ok(Stage::Registers(None)),
        }
    }

    fn registers(&self, after: Option<&Name>, page: &mut SnapshotPage) -> Stage {
        let Filter { namespace, names, session, .. } = &self.filter;
        // A register belongs to no session.
        if !self.filter.wants(Job::Register) || session.is_some() {
            return Stage::Done;
        }
        if let Names::Exact(name) = names {
            let found = self.state.register(namespace, name);
            page.registers.extend(found.map(|high_water| (name.clone(), high_water)));
            return Stage::Done;
        }
        let found = self.state.registers(namespace, self.prefix(), after, PAGE);
        let full = found.len() == PAGE;
        let next = found.last().filter(|_| full).map(|(name, _)| name.clone());
        page.registers.extend(found);
        next.map_or(Stage::Done, |last| Stage::Registers(Some(last)))
    }

    fn prefix(&self) -> &str {
        if let Names::Prefix(prefix) = &self.filter.names { prefix } else { "" }
    }
}
