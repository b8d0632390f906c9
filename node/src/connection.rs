//! What a connection may cost this node: how many there are, how long one may be silent or deaf.
//!
//! Guarantees
//! - The fronts together hold at most `connections_max` connections. One more is closed at once, so that its client goes elsewhere,
//!   and the files of the log and the connections of the peers never lack a descriptor.
//! - A connection that has not said within [`FIRST_WORDS_WITHIN`] which protocol it speaks is closed.
//! - A connection whose client is gone without a word (its power, its network) is closed within about [`GONE_WITHIN`], also while it waits for
//!   a lock and nothing is sent: its wait does not outlive it.
//! - A connection whose client does not take what is sent to it for [`DEAF_WITHIN`] is closed.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::sockopt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// How long a client may take to say which protocol it speaks.
const FIRST_WORDS_WITHIN: Duration = Duration::from_secs(10);
/// As many bytes tell HTTP/2 from HTTP/1.1; the shortest request of either has more.
const FIRST_WORDS_BYTES: usize = 24;
/// How long a client may refuse to take what is sent.
const DEAF_WITHIN: Duration = Duration::from_secs(30);
/// A connection on which nothing happens for so long is probed.
const PROBE_AFTER: Duration = Duration::from_secs(15);
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// After so many probes without an answer the connection is gone.
const PROBES: u32 = 3;
/// How long a client may be silent below everything that it says itself: to probes, and to what was sent to it.
const GONE_WITHIN: Duration = Duration::from_secs(30);
/// How long to wait when the system has no connection to give.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Descriptors for everything but clients: the log, snapshots, peers, the runtime.
const RESERVED_DESCRIPTORS: usize = 512;
/// At most so often a full node says that it is full.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// How long a client is waited for.
#[derive(Clone, Copy)]
struct Patience {
    first_words: Duration,
    deaf: Duration,
}

/// The connections of all fronts of this node.
#[derive(Clone)]
pub(crate) struct Connections {
    free: Arc<Semaphore>,
    max: usize,
    patience: Patience,
    said: Arc<Mutex<Option<Instant>>>,
}

impl Connections {
    /// Room for `max` connections, or for as many as the process may have descriptors for.
    pub(crate) fn new(max: usize) -> Self {
        let room = descriptors().saturating_sub(RESERVED_DESCRIPTORS).max(16);
        if room < max {
            tracing::warn!(
                room,
                limits.connections_max = max,
                "the system allows this process fewer files than limits.connections_max needs; raise its limit (ulimit -n)"
            );
        }
        let max = max.min(room);
        let patience = Patience { first_words: FIRST_WORDS_WITHIN, deaf: DEAF_WITHIN };
        Self { free: Arc::new(Semaphore::new(max)), max, patience, said: Arc::default() }
    }

    /// The next connection there is room for.
    pub(crate) async fn accept(&self, listener: &TcpListener) -> Admitted {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    if let Err(error) = prepare(&stream) {
                        tracing::debug!(%error, "a socket option");
                    }
                    match Arc::clone(&self.free).try_acquire_owned() {
                        Ok(place) => return Admitted::new(stream, place, self.patience),
                        Err(_) => self.say_that_it_is_full(peer),
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "no connection could be accepted");
                    sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }

    fn say_that_it_is_full(&self, peer: SocketAddr) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|said| said.elapsed() >= SAY_AGAIN) {
            *said = Some(Instant::now());
            tracing::warn!(%peer, limits.connections_max = self.max, "all connections are taken; new ones are closed");
        }
    }
}

/// How a connection to a client behaves.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    // Answers are small and awaited: waiting to fill a segment only adds latency.
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, PROBES)?;
    // Probes are only sent while nothing that was sent is unacknowledged.
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(stream, u32::try_from(GONE_WITHIN.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}

/// How many descriptors the process may have, after asking for as many as it can get.
fn descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = if limit.current == limit.maximum || setrlimit(Resource::Nofile, wanted).is_ok() {
        limit.maximum
    } else {
        limit.current
    };
    current.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX))
}

/// A connection that has its place among all.
pub(crate) struct Admitted {
    stream: TcpStream,
    /// Until the first words are there.
    first_words: Option<(usize, Pin<Box<Sleep>>)>,
    /// While the client does not take what is sent.
    deaf: Option<Pin<Box<Sleep>>>,
    deaf_within: Duration,
    _place: OwnedSemaphorePermit,
}

impl Admitted {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit, patience: Patience) -> Self {
        let first_words = Some((0, Box::pin(sleep(patience.first_words))));
        Self { stream, first_words, deaf: None, deaf_within: patience.deaf, _place: place }
    }

    /// What became of a try to send: one that has to wait waits no longer than the client may be deaf.
    fn sent<T>(&mut self, context: &mut Context<'_>, sent: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if sent.is_ready() {
            self.deaf = None;
            return sent;
        }
        let within = self.deaf_within;
        let deaf = self.deaf.get_or_insert_with(|| Box::pin(sleep(within)));
        ready!(deaf.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl AsyncRead for Admitted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some((heard, deadline)) = &mut self.first_words else { return read };
        *heard += buffer.filled().len() - before;
        if *heard >= FIRST_WORDS_BYTES {
            self.first_words = None;
        } else if read.is_pending() {
            ready!(deadline.as_mut().poll(context));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client says nothing")));
        }
        read
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.sent(context, sent)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.sent(context, sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn one_connection_too_many_is_closed_and_a_freed_place_is_given_again() {
        let (listener, address) = listener().await;
        let connections = Connections::new(2);
        let mut clients = Vec::new();
        let mut held = Vec::new();
        for _ in 0..2 {
            clients.push(TcpStream::connect(address).await.unwrap());
            held.push(connections.accept(&listener).await);
        }
        let mut refused = TcpStream::connect(address).await.unwrap();
        let accepting = tokio::spawn({
            let connections = connections.clone();
            async move { connections.accept(&listener).await }
        });
        let mut byte = [0];
        assert!(matches!(refused.read(&mut byte).await, Ok(0) | Err(_)), "closed");
        held.pop();
        let mut late = TcpStream::connect(address).await.unwrap();
        let mut admitted = accepting.await.unwrap();
        late.write_all(b"x").await.unwrap();
        assert_eq!(admitted.read(&mut byte).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn silent_machines_are_probed() {
        let (listener, address) = listener().await;
        let _client = TcpStream::connect(address).await.unwrap();
        let stream = Connections::new(2).accept(&listener).await.stream;
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        let probes = (
            sockopt::tcp_keepidle(&stream).unwrap(),
            sockopt::tcp_keepintvl(&stream).unwrap(),
            sockopt::tcp_keepcnt(&stream).unwrap(),
        );
        assert_eq!(probes, (PROBE_AFTER, PROBE_EVERY, PROBES));
        assert_eq!(PROBE_AFTER + PROBES * PROBE_EVERY, GONE_WITHIN);
        #[cfg(target_os = "linux")]
        assert_eq!(u128::from(sockopt::tcp_user_timeout(&stream).unwrap()), GONE_WITHIN.as_millis());
    }

    #[tokio::test]
    async fn a_silent_client_and_a_deaf_one_are_cut_off() {
        let (listener, address) = listener().await;
        let short = Duration::from_millis(100);
        let patience = Patience { first_words: short, deaf: short };
        let connections = Connections { patience, ..Connections::new(2) };
        let mut silent = TcpStream::connect(address).await.unwrap();
        silent.write_all(b"PRI * HTTP/2.0").await.unwrap();
        let mut admitted = connections.accept(&listener).await;
        let mut buffer = [0; 64];
        let error = loop {
            match admitted.read(&mut buffer).await {
                Ok(read) => assert!(read > 0),
                Err(error) => break error,
            }
        };
        assert_eq!(error.to_string(), "the client says nothing");
        let _deaf = TcpStream::connect(address).await.unwrap();
        let mut admitted = connections.accept(&listener).await;
        let error = loop {
            if let Err(error) = admitted.write_all(&[0; 1 << 14]).await {
                break error;
            }
        };
        assert_eq!(error.to_string(), "the client does not read");
    }
}
