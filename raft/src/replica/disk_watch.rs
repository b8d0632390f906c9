//! Looks at the free space of the disk that holds the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::ProposeError;
use crate::disk::Disk;

const EVERY: Duration = Duration::from_millis(500);

/// The free space as last seen.
pub(crate) struct DiskWatch {
    free_bytes: AtomicU64,
    min_bytes: u64,
}

impl DiskWatch {
    /// Looks now, and from then on twice a second.
    pub(crate) fn start(dir: Arc<dyn Disk>, min_bytes: u64, stop: CancellationToken) -> Arc<Self> {
        let watch = Arc::new(Self { free_bytes: AtomicU64::new(u64::MAX), min_bytes });
        watch.look(dir.as_ref());
        let looking = Arc::clone(&watch);
        tokio::spawn(async move {
            while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
                looking.look(dir.as_ref());
            }
        });
        watch
    }

    fn look(&self, dir: &dyn Disk) {
        match dir.free_bytes() {
            Ok(free_bytes) => {
                let before = self.free_bytes.swap(free_bytes, Ordering::Relaxed);
                if (before < self.min_bytes) != (free_bytes < self.min_bytes) {
                    tracing::warn!(
                        free_bytes,
                        min_bytes = self.min_bytes,
                        "free disk space crossed the limit"
                    );
                }
            }
            // What can not be seen is not a reason to refuse writes; the log itself reports a full disk.
            Err(error) => tracing::warn!(%error, dir = dir.describe(), "free disk space can not be seen"),
        }
    }

    /// The refusal, while free space is under the limit.
    pub(crate) fn low(&self) -> Option<ProposeError> {
        let free_bytes = self.free_bytes.load(Ordering::Relaxed);
        (free_bytes < self.min_bytes)
            .then_some(ProposeError::DiskFull { free_bytes, min_bytes: self.min_bytes })
    }
}
