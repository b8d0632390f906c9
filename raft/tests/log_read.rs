//! Reads the entries of a log that another owner has open.

use std::sync::{Arc, mpsc};

use batuta_raft::disk::{Disk, SimDisk};
use batuta_raft::log::{Log, LogOptions, read_entries};
use bytes::Bytes;

const OPTIONS: LogOptions =
    LogOptions { segment_bytes: 64 << 10, segment_bytes_max: 64 << 10, existing: false };

#[test]
fn reading_an_open_log_changes_nothing() {
    let disk = SimDisk::new();
    assert_eq!(read_entries(&disk).expect("nothing is there"), []);
    let (log, _) = Log::open(Arc::new(disk.clone()) as Arc<dyn Disk>, OPTIONS).expect("opens");
    let wait = |what: &dyn Fn(batuta_raft::log::Done)| {
        let (sender, receiver) = mpsc::channel();
        what(Box::new(move |result| sender.send(result).expect("the test waits")));
        receiver.recv().expect("answered").expect("durable");
    };
    for index in 1..=60_u64 {
        let payload = Bytes::from(vec![7; 2500]);
        wait(&|done| log.append(vec![(index, payload.clone())], done));
    }
    wait(&|done| log.truncate(58, done));
    wait(&|done| log.append(vec![(58, Bytes::from_static(b"another"))], done));
    wait(&|done| log.purge(20, Bytes::from_static(b"p"), done));
    let found = read_entries(&disk).expect("reads");
    assert_eq!(found, log.read(0..u64::MAX, usize::MAX).expect("reads"));
    assert_eq!((found.first().map(|one| one.0), found.last().map(|one| one.0)), (Some(21), Some(58)));
    // The log's thread may write a mark until the log is closed.
    drop(log);
    let contents = || -> Vec<_> {
        disk.list().expect("lists").into_iter().map(|name| (disk.contents(&name), name)).collect()
    };
    let before = contents();
    assert_eq!(read_entries(&disk).expect("reads"), found);
    assert!(before == contents(), "reading changed the files");
}
