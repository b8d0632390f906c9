//! Snapshots of watches: the selected objects at one revision, one page at a time.

use std::sync::Arc;

use batuta_statemachine::lock::{LockFilter, LockKind};
use batuta_statemachine::session::SessionView;
use batuta_statemachine::{Actor, LockId, Name, SessionId, State};

use super::super::election::Election;
use super::super::lock::{self, Lock};
use super::super::register::Register;
use super::super::size::{self, Room};
use super::super::{Clock, Page, session};
use super::event::Area;
use super::filter::{Filter, Names};
use super::rights::Rights;

/// The most objects on one page.
const PAGE: usize = 100;

/// An object of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// An open session.
    Session(SessionView),
    /// A lock that is held, waited for, or closed by lock-delay. A lock with more holders than fit is repeated with the next ones.
    Lock(Box<Lock>),
    /// An election.
    Election(Box<Election>),
    /// A register.
    Register(Register),
}

/// A page of the objects at one revision: sessions, oldest first, then locks and elections, and then registers, in order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPage {
    /// The revision at which all objects are true; it is the same on every page.
    pub revision: u64,
    /// The instant of that revision.
    pub clock: Clock,
    /// The objects.
    pub objects: Vec<Object>,
    /// Whether this is the last page, so that changes follow.
    pub last: bool,
}

#[derive(Debug)]
enum Stage {
    Sessions(Option<SessionId>),
    Locks(Option<Name>),
    /// The holders of a lock after this one.
    Holders(Name, LockId),
    Registers(Option<Name>),
    Done,
}

/// A page that is being filled.
struct Filling {
    objects: Vec<Object>,
    room: Room,
}

impl Filling {
    /// Adds an object; `false` when the page is full.
    fn take(&mut self, bytes: usize, object: impl FnOnce() -> Object) -> bool {
        let fits = self.objects.len() < PAGE && self.room.take(bytes);
        if fits {
            self.objects.push(object());
        }
        fits
    }
}

fn is_election(lock: &Lock) -> bool {
    lock.view.kind == LockKind::Election
}

fn object(lock: Lock) -> Object {
    if is_election(&lock) { Object::Election(Box::new(lock.into())) } else { Object::Lock(Box::new(lock)) }
}

/// Whether the snapshot continues on this page, and where.
enum Step {
    Further(Stage),
    NextPage(Stage),
}

/// Who sees the snapshot, and what of it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) rights: Rights,
    pub(super) actor: Actor,
}

impl Seen {
    /// Whether the watcher may see a lock or an election.
    fn admits(&self, lock: &Lock) -> bool {
        let area = if is_election(lock) { Area::Election } else { Area::Lock };
        self.rights.admit(area, &lock.view.name)
    }
}

/// Reads a snapshot from one state, page by page.
#[derive(Debug)]
pub(super) struct Snapshot {
    state: Arc<State>,
    clock: Clock,
    filter: Filter,
    seen: Seen,
    stage: Stage,
}

impl Snapshot {
    pub(super) fn new(state: Arc<State>, clock: Clock, filter: Filter, seen: Seen) -> Self {
        Self { state, clock, filter, seen, stage: Stage::Sessions(None) }
    }

    pub(super) fn revision(&self) -> u64 {
        self.state.revision()
    }

    /// Returns the next page; `None` after the last one.
    pub(super) fn page(&mut self) -> Option<SnapshotPage> {
        if matches!(self.stage, Stage::Done) {
            return None;
        }
        let mut filling = Filling { objects: Vec::new(), room: Room::new(size::ANSWER_BYTES) };
        loop {
            let step = match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Sessions(after) => self.sessions(after, &mut filling),
                Stage::Locks(after) => self.locks(after.as_ref(), &mut filling),
                Stage::Holders(name, after) => self.holders(name, after, &mut filling),
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
        let last = matches!(self.stage, Stage::Done);
        Some(SnapshotPage { revision: self.revision(), clock: self.clock, objects: filling.objects, last })
    }

    fn sessions(&self, mut after: Option<SessionId>, filling: &mut Filling) -> Step {
        let Filter { namespace, names, session, .. } = &self.filter;
        // A session has no name, so a filter by names selects no sessions.
        if !self.seen.rights.any_of(Area::Session) || *names != Names::Any {
            return Step::Further(Stage::Locks(None));
        }
        if let Some(session) = session {
            let own = self.state.session(*session).filter(|own| own.namespace == *namespace);
            filling.objects.extend(own.map(Object::Session));
            return Step::Further(Stage::Locks(None));
        }
        let found = session::sessions(&self.state, namespace, after, PAGE);
        for view in found.items {
            let session = view.session;
            if !filling.take(size::session(&view), || Object::Session(view)) {
                return Step::NextPage(Stage::Sessions(after));
            }
            after = Some(session);
        }
        Step::Further(match found.next {
            Some(session) => Stage::Sessions(Some(session)),
            None => Stage::Locks(None),
        })
    }

    fn locks(&self, after: Option<&Name>, filling: &mut Filling) -> Step {
        let Filter { namespace, names, session, .. } = &self.filter;
        let rights = &self.seen.rights;
        let elections = match (rights.any_of(Area::Lock), rights.any_of(Area::Election)) {
            (true, true) => None,
            (false, true) => Some(true),
            (true, false) => Some(false),
            (false, false) => return Step::Further(Stage::Registers(None)),
        };
        let found = if let Names::Exact(name) = names {
            let lock =
                if after.is_none() { lock::listed_lock(&self.state, namespace, name, None) } else { None };
            let wanted = |lock: &Lock| elections.is_none_or(|elections| elections == is_election(lock));
            Page { items: lock.into_iter().filter(wanted).collect(), next: None, filtered: false }
        } else {
            let prefix = (!self.prefix().is_empty()).then(|| self.prefix().to_owned());
            let filter = LockFilter { prefix, session: *session, elections, ..LockFilter::default() };
            lock::locks(&self.state, &self.seen.actor, namespace, &filter, after, PAGE)
        };
        let mut after = after.cloned();
        for mut lock in found.items {
            let (name, more) = (lock.view.name.clone(), lock.next_holders);
            if !self.seen.admits(&lock) {
                after = Some(name);
                continue;
            }
            self.state.hide_names(&self.seen.actor, &mut lock.view);
            if !filling.take(size::lock(&lock.view), || object(lock)) {
                return Step::NextPage(Stage::Locks(after));
            }
            if let Some(holders_after) = more {
                return Step::Further(Stage::Holders(name, holders_after));
            }
            after = Some(name);
        }
        Step::Further(match found.next {
            Some(name) => Stage::Locks(Some(name)),
            None => Stage::Registers(None),
        })
    }

    /// Adds the next holders of a lock, by repeating the lock with them.
    fn holders(&self, name: Name, after: LockId, filling: &mut Filling) -> Step {
        let found = lock::listed_lock(&self.state, &self.filter.namespace, &name, Some(after));
        let Some(mut lock) = found else { return Step::Further(Stage::Locks(Some(name))) };
        // The waiters were sent with the first holders.
        lock.view.waiters = Vec::new();
        self.state.hide_names(&self.seen.actor, &mut lock.view);
        lock.next_waiters = None;
        let next = lock.next_holders;
        if !filling.take(size::lock(&lock.view), || Object::Lock(Box::new(lock))) {
            return Step::NextPage(Stage::Holders(name, after));
        }
        Step::Further(match next {
            Some(after) => Stage::Holders(name, after),
            None => Stage::Locks(Some(name)),
        })
    }

    fn registers(&self, after: Option<&Name>, filling: &mut Filling) -> Step {
        let Filter { namespace, names, session, .. } = &self.filter;
        // A register belongs to no session.
        if !self.seen.rights.any_of(Area::Register) || session.is_some() {
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
            if !self.seen.rights.admit(Area::Register, &name) {
                after = Some(name);
                continue;
            }
            let register = Register { name: name.clone(), high_water };
            if !filling.take(size::register(&name), || Object::Register(register)) {
                return Step::NextPage(Stage::Registers(after));
            }
            after = Some(name);
        }
        Step::Further(if full { Stage::Registers(after) } else { Stage::Done })
    }

    fn prefix(&self) -> &str {
        if let Names::Prefix(prefix) = &self.filter.names { prefix } else { "" }
    }
}
