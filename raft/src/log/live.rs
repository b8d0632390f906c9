//! The content of the log, in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::DiskFile;

/// The location of an entry's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) bytes: u32,
}

pub(super) enum Slot {
    /// Not yet written. The ticket tells this entry from a later one with the same index.
    Pending {
        ticket: u64,
        payload: Bytes,
    },
    Stored(Place),
}

pub(super) struct Segment {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) bytes: u64,
    /// The highest index of an entry in this segment.
    pub(super) last_index: u64,
}

#[derive(Default)]
pub(super) struct Live {
    /// Index of the first slot.
    pub(super) first: u64,
    pub(super) slots: VecDeque<Slot>,
    pub(super) vote: Option<Bytes>,
    pub(super) committed: Option<Bytes>,
    pub(super) purged: Option<(u64, Bytes)>,
    pub(super) segments: BTreeMap<u64, Segment>,
}

impl Live {
    pub(super) fn next(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    pub(super) fn slot(&self, index: u64) -> Option<&Slot> {
        self.slots.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    pub(super) fn slot_mut(&mut self, index: u64) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    /// A log that never had an entry begins at the index of its first one.
    pub(super) fn begin_at(&mut self, index: u64) {
        if self.slots.is_empty() && self.purged.is_none() {
            self.first = index;
        }
    }

    pub(super) fn truncate(&mut self, from: u64) {
        let keep = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.slots.truncate(keep);
    }

    pub(super) fn purge(&mut self, index: u64, id: Bytes) {
        let gone = usize::try_from((index + 1).saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.slots.drain(..gone.min(self.slots.len()));
        self.first = self.first.max(index + 1);
        self.purged = Some((index, id));
    }
}
