//! Watchers: each receives all changes through one front, and continues at another node when its node is down.
//!
//! The ways to watch are the streams and polls of REST, gRPC, WebSocket, and GraphQL subscriptions.

mod source;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::access::Key;
use crate::client::Shared;
use crate::error::{Error, Result};
use crate::random::Random;
use crate::watch_event::WatchEvent;

pub use source::Way;

/// A record of a watcher, one JSON object per line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WatchRecord {
    /// The changes of one revision, or a part of them.
    Changes {
        /// The revision.
        revision: u64,
        /// The changes, in order.
        events: Vec<WatchEvent>,
        /// Whether more of the revision follows.
        #[serde(default)]
        more: bool,
    },
    /// The watcher has received everything up to this revision.
    Progress {
        /// The revision.
        revision: u64,
    },
    /// The watcher starts or continues at a node.
    Connected {
        /// The node.
        node: String,
        /// The last revision that it has received.
        after: u64,
    },
    /// The connection ended.
    Ended {
        /// The reason.
        why: String,
    },
}

/// A watcher that receives nothing for this long continues at another node. Idle watches get a progress mark every half second.
const SILENCE: Duration = Duration::from_secs(3);

/// The revision that all watchers must reach; unknown until the run ends.
#[derive(Debug)]
pub struct Goal(AtomicU64);

impl Default for Goal {
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl Goal {
    /// Sets the goal: watchers end once they have received everything up to this revision.
    pub fn set(&self, revision: u64) {
        self.0.store(revision, Ordering::Relaxed);
    }

    fn is_reached(&self, revision: u64) -> bool {
        revision >= self.0.load(Ordering::Relaxed)
    }
}

/// The name of a watcher's file.
fn file_name(number: usize) -> String {
    format!("watcher-{number}.jsonl")
}

/// Starts `count` watchers. `restless` watchers also move to other nodes on their own. Each ends once it has reached the goal.
///
/// # Errors
/// When a file cannot be created.
pub fn start(
    count: usize,
    restless: bool,
    dir: &Path,
    shared: &Arc<Shared>,
    goal: &Arc<Goal>,
) -> Result<JoinSet<Result<()>>> {
    let mut tasks = JoinSet::new();
    // Only the administrator may see every change.
    let key = shared.keys.as_ref().map(|keys| &keys.admin);
    let ways = if key.is_some() { &Way::WITH_KEY[..] } else { &Way::ALL[..] };
    for number in 0..count {
        let path = dir.join(file_name(number));
        let file = File::create(&path).map_err(Error::io(path.display().to_string()))?;
        let watcher = Watcher {
            way: ways[number % ways.len()],
            key: key.cloned(),
            place: number % shared.places,
            places: shared.places,
            received: 0,
            file: BufWriter::new(file),
            goal: Arc::clone(goal),
            restless: restless.then(|| Random::new(shared.seed, u64::MAX - 2 - number as u64)),
        };
        tasks.spawn(watcher.run());
    }
    Ok(tasks)
}

/// Loads the records of every watcher of a run.
///
/// # Errors
/// When a file cannot be read.
pub fn load(dir: &Path) -> Result<Vec<Vec<WatchRecord>>> {
    let mut all = Vec::new();
    for number in 0.. {
        let path = dir.join(file_name(number));
        if !path.exists() {
            break;
        }
        let text = std::fs::read_to_string(&path).map_err(Error::io(path.display().to_string()))?;
        let lines = text.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>();
        all.push(lines.map_err(|error| Error::File { path, problem: error.to_string() })?);
    }
    Ok(all)
}

struct Watcher {
    way: Way,
    key: Option<Key>,
    place: usize,
    places: usize,
    /// The watcher has received everything up to this revision.
    received: u64,
    file: BufWriter<File>,
    goal: Arc<Goal>,
    restless: Option<Random>,
}

impl Watcher {
    async fn run(mut self) -> Result<()> {
        while !self.goal.is_reached(self.received) {
            self.note(&WatchRecord::Connected {
                node: format!("n{}", self.place + 1),
                after: self.received,
            })?;
            let why = self.follow().await?;
            self.note(&WatchRecord::Ended { why })?;
            self.place = (self.place + 1) % self.places;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.file.flush().map_err(Error::io("a watcher's file"))
    }

    fn note(&mut self, record: &WatchRecord) -> Result<()> {
        let line = serde_json::to_string(record)
            .map_err(|error| Error::Usage(format!("what a watcher heard has no JSON form: {error}")))?;
        writeln!(self.file, "{line}").map_err(Error::io("a watcher's file"))
    }

    /// Follows one node until the watch ends or falls silent, or the goal is reached; returns the reason.
    async fn follow(&mut self) -> Result<String> {
        let opened = self.way.open(self.place, self.received + 1, self.key.as_ref());
        let mut stream = match tokio::time::timeout(SILENCE, opened).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(why)) => return Ok(why),
            Err(_) => return Ok("no answer".to_owned()),
        };
        let stays_ms = self.restless.as_mut().map(|random| random.between(300, 3000));
        let leaves = stays_ms.map(|ms| tokio::time::Instant::now() + Duration::from_millis(ms));
        loop {
            if leaves.is_some_and(|leaves| tokio::time::Instant::now() > leaves) {
                return Ok("restless".to_owned());
            }
            match tokio::time::timeout(SILENCE, stream.next()).await {
                Err(_) => return Ok("silence".to_owned()),
                Ok(Err(why)) => return Ok(why),
                Ok(Ok(news)) => {
                    for record in news {
                        if let WatchRecord::Changes { revision, more: false, .. }
                        | WatchRecord::Progress { revision } = &record
                        {
                            self.received = self.received.max(*revision);
                        }
                        self.note(&record)?;
                    }
                }
            }
            if self.goal.is_reached(self.received) {
                return Ok("the goal is reached".to_owned());
            }
        }
    }
}
