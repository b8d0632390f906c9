//! The interface that every compared system implements.

use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use tokio::sync::mpsc::UnboundedSender;
use tonic::transport::{Channel, Endpoint};

use crate::error::{Error, Result};
use crate::process::Servers;

/// Number of nodes in a cluster.
pub(crate) const NODES: usize = 3;
/// How long a host's lease or session lives without a keep-alive: longer than any case runs.
pub(crate) const HOST_TTL: Duration = Duration::from_hours(4);
/// How long a cluster may take for one step before the run counts as failed.
const PATIENCE: Duration = Duration::from_mins(2);

/// A system to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// A peer of Batuta.
    Zookeeper,
    /// The peer that does the same work in every row.
    Etcd,
    /// Batuta itself.
    Batuta,
    /// Batuta with access enforced; only measured when named.
    BatutaSecured,
    /// A peer without elections or consensus.
    Redis,
}

impl Name {
    /// The systems of a comparison that names none, in the order of their turns: Batuta next to etcd.
    pub(crate) const USUAL: [Self; 4] = [Self::Zookeeper, Self::Etcd, Self::Batuta, Self::Redis];

    /// The name in reports and files.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Zookeeper => "zookeeper",
            Self::Etcd => "etcd",
            Self::Batuta => "batuta",
            Self::BatutaSecured => "batuta-secured",
            Self::Redis => "redis",
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.word())
    }
}

/// The programs of the servers and the place for their data.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The program of each system to measure, in the order of their turns; for ZooKeeper its jar.
    pub(crate) programs: Vec<(Name, PathBuf)>,
    /// The directory in which every cluster creates its own, removed with the cluster.
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

    /// Creates a fresh directory for one cluster. First completes the writes and discards left by earlier
    /// clusters; otherwise this cluster's first syncs would wait for them.
    pub(crate) fn directory(&self, system: Name) -> Result<tempfile::TempDir> {
        let data = File::open(&self.data).map_err(Error::file(&self.data))?;
        rustix::fs::syncfs(data).map_err(|error| Error::file(&self.data)(error.into()))?;
        let prefix = format!("{system}-");
        tempfile::Builder::new().prefix(&prefix).tempdir_in(&self.data).map_err(Error::file(&self.data))
    }
}

/// A held lock.
#[derive(Debug)]
pub(crate) struct Held {
    /// The name of the lock.
    pub(crate) name: String,
    /// The system's id for this holding of the lock.
    pub(crate) id: String,
}

/// Takes and releases locks, durably.
pub(crate) trait Locks: Clone + Send + Sync + 'static {
    /// Waits until the lock is held.
    fn lock(&self, name: String) -> impl Future<Output = Result<Held>> + Send;
    /// Releases the lock.
    fn unlock(&self, held: Held) -> impl Future<Output = Result<()>> + Send;
}

/// One simulated machine: one connection, and one lease or session that owns its locks. A method that a
/// system does not support, or supports only in another sense, is left out here, and its row in
/// [`System::ROWS`].
pub(crate) trait Host: Locks {
    /// The same machine with a lease or session of its own, so a different owner of locks.
    fn other_owner(&self) -> impl Future<Output = Result<Self>> + Send {
        missing()
    }
    /// A durable write of about 256 bytes, to a place that belongs to the writer.
    fn write(&self, writer: usize) -> impl Future<Output = Result<()>> + Send;
    /// A linearizable read of a held lock; an error when it is not held.
    fn read(&self, _name: String) -> impl Future<Output = Result<()>> + Send {
        missing()
    }
    /// Opens a lease or session.
    fn open_session(&self, _ttl: Duration) -> impl Future<Output = Result<String>> + Send {
        missing()
    }
    /// Keeps sessions of this host alive; returns how many of them were gone.
    fn keep_alive(&self, _sessions: &[String]) -> impl Future<Output = Result<u64>> + Send {
        missing()
    }
    /// Opens `watchers` watches on the acquisitions of one lock; every arrival at every watcher is sent to
    /// `_tell`. Returns when all are watching.
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
    /// The system's name.
    const NAME: Name;
    /// The rows in which it does the same work as the others.
    const ROWS: &'static [u8];
    /// Type of its clients.
    type Host: Host;
    /// Type of one of its APIs.
    type Front: Locks;

    /// Starts the processes of a fresh cluster.
    fn start(setup: &Setup) -> impl Future<Output = Result<Self>> + Send;
    /// Does what a system needs to reach its full speed.
    fn warm(&self, _leader: usize) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Ok(()))
    }
    /// The processes of the cluster.
    fn servers(&mut self) -> &mut Servers;
    /// Whether the node reports that it leads; `None` when it does not answer.
    fn leads(&self, node: usize) -> impl Future<Output = Option<bool>> + Send;
    /// A new host, connected to the node.
    fn connect(&self, node: usize) -> impl Future<Output = Result<Self::Host>> + Send;
    /// Fails unless the node answers a linearizable read now.
    fn serves(&self, node: usize) -> impl Future<Output = Result<()>> + Send;
    /// Makes the node write or send a complete snapshot; returns when the snapshot is complete.
    fn snapshot(&self, _node: usize) -> impl Future<Output = Result<()>> + Send {
        missing()
    }
    /// A host for each API of the system, connected to the node.
    fn fronts(&self, _node: usize) -> impl Future<Output = Result<Vec<(&'static str, Self::Front)>>> + Send {
        missing()
    }

    /// Waits until a node leads, and returns it.
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

/// As [`channel`], with calls that end after a second: for asking whether a node is up.
pub(crate) async fn impatient_channel(port: u16) -> Result<Channel> {
    Ok(endpoint(port)?.timeout(Duration::from_secs(1)).connect().await?)
}

fn endpoint(port: u16) -> Result<Endpoint> {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?;
    Ok(endpoint.tcp_nodelay(true).connect_timeout(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_are_chosen_by_their_word() {
        for &name in Name::value_variants() {
            assert_eq!(Name::from_str(name.word(), false), Ok(name));
        }
        assert!(Name::from_str("secured", false).is_err());
        assert!(!Name::USUAL.contains(&Name::BatutaSecured), "a usual run measures Batuta once");
    }
}
