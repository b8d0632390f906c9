//! Builds a segment with right checksums around records made of arbitrary bytes.

use crc32c::crc32c;

use super::format::{GROUP_HEADER_BYTES, GroupHeader, GroupKind, SEGMENT_HEADER_BYTES, SegmentHeader};

const SEGMENT_BYTES: usize = 4096;

/// A first segment whose base group has the records that `bytes` describe, each as kind, length and payload.
pub(crate) fn segment(bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut rest = bytes;
    while let [kind, length, tail @ ..] = rest {
        let (payload, after) = tail.split_at(usize::from(*length).min(tail.len()));
        let mut content = vec![*kind];
        content.extend_from_slice(payload);
        body.extend_from_slice(&u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes());
        body.extend_from_slice(&crc32c(&content).to_le_bytes());
        body.extend_from_slice(&content);
        rest = after;
    }
    body.truncate(SEGMENT_BYTES - SEGMENT_HEADER_BYTES - 2 * GROUP_HEADER_BYTES - 8);
    let header =
        SegmentHeader { sequence: 1, salt: 7, previous_end: 0, previous_crc: 0, bytes: SEGMENT_BYTES as u64 };
    let offset = SEGMENT_HEADER_BYTES as u64;
    let (group, _) = GroupHeader::encode(GroupKind::Base, &body, 0, header.seed(), offset);
    let mut segment = header.encode();
    segment.extend_from_slice(&group);
    segment.extend_from_slice(&body);
    segment.resize(SEGMENT_BYTES, 0);
    segment
}
