//! What the comparison asks of a system, whichever it is.

use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::ValueEnum;
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

/// A system that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// A peer.
    Zookeeper,
    /// The peer that does the same in every row.
    Etcd,
    /// Ours.
    Batuta,
    /// A peer that neither elects nor agrees.
    Redis,
}

impl Name {
    /// All, in the order they take turns: Batuta beside etcd.
    pub(crate) const ALL: [Self; 4] = [Self::Zookeeper, Self::Etcd, Self::Batuta, Self::Redis];

    /// Its name in reports and files.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Zookeeper => "zookeeper",
            Self::Etcd => "etcd",
            Self::Batuta => "batuta",
            Self::Redis => "redis",
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.word())
    }
}

/// Where servers come from and where their data goes.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The program of each system that is measured, in the order they take turns; for ZooKeeper its jar.
    pub(crate) programs: Vec<(Name, PathBuf)>,
    /// The directory in which every cluster makes its own, removed with it.
    pub(crate) data: PathBuf,
}

impl Setup {
    /// The program of a system.
    pub(crate) fn program(&self, system: Name) -> Result<PathBuf> {
        let found = self.programs.iter().find(|(name, _)| *name == system);
        found
            .map(|(_, program)| program.clone())
            .ok_or_else(|| Error::other(format!("there is no program of {system}")))
    }

    /// A fresh directory for one cluster. What those before it left to be written or discarded is on the disk before: or this one's
    /// first syncs would wait for it.
    pub(crate) fn directory(&self, system: Name) -> Result<tempfile::TempDir> {
        let data = File::open(&self.data).map_err(Error::file(&self.data))?;
        rustix::fs::syncfs(data).map_err(|error| Error::file(&self.data)(error.into()))?;
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

/// One simulated machine: one connection, and one lease or session that its locks belong to. What a system does not have, or has
/// only in another sense, it leaves out here, and its row in [`System::ROWS`].
pub(crate) trait Host: Locks {
    /// The same machine with a lease or session of its own: somebody else where locks are concerned.
    fn other_owner(&self) -> impl Future<Output = Result<Self>> + Send {
        missing()
    }
    /// A durable write of about 256 bytes, to a place of the writer's own.
    fn write(&self, writer: usize) -> impl Future<Output = Result<()>> + Send;
    /// A linearizable read of a lock that is held; an error when it is not.
    fn read(&self, _name: String) -> impl Future<Output = Result<()>> + Send {
        missing()
    }
    /// Opens a lease or session.
    fn open_session(&self, _ttl: Duration) -> impl Future<Output = Result<String>> + Send {
        missing()
    }
    /// Keeps sessions of this host alive; says how many of them were gone.
    fn keep_alive(&self, _sessions: &[String]) -> impl Future<Output = Result<u64>> + Send {
        missing()
    }
    /// Watches the takings of one lock, `watchers` times over; every arrival at every watcher is told. Returns when all watch.
    fn watch(
        &self,
        _name: &str,
        _watchers: usize,
        _tell: UnboundedSender<Instant>,
    ) -> impl Future<Output = Result<()>> + Send {
        missing()
    }
}

fn missing<T>() -> std::future::Ready<Result<T>> {
    std::future::ready(Err(Error::other("this system does not do that")))
}

/// A cluster of three processes.
pub(crate) trait System: Sized + Send {
    /// Which it is.
    const NAME: Name;
    /// The rows in which it does the same work as the others.
    const ROWS: &'static [u8];
    /// Its clients.
    type Host: Host;
    /// One of its APIs.
    type Front: Locks;

    /// Starts the processes of a fresh cluster.
    fn start(setup: &Setup) -> impl Future<Output = Result<Self>> + Send;
    /// Does what a system needs before it is as quick as it gets.
    fn warm(&self, _leader: usize) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Ok(()))
    }
    /// Its processes.
    fn servers(&mut self) -> &mut Servers;
    /// Whether the node says of itself that it leads; `None` when it does not answer.
    fn leads(&self, node: usize) -> impl Future<Output = Option<bool>> + Send;
    /// A new host, connected to the node.
    fn connect(&self, node: usize) -> impl Future<Output = Result<Self::Host>> + Send;
    /// Fails unless the node answers a linearizable read now.
    fn serves(&self, node: usize) -> impl Future<Output = Result<()>> + Send;
    /// Has the node write or send out a snapshot of everything; returns when it is whole.
    fn snapshot(&self, _node: usize) -> impl Future<Output = Result<()>> + Send {
        missing()
    }
    /// A host on each API it has, connected to the node.
    fn fronts(&self, _node: usize) -> impl Future<Output = Result<Vec<(&'static str, Self::Front)>>> + Send {
        missing()
    }

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

/// Whole milliseconds.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
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
