//! The bytes on disk: segment headers, groups, records.
//!
//! ```text
//! segment = header (512 bytes, CRC) · base group · group · group · … · [mark] · whatever was there before
//! group   = header (32 bytes, own CRC, CRC of the body, CRC of the group before) · records · padding to 8 bytes
//! record  = length u32 · CRC u32 · kind u8 · payload
//! ```
//! A group header's CRC starts from the segment's salt and sequence and covers the header's own offset, so
//! bytes of another segment or another offset never pass for a group. All integers are little-endian.

use crc32c::{crc32c, crc32c_append};

pub(super) const SEGMENT_HEADER_BYTES: usize = 512;
pub(super) const GROUP_HEADER_BYTES: usize = 32;
pub(super) const RECORD_HEADER_BYTES: usize = 9;
pub(super) const FORMAT_VERSION: u32 = 1;
/// A group takes no further records beyond this size.
pub(super) const GROUP_BYTES_MAX: usize = 8 << 20;
const SEGMENT_MAGIC: &[u8; 8] = b"BATUTLOG";
const GROUP_MAGIC: u32 = 0x5052_4742;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) sequence: u64,
    pub(super) salt: u64,
    /// The end of the previous segment and the CRC of its last group, so that a shortened segment is noticed.
    pub(super) previous_end: u64,
    pub(super) previous_crc: u32,
    /// The file's size, so that a truncated file is noticed.
    pub(super) bytes: u64,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        bytes.extend_from_slice(SEGMENT_MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.sequence.to_le_bytes());
        bytes.extend_from_slice(&self.salt.to_le_bytes());
        bytes.extend_from_slice(&self.previous_end.to_le_bytes());
        bytes.extend_from_slice(&self.previous_crc.to_le_bytes());
        bytes.extend_from_slice(&self.bytes.to_le_bytes());
        bytes.resize(SEGMENT_HEADER_BYTES - 4, 0);
        let crc = crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Decodes the header; the error says what is wrong with it.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.len() < SEGMENT_HEADER_BYTES {
            return Err("the file is too short for a segment header");
        }
        if &bytes[..8] != SEGMENT_MAGIC {
            return Err("not a log segment");
        }
        let body = &bytes[..SEGMENT_HEADER_BYTES - 4];
        if crc32c(body) != u32_at(bytes, SEGMENT_HEADER_BYTES - 4) {
            return Err("the segment header's checksum is wrong");
        }
        if u32_at(bytes, 8) != FORMAT_VERSION {
            return Err("the segment has a format version this program does not know");
        }
        Ok(Self {
            sequence: u64_at(bytes, 12),
            salt: u64_at(bytes, 20),
            previous_end: u64_at(bytes, 28),
            previous_crc: u32_at(bytes, 36),
            bytes: u64_at(bytes, 40),
        })
    }

    /// The start value of every group CRC of this segment.
    pub(super) fn seed(&self) -> u32 {
        crc32c_append(crc32c(&self.salt.to_le_bytes()), &self.sequence.to_le_bytes())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GroupKind {
    /// State that a new segment repeats from the previous ones.
    Base,
    /// New records.
    Data,
    /// Everything before the mark is synced. The next group overwrites the mark.
    Mark,
}

impl GroupKind {
    fn code(self) -> u32 {
        match self {
            Self::Base => 1,
            Self::Data => 2,
            Self::Mark => 3,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupHeader {
    pub(super) kind: GroupKind,
    pub(super) body_bytes: u32,
    pub(super) body_crc: u32,
    pub(super) previous_crc: u32,
    pub(super) crc: u32,
}

impl GroupHeader {
    /// Encodes the header; also returns its CRC, which the next group names.
    pub(super) fn encode(
        kind: GroupKind,
        body: &[u8],
        previous_crc: u32,
        seed: u32,
        offset: u64,
    ) -> ([u8; GROUP_HEADER_BYTES], u32) {
        // A group holds at most `GROUP_BYTES_MAX` and one entry, both far below 2^32.
        let body_bytes = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let mut bytes = [0; GROUP_HEADER_BYTES];
        let words = [GROUP_MAGIC, kind.code(), body_bytes, crc32c(body), previous_crc];
        for (i, word) in words.iter().enumerate() {
            bytes[i * 4..i * 4 + 4].copy_from_slice(&word.to_le_bytes());
        }
        let crc = header_crc(&bytes[..28], seed, offset);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        (bytes, crc)
    }

    pub(super) fn decode(bytes: &[u8], seed: u32, offset: u64) -> Option<Self> {
        let bytes = bytes.get(..GROUP_HEADER_BYTES)?;
        if u32_at(bytes, 0) != GROUP_MAGIC {
            return None;
        }
        let crc = u32_at(bytes, 28);
        if crc != header_crc(&bytes[..28], seed, offset) {
            return None;
        }
        let kind = match u32_at(bytes, 4) {
            1 => GroupKind::Base,
            2 => GroupKind::Data,
            3 => GroupKind::Mark,
            _ => return None,
        };
        Some(Self {
            kind,
            body_bytes: u32_at(bytes, 8),
            body_crc: u32_at(bytes, 12),
            previous_crc: u32_at(bytes, 16),
            crc,
        })
    }
}

fn header_crc(fields: &[u8], seed: u32, offset: u64) -> u32 {
    crc32c_append(crc32c_append(seed, fields), &offset.to_le_bytes())
}

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record<'a> {
    Entry {
        index: u64,
        payload: &'a [u8],
    },
    Vote(&'a [u8]),
    /// The position up to which the log was known to be committed.
    Committed(&'a [u8]),
    /// Entries from this index on are removed.
    Truncate {
        from: u64,
    },
    /// Entries up to and including this index are removed; `id` is the caller's name for that position.
    Purge {
        index: u64,
        id: &'a [u8],
    },
    /// At the head of a segment: the live entries of the previous segments, `first..next`.
    Range {
        first: u64,
        next: u64,
    },
}

impl<'a> Record<'a> {
    /// Appends the record to `bytes`.
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        bytes.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
        let kind = match self {
            Self::Entry { index, payload } => {
                bytes.extend_from_slice(&index.to_le_bytes());
                bytes.extend_from_slice(payload);
                1
            }
            Self::Vote(vote) => {
                bytes.extend_from_slice(vote);
                2
            }
            Self::Committed(id) => {
                bytes.extend_from_slice(id);
                3
            }
            Self::Truncate { from } => {
                bytes.extend_from_slice(&from.to_le_bytes());
                4
            }
            Self::Purge { index, id } => {
                bytes.extend_from_slice(&index.to_le_bytes());
                bytes.extend_from_slice(id);
                5
            }
            Self::Range { first, next } => {
                bytes.extend_from_slice(&first.to_le_bytes());
                bytes.extend_from_slice(&next.to_le_bytes());
                6
            }
        };
        bytes[start + 8] = kind;
        // A record holds at most one entry, far below 2^32 bytes.
        let length = u32::try_from(bytes.len() - start - 8).unwrap_or(u32::MAX);
        let crc = crc32c(&bytes[start + 8..]);
        bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
        bytes[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    }

    /// Decodes the record at the head of `bytes`; also returns its length.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<(Self, usize)> {
        if bytes.len() < RECORD_HEADER_BYTES {
            return None;
        }
        let end = usize::try_from(u32_at(bytes, 0)).ok()?.checked_add(8)?;
        let content = bytes.get(8..end)?;
        if crc32c(content) != u32_at(bytes, 4) {
            return None;
        }
        let (kind, payload) = content.split_first()?;
        let record = match kind {
            1 if payload.len() >= 8 => Self::Entry { index: u64_at(payload, 0), payload: &payload[8..] },
            2 => Self::Vote(payload),
            3 => Self::Committed(payload),
            4 if payload.len() == 8 => Self::Truncate { from: u64_at(payload, 0) },
            5 if payload.len() >= 8 => Self::Purge { index: u64_at(payload, 0), id: &payload[8..] },
            6 if payload.len() == 16 => Self::Range { first: u64_at(payload, 0), next: u64_at(payload, 8) },
            _ => return None,
        };
        Some((record, end))
    }
}

/// Rounds up to a multiple of eight bytes, at which groups start.
pub(super) fn aligned(bytes: usize) -> usize {
    bytes.next_multiple_of(8)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
    }

    /// The bytes of format 1, made by another program: they must mean the same for ever.
    #[test]
    fn records_of_format_1_are_written_and_read() {
        for (record, golden) in [
            (Record::Entry { index: 9, payload: b"entry" }, "0e000000e3128772010900000000000000656e747279"),
            (Record::Vote(b"vote"), "050000000a5296ab02766f7465"),
            (Record::Committed(b"id"), "03000000bd193c22036964"),
            (Record::Truncate { from: 7 }, "0900000094af739f040700000000000000"),
            (Record::Purge { index: 5, id: b"id" }, "0b0000004907f22b0505000000000000006964"),
            (Record::Range { first: 3, next: 9 }, "11000000d405a4070603000000000000000900000000000000"),
        ] {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            assert_eq!(hex(&bytes), golden, "{record:?}");
            assert_eq!(Record::decode(&bytes), Some((record, bytes.len())));
        }
    }

    #[test]
    fn headers_of_format_1_are_written_and_read() {
        let segment = SegmentHeader { sequence: 2, salt: 3, previous_end: 4, previous_crc: 5, bytes: 6 };
        let bytes = segment.encode();
        assert_eq!(
            hex(&bytes[..48]),
            "42415455544c4f4701000000020000000000000003000000000000000400000000000000050000000600000000000000"
        );
        assert!(bytes[48..508].iter().all(|byte| *byte == 0));
        assert_eq!(hex(&bytes[508..]), "019aecfb");
        assert_eq!(SegmentHeader::decode(&bytes), Ok(segment));

        let mut body = Vec::new();
        Record::Vote(b"vote").encode(&mut body);
        let (bytes, crc) = GroupHeader::encode(GroupKind::Data, &body, 5, segment.seed(), 512);
        assert_eq!(hex(&bytes), "42475250020000000d00000099525c2905000000000000000000000088723227");
        let header = GroupHeader::decode(&bytes, segment.seed(), 512).expect("our own bytes");
        assert_eq!((header.kind, header.previous_crc, header.crc), (GroupKind::Data, 5, crc));
        let codes = [GroupKind::Base, GroupKind::Data, GroupKind::Mark].map(GroupKind::code);
        assert_eq!(codes, [1, 2, 3]);
    }
}
