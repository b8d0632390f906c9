//! openraft's log storage over [`Log`]: what the trait asks for, plus a cache of the newest entries in their decoded form.

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

use crate::codec::consensus;
use crate::integrity::At;
use crate::log::Log;
use crate::types::{LogId, RaftEntry, TypeConfig, Vote};

/// What the newest entries may take in memory, decoded. Replication and apply read those; older ones come from the files.
const CACHE_BYTES_MAX: usize = 16 << 20;
/// What a request has on the heap beside its names and texts.
const REQUEST_HEAP_BYTES: usize = 64;
/// One answer to a replication task.
const READ_BYTES_MAX: usize = 2 << 20;

#[derive(Default)]
struct Cache {
    /// Index of the first cached entry.
    first: u64,
    /// With the length of what is written of it.
    entries: VecDeque<(RaftEntry, usize)>,
    /// What all of it takes in memory.
    bytes: usize,
}

/// About what an entry takes in memory: as it is written, and decoded, with what is text in it once more.
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

    /// `false`: there is none.
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
}

/// Index of the log's first entry, for whoever must not look further back. Clones share it.
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

/// Where the log ends, for whoever compares it with what others know of it. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogEnd(Arc<Mutex<Ends>>);

#[derive(Debug, Default)]
struct Ends {
    /// The last entry, durable or not.
    last: Option<LogId>,
    /// The last entry known to be durable.
    durable: Option<LogId>,
    /// The term of the newest vote. A later leader's is noted before what it has the log give up.
    voted_term: u64,
}

impl LogEnd {
    fn ends(&self) -> MutexGuard<'_, Ends> {
        // Each change under the lock is one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The term of the newest vote, and the last entry of the log as it is under that vote.
    pub(crate) fn voted_and_last(&self) -> (u64, Option<LogId>) {
        let ends = self.ends();
        (ends.voted_term, ends.last)
    }

    pub(crate) fn durable(&self) -> Option<LogId> {
        self.ends().durable
    }

    /// That of a log which is on the disk so far.
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

/// The log was committed further than it reaches now.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("{} is committed, and the log would end at {}", At(Some(*committed)), At(*end))]
pub(crate) struct CommittedIsGone {
    committed: LogId,
    end: Option<LogId>,
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl LogStore {
    /// Fails when the log cannot be read.
    pub(crate) fn new(log: Log) -> io::Result<Self> {
        let first = FirstIndex::default();
        first.set(log.state().purged.map_or(0, |(index, _)| index + 1));
        let store = Self { log: Arc::new(log), cache: Arc::default(), first, end: LogEnd::default() };
        let last = store.last()?;
        store.end.appended(last);
        store.end.synced(last);
        store.end.voted(store.vote()?.map_or(0, |vote| vote.leader_id.term));
        Ok(store)
    }

    pub(crate) fn end(&self) -> LogEnd {
        self.end.clone()
    }

    /// Fails when entries that were noted as committed are gone.
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
        // Nothing that runs under the lock can leave the cache half changed.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn first_index(&self) -> FirstIndex {
        self.first.clone()
    }

    /// The vote last saved, if any.
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

    /// Entries from `start` on, before `end`, at most about `bytes_max` of them (at least one).
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
            found.push(consensus::entry(stored).map_err(invalid)?);
        }
        Ok(found)
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
        // Nobody waits any more when openraft dropped the call; the log finishes it all the same.
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
        // What would follow the purged entries must not be taken for what was asked for.
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
        // A majority may have it before this disk. A note of what is not durable could outlive it in a power cut; a later start could
        // not tell that from a disk that lost what was synced.
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
        // What was appended before may have been reported meanwhile.
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
    use batuta_statemachine::session::KeepAlive;
    use batuta_statemachine::{Command, Entry, Stamp};
    use openraft::storage::RaftLogStorageExt as _;
    use openraft::testing::log::{StoreBuilder, Suite};

    use super::*;
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
            let machine = Machine::open(snapshots, platform, changes).expect("opens");
            Ok((dir, LogStore::new(log).expect("reads"), machine))
        }
    }

    #[test]
    fn decoded_entries_are_kept_by_what_they_take_in_memory() {
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
    async fn what_follows_purged_entries_is_not_given_for_them() {
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
    async fn what_was_committed_is_never_given_up() {
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

    #[tokio::test(flavor = "multi_thread")]
    async fn openrafts_own_suite_passes() {
        Suite::test_all(Builder).await.expect("the suite passes");
    }
}
