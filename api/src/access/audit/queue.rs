//! What waits for the disk.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::AuditHealth;
use super::event::{BoundedEvent, Entry, Gap};

/// The reason in a gap for events that found the queue full.
const OVERFLOW: &str = "the disk was slower than the events, or could not be written";

/// A bounded queue between callers, which never wait, and the thread that writes.
#[derive(Debug)]
pub(super) struct Queue {
    events_max: usize,
    bytes_max: usize,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The events that found the queue full. All of them happened after what is in the queue.
    lost: Option<Gap>,
    stopping: bool,
    health: AuditHealth,
}

/// What the writer took out.
#[derive(Debug)]
pub(super) struct Taken {
    /// The entries, the oldest first.
    pub(super) entries: VecDeque<Entry>,
    /// Whether the queue was stopped, so that nothing follows.
    pub(super) stopping: bool,
}

impl Queue {
    pub(super) fn new(events_max: usize, bytes_max: usize) -> Self {
        Self { events_max, bytes_max, waiting: Mutex::default(), changed: Condvar::new() }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event, or counts it as lost when the queue is full.
    pub(super) fn push(&self, at_ms: u64, event: BoundedEvent) {
        let mut waiting = self.waiting();
        let fits = waiting.entries.len() < self.events_max && waiting.bytes + event.bytes <= self.bytes_max;
        // After the first lost event all are lost until the writer has taken the queue: a gap is one stretch of time.
        if !fits || waiting.lost.is_some() {
            waiting.health.events_lost += 1;
            let gap =
                waiting.lost.get_or_insert(Gap { lost: 0, from_ms: at_ms, until_ms: at_ms, why: OVERFLOW });
            gap.lost += 1;
            gap.until_ms = at_ms;
            drop(waiting);
            self.changed.notify_one();
            return;
        }
        waiting.bytes += event.bytes;
        let was_empty = waiting.entries.is_empty();
        waiting.entries.push_back(Entry::Event(at_ms, event));
        drop(waiting);
        if was_empty {
            self.changed.notify_one();
        }
    }

    /// Waits at most this long until there is something to write, and takes it. A gap comes after what was in the queue.
    pub(super) fn take(&self, wait: Option<Duration>, now_ms: impl FnOnce() -> u64) -> Taken {
        let idle =
            |waiting: &mut Waiting| waiting.entries.is_empty() && waiting.lost.is_none() && !waiting.stopping;
        let waiting = self.waiting();
        let mut waiting = match wait {
            Some(wait) => {
                let waited = self.changed.wait_timeout_while(waiting, wait, idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.changed.wait_while(waiting, idle).unwrap_or_else(PoisonError::into_inner),
        };
        waiting.bytes = 0;
        let mut entries = std::mem::take(&mut waiting.entries);
        entries.extend(waiting.lost.take().map(|gap| Entry::Gap(now_ms(), gap)));
        Taken { entries, stopping: waiting.stopping }
    }

    /// Waits for a while, or until the end.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.waiting(), pause, |waiting| !waiting.stopping);
        waited.unwrap_or_else(PoisonError::into_inner).0.stopping
    }

    /// Tells the writer to write what is there and to end.
    pub(super) fn stop(&self) {
        self.waiting().stopping = true;
        self.changed.notify_all();
    }

    pub(super) fn health(&self) -> AuditHealth {
        self.waiting().health.clone()
    }

    /// Counts lines that are on the disk.
    pub(super) fn note_written(&self, lines: u64) {
        let mut waiting = self.waiting();
        waiting.health.lines_written += lines;
        waiting.health.failure = None;
    }

    /// Counts lines that were written and are not on the disk.
    pub(super) fn note_lost(&self, lines: u64) {
        self.waiting().health.events_lost += lines;
    }

    pub(super) fn note_failure(&self, failure: String) {
        self.waiting().health.failure = Some(failure);
    }
}
