//! The few file operations the log needs, behind a trait, so that a simulated disk can take the real one's place.
//!
//! Names are relative to the directory the disk was opened on. Files are pre-sized by their writer; nothing here
//! buffers: what `write_at` returned for is with the operating system, what `sync_data` returned for is durable.

mod lock;
mod real;
mod sim;

pub use lock::{DirLock, LockError};
pub use real::RealDisk;
pub use sim::SimDisk;

use std::io;
use std::sync::Arc;

/// A directory with files.
pub trait Disk: Send + Sync + 'static {
    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// When the file is absent or can not be opened.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates a file, replacing one of that name.
    ///
    /// # Errors
    /// When the file can not be created.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Renames a file, replacing one of the new name.
    ///
    /// # Errors
    /// When the operating system refuses.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// When the operating system refuses.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// The names of all files, sorted.
    ///
    /// # Errors
    /// When the directory can not be read.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// When the operating system refuses.
    fn sync_dir(&self) -> io::Result<()>;
    /// Bytes that can still be written.
    ///
    /// # Errors
    /// When the operating system refuses.
    fn free_bytes(&self) -> io::Result<u64>;
    /// The directory's name, for people.
    fn describe(&self) -> String;
}

/// One open file.
pub trait DiskFile: Send + Sync + 'static {
    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file is shorter, or what the operating system reports.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// What the operating system reports; part of the bytes may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything written so far durable. A failure is final: it must not be tried again.
    ///
    /// # Errors
    /// What the operating system reports.
    fn sync_data(&self) -> io::Result<()>;
    /// The file's size.
    ///
    /// # Errors
    /// What the operating system reports.
    fn size_bytes(&self) -> io::Result<u64>;
    /// Cuts or extends the file.
    ///
    /// # Errors
    /// What the operating system reports.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
}
