//! The log store: what was acknowledged is there after every kind of stop.

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

/// Appends one entry of so many bytes and says which thread made it durable.
async fn written_by(log: &Log, bytes: usize) -> String {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let done: Done = Box::new(move |result| {
        result.expect("appends");
        drop(sender.send(std::thread::current().name().unwrap_or_default().to_owned()));
    });
    log.append(vec![(log.state().entries.end, Bytes::from(vec![7; bytes]))], done);
    receiver.await.expect("every call is answered")
}

/// The thread that writes what could hold a task up.
const THREAD: &str = "log";

#[tokio::test]
async fn what_is_small_is_written_on_the_spot_and_what_is_large_by_the_thread() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let (log, inline, _) = Log::open_inline(Arc::clone(&disk), OPTIONS).expect("opens");
    let inline = tokio::spawn(inline.run());
    assert_ne!(written_by(&log, 100).await, THREAD);
    assert_eq!(written_by(&log, 5000).await, THREAD);
    for _ in 0..200 {
        // Several segments, by turns.
        written_by(&log, 1000).await;
    }
    inline.abort();
    assert!(inline.await.is_err());
    assert_eq!(written_by(&log, 100).await, THREAD, "nobody else is there");
    let state = log.state();
    drop(log);
    assert_eq!(open(disk).state(), state);
}

#[tokio::test]
async fn after_a_stall_of_the_disk_the_thread_writes() {
    let disk = SimDisk::new();
    let (log, inline, _) = Log::open_inline(Arc::new(disk.clone()), OPTIONS).expect("opens");
    tokio::spawn(inline.run());
    disk.slow_syncs(Duration::from_millis(500));
    assert_ne!(written_by(&log, 100).await, THREAD, "it can not be foreseen");
    disk.slow_syncs(Duration::ZERO);
    for _ in 0..50 {
        assert_eq!(written_by(&log, 100).await, THREAD, "it may stall again");
    }
}

#[tokio::test]
async fn what_was_asked_for_before_the_task_ended_is_written_by_the_thread() {
    let (log, inline, _) = Log::open_inline(Arc::new(SimDisk::new()), OPTIONS).expect("opens");
    let waiting = written_by(&log, 100);
    let mut waiting = std::pin::pin!(waiting);
    // The call is made; nothing runs what writes on the spot.
    assert!(futures_util::poll!(&mut waiting).is_pending());
    drop(inline);
    assert_eq!(waiting.await, THREAD);
}
