//! The few file operations the log needs, behind a trait, so that a simulated disk can replace the real one.
//!
//! Names are relative to the directory the disk was opened on. Files are pre-sized by their writer. Nothing
//! here buffers: once `write_at` returns, the operating system has the bytes; once `sync_data` returns, they
//! are durable.

mod lock;
mod real;
mod sim;

pub use lock::{DirLock, LockError};
pub use real::RealDisk;
pub use sim::SimDisk;

use std::io;
use std::sync::Arc;

/// A directory of files.
pub trait Disk: Send + Sync + 'static {
    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// When the file is absent or cannot be opened.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates a file, replacing an existing one.
    ///
    /// # Errors
    /// When the file cannot be created.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Renames a file, replacing an existing file of the new name.
    ///
    /// # Errors
    /// When the operating system refuses.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// When the operating system refuses.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Lists the names of all files, sorted.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// When the operating system refuses.
    fn sync_dir(&self) -> io::Result<()>;
    /// Free space, bytes.
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
    /// `UnexpectedEof` when the file is shorter; otherwise the operating system's error.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// The operating system's error; part of the bytes may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything written so far durable. A failure is final: do not retry.
    ///
    /// # Errors
    /// The operating system's error.
    fn sync_data(&self) -> io::Result<()>;
    /// The file's size.
    ///
    /// # Errors
    /// The operating system's error.
    fn size_bytes(&self) -> io::Result<u64>;
    /// Truncates or extends the file.
    ///
    /// # Errors
    /// The operating system's error.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
}
