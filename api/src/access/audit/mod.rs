//! The audit: who was refused, who changed what, and who used a privilege, as lines of JSON in files of this node.
//!
//! ```text
//! record() → queue (bounded) → writer thread → audit-<n>.jsonl, synced every second
//!             full: counted                     fails: kept, counted when the queue overflows
//! ```
//!
//! [`Audit::record`] never waits: a slow or full disk must not stop a keep-alive or a release. What could not be written is counted, and a line of
//! kind `gap` says how many lines are missing and from when to when. Each line has the SHA-256 of the line before, so that a line which was
//! changed or taken out shows. An [`Event`] has no field for a token, a password, a hash, a body or an idempotency key.

mod event;
mod files;
mod queue;
mod read;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use queue::Queue;
use writer::Writer;

pub use event::{Decision, Event, Kind, Level};
pub use read::{Broken, Cursor, CursorError, Page, read_page, verify};

/// Where the audit goes, and how large it may become.
#[derive(Clone, Debug)]
pub struct AuditOptions {
    /// The directory of the files. It is created with mode 0700.
    pub dir: PathBuf,
    /// The name of this node, on every line.
    pub node: String,
    /// What is recorded.
    pub level: Level,
    /// The size at which a file is followed by the next, in bytes. A new day (UTC) begins a new file too.
    pub file_bytes_max: u64,
    /// How many files are kept. The oldest are removed.
    pub files_max: usize,
    /// How many events wait for the disk.
    pub queue_events_max: usize,
    /// How many bytes of events wait for the disk.
    pub queue_bytes_max: usize,
    /// How often lines are synced to the disk, and how long to wait after a failure.
    pub sync_interval: Duration,
}

impl AuditOptions {
    /// The defaults, for a node and a directory.
    #[must_use]
    pub fn new(dir: PathBuf, node: String) -> Self {
        Self {
            dir,
            node,
            level: Level::Privileged,
            file_bytes_max: 64 * 1024 * 1024,
            files_max: 30,
            queue_events_max: 65_536,
            queue_bytes_max: 64 * 1024 * 1024,
            sync_interval: Duration::from_secs(1),
        }
    }
}

/// The health of the audit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditHealth {
    /// How many lines were written since the start.
    pub lines_written: u64,
    /// How many events were lost since the start.
    pub events_lost: u64,
    /// Why nothing can be written at the moment; `None` when all is well.
    pub failure: Option<String>,
}

/// Records events. Clones record in the same files.
#[derive(Clone, Debug)]
pub struct Audit {
    queue: Arc<Queue>,
    level: Level,
}

/// The thread that writes. It ends with [`AuditWriter::stop`]; when this handle is dropped, it runs until the process ends.
#[derive(Debug)]
pub struct AuditWriter {
    queue: Arc<Queue>,
    thread: JoinHandle<()>,
}

impl Audit {
    /// Starts the thread that writes. A directory that cannot be written is no error: the thread tries again, and [`Audit::health`] says so.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(options: AuditOptions) -> io::Result<(Self, AuditWriter)> {
        let queue = Arc::new(Queue::new(options.queue_events_max, options.queue_bytes_max));
        let level = options.level;
        let writer = Writer::new(options, Arc::clone(&queue));
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run())?;
        Ok((Self { queue: Arc::clone(&queue), level }, AuditWriter { queue, thread }))
    }

    /// Records an event, if the level asks for events of its kind. Never waits.
    pub fn record(&self, event: Event) {
        if self.level.records(event.kind) {
            self.queue.push(now_ms(), event.bounded());
        }
    }

    /// Whether events of this kind are recorded.
    #[must_use]
    pub fn records(&self, kind: Kind) -> bool {
        self.level.records(kind)
    }

    /// Tells how the audit is.
    #[must_use]
    pub fn health(&self) -> AuditHealth {
        self.queue.health()
    }
}

impl AuditWriter {
    /// Writes and syncs what waits, if the disk lets it, and ends the thread.
    pub fn stop(self) {
        self.queue.stop();
        if self.thread.join().is_err() {
            tracing::error!("the thread of the audit panicked");
        }
    }
}

/// The wall clock, in milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
