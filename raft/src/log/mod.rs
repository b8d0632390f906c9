//! The durable log: numbered entries, one vote, one committed position, one purge position, all in one order.
//!
//! Guarantees
//! - What a call was acknowledged for (its `Done` ran with `Ok`) is on the disk: written, then `fdatasync`ed.
//! - Entries can be read as soon as [`Log::append`] returns, before they are durable.
//! - Acknowledgements come in the order of the calls. After the first failed write or sync nothing is acknowledged any more.
//! - Opening gives back everything acknowledged. A last group that was being written when the power went is cut off and
//!   kept aside; damage anywhere else is an error that names file and offset, never a shorter log.
//!
//! One writer writes, on a thread of its own or on that of whoever appends (`turns.rs`). Whatever waits when a sync ends goes
//! into the next group: one write, one sync (group commit). Groups are strictly one after the other, so a valid group proves
//! that all before it were synced; that is how damage is told from a torn tail. When nothing waits, a mark is written behind
//! the last group so that it too is covered.
//!
//! Segments are files of fixed size, zeroed ahead of time: a sync then writes data blocks only, no metadata.

mod format;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod live;
mod recover;
mod segment;
mod turns;
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
pub use turns::{Inline, Stepper};

/// Sizes of the log's files.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions {
    /// The first segment's size; each next one is twice as large, up to `segment_bytes_max`.
    pub segment_bytes: u64,
    /// The largest segment.
    pub segment_bytes_max: u64,
    /// There must be a log already: none is an error, not a new one.
    pub existing: bool,
}

/// Why the log can not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk refused.
    #[error("log: {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// Bytes that were once durable are damaged.
    #[error(
        "log segment {file} is damaged at offset {offset}: {what}. This node can not vouch for its log any more and will not \
         start. The other members have the data: move the data directory away and start this node again; it joins anew under \
         its name and fetches everything"
    )]
    Damaged {
        /// The file, relative to the log's directory.
        file: String,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
}

impl LogError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// The entries of the log in `disk`'s directory, in order, without opening it: nothing is written or cut off, and another
/// process may have it open. For tools that look at a node's data.
///
/// # Errors
/// As [`Log::open`]. What another process is writing at that moment may be read as damage: ask again then.
pub fn read_entries(disk: &dyn Disk) -> Result<Vec<(u64, Bytes)>, LogError> {
    recover::entries(disk)
}

/// Whether anything was ever kept in the log in `disk`'s directory. It is not opened, and one that is not there is not created.
///
/// # Errors
/// As [`Log::open`].
pub fn is_used(disk: &dyn Disk) -> Result<bool, LogError> {
    recover::is_used(disk)
}

/// Runs once its call is durable, or with the error that ended the log.
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
    /// Written with the next group; a sync of its own would be wasted on it.
    committed: Option<Bytes>,
    /// The thread has the turn, until it finds nothing here. Never, when there is none.
    thread_works: bool,
    /// An [`Inline`] has the turn otherwise.
    inline: bool,
    stopping: bool,
    /// Set once: the log is dead.
    failed: Option<String>,
    next_ticket: u64,
}

/// How the writer hears that there is something to do.
enum Wake {
    /// It is a thread, with or without an [`Inline`] beside it.
    Thread { work: Condvar, asked: Notify },
    /// Somebody takes its steps.
    Steps(Notify),
}

struct Shared {
    live: Mutex<Live>,
    queue: Mutex<Queue>,
    wake: Wake,
}

impl Shared {
    // A panic while one of these is held is a defect that ends the process (the writer's by `failed`); the data behind
    // them is replaced whole by each step, never left halfway.
    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open log. Dropping it finishes what was asked for and stops its writer.
pub struct Log {
    shared: Arc<Shared>,
    /// `None` when the writer's steps are taken by somebody else.
    thread: Option<JoinHandle<()>>,
}

/// What is in a log, apart from the entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogState {
    /// The vote last saved.
    pub vote: Option<Bytes>,
    /// The committed position last noted; it may lag.
    pub committed: Option<Bytes>,
    /// The purge position: its index and the caller's name for it.
    pub purged: Option<(u64, Bytes)>,
    /// Indexes of the entries that are there.
    pub entries: Range<u64>,
}

impl Log {
    /// Opens the log in `disk`'s directory, creating it when there is none. Also returns what was cut off, if anything was.
    ///
    /// # Errors
    /// [`LogError::Damaged`] when acknowledged data can not be vouched for; [`LogError::Io`] when the disk refuses.
    pub fn open(disk: Arc<dyn Disk>, options: LogOptions) -> Result<(Self, Option<Torn>), LogError> {
        let (log, _, torn) = Self::open_with_thread(disk, options)?;
        Ok((log, torn))
    }

    /// As [`Self::open`], and with what writes without the thread where that is quicker: it has to be run.
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
    ) -> Result<(Self, turns::SharedWriter, Option<Torn>), LogError> {
        let wake = Wake::Thread { work: Condvar::new(), asked: Notify::new() };
        let (mut log, writer, torn) = Self::recover(disk, options, wake)?;
        let writer = Arc::new(Mutex::new(writer));
        let (shared, of_thread) = (Arc::clone(&log.shared), Arc::clone(&writer));
        let thread = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || turns::work(&shared, &of_thread))
            .map_err(LogError::io("starting the log's thread"))?;
        log.thread = Some(thread);
        Ok((log, writer, torn))
    }

    /// As [`Self::open`], but no thread is started: the log writes when the caller takes the writer's steps, and does nothing on
    /// any other thread.
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

    /// Adds entries behind the last one (the first of an untouched log may have any index); `done` runs when all of them are durable.
    ///
    /// # Panics
    /// When the first index is not the next one: a gap would be a log that lies.
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

    /// Notes how far the log is committed. Becomes durable with the next group.
    pub fn note_committed(&self, id: Bytes) {
        let mut queue = self.shared.queue();
        self.shared.live().committed = Some(id.clone());
        queue.committed = Some(id);
    }

    /// Removes the entries at and behind `from`.
    pub fn truncate(&self, from: u64, done: Done) {
        let queue = self.shared.queue();
        self.shared.live().truncate(from);
        self.submit(queue, Some(Op::Truncate { from }), done);
    }

    /// Removes the entries up to and with `index`; the next entry will follow it even if the log ended before.
    /// `id` is kept as the caller's name for that position.
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
        self.shared.call(queue);
    }

    /// What is in the log, not yet durable changes included.
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

    /// The entries of `range` that are there, without a gap from the first one on, at most about `bytes_max` of them
    /// (but at least one).
    ///
    /// # Errors
    /// When the disk can not be read or gives other bytes than were written.
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
        // A purge may have recycled the file meanwhile.
        match self.shared.live().slot(index) {
            Some(Slot::Stored(now)) if *now == place => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "log entry {index} in {} at offset {} is not what was written",
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
            // A panic of the writer has been reported by `failed` already.
            let _ = thread.join();
        }
    }
}
