//! The store behind the file system: files in a directory, and writes that are not synced yet.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Cut, Trouble};
use crate::random::Random;

/// The unit that a disk writes completely or not at all, in bytes.
const SECTOR_BYTES: usize = 512;

/// A file or directory that the kernel knows by number.
struct Node {
    path: PathBuf,
    /// The file, once it has been opened; it outlives its name.
    file: Option<Arc<File>>,
    /// Unsynced writes, oldest first.
    unsynced: Vec<(u64, Vec<u8>)>,
}

#[derive(Default)]
struct Table {
    nodes: HashMap<u64, Node>,
    by_path: HashMap<PathBuf, u64>,
    next: u64,
}

/// The files of a disk, with their unsynced writes.
pub(super) struct Store {
    table: Mutex<Table>,
    trouble: Mutex<Trouble>,
    has_power: AtomicBool,
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Store {
    /// Makes a store over a directory, whose root has number 1.
    pub(super) fn new(root: &Path) -> Self {
        let table = Mutex::new(Table { next: 1, ..Table::default() });
        let store = Self { table, trouble: Mutex::default(), has_power: AtomicBool::new(true) };
        store.number(root);
        store
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // No code that holds the lock can panic halfway through a change.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn trouble(&self) -> Trouble {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    pub(super) fn power(&self, on: bool) {
        self.has_power.store(on, Ordering::SeqCst);
    }

    /// The number of a path.
    pub(super) fn number(&self, path: &Path) -> u64 {
        let mut table = self.table();
        if let Some(&number) = table.by_path.get(path) {
            return number;
        }
        let number = table.next;
        table.next += 1;
        table.by_path.insert(path.to_owned(), number);
        table.nodes.insert(number, Node { path: path.to_owned(), file: None, unsynced: Vec::new() });
        number
    }

    pub(super) fn path(&self, number: u64) -> io::Result<PathBuf> {
        self.table().nodes.get(&number).map(|node| node.path.clone()).ok_or_else(not_found)
    }

    /// The metadata of a node, and its size including unsynced writes.
    pub(super) fn metadata(&self, number: u64) -> io::Result<(fs::Metadata, u64)> {
        let table = self.table();
        let node = table.nodes.get(&number).ok_or_else(not_found)?;
        let metadata = match &node.file {
            Some(file) => file.metadata()?,
            None => fs::symlink_metadata(&node.path)?,
        };
        let unsynced = node.unsynced.iter().map(|(offset, bytes)| offset + bytes.len() as u64).max();
        let size = metadata.len().max(unsynced.unwrap_or_default());
        Ok((metadata, size))
    }

    /// The open file behind a number.
    pub(super) fn file(&self, number: u64) -> io::Result<Arc<File>> {
        let mut table = self.table();
        let node = table.nodes.get_mut(&number).ok_or_else(not_found)?;
        if let Some(file) = &node.file {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(OpenOptions::new().read(true).write(true).open(&node.path)?);
        node.file = Some(Arc::clone(&file));
        Ok(file)
    }

    /// Reads as a process does: the durable data with the unsynced writes over it.
    pub(super) fn read(&self, number: u64, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let file = self.file(number)?;
        let (_, size) = self.metadata(number)?;
        let end = size.min(offset.saturating_add(length as u64));
        let mut buffer = vec![0; usize::try_from(end.saturating_sub(offset)).unwrap_or_default()];
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read_at(&mut buffer[filled..], offset + filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        let table = self.table();
        for (at, bytes) in table.nodes.get(&number).map(|node| node.unsynced.as_slice()).unwrap_or_default() {
            overlay(&mut buffer, offset, *at, bytes);
        }
        Ok(buffer)
    }

    pub(super) fn write(&self, number: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(number)?;
        let mut table = self.table();
        let node = table.nodes.get_mut(&number).ok_or_else(not_found)?;
        node.unsynced.push((offset, bytes.to_vec()));
        Ok(())
    }

    /// Makes unsynced writes durable or, when the sync `fails`, loses them.
    pub(super) fn sync(&self, number: u64, fails: bool) -> io::Result<()> {
        let file = self.file(number)?;
        let mut table = self.table();
        let node = table.nodes.get_mut(&number).ok_or_else(not_found)?;
        if !self.has_power.load(Ordering::SeqCst) {
            // A sync that is in progress when the power goes is neither done nor failed: the cut decides.
            return Err(io::Error::from_raw_os_error(5));
        }
        let unsynced = std::mem::take(&mut node.unsynced);
        if fails {
            return Err(io::Error::from_raw_os_error(5));
        }
        unsynced.iter().try_for_each(|(offset, bytes)| file.write_all_at(bytes, *offset))
    }

    pub(super) fn set_len(&self, number: u64, size: u64) -> io::Result<()> {
        let file = self.file(number)?;
        let mut table = self.table();
        let node = table.nodes.get_mut(&number).ok_or_else(not_found)?;
        for (offset, bytes) in &mut node.unsynced {
            bytes.truncate(usize::try_from(size.saturating_sub(*offset)).unwrap_or(usize::MAX));
        }
        file.set_len(size)
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut table = self.table();
        fs::rename(from, to)?;
        table.by_path.remove(to);
        if let Some(number) = table.by_path.remove(from) {
            table.by_path.insert(to.to_owned(), number);
            if let Some(node) = table.nodes.get_mut(&number) {
                to.clone_into(&mut node.path);
            }
        }
        Ok(())
    }

    pub(super) fn remove(&self, path: &Path, directory: bool) -> io::Result<()> {
        let mut table = self.table();
        let removed = if directory { fs::remove_dir(path) } else { fs::remove_file(path) };
        removed?;
        table.by_path.remove(path);
        Ok(())
    }

    /// Applies a power cut: keeps a random part of the unsynced sectors.
    pub(super) fn cut_power(&self, random: &mut Random) -> io::Result<Cut> {
        let mut cut = Cut::default();
        // A real power cut may keep nothing, everything, or any part.
        let kept_percent = *random.one_of(&[0, 0, 50, 50, 100]);
        let mut table = self.table();
        let mut numbers: Vec<u64> = table.nodes.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            let Some(node) = table.nodes.get_mut(&number) else { continue };
            let unsynced = std::mem::take(&mut node.unsynced);
            let Some(file) = node.file.take() else { continue };
            for (offset, bytes) in unsynced {
                for (at, sector) in sectors(offset, &bytes) {
                    cut.unsynced_bytes += sector.len() as u64;
                    if random.chance(kept_percent) {
                        file.write_all_at(sector, at)?;
                    } else {
                        cut.lost_bytes += sector.len() as u64;
                    }
                }
            }
        }
        self.power(true);
        Ok(cut)
    }
}

/// Copies `bytes`, which are at `at` in a file, into a buffer that begins at `offset` in the file.
fn overlay(buffer: &mut [u8], offset: u64, at: u64, bytes: &[u8]) {
    let end = offset + buffer.len() as u64;
    let (from, to) = (at.max(offset), (at + bytes.len() as u64).min(end));
    if from < to {
        let place = |position: u64, base: u64| usize::try_from(position - base).unwrap_or_default();
        buffer[place(from, offset)..place(to, offset)]
            .copy_from_slice(&bytes[place(from, at)..place(to, at)]);
    }
}

/// Splits a write at sector boundaries.
fn sectors(offset: u64, bytes: &[u8]) -> Vec<(u64, &[u8])> {
    let mut parts = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let position = offset + at as u64;
        let in_sector = usize::try_from(position % SECTOR_BYTES as u64).unwrap_or_default();
        let length = (SECTOR_BYTES - in_sector).min(bytes.len() - at);
        parts.push((position, &bytes[at..at + length]));
        at += length;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(name: &str) -> (Store, PathBuf, u64) {
        let root = std::env::temp_dir().join(format!("batuta-jepsen-store-{name}-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let path = root.join("file");
        fs::write(&path, b"old old old").unwrap();
        let store = Store::new(&root);
        let number = store.number(&path);
        (store, root, number)
    }

    #[test]
    fn unsynced_writes_are_seen_and_lost() {
        let (store, root, number) = store("lost");
        store.write(number, 4, b"new").unwrap();
        assert_eq!(store.read(number, 0, 100).unwrap(), b"old new old");
        assert_eq!(fs::read(root.join("file")).unwrap(), b"old old old");
        store.sync(number, false).unwrap();
        assert_eq!(fs::read(root.join("file")).unwrap(), b"old new old");
        store.write(number, 11, b" more").unwrap();
        assert_eq!(store.metadata(number).unwrap().1, 16);
        let mut random = Random::new(1, 1);
        let cuts: Vec<Cut> = (0..20)
            .map(|_| {
                store.write(number, 0, &[7; 2000]).unwrap();
                store.cut_power(&mut random).unwrap()
            })
            .collect();
        assert!(cuts.iter().any(|cut| cut.lost_bytes == cut.unsynced_bytes), "{cuts:?}");
        assert!(cuts.iter().any(|cut| cut.lost_bytes > 0 && cut.lost_bytes < cut.unsynced_bytes), "{cuts:?}");
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn failed_sync_loses_writes_and_rename_keeps_them() {
        let (store, root, number) = store("failed");
        store.write(number, 0, b"new").unwrap();
        assert!(store.sync(number, true).is_err());
        assert_eq!(store.read(number, 0, 3).unwrap(), b"old");
        store.write(number, 0, b"abc").unwrap();
        store.rename(&root.join("file"), &root.join("other")).unwrap();
        store.sync(number, false).unwrap();
        assert_eq!(fs::read(root.join("other")).unwrap(), b"abc old old");
        assert_eq!(store.number(&root.join("other")), number);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_write_is_cut_at_sectors() {
        let bytes = [0; 1000];
        let parts: Vec<(u64, usize)> =
            sectors(500, &bytes).iter().map(|(at, part)| (*at, part.len())).collect();
        assert_eq!(parts, [(500, 12), (512, 512), (1024, 476)]);
    }
}
