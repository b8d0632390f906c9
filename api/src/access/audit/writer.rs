//! The thread that writes the audit.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::event::{Chain, Entry, Gap, append_line};
use super::files::{DATE_LENGTH, Files};
use super::queue::{Queue, Taken};
use super::{AuditOptions, now_ms};
use crate::service::rfc3339;

/// How many bytes are written at once.
const CHUNK_BYTES: usize = 1024 * 1024;
/// The reason in a gap for lines that were written and did not reach the disk.
const NOT_SYNCED: &str =
    "the disk could not be synced, or the file was taken away; these lines may be missing";

/// Writes what is in the queue, one chunk at a time, and tries again after failures.
#[derive(Debug)]
pub(super) struct Writer {
    options: AuditOptions,
    queue: Arc<Queue>,
    /// `None` before the first use and after a failure: then the files are opened again, which finds out what is on the disk.
    pub(super) files: Option<Files>,
    /// What was taken from the queue and is not written yet.
    pub(super) pending: VecDeque<Entry>,
    /// The last line that was written; `None` before the files were opened for the first time.
    chain: Option<Chain>,
    /// When the first and the last of the lines that are not synced happened, and how many they are.
    unsynced: Option<Gap>,
    synced_at: Instant,
    /// Whether the next line goes to a new file. A file that could not be synced once may report success later although lines are lost.
    is_file_spoiled: bool,
    is_failing: bool,
}

impl Writer {
    pub(super) fn new(options: AuditOptions, queue: Arc<Queue>) -> Self {
        Self {
            options,
            queue,
            files: None,
            pending: VecDeque::new(),
            chain: None,
            unsynced: None,
            synced_at: Instant::now(),
            is_file_spoiled: false,
            is_failing: false,
        }
    }

    /// Writes until the queue is stopped.
    pub(super) fn run(mut self) {
        // The files are opened at once, so that a directory that cannot be written is reported before the first event.
        let mut outcome = self.write_pending();
        loop {
            let failed = outcome.is_err();
            self.note(outcome);
            if failed && self.queue.pause(self.options.sync_interval) {
                self.give_up();
                return;
            }
            outcome = if self.pending.is_empty() {
                let wait = self
                    .unsynced
                    .as_ref()
                    .map(|_| self.options.sync_interval.saturating_sub(self.synced_at.elapsed()));
                let Taken { entries, stopping } = self.queue.take(wait, now_ms);
                self.pending = entries;
                if stopping {
                    let last = self.write_pending().and_then(|()| self.sync());
                    self.note(last);
                    self.give_up();
                    return;
                }
                self.write_pending()
            } else {
                self.write_pending()
            };
            if outcome.is_ok() && self.synced_at.elapsed() >= self.options.sync_interval {
                outcome = self.sync();
            }
        }
    }

    /// Reports the beginning and the end of a failure, once each.
    fn note(&mut self, outcome: io::Result<()>) {
        let dir = self.options.dir.display();
        match outcome {
            Ok(()) if self.is_failing => {
                tracing::info!(%dir, "the audit is written again");
                self.is_failing = false;
                self.queue.note_written(0);
            }
            Ok(()) => {}
            Err(error) => {
                if !self.is_failing {
                    tracing::error!(%dir, %error, "the audit cannot be written; events are kept while there is room");
                }
                self.is_failing = true;
                self.files = None;
                self.queue.note_failure(format!("{dir}: {error}"));
            }
        }
    }

    /// Counts what can no longer be written.
    fn give_up(&mut self) {
        // Events that a gap stands for are counted already.
        let waiting = self.queue.take(Some(Duration::ZERO), now_ms).entries;
        let events = self.pending.iter().chain(&waiting).filter(|entry| matches!(entry, Entry::Event(..)));
        let left = u64::try_from(events.count()).unwrap_or(u64::MAX);
        if left > 0 {
            tracing::error!(events = left, "the audit ends with events that could not be written");
            self.queue.note_lost(left);
        }
    }

    /// Writes everything that is pending.
    pub(super) fn write_pending(&mut self) -> io::Result<()> {
        self.open()?;
        while !self.pending.is_empty() {
            self.write_chunk()?;
        }
        Ok(())
    }

    /// Opens the files, if they are not open, and finds out which of the pending lines are in them already.
    fn open(&mut self) -> io::Result<()> {
        if self.files.is_some() {
            return Ok(());
        }
        let (mut files, cut_bytes) = Files::open(&self.options.dir, self.options.files_max)?;
        // A chunk that failed may be on the disk in part.
        if let Some(Chain { seq, .. }) = self.chain {
            let landed = usize::try_from(files.chain.seq.saturating_sub(seq)).unwrap_or(usize::MAX);
            self.pending.drain(..landed.min(self.pending.len()));
            // Numbers are never used twice, even if lines that had them are gone.
            files.chain.seq = files.chain.seq.max(seq);
        }
        self.chain = Some(files.chain);
        if self.is_file_spoiled && files.bytes > 0 {
            files.rotate()?;
        }
        self.is_file_spoiled = false;
        if cut_bytes > 0 {
            self.pending.push_front(Entry::Torn(now_ms(), cut_bytes));
        }
        self.files = Some(files);
        Ok(())
    }

    /// Writes pending lines of one file.
    fn write_chunk(&mut self) -> io::Result<()> {
        let Some(files) = &mut self.files else { return Ok(()) };
        let (mut buffer, mut chain, mut count) = (Vec::new(), files.chain, 0);
        let mut date = files.date.clone();
        let mut unsynced = self.unsynced.clone();
        for entry in &self.pending {
            let line_date = rfc3339(entry.at_ms())[..DATE_LENGTH].to_owned();
            let (begin, before) = (buffer.len(), chain);
            append_line(&mut buffer, &mut chain, &self.options.node, entry)?;
            let bytes = files.bytes + u64::try_from(buffer.len()).map_err(io::Error::other)?;
            let is_first = files.bytes == 0 && begin == 0;
            if !is_first && (bytes > self.options.file_bytes_max || (!date.is_empty() && line_date > date)) {
                buffer.truncate(begin);
                chain = before;
                if begin == 0 {
                    return self.rotate();
                }
                break;
            }
            (date, count) = (line_date.max(date), count + 1);
            let gap = unsynced.get_or_insert(Gap {
                lost: 0,
                from_ms: entry.at_ms(),
                until_ms: entry.at_ms(),
                why: NOT_SYNCED,
            });
            (gap.lost, gap.until_ms) = (gap.lost + 1, entry.at_ms());
            if buffer.len() >= CHUNK_BYTES {
                break;
            }
        }
        files.append(&buffer, chain, &date)?;
        self.pending.drain(..count);
        self.chain = Some(chain);
        self.unsynced = unsynced;
        self.queue.note_written(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Goes on with the next file once this one is on the disk.
    fn rotate(&mut self) -> io::Result<()> {
        self.sync()?;
        self.files.as_mut().map_or(Ok(()), Files::rotate)
    }

    /// Syncs what was written. If that fails, the lines count as lost, whether or not they are on the disk.
    fn sync(&mut self) -> io::Result<()> {
        self.synced_at = Instant::now();
        let (Some(files), Some(_)) = (&self.files, &self.unsynced) else { return Ok(()) };
        let outcome = files.sync();
        if let (Err(_), Some(gap)) = (&outcome, self.unsynced.clone()) {
            self.queue.note_lost(gap.lost);
            self.pending.push_front(Entry::Gap(now_ms(), gap));
            self.is_file_spoiled = true;
        }
        self.unsynced = None;
        outcome
    }
}
