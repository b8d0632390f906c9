//! Damage: a flipped bit, a cut file, a missing or foreign segment. The log refuses to open, or has every entry; it is never shorter.

use std::sync::{Arc, mpsc};

use batuta_raft::disk::{Disk, SimDisk};
use batuta_raft::log::{Log, LogError, LogOptions, LogState, Torn};
use bytes::Bytes;

const OPTIONS: LogOptions =
    LogOptions { segment_bytes: 64 << 10, segment_bytes_max: 64 << 10, existing: true };

fn open(disk: &SimDisk) -> Result<(Log, Option<Torn>), LogError> {
    Log::open(Arc::new(disk.clone()) as Arc<dyn Disk>, OPTIONS)
}

fn append(log: &Log, index: u64, length: usize) {
    let (sender, receiver) = mpsc::channel();
    let entry = Bytes::from(vec![u8::try_from(index % 251).expect("small"); length]);
    log.append(vec![(index, entry)], Box::new(move |result| sender.send(result).expect("the test waits")));
    receiver.recv().expect("answered").expect("durable");
}

/// A disk with a log of several segments, closed cleanly.
fn disk() -> SimDisk {
    let disk = SimDisk::new();
    let fresh = LogOptions { existing: false, ..OPTIONS };
    let (log, _) = Log::open(Arc::new(disk.clone()) as Arc<dyn Disk>, fresh).expect("opens");
    for index in 0..60 {
        append(&log, index, 2500);
    }
    drop(log);
    assert!(segments(&disk).len() >= 3, "{:?}", segments(&disk));
    disk
}

fn segments(disk: &SimDisk) -> Vec<String> {
    disk.list().expect("lists").into_iter().filter(|name| name.starts_with("log-")).collect()
}

fn copy(disk: &SimDisk) -> SimDisk {
    let copy = SimDisk::new();
    for name in disk.list().expect("lists") {
        copy.put(&name, disk.contents(&name).expect("is there"));
    }
    copy
}

type Contents = (LogState, Vec<(u64, Bytes)>);

fn contents(log: &Log) -> Contents {
    let state = log.state();
    let entries = log.read(state.entries.clone(), usize::MAX).expect("reads");
    (state, entries)
}

/// Returns whether the log was refused. Panics when it opens with other contents than expected.
fn refused_or_whole(disk: &SimDisk, expected: &Contents, what: &str) -> bool {
    match open(disk) {
        Err(LogError::Damaged { .. }) => true,
        Err(other) => panic!("{what}: {other}"),
        Ok((log, _)) => {
            assert!(contents(&log) == *expected, "{what}: the log opened with other contents");
            false
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_is_noticed_or_harmless() {
    let disk = disk();
    let expected = contents(&open(&copy(&disk)).expect("opens").0);
    let mut refused = 0;
    for name in segments(&disk) {
        let bytes = disk.contents(&name).expect("is there");
        // Every byte of the segment's header and first groups, then a sample.
        let places = (0..700).chain((700..bytes.len()).step_by(61));
        for at in places {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            let copy = copy(&disk);
            copy.put(&name, damaged);
            refused += u32::from(refused_or_whole(&copy, &expected, &format!("{name} at {at}")));
        }
    }
    assert!(refused > 1000, "only {refused} flips were noticed");
}

#[test]
fn cut_zeroed_missing_or_foreign_segment_is_noticed() {
    let disk = disk();
    let expected = contents(&open(&copy(&disk)).expect("opens").0);
    let names = segments(&disk);
    for (place, name) in names.iter().enumerate() {
        let bytes = disk.contents(name).expect("is there");
        let last = place + 1 == names.len();
        for length in [0, 100, 511, 600, 3000, bytes.len() / 3] {
            let copy = copy(&disk);
            copy.put(name, bytes[..length].to_vec());
            assert!(refused_or_whole(&copy, &expected, &format!("{name} cut at {length}")));
        }
        // A lost last page cannot be told from one that was never written; an earlier page can.
        for page in 0..last_used(&bytes) / 4096 {
            let mut damaged = bytes.clone();
            damaged[page * 4096..(page + 1) * 4096].fill(0);
            let copy = copy(&disk);
            copy.put(name, damaged);
            refused_or_whole(&copy, &expected, &format!("{name} without page {page}"));
        }
        if !last {
            let copy = copy(&disk);
            copy.remove(name).expect("removes");
            assert!(matches!(open(&copy), Err(LogError::Damaged { .. })), "{name} is missing");
        }
        let copy = copy(&disk);
        copy.put(name, self::disk().contents(name).expect("the same name in another log"));
        let foreign = open(&copy);
        assert!(
            matches!(foreign, Err(LogError::Damaged { .. })) || last && place == 0,
            "{name} is another log's"
        );
    }
    let empty = SimDisk::new();
    assert!(matches!(open(&empty), Err(LogError::Damaged { .. })), "the whole log is missing");
}

/// An incomplete last group is cut off and kept aside; everything before it is there.
#[test]
fn a_torn_tail_is_cut_off_and_kept_aside() {
    let disk = SimDisk::new();
    let fresh = LogOptions { existing: false, ..OPTIONS };
    let (log, _) = Log::open(Arc::new(disk.clone()) as Arc<dyn Disk>, fresh).expect("opens");
    for index in 0..5 {
        append(&log, index, 1000);
    }
    let before = contents(&log);
    let name = segments(&disk).pop().expect("a segment");
    let end = last_used(&disk.contents(&name).expect("is there"));
    append(&log, 5, 3000);
    let whole = disk.contents(&name).expect("is there");
    drop(log);
    // The header and half the body of the sixth group reached the disk; the end mark behind it did not.
    let start = (end / 8) * 8 - 24;
    let torn_at = start + 1500;
    let mut torn = whole;
    torn[torn_at..].fill(0);
    let left = copy(&disk);
    left.put(&name, torn);
    let (log, found) = open(&left).expect("opens");
    let found = found.expect("something was cut off");
    assert_eq!(contents(&log), before);
    let kept = left.contents(&found.kept_as).expect("kept aside");
    assert!(found.bytes > 3000 && kept.len() as u64 == found.bytes, "{found:?}");
    append(&log, 5, 10);
    drop(log);
    let (log, found) = open(&left).expect("opens again");
    assert_eq!(found, None, "the tail is cut off only once");
    assert_eq!(log.state().entries, 0..6);
}

/// The length of the used part of a segment: up to its last byte that is not zero.
fn last_used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).expect("not empty") + 1
}
