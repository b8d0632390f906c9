//! What the comparison asks of a system, whichever it is.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tonic::transport::{Channel, Endpoint};

use crate::error::{Error, Result};
use crate::process::Servers;

/// Nodes of a cluster.
pub(crate) const NODES: usize = 3;
/// How long a lease or session of a host lives that is not kept alive: longer than any case runs.
pub(crate) const HOST_TTL: Duration = Duration::from_hours(4);
/// How long a cluster may take to do what it has to before a run counts as failed.
const PATIENCE: Duration = Duration::from_mins(2);

/// Where servers come from and where their data goes.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The program `batuta`.
    pub(crate) batuta: PathBuf,
    /// The program `etcd`.
    pub(crate) etcd: PathBuf,
    /// The directory in which every cluster makes its own, removed with it.
    pub(crate) data: PathBuf,
}

impl Setup {
    /// A fresh directory for one cluster.
    pub(crate) fn directory(&self, system: &str) -> Result<tempfile::TempDir> {
        let prefix = format!("{system}-");
        tempfile::Builder::new().prefix(&prefix).tempdir_in(&self.data).map_err(Error::file(&self.data))
    }
}

/// A lock that is held.
#[derive(Debug)]
pub(crate) struct Held {
    /// The name it was taken under.
    pub(crate) name: String,
    /// What the system calls this holding of it.
    pub(crate) id: String,
}

/// Takes locks and gives them back, durably.
pub(crate) trait Locks: Clone + Send + Sync + 'static {
    /// Waits until the lock is held.
    fn lock(&self, name: String) -> impl Future<Output = Result<Held>> + Send;
    /// Gives it back.
    fn unlock(&self, held: Held) -> impl Future<Output = Result<()>> + Send;
}

/// One simulated machine: one connection, and one lease or session that its locks belong to.
pub(crate) trait Host: Locks {
    /// The same connection with a lease or session of its own: somebody else where locks are concerned.
    fn other_owner(&self) -> impl Future<Output = Result<Self>> + Send;
    /// A durable write of about 256 bytes, to a place of the writer's own.
    fn write(&self, writer: usize) -> impl Future<Output = Result<()>> + Send;
    /// A linearizable read of a lock that is held; an error when it is not.
    fn read(&self, name: String) -> impl Future<Output = Result<()>> + Send;
    /// Opens a lease or session.
    fn open_session(&self, ttl: Duration) -> impl Future<Output = Result<String>> + Send;
    /// Keeps sessions of this host alive; says how many of them were gone.
    fn keep_alive(&self, sessions: &[String]) -> impl Future<Output = Result<u64>> + Send;
    /// Watches the takings of one lock, `watchers` times over; every arrival at every watcher is told. Returns when all watch.
    fn watch(
        &self,
        name: &str,
        watchers: usize,
        tell: UnboundedSender<Instant>,
    ) -> impl Future<Output = Result<()>> + Send;
}

/// A cluster of three processes.
pub(crate) trait System: Sized + Send {
    /// Its name in reports and files.
    const NAME: &'static str;
    /// Its clients.
    type Host: Host;
    /// One of its APIs.
    type Front: Locks;

    /// Starts a fresh cluster and waits until every node serves.
    fn start(setup: &Setup) -> impl Future<Output = Result<Self>> + Send;
    /// Its processes.
    fn servers(&mut self) -> &mut Servers;
    /// Whether the node says of itself that it leads; `None` when it does not answer.
    fn leads(&self, node: usize) -> impl Future<Output = Option<bool>> + Send;
    /// A new host, connected to the node.
    fn connect(&self, node: usize) -> impl Future<Output = Result<Self::Host>> + Send;
    /// Fails unless the node answers a linearizable read now.
    fn serves(&self, node: usize) -> impl Future<Output = Result<()>> + Send;
    /// Has the node write or send out a snapshot of everything; returns when it is whole.
    fn snapshot(&self, node: usize) -> impl Future<Output = Result<()>> + Send;
    /// A host on each API it has, connected to the node.
    fn fronts(&self, node: usize) -> impl Future<Output = Result<Vec<(&'static str, Self::Front)>>> + Send;

    /// The node that leads, once there is one.
    fn leader(&mut self) -> impl Future<Output = Result<usize>> + Send {
        async {
            let begun = Instant::now();
            while begun.elapsed() < PATIENCE {
                self.servers().check()?;
                for node in 0..NODES {
                    if self.leads(node).await == Some(true) {
                        return Ok(node);
                    }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(Error::other(format!("{} has no leader after {PATIENCE:?}", Self::NAME)))
        }
    }

    /// Waits until the node serves.
    fn serving(&mut self, node: usize) -> impl Future<Output = Result<()>> + Send {
        async move {
            let begun = Instant::now();
            loop {
                self.servers().check()?;
                match self.serves(node).await {
                    Ok(()) => return Ok(()),
                    Err(error) if begun.elapsed() > PATIENCE => return Err(error),
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        }
    }
}

/// A connection to a port on loopback.
pub(crate) async fn channel(port: u16) -> Result<Channel> {
    Ok(endpoint(port)?.connect().await?)
}

/// Likewise, whose calls end after a second: for asking whether somebody is there.
pub(crate) async fn impatient_channel(port: u16) -> Result<Channel> {
    Ok(endpoint(port)?.timeout(Duration::from_secs(1)).connect().await?)
}

fn endpoint(port: u16) -> Result<Endpoint> {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?;
    Ok(endpoint.tcp_nodelay(true).connect_timeout(Duration::from_secs(1)))
}
