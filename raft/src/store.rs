//! openraft's log storage on top of [`Log`], with a cache of the newest decoded entries.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use batuta_proto::internal as wire;
use batuta_statemachine::Request;
use openraft::entry::RaftEntry as _;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend, RaftLogReader};
use prost::Message as _;
use tokio::sync::oneshot;

use crate::codec::{DecodeError, consensus};
use crate::integrity::At;
use crate::level::{self, Levels};
use crate::log::Log;
use crate::types::{LogId, RaftEntry, TypeConfig, Vote};

/// Memory for the newest decoded entries. Replication and apply read these; older entries are read from the
/// files.
const CACHE_BYTES_MAX: usize = 16 << 20;
/// Heap memory of a request besides its names and texts.
const REQUEST_HEAP_BYTES: usize = 64;
/// Most bytes read for one request of a replication task.
const READ_BYTES_MAX: usize = 2 << 20;

#[derive(Default)]
struct Cache {
    /// Index of the first cached entry.
    first: u64,
    /// The entries, each with the length of its encoding.
    entries: VecDeque<(RaftEntry, usize)>,
    /// Total memory of all cached entries.
    bytes: usize,
}

/// Estimates an entry's memory: its encoding, and its decoded form, which contains the text once more.
fn memory_bytes(entry: &RaftEntry, written_bytes: usize) -> usize {
    let requests = match &entry.payload {
        EntryPayload::Normal(data) => data.entry.requests.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    };
    size_of::<RaftEntry>() + 2 * written_bytes + requests * (size_of::<Request>() + REQUEST_HEAP_BYTES)
}

impl Cache {
    fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn push(&mut self, entry: RaftEntry, written_bytes: usize) {
        if self.entries.is_empty() || self.next() != entry.log_id.index {
            self.clear();
            self.first = entry.log_id.index;
        }
        self.bytes += memory_bytes(&entry, written_bytes);
        self.entries.push_back((entry, written_bytes));
        while self.bytes > CACHE_BYTES_MAX && self.entries.len() > 1 {
            self.pop_front();
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    fn truncate(&mut self, from: u64) {
        while self.next() > from
            && let Some((entry, written_bytes)) = self.entries.pop_back()
        {
            self.bytes -= memory_bytes(&entry, written_bytes);
        }
    }

    /// Removes the first entry; `false` when there is none.
    fn pop_front(&mut self) -> bool {
        let Some((entry, written_bytes)) = self.entries.pop_front() else { return false };
        self.bytes -= memory_bytes(&entry, written_bytes);
        self.first += 1;
        true
    }

    fn purge(&mut self, upto: u64) {
        while self.first <= upto && self.pop_front() {}
    }

    fn get(&self, index: u64) -> Option<&(RaftEntry, usize)> {
        self.entries.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }
}

/// The log as openraft sees it. Clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    log: Arc<Log>,
    cache: Arc<Mutex<Cache>>,
    first: FirstIndex,
    end: LogEnd,
    levels: Arc<Levels>,
}

/// Index of the log's first entry, shared with code that must not read further back. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct FirstIndex(Arc<AtomicU64>);

impl FirstIndex {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, index: u64) {
        self.0.store(index, Ordering::Relaxed);
    }
}

/// The end of the log, shared with code that compares it with the knowledge of other members. Clones share
/// it.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogEnd(Arc<Mutex<Ends>>);

#[derive(Debug, Default)]
struct Ends {
    /// The last entry, durable or not.
    last: Option<LogId>,
    /// The last entry known to be durable.
    durable: Option<LogId>,
    /// The term of the newest vote. The vote of a later leader is noted before that leader makes the log drop
    /// entries.
    voted_term: u64,
}

impl LogEnd {
    fn ends(&self) -> MutexGuard<'_, Ends> {
        // Each change under this lock is a single step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The term of the newest vote, and the last entry of the log under that vote.
    pub(crate) fn voted_and_last(&self) -> (u64, Option<LogId>) {
        let ends = self.ends();
        (ends.voted_term, ends.last)
    }

    pub(crate) fn durable(&self) -> Option<LogId> {
        self.ends().durable
    }

    /// The end of a log whose entries are all durable.
    #[cfg(test)]
    pub(crate) fn at(voted_term: u64, last: Option<LogId>) -> Self {
        Self(Arc::new(Mutex::new(Ends { last, durable: last, voted_term })))
    }

    fn appended(&self, last: Option<LogId>) {
        let mut ends = self.ends();
        ends.last = last.or(ends.last);
    }

    fn synced(&self, last: Option<LogId>) {
        let mut ends = self.ends();
        ends.durable = ends.durable.max(last);
    }

    fn voted(&self, term: u64) {
        let mut ends = self.ends();
        ends.voted_term = ends.voted_term.max(term);
    }

    fn truncated(&self, last: Option<LogId>) {
        let mut ends = self.ends();
        (ends.last, ends.durable) = (ends.last.min(last), ends.durable.min(last));
    }

    fn purged(&self, upto: LogId) {
        let mut ends = self.ends();
        (ends.last, ends.durable) = (ends.last.max(Some(upto)), ends.durable.max(Some(upto)));
    }
}

/// The log was committed further than it now reaches.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("{} is committed, but the log would end at {}", At(Some(*committed)), At(*end))]
pub(crate) struct CommittedIsGone {
    committed: LogId,
    end: Option<LogId>,
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl LogStore {
    /// Opens the storage. Fails when the log cannot be read.
    pub(crate) fn new(log: Log, levels: Arc<Levels>) -> io::Result<Self> {
        let first = FirstIndex::default();
        first.set(log.state().purged.map_or(0, |(index, _)| index + 1));
        let store = Self { log: Arc::new(log), cache: Arc::default(), first, end: LogEnd::default(), levels };
        let last = store.last()?;
        store.end.appended(last);
        store.end.synced(last);
        store.end.voted(store.vote()?.map_or(0, |vote| vote.leader_id.term));
        Ok(store)
    }

    pub(crate) fn end(&self) -> LogEnd {
        self.end.clone()
    }

    /// Fails when entries noted as committed are gone.
    pub(crate) fn check_committed(&self) -> io::Result<()> {
        let (_, end) = self.end.voted_and_last();
        match self.committed()? {
            Some(committed) if end < Some(committed) => Err(invalid(CommittedIsGone { committed, end })),
            Some(_) | None => Ok(()),
        }
    }

    /// The position last noted as committed; it may lag.
    fn committed(&self) -> io::Result<Option<LogId>> {
        self.log.state().committed.map(|id| consensus::decode_log_id(&id).map_err(invalid)).transpose()
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // Code under this lock cannot leave the cache half changed.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn first_index(&self) -> FirstIndex {
        self.first.clone()
    }

    /// The vote saved last, if any.
    pub(crate) fn vote(&self) -> io::Result<Option<Vote>> {
        self.log.state().vote.map(|vote| consensus::decode_vote(&vote).map_err(invalid)).transpose()
    }

    fn last(&self) -> io::Result<Option<LogId>> {
        let entries = self.log.state().entries;
        match entries.end.checked_sub(1).filter(|last| *last >= entries.start) {
            Some(last) => Ok(self.read(last, last + 1, 0)?.first().map(|entry| entry.log_id)),
            None => self.purged(),
        }
    }

    fn purged(&self) -> io::Result<Option<LogId>> {
        self.log.state().purged.map(|(_, id)| consensus::decode_log_id(&id).map_err(invalid)).transpose()
    }

    /// Reads entries from `start` on, before `end`, at most about `bytes_max` bytes (at least one entry).
    fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<RaftEntry>> {
        let mut found = Vec::new();
        let mut taken = 0;
        {
            let cache = self.cache();
            for index in start..end {
                let Some((entry, written_bytes)) = cache.get(index) else { break };
                found.push(entry.clone());
                taken += written_bytes;
                if taken >= bytes_max {
                    return Ok(found);
                }
            }
        }
        let next = start + found.len() as u64;
        for (_, payload) in self.log.read(next..end, bytes_max.saturating_sub(taken))? {
            let stored = wire::StoredEntry::decode(payload).map_err(invalid)?;
            let entry = consensus::entry(stored, self.levels.own());
            found.push(entry.inspect_err(|error| self.note_unknown(error)).map_err(invalid)?);
        }
        Ok(found)
    }

    /// Notes why this node has to stop, when an entry is one that only a newer build can have written.
    fn note_unknown(&self, error: &DecodeError) {
        if !matches!(error, DecodeError::Unknown(_)) {
            return;
        }
        let own = self.levels.own();
        let raised = level::raised_in(&self.log, own);
        match raised.map(|raised| level::check(own, raised.level, &raised.version)) {
            Some(Err(too_new)) => self.levels.stop_because(&too_new),
            Some(Ok(())) | None => self.levels.stop_because(&self.levels.unknown(error)),
        }
    }

    fn read_range(&self, range: &impl RangeBounds<u64>, bytes_max: usize) -> io::Result<Vec<RaftEntry>> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let there = self.log.state().entries;
        self.read(start.max(there.start), end.min(there.end), bytes_max)
    }

    async fn durable(&self, call: impl FnOnce(&Log, crate::log::Done)) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        // openraft may have dropped the call; the log finishes it anyway.
        call(&self.log, Box::new(move |result| drop(sender.send(result))));
        receiver.await.unwrap_or_else(|_| Err(io::Error::other("the log's thread is gone")))
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<RaftEntry>, io::Error> {
        self.read_range(&range, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<RaftEntry>, io::Error> {
        // Entries after the purged ones must not be returned in place of the requested ones.
        if start < self.first.get() {
            return Ok(Vec::new());
        }
        self.read_range(&(start..end), READ_BYTES_MAX)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        self.vote()
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        Ok(LogState { last_purged_log_id: self.purged()?, last_log_id: self.last()? })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.end.voted(vote.leader_id.term);
        let vote = consensus::encode_vote(vote);
        self.durable(|log, done| log.save_vote(vote, done)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        // A majority may have committed the entry before this disk has it. A note of a non-durable entry
        // could outlive the entry in a power cut; a later start could not tell that from a disk that lost
        // synced data.
        if let Some(id) = committed.min(self.end.durable()) {
            self.log.note_committed(consensus::encode_log_id(id));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        self.committed()
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut encoded = Vec::new();
        let mut last = None;
        {
            let mut cache = self.cache();
            for entry in entries {
                let bytes = consensus::entry_to_wire(&entry).encode_to_vec();
                let id = entry.log_id();
                last = Some(id);
                cache.push(entry, bytes.len());
                encoded.push((id.index, bytes.into()));
            }
        }
        self.end.appended(last);
        let end = self.end.clone();
        let done = move |result: io::Result<()>| {
            if result.is_ok() {
                end.synced(last);
            }
            callback.io_completed(result);
        };
        self.log.append(encoded, Box::new(done));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let from = last_log_id.map_or(0, |id| id.index + 1);
        if let Some(committed) = self.committed()?.filter(|committed| committed.index >= from) {
            return Err(invalid(CommittedIsGone { committed, end: last_log_id }));
        }
        self.end.truncated(last_log_id);
        self.cache().truncate(from);
        self.durable(|log, done| log.truncate(from, done)).await?;
        // An earlier append may have reported its entries as durable in the meantime.
        self.end.truncated(last_log_id);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        self.first.set(log_id.index + 1);
        self.end.purged(log_id);
        self.cache().purge(log_id.index);
        let id = consensus::encode_log_id(log_id);
        self.durable(|log, done| log.purge(log_id.index, id, done)).await
    }
}

#[cfg(test)]
mod tests {
    use batuta_statemachine::cluster::RaiseLevel;
    use batuta_statemachine::session::KeepAlive;
    use batuta_statemachine::{Command, Entry, LEVEL, Stamp};
    use openraft::storage::RaftLogStorageExt as _;
    use openraft::testing::log::{StoreBuilder, Suite};

    use super::*;
    use crate::codec;
    use crate::disk::RealDisk;
    use crate::log::LogOptions;
    use crate::machine::Machine;
    use crate::platform::{OsPlatform, Platform as _};
    use crate::snapshot::SnapshotStore;
    use crate::types::LogEntry;

    struct Builder;

    impl StoreBuilder<TypeConfig, LogStore, Machine, tempfile::TempDir> for Builder {
        async fn build(
            &self,
        ) -> Result<(tempfile::TempDir, LogStore, Machine), openraft::StorageError<TypeConfig>> {
            let dir = tempfile::tempdir().expect("a directory");
            let disk = RealDisk::open(&dir.path().join("log")).expect("opens");
            let options =
                LogOptions { segment_bytes: 64 << 10, segment_bytes_max: 256 << 10, existing: false };
            let (log, torn) = Log::open(Arc::new(disk), options).expect("opens");
            assert_eq!(torn, None);
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            let platform = Arc::new(OsPlatform::new(listener));
            let disk = platform.disk(&dir.path().join("snapshots")).expect("opens");
            let snapshots = SnapshotStore::open(disk).expect("opens");
            let changes = crate::history::ChangeLog::new(1000, 1 << 20);
            let levels = Arc::new(Levels::new(LEVEL));
            let machine = Machine::open(snapshots, platform, changes, Arc::clone(&levels)).expect("opens");
            Ok((dir, LogStore::new(log, levels).expect("reads"), machine))
        }
    }

    #[test]
    fn cached_entries_are_bounded_by_memory() {
        let request = Request::new(None, Command::from(KeepAlive { sessions: Vec::new() }));
        let data = LogEntry {
            entry: Arc::new(Entry { stamp: Stamp { now_ms: 1, wall_ms: 1 }, requests: vec![request; 512] }),
            bytes: bytes::Bytes::new(),
        };
        let entry = |index| RaftEntry::new_normal(LogId::new_term_index(1, index), data.clone());
        let mut cache = Cache::default();
        for index in 0..1000 {
            cache.push(entry(index), 10);
        }
        let kept = cache.entries.len();
        assert!(kept * 512 * size_of::<Request>() < CACHE_BYTES_MAX);
        assert!(kept * 512 * size_of::<Request>() > CACHE_BYTES_MAX / 2);
        assert!(cache.get(999).is_some() && cache.get(999 - kept as u64).is_none());
        cache.truncate(998);
        cache.purge(990);
        assert_eq!(cache.bytes, 7 * memory_bytes(&entry(0), 10), "what leaves at either end is counted off");
        cache.purge(2000);
        assert_eq!((cache.bytes, cache.entries.len()), (0, 0));
    }

    #[tokio::test]
    async fn later_entries_do_not_stand_in_for_purged_ones() {
        let (_dir, mut store, _) = Builder.build().await.expect("builds");
        let blank = |index| RaftEntry::new_blank(LogId::new_term_index(1, index));
        let (flushed, done) = oneshot::channel();
        let entries: Vec<(u64, bytes::Bytes)> = (0..10)
            .map(|index| (index, consensus::entry_to_wire(&blank(index)).encode_to_vec().into()))
            .collect();
        store.log.append(entries, Box::new(move |result| drop(flushed.send(result))));
        done.await.expect("answers").expect("is durable");
        store.purge(LogId::new_term_index(1, 6)).await.expect("purges");
        let indexes = async |start| {
            let found = store.clone().limited_get_log_entries(start, 10).await.expect("reads");
            found.iter().map(|entry| entry.log_id.index).collect::<Vec<u64>>()
        };
        assert_eq!(indexes(7).await, [7, 8, 9]);
        assert_eq!(indexes(2).await, [0_u64; 0]);
    }

    #[tokio::test]
    async fn committed_entries_are_never_truncated() {
        let (_dir, mut store, _) = Builder.build().await.expect("builds");
        let id = |index| LogId::new_term_index(1, index);
        let entries = |range: std::ops::Range<u64>| range.map(|index| RaftEntry::new_blank(id(index)));
        store.save_committed(Some(id(7))).await.expect("noted");
        assert_eq!(store.committed().expect("readable"), None, "nothing is durable yet");
        store.blocking_append(entries(0..10)).await.expect("is durable");
        assert_eq!(store.end().durable(), Some(id(9)));
        store.save_committed(Some(id(5))).await.expect("noted");
        store.truncate_after(Some(id(7))).await.expect("not committed");
        assert_eq!(store.end().voted_and_last(), (0, Some(id(7))));
        let refused = store.truncate_after(Some(id(4))).await.expect_err("entry 5 is committed");
        assert!(refused.to_string().contains("entry 5 of term 1 is committed"), "{refused}");
        assert!(store.check_committed().is_ok());
    }

    #[tokio::test]
    async fn unknown_request_names_the_version_to_install() {
        let (dir, mut store, _) = Builder.build().await.expect("builds");
        let raise = RaiseLevel { level: LEVEL + 1, version: "9.9.9".to_owned() };
        let known = Entry { stamp: Stamp::default(), requests: vec![Request::new(None, raise)] };
        // An entry with a request whose command has a number that no build knows.
        let unknown = bytes::Bytes::from_static(&[0x1a, 0x04, 0xfa, 0xff, 0x07, 0x00]);
        let payloads = [codec::encode_entry(&known).into(), unknown];
        let entries = payloads.into_iter().zip(0..).map(|(bytes, index)| {
            let data = LogEntry { entry: Arc::new(Entry::default()), bytes };
            RaftEntry::new_normal(LogId::new_term_index(1, index), data)
        });
        store.blocking_append(entries).await.expect("is durable");
        drop(store);
        let disk = RealDisk::open(&dir.path().join("log")).expect("opens");
        let options = LogOptions { segment_bytes: 64 << 10, segment_bytes_max: 256 << 10, existing: true };
        let (log, _) = Log::open(Arc::new(disk), options).expect("opens");
        let levels = Arc::new(Levels::new(LEVEL));
        assert!(LogStore::new(log, Arc::clone(&levels)).is_err());
        let said = levels.reason().expect("the node has to stop");
        for part in [format!("reached level {}", LEVEL + 1), "install Batuta 9.9.9".to_owned()] {
            assert!(said.contains(&part), "{part} is missing: {said}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn openrafts_own_suite_passes() {
        Suite::test_all(Builder).await.expect("the suite passes");
    }
}
