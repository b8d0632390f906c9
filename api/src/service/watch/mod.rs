//! Watching changes: the same for every front.
//!
//! ```text
//! snapshot ─ pages of objects at R ─┐
//! a revision ─ from the history ────┼─► batches, one or more a revision, and progress while nothing happens
//! now ──────────────────────────────┘       └─► compacted │ lagged │ draining: the watch has ended
//! ```
//! Invariant: between the first item and the end a watcher gets every change it wants, in order, once. A revision that is larger
//! than one item carries comes in parts, all but the last of which say that more follow; a watch ends between them only with an
//! error that leads behind the last whole revision. So the last revision that was told whole says where another watch goes on, on
//! any node.

mod event;
mod filter;
mod hub;
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
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::admit::Permit;
use super::operation::{Area, Class, Operation};
use super::{CallContext, Consistency, Service, size};
use crate::ApiError;
use hub::{Next, Registered};
use snapshot::Snapshot;

pub use event::{Event, Facts, Job, Kind, Rendered, Word, word, words};
pub use filter::{Filter, FilterRequest, Names};
pub use hub::Batch;
pub(crate) use hub::{Hub, feed};
pub use snapshot::{Object, SnapshotPage};

/// Watching changes. It needs the permission `watch` of every area it asks for.
pub const WATCH: Operation = Operation {
    name: "watch",
    summary: "Sends every change from a revision, from a snapshot, or from now on.",
    area: Area::Watch,
    permission: Some("watch"),
    class: Class::Watch,
    retry_key: false,
    codes: &[],
};

/// The shortest and the longest pause between two progress marks, milliseconds.
pub const PROGRESS_MS: std::ops::RangeInclusive<u64> = 100..=3_600_000;
const PROGRESS_DEFAULT: Duration = Duration::from_secs(5);

/// Where a watch begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With what happens from now on.
    #[default]
    Now,
    /// With this revision; one of the future is waited for.
    Revision(u64),
    /// With the objects as they are, and then every change after them.
    Snapshot,
}

impl Start {
    /// The beginning a request asks for.
    ///
    /// # Errors
    /// `invalid_argument` when it asks for two.
    pub fn parse(from_revision: Option<u64>, snapshot: bool) -> Result<Self, ApiError> {
        match (from_revision, snapshot) {
            (Some(_), true) => Err(ApiError::invalid("snapshot", "give from_revision or snapshot, not both")),
            (Some(from), false) => Ok(Self::Revision(from)),
            (None, true) => Ok(Self::Snapshot),
            (None, false) => Ok(Self::Now),
        }
    }
}

/// Asks for changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchRequest {
    /// Which.
    pub filter: Filter,
    /// From where on.
    pub start: Start,
    /// Of `Revision`: changes of that revision with a lower ordinal are not wanted.
    pub from_ordinal: u32,
    /// Of `Now` and `Snapshot`: how current the beginning must be.
    pub consistency: Consistency,
    /// How often an idle watch says how far it is, milliseconds; `None` = 5,000.
    pub progress_ms: Option<u64>,
}

/// What a watcher gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A part of the objects there are; only at the beginning.
    Snapshot(SnapshotPage),
    /// What one revision changed, or a part of it.
    Changes(Batch),
    /// Everything wanted up to this revision was told.
    Progress {
        /// It.
        revision: u64,
    },
}

/// An open watch. Dropping it ends it.
pub struct Watch {
    service: Service,
    /// Of the call that opened the watch, which lasts as long as the watch.
    permit: Permit,
    registered: Registered,
    filter: Filter,
    snapshot: Option<Snapshot>,
    replay: Vector<Arc<RevisionChanges>>,
    /// A revision whose changes with a lower ordinal are not wanted.
    within: Option<(u64, u32)>,
    /// The rest of a revision that is being told in parts.
    rest: VecDeque<Arc<Event>>,
    rest_revision: u64,
    /// Everything wanted up to here was told.
    told: u64,
    /// Whether `told` is to be said before anything else.
    announce: bool,
    progress_every: Duration,
    progress_at: Instant,
    /// Wakes at `progress_at` or before: it is set anew when it goes off, not with every item.
    alarm: Pin<Box<Sleep>>,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Service {
    /// Opens a watch.
    ///
    /// # Errors
    /// `compacted` when changes it asks for are no longer here, `overloaded` when the node has as many watchers as it takes,
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
                // What was acknowledged before the call lies before the beginning.
                let _current = permit.read(consistency).await?;
                None
            }
        };
        let applied = permit.history().revision();
        let registered = self.inner.hub.register(filter.clone(), after, applied)?;
        let progress_at = Instant::now() + progress_every;
        let mut watch = Watch {
            service: self.clone(),
            permit,
            told: after.unwrap_or(registered.revision),
            registered,
            filter,
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
                // Taken after the place in the hub: what the state does not have comes through the queue, what the queue has
                // besides is skipped.
                let state = self.permit.view();
                let clock = self.permit.clock(&state);
                let snapshot = Snapshot::new(state, clock, self.filter.clone());
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

    /// The revision up to which everything wanted was told: the last item's, or a later one when nothing waits.
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

    /// The next item. May be dropped while it waits: nothing is lost.
    ///
    /// # Errors
    /// `lagged`, `compacted`, `draining`: the watch has ended, and the error says how to go on.
    pub async fn next(&mut self) -> Result<Item, ApiError> {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Item, ApiError>> {
        loop {
            let mut ready = self.ready()?;
            if ready.is_none() {
                self.registered.slot.listen(context);
                // What came before has woken nobody.
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
            // Else something is in the queue, and there is no need to say how far it is.
        }
    }

    /// The next item that is there without waiting.
    ///
    /// # Errors
    /// As [`Self::next`].
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
            // What the hub had not told when the watcher came arrives through the queue.
            if entry.revision > self.registered.revision {
                self.replay.clear();
                break;
            }
            let wanted = Event::of_part(&entry, self.first_ordinal(entry.revision));
            let wanted = wanted.filter(|event| self.filter.matches(event)).map(Arc::new);
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

    /// The ordinal of the first change that is wanted of a revision.
    fn first_ordinal(&self, revision: u64) -> u32 {
        self.within.filter(|(within, _)| *within == revision).map_or(0, |(_, ordinal)| ordinal)
    }

    /// Tells the first part of a revision, which is all of it unless it is large.
    fn begin_revision(&mut self, revision: u64, events: Vec<Arc<Event>>) -> Item {
        self.rest = events.into();
        self.rest_revision = revision;
        self.part()
    }

    /// Tells the next part of what is left of a revision.
    fn part(&mut self) -> Item {
        let revision = self.rest_revision;
        let mut room = size::Room::new(size::ANSWER_BYTES);
        let fits = self.rest.iter().take_while(|event| room.take(size::event(event))).count();
        let more = fits < self.rest.len();
        let events = if more {
            self.rest.drain(..fits).collect()
        } else {
            // Everything: a revision of usual size is not copied.
            Vec::from(std::mem::take(&mut self.rest))
        };
        if !more {
            self.told = self.told.max(revision);
        }
        Item::Changes(Batch { revision, events, more })
    }
}
