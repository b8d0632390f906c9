//! Watches of changes, the same for every front.
//!
//! ```text
//! snapshot ─ pages of objects at R ─┐
//! a revision ─ from the history ────┼─► batches, one or more per revision, and progress while nothing happens
//! now ──────────────────────────────┘       └─► compacted │ lagged │ draining: the watch has ended
//! ```
//! Invariant: between the first item and the end, a watcher gets every selected change once and in order. A revision larger
//! than one item comes in parts, all but the last of which are marked with `more`. A watch ends between them only with an
//! error that resumes after the last complete revision. So another watch, on any node, resumes after the last complete
//! revision.

mod event;
mod filter;
mod hub;
mod rights;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use batuta_raft::RevisionChanges;
use futures_util::FutureExt as _;
use imbl::Vector;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::admit::Permit;
use super::operation::{self, Class, Needs, Operation};
use super::{CallContext, Client, Consistency, Service, size};
use crate::ApiError;
use hub::{Next, Registered};
use rights::Rights;
use snapshot::{Seen, Snapshot};

pub use event::{AccessFacts, Area, Event, Facts, Kind, Rendered, Word, word, words};
pub use filter::{Filter, FilterRequest, Names};
pub use hub::Batch;
pub(crate) use hub::{Hub, feed};
pub use snapshot::{Object, SnapshotPage};

/// The operation that watches changes. What it needs depends on what it selects: the permission `watch` of one area, and it shows
/// what the caller may see of all of them.
pub const WATCH: Operation = Operation {
    name: "watch",
    summary: "Sends every change after a snapshot, from a revision, or from now on.",
    area: operation::Area::Watch,
    needs: Needs::Nothing,
    class: Class::Watch,
    retry_key: false,
    codes: &[],
};

/// The shortest and the longest pause between two progress marks, in milliseconds.
pub const PROGRESS_MS: std::ops::RangeInclusive<u64> = 100..=3_600_000;
const PROGRESS_DEFAULT: Duration = Duration::from_secs(5);

/// The start of a watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// Changes from now on.
    #[default]
    Now,
    /// This revision; the watch waits for a future revision.
    Revision(u64),
    /// A snapshot of the current objects, then every change after it.
    Snapshot,
}

impl Start {
    /// Reads the start that a request asks for.
    ///
    /// # Errors
    /// `invalid_argument` when the request asks for two.
    pub fn parse(from_revision: Option<u64>, snapshot: bool) -> Result<Self, ApiError> {
        match (from_revision, snapshot) {
            (Some(_), true) => Err(ApiError::invalid("snapshot", "give from_revision or snapshot, not both")),
            (Some(from), false) => Ok(Self::Revision(from)),
            (None, true) => Ok(Self::Snapshot),
            (None, false) => Ok(Self::Now),
        }
    }
}

/// A request for changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchRequest {
    /// Which changes to send.
    pub filter: Filter,
    /// Where to start.
    pub start: Start,
    /// With `Revision`: changes of that revision with a lower ordinal are left out.
    pub from_ordinal: u32,
    /// With `Now` and `Snapshot`: the consistency of the start.
    pub consistency: Consistency,
    /// How often an idle watch reports its progress, in milliseconds; `None` means 5,000.
    pub progress_ms: Option<u64>,
}

/// An item of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A page of the snapshot, only at the start.
    Snapshot(SnapshotPage),
    /// The changes of one revision, or a part of them.
    Changes(Batch),
    /// All selected changes up to this revision have been sent.
    Progress {
        /// The revision.
        revision: u64,
    },
}

/// An open watch, which ends when it is dropped.
pub struct Watch {
    service: Service,
    /// The permit of the call that opened the watch, which lasts as long as the watch.
    permit: Permit,
    registered: Registered,
    filter: Filter,
    rights: Rights,
    /// Resolves when the rights must be decided anew; `None` for the node's own watches.
    moved: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    snapshot: Option<Snapshot>,
    replay: Vector<Arc<RevisionChanges>>,
    /// A revision, and the ordinal below which its changes are left out.
    within: Option<(u64, u32)>,
    /// The rest of a revision that is being sent in parts.
    rest: VecDeque<Arc<Event>>,
    rest_revision: u64,
    /// All selected changes up to this revision have been sent.
    told: u64,
    /// Whether `told` must be sent as progress before anything else.
    announce: bool,
    progress_every: Duration,
    progress_at: Instant,
    /// Fires at `progress_at` or earlier: it is reset when it fires, not with every item.
    alarm: Pin<Box<Sleep>>,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Service {
    /// Opens a watch.
    ///
    /// # Errors
    /// `compacted` when requested changes are no longer kept, `overloaded` when the node has the most watchers it allows,
    /// `draining`; otherwise see `docs/errors.md`.
    pub async fn watch(&self, context: &CallContext, request: WatchRequest) -> Result<Watch, ApiError> {
        let WatchRequest { filter, start, from_ordinal, consistency, progress_ms } = request;
        let name = if let Names::Exact(name) = &filter.names { Some(name) } else { None };
        let permit = self.admit(context, &WATCH, name)?;
        if self.is_draining() {
            return Err(self.draining_error());
        }
        let progress_every = match progress_ms {
            None => PROGRESS_DEFAULT,
            Some(ms) if PROGRESS_MS.contains(&ms) => Duration::from_millis(ms),
            Some(ms) => {
                let (low, high) = (PROGRESS_MS.start(), PROGRESS_MS.end());
                return Err(ApiError::invalid(
                    "progress_ms",
                    format!("is {ms}; must be from {low} to {high}"),
                ));
            }
        };
        let within = match start {
            _ if from_ordinal == 0 => None,
            Start::Revision(from) => Some((from, from_ordinal)),
            Start::Now | Start::Snapshot => {
                return Err(ApiError::invalid("from_ordinal", "is a place within from_revision; give both"));
            }
        };
        let after = match start {
            Start::Revision(0) => {
                return Err(ApiError::invalid("from_revision", "must be at least 1; leave it out for now"));
            }
            Start::Revision(from) => Some(from - 1),
            Start::Now | Start::Snapshot => {
                // Everything acknowledged before the call is before the start.
                let _current = permit.read(consistency).await?;
                None
            }
        };
        let rights = match Rights::decide(&permit, &permit.view(), &filter) {
            Ok(rights) => rights,
            // What this node has applied may not have yet what gives the right.
            Err(_) => Rights::decide(&permit, &*permit.read(Consistency::Linearizable).await?, &filter)?,
        };
        let moved = permit.client().map(|client| self.policy_moved(client));
        let applied = permit.history().revision();
        let registered = self.inner.hub.register(filter.clone(), after, applied)?;
        let progress_at = Instant::now() + progress_every;
        let mut watch = Watch {
            service: self.clone(),
            permit,
            told: after.unwrap_or(registered.revision),
            registered,
            filter,
            rights,
            moved,
            snapshot: None,
            replay: Vector::new(),
            within,
            rest: VecDeque::new(),
            rest_revision: 0,
            announce: true,
            progress_every,
            progress_at,
            alarm: Box::pin(tokio::time::sleep_until(progress_at)),
            draining: Box::pin(self.inner.draining.clone().cancelled_owned()),
        };
        watch.begin(start)?;
        Ok(watch)
    }
}

impl Watch {
    fn begin(&mut self, start: Start) -> Result<(), ApiError> {
        match start {
            Start::Snapshot => {
                // Read after registering in the hub: changes that the state lacks arrive through the queue, and older ones in the
                // queue are skipped.
                let state = self.permit.view();
                let clock = self.permit.clock(&state);
                let seen = Seen { rights: self.rights.clone(), actor: self.permit.actor() };
                let snapshot = Snapshot::new(state, clock, self.filter.clone(), seen);
                self.told = snapshot.revision();
                self.announce = false;
                self.snapshot = Some(snapshot);
            }
            Start::Revision(from_revision) if self.told < self.registered.revision => {
                let history = self.permit.history();
                self.replay = history
                    .after(self.told)
                    .ok_or(ApiError::Compacted { from_revision, oldest_revision: history.floor() + 1 })?;
            }
            Start::Now | Start::Revision(_) => {}
        }
        Ok(())
    }

    /// The revision up to which all selected changes have been sent: that of the last item, or a later one when nothing is queued.
    pub fn caught_up(&mut self) -> u64 {
        if self.replay.is_empty()
            && self.rest.is_empty()
            && self.snapshot.is_none()
            && let Some(revision) = self.registered.progress()
        {
            self.told = self.told.max(revision);
        }
        self.told
    }

    /// Waits for the next item. Cancel-safe.
    ///
    /// # Errors
    /// `lagged`, `compacted`, `draining`: the watch has ended, and the error says how to resume.
    pub async fn next(&mut self) -> Result<Item, ApiError> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Like [`Self::next`] on a connection whose client may prove anew who it is: `clients` has what it proved last. Cancel-safe.
    ///
    /// # Errors
    /// Those of [`Self::next`] and of [`Self::renew`].
    pub(crate) async fn next_renewed(&mut self, clients: &mut Receiver<Client>) -> Result<Item, ApiError> {
        loop {
            tokio::select! {
                // First, so that a credential that was renewed in time does not end the watch.
                biased;
                Ok(()) = clients.changed() => {
                    let client = clients.borrow_and_update().clone();
                    self.renew(&client)?;
                }
                item = self.next() => return item,
            }
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Item, ApiError>> {
        loop {
            self.decide_anew(context)?;
            let mut ready = self.ready()?;
            if ready.is_none() {
                self.registered.slot.listen(context);
                // Items queued before `listen` have woken nobody.
                ready = self.ready()?;
            }
            if let Some(item) = ready {
                self.progress_at = Instant::now() + self.progress_every;
                return Poll::Ready(Ok(item));
            }
            if self.draining.poll_unpin(context).is_ready() {
                return Poll::Ready(Err(self.service.draining_error()));
            }
            if self.alarm.poll_unpin(context).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if self.progress_at > now {
                self.alarm.as_mut().reset(self.progress_at);
            } else if self.registered.progress().is_some() {
                self.progress_at = now + self.progress_every;
                self.alarm.as_mut().reset(self.progress_at);
                return Poll::Ready(Ok(Item::Progress { revision: self.caught_up() }));
            }
            // Otherwise the queue is not empty, and no progress needs to be sent.
        }
    }

    /// Decides the rights of the watcher anew, if they may have changed.
    fn decide_anew(&mut self, context: &mut Context<'_>) -> Result<(), ApiError> {
        while self.moved.as_mut().is_some_and(|moved| moved.poll_unpin(context).is_ready()) {
            // Before the decision, so that a change after it is noticed.
            self.moved = self.permit.client().map(|client| self.service.policy_moved(client));
            let state = self.permit.view();
            self.rights = Rights::decide(&self.permit, &state, &self.filter)?;
        }
        Ok(())
    }

    /// Goes on with what the client proved since it opened the watch. Its rights are decided anew; no change is missed.
    ///
    /// # Errors
    /// `permission_denied` and its kin when the client may see nothing of what the filter selects: the watch has ended.
    pub fn renew(&mut self, client: &Client) -> Result<(), ApiError> {
        let context = client.context(self.filter.namespace.clone());
        let name = if let Names::Exact(name) = &self.filter.names { Some(name) } else { None };
        let permit = self.service.admit(&context, &WATCH, name)?;
        // Before the decision, so that a change after it is noticed.
        self.moved = Some(self.service.policy_moved(client));
        self.rights = Rights::decide(&permit, &permit.view(), &self.filter)?;
        self.permit = permit;
        Ok(())
    }

    /// Whether the watcher may not see all that its filter selects.
    #[must_use]
    pub fn is_filtered(&self) -> bool {
        self.rights.are_partial()
    }

    /// Returns the next item if it is available without waiting.
    ///
    /// # Errors
    /// Those of [`Self::next`].
    pub fn ready(&mut self) -> Result<Option<Item>, ApiError> {
        if std::mem::take(&mut self.announce) {
            return Ok(Some(Item::Progress { revision: self.told }));
        }
        if let Some(snapshot) = &mut self.snapshot {
            if let Some(page) = snapshot.page() {
                return Ok(Some(Item::Snapshot(page)));
            }
            self.snapshot = None;
        }
        if !self.rest.is_empty() {
            return Ok(Some(self.part()));
        }
        while let Some(entry) = self.replay.pop_front() {
            // Changes that the hub had not dispatched when the watcher registered arrive through the queue.
            if entry.revision > self.registered.revision {
                self.replay.clear();
                break;
            }
            let wanted = Event::of_part(&entry, self.first_ordinal(entry.revision));
            let wanted = wanted.filter(|event| self.filter.matches(event)).map(Arc::new);
            let wanted = wanted.filter_map(|event| self.rights.shown(&event));
            let events: Vec<Arc<Event>> = wanted.collect();
            if !events.is_empty() {
                return Ok(Some(self.begin_revision(entry.revision, events)));
            }
            self.told = self.told.max(entry.revision);
        }
        loop {
            match self.registered.slot.pop() {
                Next::Batch(batch) if batch.revision <= self.told => {}
                Next::Batch(Batch { revision, mut events, .. }) => {
                    let first = self.first_ordinal(revision);
                    events.retain(|event| event.ordinal >= first);
                    if self.rights.are_partial() {
                        events = events.iter().filter_map(|event| self.rights.shown(event)).collect();
                    }
                    if !events.is_empty() {
                        return Ok(Some(self.begin_revision(revision, events)));
                    }
                    self.told = revision;
                }
                Next::Empty => return Ok(None),
                Next::Lagged => return Err(ApiError::Lagged { resume_revision: self.told + 1 }),
                Next::Skipped { oldest_revision } => {
                    return Err(ApiError::Compacted { from_revision: self.told + 1, oldest_revision });
                }
            }
        }
    }

    /// The ordinal of the first wanted change of a revision.
    fn first_ordinal(&self, revision: u64) -> u32 {
        self.within.filter(|(within, _)| *within == revision).map_or(0, |(_, ordinal)| ordinal)
    }

    /// Makes the item for the first part of a revision, which is all of it unless it is large.
    fn begin_revision(&mut self, revision: u64, events: Vec<Arc<Event>>) -> Item {
        self.rest = events.into();
        self.rest_revision = revision;
        self.part()
    }

    /// Makes the item for the next part of the rest of a revision.
    fn part(&mut self) -> Item {
        let revision = self.rest_revision;
        let mut room = size::Room::new(size::ANSWER_BYTES);
        let fits = self.rest.iter().take_while(|event| room.take(size::event(event))).count();
        let more = fits < self.rest.len();
        let events = if more {
            self.rest.drain(..fits).collect()
        } else {
            // All of it, without a copy: the usual case.
            Vec::from(std::mem::take(&mut self.rest))
        };
        if !more {
            self.told = self.told.max(revision);
        }
        Item::Changes(Batch { revision, events, more })
    }
}
