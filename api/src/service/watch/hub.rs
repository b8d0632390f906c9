//! Who watches, and the one task that tells each of them what it asked for.
//!
//! The hub reads the replica's history, so it can fall behind without losing anything; a watcher has a bounded queue of its
//! own: a slow one costs the others what any watcher costs until it is cut off, and nothing from then on. Invariant: of every
//! revision up to [`Hub::revision`] a watcher's queue has had all the changes it wants, or says that it was cut off.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;

use batuta_raft::{Replica, RevisionChanges};
use batuta_statemachine::{Name, Namespace, SessionId};
use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::event::{Event, Job};
use super::filter::{Filter, Names};
use crate::ApiError;
use crate::service::size;
use crate::service::waits::Waits;

/// Bytes of the changes that may wait for one slow watcher.
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// Places for batches that a watcher keeps when it is idle: more come and go with bursts.
const BATCHES_KEPT: usize = 4;

/// The changes of one revision that a watcher wants, or a part of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Log index of the entry.
    pub revision: u64,
    /// In order, not empty.
    pub events: Vec<Arc<Event>>,
    /// Whether more changes of the revision follow.
    pub more: bool,
}

/// What a watcher finds in its queue.
#[derive(Debug)]
pub(super) enum Next {
    Batch(Batch),
    /// There is nothing yet.
    Empty,
    /// It was too slow: what came after the last batch was not kept for it.
    Lagged,
    /// The node skipped changes itself; those after `oldest` are here again.
    Skipped {
        oldest_revision: u64,
    },
}

#[derive(Debug, Default)]
struct Queue {
    /// What the watcher wants of the revision that is being told.
    telling: Vec<Arc<Event>>,
    batches: VecDeque<Batch>,
    events: usize,
    bytes: usize,
    lagged: bool,
    skipped_to: Option<u64>,
}

/// A watcher as the hub knows it.
#[derive(Debug)]
pub(super) struct Slot {
    id: u64,
    filter: Filter,
    /// Changes up to here are not wanted.
    after: u64,
    queue: Mutex<Queue>,
    /// The one task that takes from the queue.
    taker: AtomicWaker,
}

impl Slot {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing that runs under the lock can leave the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a change of the revision that is being told, if the watcher wants it; says whether it is the first of that revision.
    /// The same change may be offered more than once in a row.
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

    /// Puts what was taken of the revision into the queue. Whether the watcher still listens: one that is cut off is told so once it
    /// has taken what is in its queue.
    fn told(&self, revision: u64, events_max: usize) -> bool {
        let mut queue = self.queue();
        let events = std::mem::take(&mut queue.telling);
        let bytes = weight(&events);
        if queue.lagged || queue.skipped_to.is_some() {
            return false;
        }
        // One revision is always taken, however large: a watcher that keeps up never lags.
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

    /// Has the task woken by what comes from now on.
    pub(super) fn listen(&self, context: &Context<'_>) {
        self.taker.register(context.waker());
    }

    pub(super) fn pop(&self) -> Next {
        let mut queue = self.queue();
        if let Some(batch) = queue.batches.pop_front() {
            queue.events -= batch.events.len();
            queue.bytes -= weight(&batch.events);
            if queue.batches.is_empty() && queue.batches.capacity() > BATCHES_KEPT {
                // An idle watcher holds no memory for the burst it once had.
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

/// Where the watchers are found that may want a change: by its names, by its session, or by where it happened.
#[derive(Debug, Default)]
struct Index {
    exact: HashMap<Namespace, HashMap<Name, Watchers>>,
    session: HashMap<SessionId, Watchers>,
    prefix: HashMap<Namespace, HashMap<String, Watchers>>,
    any: HashMap<Namespace, Watchers>,
    cluster: Watchers,
}

/// Removes from a map of maps, and the inner map with its last watcher.
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
                if slot.filter.wants(Job::Cluster) {
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

    /// The watchers that may want a change, some perhaps more than once.
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
    /// Nobody watches and the task that tells them rests: the revision stands still until there is somebody.
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
    /// Somebody watches or waits.
    interest: Arc<Notify>,
}

/// A watcher's place in the hub. Dropping it gives the place up.
#[derive(Debug)]
pub(super) struct Registered {
    hub: Arc<Hub>,
    pub(super) slot: Arc<Slot>,
    /// Changes after this revision come through the queue.
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
    /// A revision up to which everything wanted was taken out of the queue; `None` while something waits in it.
    pub(super) fn progress(&self) -> Option<u64> {
        let inner = self.hub.inner();
        let queue = self.slot.queue();
        let idle = queue.batches.is_empty() && !queue.lagged && queue.skipped_to.is_none();
        idle.then_some(inner.revision)
    }
}

impl Inner {
    /// Ends the rest. Nobody watched, so nobody missed what was applied meanwhile.
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

    /// Whether nobody watches; then the revision need not go on.
    pub(super) fn rest(&self) -> bool {
        let mut inner = self.inner();
        inner.resting = inner.watchers.is_empty();
        inner.resting
    }

    /// Goes on from what is applied now, or from where a watcher found the hub meanwhile. Returns from where.
    pub(super) fn wake(&self, applied: u64) -> u64 {
        let mut inner = self.inner();
        inner.wake(applied);
        inner.revision
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic between two changes that belong together would at worst leave an id without a slot, which is skipped.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many watch.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.inner().watchers.len()
    }

    /// How many watchers of everything may still get something.
    #[cfg(test)]
    pub(super) fn listening(&self) -> usize {
        self.inner().index.any.values().map(Watchers::len).sum()
    }

    /// A place for a watcher that wants nothing up to `after`; without one, nothing up to now. `applied` is what the replica
    /// has applied, at least.
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

    /// Tells the watchers what a revision changed.
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

    /// Notes that everything up to a revision was told.
    fn advance(&self, revision: u64) {
        self.inner().revision = revision;
    }

    /// The node skipped changes: every watcher has to begin anew.
    pub(super) fn skip_to(&self, revision: u64) {
        let mut inner = self.inner();
        inner.revision = revision;
        for slot in inner.watchers.values() {
            slot.queue().skipped_to = Some(revision + 1);
            slot.taker.wake();
        }
    }
}

/// Tells calls that wait and watchers what the replica applies, until told to stop. While there are none it rests: most writes
/// concern nobody here, and waking a thread for each is a good part of what they cost.
pub(crate) async fn feed(replica: Replica, waits: Arc<Waits>, hub: Arc<Hub>, stop: CancellationToken) {
    let mut applied = replica.applied();
    let mut seen = hub.inner().revision;
    loop {
        // Marked as seen before the history is read: what is applied meanwhile wakes the task again.
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
        // Whoever comes after these looks says so, and is heard at once.
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
