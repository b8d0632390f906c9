//! The objects a watcher wants, as they are at one revision, a page at a time.

use std::sync::Arc;

use batuta_statemachine::{Name, SessionId, State};

use super::super::lock::{ListRequest, Lock};
use super::super::session::Session;
use super::super::size::{self, Room};
use super::super::wall::Clock;
use super::super::{Page, parse, view};
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
    /// Locks that are held, waited for, or closed by lock-delay, in name order. One with more holders than fit comes again with
    /// the next ones.
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
    /// The holders of a lock behind this cursor.
    Holders(Name, String),
    Registers(Option<Name>),
    Done,
}

/// A page that is being filled.
struct Filling {
    page: SnapshotPage,
    room: Room,
    places: usize,
}

impl Filling {
    /// Takes a place for an object; `false` when the page is full.
    fn take(&mut self, bytes: usize) -> bool {
        let fits = self.places > 0 && self.room.take(bytes);
        if fits {
            self.places -= 1;
        }
        fits
    }
}

/// Where the snapshot goes on, and whether on this page.
enum Step {
    Further(Stage),
    NextPage(Stage),
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
        let page = SnapshotPage { revision: self.revision(), ..SnapshotPage::default() };
        let mut filling = Filling { page, room: Room::new(size::ANSWER_BYTES), places: PAGE };
        loop {
            let step = match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Sessions(after) => self.sessions(after, &mut filling)?,
                Stage::Locks(after) => self.locks(after.as_ref(), &mut filling)?,
                Stage::Holders(name, after) => self.holders(name, &after, &mut filling)?,
                Stage::Registers(after) => self.registers(after.as_ref(), &mut filling),
                Stage::Done => break,
            };
            match step {
                Step::Further(stage) => self.stage = stage,
                Step::NextPage(stage) => {
                    self.stage = stage;
                    break;
                }
            }
        }
        filling.page.last = matches!(self.stage, Stage::Done);
        Ok(Some(filling.page))
    }

    fn sessions(&self, mut after: Option<SessionId>, filling: &mut Filling) -> Result<Step, ApiError> {
        let Filter { namespace, names, session, .. } = &self.filter;
        // A session has no name: who asks for names does not ask for sessions.
        if !self.filter.wants(Job::Session) || *names != Names::Any {
            return Ok(Step::Further(Stage::Locks(None)));
        }
        if let Some(session) = session {
            let own = view::session(&self.state, *session, self.clock);
            filling.page.sessions.extend(own.filter(|own| own.namespace == *namespace));
            return Ok(Step::Further(Stage::Locks(None)));
        }
        let found = view::sessions(&self.state, namespace, after, PAGE, self.clock);
        for session in found.items {
            if !filling.take(size::session(&session)) {
                return Ok(Step::NextPage(Stage::Sessions(after)));
            }
            after = Some(session.session_id);
            filling.page.sessions.push(session);
        }
        Ok(Step::Further(match found.next_cursor {
            Some(cursor) => Stage::Sessions(Some(parse::session_cursor(&cursor)?)),
            None => Stage::Locks(None),
        }))
    }

    fn locks(&self, after: Option<&Name>, filling: &mut Filling) -> Result<Step, ApiError> {
        let Filter { namespace, names, session, .. } = &self.filter;
        if !self.filter.wants(Job::Lock) {
            return Ok(Step::Further(Stage::Registers(None)));
        }
        let found = if let Names::Exact(name) = names {
            let lock = if after.is_none() {
                view::listed_lock(&self.state, namespace, name, None, self.clock)
            } else {
                None
            };
            Page { items: lock.into_iter().collect(), next_cursor: None }
        } else {
            let request =
                ListRequest { prefix: self.prefix().to_owned(), session: *session, ..ListRequest::default() };
            view::locks(&self.state, namespace, &request, after, PAGE, self.clock)
        };
        let mut after = after.cloned();
        for lock in found.items {
            if !filling.take(size::lock(&lock)) {
                return Ok(Step::NextPage(Stage::Locks(after)));
            }
            after = Some(lock.name.clone());
            let holders =
                lock.next_holders_cursor.clone().map(|cursor| Stage::Holders(lock.name.clone(), cursor));
            filling.page.locks.push(lock);
            if let Some(holders) = holders {
                return Ok(Step::Further(holders));
            }
        }
        Ok(Step::Further(match found.next_cursor {
            Some(cursor) => Stage::Locks(Some(parse::name_cursor(&cursor)?)),
            None => Stage::Registers(None),
        }))
    }

    /// The next holders of a lock: the lock comes again with them.
    fn holders(&self, name: Name, after: &str, filling: &mut Filling) -> Result<Step, ApiError> {
        let holders_after = Some(parse::holders_cursor(after)?);
        let found = view::listed_lock(&self.state, &self.filter.namespace, &name, holders_after, self.clock);
        let Some(mut lock) = found else { return Ok(Step::Further(Stage::Locks(Some(name)))) };
        // These came with the first holders.
        lock.waiters = Vec::new();
        lock.next_waiters_cursor = None;
        if !filling.take(size::lock(&lock)) {
            return Ok(Step::NextPage(Stage::Holders(name, after.to_owned())));
        }
        let next = lock.next_holders_cursor.clone();
        filling.page.locks.push(lock);
        Ok(Step::Further(match next {
            Some(cursor) => Stage::Holders(name, cursor),
            None => Stage::Locks(Some(name)),
        }))
    }

    fn registers(&self, after: Option<&Name>, filling: &mut Filling) -> Step {
        let Filter { namespace, names, session, .. } = &self.filter;
        // A register belongs to no session.
        if !self.filter.wants(Job::Register) || session.is_some() {
            return Step::Further(Stage::Done);
        }
        let found = if let Names::Exact(name) = names {
            let found = self.state.register(namespace, name);
            found.map(|high_water| (name.clone(), high_water)).into_iter().collect()
        } else {
            self.state.registers(namespace, self.prefix(), after, PAGE)
        };
        let full = found.len() == PAGE;
        let mut after = after.cloned();
        for (name, high_water) in found {
            if !filling.take(size::register(&name)) {
                return Step::NextPage(Stage::Registers(after));
            }
            after = Some(name.clone());
            filling.page.registers.push((name, high_water));
        }
        Step::Further(if full { Stage::Registers(after) } else { Stage::Done })
    }

    fn prefix(&self) -> &str {
        if let Names::Prefix(prefix) = &self.filter.names { prefix } else { "" }
    }
}
