//! This node's standing in its cluster: which process it is, whether it was removed, and what it waits for.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Identity;
use super::error::ProposeError;

/// Logged messages are remembered up to this many; then all of them may be logged again.
const SAID_MAX: usize = 256;
/// The most addresses of members that a fresh node remembers.
const GREETED_MAX: usize = 16;

#[derive(Default)]
struct Notes {
    /// This node's identity, once it has one.
    identity: Option<Identity>,
    /// Why the node is not a member yet.
    waits_for: String,
    /// Members that do not answer, and addresses that belong to other clusters.
    unreached: String,
    said: BTreeSet<String>,
    /// Addresses of members that greeted this node while it was fresh.
    greeted_from: BTreeSet<String>,
    /// Since when other members have accepted this process as the member it claims to be.
    accepted: Option<Instant>,
}

/// This node's standing in its cluster.
pub(crate) struct Standing {
    started: Instant,
    /// Whether the node was removed: read by every call, where the token would take a lock.
    is_removed: AtomicBool,
    /// Cancelled when the node is removed.
    removed: CancellationToken,
    notes: Mutex<Notes>,
}

impl Standing {
    pub(super) fn new(identity: Option<Identity>) -> Self {
        let notes = Notes { identity, ..Notes::default() };
        Self {
            started: Instant::now(),
            is_removed: AtomicBool::new(false),
            removed: CancellationToken::new(),
            notes: Mutex::new(notes),
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        // Code under this lock cannot leave the notes half changed.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long this process has been running, milliseconds.
    pub(crate) fn running_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// This node's identity. Known before consensus runs if there are data from an earlier start.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.notes().identity.clone()
    }

    pub(super) fn take_identity(&self, identity: &Identity) {
        self.notes().identity = Some(identity.clone());
    }

    /// Notes that a member of a cluster greeted this fresh node: the node may ask there to join.
    pub(super) fn note_greeted_from(&self, address: String) {
        let mut notes = self.notes();
        if notes.greeted_from.len() < GREETED_MAX {
            notes.greeted_from.insert(address);
        }
    }

    /// Addresses of members that know this node; the configuration may name addresses that they have left.
    pub(super) fn greeted_from(&self) -> BTreeSet<String> {
        self.notes().greeted_from.clone()
    }

    /// Notes that another member accepts this process as the member it claims to be.
    pub(super) fn note_accepted(&self) {
        self.notes().accepted.get_or_insert_with(Instant::now);
    }

    /// For how long others have accepted this process as the member it claims to be.
    pub(super) fn accepted_for(&self) -> Duration {
        self.notes().accepted.map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// Notes that the node is no longer a member, for good.
    pub(super) fn note_removed(&self) {
        self.is_removed.store(true, Ordering::Release);
        self.removed.cancel();
    }

    /// The refusal of every call, once the node was removed.
    pub(super) fn removed(&self) -> Option<ProposeError> {
        self.is_removed.load(Ordering::Acquire).then(|| self.refusal())
    }

    /// Resolves with the refusal when the node is removed.
    pub(super) async fn until_removed(&self) -> ProposeError {
        self.removed.cancelled().await;
        self.refusal()
    }

    /// Resolves when the node is removed; does not keep the node alive.
    pub(super) fn removal(&self) -> impl Future<Output = ()> + Send + use<> {
        self.removed.clone().cancelled_owned()
    }

    fn refusal(&self) -> ProposeError {
        ProposeError::Removed { node_id: self.identity().map_or(0, |identity| identity.node_id) }
    }

    /// Sets what keeps the node from being a member; empty when nothing does.
    pub(super) fn set_waits_for(&self, what: &str) {
        what.clone_into(&mut self.notes().waits_for);
    }

    pub(super) fn waits_for(&self) -> String {
        self.notes().waits_for.clone()
    }

    /// Sets which members do not answer; empty when all do.
    pub(super) fn set_unreached(&self, what: &str) {
        what.clone_into(&mut self.notes().unreached);
    }

    pub(super) fn unreached(&self) -> String {
        self.notes().unreached.clone()
    }

    /// Whether a message is new, and should be logged.
    pub(crate) fn is_news(&self, what: &str) -> bool {
        let said = &mut self.notes().said;
        if said.len() >= SAID_MAX {
            said.clear();
        }
        said.insert(what.to_owned())
    }
}
