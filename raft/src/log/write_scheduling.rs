//! Decides who writes the log: the log's thread, the task that appends, or a caller that steps the writer.
//!
//! A sync on another thread costs two thread switches, which is more than the sync itself on a fast disk. A
//! log opened with [`Inline`] therefore writes small groups inline, on the appending task. Its thread gets
//! work that could block a task: large groups, a new segment, a purge, and everything while the disk is slow.
//! The thread then writes until nothing waits.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use super::writer::{Group, Writer};
use super::{Op, Queue, Shared, Wake};

/// The largest group written inline, enough for a few callers. With many callers the thread syncs while their
/// next entry is being made.
const INLINE_BYTES_MAX: usize = 1 << 10;
/// The most bytes a record adds to its payload.
const RECORD_BYTES_MAX: usize = 64;
/// The longest sync that may block a task; on a slower disk the thread does the syncs.
const INLINE_SYNC_MAX: Duration = Duration::from_millis(1);
/// A sync that took longer is a stall, as shared and network disks have now and then. The thread can wait out
/// the next stall while heartbeats and acknowledgements of other members continue.
const STALL: Duration = Duration::from_millis(50);
/// Stalls tend to come in groups, but the thread costs each write two thread switches. So after a stall,
/// inline syncs are avoided for 50 times its length: inline stalls block the task for at most a fiftieth of
/// all time.
const STALL_REMEMBERED_TIMES: u32 = 50;
/// A log written inline gets its mark within this time when it is idle.
const MARK_AFTER: Duration = Duration::from_millis(10);

/// The writer, used by the side that writes; [`Queue::thread_works`] says which side that is.
pub(super) type SharedWriter = Arc<Mutex<Writer>>;

fn lock(writer: &Mutex<Writer>) -> MutexGuard<'_, Writer> {
    // A panic while the lock is held is a defect that ends the process.
    writer.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Wakes the side that writes, after something was queued.
    pub(super) fn wake_writer(&self, queue: MutexGuard<'_, Queue>) {
        match &self.wake {
            // The thread checks the queue again before it rests.
            Wake::Thread { .. } if queue.thread_works => {}
            Wake::Thread { asked, .. } if queue.inline => {
                drop(queue);
                asked.notify_one();
            }
            Wake::Thread { .. } => self.wake_thread(queue),
            Wake::Steps(wake) => {
                drop(queue);
                wake.notify_one();
            }
        }
    }

    /// Hands the work to the thread, if there is one.
    fn wake_thread(&self, mut queue: MutexGuard<'_, Queue>) {
        if let Wake::Thread { work, .. } = &self.wake {
            queue.thread_works = true;
            drop(queue);
            work.notify_one();
        }
    }

    /// Wakes everybody to notice that the log is closed.
    pub(super) fn close(&self) {
        self.queue().stopping = true;
        match &self.wake {
            Wake::Thread { work, asked } => {
                work.notify_one();
                asked.notify_one();
            }
            Wake::Steps(wake) => wake.notify_one(),
        }
    }
}

/// Body of the log's thread, until the log is closed or has failed.
pub(super) fn work(shared: &Shared, writer: &Mutex<Writer>) {
    let Wake::Thread { work, .. } = &shared.wake else { return };
    loop {
        let mut queue = shared.queue();
        while !queue.thread_works && !queue.stopping {
            queue = work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.failed.is_some() {
            return;
        }
        drop(queue);
        if !write_all(shared, &mut lock(writer)) {
            return;
        }
    }
}

/// Writes until nothing waits. Returns `false` when the log was closed or has failed.
fn write_all(shared: &Shared, writer: &mut Writer) -> bool {
    loop {
        let mut queue = shared.queue();
        match writer.take(&mut queue) {
            Poll::Ready(Some(taken)) => {
                drop(queue);
                let Some(group) = writer.write(taken) else { return false };
                if !timed_sync(writer, group) {
                    return false;
                }
            }
            Poll::Ready(None) => {
                drop(queue);
                writer.close();
                return false;
            }
            Poll::Pending if writer.marked() => {
                queue.thread_works = false;
                return true;
            }
            Poll::Pending => {
                drop(queue);
                if !writer.mark() {
                    return false;
                }
            }
        }
    }
}

fn timed_sync(writer: &mut Writer, group: Group) -> bool {
    let started = Instant::now();
    let synced = writer.sync(group);
    let ended = Instant::now();
    writer.pace.note(ended, ended - started);
    synced
}

/// Tracks how fast the disk is.
#[derive(Default)]
pub(super) struct Pace {
    /// The average duration of a sync.
    usual: Duration,
    /// Inline syncs are avoided until this time, after a stall.
    stalls_until: Option<Instant>,
}

impl Pace {
    fn note(&mut self, now: Instant, took: Duration) {
        self.usual = (self.usual * 7 + took) / 8;
        if took > STALL {
            self.stalls_until = self.stalls_until.max(Some(now + took * STALL_REMEMBERED_TIMES));
        }
    }

    fn is_fast(&self, now: Instant) -> bool {
        self.usual < INLINE_SYNC_MAX && self.stalls_until.is_none_or(|until| now >= until)
    }
}

/// Writes small groups inline, on a task of the runtime that appends. Dropping it leaves all work to the
/// thread.
pub struct Inline {
    shared: Arc<Shared>,
    writer: SharedWriter,
}

impl Inline {
    pub(super) fn new(shared: Arc<Shared>, writer: SharedWriter) -> Self {
        shared.queue().inline = true;
        Self { shared, writer }
    }

    /// Writes requested work until the log is closed or has failed.
    pub async fn run(self) {
        let shared = Arc::clone(&self.shared);
        let Wake::Thread { asked, .. } = &shared.wake else { return };
        let mut idle = pin!(tokio::time::sleep(MARK_AFTER));
        loop {
            let unmarked = self.writer.try_lock().is_ok_and(|writer| !writer.marked());
            let goes_on = tokio::select! {
                biased;
                () = asked.notified() => {
                    // Other ready tasks run first: entries are sent to the followers before they are synced
                    // here.
                    tokio::task::yield_now().await;
                    self.write()
                }
                // Resetting the timer at every write would cost more than writing a mark early.
                () = &mut idle, if unmarked => self.mark(),
            };
            if !goes_on {
                return;
            }
            if idle.is_elapsed() {
                idle.as_mut().reset(tokio::time::Instant::now() + MARK_AFTER);
            }
        }
    }

    /// Writes everything that waits as one group, or leaves it to the thread. Returns `false` when the log
    /// was closed or has failed.
    fn write(&self) -> bool {
        let mut queue = self.shared.queue();
        if queue.stopping || queue.failed.is_some() {
            return false;
        }
        if queue.thread_works || queue.ops.is_empty() {
            return true;
        }
        // Here the writer's lock is taken after the queue's, in the thread before it, so do not wait for it.
        let writer = self.writer.try_lock().ok();
        let quick = |writer: &MutexGuard<'_, Writer>| {
            is_small(&queue) && writer.has_room(2 * INLINE_BYTES_MAX) && writer.pace.is_fast(Instant::now())
        };
        let Some(mut writer) = writer.filter(quick) else {
            self.shared.wake_thread(queue);
            return true;
        };
        let Poll::Ready(Some(taken)) = writer.take(&mut queue) else { return true };
        drop(queue);
        let Some(group) = writer.write(taken) else { return false };
        timed_sync(&mut writer, group)
    }

    /// Writes a mark if nothing waits. Returns `false` when the log has failed.
    fn mark(&self) -> bool {
        let queue = self.shared.queue();
        if queue.failed.is_some() {
            return false;
        }
        if queue.thread_works || !queue.ops.is_empty() {
            return true;
        }
        let Ok(mut writer) = self.writer.try_lock() else { return true };
        drop(queue);
        writer.mark()
    }
}

impl Drop for Inline {
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        queue.inline = false;
        if !queue.ops.is_empty() && !queue.thread_works {
            self.shared.wake_thread(queue);
        }
    }
}

/// Whether the queued work is written quickly and without changing files.
fn is_small(queue: &Queue) -> bool {
    let mut bytes = 0;
    queue.ops.iter().all(|op| {
        bytes += match op {
            Op::Entry { payload, .. } | Op::Vote(payload) => RECORD_BYTES_MAX + payload.len(),
            Op::Done(_) => 0,
            Op::Truncate { .. } | Op::Purge { .. } => return false,
        };
        bytes <= INLINE_BYTES_MAX
    })
}

/// The writer of a log without a thread. Data written but not synced is on the disk only as far as the system
/// got; dropping the stepper then corresponds to the end of the process.
pub struct Stepper {
    shared: Arc<Shared>,
    writer: Writer,
    written: Option<Group>,
}

impl Stepper {
    pub(super) fn new(shared: Arc<Shared>, writer: Writer) -> Self {
        Self { shared, writer, written: None }
    }

    /// Waits for work and writes it as one group, unsynced. Returns `false` when the log was closed or has
    /// failed.
    pub async fn write(&mut self) -> bool {
        let Wake::Steps(wake) = &self.shared.wake else { return false };
        loop {
            let taken = self.writer.take(&mut self.shared.queue());
            match taken {
                Poll::Ready(Some(taken)) => {
                    self.written = self.writer.write(taken);
                    return self.written.is_some();
                }
                Poll::Ready(None) => {
                    self.writer.close();
                    return false;
                }
                Poll::Pending => wake.notified().await,
            }
        }
    }

    /// Syncs the group written by [`Self::write`] and notifies its callers. Returns `false` when the log has
    /// failed.
    pub fn sync(&mut self) -> bool {
        let synced = self.written.take().is_none_or(|group| self.writer.sync(group));
        synced && (!self.shared.queue().ops.is_empty() || self.writer.mark())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stall_is_remembered_by_its_length() {
        const QUICK: Duration = Duration::from_micros(200);
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut pace = Pace::default();
        let quick = |pace: &mut Pace, ms| (0..100).for_each(|_| pace.note(at(ms), QUICK));
        quick(&mut pace, 0);
        assert!(pace.is_fast(at(0)));
        pace.note(at(100), Duration::from_millis(100));
        pace.note(at(200), Duration::from_millis(60));
        quick(&mut pace, 300);
        assert!(!pace.is_fast(at(5099)), "the longer one counts");
        assert!(pace.is_fast(at(5100)));
        (0..100).for_each(|_| pace.note(at(6000), 2 * INLINE_SYNC_MAX));
        assert!(!pace.is_fast(at(1_000_000)), "it is slow all the time");
        quick(&mut pace, 6000);
        assert!(pace.is_fast(at(6000)));
    }
}
