//! The plan of a run, which the seed decides before anything runs.

use std::ops::Range;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// One of so many seeds is a run with access.
const SECURED_EVERY: u64 = 3;

/// The parameters of a run. Times are simulated, in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) clients: usize,
    pub(crate) watchers: usize,
    /// How long faults happen.
    pub(crate) faults_ms: u64,
    /// Time between the end of a fault and the next fault.
    pub(crate) calm_ms: Range<u64>,
    /// Latency of a message while the network has no fault.
    pub(crate) latency_ms: Range<u64>,
    /// Time from writing a group of the log until it is synced, while the disk has no fault.
    pub(crate) sync_ms: Range<u64>,
    pub(crate) heartbeat_ms: u64,
    pub(crate) election_timeout_ms: (u64, u64),
    /// Entries between two snapshots; few, so that snapshots and purges happen all the time.
    pub(crate) snapshot_entries: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) history_changes_max: usize,
    /// Most changes queued for a slow watcher.
    pub(crate) watch_queue_changes_max: usize,
    /// How long a call may take. The longest outlast the time until others have purged what a cut-off leader proposed.
    pub(crate) patience_ms: u64,
    /// Time between two calls of a client.
    pub(crate) think_ms: Range<u64>,
    /// The scenes that are played after recovery.
    pub(crate) scenes: Vec<Scene>,
    /// How many starts of each node's process are those of an older build, from the first on.
    pub(crate) old_starts: Vec<u32>,
}

/// A scene: a fault that needs a quiet cluster, and its expected effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scene {
    /// Nobody writes while leaders are killed or cut off.
    Quiet,
    /// A node is killed while calls wait at it.
    Orphans,
    /// A disk loses synced data.
    Liar,
    /// A disk loses the newest entries of a log, and nothing else.
    Zeroed,
    /// The disks of a majority lose acknowledged writes.
    Lied,
    /// A node is put back to an older build.
    Downgraded,
}

/// Independent streams of random numbers, so that one part's draws do not shift another's.
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    Plan,
    Network,
    Nemesis,
    /// Random numbers of the operating system: salts, ids, openraft's timeouts, hash keys.
    System,
    Disk(usize),
    Client(usize),
    Watcher(usize),
    Scene,
    Operator,
    Intruder,
}

impl Stream {
    fn number(self) -> u64 {
        match self {
            Self::Plan => 0,
            Self::Network => 1,
            Self::Nemesis => 2,
            Self::System => 3,
            Self::Scene => 4,
            Self::Operator => 5,
            Self::Intruder => 6,
            Self::Disk(node) => 1_000 + node as u64,
            Self::Client(client) => 2_000 + client as u64,
            Self::Watcher(watcher) => 3_000 + watcher as u64,
        }
    }
}

/// Makes the generator of one stream.
pub(crate) fn rng(seed: u64, stream: Stream) -> StdRng {
    // Maps every (seed, stream) to another number, as long as there are fewer streams than the factor.
    StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(stream.number()))
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = rng(seed, Stream::Plan);
        let slow_disks = rng.random_bool(0.3);
        let slow_network = rng.random_bool(0.3);
        let mut plan = Self {
            seed,
            nodes: if rng.random_bool(0.7) { 3 } else { 5 },
            clients: rng.random_range(4..=8),
            watchers: 2,
            faults_ms: rng.random_range(12_000..25_000),
            calm_ms: if rng.random_bool(0.4) { 100..1_000 } else { 500..3_000 },
            latency_ms: if slow_network { 1..30 } else { 1..5 },
            sync_ms: if slow_disks { 2..40 } else { 1..6 },
            heartbeat_ms: 60,
            election_timeout_ms: (300, 600),
            snapshot_entries: *[20, 50, 200, 1_000].get(rng.random_range(0..4)).unwrap_or(&50),
            segment_bytes: if rng.random_bool(0.5) { 64 << 10 } else { 256 << 10 },
            history_changes_max: if rng.random_bool(0.3) { 150 } else { 100_000 },
            watch_queue_changes_max: *[4, 30, 4_096].get(rng.random_range(0..3)).unwrap_or(&30),
            patience_ms: *[1_500, 3_000, 9_000].get(rng.random_range(0..3)).unwrap_or(&3_000),
            think_ms: if rng.random_bool(0.5) { 1..40 } else { 5..200 },
            scenes: [
                Scene::Quiet,
                Scene::Orphans,
                Scene::Liar,
                Scene::Zeroed,
                Scene::Lied,
                Scene::Downgraded,
            ]
            .into_iter()
            .filter(|_| rng.random_bool(0.4))
            .collect(),
            old_starts: Vec::new(),
        };
        if rng.random_bool(0.3) {
            plan.old_starts = (0..plan.nodes).map(|_| rng.random_range(0..4)).collect();
        }
        if plan.secured() {
            // An older build knows nothing of access, so the cluster would stay open until the end.
            plan.old_starts.clear();
        }
        plan
    }

    /// Whether the cluster is secured at the start, and rights come and go during the faults: every third seed. It is no draw, so that all
    /// other seeds make the same runs as without access.
    pub(crate) fn secured(&self) -> bool {
        self.seed % SECURED_EVERY == SECURED_EVERY - 1
    }
}
