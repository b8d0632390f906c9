//! Measures what the disk alone can do, which bounds everything durable.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::drive::{Timing, drive, number};
use crate::error::{Error, Result};
use crate::figures::Figures;
use crate::histogram::Histogram;
use crate::meter::Meter;
use crate::replicated;

/// Bytes of one record of the group commit loop.
const RECORD_BYTES: usize = 256;
/// Bytes of one write of the bare loop: one page.
const PAGE_BYTES: usize = 4096;
/// Size of the files, zeroed beforehand: as with Batuta's segments, a sync then has no file size to write.
const FILE_BYTES: u64 = 64 << 20;
/// Numbers of clients of the group commit loop.
const CLIENTS: [usize; 5] = [1, 16, 64, 256, 1024];

/// One writer, or several at once, that repeatedly write a page and sync it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Syncs {
    /// Concurrent writers, each with its own file.
    pub(crate) writers: usize,
    /// Writes with their syncs, of all writers together.
    #[serde(flatten)]
    pub(crate) rate: Rate,
}

/// The rate and duration of an operation.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Rate {
    /// Operations a second.
    pub(crate) per_s: f64,
    /// Median duration.
    pub(crate) p50_ms: f64,
    /// 99th percentile of the duration.
    pub(crate) p99_ms: f64,
}

impl Rate {
    /// The rate of everything that was timed.
    pub(crate) fn of(latency: &Histogram, elapsed: Duration) -> Self {
        Self {
            per_s: number(latency.count()) / elapsed.as_secs_f64(),
            p50_ms: latency.percentile_ms(0.5),
            p99_ms: latency.percentile_ms(0.99),
        }
    }
}

/// A zeroed file that is written and synced a page at a time, over and over.
pub(crate) struct Pages<'a> {
    file: &'a File,
    position: u64,
}

impl<'a> Pages<'a> {
    /// Starts at the beginning of the file.
    pub(crate) fn of(file: &'a File) -> Self {
        Self { file, position: 0 }
    }

    /// Writes and syncs the next page.
    pub(crate) fn sync_one(&mut self) -> std::io::Result<()> {
        self.file.write_all_at(&[1; PAGE_BYTES], self.position)?;
        self.position = (self.position + PAGE_BYTES as u64) % FILE_BYTES;
        self.file.sync_data()
    }
}

/// The limits that were measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Limit {
    /// `fdatasync` alone: on one file, and on three at once, as with three nodes on one disk.
    pub(crate) syncs: Vec<Syncs>,
    /// The figures for each number of clients of one file with group commit: everything that waits is written
    /// at once and synced once.
    pub(crate) group_commit: Vec<(usize, Figures)>,
    /// Replicated writes one after the other, with nothing around them.
    pub(crate) replicated: Rate,
}

/// Measures each limit for about the time in `timing`.
///
/// # Errors
/// When the files cannot be written.
pub(crate) async fn measure(data: &Path, timing: Timing) -> Result<Limit> {
    let mut syncs = Vec::new();
    for writers in [1, 3] {
        let (data, time) = (data.to_owned(), timing.measure);
        let measured = tokio::task::spawn_blocking(move || bare(&data, writers, time));
        syncs.push(measured.await.map_err(|error| Error::other(format!("a writer broke: {error}")))??);
    }
    let mut group_commit = Vec::new();
    for clients in CLIENTS {
        group_commit.push((clients, grouped(data, clients, timing).await?));
    }
    let (data, time) = (data.to_owned(), timing.measure);
    let measured = tokio::task::spawn_blocking(move || replicated::measure(&data, time));
    let replicated = measured.await.map_err(|error| Error::other(format!("a server broke: {error}")))??;
    Ok(Limit { syncs, group_commit, replicated })
}

/// Creates a file of zeros that is on the disk.
pub(crate) fn zeroed(data: &Path) -> Result<File> {
    let mut file = tempfile::tempfile_in(data).map_err(Error::file(data))?;
    let zeros = vec![0_u8; 1 << 20];
    for _ in 0..FILE_BYTES >> 20 {
        file.write_all(&zeros).map_err(Error::file(data))?;
    }
    file.sync_all().map_err(Error::file(data))?;
    Ok(file)
}

fn bare(data: &Path, writers: usize, time: Duration) -> Result<Syncs> {
    let files = (0..writers).map(|_| zeroed(data)).collect::<Result<Vec<_>>>()?;
    let latency = Histogram::default();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            files.iter().map(|file| scope.spawn(|| sync_loop(file, time, &latency))).collect();
        for thread in threads {
            thread.join().map_err(|_| Error::other("a writer broke"))?.map_err(Error::file(data))?;
        }
        Ok::<(), Error>(())
    })?;
    Ok(Syncs { writers, rate: Rate::of(&latency, begun.elapsed()) })
}

fn sync_loop(file: &File, time: Duration, latency: &Histogram) -> std::io::Result<()> {
    let mut pages = Pages::of(file);
    let end = Instant::now() + time;
    loop {
        let begun = Instant::now();
        pages.sync_one()?;
        latency.record(begun.elapsed());
        if Instant::now() >= end {
            return Ok(());
        }
    }
}

/// Receives the answer when the record is on the disk.
type Record = oneshot::Sender<std::io::Result<()>>;

async fn grouped(data: &Path, clients: usize, timing: Timing) -> Result<Figures> {
    let file = zeroed(data)?;
    let (records, waiting) = mpsc::channel::<Record>(clients);
    let writer = std::thread::spawn(move || write_groups(&file, waiting));
    let operations = (0..clients).map(|_| {
        let records = records.clone();
        move || {
            let records = records.clone();
            async move {
                let ended = || Error::other("the writer has ended");
                let (tell, done) = oneshot::channel();
                records.send(tell).await.map_err(|_| ended())?;
                done.await.map_err(|_| ended())?.map_err(Error::io("append"))
            }
        }
    });
    let figures = drive(Arc::default(), &Meter::default(), timing, operations.collect()).await?;
    drop(records);
    writer.join().map_err(|_| Error::other("the writer broke"))?;
    Ok(figures)
}

/// Writes everything that waits as one piece, syncs it and answers all; until no sender is left.
fn write_groups(file: &File, mut waiting: mpsc::Receiver<Record>) {
    let mut position = 0;
    let mut group = Vec::new();
    while waiting.blocking_recv_many(&mut group, usize::MAX) > 0 {
        let bytes = vec![1_u8; group.len() * RECORD_BYTES];
        if position + bytes.len() as u64 > FILE_BYTES {
            position = 0;
        }
        let done = file.write_all_at(&bytes, position).and_then(|()| file.sync_data());
        position += bytes.len() as u64;
        for record in group.drain(..) {
            let answer = match &done {
                Ok(()) => Ok(()),
                Err(error) => Err(error.kind().into()),
            };
            // A client that is gone has no receiver.
            drop(record.send(answer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_writer_syncs() {
        let data = tempfile::tempdir().unwrap();
        let Rate { per_s, p50_ms, p99_ms } = bare(data.path(), 2, Duration::from_millis(20)).unwrap().rate;
        assert!(per_s > 0.0 && p99_ms >= p50_ms && p50_ms > 0.0);
    }

    #[tokio::test]
    async fn record_is_answered_once_it_is_durable() {
        let file = tempfile::tempfile().unwrap();
        let reader = file.try_clone().unwrap();
        let (records, waiting) = mpsc::channel::<Record>(8);
        let writer = std::thread::spawn(move || write_groups(&file, waiting));
        for sent in 1..=20 {
            let (tell, done) = oneshot::channel();
            records.send(tell).await.unwrap();
            done.await.unwrap().unwrap();
            assert_eq!(reader.metadata().unwrap().len(), sent * RECORD_BYTES as u64);
        }
        drop(records);
        writer.join().unwrap();
    }
}
