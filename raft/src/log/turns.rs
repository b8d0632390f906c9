//! Whose turn it is to write: the log's thread, the task of whoever appends, or somebody who takes single steps.
//!
//! A sync on another thread costs two changes of threads, which is more than the sync itself on a fast disk. So a log that was
//! opened with [`Inline`] writes what is small on the spot. Its thread gets what could hold a task up: much at once, a new
//! segment, a purge, and everything while the disk is slow. The thread then goes on until nothing waits.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use super::writer::{Group, Writer};
use super::{Op, Queue, Shared, Wake};

/// The largest group written on the spot: what a few callers ask for. With many the thread syncs while their next entry is
/// being made.
const INLINE_BYTES_MAX: usize = 1 << 10;
/// What a record adds to its payload, at most.
const RECORD_BYTES_MAX: usize = 64;
/// A task may be held up this long; a disk that takes longer for a sync is left to the thread.
const INLINE_SYNC_MAX: Duration = Duration::from_millis(1);
/// A sync that took longer is a stall, such as shared and network disks have now and then. The thread can wait out the next one
/// while heartbeats and what the others acknowledge go on.
const STALL: Duration = Duration::from_millis(50);
/// One stall is seldom alone, but the thread costs each write two changes of threads. So a stall is remembered so many times as long
/// as it took: what is waited out on the spot is a fiftieth of all time at most.
const STALL_REMEMBERED_TIMES: u32 = 50;
/// A log that is written on the spot gets a mark within this, when it is idle then.
const MARK_AFTER: Duration = Duration::from_millis(10);

/// The writer, for whoever has the turn; [`Queue::thread_works`] says who that is.
pub(super) type SharedWriter = Arc<Mutex<Writer>>;

fn lock(writer: &Mutex<Writer>) -> MutexGuard<'_, Writer> {
    // A panic in there is a defect that ends the process.
    writer.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Has somebody look at the queue, which something was put into.
    pub(super) fn call(&self, queue: MutexGuard<'_, Queue>) {
        match &self.wake {
            // It looks once more before it rests.
            Wake::Thread { .. } if queue.thread_works => {}
            Wake::Thread { asked, .. } if queue.inline => {
                drop(queue);
                asked.notify_one();
            }
            Wake::Thread { .. } => self.call_thread(queue),
            Wake::Steps(wake) => {
                drop(queue);
                wake.notify_one();
            }
        }
    }

    /// Gives the thread the turn, if there is one.
    fn call_thread(&self, mut queue: MutexGuard<'_, Queue>) {
        if let Wake::Thread { work, .. } = &self.wake {
            queue.thread_works = true;
            drop(queue);
            work.notify_one();
        }
    }

    /// Has everybody find out that the log is closed.
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

/// What the log's thread does until the log is closed or has failed.
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

/// Writes until nothing waits. `false`: the log was closed, or has failed.
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

/// What is to be expected of the disk.
#[derive(Default)]
pub(super) struct Pace {
    /// What a sync takes.
    usual: Duration,
    /// A stall is remembered until then.
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

/// Writes on the spot what holds nobody up: a task of the runtime that appends. Dropping it leaves everything to the thread.
pub struct Inline {
    shared: Arc<Shared>,
    writer: SharedWriter,
}

impl Inline {
    pub(super) fn new(shared: Arc<Shared>, writer: SharedWriter) -> Self {
        shared.queue().inline = true;
        Self { shared, writer }
    }

    /// Writes what is asked for, until the log is closed or has failed.
    pub async fn run(self) {
        let shared = Arc::clone(&self.shared);
        let Wake::Thread { asked, .. } = &shared.wake else { return };
        let mut idle = pin!(tokio::time::sleep(MARK_AFTER));
        loop {
            let unmarked = self.writer.try_lock().is_ok_and(|writer| !writer.marked());
            let goes_on = tokio::select! {
                biased;
                () = asked.notified() => {
                    // Whoever is ready goes first: entries leave for the followers before they are synced here.
                    tokio::task::yield_now().await;
                    self.write()
                }
                // A timer that is set anew by every write would cost more than a mark that is written early.
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

    /// Writes what waits as one group, or leaves it to the thread. `false`: the log was closed, or has failed.
    fn write(&self) -> bool {
        let mut queue = self.shared.queue();
        if queue.stopping || queue.failed.is_some() {
            return false;
        }
        if queue.thread_works || queue.ops.is_empty() {
            return true;
        }
        // Its lock is taken after that of the queue here, and before it by the thread: so it is not waited for.
        let writer = self.writer.try_lock().ok();
        let quick = |writer: &MutexGuard<'_, Writer>| {
            is_small(&queue) && writer.has_room(2 * INLINE_BYTES_MAX) && writer.pace.is_fast(Instant::now())
        };
        let Some(mut writer) = writer.filter(quick) else {
            self.shared.call_thread(queue);
            return true;
        };
        let Poll::Ready(Some(taken)) = writer.take(&mut queue) else { return true };
        drop(queue);
        let Some(group) = writer.write(taken) else { return false };
        timed_sync(&mut writer, group)
    }

    /// Writes a mark if nothing waits. `false`: the log has failed.
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
            self.shared.call_thread(queue);
        }
    }
}

/// Whether what waits is written quickly and without a change of the files.
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

/// The writer of a log without a thread. What it wrote but did not sync is on the disk as far as the system got; dropping it
/// then is what the end of the process is to a thread.
pub struct Stepper {
    shared: Arc<Shared>,
    writer: Writer,
    written: Option<Group>,
}

impl Stepper {
    pub(super) fn new(shared: Arc<Shared>, writer: Writer) -> Self {
        Self { shared, writer, written: None }
    }

    /// Waits until there is something to do and writes it as one group, unsynced. `false`: the log was closed, or has failed.
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

    /// Syncs what [`Self::write`] wrote and tells whoever waits for it. `false`: the log has failed.
    pub fn sync(&mut self) -> bool {
        let synced = self.written.take().is_none_or(|group| self.writer.sync(group));
        synced && (!self.shared.queue().ops.is_empty() || self.writer.mark())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_remembered_by_its_length() {
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
