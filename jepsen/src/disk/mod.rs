//! A simulated disk that can be slow, full, broken or without power: a FUSE file system over a directory.
//!
//! Writes stay in memory until they are synced; the directory behind holds the durable data. A power cut keeps any
//! part of the unsynced data, sector by sector: writes are torn, and later writes may survive without earlier ones. A
//! failed sync loses the data that it should have made durable. Names (create, rename, remove) and sizes are durable at
//! once; `raft/tests/` tests their loss.

mod fs;
mod store;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fuser::{BackgroundSession, Config, MountOption};

use crate::error::{Error, Result};
use crate::random::Random;
use store::Store;

/// The faults of a disk. By default there are none.
#[expect(clippy::struct_excessive_bools, reason = "each is a fault that comes and goes by itself")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// How much longer every sync takes, in milliseconds.
    pub sync_ms: u64,
    /// Syncs fail with EIO.
    pub sync_fails: bool,
    /// Writes fail with EIO.
    pub write_fails: bool,
    /// Writes fail with ENOSPC, and the disk reports no free space.
    pub full: bool,
    /// The disk reports no free space, but writes still succeed.
    pub nearly_full: bool,
}

/// A simulated disk, mounted for as long as the value lives.
pub struct Disk {
    store: Arc<Store>,
    behind: PathBuf,
    _session: BackgroundSession,
}

/// The effect of a power cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Bytes that were not synced at the power cut.
    pub unsynced_bytes: u64,
    /// Bytes of these that are lost.
    pub lost_bytes: u64,
}

impl Disk {
    /// Mounts a disk at `at` that keeps its durable data in the directory `behind`.
    ///
    /// # Errors
    /// When FUSE is not available (it needs `/dev/fuse` and root).
    pub fn mount(at: &Path, behind: &Path) -> Result<Self> {
        std::fs::create_dir_all(behind).map_err(Error::io(behind.display().to_string()))?;
        let store = Arc::new(Store::new(behind));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("jepsen".to_owned())];
        let session = fuser::spawn_mount(fs::Fs::new(Arc::clone(&store)), at, &config)
            .map_err(Error::io(format!("mounting a disk at {}", at.display())))?;
        Ok(Self { store, behind: behind.to_owned(), _session: session })
    }

    /// Replaces the faults of the disk.
    pub fn set(&self, trouble: Trouble) {
        self.store.set(trouble);
    }

    /// Turns the power off: nothing becomes durable any more, not even data that is being synced. The process that uses the disk must be
    /// stopped, so that it does not notice, and killed afterwards.
    pub fn power_off(&self) {
        self.store.power(false);
    }

    /// Turns the power on again, with a random part of the unsynced data lost. The process that uses the disk must already be dead.
    ///
    /// # Errors
    /// When the directory behind cannot be written.
    pub fn cut_power(&self, random: &mut Random) -> Result<Cut> {
        self.store.cut_power(random).map_err(Error::io(self.behind.display().to_string()))
    }

    /// Flips one bit in the older half of the written part of a log segment or a snapshot, and says where. `None` when
    /// nothing is written yet. The process that uses the disk must already be dead.
    ///
    /// # Errors
    /// When the directory behind cannot be read or written.
    pub fn flip_bit(&self, random: &mut Random) -> Result<Option<String>> {
        let failed = || self.behind.display().to_string();
        let mut files = Vec::new();
        for (folder, prefix) in [("log", "log-"), ("snapshots", "snapshot-")] {
            let Ok(items) = std::fs::read_dir(self.behind.join(folder)) else { continue };
            for item in items {
                let path = item.map_err(Error::io(failed()))?.path();
                if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)) {
                    files.push(path);
                }
            }
        }
        files.sort();
        if files.is_empty() {
            return Ok(None);
        }
        let path = random.one_of(&files);
        let bytes = std::fs::read(path).map_err(Error::io(failed()))?;
        // Damage to the very last group of a log may go unnoticed (docs/guarantees.md); the older half never contains it.
        let written = bytes.iter().rposition(|&byte| byte != 0).unwrap_or_default() / 2;
        if written == 0 {
            return Ok(None);
        }
        let (at, bit) = (random.place(written), random.between(0, 7));
        let file = OpenOptions::new().write(true).open(path).map_err(Error::io(failed()))?;
        file.write_all_at(&[bytes[at] ^ (1 << bit)], at as u64).map_err(Error::io(failed()))?;
        let name = path.strip_prefix(&self.behind).unwrap_or(path).display();
        Ok(Some(format!("bit {bit} of byte {at} of {name}")))
    }
}
