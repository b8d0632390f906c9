//! The log store: acknowledged entries survive every kind of stop.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use batuta_raft::disk::{Disk, RealDisk, SimDisk};
use batuta_raft::log::{Done, Log, LogOptions};
use bytes::Bytes;

const OPTIONS: LogOptions =
    LogOptions { segment_bytes: 64 << 10, segment_bytes_max: 256 << 10, existing: false };

fn open(disk: Arc<dyn Disk>) -> Log {
    Log::open(disk, OPTIONS).expect("opens").0
}

fn wait(call: impl FnOnce(batuta_raft::log::Done)) -> std::io::Result<()> {
    let (sender, receiver) = mpsc::channel();
    call(Box::new(move |result| sender.send(result).expect("the test waits")));
    receiver.recv().expect("every call is answered")
}

fn payload(index: u64) -> Bytes {
    Bytes::from(vec![
        u8::try_from(index % 251).expect("small");
        100 + usize::try_from(index).expect("small") % 900
    ])
}

fn append(log: &Log, range: Range<u64>) {
    wait(|done| log.append(range.map(|index| (index, payload(index))).collect(), done)).expect("appends");
}

fn check(log: &Log, range: Range<u64>) {
    assert_eq!(log.state().entries, range);
    let found = log.read(range.clone(), usize::MAX).expect("reads");
    let expected: Vec<(u64, Bytes)> = range.map(|index| (index, payload(index))).collect();
    assert!(found == expected, "entries differ");
}

#[test]
fn everything_is_there_after_reopening() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(dir.path()).expect("opens"));
    let log = open(Arc::clone(&disk));
    for start in 0..40 {
        append(&log, start * 20..start * 20 + 20);
    }
    wait(|done| log.save_vote(Bytes::from_static(b"vote"), done)).expect("saves");
    wait(|done| log.truncate(790, done)).expect("truncates");
    append(&log, 790..900);
    wait(|done| log.purge(500, Bytes::from_static(b"at 500"), done)).expect("purges");
    log.note_committed(Bytes::from_static(b"at 700"));
    check(&log, 501..900);
    let state = log.state();
    drop(log);
    let log = open(disk);
    assert_eq!(log.state(), state);
    check(&log, 501..900);
}

#[test]
fn a_purge_beyond_the_end_moves_the_start() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let log = open(Arc::clone(&disk));
    append(&log, 0..10);
    wait(|done| log.purge(100, Bytes::from_static(b"at 100"), done)).expect("purges");
    append(&log, 101..110);
    drop(log);
    check(&open(disk), 101..110);
}

/// Appends one entry of this many bytes and returns the name of the thread that made it durable.
async fn written_by(log: &Log, bytes: usize) -> String {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let done: Done = Box::new(move |result| {
        result.expect("appends");
        drop(sender.send(std::thread::current().name().unwrap_or_default().to_owned()));
    });
    log.append(vec![(log.state().entries.end, Bytes::from(vec![7; bytes]))], done);
    receiver.await.expect("every call is answered")
}

/// The name of the log's own thread, which makes the writes that could block the task.
const THREAD: &str = "log";

#[tokio::test]
async fn small_groups_are_written_inline() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let (log, inline, _) = Log::open_inline(Arc::clone(&disk), OPTIONS).expect("opens");
    let inline = tokio::spawn(inline.run());
    assert_ne!(written_by(&log, 100).await, THREAD);
    assert_eq!(written_by(&log, 5000).await, THREAD);
    for _ in 0..200 {
        // Fill several segments, with both writers taking turns.
        written_by(&log, 1000).await;
    }
    inline.abort();
    assert!(inline.await.is_err());
    assert_eq!(written_by(&log, 100).await, THREAD, "there is no other writer");
    let state = log.state();
    drop(log);
    assert_eq!(open(disk).state(), state);
}

#[tokio::test]
async fn thread_writes_after_a_disk_stall() {
    let disk = SimDisk::new();
    let (log, inline, _) = Log::open_inline(Arc::new(disk.clone()), OPTIONS).expect("opens");
    tokio::spawn(inline.run());
    disk.slow_syncs(Duration::from_millis(500));
    assert_ne!(written_by(&log, 100).await, THREAD, "the stall cannot be foreseen");
    disk.slow_syncs(Duration::ZERO);
    for _ in 0..50 {
        assert_eq!(written_by(&log, 100).await, THREAD, "the disk may stall again");
    }
}

#[tokio::test]
async fn thread_writes_calls_the_ended_task_left() {
    let (log, inline, _) = Log::open_inline(Arc::new(SimDisk::new()), OPTIONS).expect("opens");
    let waiting = written_by(&log, 100);
    let mut waiting = std::pin::pin!(waiting);
    // The call is queued, but the inline writer does not run.
    assert!(futures_util::poll!(&mut waiting).is_pending());
    drop(inline);
    assert_eq!(waiting.await, THREAD);
}
