//! The replicated state machine driven by openraft: applies entries, publishes the state, answers callers,
//! and builds and installs snapshots.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use batuta_statemachine::State;
use batuta_statemachine::cluster::RaiseLevel;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot};
use tokio::sync::{Notify, watch};

use crate::history::{ChangeLog, History, RevisionChanges};
use crate::level::{self, Levels, TooNew};
use crate::lineage::{Compared, Contradiction, Lineage, SharedLineage};
use crate::platform::{Platform, background, blocking};
use crate::snapshot::{SnapshotError, SnapshotFile, SnapshotStore};
use crate::types::{AppliedEntry, LogId, RaftEntry, SnapshotMeta, StoredMembership, TypeConfig};

/// Most entries applied before the state is published and their callers are answered.
const BATCH_ENTRIES: usize = 128;
/// Most requests in those entries: a few milliseconds of work, after which other tasks on the consensus
/// thread get their turn. One entry has up to 512.
const BATCH_REQUESTS: usize = 4096;
/// Bytes of applied entries that make a snapshot due: a second or two of applying them again.
const LOG_BYTES_MIN: u64 = 32 << 20;

/// The part of the state machine that the rest of the node sees.
pub(crate) struct Published {
    view: ArcSwap<State>,
    applied: watch::Sender<u64>,
    changes: ChangeLog,
    /// Term of the newest entry that carries cluster time.
    stamped_term: AtomicU64,
}

impl Published {
    fn new(changes: ChangeLog) -> Self {
        Self {
            view: ArcSwap::default(),
            applied: watch::Sender::new(0),
            changes,
            stamped_term: AtomicU64::new(0),
        }
    }

    /// The term of the newest applied entry that carries cluster time, or a later term.
    pub(crate) fn stamped_term(&self) -> u64 {
        self.stamped_term.load(Ordering::Acquire)
    }

    pub(crate) fn view(&self) -> Arc<State> {
        self.view.load_full()
    }

    /// Log index of the last applied entry.
    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    pub(crate) fn history(&self) -> History {
        self.changes.history()
    }

    /// Publishes a state. Whoever sees a revision must find its changes in the history, and whoever finds
    /// changes there must find them in the state. So the state is published first and the revision last.
    fn publish(&self, state: &State, note: impl FnOnce(&ChangeLog)) {
        self.view.store(Arc::new(state.clone()));
        note(&self.changes);
        self.applied.send_replace(state.revision());
    }
}

/// An entry that this node cannot apply: the node has to stop.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    #[error(transparent)]
    TooNew(#[from] TooNew),
}

/// The state machine. openraft owns it; all other parts see [`Published`].
pub(crate) struct Machine {
    state: State,
    lineage: SharedLineage,
    membership: StoredMembership,
    published: Arc<Published>,
    snapshots: SnapshotStore,
    platform: Arc<dyn Platform>,
    levels: Arc<Levels>,
    current: Option<(SnapshotMeta, SnapshotFile)>,
    /// Bytes of the entries applied since a snapshot was begun or requested.
    log_bytes: u64,
    /// Size of the newest snapshot, bytes.
    snapshot_bytes: Arc<AtomicU64>,
    snapshot_due: Arc<Notify>,
    /// Lives as long as the newest builder.
    building: Weak<()>,
}

impl Machine {
    /// Starts from the newest snapshot.
    pub(crate) fn open(
        snapshots: SnapshotStore,
        platform: Arc<dyn Platform>,
        changes: ChangeLog,
        levels: Arc<Levels>,
    ) -> Result<Self, SnapshotError> {
        let mut machine = Self {
            state: State::default(),
            lineage: SharedLineage::default(),
            membership: StoredMembership::default(),
            published: Arc::new(Published::new(changes)),
            snapshots,
            platform,
            levels,
            current: None,
            log_bytes: 0,
            snapshot_bytes: Arc::default(),
            snapshot_due: Arc::new(Notify::new()),
            building: Weak::new(),
        };
        if let Some(file) = machine.snapshots.newest()? {
            let (meta, lineage, state) = file.load(machine.levels.own())?;
            machine.adopt(meta, lineage, state, file);
        }
        Ok(machine)
    }

    pub(crate) fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published)
    }

    /// Index of the last applied entry; 0 when there is none.
    pub(crate) fn applied_index(&self) -> u64 {
        self.lineage.lock().last().map_or(0, |id| id.index)
    }

    /// The lineage of the state.
    pub(crate) fn lineage(&self) -> SharedLineage {
        self.lineage.clone()
    }

    /// Notified when enough bytes were applied to warrant a snapshot, in addition to openraft's own,
    /// entry-based trigger. An entry may carry one request or hundreds, and a restarted node applies all of
    /// them again.
    pub(crate) fn snapshot_due(&self) -> Arc<Notify> {
        Arc::clone(&self.snapshot_due)
    }

    fn note_log_bytes(&mut self, bytes: usize) {
        self.log_bytes += bytes as u64;
        // At least the size of the last snapshot: writing a large state must not cost more than the log
        // itself.
        let due = self.log_bytes >= self.snapshot_bytes.load(Ordering::Relaxed).max(LOG_BYTES_MIN);
        // openraft ignores a request for a snapshot while it is writing one.
        if due && self.building.strong_count() == 0 {
            self.log_bytes = 0;
            self.snapshot_due.notify_one();
        }
    }

    fn adopt(&mut self, meta: SnapshotMeta, lineage: Lineage, state: State, file: SnapshotFile) {
        self.state = state;
        *self.lineage.lock() = lineage;
        self.membership = meta.last_membership.clone();
        self.snapshot_bytes.store(file.bytes, Ordering::Relaxed);
        self.note_stamped(meta.last_log_id);
        self.current = Some((meta, file));
        self.published.publish(&self.state, |changes| changes.reset(self.state.revision()));
    }

    fn note_stamped(&self, id: Option<LogId>) {
        let term = id.map_or(0, |id| id.leader_id.term);
        self.published.stamped_term.store(term, Ordering::Release);
    }

    /// Stops this node at the entry that raises the cluster to a level that this node does not know. Everything of that level comes
    /// after it.
    fn check_level(&self, entry: &RaftEntry) -> Result<(), TooNew> {
        let EntryPayload::Normal(data) = &entry.payload else { return Ok(()) };
        let Some(RaiseLevel { level, version }) = data.entry.raises_level() else { return Ok(()) };
        let checked = level::check(self.levels.own(), *level, version);
        checked.inspect_err(|too_new| self.levels.stop_because(too_new))
    }

    fn apply_one(
        &mut self,
        entry: &RaftEntry,
        batch: &mut Vec<RevisionChanges>,
    ) -> Result<AppliedEntry, Unfit> {
        let index = entry.log_id.index;
        self.check_level(entry)?;
        self.lineage.lock().add(entry)?;
        let (outcomes, revisions) = match &entry.payload {
            EntryPayload::Blank => {
                self.state.advance(index);
                (Vec::new(), Vec::new())
            }
            EntryPayload::Normal(data) => {
                self.note_log_bytes(data.bytes.len());
                self.note_stamped(Some(entry.log_id));
                let applied = self.state.apply(index, &data.entry);
                if !applied.changes.is_empty() {
                    batch.push(RevisionChanges {
                        revision: index,
                        now_ms: self.state.now_ms(),
                        wall_ms: self.state.wall_ms(),
                        changes: applied.changes,
                    });
                }
                (applied.outcomes, applied.revisions)
            }
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                self.state.advance(index);
                (Vec::new(), Vec::new())
            }
        };
        let (now_ms, wall_ms) = (self.state.now_ms(), self.state.wall_ms());
        Ok(AppliedEntry { revision: index, now_ms, wall_ms, outcomes, revisions })
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.lineage.lock().last(), self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(first) = entries.next().await {
            let mut next = Some(first);
            let mut changes = Vec::new();
            let mut answers = Vec::new();
            let (mut applied, mut requests, mut full) = (0, 0, false);
            while let Some(item) = next {
                let (entry, responder) = item?;
                let answer = self.apply_one(&entry, &mut changes).map_err(io::Error::other)?;
                applied += 1;
                requests += answer.outcomes.len();
                answers.extend(responder.map(|responder| (responder, answer)));
                full = applied >= BATCH_ENTRIES || requests >= BATCH_REQUESTS;
                next = if full { None } else { entries.next().now_or_never().flatten() };
            }
            // Callers must find their change in the published state before they are answered.
            self.published.publish(&self.state, |log| log.push(self.state.revision(), changes));
            for (responder, answer) in answers {
                responder.send(answer);
            }
            if full {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.log_bytes = 0;
        let alive = Arc::new(());
        self.building = Arc::downgrade(&alive);
        let lineage = self.lineage.lock().clone();
        Builder {
            state: self.state.clone(),
            meta: SnapshotMeta { last_log_id: lineage.last(), last_membership: self.membership.clone() },
            lineage,
            snapshots: self.snapshots.clone(),
            snapshot_bytes: Arc::clone(&self.snapshot_bytes),
            platform: Arc::clone(&self.platform),
            _alive: alive,
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotFile,
    ) -> Result<(), io::Error> {
        let (store, meta) = (self.snapshots.clone(), meta.clone());
        let (own, levels) = (self.lineage(), Arc::clone(&self.levels));
        let (meta, lineage, state, file) = blocking(self.platform.as_ref(), move || {
            let loaded = snapshot.load(levels.own()).inspect_err(|error| {
                if let SnapshotError::TooNew(too_new) = error {
                    levels.stop_because(too_new);
                }
            });
            let (found, lineage, state) = loaded.map_err(io::Error::other)?;
            if found != meta {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the snapshot differs from the one announced",
                ));
            }
            if own.lock().compare_snapshot(&lineage) == Compared::Differs {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the snapshot does not continue the history applied here",
                ));
            }
            let file = store.install(&meta, &snapshot)?;
            Ok((meta, lineage, state, file))
        })
        .await?;
        self.adopt(meta, lineage, state, file);
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<Snapshot<Committed, u64, Node, SnapshotFile>>, io::Error> {
        // A snapshot built here is newer than the one this node started from or received.
        let store = self.snapshots.clone();
        let newest =
            blocking(self.platform.as_ref(), move || store.newest().map_err(io::Error::other)).await?;
        if let Some(file) = newest
            && self.current.as_ref().is_none_or(|(_, current)| current.name() != file.name())
        {
            let meta = file.meta().map_err(io::Error::other)?;
            self.current = Some((meta, file));
        }
        Ok(self.current.clone().map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

type Committed = openraft::alias::CommittedLeaderIdOf<TypeConfig>;
type Node = crate::types::Member;

/// Writes one snapshot from a clone of the state; taking the clone costs nothing.
pub(crate) struct Builder {
    state: State,
    meta: SnapshotMeta,
    lineage: Lineage,
    snapshots: SnapshotStore,
    snapshot_bytes: Arc<AtomicU64>,
    platform: Arc<dyn Platform>,
    _alive: Arc<()>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<Snapshot<Committed, u64, Node, SnapshotFile>, io::Error> {
        let (state, meta, lineage) = (self.state.clone(), self.meta.clone(), self.lineage.clone());
        let snapshots = self.snapshots.clone();
        let write = move || snapshots.write(&meta, &lineage, &state);
        let written = background(self.platform.as_ref(), write).await?;
        self.snapshot_bytes.store(written.bytes, Ordering::Relaxed);
        Ok(Snapshot { meta: self.meta.clone(), snapshot: written })
    }
}

#[cfg(test)]
mod tests {
    use batuta_statemachine::session::OpenSession;
    use batuta_statemachine::{Entry, LEVEL, Namespace, Request, Stamp};
    use bytes::Bytes;
    use futures_util::stream;
    use openraft::entry::RaftEntry as _;

    use super::*;
    use crate::platform::OsPlatform;
    use crate::types::LogEntry;

    const ENTRY_BYTES: usize = 1 << 20;

    #[tokio::test]
    async fn unknown_level_stops_the_node_before_it_is_applied() {
        let dir = tempfile::tempdir().expect("a directory");
        let platform = OsPlatform::new(std::net::TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let snapshots = SnapshotStore::open(platform.disk(dir.path()).expect("opens")).expect("opens");
        let (changes, levels) = (ChangeLog::new(1000, 1 << 20), Arc::new(Levels::new(LEVEL)));
        let mut machine =
            Machine::open(snapshots, Arc::new(platform), changes, Arc::clone(&levels)).expect("opens");
        let raise = |level: u32| Request::new(None, RaiseLevel { level, version: format!("{level}.0.0") });
        let open = OpenSession { namespace: Namespace::default(), ttl_ms: 1_000, metadata: String::new() };
        let entries = [vec![raise(LEVEL)], vec![Request::new(None, open), raise(LEVEL + 1)], Vec::new()];
        let entries = entries.into_iter().zip(1..).map(|(requests, index)| {
            let entry = Arc::new(Entry { stamp: Stamp { now_ms: 1, wall_ms: 1 }, requests });
            let data = LogEntry { entry, bytes: Bytes::new() };
            Ok((RaftEntry::new_normal(LogId::new_term_index(1, index), data), None))
        });
        let refused = machine.apply(stream::iter(entries)).await.expect_err("a level that is not known");
        let said = levels.reason().expect("the node has to stop");
        assert_eq!(refused.to_string(), said);
        assert!(said.contains(&format!("install Batuta {}.0.0", LEVEL + 1)), "{said}");
        assert_eq!(
            (machine.state.revision(), machine.state.level()),
            (1, LEVEL),
            "nothing after that is applied"
        );
        assert_eq!(machine.state.counts().session.sessions, 0, "nor is a part of the entry");
        assert_eq!(machine.applied_index(), 1);
    }

    /// Applies `count` more entries of a MiB each, and returns whether a snapshot became due.
    async fn due_after(machine: &mut Machine, count: u64) -> bool {
        let first = machine.lineage().lock().last().map_or(0, |last| last.index + 1);
        let entry = Arc::new(Entry { stamp: Stamp { now_ms: 1, wall_ms: 1 }, requests: Vec::new() });
        let data = LogEntry { entry, bytes: Bytes::from(vec![0; ENTRY_BYTES]) };
        let entries = (first..first + count)
            .map(|index| Ok((RaftEntry::new_normal(LogId::new_term_index(1, index), data.clone()), None)));
        machine.apply(stream::iter(entries)).await.expect("applied");
        machine.snapshot_due().notified().now_or_never().is_some()
    }

    #[tokio::test]
    async fn snapshot_is_due_by_log_growth_and_last_size() {
        let dir = tempfile::tempdir().expect("a directory");
        let platform = OsPlatform::new(std::net::TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let snapshots = SnapshotStore::open(platform.disk(dir.path()).expect("opens")).expect("opens");
        let changes = ChangeLog::new(1000, 1 << 20);
        let levels = Arc::new(Levels::new(LEVEL));
        let mut machine = Machine::open(snapshots, Arc::new(platform), changes, levels).expect("opens");
        let enough = LOG_BYTES_MIN / ENTRY_BYTES as u64;

        assert!(!due_after(&mut machine, enough - 1).await);
        assert!(due_after(&mut machine, 1).await);
        assert!(!due_after(&mut machine, enough - 1).await, "not before as much again");
        let mut builder = machine.get_snapshot_builder().await;
        builder.build_snapshot().await.expect("written");
        assert!(!due_after(&mut machine, enough).await, "one is being written");
        drop(builder);
        assert!(due_after(&mut machine, 1).await, "at once when it has been");

        machine.snapshot_bytes.store(2 * LOG_BYTES_MIN, Ordering::Relaxed);
        assert!(!due_after(&mut machine, enough).await, "as much as the last one");
        assert!(due_after(&mut machine, enough).await);
    }
}
