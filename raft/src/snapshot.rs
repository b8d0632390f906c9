//! Snapshot files.
//!
//! ```text
//! file  = "BATUTSNP" · version u32 · frame · frame · …
//! frame = length u32 · CRC u32 · kind u8 · payload
//! ```
//! A frame's CRC continues that of the previous frame, so lost, swapped or repeated frames are noticed. The
//! last frame gives the number of records, so a lost end is noticed too. Integers are little-endian, payloads
//! protobuf.
//!
//! A file is given its final name once it is complete and synced. A node whose newest snapshot is damaged
//! refuses to start, because the log before it is gone.

use std::fmt;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use batuta_proto::internal as wire;
use batuta_statemachine::{ImageRecord, State};
use crc32c::crc32c_append;
use prost::Message;

use crate::codec::{self, consensus};
use crate::disk::{Disk, DiskFile};
use crate::level::{self, TooNew};
use crate::lineage::Lineage;
use crate::types::SnapshotMeta;

const MAGIC: &[u8; 8] = b"BATUTSNP";
const VERSION: u32 = 1;
/// Records are put into frames of about this size.
const FRAME_BYTES: usize = 256 << 10;
/// A frame holds whole records, and no record comes near this size.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// A file being written is synced after each piece of this size.
const PIECE_BYTES: u64 = 1 << 20;
/// Frames decoded ahead of building the state from earlier frames.
const FRAMES_AHEAD: usize = 4;
const FINISHED: &str = "snapshot-";
const UNFINISHED: &str = "unfinished-";
/// Suffix of unfinished files of other tools.
const TEMPORARY: &str = ".tmp";

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The disk refused an operation.
    #[error("snapshot {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The file is damaged, or written by a newer version.
    #[error(
        "snapshot {path} cannot be used: {what} at offset {offset}. The other members have the data: move the data \
         directory away and start this node again; it joins again under its name and fetches everything"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The offset in the file, bytes.
        offset: u64,
        /// What is wrong with the file.
        what: String,
    },
    /// The state is of a level that this build does not know.
    #[error(transparent)]
    TooNew(#[from] TooNew),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Frame {
    Raft = 1,
    Header = 2,
    Records = 3,
    End = 4,
}

/// A whole snapshot on the disk. The open file outlives its name, so a snapshot being sent may be replaced.
#[derive(Clone)]
pub(crate) struct SnapshotFile {
    file: Arc<dyn DiskFile>,
    name: String,
    /// The path, for people.
    path: PathBuf,
    pub(crate) bytes: u64,
}

impl fmt::Debug for SnapshotFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotFile({}, {} bytes)", self.path.display(), self.bytes)
    }
}

impl SnapshotFile {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads up to `length` bytes from `offset`; fewer only at the end of the file.
    pub(crate) fn chunk(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut chunk = vec![0; length.min(left)];
        self.file.read_at(offset, &mut chunk)?;
        Ok(chunk)
    }

    /// The snapshot's log position and membership; reads only the beginning of the file.
    pub(crate) fn meta(&self) -> Result<SnapshotMeta, SnapshotError> {
        self.head().map(|(meta, _)| meta)
    }

    /// As [`Self::meta`], with the lineage of the state.
    pub(crate) fn head(&self) -> Result<(SnapshotMeta, Lineage), SnapshotError> {
        Reader::open(self)?.head()
    }

    /// Fails when the state is of a level that a build of this level does not know; reads only the beginning of the file.
    pub(crate) fn check_level(&self, known_level: u32) -> Result<(), SnapshotError> {
        let mut reader = Reader::open(self)?;
        reader.head()?;
        reader.image_header(known_level).map(drop)
    }

    /// Loads the state and verifies every checksum and every reference, as a build that knows everything up to a level.
    pub(crate) fn load(&self, known_level: u32) -> Result<(SnapshotMeta, Lineage, State), SnapshotError> {
        let mut reader = Reader::open(self)?;
        let (meta, lineage) = reader.head()?;
        let header = reader.image_header(known_level)?;
        let header = codec::image_header(header).map_err(|error| reader.damaged(&error))?;
        // One thread reads and decodes, the other builds the state.
        let (sender, records) = mpsc::sync_channel(FRAMES_AHEAD);
        let (read, built) = thread::scope(|scope| {
            let read = move || reader.records(|records| sender.send(records).is_ok());
            let reading = thread::Builder::new().name("snapshot".to_owned()).spawn_scoped(scope, read)?;
            let built = State::from_image(header, records.into_iter().flatten(), validate);
            Ok((joined(reading), built))
        })
        .map_err(|source| SnapshotError::Io { path: self.path.clone(), source })?;
        // A file that ends too early may also give an invalid state; report the missing data, not the state.
        let offset = read?;
        let state = built.map_err(|error| damaged(&self.path, offset, &error))?;
        Ok((meta, lineage, state))
    }
}

/// A snapshot being written or received. It is synced in pieces of [`PIECE_BYTES`]: synced all at once,
/// hundreds of megabytes would delay the log's own few bytes.
pub(crate) struct Unfinished {
    file: Arc<dyn DiskFile>,
    pub(crate) name: String,
    bytes: u64,
    synced_bytes: u64,
}

impl Unfinished {
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(self.bytes, bytes)?;
        self.bytes += bytes.len() as u64;
        if self.bytes - self.synced_bytes >= PIECE_BYTES {
            self.sync()?;
            self.synced_bytes = self.bytes;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The directory of a node's snapshots.
#[derive(Clone)]
pub(crate) struct SnapshotStore {
    disk: Arc<dyn Disk>,
}

impl SnapshotStore {
    /// Opens the directory and removes unfinished files, whatever they contain. Only files with the exact
    /// name of a snapshot count as snapshots.
    pub(crate) fn open(disk: Arc<dyn Disk>) -> io::Result<Self> {
        for name in disk.list()? {
            if name.starts_with(UNFINISHED) || name.ends_with(TEMPORARY) {
                // A file that could not be removed does no harm.
                if let Err(error) = disk.remove(&name) {
                    tracing::warn!(%error, name, "an unfinished snapshot cannot be removed");
                }
            } else if !is_snapshot(&name) {
                tracing::warn!(name, dir = disk.describe(), "this is not a snapshot; it is left alone");
            }
        }
        Ok(Self { disk })
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(&self.disk.describe()).join(name)
    }

    /// The newest snapshot, if there is one.
    pub(crate) fn newest(&self) -> Result<Option<SnapshotFile>, SnapshotError> {
        let failed = |path| move |source| SnapshotError::Io { path, source };
        let newest = self.names().map_err(failed(self.path("")))?.pop();
        newest.map(|name| self.file(&name).map_err(failed(self.path(&name)))).transpose()
    }

    /// The names of all snapshots, oldest first.
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = self.disk.list()?;
        names.retain(|name| is_snapshot(name));
        Ok(names)
    }

    /// Opens the snapshot with this name.
    pub(crate) fn file(&self, name: &str) -> io::Result<SnapshotFile> {
        let file = self.disk.open(name)?;
        let bytes = file.size_bytes()?;
        Ok(SnapshotFile { file, name: name.to_owned(), path: self.path(name), bytes })
    }

    /// Creates a file for a snapshot that is being written or received.
    pub(crate) fn unfinished(&self) -> io::Result<Unfinished> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let name = format!("{UNFINISHED}{:016x}", u64::from_le_bytes(random));
        Ok(Unfinished { file: self.disk.create(&name)?, name, bytes: 0, synced_bytes: 0 })
    }

    /// Writes a snapshot of a state. This takes long; the caller keeps it off latency-critical threads.
    pub(crate) fn write(
        &self,
        meta: &SnapshotMeta,
        lineage: &Lineage,
        state: &State,
    ) -> io::Result<SnapshotFile> {
        let unfinished = self.unfinished()?;
        let name = unfinished.name.clone();
        let written = write_file(unfinished, meta, lineage, state).and_then(|()| self.finish(meta, &name));
        if written.is_err() {
            // Report the first error only.
            let _ = self.disk.remove(&name);
        }
        written
    }

    /// Makes a received snapshot the newest one. A snapshot from another directory is copied.
    pub(crate) fn install(&self, meta: &SnapshotMeta, snapshot: &SnapshotFile) -> io::Result<SnapshotFile> {
        if snapshot.path == self.path(&snapshot.name) {
            return self.finish(meta, &snapshot.name);
        }
        let mut copy = self.unfinished()?;
        io::copy(&mut At { snapshot, offset: 0 }, &mut copy)?;
        copy.sync()?;
        self.finish(meta, &copy.name)
    }

    /// Gives a complete, synced file its final name and removes the older snapshots.
    fn finish(&self, meta: &SnapshotMeta, unfinished: &str) -> io::Result<SnapshotFile> {
        let (term, index) = meta.last_log_id.map_or((0, 0), |id| (id.leader_id.term, id.index));
        let name = format!("{FINISHED}{index:016x}-{term:016x}");
        self.disk.rename(unfinished, &name)?;
        self.disk.sync_dir()?;
        for older in self.names()?.into_iter().filter(|older| *older < name) {
            self.disk.remove(&older)?;
        }
        self.file(&name)
    }
}

/// Whether a file has the name of a finished snapshot: `snapshot-<index>-<term>`, each number in 16
/// hexadecimal digits.
fn is_snapshot(name: &str) -> bool {
    let number = |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.strip_prefix(FINISHED)
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(index, term)| number(index) && number(term))
}

fn write_file(file: Unfinished, meta: &SnapshotMeta, lineage: &Lineage, state: &State) -> io::Result<()> {
    let mut writer = Writer { out: BufWriter::with_capacity(1 << 20, file), crc: 0 };
    writer.out.write_all(MAGIC)?;
    writer.out.write_all(&VERSION.to_le_bytes())?;
    writer.frame(Frame::Raft, &consensus::snapshot_header_to_wire(meta, lineage).encode_to_vec())?;
    writer.frame(Frame::Header, &codec::image_header_to_wire(&state.image_header()).encode_to_vec())?;
    let mut records = Vec::with_capacity(FRAME_BYTES * 2);
    let mut count = 0_u64;
    for record in state.image_records() {
        codec::image_record_to_wire(&record)
            .encode_length_delimited(&mut records)
            .map_err(io::Error::other)?;
        count += 1;
        if records.len() >= FRAME_BYTES {
            writer.frame(Frame::Records, &records)?;
            records.clear();
        }
    }
    if !records.is_empty() {
        writer.frame(Frame::Records, &records)?;
    }
    writer.frame(Frame::End, &count.to_le_bytes())?;
    writer.out.into_inner().map_err(io::IntoInnerError::into_error)?.sync()
}

struct Writer {
    out: BufWriter<Unfinished>,
    crc: u32,
}

impl Writer {
    fn frame(&mut self, kind: Frame, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        self.crc = frame_crc(self.crc, length, kind as u8, payload);
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&self.crc.to_le_bytes())?;
        self.out.write_all(&[kind as u8])?;
        self.out.write_all(payload)
    }
}

fn frame_crc(before: u32, length: u32, kind: u8, payload: &[u8]) -> u32 {
    crc32c_append(crc32c_append(crc32c_append(before, &length.to_le_bytes()), &[kind]), payload)
}

/// As [`State::validate`], on two threads.
fn validate(state: &State) -> Result<(), String> {
    let checks = Mutex::new(State::CHECKS.iter());
    let run = || {
        loop {
            // Code under this lock cannot panic.
            let next = checks.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(check) = next else { return Ok(()) };
            check(state)?;
        }
    };
    thread::scope(|scope| {
        let helper = thread::Builder::new().name("validate".to_owned()).spawn_scoped(scope, run);
        let own = run();
        // Without a second thread, this one has run every check.
        own.and(helper.map_or(Ok(()), joined))
    })
}

/// Returns a thread's result; a panic of the thread continues here.
fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn damaged(path: &Path, offset: u64, what: &dyn fmt::Display) -> SnapshotError {
    SnapshotError::Damaged { path: path.to_owned(), offset, what: what.to_string() }
}

struct Reader<'a> {
    input: BufReader<At<'a>>,
    path: &'a Path,
    offset: u64,
    crc: u32,
}

impl<'a> Reader<'a> {
    fn open(snapshot: &'a SnapshotFile) -> Result<Self, SnapshotError> {
        let input = BufReader::with_capacity(1 << 20, At { snapshot, offset: 0 });
        let mut reader = Self { input, path: &snapshot.path, offset: 0, crc: 0 };
        let mut head = [0; 12];
        reader.fill(&mut head)?;
        if &head[..8] != MAGIC {
            return Err(reader.damaged(&"this is not a snapshot"));
        }
        if head[8..] != VERSION.to_le_bytes() {
            return Err(reader.damaged(&"a newer version wrote it; upgrade this node"));
        }
        Ok(reader)
    }

    fn damaged(&self, what: &dyn fmt::Display) -> SnapshotError {
        damaged(self.path, self.offset, what)
    }

    /// Passes the records of every frame to `take` until it returns `false`. Returns the offset of the end.
    fn records(mut self, mut take: impl FnMut(Vec<ImageRecord>) -> bool) -> Result<u64, SnapshotError> {
        let mut count = 0_u64;
        loop {
            match self.frame()? {
                (Frame::Records, payload) => {
                    let (mut rest, mut records) = (&payload[..], Vec::new());
                    while !rest.is_empty() {
                        let record = wire::ImageRecord::decode_length_delimited(&mut rest)
                            .map_err(|error| self.damaged(&error))?;
                        records.push(codec::image_record(record).map_err(|error| self.damaged(&error))?);
                    }
                    count += records.len() as u64;
                    if !take(records) {
                        return Ok(self.offset);
                    }
                }
                (Frame::End, payload) if payload == count.to_le_bytes() => return Ok(self.offset),
                _ => return Err(self.damaged(&"records are missing")),
            }
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), SnapshotError> {
        match self.input.read_exact(buffer) {
            Ok(()) => {
                self.offset += buffer.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.damaged(&"the file ends too early"))
            }
            Err(source) => Err(SnapshotError::Io { path: self.path.to_owned(), source }),
        }
    }

    fn frame(&mut self) -> Result<(Frame, Vec<u8>), SnapshotError> {
        let mut head = [0; 9];
        self.fill(&mut head)?;
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let crc = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        if length as usize > FRAME_BYTES_MAX {
            return Err(self.damaged(&"a frame is longer than any can be"));
        }
        let mut payload = vec![0; length as usize];
        self.fill(&mut payload)?;
        self.crc = frame_crc(self.crc, length, head[8], &payload);
        if self.crc != crc {
            return Err(self.damaged(&"a checksum is wrong before this"));
        }
        let kind = match head[8] {
            1 => Frame::Raft,
            2 => Frame::Header,
            3 => Frame::Records,
            4 => Frame::End,
            _ => return Err(self.damaged(&"a frame is of a kind that only a newer version knows")),
        };
        Ok((kind, payload))
    }

    fn expect(&mut self, kind: Frame) -> Result<Vec<u8>, SnapshotError> {
        match self.frame()? {
            (found, payload) if found == kind => Ok(payload),
            _ => Err(self.damaged(&"frames are out of order")),
        }
    }

    fn head(&mut self) -> Result<(SnapshotMeta, Lineage), SnapshotError> {
        let header = self.expect(Frame::Raft)?;
        let header = wire::SnapshotHeader::decode(&header[..]).map_err(|error| self.damaged(&error))?;
        consensus::snapshot_header(header).map_err(|error| self.damaged(&error))
    }

    /// The header of the state. What follows it may be of the state's level, so the level is looked at first.
    fn image_header(&mut self, known_level: u32) -> Result<wire::ImageHeader, SnapshotError> {
        let header = self.expect(Frame::Header)?;
        let header = wire::ImageHeader::decode(&header[..]).map_err(|error| self.damaged(&error))?;
        level::check(known_level, header.level, &header.level_version)?;
        Ok(header)
    }
}

/// Reads a shared file from its beginning without moving another reader's position.
struct At<'a> {
    snapshot: &'a SnapshotFile,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.snapshot.bytes.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        self.snapshot.file.read_at(self.offset, &mut buffer[..length])?;
        self.offset += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use batuta_statemachine::cluster::RaiseLevel;
    use batuta_statemachine::lock::{Acquire, LockRequest, Mode, Owner};
    use batuta_statemachine::{Command, DedupKey, Entry, LEVEL, Name, Namespace, Request, Stamp};

    use super::*;
    use crate::disk::{RealDisk, SimDisk};
    use crate::types::{LogId, StoredMembership};

    fn state() -> State {
        let mut state = State::default();
        for index in 1..200 {
            let name = Name::new(&format!("lock/{}", index % 90)).expect("valid");
            let acquire = Acquire {
                namespace: Namespace::default(),
                requests: vec![LockRequest { name, mode: Mode::Exclusive }],
                owner: Owner { session: None, label: format!("owner {index}") },
                ttl_ms: Some(60_000),
                wait_ms: 1000,
                lock_delay_ms: 0,
                reentrant: false,
                metadata: "m".repeat(100),
                call: None,
            };
            let dedup =
                DedupKey::Idempotency { namespace: Namespace::default(), key: format!("key {index:020}") };
            let request = codec::request(Some(dedup), Command::from(acquire));
            let _ = state.apply(
                index,
                &Entry { stamp: Stamp { now_ms: index, wall_ms: index }, requests: vec![request] },
            );
        }
        state
    }

    #[test]
    fn a_snapshot_reaches_the_disk_in_pieces() {
        let disk = SimDisk::new();
        let mut file =
            SnapshotStore::open(Arc::new(disk.clone())).expect("opens").unfinished().expect("created");
        disk.sync_dir().expect("synced");
        let durable =
            |name: &str| disk.after_power_cut(|| false).contents(name).map_or(0, |bytes| bytes.len());
        let (name, step) = (file.name.clone(), vec![7; 100_000]);
        let mut written = 0;
        while written < 4 << 20 {
            file.write_all(&step).expect("written");
            written += step.len();
            let behind = (written - durable(&name)) as u64;
            assert!(behind < PIECE_BYTES, "{behind} of {written} bytes are not on the disk");
        }
        file.sync().expect("synced");
        assert_eq!(durable(&name), written);
    }

    fn open(dir: &tempfile::TempDir) -> SnapshotStore {
        let disk = RealDisk::open(&dir.path().join("snapshots")).expect("opens");
        SnapshotStore::open(Arc::new(disk)).expect("opens")
    }

    fn store() -> (tempfile::TempDir, SnapshotStore) {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open(&dir);
        (dir, store)
    }

    fn meta(index: u64) -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: Some(LogId::new_term_index(3, index)),
            last_membership: StoredMembership::default(),
        }
    }

    #[test]
    fn a_state_survives_its_snapshot() {
        let (_dir, store) = store();
        let state = state();
        let ends = [LogId::new_term_index(1, 20), LogId::new_term_index(2, 90)];
        let lineage = Lineage::restored(meta(199).last_log_id, Some(42), ends, Some(3));
        let written = store.write(&meta(199), &lineage, &state).expect("writes");
        let (found, restored, loaded) = written.load(LEVEL).expect("loads");
        assert_eq!(found, meta(199));
        assert_eq!(restored, lineage);
        assert_eq!(written.meta().expect("reads"), meta(199));
        assert_eq!(loaded.hash(), state.hash());
        assert!(loaded.validate().is_ok());
    }

    #[test]
    fn snapshot_of_a_newer_level_is_refused() {
        let (_dir, store) = store();
        let mut state = state();
        let raise = RaiseLevel { level: LEVEL, version: "9.9.9".to_owned() };
        let request = Request::new(None, raise);
        state.apply(200, &Entry { stamp: Stamp::default(), requests: vec![request] });
        let written = store.write(&meta(200), &Lineage::default(), &state).expect("writes");
        assert!(written.check_level(LEVEL).is_ok());
        assert_eq!(written.load(LEVEL).expect("loads").2.level(), LEVEL);
        for refused in [written.check_level(LEVEL - 1), written.load(LEVEL - 1).map(drop)] {
            let said = refused.expect_err("it is of a level that is not known").to_string();
            assert!(said.contains("install Batuta 9.9.9 or a later version"), "{said}");
        }
    }

    #[test]
    fn the_newest_one_stays_and_unfinished_ones_go() {
        let (dir, store) = store();
        let state = state();
        store.write(&meta(100), &Lineage::default(), &state).expect("writes");
        store.write(&meta(199), &Lineage::default(), &state).expect("writes");
        let unfinished = store.unfinished().expect("opens").name;
        let store = open(&dir);
        assert!(store.file(&unfinished).is_err());
        assert_eq!(store.names().expect("lists").len(), 1);
        let newest = store.newest().expect("reads").expect("is there");
        assert_eq!(newest.meta().expect("reads"), meta(199));
    }

    #[test]
    fn unfinished_files_do_not_stop_the_start() {
        let (dir, store) = store();
        store.write(&meta(199), &Lineage::default(), &state()).expect("writes");
        let path = |name: &str| dir.path().join("snapshots").join(name);
        let swept = ["snapshot-9-9.tmp", "snapshot-ffffffffffffffff-0000000000000001.tmp", "unfinished-x"];
        let left = ["snapshot-9-9", "snapshot-", "notes.txt", "snapshot-ffffffffffffffff-1"];
        for name in swept.iter().chain(&left) {
            std::fs::write(path(name), "").expect("written");
        }
        std::fs::create_dir(path("unfinished-directory")).expect("made");
        let store = open(&dir);
        assert!(swept.iter().all(|name| !path(name).exists()));
        assert!(left.iter().all(|name| path(name).exists()));
        let newest = store.newest().expect("reads").expect("is there");
        assert_eq!(newest.meta().expect("reads"), meta(199));
    }

    #[test]
    fn damage_anywhere_is_noticed() {
        let (_dir, store) = store();
        let written = store.write(&meta(199), &Lineage::default(), &state()).expect("writes");
        let bytes = std::fs::read(written.path()).expect("reads");
        let refused = |damaged: &[u8]| {
            std::fs::write(written.path(), damaged).expect("writes");
            let file = store.file(written.name()).expect("opens");
            matches!(file.load(LEVEL), Err(SnapshotError::Damaged { .. }))
        };
        for at in (0..bytes.len()).step_by(13).chain(0..64).chain(bytes.len() - 32..bytes.len()) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            assert!(refused(&damaged), "a flipped bit at {at}");
        }
        for length in (0..bytes.len()).step_by(997) {
            assert!(refused(&bytes[..length]), "cut at {length}");
        }
    }
}
