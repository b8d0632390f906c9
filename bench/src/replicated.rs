//! Measures replicated writes, one after the other, with nothing around them: three threads with blocking
//! sockets, each with a write and a sync. No protocol, no consensus, no state: this is what a cluster can
//! approach with one client, and in a hand-over of one lock.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::histogram::Histogram;
use crate::limit::{Pages, Rate, zeroed};

/// Bytes of a write sent to a follower.
const WRITE_BYTES: usize = 300;
/// Bytes of an answer.
const ANSWER_BYTES: usize = 32;
const FOLLOWERS: usize = 2;

/// Runs one client that waits for each of its writes, for about `time`.
///
/// # Errors
/// When a file or a socket cannot be used.
pub(crate) fn measure(data: &Path, time: Duration) -> Result<Rate> {
    let files = (0..=FOLLOWERS).map(|_| zeroed(data)).collect::<Result<Vec<_>>>()?;
    let latency = Histogram::default();
    let elapsed = std::thread::scope(|scope| {
        let (own, others) = files.split_first().ok_or_else(|| Error::other("no file"))?;
        let (acknowledged, acknowledgements) = mpsc::channel();
        let mut followers = Vec::new();
        for file in others {
            let (to, at) = connected()?;
            scope.spawn(move || follow(at, file));
            let from = to.try_clone().map_err(Error::io("a socket"))?;
            let acknowledged = acknowledged.clone();
            scope.spawn(move || count_answers(from, &acknowledged));
            followers.push(to);
        }
        let (client, at) = connected()?;
        scope.spawn(move || lead(at, own, followers, &acknowledgements));
        ask(client, time, &latency).map_err(Error::io("a write"))
    })?;
    Ok(Rate::of(&latency, elapsed))
}

/// The two ends of a connection over loopback.
fn connected() -> Result<(TcpStream, TcpStream)> {
    let connect = || {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let one = TcpStream::connect(listener.local_addr()?)?;
        let (other, _) = listener.accept()?;
        one.set_nodelay(true)?;
        other.set_nodelay(true)?;
        Ok((one, other))
    };
    connect().map_err(Error::io("a connection over loopback"))
}

/// Syncs and answers every write until the other end is closed. An error closes this end, which the leader
/// notices.
fn follow(mut leader: TcpStream, file: &File) {
    let mut pages = Pages::of(file);
    let mut write = [0; WRITE_BYTES];
    while leader.read_exact(&mut write).is_ok()
        && pages.sync_one().is_ok()
        && leader.write_all(&[0; ANSWER_BYTES]).is_ok()
    {}
}

/// Reports how many writes a follower has answered so far, after each answer.
fn count_answers(mut follower: TcpStream, acknowledged: &mpsc::Sender<u64>) {
    let mut answer = [0; ANSWER_BYTES];
    let mut count = 0;
    while follower.read_exact(&mut answer).is_ok() {
        count += 1;
        if acknowledged.send(count).is_err() {
            return;
        }
    }
}

/// Forwards each write, syncs it, and answers when one follower has it too. Ends with its client, and ends
/// its followers.
fn lead(mut client: TcpStream, file: &File, followers: Vec<TcpStream>, acknowledged: &mpsc::Receiver<u64>) {
    let mut pages = Pages::of(file);
    let mut write = [0; WRITE_BYTES];
    let mut writes = 0;
    'serve: while client.read_exact(&mut write).is_ok() {
        writes += 1;
        let sent = followers.iter().all(|mut follower| follower.write_all(&write).is_ok());
        if !sent || pages.sync_one().is_err() {
            break;
        }
        loop {
            match acknowledged.recv() {
                Ok(count) if count >= writes => break,
                Ok(_) => {}
                Err(_) => break 'serve,
            }
        }
        if client.write_all(&[0; ANSWER_BYTES]).is_err() {
            break;
        }
    }
    for follower in followers {
        // The follower's threads end with the connection; a follower that is gone has already ended.
        let _ = follower.shutdown(std::net::Shutdown::Both);
    }
}

fn ask(mut leader: TcpStream, time: Duration, latency: &Histogram) -> std::io::Result<Duration> {
    let mut answer = [0; ANSWER_BYTES];
    let begun = Instant::now();
    while begun.elapsed() < time {
        let sent = Instant::now();
        leader.write_all(&[1; WRITE_BYTES])?;
        leader.read_exact(&mut answer)?;
        latency.record(sent.elapsed());
    }
    Ok(begun.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_write_is_answered_and_everything_ends() {
        let data = tempfile::tempdir().unwrap();
        let found = measure(data.path(), Duration::from_millis(50)).unwrap();
        assert!(found.per_s > 0.0 && found.p50_ms > 0.0 && found.p99_ms >= found.p50_ms);
    }
}
