//! Writes groups one after the other; `write_scheduling.rs` decides on which thread.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;

use super::format::{
    GROUP_BYTES_MAX, GROUP_HEADER_BYTES, GroupHeader, GroupKind, Record, SEGMENT_HEADER_BYTES, SegmentHeader,
    aligned,
};
use super::live::{Place, Segment, Slot};
use super::segment::{self, SPARE, Spare};
use super::write_scheduling::Pace;
use super::{Done, LogError, LogOptions, Op, Queue, Shared, Wake};
use crate::disk::{Disk, DiskFile};

/// The end of the log, where the next group goes.
pub(super) struct Tail {
    pub(super) sequence: u64,
    pub(super) seed: u32,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) bytes: u64,
    pub(super) end: u64,
    pub(super) last_crc: u32,
    /// Whether a spare file exists.
    pub(super) spare: bool,
}

impl Tail {
    /// Makes the first segment of an empty log.
    pub(super) fn first(
        disk: &dyn Disk,
        options: LogOptions,
        spare: bool,
    ) -> Result<(Self, Arc<dyn DiskFile>), LogError> {
        let mut source = if spare { Spare::Ready } else { Spare::None };
        let mut range = Vec::new();
        Record::Range { first: 0, next: 0 }.encode(&mut range);
        let tail = Self::start(disk, &mut source, (options.segment_bytes, 64 << 10), 1, (0, 0), &range)
            .map_err(LogError::io("the log's first segment"))?;
        let file = Arc::clone(&tail.file);
        Ok((tail, file))
    }

    /// Makes a segment and its first group durable, and only then names the file.
    fn start(
        disk: &dyn Disk,
        spare: &mut Spare,
        (bytes, bytes_min): (u64, u64),
        sequence: u64,
        (previous_end, previous_crc): (u64, u32),
        base: &[u8],
    ) -> io::Result<Self> {
        let head = SEGMENT_HEADER_BYTES + GROUP_HEADER_BYTES + aligned(base.len());
        let (file, bytes) = spare.take(disk, bytes, bytes_min)?;
        let mut salt = [0; 8];
        getrandom::fill(&mut salt).map_err(io::Error::other)?;
        let header =
            SegmentHeader { sequence, salt: u64::from_le_bytes(salt), previous_end, previous_crc, bytes };
        let offset = SEGMENT_HEADER_BYTES as u64;
        let (group, crc) = GroupHeader::encode(GroupKind::Base, base, previous_crc, header.seed(), offset);
        let mut image = header.encode();
        image.extend_from_slice(&group);
        image.extend_from_slice(base);
        image.resize(head, 0);
        file.write_at(0, &image)?;
        file.sync_data()?;
        disk.rename(SPARE, &segment::name(sequence))?;
        disk.sync_dir()?;
        Ok(Self { sequence, seed: header.seed(), file, bytes, end: head as u64, last_crc: crc, spare: false })
    }

    /// Writes a mark after the last group: everything before the mark is synced. The mark itself is not
    /// synced; the next group overwrites it.
    pub(super) fn write_mark(&self) -> io::Result<()> {
        let (mark, _) = GroupHeader::encode(GroupKind::Mark, &[], self.last_crc, self.seed, self.end);
        self.file.write_at(self.end, &mark)
    }
}

pub(super) struct Writer {
    disk: Arc<dyn Disk>,
    options: LogOptions,
    shared: Arc<Shared>,
    tail: Tail,
    spare: Spare,
    /// The state described by all groups so far; a new segment repeats it.
    written: Written,
    /// Operations taken from the queue but not written yet.
    waiting: VecDeque<Op>,
    group: Vec<u8>,
    /// Whether a mark follows the last group, or nothing was written yet.
    marked: bool,
    pub(super) pace: Pace,
}

#[derive(Default, Clone)]
struct Written {
    vote: Option<Bytes>,
    committed: Option<Bytes>,
    purged: Option<(u64, Bytes)>,
    first: u64,
    next: u64,
}

impl Written {
    fn records(&self) -> Vec<u8> {
        let mut records = Vec::new();
        if let Some(vote) = &self.vote {
            Record::Vote(vote).encode(&mut records);
        }
        if let Some(id) = &self.committed {
            Record::Committed(id).encode(&mut records);
        }
        if let Some((index, id)) = &self.purged {
            Record::Purge { index: *index, id }.encode(&mut records);
        }
        Record::Range { first: self.first, next: self.next }.encode(&mut records);
        records
    }
}

struct Placed {
    index: u64,
    ticket: u64,
    /// The position of the entry's record in the group.
    start: usize,
    end: usize,
}

/// The part of the queue taken along besides the operations.
pub(super) struct Taken {
    committed: Option<Bytes>,
}

/// The effects of a group, to be reported once the group is durable.
#[derive(Default)]
struct Effects {
    placed: Vec<Placed>,
    done: Vec<Done>,
    purged: bool,
}

/// A group that is written but not synced.
pub(super) struct Group {
    effects: Effects,
    /// CRC of the group; `None` when there was nothing to write.
    crc: Option<u32>,
}

impl Writer {
    pub(super) fn new(disk: Arc<dyn Disk>, options: LogOptions, shared: Arc<Shared>, tail: Tail) -> Self {
        let written = {
            let live = shared.live();
            Written {
                vote: live.vote.clone(),
                committed: live.committed.clone(),
                purged: live.purged.clone(),
                first: live.first,
                next: live.next(),
            }
        };
        let spare = if tail.spare { Spare::Ready } else { Spare::None };
        Self {
            disk,
            options,
            shared,
            tail,
            spare,
            written,
            waiting: VecDeque::new(),
            group: Vec::new(),
            marked: true,
            pace: Pace::default(),
        }
    }

    /// Takes the waiting work. `None` means that the log is being closed and no work is left.
    pub(super) fn take(&mut self, queue: &mut Queue) -> Poll<Option<Taken>> {
        if self.waiting.is_empty() && queue.ops.is_empty() {
            if !queue.stopping {
                return Poll::Pending;
            }
            return Poll::Ready(queue.committed.take().map(|id| Taken { committed: Some(id) }));
        }
        if self.waiting.is_empty() {
            std::mem::swap(&mut self.waiting, &mut queue.ops);
        }
        Poll::Ready(Some(Taken { committed: queue.committed.take() }))
    }

    /// Writes the taken work as one group. `None` means that writing failed and the log has ended.
    pub(super) fn write(&mut self, Taken { committed }: Taken) -> Option<Group> {
        let mut effects = Effects::default();
        let before = self.written.clone();
        self.group.clear();
        self.group.resize(GROUP_HEADER_BYTES, 0);
        if let Some(id) = committed {
            Record::Committed(&id).encode(&mut self.group);
            self.written.committed = Some(id);
        }
        while self.group.len() < GROUP_BYTES_MAX
            && let Some(op) = self.waiting.pop_front()
        {
            self.encode(op, &mut effects);
        }
        match self.write_group(&before) {
            Ok(crc) => Some(Group { effects, crc }),
            Err(error) => {
                self.fail(&error, effects.done);
                None
            }
        }
    }

    /// Syncs the group written last and notifies its callers. Returns `false` when that failed and the log
    /// has ended.
    pub(super) fn sync(&mut self, Group { mut effects, crc }: Group) -> bool {
        if let Err(error) = self.sync_group(&mut effects, crc) {
            self.fail(&error, effects.done);
            return false;
        }
        effects.done.into_iter().for_each(|done| done(Ok(())));
        true
    }

    /// Whether a mark proves that the last group was synced.
    pub(super) fn marked(&self) -> bool {
        self.marked
    }

    /// Whether this many bytes fit into the segment.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.tail.end + bytes as u64 <= self.tail.bytes
    }

    /// Writes a mark after the last group, for when no group follows. Returns `false` when that failed and
    /// the log has ended.
    pub(super) fn mark(&mut self) -> bool {
        if !self.waiting.is_empty() || self.marked {
            return true;
        }
        if let Err(error) = self.tail.write_mark() {
            self.fail(&error, Vec::new());
            return false;
        }
        self.marked = true;
        true
    }

    /// Covers the last group with a mark, so that a later start can tell a damaged group from a torn one.
    pub(super) fn close(&self) {
        if let Err(error) = self.tail.write_mark().and_then(|()| self.tail.file.sync_data()) {
            tracing::warn!(%error, "the log's last mark could not be written");
        }
    }

    fn encode(&mut self, op: Op, effects: &mut Effects) {
        let written = &mut self.written;
        match op {
            Op::Entry { index, ticket, payload } => {
                let start = self.group.len();
                Record::Entry { index, payload: &payload }.encode(&mut self.group);
                effects.placed.push(Placed { index, ticket, start, end: self.group.len() });
                if written.first == written.next && written.purged.is_none() {
                    written.first = index;
                }
                written.next = index + 1;
            }
            Op::Vote(vote) => {
                Record::Vote(&vote).encode(&mut self.group);
                written.vote = Some(vote);
            }
            Op::Truncate { from } => {
                Record::Truncate { from }.encode(&mut self.group);
                written.next = written.next.min(from).max(written.first);
            }
            Op::Purge { index, id } => {
                Record::Purge { index, id: &id }.encode(&mut self.group);
                written.first = written.first.max(index + 1);
                written.next = written.next.max(written.first);
                written.purged = Some((index, id));
                effects.purged = true;
            }
            Op::Done(done) => effects.done.push(done),
        }
    }

    /// Writes the group, if it has any records. Returns its checksum, which the next group names.
    fn write_group(&mut self, before: &Written) -> io::Result<Option<u32>> {
        if self.group.len() == GROUP_HEADER_BYTES {
            return Ok(None);
        }
        let whole = aligned(self.group.len());
        self.make_room(whole as u64, before)?;
        let end = self.tail.end;
        let (header, crc) = GroupHeader::encode(
            GroupKind::Data,
            &self.group[GROUP_HEADER_BYTES..],
            self.tail.last_crc,
            self.tail.seed,
            end,
        );
        self.group[..GROUP_HEADER_BYTES].copy_from_slice(&header);
        self.group.resize(whole, 0);
        self.marked = false;
        self.tail.file.write_at(end, &self.group)?;
        Ok(Some(crc))
    }

    fn sync_group(&mut self, effects: &mut Effects, crc: Option<u32>) -> io::Result<()> {
        if let Some(crc) = crc {
            self.tail.file.sync_data()?;
            let start = self.tail.end;
            self.tail.end = start + self.group.len() as u64;
            self.tail.last_crc = crc;
            self.place(start, effects);
        }
        if effects.purged {
            self.drop_purged()?;
        }
        if matches!(self.spare, Spare::None) && self.tail.end > self.tail.bytes / 2 {
            self.spare = match &self.shared.wake {
                Wake::Thread { .. } => Spare::make(&self.disk, self.next_bytes()),
                Wake::Steps(_) => Spare::make_now(self.disk.as_ref(), self.next_bytes()),
            };
        }
        Ok(())
    }

    fn next_bytes(&self) -> u64 {
        (self.tail.bytes * 2).min(self.options.segment_bytes_max)
    }

    /// Continues in a new segment when the group and a mark do not fit. `before` is the state described by
    /// all groups before this one.
    fn make_room(&mut self, whole: u64, before: &Written) -> io::Result<()> {
        let mark = GROUP_HEADER_BYTES as u64;
        if self.tail.end + whole + mark <= self.tail.bytes {
            return Ok(());
        }
        let base = before.records();
        let head = (SEGMENT_HEADER_BYTES + GROUP_HEADER_BYTES + aligned(base.len())) as u64;
        let bytes_min = head + whole + mark;
        let (sequence, next_bytes) = (self.tail.sequence + 1, self.next_bytes());
        let ended = (self.tail.end, self.tail.last_crc);
        self.tail = Tail::start(
            self.disk.as_ref(),
            &mut self.spare,
            (next_bytes, bytes_min),
            sequence,
            ended,
            &base,
        )?;
        let segment = Segment { file: Arc::clone(&self.tail.file), bytes: self.tail.bytes, last_index: 0 };
        self.shared.live().segments.insert(sequence, segment);
        Ok(())
    }

    /// From now on the group's entries are read from the disk.
    fn place(&self, group: u64, effects: &mut Effects) {
        let mut live = self.shared.live();
        for placed in effects.placed.drain(..) {
            let place = Place {
                segment: self.tail.sequence,
                offset: group + placed.start as u64,
                // A record is one entry, far below 2^32.
                bytes: u32::try_from(placed.end - placed.start).unwrap_or(u32::MAX),
            };
            if let Some(segment) = live.segments.get_mut(&place.segment) {
                segment.last_index = segment.last_index.max(placed.index);
            }
            if let Some(slot) = live.slot_mut(placed.index)
                && matches!(slot, Slot::Pending { ticket, .. } if ticket == &placed.ticket)
            {
                *slot = Slot::Stored(place);
            }
        }
    }

    /// Frees the oldest segments whose entries are all purged; the purge itself is durable by now.
    fn drop_purged(&mut self) -> io::Result<()> {
        let Some((purged, _)) = self.written.purged else { return Ok(()) };
        loop {
            let oldest = {
                let live = self.shared.live();
                live.segments
                    .first_key_value()
                    .map(|(sequence, segment)| (*sequence, segment.last_index, segment.bytes))
            };
            let Some((sequence, last_index, bytes)) = oldest else { return Ok(()) };
            if sequence == self.tail.sequence || last_index > purged {
                return Ok(());
            }
            self.shared.live().segments.remove(&sequence);
            let name = segment::name(sequence);
            if matches!(self.spare, Spare::None) && bytes >= self.next_bytes() {
                self.disk.rename(&name, SPARE)?;
                self.spare = Spare::Ready;
            } else {
                self.disk.remove(&name)?;
            }
            // Each removal is durable before the next one starts, so the remaining segments never have a
            // hole. A recycled file must not be written to while its old name may reappear.
            self.disk.sync_dir()?;
        }
    }

    /// Ends the log: nothing is acknowledged any more.
    fn fail(&mut self, error: &io::Error, done: Vec<Done>) {
        let place = format!("{}/{}", self.disk.describe(), segment::name(self.tail.sequence));
        let reason = format!(
            "writing the log failed ({place}): {error}; the content of the disk is no longer known, so this node must stop"
        );
        tracing::error!("{reason}");
        let later = {
            let mut queue = self.shared.queue();
            queue.failed = Some(reason.clone());
            std::mem::take(&mut queue.ops)
        };
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let waiting = waiting.chain(later).filter_map(|op| match op {
            Op::Done(done) => Some(done),
            _ => None,
        });
        for done in done.into_iter().chain(waiting) {
            done(Err(io::Error::new(error.kind(), reason.clone())));
        }
    }
}
