//! Recovers the acknowledged log from the files on disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use crc32c::crc32c;

use super::format::{
    GROUP_HEADER_BYTES, GroupHeader, GroupKind, Record, SEGMENT_HEADER_BYTES, SegmentHeader, aligned,
};
use super::live::{Live, Place, Segment, Slot};
use super::segment::{self, SPARE};
use super::writer::Tail;
use super::{LogError, LogOptions};
use crate::disk::{Disk, DiskFile};

/// No segment has this number: a slot that still has it at the end of recovery has lost its entry.
const MISSING: u64 = 0;

/// No real log reaches this index. A record with a right checksum and a larger index was not written by this
/// program.
const INDEX_MAX: u64 = 1 << 62;
/// Nor does a log have this many entries at once: they are purged after `raft.snapshot_entries` and as many
/// again.
const LIVE_ENTRIES_MAX: u64 = 1 << 25;

/// A group that was being written when the machine or the process stopped. It was never acknowledged, and is
/// cut off and set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The name of the segment.
    pub segment: String,
    /// The offset in the segment at which the log now ends.
    pub offset: u64,
    /// The file that keeps the bytes that were cut off.
    pub kept_as: String,
    /// The size of that file, bytes.
    pub bytes: u64,
}

pub(super) struct Recovered {
    pub(super) live: Live,
    pub(super) tail: Tail,
    pub(super) torn: Option<Torn>,
}

pub(super) fn recover(disk: &dyn Disk, options: LogOptions) -> Result<Recovered, LogError> {
    let names = disk.list().map_err(LogError::io(disk.describe()))?;
    let sequences: Vec<u64> = names.iter().filter_map(|name| segment::sequence(name)).collect();
    let spare = names.iter().any(|name| name == SPARE);
    let (live, ended) = scan(disk, &sequences)?;
    let Some(ended) = ended else {
        if options.existing {
            return Err(damaged(1, 0, "this node has been a member before, but there is no log"));
        }
        let (tail, file) = Tail::first(disk, options, spare)?;
        let first = Segment { file, bytes: tail.bytes, last_index: 0 };
        let segments = BTreeMap::from([(tail.sequence, first)]);
        return Ok(Recovered { live: Live { segments, ..Live::default() }, tail, torn: None });
    };
    if let Some(at) =
        live.slots.iter().position(|slot| matches!(slot, Slot::Stored(place) if place.segment == MISSING))
    {
        let index = live.first + at as u64;
        let first = live.segments.keys().next().copied().unwrap_or_default();
        return Err(damaged(
            first,
            0,
            format!("entry {index} is in an earlier segment whose file is missing"),
        ));
    }
    finish(disk, live, &ended, spare)
}

/// Replays the segments. Also returns where the last one ends, if there is any.
fn scan(disk: &dyn Disk, sequences: &[u64]) -> Result<(Live, Option<Ended>), LogError> {
    let mut live = Live::default();
    let mut ended: Option<Ended> = None;
    for &sequence in sequences {
        let scanned = Scan::open(disk, sequence)?;
        scanned.follows(ended.as_ref())?;
        ended = Some(scanned.replay(&mut live, Some(&sequence) == sequences.last())?);
    }
    Ok((live, ended))
}

/// Implements [`super::read_entries`].
pub(super) fn entries(disk: &dyn Disk) -> Result<Vec<(u64, Bytes)>, LogError> {
    let names = disk.list().map_err(LogError::io(disk.describe()))?;
    let sequences: Vec<u64> = names.iter().filter_map(|name| segment::sequence(name)).collect();
    let (live, _) = scan(disk, &sequences)?;
    let mut found = Vec::with_capacity(live.slots.len());
    for (index, slot) in (live.first..).zip(&live.slots) {
        let Slot::Stored(place) = slot else { continue };
        let Some(segment) = live.segments.get(&place.segment) else { continue };
        let mut record = vec![0; place.bytes as usize];
        segment
            .file
            .read_at(place.offset, &mut record)
            .map_err(LogError::io(segment::name(place.segment)))?;
        match Record::decode(&record) {
            Some((Record::Entry { index: stored, payload }, _)) if stored == index => {
                found.push((index, Bytes::copy_from_slice(payload)));
            }
            _ => return Err(damaged(place.segment, place.offset, format!("entry {index} is missing"))),
        }
    }
    Ok(found)
}

/// Implements [`super::is_used`].
pub(super) fn is_used(disk: &dyn Disk) -> Result<bool, LogError> {
    let names = disk.list().map_err(LogError::io(disk.describe()))?;
    let sequences: Vec<u64> = names.iter().filter_map(|name| segment::sequence(name)).collect();
    let (live, _) = scan(disk, &sequences)?;
    Ok(live.vote.is_some() || live.purged.is_some() || !live.slots.is_empty())
}

fn finish(disk: &dyn Disk, live: Live, ended: &Ended, spare: bool) -> Result<Recovered, LogError> {
    let name = segment::name(ended.sequence);
    let torn = match &ended.torn {
        Some(bytes) => {
            let kept_as = format!("torn-{:016x}-{}", ended.sequence, ended.offset);
            let aside = disk.create(&kept_as).map_err(LogError::io(&kept_as))?;
            aside.write_at(0, bytes).and_then(|()| aside.sync_data()).map_err(LogError::io(&kept_as))?;
            Some(Torn { segment: name.clone(), offset: ended.offset, kept_as, bytes: bytes.len() as u64 })
        }
        None => None,
    };
    let segment = &live.segments[&ended.sequence];
    let tail = Tail {
        sequence: ended.sequence,
        seed: ended.header.seed(),
        file: Arc::clone(&segment.file),
        bytes: segment.bytes,
        end: ended.offset,
        last_crc: ended.crc,
        spare,
    };
    // The data may have been read from the system's cache only, so sync it. The mark also overwrites a torn
    // group.
    tail.write_mark().and_then(|()| tail.file.sync_data()).map_err(LogError::io(&name))?;
    disk.sync_dir().map_err(LogError::io(disk.describe()))?;
    Ok(Recovered { live, tail, torn })
}

fn damaged(sequence: u64, offset: u64, what: impl Into<String>) -> LogError {
    LogError::Damaged { file: segment::name(sequence), offset, what: what.into() }
}

/// The end of a segment's groups.
struct Ended {
    sequence: u64,
    header: SegmentHeader,
    offset: u64,
    crc: u32,
    torn: Option<Vec<u8>>,
}

struct Scan {
    header: SegmentHeader,
    file: Arc<dyn DiskFile>,
    bytes: Vec<u8>,
}

impl Scan {
    fn open(disk: &dyn Disk, sequence: u64) -> Result<Self, LogError> {
        let name = segment::name(sequence);
        let file = disk.open(&name).map_err(LogError::io(&name))?;
        let size = file.size_bytes().map_err(LogError::io(&name))?;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        file.read_at(0, &mut bytes).map_err(LogError::io(&name))?;
        let header = SegmentHeader::decode(&bytes).map_err(|what| damaged(sequence, 0, what))?;
        if header.sequence != sequence {
            return Err(damaged(
                sequence,
                0,
                "the segment header has a different number than the file's name",
            ));
        }
        if header.bytes != size {
            let what = format!("the file has {size} bytes but was created with {}", header.bytes);
            return Err(damaged(sequence, size, what));
        }
        Ok(Self { header, file, bytes })
    }

    /// Checks that this segment continues where the previous one ended.
    fn follows(&self, before: Option<&Ended>) -> Result<(), LogError> {
        let Some(before) = before else { return Ok(()) };
        if self.header.sequence != before.sequence + 1 {
            return Err(damaged(before.sequence + 1, 0, "this segment is missing, but later ones exist"));
        }
        if (before.offset, before.crc) != (self.header.previous_end, self.header.previous_crc) {
            let what = format!(
                "the groups end here, but the next segment says they end at {}",
                self.header.previous_end
            );
            return Err(damaged(before.sequence, before.offset, what));
        }
        Ok(())
    }

    fn replay(self, live: &mut Live, is_last: bool) -> Result<Ended, LogError> {
        let sequence = self.header.sequence;
        let first = live.segments.is_empty();
        let segment = Segment { file: Arc::clone(&self.file), bytes: self.bytes.len() as u64, last_index: 0 };
        live.segments.insert(sequence, segment);
        let mut offset = SEGMENT_HEADER_BYTES;
        let mut crc = self.header.previous_crc;
        let mut torn = None;
        loop {
            match self.group(offset, crc) {
                Group::Whole { header, body } => {
                    if (header.kind == GroupKind::Base) != (offset == SEGMENT_HEADER_BYTES) {
                        return Err(damaged(
                            sequence,
                            offset as u64,
                            "a group is not where a group of its kind belongs",
                        ));
                    }
                    self.apply(live, offset + GROUP_HEADER_BYTES, body, first)
                        .map_err(|what| damaged(sequence, offset as u64, what))?;
                    crc = header.crc;
                    offset += GROUP_HEADER_BYTES + aligned(body.len());
                    continue;
                }
                Group::OtherChain => {
                    return Err(damaged(
                        sequence,
                        offset as u64,
                        "a group does not follow the one before it",
                    ));
                }
                Group::Cut { bytes } => torn = Some(bytes.to_vec()),
                Group::None | Group::Mark => {}
            }
            break;
        }
        let at = offset as u64;
        if offset == SEGMENT_HEADER_BYTES {
            return Err(damaged(
                sequence,
                at,
                "the first group is damaged; it was durable before the file was named",
            ));
        }
        if let Some(later) = self.later_group(offset) {
            return Err(damaged(
                sequence,
                at,
                format!("a group is damaged; an intact one follows at offset {later}"),
            ));
        }
        if !is_last && torn.is_some() {
            return Err(damaged(
                sequence,
                at,
                "a group is damaged, but the log continues in the next segment",
            ));
        }
        Ok(Ended { sequence, header: self.header, offset: at, crc, torn })
    }

    fn group(&self, offset: usize, previous_crc: u32) -> Group<'_> {
        let Some(rest) = self.bytes.get(offset..) else { return Group::None };
        let Some(header) = GroupHeader::decode(rest, self.header.seed(), offset as u64) else {
            return Group::None;
        };
        if header.previous_crc != previous_crc {
            return Group::OtherChain;
        }
        if header.kind == GroupKind::Mark {
            return Group::Mark;
        }
        let end = GROUP_HEADER_BYTES + header.body_bytes as usize;
        match rest.get(GROUP_HEADER_BYTES..end) {
            Some(body) if crc32c(body) == header.body_crc => Group::Whole { header, body },
            _ => Group::Cut { bytes: &rest[..end.min(rest.len())] },
        }
    }

    /// The offset of a group header of this segment after `offset`. A group is written only once the previous
    /// one is synced, so everything before a valid header was durable.
    fn later_group(&self, offset: usize) -> Option<usize> {
        let seed = self.header.seed();
        (offset + 8..self.bytes.len())
            .step_by(8)
            .find(|&at| GroupHeader::decode(&self.bytes[at..], seed, at as u64).is_some())
    }

    fn apply(&self, live: &mut Live, start: usize, body: &[u8], first_segment: bool) -> Result<(), String> {
        let mut at = 0;
        while at < body.len() {
            let (record, bytes) = Record::decode(&body[at..]).ok_or("a record is malformed")?;
            if !is_plausible(&record) {
                return Err(format!("no log has a record like {record:?}"));
            }
            match record {
                Record::Entry { index, .. } => {
                    live.begin_at(index);
                    if index != live.next() {
                        return Err(format!("entry {index} stands where entry {} belongs", live.next()));
                    }
                    live.slots.push_back(Slot::Stored(Place {
                        segment: self.header.sequence,
                        offset: (start + at) as u64,
                        bytes: u32::try_from(bytes).map_err(|_| "a record is too large")?,
                    }));
                    if let Some(segment) = live.segments.get_mut(&self.header.sequence) {
                        segment.last_index = segment.last_index.max(index);
                    }
                }
                Record::Vote(vote) => live.vote = Some(Bytes::copy_from_slice(vote)),
                Record::Committed(id) => live.committed = Some(Bytes::copy_from_slice(id)),
                Record::Truncate { from } => live.truncate(from),
                Record::Purge { index, id } => live.purge(index, Bytes::copy_from_slice(id)),
                Record::Range { first, next } if first_segment => {
                    let missing = Place { segment: MISSING, offset: 0, bytes: 0 };
                    live.first = first;
                    live.slots.extend((first..next).map(|_| Slot::Stored(missing)));
                }
                Record::Range { first, next } => {
                    if (first, next) != (live.first, live.next()) {
                        return Err(format!(
                            "it names entries {first}..{next}, but the previous segments have {}..{}",
                            live.first,
                            live.next()
                        ));
                    }
                }
            }
            at += bytes;
        }
        Ok(())
    }
}

fn is_plausible(record: &Record<'_>) -> bool {
    match *record {
        Record::Entry { index, .. } | Record::Purge { index, .. } => index < INDEX_MAX,
        Record::Range { first, next } => {
            next < INDEX_MAX && next.checked_sub(first).is_some_and(|entries| entries <= LIVE_ENTRIES_MAX)
        }
        Record::Truncate { .. } | Record::Vote(_) | Record::Committed(_) => true,
    }
}

enum Group<'a> {
    None,
    Mark,
    OtherChain,
    /// A valid header without its whole body.
    Cut {
        bytes: &'a [u8],
    },
    Whole {
        header: GroupHeader,
        body: &'a [u8],
    },
}
