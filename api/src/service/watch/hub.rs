//! The watchers of a node, and the task that distributes changes to them.
//!
//! The hub reads the replica's history, so it can fall behind without losing anything. Each watcher has its own bounded
//! queue: a slow watcher costs the others no more than any watcher until it is cut off, and nothing afterwards. Invariant: for every
//! revision up to [`Hub::revision`], a watcher's queue got all selected changes, or the watcher was cut off.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;

use batuta_raft::{Replica, RevisionChanges};
use batuta_statemachine::{Name, Namespace, SessionId};
use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::event::{Area, Event};
use super::filter::{Filter, Names};
use crate::ApiError;
use crate::service::size;
use crate::service::waits::Waits;

/// The most bytes of changes queued for one slow watcher.
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// The capacity for batches that an idle watcher keeps; bursts allocate more.
const BATCHES_KEPT: usize = 4;

/// The selected changes of one revision, or a part of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Log index of the entry.
    pub revision: u64,
    /// The changes, in order; never empty.
    pub events: Vec<Arc<Event>>,
    /// Whether more changes of the revision follow.
    pub more: bool,
}

/// The next item of a watcher's queue.
#[derive(Debug)]
pub(super) enum Next {
    Batch(Batch),
    /// The queue is empty.
    Empty,
    /// The watcher was too slow: changes after the last batch were dropped.
    Lagged,
    /// The node itself skipped changes; it has changes after `oldest`.
    Skipped {
        oldest_revision: u64,
    },
}

#[derive(Debug, Default)]
struct Queue {
    /// The selected changes of the revision that is being dispatched.
    telling: Vec<Arc<Event>>,
    batches: VecDeque<Batch>,
    events: usize,
    bytes: usize,
    lagged: bool,
    skipped_to: Option<u64>,
}

/// The hub's record of a watcher.
#[derive(Debug)]
pub(super) struct Slot {
    id: u64,
    filter: Filter,
    /// The watcher does not want changes up to this revision.
    after: u64,
    queue: Mutex<Queue>,
    /// The task that takes from the queue.
    taker: AtomicWaker,
}

impl Slot {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No code that holds the lock can panic halfway through a change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a change of the revision that is being dispatched, if the watcher selects it. Returns whether it is the first of that revision.
    /// The same change may be offered several times in a row.
    fn offer(&self, revision: u64, event: &Arc<Event>) -> bool {
        if self.after >= revision || !self.filter.matches(event) {
            return false;
        }
        let telling = &mut self.queue().telling;
        if telling.last().is_some_and(|last| Arc::ptr_eq(last, event)) {
            return false;
        }
        telling.push(Arc::clone(event));
        telling.len() == 1
    }

    /// Queues the added changes of the revision. Returns whether the watcher is still served: a watcher that is cut off learns it once it
    /// has emptied its queue.
    fn told(&self, revision: u64, events_max: usize) -> bool {
        let mut queue = self.queue();
        let events = std::mem::take(&mut queue.telling);
        let bytes = weight(&events);
        if queue.lagged || queue.skipped_to.is_some() {
            return false;
        }
        // An empty queue accepts any revision, however large, so a watcher that keeps up never lags.
        let fits = queue.events + events.len() <= events_max && queue.bytes + bytes <= QUEUE_BYTES_MAX;
        queue.lagged = queue.events > 0 && !fits;
        let listens = !queue.lagged;
        if listens {
            queue.events += events.len();
            queue.bytes += bytes;
            queue.batches.push_back(Batch { revision, events, more: false });
        }
        drop(queue);
        self.taker.wake();
        listens
    }

    /// Wakes the task of `context` when the next item is queued.
    pub(super) fn listen(&self, context: &Context<'_>) {
        self.taker.register(context.waker());
    }

    pub(super) fn pop(&self) -> Next {
        let mut queue = self.queue();
        if let Some(batch) = queue.batches.pop_front() {
            queue.events -= batch.events.len();
            queue.bytes -= weight(&batch.events);
            if queue.batches.is_empty() && queue.batches.capacity() > BATCHES_KEPT {
                // An idle watcher keeps no memory of an earlier burst.
                queue.batches.shrink_to_fit();
            }
            return Next::Batch(batch);
        }
        match queue.skipped_to {
            _ if queue.lagged => Next::Lagged,
            Some(oldest_revision) => Next::Skipped { oldest_revision },
            None => Next::Empty,
        }
    }
}

fn weight(events: &[Arc<Event>]) -> usize {
    events.iter().map(|event| size::event(event)).sum()
}

/// Watchers by their ids.
type Watchers = BTreeMap<u64, Arc<Slot>>;

/// Finds the watchers that may select a change: by its names, by its session, or by its namespace.
#[derive(Debug, Default)]
struct Index {
    exact: HashMap<Namespace, HashMap<Name, Watchers>>,
    session: HashMap<SessionId, Watchers>,
    prefix: HashMap<Namespace, HashMap<String, Watchers>>,
    any: HashMap<Namespace, Watchers>,
    cluster: Watchers,
}

/// Removes a watcher from a map of maps, and an inner map when it becomes empty.
fn forget<K: std::hash::Hash + Eq>(map: &mut HashMap<K, Watchers>, key: &K, id: u64) {
    if let Some(watchers) = map.get_mut(key) {
        watchers.remove(&id);
        if watchers.is_empty() {
            map.remove(key);
        }
    }
}

impl Index {
    fn add(&mut self, slot: &Arc<Slot>) {
        let namespace = slot.filter.namespace.clone();
        let watchers = match (&slot.filter.names, slot.filter.session) {
            (Names::Exact(name), _) => {
                self.exact.entry(namespace).or_default().entry(name.clone()).or_default()
            }
            (_, Some(session)) => self.session.entry(session).or_default(),
            (Names::Prefix(prefix), None) => {
                self.prefix.entry(namespace).or_default().entry(prefix.clone()).or_default()
            }
            (Names::Any, None) => {
                if slot.filter.wants(Area::Cluster) {
                    self.cluster.insert(slot.id, Arc::clone(slot));
                }
                self.any.entry(namespace).or_default()
            }
        };
        watchers.insert(slot.id, Arc::clone(slot));
    }

    fn remove(&mut self, slot: &Slot) {
        let Slot { id, ref filter, .. } = *slot;
        let namespace = &filter.namespace;
        match (&filter.names, filter.session) {
            (Names::Exact(name), _) => {
                if let Some(names) = self.exact.get_mut(namespace) {
                    forget(names, name, id);
                    if names.is_empty() {
                        self.exact.remove(namespace);
                    }
                }
            }
            (_, Some(session)) => forget(&mut self.session, &session, id),
            (Names::Prefix(prefix), None) => {
                if let Some(prefixes) = self.prefix.get_mut(namespace) {
                    forget(prefixes, prefix, id);
                    if prefixes.is_empty() {
                        self.prefix.remove(namespace);
                    }
                }
            }
            (Names::Any, None) => {
                forget(&mut self.any, namespace, id);
                self.cluster.remove(&id);
            }
        }
    }

    /// Calls `each` for the watchers that may select a change, for some perhaps more than once.
    fn candidates(&self, event: &Event, mut each: impl FnMut(&Arc<Slot>)) {
        let Some(namespace) = &event.namespace else { return self.cluster.values().for_each(each) };
        let mut all = |watchers: Option<&Watchers>| {
            watchers.iter().flat_map(|found| found.values()).for_each(&mut each);
        };
        all(self.any.get(namespace));
        all(event.session.and_then(|session| self.session.get(&session)));
        if let Some(names) = self.exact.get(namespace) {
            event.names().for_each(|name| all(names.get(name)));
        }
        if let Some(prefixes) = self.prefix.get(namespace) {
            for name in event.names().map(Name::as_str) {
                let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
                ends.for_each(|end| all(prefixes.get(&name[..end])));
            }
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    revision: u64,
    /// Whether the task rests because nobody watches. The revision does not advance until somebody does.
    resting: bool,
    next_id: u64,
    watchers: Watchers,
    index: Index,
}

/// The watchers of this node.
#[derive(Debug)]
pub(crate) struct Hub {
    inner: Mutex<Inner>,
    watchers_max: u64,
    queue_changes_max: usize,
    /// Notifies the task that somebody watches or waits.
    interest: Arc<Notify>,
}

/// A watcher's registration in the hub, which ends when it is dropped.
#[derive(Debug)]
pub(super) struct Registered {
    hub: Arc<Hub>,
    pub(super) slot: Arc<Slot>,
    /// Changes after this revision arrive through the queue.
    pub(super) revision: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut inner = self.hub.inner();
        inner.index.remove(&self.slot);
        inner.watchers.remove(&self.slot.id);
    }
}

impl Registered {
    /// The revision up to which all selected changes were taken from the queue; `None` while it is not empty.
    pub(super) fn progress(&self) -> Option<u64> {
        let inner = self.hub.inner();
        let queue = self.slot.queue();
        let idle = queue.batches.is_empty() && !queue.lagged && queue.skipped_to.is_none();
        idle.then_some(inner.revision)
    }
}

impl Inner {
    /// Ends the rest. Nobody watched, so nobody missed the changes applied in the meantime.
    fn wake(&mut self, applied: u64) {
        if std::mem::take(&mut self.resting) {
            self.revision = self.revision.max(applied);
        }
    }
}

impl Hub {
    pub(crate) fn new(
        revision: u64,
        watchers_max: u64,
        queue_changes_max: usize,
        interest: Arc<Notify>,
    ) -> Self {
        let inner = Inner { revision, ..Inner::default() };
        Self { inner: Mutex::new(inner), watchers_max, queue_changes_max, interest }
    }

    /// Lets the hub rest if nobody watches, and returns whether it rests.
    pub(super) fn rest(&self) -> bool {
        let mut inner = self.inner();
        inner.resting = inner.watchers.is_empty();
        inner.resting
    }

    /// Resumes at the applied revision, or at the revision at which a watcher has woken the hub. Returns that revision.
    pub(super) fn wake(&self, applied: u64) -> u64 {
        let mut inner = self.inner();
        inner.wake(applied);
        inner.revision
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic halfway through a change would at worst leave an id without a slot, which is skipped.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of watchers.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.inner().watchers.len()
    }

    /// The number of watchers that are not cut off.
    #[cfg(test)]
    pub(super) fn listening(&self) -> usize {
        self.inner().index.any.values().map(Watchers::len).sum()
    }

    /// Registers a watcher that wants changes after `after`, by default from now on. `applied` is a revision that the replica
    /// has applied.
    pub(super) fn register(
        self: &Arc<Self>,
        filter: Filter,
        after: Option<u64>,
        applied: u64,
    ) -> Result<Registered, ApiError> {
        let mut inner = self.inner();
        if inner.watchers.len() as u64 >= self.watchers_max {
            return Err(ApiError::Busy { what: "watchers_max", max: self.watchers_max });
        }
        inner.wake(applied);
        let id = inner.next_id;
        inner.next_id += 1;
        let slot = Arc::new(Slot {
            id,
            filter,
            after: after.unwrap_or(inner.revision),
            queue: Mutex::default(),
            taker: AtomicWaker::new(),
        });
        inner.index.add(&slot);
        inner.watchers.insert(id, Arc::clone(&slot));
        let revision = inner.revision;
        drop(inner);
        self.interest.notify_one();
        Ok(Registered { hub: Arc::clone(self), slot, revision })
    }

    /// Dispatches the changes of a revision to the watchers.
    pub(super) fn dispatch(&self, entry: &RevisionChanges) {
        let mut inner = self.inner();
        let Inner { watchers, index, .. } = &mut *inner;
        if !watchers.is_empty() {
            let mut told = Vec::new();
            for event in Event::of(entry).map(Arc::new) {
                index.candidates(&event, |slot| {
                    if slot.offer(entry.revision, &event) {
                        told.push(Arc::clone(slot));
                    }
                });
            }
            for slot in told {
                if !slot.told(entry.revision, self.queue_changes_max) {
                    index.remove(&slot);
                }
            }
        }
        inner.revision = entry.revision;
    }

    /// Notes that everything up to a revision was dispatched.
    fn advance(&self, revision: u64) {
        self.inner().revision = revision;
    }

    /// Notes that the node skipped changes, so that every watcher has to start again.
    pub(super) fn skip_to(&self, revision: u64) {
        let mut inner = self.inner();
        inner.revision = revision;
        for slot in inner.watchers.values() {
            slot.queue().skipped_to = Some(revision + 1);
            slot.taker.wake();
        }
    }
}

/// Notifies waiting calls and watchers of the changes that the replica applies, until `stop`. Rests while there are none: most writes
/// concern nobody on this node, and waking a thread for each is a considerable part of their cost.
pub(crate) async fn feed(replica: Replica, waits: Arc<Waits>, hub: Arc<Hub>, stop: CancellationToken) {
    let mut applied = replica.applied();
    let mut seen = hub.inner().revision;
    loop {
        // Mark as seen before reading the history, so that entries applied in the meantime wake the task again.
        applied.borrow_and_update();
        let history = replica.history();
        if let Some(entries) = history.after(seen) {
            for entry in &entries {
                waits.on_changes(&entry.changes);
                hub.dispatch(entry);
            }
            hub.advance(history.revision());
        } else {
            waits.recheck_all(&replica.view());
            hub.skip_to(history.floor());
            seen = history.floor();
            continue;
        }
        seen = history.revision();
        // A watcher or call that comes after these checks notifies the task at once.
        if waits.is_empty() && hub.rest() {
            tokio::select! {
                () = hub.interest.notified() => {}
                () = stop.cancelled() => return,
            }
            seen = hub.wake(replica.history().revision());
            waits.recheck_all(&replica.view());
            continue;
        }
        tokio::select! {
            changed = applied.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}
