//! What a node takes from the machine under it: files, threads, sockets. Production runs on [`OsPlatform`]; a simulation brings
//! a platform of its own and runs everything above it unchanged.

use std::any::Any;
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use rustix::process::setpriority_process;
use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::server::Router;
use tonic::transport::{Channel, Endpoint};

use crate::disk::{DirLock, Disk, LockError, RealDisk};
use crate::log::{Log, LogError, LogOptions, Torn};

/// The machine under a node. Nothing here is called on the path of a request.
pub trait Platform: Send + Sync + 'static {
    /// Makes `dir` this node's own until the result is dropped, creating it when absent.
    ///
    /// # Errors
    /// [`LockError::Held`] when another node has it.
    fn lock(&self, dir: &Path) -> Result<Box<dyn Any + Send + Sync>, LockError>;

    /// Opens a directory, creating it (durably) when absent.
    ///
    /// # Errors
    /// When the disk refuses.
    fn disk(&self, dir: &Path) -> io::Result<Arc<dyn Disk>>;

    /// Opens the log and has its writer run.
    ///
    /// # Errors
    /// As [`Log::open`].
    // Called on the runtime that appends.
    fn log(&self, disk: Arc<dyn Disk>, options: LogOptions) -> Result<(Log, Option<Torn>), LogError>;

    /// Runs work that may block, somewhere it holds nobody up.
    fn blocking(&self, work: Box<dyn FnOnce() + Send>);

    /// Likewise for work that keeps a processor busy for seconds and that nobody waits for: others go first.
    fn background(&self, work: Box<dyn FnOnce() + Send>) {
        self.blocking(work);
    }

    /// Serves peers until the returned future is dropped.
    fn serve(&self, router: Router) -> BoxFuture<'static, io::Result<()>>;

    /// A channel to a peer. Connects when it is first used, and again whenever the connection is lost.
    fn channel(&self, endpoint: Endpoint) -> Channel;
}

/// Runs work that may block and waits for it.
pub(crate) async fn blocking<T: Send + 'static>(
    platform: &dyn Platform,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    result_of(work, |work| platform.blocking(work)).await
}

/// Runs work behind which others go first, and waits for it.
pub(crate) async fn background<T: Send + 'static>(
    platform: &dyn Platform,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    result_of(work, |work| platform.background(work)).await
}

async fn result_of<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
    run: impl FnOnce(Box<dyn FnOnce() + Send>),
) -> io::Result<T> {
    let (sender, receiver) = oneshot::channel();
    // Whoever waited may have been dropped; the work is done all the same.
    run(Box::new(move || drop(sender.send(work()))));
    receiver.await.unwrap_or_else(|_| Err(io::Error::other("the work ended without a result")))
}

/// A tenth of what the others get of a processor they want, too.
const BACKGROUND_NICE: i32 = 10;

/// The operating system.
#[derive(Debug)]
pub struct OsPlatform {
    listener: Mutex<Option<TcpListener>>,
}

impl OsPlatform {
    /// The operating system, with the listener for peers: bound already, so that a taken port is an error before anything else
    /// happens.
    #[must_use]
    pub fn new(listener: TcpListener) -> Self {
        Self { listener: Mutex::new(Some(listener)) }
    }
}

impl Platform for OsPlatform {
    fn lock(&self, dir: &Path) -> Result<Box<dyn Any + Send + Sync>, LockError> {
        Ok(Box::new(DirLock::acquire(dir)?))
    }

    fn disk(&self, dir: &Path) -> io::Result<Arc<dyn Disk>> {
        Ok(Arc::new(RealDisk::open(dir)?))
    }

    fn log(&self, disk: Arc<dyn Disk>, options: LogOptions) -> Result<(Log, Option<Torn>), LogError> {
        let (log, inline, torn) = Log::open_inline(disk, options)?;
        tokio::spawn(inline.run());
        Ok((log, torn))
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        tokio::task::spawn_blocking(work);
    }

    fn background(&self, work: Box<dyn FnOnce() + Send>) {
        // A thread of its own: its priority can not be raised again.
        let thread = std::thread::Builder::new().name("background".to_owned());
        let spawned = thread.spawn(move || {
            // Linux takes the calling thread for the process. Without it the work only takes more from the others.
            if let Err(error) = setpriority_process(None, BACKGROUND_NICE) {
                tracing::debug!(%error, "background work has the usual priority");
            }
            work();
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread for background work");
        }
    }

    fn serve(&self, router: Router) -> BoxFuture<'static, io::Result<()>> {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async move {
            let listener = listener.ok_or_else(|| io::Error::other("peers are served already"))?;
            listener.set_nonblocking(true)?;
            let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener)?);
            let incoming = incoming.map(|accepted| {
                let stream = accepted?;
                stream.set_nodelay(true)?;
                Ok::<_, io::Error>(stream)
            });
            router.serve_with_incoming(incoming).await.map_err(io::Error::other)
        })
    }

    fn channel(&self, endpoint: Endpoint) -> Channel {
        endpoint.connect_lazy()
    }
}
