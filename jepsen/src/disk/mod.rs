//! A disk that can be slow, full, broken, and without power: a FUSE file system over a directory.
//!
//! What is written stays in memory until it is synced; the directory behind holds what a power cut leaves. A cut keeps any
//! part of what was not synced, sector by sector: so writes are torn, and later ones may be there without earlier ones. A
//! failed sync loses what it should have kept. Names (create, rename, remove) and sizes are durable at once; losing
//! those is tested in `raft/tests/`.

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

/// What is wrong with a disk. Default: nothing.
#[expect(clippy::struct_excessive_bools, reason = "each is a fault that comes and goes by itself")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// Every sync takes this much longer.
    pub sync_ms: u64,
    /// Syncs fail with EIO.
    pub sync_fails: bool,
    /// Writes fail with EIO.
    pub write_fails: bool,
    /// Writes fail with ENOSPC, and no space is free.
    pub full: bool,
    /// No space is free, says the disk; writes still go through.
    pub nearly_full: bool,
}

/// A disk, mounted as long as it lives.
pub struct Disk {
    store: Arc<Store>,
    behind: PathBuf,
    _session: BackgroundSession,
}

/// What a power cut did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Bytes that were not synced.
    pub unsynced_bytes: u64,
    /// Of these, bytes that are gone.
    pub lost_bytes: u64,
}

impl Disk {
    /// Mounts a disk at `at`; what it keeps lies in `behind`.
    ///
    /// # Errors
    /// When FUSE is not there (`/dev/fuse`, root).
    pub fn mount(at: &Path, behind: &Path) -> Result<Self> {
        std::fs::create_dir_all(behind).map_err(Error::io(behind.display().to_string()))?;
        let store = Arc::new(Store::new(behind));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("jepsen".to_owned())];
        let session = fuser::spawn_mount(fs::Fs::new(Arc::clone(&store)), at, &config)
            .map_err(Error::io(format!("mounting a disk at {}", at.display())))?;
        Ok(Self { store, behind: behind.to_owned(), _session: session })
    }

    /// Changes what is wrong with it.
    pub fn set(&self, trouble: Trouble) {
        self.store.set(trouble);
    }

    /// The power goes: nothing becomes durable any more, also not what is being synced. The process that uses the disk must be stopped,
    /// so that it sees nothing of it, and killed afterwards.
    pub fn power_off(&self) {
        self.store.power(false);
    }

    /// What the power cut left; the power is back. The process that uses the disk must be dead already.
    ///
    /// # Errors
    /// When the directory behind can not be written.
    pub fn cut_power(&self, random: &mut Random) -> Result<Cut> {
        self.store.cut_power(random).map_err(Error::io(self.behind.display().to_string()))
    }

    /// Flips one bit of a log segment or a snapshot, somewhere in the older half of what is written, and says where. `None` when
    /// there is nothing yet. The process that uses the disk must be dead already.
    ///
    /// # Errors
    /// When the directory behind can not be read or written.
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
        // The very last group of a log may be lost unseen (docs/guarantees.md): the older half is never that.
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
