//! A disk in memory that forgets what was not synced, the way a power cut does.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile};

const SECTOR_BYTES: usize = 512;

#[derive(Default)]
struct Inode {
    current: Vec<u8>,
    durable: Vec<u8>,
    /// Unsynced sectors, by sector number, oldest write first.
    pending: Vec<usize>,
}

#[derive(Default)]
struct Inner {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    writes_left: Option<u64>,
    syncs_left: Option<u64>,
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

    /// Lets `count` more writes succeed; the following ones fail.
    pub fn fail_writes_after(&self, count: u64) {
        self.lock().writes_left = Some(count);
    }

    /// Lets `count` more file or directory syncs succeed; the following ones fail.
    pub fn fail_syncs_after(&self, count: u64) {
        self.lock().syncs_left = Some(count);
    }

    /// A copy of the disk as a power cut leaves it: synced data, and of every unsynced sector and directory change
    /// the new state when `keep` says so. The copy is a new disk: writers on this one can not reach it.
    #[must_use]
    pub fn after_power_cut(&self, mut keep: impl FnMut() -> bool) -> SimDisk {
        let inner = self.lock();
        let mut cut = Inner::default();
        for inode in &inner.inodes {
            let mut bytes = inode.durable.clone();
            bytes.resize(inode.current.len().max(bytes.len()), 0);
            for sector in &inode.pending {
                let start = sector * SECTOR_BYTES;
                let end = (start + SECTOR_BYTES).min(inode.current.len());
                if start < end && keep() {
                    bytes[start..end].copy_from_slice(&inode.current[start..end]);
                }
            }
            cut.inodes.push(Inode { current: bytes.clone(), durable: bytes, pending: Vec::new() });
        }
        // Directory changes are journalled: they survive in order or not at all.
        let names = if keep() { &inner.names } else { &inner.durable_names };
        cut.names.clone_from(names);
        cut.durable_names.clone_from(names);
        SimDisk { inner: Arc::new(Mutex::new(cut)) }
    }

    /// The bytes of a file.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let inner = self.lock();
        inner.names.get(name).map(|id| inner.inodes[*id].current.clone())
    }

    /// Puts a file on the disk, durably: to damage one, or to copy a disk.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut inner = self.lock();
        let id = inner.inodes.len();
        inner.inodes.push(Inode { current: bytes.clone(), durable: bytes, pending: Vec::new() });
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
        let id = inner.inodes.len();
        inner.inodes.push(Inode::default());
        inner.names.insert(name.into(), id);
        drop(inner);
        Ok(self.file(id))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.lock();
        let id = inner.names.remove(from).ok_or_else(|| absent(from))?;
        inner.names.insert(to.into(), id);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.lock().names.remove(name).map(|_| ()).ok_or_else(|| absent(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut inner = self.lock();
        spend(&mut inner.syncs_left, "sync")?;
        inner.durable_names = inner.names.clone();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
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
        spend(&mut inner.writes_left, "write")?;
        let inode = &mut inner.inodes[self.id];
        let end = start + bytes.len();
        if inode.current.len() < end {
            inode.current.resize(end, 0);
        }
        inode.current[start..end].copy_from_slice(bytes);
        if !bytes.is_empty() {
            inode.pending.extend(start / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.disk.lock();
        spend(&mut inner.syncs_left, "sync")?;
        let inode = &mut inner.inodes[self.id];
        let length = inode.current.len();
        inode.durable.resize(length, 0);
        for sector in std::mem::take(&mut inode.pending) {
            let start = (sector * SECTOR_BYTES).min(length);
            let end = (start + SECTOR_BYTES).min(length);
            inode.durable[start..end].copy_from_slice(&inode.current[start..end]);
        }
        Ok(())
    }

    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.disk.lock().inodes[self.id].current.len() as u64)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let length = position(bytes)?;
        self.disk.lock().inodes[self.id].current.resize(length, 0);
        Ok(())
    }
}
