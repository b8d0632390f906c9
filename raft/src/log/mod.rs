//! The durable log: numbered entries, one vote, one committed position and one purge position, all in one
//! order.
//!
//! Guarantees
//! - An acknowledged call (its `Done` ran with `Ok`) is on the disk: written, then `fdatasync`ed.
//! - Entries can be read as soon as [`Log::append`] returns, before they are durable.
//! - Acknowledgements come in the order of the calls. After the first failed write or sync nothing is
//!   acknowledged any more.
//! - Opening restores everything acknowledged. A last group that was being written at a power cut is cut off
//!   and set aside; damage anywhere else is an error that names file and offset, never a shorter log.
//!
//! One writer writes, either on its own thread or on the thread of the appending task
//! (`write_scheduling.rs`). Everything that waits when a sync ends goes into the next group: one write, one
//! sync (group commit). A group is written only after the previous one is synced, so a valid group proves
//! that everything before it was synced; this tells damage from a torn tail. When nothing waits, a mark is
//! written after the last group, so that the last group is covered too.
//!
//! Segments are files of fixed size, zeroed ahead of time, so that a sync writes only data blocks, no
//! metadata.

mod format;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod live;
mod recover;
mod segment;
mod write_scheduling;
mod writer;

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::disk::Disk;
use format::Record;
use live::{Live, Slot};

pub use recover::Torn;
pub use write_scheduling::{Inline, Stepper};

/// Sizes of the log's files.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions {
    /// The first segment's size; each further segment is twice as large as the previous one, up to
    /// `segment_bytes_max`.
    pub segment_bytes: u64,
    /// The largest size of a segment.
    pub segment_bytes_max: u64,
    /// The log must exist already: a missing log is an error instead of a new log.
    pub existing: bool,
}

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk refused an operation.
    #[error("log: {what}: {source}")]
    Io {
        /// The operation that failed.
        what: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// Bytes that were once durable are damaged.
    #[error(
        "log segment {file} is damaged at offset {offset}: {what}. This node can no longer vouch for its log and will not \
         start. The other members have the data: move the data directory away and start this node again; it joins again under \
         its name and fetches everything"
    )]
    Damaged {
        /// The file, relative to the log's directory.
        file: String,
        /// The offset in the file, bytes.
        offset: u64,
        /// What is wrong at that offset.
        what: String,
    },
}

impl LogError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// Reads the entries of the log in `disk`'s directory, in order, without opening the log: nothing is written
/// or cut off, and another process may have it open. For tools that inspect a node's data.
///
/// # Errors
/// As [`Log::open`]. Data that another process is writing at that moment may look like damage: try again
/// then.
pub fn read_entries(disk: &dyn Disk) -> Result<Vec<(u64, Bytes)>, LogError> {
    recover::entries(disk)
}

/// Whether the log in `disk`'s directory was ever used. Neither opens the log nor creates a missing one.
///
/// # Errors
/// As [`Log::open`].
pub fn is_used(disk: &dyn Disk) -> Result<bool, LogError> {
    recover::is_used(disk)
}

/// Callback that runs once its call is durable, or with the error that ended the log.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

enum Op {
    Entry {
        index: u64,
        ticket: u64,
        payload: Bytes,
    },
    Vote(Bytes),
    Truncate {
        from: u64,
    },
    Purge {
        index: u64,
        id: Bytes,
    },
    /// The end of a call.
    Done(Done),
}

#[derive(Default)]
struct Queue {
    ops: VecDeque<Op>,
    /// The committed position, written with the next group; a sync of its own would be wasted on it.
    committed: Option<Bytes>,
    /// Whether the thread writes, until it finds the queue empty. Always false without a thread.
    thread_works: bool,
    /// Whether an [`Inline`] writes when the thread does not.
    inline: bool,
    stopping: bool,
    /// Set once: the log has failed.
    failed: Option<String>,
    next_ticket: u64,
}

/// Wakes the writer when there is work.
enum Wake {
    /// The writer is a thread, with or without an [`Inline`] beside it.
    Thread { work: Condvar, asked: Notify },
    /// The caller steps the writer.
    Steps(Notify),
}

struct Shared {
    live: Mutex<Live>,
    queue: Mutex<Queue>,
    wake: Wake,
}

impl Shared {
    // A panic while one of these locks is held is a defect that ends the process (the writer's by `failed`).
    // Each step replaces the data whole and never leaves it half changed.
    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open log. Dropping it finishes all requested work and stops the writer.
pub struct Log {
    shared: Arc<Shared>,
    /// `None` when the caller steps the writer.
    thread: Option<JoinHandle<()>>,
}

/// The state of a log without its entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogState {
    /// The vote saved last.
    pub vote: Option<Bytes>,
    /// The committed position noted last; it may lag.
    pub committed: Option<Bytes>,
    /// The purge position: its index, and the caller's name for it.
    pub purged: Option<(u64, Bytes)>,
    /// The indexes of the existing entries.
    pub entries: Range<u64>,
}

impl Log {
    /// Opens the log in `disk`'s directory; creates it when there is none. Also returns the torn tail, if one
    /// was cut off.
    ///
    /// # Errors
    /// [`LogError::Damaged`] when acknowledged data cannot be vouched for; [`LogError::Io`] when the disk refuses.
    pub fn open(disk: Arc<dyn Disk>, options: LogOptions) -> Result<(Self, Option<Torn>), LogError> {
        let (log, _, torn) = Self::open_with_thread(disk, options)?;
        Ok((log, torn))
    }

    /// As [`Self::open`], and returns an [`Inline`] that writes without the thread when that is faster; the
    /// caller must run it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_inline(
        disk: Arc<dyn Disk>,
        options: LogOptions,
    ) -> Result<(Self, Inline, Option<Torn>), LogError> {
        let (log, writer, torn) = Self::open_with_thread(disk, options)?;
        let inline = Inline::new(Arc::clone(&log.shared), writer);
        Ok((log, inline, torn))
    }

    fn open_with_thread(
        disk: Arc<dyn Disk>,
        options: LogOptions,
    ) -> Result<(Self, write_scheduling::SharedWriter, Option<Torn>), LogError> {
        let wake = Wake::Thread { work: Condvar::new(), asked: Notify::new() };
        let (mut log, writer, torn) = Self::recover(disk, options, wake)?;
        let writer = Arc::new(Mutex::new(writer));
        let (shared, of_thread) = (Arc::clone(&log.shared), Arc::clone(&writer));
        let thread = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write_scheduling::work(&shared, &of_thread))
            .map_err(LogError::io("starting the log's thread"))?;
        log.thread = Some(thread);
        Ok((log, writer, torn))
    }

    /// As [`Self::open`], but without a thread: the log writes only when the caller steps the writer.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_stepped(
        disk: Arc<dyn Disk>,
        options: LogOptions,
    ) -> Result<(Self, Stepper, Option<Torn>), LogError> {
        let (log, writer, torn) = Self::recover(disk, options, Wake::Steps(Notify::new()))?;
        let stepper = Stepper::new(Arc::clone(&log.shared), writer);
        Ok((log, stepper, torn))
    }

    fn recover(
        disk: Arc<dyn Disk>,
        options: LogOptions,
        wake: Wake,
    ) -> Result<(Self, writer::Writer, Option<Torn>), LogError> {
        let recovered = recover::recover(disk.as_ref(), options)?;
        let shared =
            Arc::new(Shared { live: Mutex::new(recovered.live), queue: Mutex::new(Queue::default()), wake });
        let writer = writer::Writer::new(disk, options, Arc::clone(&shared), recovered.tail);
        Ok((Self { shared, thread: None }, writer, recovered.torn))
    }

    /// Appends entries after the last one (the first entry of an unused log may have any index). `done` runs
    /// when all of them are durable.
    ///
    /// # Panics
    /// When the first index does not follow the last entry: a log with a gap would be wrong.
    pub fn append(&self, entries: Vec<(u64, Bytes)>, done: Done) {
        let mut queue = self.shared.queue();
        let mut live = self.shared.live();
        for (index, payload) in entries {
            live.begin_at(index);
            assert_eq!(index, live.next(), "the log has no gaps");
            let ticket = queue.next_ticket;
            queue.next_ticket += 1;
            live.slots.push_back(Slot::Pending { ticket, payload: payload.clone() });
            queue.ops.push_back(Op::Entry { index, ticket, payload });
        }
        drop(live);
        self.submit(queue, None, done);
    }

    /// Replaces the vote; `done` runs when it is durable.
    pub fn save_vote(&self, vote: Bytes, done: Done) {
        let queue = self.shared.queue();
        self.shared.live().vote = Some(vote.clone());
        self.submit(queue, Some(Op::Vote(vote)), done);
    }

    /// Notes the committed position. It becomes durable with the next group.
    pub fn note_committed(&self, id: Bytes) {
        let mut queue = self.shared.queue();
        self.shared.live().committed = Some(id.clone());
        queue.committed = Some(id);
    }

    /// Removes the entries from `from` on.
    pub fn truncate(&self, from: u64, done: Done) {
        let queue = self.shared.queue();
        self.shared.live().truncate(from);
        self.submit(queue, Some(Op::Truncate { from }), done);
    }

    /// Removes the entries up to and including `index`; the next entry follows `index` even if the log ended
    /// before it. `id` is kept as the caller's name for that position.
    pub fn purge(&self, index: u64, id: Bytes, done: Done) {
        let queue = self.shared.queue();
        self.shared.live().purge(index, id.clone());
        self.submit(queue, Some(Op::Purge { index, id }), done);
    }

    fn submit(&self, mut queue: MutexGuard<'_, Queue>, op: Option<Op>, done: Done) {
        if let Some(reason) = &queue.failed {
            let error = io::Error::other(reason.clone());
            drop(queue);
            return done(Err(error));
        }
        queue.ops.extend(op);
        queue.ops.push_back(Op::Done(done));
        self.shared.wake_writer(queue);
    }

    /// The state of the log, including changes that are not yet durable.
    #[must_use]
    pub fn state(&self) -> LogState {
        let live = self.shared.live();
        LogState {
            vote: live.vote.clone(),
            committed: live.committed.clone(),
            purged: live.purged.clone(),
            entries: live.first..live.next(),
        }
    }

    /// Reads the entries of `range` that exist, up to the first gap, at most about `bytes_max` bytes (but at
    /// least one entry).
    ///
    /// # Errors
    /// When the disk cannot be read, or returns other bytes than were written.
    pub fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<(u64, Bytes)>> {
        let mut found = Vec::new();
        let mut bytes = 0;
        let first = range.start.max(self.shared.live().first);
        for index in first..range.end {
            let Some(payload) = self.read_one(index)? else { break };
            bytes += payload.len();
            found.push((index, payload));
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(found)
    }

    fn read_one(&self, index: u64) -> io::Result<Option<Bytes>> {
        let (place, file) = {
            let live = self.shared.live();
            match live.slot(index) {
                None => return Ok(None),
                Some(Slot::Pending { payload, .. }) => return Ok(Some(payload.clone())),
                Some(Slot::Stored(place)) => {
                    let Some(segment) = live.segments.get(&place.segment) else { return Ok(None) };
                    (*place, Arc::clone(&segment.file))
                }
            }
        };
        let mut record = vec![0; place.bytes as usize];
        file.read_at(place.offset, &mut record)?;
        if let Some((Record::Entry { index: found, payload }, _)) = Record::decode(&record)
            && found == index
        {
            let start = record.len() - payload.len();
            return Ok(Some(Bytes::from(record).slice(start..)));
        }
        // A purge may have recycled the file in the meantime.
        match self.shared.live().slot(index) {
            Some(Slot::Stored(now)) if *now == place => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "log entry {index} in {} at offset {} differs from what was written",
                    segment::name(place.segment),
                    place.offset
                ),
            )),
            _ => Ok(None),
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.close();
        if let Some(thread) = self.thread.take() {
            // `failed` has already reported a panic of the writer.
            let _ = thread.join();
        }
    }
}
