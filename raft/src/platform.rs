//! The resources a node takes from its machine: files, threads, sockets. Production runs on [`OsPlatform`]; a
//! simulation brings its own platform and runs everything above it unchanged.

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
    /// Reserves `dir` for this node until the result is dropped; creates the directory when it does not
    /// exist.
    ///
    /// # Errors
    /// [`LockError::Held`] when another node holds it.
    fn lock(&self, dir: &Path) -> Result<Box<dyn Any + Send + Sync>, LockError>;

    /// Opens a directory; creates it durably when it does not exist.
    ///
    /// # Errors
    /// When the disk refuses.
    fn disk(&self, dir: &Path) -> io::Result<Arc<dyn Disk>>;

    /// Opens the log and starts its writer.
    ///
    /// # Errors
    /// As [`Log::open`].
    // Called on the runtime that appends.
    fn log(&self, disk: Arc<dyn Disk>, options: LogOptions) -> Result<(Log, Option<Torn>), LogError>;

    /// Runs work that may block, where it delays nobody.
    fn blocking(&self, work: Box<dyn FnOnce() + Send>);

    /// As [`Self::blocking`], for work that keeps a processor busy for seconds and that nobody waits for:
    /// other work goes first.
    fn background(&self, work: Box<dyn FnOnce() + Send>) {
        self.blocking(work);
    }

    /// Serves peers until the returned future is dropped.
    fn serve(&self, router: Router) -> BoxFuture<'static, io::Result<()>>;

    /// Returns a channel to a peer. It connects when first used, and again whenever the connection is lost.
    fn channel(&self, endpoint: Endpoint) -> Channel;
}

/// Runs work that may block, and waits for its result.
pub(crate) async fn blocking<T: Send + 'static>(
    platform: &dyn Platform,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    result_of(work, |work| platform.blocking(work)).await
}

/// Runs work with low priority, and waits for its result.
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
    // The waiting task may have been dropped; the work is done anyway.
    run(Box::new(move || drop(sender.send(work()))));
    receiver.await.unwrap_or_else(|_| Err(io::Error::other("the work ended without a result")))
}

/// About a tenth of the share that other threads get of a contended processor.
const BACKGROUND_NICE: i32 = 10;

/// The platform of production: the operating system.
#[derive(Debug)]
pub struct OsPlatform {
    listener: Mutex<Option<TcpListener>>,
}

impl OsPlatform {
    /// The operating system, with the listener for peers already bound, so that a port in use is an error
    /// before anything else happens.
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
        // Needs a thread of its own, because its priority cannot be raised again.
        let thread = std::thread::Builder::new().name("background".to_owned());
        let spawned = thread.spawn(move || {
            // Linux applies this to the calling thread. Without it the work only takes more processor time
            // from others.
            if let Err(error) = setpriority_process(None, BACKGROUND_NICE) {
                tracing::debug!(%error, "background work runs at normal priority");
            }
            work();
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "a thread for background work could not be started");
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
