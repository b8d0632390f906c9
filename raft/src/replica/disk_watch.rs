//! Watches the free space of the disk that holds the log, and what the members report about their disks.
//!
//! Each member checks its own disk. A follower reports with its answers to the leader's entries and
//! heartbeats whether it has room, so that a leader without room knows to whom it can hand over
//! (`disk_handover.rs`). The leader reports with its requests whether its own disk is short, so that every
//! node can say why writes are refused.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::ProposeError;
use crate::disk::Disk;

const EVERY: Duration = Duration::from_millis(500);
/// A member has room for leadership when this fraction of the limit is free on top of the limit. So its disk
/// is not short again at once, and leadership does not bounce between disks that are both close to the limit.
const MARGIN_PART: u64 = 4;

/// The free space at the last check.
pub(crate) struct DiskWatch {
    free_bytes: AtomicU64,
    min_bytes: u64,
    low: watch::Sender<bool>,
    /// The members that reported room, each with the time of its last report.
    room: Mutex<BTreeMap<u64, Instant>>,
    /// The leader reported that its disk is short.
    leader_low: AtomicBool,
    /// This node leads, its disk is short, and it is handing over.
    hands_over: AtomicBool,
}

impl DiskWatch {
    fn new(min_bytes: u64) -> Self {
        Self {
            free_bytes: AtomicU64::new(u64::MAX),
            min_bytes,
            low: watch::Sender::new(false),
            room: Mutex::default(),
            leader_low: AtomicBool::new(false),
            hands_over: AtomicBool::new(false),
        }
    }

    /// Checks now, and from then on twice a second.
    pub(crate) fn start(dir: Arc<dyn Disk>, min_bytes: u64, stop: CancellationToken) -> Arc<Self> {
        let watch = Arc::new(Self::new(min_bytes));
        watch.check(dir.as_ref());
        let checking = Arc::clone(&watch);
        tokio::spawn(async move {
            while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
                checking.check(dir.as_ref());
            }
        });
        watch
    }

    fn check(&self, dir: &dyn Disk) {
        match dir.free_bytes() {
            Ok(free_bytes) => self.note_free(free_bytes),
            // An unknown amount is no reason to refuse writes; the log itself reports a full disk.
            Err(error) => {
                tracing::warn!(%error, dir = dir.describe(), "free disk space cannot be determined");
            }
        }
    }

    fn note_free(&self, free_bytes: u64) {
        self.free_bytes.store(free_bytes, Ordering::Relaxed);
        let low = free_bytes < self.min_bytes;
        if self.low.send_if_modified(|before| std::mem::replace(before, low) != low) {
            tracing::warn!(free_bytes, min_bytes = self.min_bytes, "free disk space crossed the limit");
        }
    }

    /// The refusal, while free space is below the limit.
    pub(crate) fn low(&self) -> Option<ProposeError> {
        let free_bytes = self.free_bytes.load(Ordering::Relaxed);
        (free_bytes < self.min_bytes)
            .then_some(ProposeError::DiskFull { free_bytes, min_bytes: self.min_bytes })
    }

    /// Resolves once free space is below the limit.
    pub(super) async fn is_low(&self) {
        // The sender lives as long as `self`; a closed channel cannot be seen here.
        let _ = self.low.subscribe().wait_for(|low| *low).await;
    }

    /// Whether this node's disk would last a while for a leader.
    pub(crate) fn has_room(&self) -> bool {
        let enough = self.min_bytes.saturating_add(self.min_bytes / MARGIN_PART);
        self.free_bytes.load(Ordering::Relaxed) >= enough
    }

    /// Notes a member's report whether it has room.
    pub(crate) fn note_member(&self, node_id: u64, room: bool) {
        let mut members = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        if room {
            members.insert(node_id, Instant::now());
        } else {
            members.remove(&node_id);
        }
    }

    /// Whether a member has recently reported room.
    pub(super) fn member_has_room(&self, node_id: u64, within: Duration) -> bool {
        let members = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        members.get(&node_id).is_some_and(|said| said.elapsed() <= within)
    }

    /// Notes the leader's report whether its disk is short.
    pub(crate) fn note_leader(&self, low: bool) {
        self.leader_low.store(low, Ordering::Relaxed);
    }

    /// Whether the leader, another node, reported that its disk is short.
    pub(super) fn leader_low(&self) -> bool {
        self.leader_low.load(Ordering::Relaxed)
    }

    /// Whether this node is handing leadership to a member that has room.
    pub(super) fn hands_over(&self) -> bool {
        self.hands_over.load(Ordering::Relaxed)
    }

    /// Marks this node as handing over until the returned value is dropped.
    pub(super) fn handing_over(&self) -> HandingOver<'_> {
        self.hands_over.store(true, Ordering::Relaxed);
        HandingOver(self)
    }
}

/// Guard of a hand-over that was started for lack of disk space.
pub(super) struct HandingOver<'a>(&'a DiskWatch);

impl Drop for HandingOver<'_> {
    fn drop(&mut self) {
        self.0.hands_over.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: u64 = 1000;

    #[test]
    fn disk_just_above_the_limit_has_no_room_to_lead() {
        let watch = DiskWatch::new(MIN);
        for (free_bytes, low, room) in
            [(0, true, false), (MIN - 1, true, false), (MIN, false, false), (MIN + 249, false, false)]
        {
            watch.note_free(free_bytes);
            assert_eq!((watch.low().is_some(), watch.has_room()), (low, room), "{free_bytes}");
        }
        watch.note_free(MIN + 250);
        assert_eq!((watch.low(), watch.has_room()), (None, true));
        let unlimited = DiskWatch::new(0);
        unlimited.note_free(0);
        assert_eq!((unlimited.low(), unlimited.has_room()), (None, true));
    }

    #[tokio::test(start_paused = true)]
    async fn report_of_room_expires() {
        let watch = DiskWatch::new(MIN);
        let within = Duration::from_secs(2);
        assert!(!watch.member_has_room(2, within), "it has said nothing yet");
        watch.note_member(2, true);
        tokio::time::advance(within).await;
        assert!(watch.member_has_room(2, within));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!watch.member_has_room(2, within));
        watch.note_member(2, true);
        watch.note_member(2, false);
        assert!(!watch.member_has_room(2, within));
    }
}
