//! Names the log's files, and prepares files ahead of time.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::disk::{Disk, DiskFile};

/// A zeroed or recycled file that will become a segment.
pub(super) const SPARE: &str = "spare";
const UNFINISHED: &str = "spare.new";
const ZEROS_BYTES: usize = 1 << 20;

pub(super) fn name(sequence: u64) -> String {
    format!("log-{sequence:016x}")
}

pub(super) fn sequence(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("log-").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

/// The spare file, of which there is at most one.
pub(super) enum Spare {
    None,
    Ready,
    Making(JoinHandle<io::Result<()>>),
}

impl Spare {
    /// Makes a spare of this size now.
    pub(super) fn make_now(disk: &dyn Disk, bytes: u64) -> Self {
        // If that fails, the segment is made when it is needed.
        if zeroed(disk, bytes).is_ok() { Self::Ready } else { Self::None }
    }

    /// Starts making a spare of this size in the background.
    pub(super) fn make(disk: &Arc<dyn Disk>, bytes: u64) -> Self {
        let disk = Arc::clone(disk);
        let making = std::thread::Builder::new().name("log-spare".into());
        match making.spawn(move || zeroed(disk.as_ref(), bytes)) {
            Ok(handle) => Self::Making(handle),
            // No thread could be started: the segment is made when it is needed.
            Err(_) => Self::None,
        }
    }

    /// Takes the spare if it has at least `bytes_min`. Otherwise makes a new file of `bytes`, or of
    /// `bytes_min` if the disk is too full for that.
    pub(super) fn take(
        &mut self,
        disk: &dyn Disk,
        bytes: u64,
        bytes_min: u64,
    ) -> io::Result<(Arc<dyn DiskFile>, u64)> {
        let ready = match std::mem::replace(self, Self::None) {
            Self::None => false,
            Self::Ready => true,
            Self::Making(handle) => matches!(handle.join(), Ok(Ok(()))),
        };
        if ready && let Ok(file) = disk.open(SPARE) {
            let size = file.size_bytes()?;
            if size >= bytes_min {
                return Ok((file, size));
            }
        }
        let mut made = zeroed(disk, bytes.max(bytes_min));
        if matches!(&made, Err(error) if error.kind() == io::ErrorKind::StorageFull) && bytes_min < bytes {
            made = zeroed(disk, bytes_min);
        }
        made?;
        let file = disk.open(SPARE)?;
        let size = file.size_bytes()?;
        Ok((file, size))
    }
}

/// Makes the spare: zeros, written and synced piece by piece, so that the log's own syncs never wait for many
/// of them.
fn zeroed(disk: &dyn Disk, bytes: u64) -> io::Result<()> {
    let file = disk.create(UNFINISHED)?;
    let zeros = vec![0; ZEROS_BYTES];
    let mut offset = 0;
    while offset < bytes {
        let length = usize::try_from(bytes - offset).unwrap_or(ZEROS_BYTES).min(ZEROS_BYTES);
        if let Err(error) = file.write_at(offset, &zeros[..length]).and_then(|()| file.sync_data()) {
            // Frees the space: an unusable file must not make the shortage worse.
            disk.remove(UNFINISHED)?;
            return Err(error);
        }
        offset += length as u64;
    }
    disk.rename(UNFINISHED, SPARE)
}
