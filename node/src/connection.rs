//! Bounds what client connections cost this node: how many there are, and how long one may stay silent or
//! leave data unread.
//!
//! Guarantees
//! - The fronts together hold at most `connections_max` connections. A further connection is closed at once,
//!   so that its client goes elsewhere, and the log and the connections of the peers never run out of file
//!   descriptors.
//! - A connection that has not shown within [`PREFACE_WITHIN`] which protocol it speaks is closed.
//! - A connection whose client has vanished (power, network) is closed within about [`GONE_WITHIN`], even
//!   while it waits for a lock and nothing is sent: its wait does not outlive the connection.
//! - A connection whose client does not read what is sent to it for [`UNREAD_WITHIN`] is closed.

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

/// How long a client may take to show which protocol it speaks.
const PREFACE_WITHIN: Duration = Duration::from_secs(10);
/// This many bytes tell HTTP/2 from HTTP/1.1; the shortest request of either has more.
const PREFACE_BYTES: usize = 24;
/// How long a client may leave sent data unread.
const UNREAD_WITHIN: Duration = Duration::from_secs(30);
/// A connection that was idle for this long is probed.
const PROBE_AFTER: Duration = Duration::from_secs(15);
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// After this many unanswered probes the connection is gone.
const PROBES: u32 = 3;
/// How long the client's TCP may be silent: to probes, and to data that was sent.
const GONE_WITHIN: Duration = Duration::from_secs(30);
/// How long to wait after the operating system failed to accept a connection.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Descriptors reserved for everything but clients: the log, snapshots, peers, the runtime.
const RESERVED_DESCRIPTORS: usize = 512;
/// A full node logs that it is full at most this often.
const WARN_AGAIN: Duration = Duration::from_secs(10);

/// How long a client is waited for.
#[derive(Clone, Copy)]
struct Timeouts {
    preface: Duration,
    unread: Duration,
}

/// The connections of all fronts of this node.
#[derive(Clone)]
pub(crate) struct Connections {
    free: Arc<Semaphore>,
    max: usize,
    timeouts: Timeouts,
    warned: Arc<Mutex<Option<Instant>>>,
}

impl Connections {
    /// Room for `max` connections, or for as many as the process can have descriptors for.
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
        let timeouts = Timeouts { preface: PREFACE_WITHIN, unread: UNREAD_WITHIN };
        Self { free: Arc::new(Semaphore::new(max)), max, timeouts, warned: Arc::default() }
    }

    /// Accepts the next connection that there is room for.
    pub(crate) async fn accept(&self, listener: &TcpListener) -> Admitted {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    if let Err(error) = prepare(&stream) {
                        tracing::debug!(%error, "a socket option could not be set");
                    }
                    match Arc::clone(&self.free).try_acquire_owned() {
                        Ok(place) => return Admitted::new(stream, peer, place, self.timeouts),
                        Err(_) => self.warn_full(peer),
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "no connection could be accepted");
                    sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }

    fn warn_full(&self, peer: SocketAddr) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_none_or(|warned| warned.elapsed() >= WARN_AGAIN) {
            *warned = Some(Instant::now());
            tracing::warn!(%peer, limits.connections_max = self.max, "all connections are taken; new ones are closed");
        }
    }
}

/// Sets the socket options of a client connection.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    // Answers are small and the client waits for them: waiting to fill a segment only adds latency.
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, PROBES)?;
    // Keepalive probes are sent only when no sent data is unacknowledged.
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(stream, u32::try_from(GONE_WITHIN.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}

/// The number of descriptors the process may have, after raising its limit as far as allowed.
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

/// A connection that holds one of the node's slots.
pub(crate) struct Admitted {
    stream: TcpStream,
    /// The client's end.
    peer: SocketAddr,
    /// Bytes received so far and the deadline, until enough bytes have arrived.
    preface: Option<(usize, Pin<Box<Sleep>>)>,
    /// Set while the client does not read what is sent.
    unread: Option<Pin<Box<Sleep>>>,
    unread_within: Duration,
    _place: OwnedSemaphorePermit,
}

impl Admitted {
    fn new(stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit, timeouts: Timeouts) -> Self {
        let preface = Some((0, Box::pin(sleep(timeouts.preface))));
        Self { stream, peer, preface, unread: None, unread_within: timeouts.unread, _place: place }
    }

    /// The client's end of the connection.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Handles the result of an attempt to send: an attempt that blocks fails once the client has not read
    /// for too long.
    fn sent<T>(&mut self, context: &mut Context<'_>, sent: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if sent.is_ready() {
            self.unread = None;
            return sent;
        }
        let within = self.unread_within;
        let unread = self.unread.get_or_insert_with(|| Box::pin(sleep(within)));
        ready!(unread.as_mut().poll(context));
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
        let Some((received, deadline)) = &mut self.preface else { return read };
        *received += buffer.filled().len() - before;
        if *received >= PREFACE_BYTES {
            self.preface = None;
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
    async fn extra_connection_is_closed_until_a_slot_is_free() {
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
    async fn silent_or_stalled_client_is_cut_off() {
        let (listener, address) = listener().await;
        let short = Duration::from_millis(100);
        let timeouts = Timeouts { preface: short, unread: short };
        let connections = Connections { timeouts, ..Connections::new(2) };
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
        let _stalled = TcpStream::connect(address).await.unwrap();
        let mut admitted = connections.accept(&listener).await;
        let error = loop {
            if let Err(error) = admitted.write_all(&[0; 1 << 14]).await {
                break error;
            }
        };
        assert_eq!(error.to_string(), "the client does not read");
    }
}
