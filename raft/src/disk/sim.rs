//! A disk in memory that forgets unsynced data, as a power cut does.
//!
//! It assumes the same as the log: a sector of 512 bytes is written whole or not at all, and changes of a
//! directory become durable in order (a journal). Everything else may happen: any of the unsynced sectors may
//! survive, each in any of its versions, and a file's new size may survive with or without the data written
//! into it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Disk, DiskFile};

const SECTOR_BYTES: usize = 512;
const PAGE_BYTES: usize = 4096;

#[derive(Clone)]
enum Change {
    Write { start: usize, bytes: Vec<u8> },
    Size(usize),
}

#[derive(Clone, Default)]
struct Inode {
    /// The content that reads return.
    current: Vec<u8>,
    durable: Vec<u8>,
    /// Unsynced changes, oldest first.
    pending: Vec<Change>,
    /// Changes that a failed sync took from `pending`: the system believes they are written and will not try
    /// again.
    forsaken: Vec<Change>,
    /// A sync of this file has failed: pages may look clean and not be on the disk.
    sync_failed: bool,
}

impl Inode {
    fn durable(bytes: Vec<u8>) -> Self {
        Self { current: bytes.clone(), durable: bytes, ..Self::default() }
    }

    fn resize(&mut self, length: usize) {
        self.current.resize(length, 0);
        self.pending.push(Change::Size(length));
    }

    fn write(&mut self, start: usize, bytes: &[u8]) {
        let end = start + bytes.len();
        if self.current.len() < end {
            self.resize(end);
        }
        self.current[start..end].copy_from_slice(bytes);
        // The system writes whole pages. That differs from writing only these bytes if a page on the disk is
        // not what memory shows.
        let (from, to) = if self.sync_failed {
            let page_end = end.next_multiple_of(PAGE_BYTES).min(self.current.len());
            (start / PAGE_BYTES * PAGE_BYTES, page_end)
        } else {
            (start, end)
        };
        self.pending.push(Change::Write { start: from, bytes: self.current[from..to].to_vec() });
    }

    fn sync(&mut self) {
        // Changes the system believes to be written, but that are not on the disk by now, never will be.
        self.forsaken.clear();
        for change in std::mem::take(&mut self.pending) {
            change.apply(&mut self.durable, &mut || true);
        }
    }

    fn fail_sync(&mut self) {
        self.sync_failed = true;
        self.forsaken.append(&mut self.pending);
    }

    fn after_power_cut(&self, keep: &mut impl FnMut() -> bool) -> Self {
        let mut bytes = self.durable.clone();
        for change in self.forsaken.iter().chain(&self.pending) {
            change.apply(&mut bytes, keep);
        }
        Self::durable(bytes)
    }
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>, keep: &mut impl FnMut() -> bool) {
        match self {
            Self::Size(length) => {
                if keep() {
                    file.resize(*length, 0);
                }
            }
            Self::Write { start, bytes } => {
                let end = start + bytes.len();
                let mut at = *start;
                while at < end {
                    let sector_end = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
                    let upto = sector_end.min(end);
                    let kept = upto.min(file.len());
                    if keep() && at < kept {
                        file[at..kept].copy_from_slice(&bytes[at - start..kept - start]);
                    }
                    at = upto;
                }
            }
        }
    }
}

#[derive(Clone)]
enum NameChange {
    Insert(String, usize),
    Remove(String),
    Rename { from: String, to: String },
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Insert(name, id) => {
                names.insert(name.clone(), *id);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
            Self::Rename { from, to } => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
        }
    }
}

#[derive(Clone, Default)]
struct Inner {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<NameChange>,
    writes_left: Option<u64>,
    syncs_left: Option<u64>,
    sync_takes: Duration,
    changes_left: Option<u64>,
    full: bool,
    changes: u64,
}

impl Inner {
    /// Counts a change; `Err` when the power is off. `Started(true)` means that the power went off during
    /// this change.
    fn change(&mut self) -> Result<(), Started> {
        self.changes += 1;
        match &mut self.changes_left {
            None => Ok(()),
            Some(0) => Err(Started(false)),
            Some(left) => {
                *left -= 1;
                if *left == 0 { Err(Started(true)) } else { Ok(()) }
            }
        }
    }

    fn change_names(&mut self, change: NameChange) -> io::Result<()> {
        let outcome = self.change();
        if !matches!(outcome, Err(Started(false))) {
            change.apply(&mut self.names);
            self.pending_names.push(change);
        }
        outcome.map_err(io::Error::from)
    }
}

/// The power is off; the flag says whether the change may have begun.
struct Started(bool);

impl From<Started> for io::Error {
    fn from(_: Started) -> Self {
        Self::other("the simulated disk's power is off")
    }
}

/// A simulated directory. Clones share the contents.
#[derive(Clone, Default)]
pub struct SimDisk {
    inner: Arc<Mutex<Inner>>,
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn holding(mut inner: Inner) -> Self {
        let inserted = inner.pending_names.iter().filter_map(|change| match change {
            NameChange::Insert(_, id) => Some(*id),
            NameChange::Remove(_) | NameChange::Rename { .. } => None,
        });
        let named = inner.names.values().chain(inner.durable_names.values()).copied();
        let named: BTreeSet<usize> = named.chain(inserted).collect();
        for (id, inode) in inner.inodes.iter_mut().enumerate() {
            if !named.contains(&id) {
                // Nothing can open this file any more.
                *inode = Inode::default();
            }
        }
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Lets `count` more writes succeed; later writes fail, half done.
    pub fn fail_writes_after(&self, count: u64) {
        self.lock().writes_left = Some(count);
    }

    /// Lets `count` more file or directory syncs succeed; later syncs fail. As on a real disk, data that a
    /// failed sync should have written counts as written: a later successful sync does not make it durable.
    pub fn fail_syncs_after(&self, count: u64) {
        self.lock().syncs_left = Some(count);
    }

    /// Makes every file sync take this long from now on, as on a slow or stalling disk.
    pub fn slow_syncs(&self, takes: Duration) {
        self.lock().sync_takes = takes;
    }

    /// Switches the power off during the change (write, sync, creation, rename, removal, truncation) that
    /// follows the next `count` changes: that change fails, half done, and everything after it fails.
    pub fn power_off_after(&self, count: u64) {
        self.lock().changes_left = Some(count + 1);
    }

    /// From now on no file can grow.
    pub fn fill_up(&self) {
        self.lock().full = true;
    }

    /// The number of changes requested so far.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// A copy of the disk as a power cut leaves it: all synced data, and those unsynced changes for which
    /// `keep` returns true. The copy is a new disk: writers on this one cannot reach it.
    #[must_use]
    pub fn after_power_cut(&self, mut keep: impl FnMut() -> bool) -> SimDisk {
        let inner = self.lock();
        let inodes = inner.inodes.iter().map(|inode| inode.after_power_cut(&mut keep)).collect();
        let mut names = inner.durable_names.clone();
        for change in inner.pending_names.iter().take_while(|_| keep()) {
            change.apply(&mut names);
        }
        Self::holding(Inner { inodes, durable_names: names.clone(), names, ..Inner::default() })
    }

    /// A copy of the disk as the end of the process leaves it: everything written can be read, but only
    /// synced data is durable. The copy is a new disk, and nothing fails on it.
    #[must_use]
    pub fn after_kill(&self) -> SimDisk {
        let mut inner = self.lock().clone();
        inner.writes_left = None;
        inner.syncs_left = None;
        inner.sync_takes = Duration::ZERO;
        inner.changes_left = None;
        Self::holding(inner)
    }

    /// The bytes of a file.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let inner = self.lock();
        inner.names.get(name).map(|id| inner.inodes[*id].current.clone())
    }

    /// Puts a file on the disk durably, to damage it or to copy a disk.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut inner = self.lock();
        let id = inner.inodes.len();
        inner.inodes.push(Inode::durable(bytes));
        inner.names.insert(name.into(), id);
        inner.durable_names.insert(name.into(), id);
    }

    fn file(&self, id: usize) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { disk: self.clone(), id })
    }
}

fn absent(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{name} is not on the simulated disk"))
}

fn spend(budget: &mut Option<u64>, what: &str) -> io::Result<()> {
    match budget {
        Some(0) => Err(io::Error::other(format!("simulated {what} failure"))),
        Some(left) => {
            *left -= 1;
            Ok(())
        }
        None => Ok(()),
    }
}

impl Disk for SimDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let id = *self.lock().names.get(name).ok_or_else(|| absent(name))?;
        Ok(self.file(id))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.lock();
        let known = inner.names.get(name).copied();
        let id = if let Some(id) = known {
            // Empties the existing file.
            inner.change()?;
            inner.inodes[id].resize(0);
            id
        } else {
            let id = inner.inodes.len();
            inner.inodes.push(Inode::default());
            inner.change_names(NameChange::Insert(name.into(), id))?;
            id
        };
        drop(inner);
        Ok(self.file(id))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.lock();
        if !inner.names.contains_key(from) {
            return Err(absent(from));
        }
        inner.change_names(NameChange::Rename { from: from.into(), to: to.into() })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.lock();
        if !inner.names.contains_key(name) {
            return Err(absent(name));
        }
        inner.change_names(NameChange::Remove(name.into()))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut inner = self.lock();
        inner.change()?;
        spend(&mut inner.syncs_left, "sync")?;
        inner.durable_names = inner.names.clone();
        inner.pending_names.clear();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(if self.lock().full { 0 } else { u64::MAX })
    }

    fn describe(&self) -> String {
        "simulated disk".into()
    }
}

struct SimFile {
    disk: SimDisk,
    id: usize,
}

fn position(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = position(offset)?;
        let inner = self.disk.lock();
        let bytes = inner.inodes[self.id].current.get(start..start + buffer.len());
        buffer.copy_from_slice(bytes.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = position(offset)?;
        let mut inner = self.disk.lock();
        let power = inner.change();
        if matches!(power, Err(Started(false))) {
            return Ok(power?);
        }
        if inner.full && start + bytes.len() > inner.inodes[self.id].current.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let budget = spend(&mut inner.writes_left, "write");
        let length = if budget.is_ok() { bytes.len() } else { bytes.len() / 2 };
        if length > 0 {
            inner.inodes[self.id].write(start, &bytes[..length]);
        }
        budget.and(power.map_err(io::Error::from))
    }

    fn sync_data(&self) -> io::Result<()> {
        let takes = self.disk.lock().sync_takes;
        std::thread::sleep(takes);
        let mut inner = self.disk.lock();
        inner.change()?;
        let outcome = spend(&mut inner.syncs_left, "sync");
        let inode = &mut inner.inodes[self.id];
        if outcome.is_ok() {
            inode.sync();
        } else {
            inode.fail_sync();
        }
        outcome
    }

    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.disk.lock().inodes[self.id].current.len() as u64)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let length = position(bytes)?;
        let mut inner = self.disk.lock();
        inner.change()?;
        inner.inodes[self.id].resize(length);
        Ok(())
    }
}
