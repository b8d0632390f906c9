//! Entry points for the fuzzer: every decoder of bytes that come from the disk or from a peer. Compiled for
//! `cfg(fuzzing)` and tests only.
//!
//! Each function accepts any bytes and must return: no panic, and no memory out of proportion. Where
//! checksums would reject nearly all inputs, a second function wraps the bytes in right checksums.

use std::sync::Arc;

use batuta_proto::internal as wire;
use batuta_statemachine::{LEVEL, State};
use crc32c::crc32c_append;
use prost::Message;

use crate::codec::{self, consensus, decode_entry, encode_entry};
use crate::disk::SimDisk;
use crate::log::{Log, LogOptions};
use crate::snapshot::SnapshotStore;

/// Opens a log whose only segment has these bytes.
pub fn log_segment(bytes: &[u8]) {
    let disk = SimDisk::new();
    disk.put("log-0000000000000001", bytes.to_vec());
    let options = LogOptions { segment_bytes: 4096, segment_bytes_max: 4096, existing: true };
    if let Ok((log, _)) = Log::open(Arc::new(disk), options) {
        let state = log.state();
        // Everything recovered must be readable, or the damage reported.
        let _ = log.read(state.entries, 1 << 20);
    }
}

/// Opens a log whose first group has records made of these bytes (each as kind, length and payload), with
/// right checksums.
pub fn log_group(bytes: &[u8]) {
    log_segment(&crate::log::fuzzing::segment(bytes));
}

/// Reads a snapshot file with these bytes.
///
/// # Panics
/// When an invalid state was accepted, which is a defect.
pub fn snapshot(bytes: &[u8]) {
    let disk = SimDisk::new();
    disk.put("snapshot-0000000000000001-0000000000000001", bytes.to_vec());
    let store = SnapshotStore::open(Arc::new(disk)).expect("a simulated disk lists its files");
    let newest = store.newest().expect("readable").expect("just written");
    let _ = newest.meta();
    if let Ok((_, _, state)) = newest.load(LEVEL) {
        state.validate().expect("a state that was accepted is a valid one");
    }
}

/// Reads a snapshot whose frames are made of these bytes (each as kind, two bytes of length and payload),
/// with right checksums.
///
/// # Panics
/// As [`snapshot`].
pub fn snapshot_frames(bytes: &[u8]) {
    let mut file = b"BATUTSNP\x01\0\0\0".to_vec();
    let mut crc = 0;
    let mut rest = bytes;
    while let [kind, low, high, tail @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
        let (payload, after) = tail.split_at(length);
        let head = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        crc = crc32c_append(crc32c_append(crc32c_append(crc, &head), &[*kind]), payload);
        file.extend_from_slice(&head);
        file.extend_from_slice(&crc.to_le_bytes());
        file.push(*kind);
        file.extend_from_slice(payload);
        rest = after;
    }
    snapshot(&file);
}

/// Decodes entries, each preceded by two bytes of length, and applies every decodable entry to one state.
///
/// # Panics
/// When the state becomes invalid, or differs after a round trip through its image, which is a defect.
pub fn entries(bytes: &[u8]) {
    let mut state = State::default();
    let mut rest = bytes;
    for revision in 1.. {
        let [low, high, tail @ ..] = rest else { break };
        let (entry, after) = tail.split_at(usize::from(u16::from_le_bytes([*low, *high])).min(tail.len()));
        rest = after;
        let Ok(entry) = decode_entry(entry) else { continue };
        assert_eq!(decode_entry(&encode_entry(&entry)).expect("our own bytes"), entry);
        let applied = state.apply(revision, &entry);
        assert_eq!(applied.outcomes.len(), entry.requests.len());
    }
    state.validate().expect("any entries leave a valid state");
    let records: Vec<_> = state.image_records().collect();
    let restored = State::from_image(state.image_header(), records, State::validate).expect("our own image");
    assert_eq!(restored.hash(), state.hash(), "an image loses nothing");
}

/// Decodes the messages of peers.
pub fn peer_messages(bytes: &[u8]) {
    if let Ok(message) = wire::StoredEntry::decode(bytes) {
        let _ = consensus::entry(message, LEVEL);
    }
    if let Ok(message) = wire::SnapshotHeader::decode(bytes) {
        let _ = consensus::snapshot_header(message);
    }
    if let Ok(message) = wire::ForwardRequests::decode(bytes) {
        for request in message.requests {
            if let Some(wire::forward_request::Call::Propose(proposal)) = request.call {
                for bytes in proposal.requests {
                    let _ = wire::Request::decode(bytes).map(codec::request_from_wire);
                }
            }
        }
    }
    if let Ok(message) = wire::Outcome::decode(bytes) {
        let _ = codec::outcome(message);
    }
    if let Ok(message) = wire::ImageRecord::decode(bytes) {
        let _ = codec::image_record(message);
    }
}

#[cfg(test)]
mod tests {
    use batuta_statemachine::lock::{Acquire, By, Extend, LockRequest, Mode, Owner, Release, SetMetadata};
    use batuta_statemachine::session::OpenSession;
    use batuta_statemachine::{
        Command, DedupKey, Entry, LockId, Name, Namespace, Position, SessionId, Stamp,
    };
    use proptest::prelude::*;

    use super::*;

    fn at(index: u64) -> Position {
        Position { index, ordinal: 0 }
    }

    fn acquire(name: &str, mode: Mode, session: Option<u64>, wait_ms: u64) -> Command {
        Command::from(Acquire {
            namespace: Namespace::default(),
            requests: vec![LockRequest { name: Name::new(name).expect("valid"), mode }],
            owner: Owner { session: session.map(|index| SessionId(at(index))), label: "o".to_owned() },
            ttl_ms: session.is_none().then_some(60_000),
            wait_ms,
            lock_delay_ms: 1_000,
            reentrant: session.is_some(),
            metadata: "m".to_owned(),
            call: None,
        })
    }

    /// A short history of a cluster, in the format that [`entries`] reads.
    fn life() -> Vec<u8> {
        let namespace = Namespace::default();
        let commands = [
            Command::from(OpenSession {
                namespace: namespace.clone(),
                ttl_ms: 10_000,
                metadata: String::new(),
            }),
            acquire("a", Mode::Exclusive, Some(1), 0),
            acquire("a", Mode::Exclusive, None, 50_000),
            acquire("s", Mode::Semaphore { permits: 2, capacity: 3 }, None, 0),
            acquire("r", Mode::Shared, Some(1), 0),
            Command::from(Extend {
                namespace: namespace.clone(),
                name: None,
                lock_id: LockId(at(4)),
                ttl_ms: 70_000,
            }),
            Command::from(Release {
                namespace: namespace.clone(),
                grant: By::Id { lock_id: LockId(at(2)), name: None }.into(),
            }),
            acquire("e", Mode::Election, None, 0),
            acquire("e", Mode::Election, None, 50_000),
            Command::from(SetMetadata {
                namespace: namespace.clone(),
                grant: By::Leader { name: Name::new("e").expect("valid"), token: 5 }.into(),
                metadata: "proclaimed".to_owned(),
            }),
        ];
        let mut bytes = Vec::new();
        for (number, command) in (0_u64..).zip(commands) {
            let key = DedupKey::Idempotency { namespace: namespace.clone(), key: format!("k{number}") };
            let stamp = Stamp { now_ms: number * 1_000, wall_ms: number };
            let requests = vec![codec::request(Some(key), command)];
            let entry = encode_entry(&Entry { stamp, requests });
            bytes.extend_from_slice(&u16::try_from(entry.len()).expect("small").to_le_bytes());
            bytes.extend_from_slice(&entry);
        }
        bytes
    }

    /// The bytes with some changed, some inserted, and possibly the end cut off.
    fn mutated(bytes: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
        let edit = (any::<prop::sample::Index>(), any::<u8>(), any::<bool>());
        (prop::collection::vec(edit, 0..8), any::<prop::sample::Index>()).prop_map(move |(edits, end)| {
            let mut bytes = bytes.clone();
            for (place, byte, insert) in edits {
                let place = place.index(bytes.len());
                if insert { bytes.insert(place, byte) } else { bytes[place] = byte }
            }
            if end.index(4) == 0 {
                bytes.truncate(end.index(bytes.len()));
            }
            bytes
        })
    }

    #[test]
    fn the_life_is_lived() {
        let life = life();
        entries(&life);
        let mut state = State::default();
        let mut rest = &life[..];
        for revision in 1..=10 {
            let length = usize::from(u16::from_le_bytes([rest[0], rest[1]]));
            let entry = decode_entry(&rest[2..2 + length]).expect("our own bytes");
            for outcome in state.apply(revision, &entry).outcomes {
                outcome.unwrap_or_else(|rejection| panic!("{revision}: {rejection:?}"));
            }
            rest = &rest[2 + length..];
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            log_segment(&bytes);
            log_group(&bytes);
            snapshot(&bytes);
            snapshot_frames(&bytes);
            entries(&bytes);
            peer_messages(&bytes);
        }

        #[test]
        fn nearly_right_entries_are_taken(bytes in mutated(life())) {
            entries(&bytes);
            peer_messages(&bytes);
        }

        #[test]
        fn nearly_right_records_are_taken(
            records in prop::collection::vec((0_u8..8, prop::collection::vec(prop_oneof![Just(0_u8), Just(255), any::<u8>()], 0..20)), 0..12)
        ) {
            let bytes: Vec<u8> = records
                .iter()
                .flat_map(|(kind, payload)| {
                    [*kind, u8::try_from(payload.len()).expect("short")].into_iter().chain(payload.iter().copied())
                })
                .collect();
            log_group(&bytes);
        }
    }
}
