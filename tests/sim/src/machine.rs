//! The machine of a node: disks that survive its process, and the platform that the process runs on.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use batuta_raft::Platform;
use batuta_raft::disk::{Disk, LockError, SimDisk};
use batuta_raft::log::{Log, LogError, LogOptions, Torn};
use futures_util::future::BoxFuture;
use rand::Rng as _;
use rand::rngs::StdRng;
use tonic::transport::server::Router;
use tonic::transport::{Channel, Endpoint};

use crate::net;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The process is killed; everything it wrote survives in the operating system.
    Kill,
    /// The power is cut: any part of the unsynced data may be lost.
    PowerCut,
}

struct Inner {
    /// The disks, by directory.
    disks: BTreeMap<PathBuf, SimDisk>,
    rng: StdRng,
    sync_ms: Range<u64>,
}

/// A copy of the disks, which no process uses.
pub(crate) struct Disks(BTreeMap<PathBuf, SimDisk>);

/// The entries that were removed from a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zeroed {
    /// Index of the newest removed entry.
    pub(crate) newest: u64,
    /// Index of the last entry in the newest snapshot, which is still there.
    pub(crate) snapshot: u64,
}

/// The parts of a node that survive its process. Clones share them.
#[derive(Clone)]
pub(crate) struct Machine {
    inner: Arc<Mutex<Inner>>,
}

impl Machine {
    pub(crate) fn new(rng: StdRng, sync_ms: Range<u64>) -> Self {
        Self { inner: Arc::new(Mutex::new(Inner { disks: BTreeMap::new(), rng, sync_ms })) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets how long a sync of the log takes from now on.
    pub(crate) fn set_sync_ms(&self, sync_ms: Range<u64>) {
        self.inner().sync_ms = sync_ms;
    }

    fn sync_takes(&self) -> Duration {
        let mut inner = self.inner();
        let range = inner.sync_ms.clone();
        Duration::from_millis(inner.rng.random_range(range))
    }

    /// Applies the end of the process to the disks. No code of the process may still run.
    pub(crate) fn end(&self, end: End) {
        let Inner { disks, rng, .. } = &mut *self.inner();
        let kept = *[0.0, 0.5, 0.9, 1.0].get(rng.random_range(0..4)).unwrap_or(&0.5);
        for disk in disks.values_mut() {
            *disk = match end {
                End::Kill => disk.after_kill(),
                End::PowerCut => disk.after_power_cut(|| rng.random_bool(kept)),
            };
        }
    }

    /// Copies the disks as they are now.
    pub(crate) fn copy(&self) -> Disks {
        Disks(self.inner().disks.iter().map(|(dir, disk)| (dir.clone(), disk.after_kill())).collect())
    }

    /// Resets the disks to a copy. No code of the process may still run.
    pub(crate) fn restore(&self, copy: Disks) {
        self.inner().disks = copy.0;
    }

    /// Durably zeroes the newest group of the log that holds entries, and everything behind it. `None` when the log holds no entries. No code of
    /// the process may still run.
    pub(crate) fn zero_newest_entries(&self) -> Option<Zeroed> {
        let inner = self.inner();
        let files = |prefix: &'static str| {
            let named = inner.disks.values().flat_map(|disk| {
                let names = disk.list().unwrap_or_default().into_iter();
                names.map(move |name| (name, disk))
            });
            named.filter(move |(name, _)| name.starts_with(prefix))
        };
        let mut segments: Vec<(String, &SimDisk)> = files("log-").collect();
        segments.sort_by(|(one, _), (other, _)| one.cmp(other));
        let snapshots = files("snapshot-").filter_map(|(name, _)| {
            u64::from_str_radix(name.strip_prefix("snapshot-")?.split('-').next()?, 16).ok()
        });
        let snapshot = snapshots.max().unwrap_or_default();
        segments.iter().rev().find_map(|(name, disk)| {
            let mut bytes = disk.contents(name)?;
            let (start, newest) = newest_entries(&bytes)?;
            bytes[start..].fill(0);
            disk.put(name, bytes);
            Some(Zeroed { newest, snapshot })
        })
    }

    /// Replaces the disks with empty ones.
    pub(crate) fn wipe(&self) {
        self.inner().disks.clear();
    }
}

/// The offset of the newest group of a segment that holds entries, and the index of its last entry (raft/src/log/format.rs describes
/// groups).
fn newest_entries(segment: &[u8]) -> Option<(usize, u64)> {
    const SEGMENT_HEADER_BYTES: usize = 512;
    const GROUP_HEADER_BYTES: usize = 32;
    const MAGIC: u64 = 0x5052_4742;
    const MARK: u64 = 3;
    const ENTRY: u8 = 1;
    let number = |at: usize, bytes: usize| -> Option<u64> {
        let part = segment.get(at..at + bytes)?;
        Some(part.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let length = |at: usize| number(at, 4).and_then(|length| usize::try_from(length).ok());
    let (mut at, mut newest) = (SEGMENT_HEADER_BYTES, None);
    while number(at, 4) == Some(MAGIC) && number(at + 4, 4) != Some(MARK) {
        let end = at + GROUP_HEADER_BYTES + length(at + 8)?;
        let mut record = at + GROUP_HEADER_BYTES;
        while record < end {
            if segment.get(record + 8) == Some(&ENTRY) {
                newest = Some((at, number(record + 9, 8)?));
            }
            record += 8 + length(record)?;
        }
        at = end.next_multiple_of(8);
    }
    newest
}

/// The platform of one process on a machine.
pub(crate) struct SimPlatform {
    pub(crate) machine: Machine,
    /// The port on which the process listens for peers.
    pub(crate) port: u16,
}

impl Platform for SimPlatform {
    fn lock(&self, _dir: &Path) -> Result<Box<dyn Any + Send + Sync>, LockError> {
        // A machine runs one process at a time.
        Ok(Box::new(()))
    }

    fn disk(&self, dir: &Path) -> io::Result<Arc<dyn Disk>> {
        Ok(Arc::new(self.machine.inner().disks.entry(dir.to_owned()).or_default().clone()))
    }

    fn log(&self, disk: Arc<dyn Disk>, options: LogOptions) -> Result<(Log, Option<Torn>), LogError> {
        let (log, mut stepper, torn) = Log::open_stepped(disk, options)?;
        let machine = self.machine.clone();
        tokio::spawn(async move {
            while stepper.write().await {
                tokio::time::sleep(machine.sync_takes()).await;
                if !stepper.sync() {
                    return;
                }
            }
        });
        Ok((log, torn))
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        // Another thread would make the order of events depend on the machine.
        work();
    }

    fn serve(&self, router: Router) -> BoxFuture<'static, io::Result<()>> {
        let port = self.port;
        Box::pin(async move {
            let incoming = net::listen(port).await?;
            router.serve_with_incoming(incoming).await.map_err(io::Error::other)
        })
    }

    fn channel(&self, endpoint: Endpoint) -> Channel {
        net::channel(&endpoint)
    }
}
