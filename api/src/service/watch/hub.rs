//! Who watches, and the one task that tells each of them what it asked for.
//!
//! The hub reads the replica's history, so it can fall behind without losing anything; a watcher has a bounded queue of its
//! own: a slow one costs the others what any watcher costs until it is cut off, and nothing from then on. Invariant: of every
//! revision up to [`Hub::revision`] a watcher's queue has had all the changes it wants, or says that it was cut off.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use batuta_raft::{Replica, RevisionChanges};
use batuta_statemachine::{Name, Namespace, SessionId};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::event::{Event, Job};
use super::filter::{Filter, Names};
use crate::ApiError;
use crate::service::waits::Waits;

/// The changes of one revision that a watcher wants; never a part of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Log index of the entry.
    pub revision: u64,
    /// In order, not empty.
    pub events: Vec<Arc<Event>>,
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
    batches: VecDeque<Batch>,
    events: usize,
    lagged: bool,
    skipped_to: Option<u64>,
}

/// A watcher as the hub knows it.
#[derive(Debug)]
pub(super) struct Slot {
    filter: Filter,
    /// Changes up to here are not wanted.
    after: u64,
    queue: Mutex<Queue>,
    pub(super) changed: Notify,
}

impl Slot {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing that runs under the lock can leave the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the watcher still listens: one that is cut off is told so once it has taken what is in its queue.
    fn push(&self, batch: Batch, events_max: usize) -> bool {
        let mut queue = self.queue();
        if queue.lagged || queue.skipped_to.is_some() {
            return false;
        }
        // One revision is always taken, however large: a watcher that keeps up never lags.
        queue.lagged = queue.events > 0 && queue.events + batch.events.len() > events_max;
        let listens = !queue.lagged;
        if listens {
            queue.events += batch.events.len();
            queue.batches.push_back(batch);
        }
        drop(queue);
        self.changed.notify_one();
        listens
    }

    pub(super) fn pop(&self) -> Next {
        let mut queue = self.queue();
        if let Some(batch) = queue.batches.pop_front() {
            queue.events -= batch.events.len();
            if queue.batches.is_empty() {
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

/// Where the watchers are found that may want a change: by its names, by its session, or by where it happened.
#[derive(Debug, Default)]
struct Index {
    exact: HashMap<Namespace, HashMap<Name, HashSet<u64>>>,
    session: HashMap<SessionId, HashSet<u64>>,
    prefix: HashMap<Namespace, HashMap<String, HashSet<u64>>>,
    any: HashMap<Namespace, HashSet<u64>>,
    cluster: HashSet<u64>,
}

/// Removes from a map of maps, and the inner map with its last set.
fn forget<K: std::hash::Hash + Eq>(map: &mut HashMap<K, HashSet<u64>>, key: &K, id: u64) {
    if let Some(set) = map.get_mut(key) {
        set.remove(&id);
        if set.is_empty() {
            map.remove(key);
        }
    }
}

impl Index {
    fn add(&mut self, id: u64, filter: &Filter) {
        let namespace = filter.namespace.clone();
        match (&filter.names, filter.session) {
            (Names::Exact(name), _) => {
                self.exact.entry(namespace).or_default().entry(name.clone()).or_default().insert(id);
            }
            (_, Some(session)) => {
                self.session.entry(session).or_default().insert(id);
            }
            (Names::Prefix(prefix), None) => {
                self.prefix.entry(namespace).or_default().entry(prefix.clone()).or_default().insert(id);
            }
            (Names::Any, None) => {
                self.any.entry(namespace).or_default().insert(id);
                if filter.wants(Job::Cluster) {
                    self.cluster.insert(id);
                }
            }
        }
    }

    fn remove(&mut self, id: u64, filter: &Filter) {
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

    fn candidates(&self, event: &Event) -> HashSet<u64> {
        let mut found = HashSet::new();
        let Some(namespace) = &event.namespace else { return self.cluster.clone() };
        found.extend(self.any.get(namespace).into_iter().flatten());
        found.extend(event.session.and_then(|session| self.session.get(&session)).into_iter().flatten());
        if let Some(names) = self.exact.get(namespace) {
            found.extend(event.names().filter_map(|name| names.get(name)).flatten());
        }
        if let Some(prefixes) = self.prefix.get(namespace) {
            for name in event.names().map(Name::as_str) {
                let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
                found.extend(ends.filter_map(|end| prefixes.get(&name[..end])).flatten());
            }
        }
        found
    }
}

#[derive(Debug, Default)]
struct Inner {
    revision: u64,
    /// Nobody watches and the task that tells them rests: the revision stands still until there is somebody.
    resting: bool,
    next_id: u64,
    watchers: HashMap<u64, Arc<Slot>>,
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
    id: u64,
    pub(super) slot: Arc<Slot>,
    /// Changes after this revision come through the queue.
    pub(super) revision: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut inner = self.hub.inner();
        inner.index.remove(self.id, &self.slot.filter);
        inner.watchers.remove(&self.id);
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
        self.inner().index.any.values().map(HashSet::len).sum()
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
        inner.index.add(id, &filter);
        let slot = Arc::new(Slot {
            filter,
            after: after.unwrap_or(inner.revision),
            queue: Mutex::default(),
            changed: Notify::new(),
        });
        inner.watchers.insert(id, Arc::clone(&slot));
        let revision = inner.revision;
        drop(inner);
        self.interest.notify_one();
        Ok(Registered { hub: Arc::clone(self), id, slot, revision })
    }

    /// Tells the watchers what a revision changed.
    pub(super) fn dispatch(&self, entry: &RevisionChanges) {
        let mut inner = self.inner();
        let Inner { watchers, index, .. } = &mut *inner;
        let mut wanted: BTreeMap<u64, Vec<Arc<Event>>> = BTreeMap::new();
        if !watchers.is_empty() {
            for event in Event::of(entry).map(Arc::new) {
                for id in index.candidates(&event) {
                    let fits = |slot: &&Arc<Slot>| slot.after < entry.revision && slot.filter.matches(&event);
                    if watchers.get(&id).as_ref().is_some_and(fits) {
                        wanted.entry(id).or_default().push(Arc::clone(&event));
                    }
                }
            }
        }
        for (id, events) in wanted {
            let Some(slot) = watchers.get(&id) else { continue };
            if !slot.push(Batch { revision: entry.revision, events }, self.queue_changes_max) {
                index.remove(id, &slot.filter);
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
            slot.changed.notify_one();
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
