//! What a seed decides before anything runs.

use std::ops::Range;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// The shape of a run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) clients: usize,
    pub(crate) watchers: usize,
    /// How long things go wrong.
    pub(crate) faults_ms: u64,
    /// Between the end of a fault and the next one.
    pub(crate) calm_ms: Range<u64>,
    /// Of a message, while the network is well.
    pub(crate) latency_ms: Range<u64>,
    /// From writing a group of the log to its being synced, while the disk is well.
    pub(crate) sync_ms: Range<u64>,
    pub(crate) heartbeat_ms: u64,
    pub(crate) election_timeout_ms: (u64, u64),
    /// Small, so that snapshots and purges happen all the time.
    pub(crate) snapshot_entries: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) history_changes_max: usize,
    /// Changes that wait for a slow watcher.
    pub(crate) watch_queue_changes_max: usize,
    /// How long a call may take. The longest outlast a leader that is cut off until others have purged what it proposed.
    pub(crate) patience_ms: u64,
    /// Between two calls of a client.
    pub(crate) think_ms: Range<u64>,
    /// What is played when all is well again.
    pub(crate) scenes: Vec<Scene>,
    /// How many starts of each node's process are those of an older build, from the first on.
    pub(crate) old_starts: Vec<u32>,
}

/// A fault that needs a quiet cluster, and what must come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scene {
    /// Nobody writes while leaders go.
    Quiet,
    /// A node goes while calls wait at it.
    Orphans,
    /// A disk loses what was synced.
    Liar,
    /// A disk loses the newest entries of a log, and nothing else.
    Zeroed,
    /// The disks of a majority lose what was acknowledged.
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
    /// Of the operating system: salts, ids, openraft's timeouts, hash keys.
    System,
    Disk(usize),
    Client(usize),
    Watcher(usize),
    Scene,
}

impl Stream {
    fn number(self) -> u64 {
        match self {
            Self::Plan => 0,
            Self::Network => 1,
            Self::Nemesis => 2,
            Self::System => 3,
            Self::Scene => 4,
            Self::Disk(node) => 1_000 + node as u64,
            Self::Client(client) => 2_000 + client as u64,
            Self::Watcher(watcher) => 3_000 + watcher as u64,
        }
    }
}

/// The generator of one stream.
pub(crate) fn rng(seed: u64, stream: Stream) -> StdRng {
    // An odd factor maps the pairs to different numbers as long as there are fewer streams than that.
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
        plan
    }
}
