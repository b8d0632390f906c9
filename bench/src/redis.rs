//! Redis, used the way locks are commonly kept in it: `SET NX` with a time to live, a script that deletes
//! only the caller's own lock, and `WAIT` for one replica. Every node appends with `fsync` (`appendfsync
//! always`). There is no election and no consensus: acknowledged writes can be lost when somebody makes the
//! wrong replica the primary, and a lock has neither a queue nor a fencing token.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use batuta_tests::Ports;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, FromRedisValue, IntoConnectionInfo as _, Pipeline};
use tokio::sync::Semaphore;

use crate::error::{Error, Result};
use crate::process::{Launch, Servers, one_each};
use crate::rows::CLIENTS_PER_HOST;
use crate::system::{HOST_TTL, Held, Host, Locks, NODES, Name, Setup, System, millis};

/// The node that all others replicate.
const PRIMARY: usize = 0;
/// Time limit of an answer, and of a replica to receive what was written.
const PATIENCE: Duration = Duration::from_mins(1);
/// Deletes a lock if it still belongs to the caller.
const UNLOCK: &str =
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0";

/// A primary and two replicas.
pub(crate) struct Redis {
    servers: Servers,
    ports: Vec<u16>,
}

impl System for Redis {
    const NAME: Name = Name::Redis;
    const ROWS: &'static [u8] = &[1, 3, 5, 8, 9];
    type Host = RedisHost;
    type Front = RedisHost;

    async fn start(setup: &Setup) -> Result<Self> {
        let (program, directory) = (setup.program(Self::NAME)?, setup.directory(Self::NAME)?);
        let mut taken = Ports::default();
        let ports = one_each(&mut taken)?;
        let mut launches = Vec::new();
        for (node, port) in ports.iter().enumerate() {
            let name = format!("n{}", node + 1);
            let data = directory.path().join(&name);
            std::fs::create_dir_all(&data).map_err(Error::file(&data))?;
            let (port, data) = (port.to_string(), data.display().to_string());
            let mut arguments: Vec<String> = ["--bind", "127.0.0.1", "--port", &port, "--dir", &data]
                .into_iter()
                .chain(["--appendonly", "yes", "--appendfsync", "always", "--save", ""])
                .chain(["--maxclients", "20000", "--loglevel", "warning"])
                .map(ToOwned::to_owned)
                .collect();
            if node != PRIMARY {
                arguments.push("--replicaof".to_owned());
                arguments.push(format!("127.0.0.1 {}", ports[PRIMARY]));
            }
            launches.push(Launch { name, program: program.clone(), arguments });
        }
        Ok(Self { servers: Servers::start(directory, taken, launches)?, ports })
    }

    fn servers(&mut self) -> &mut Servers {
        &mut self.servers
    }

    async fn leads(&self, node: usize) -> Option<bool> {
        let info: String = self.info(node, "replication").await.ok()?;
        Some(info.contains("role:master"))
    }

    /// Always connects to the primary: replicas accept no writes and redirect nobody.
    async fn connect(&self, _node: usize) -> Result<RedisHost> {
        RedisHost::new(self.ports[PRIMARY]).await
    }

    async fn serves(&self, node: usize) -> Result<()> {
        let info = self.info(node, "replication").await?;
        let online = |line: &str| line.starts_with("slave") && line.contains("state=online");
        let serves = if node == PRIMARY {
            info.lines().filter(|line| online(line)).count() == NODES - 1
        } else {
            info.contains("master_link_status:up")
        };
        if serves { Ok(()) } else { Err(Error::other("the replicas are not there yet")) }
    }

    async fn snapshot(&self, node: usize) -> Result<()> {
        let mut connection = open(self.ports[node]).await?;
        let _: String = redis::cmd("BGSAVE").query_async(&mut connection).await?;
        loop {
            let info = self.info(node, "persistence").await?;
            if info.contains("rdb_bgsave_in_progress:0") {
                let good = info.contains("rdb_last_bgsave_status:ok");
                return if good { Ok(()) } else { Err(Error::other("BGSAVE failed")) };
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Redis {
    async fn info(&self, node: usize, section: &str) -> Result<String> {
        Ok(redis::cmd("INFO").arg(section).query_async(&mut open(self.ports[node]).await?).await?)
    }
}

async fn open(port: u16) -> Result<MultiplexedConnection> {
    let address = format!("redis://127.0.0.1:{port}/").into_connection_info()?;
    let address = address.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
    Ok(redis::Client::open(address)?.get_multiplexed_async_connection_with_config(&config).await?)
}

/// A simulated machine with a connection for each of its clients, because `WAIT` blocks everything after it
/// on the same connection.
#[derive(Clone)]
pub(crate) struct RedisHost {
    port: u16,
    /// Limits the connections in use at once.
    places: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<MultiplexedConnection>>>,
    unlock: Arc<str>,
}

impl RedisHost {
    async fn new(port: u16) -> Result<Self> {
        let mut connection = open(port).await?;
        let hash: String = redis::cmd("SCRIPT").arg("LOAD").arg(UNLOCK).query_async(&mut connection).await?;
        Ok(Self {
            port,
            places: Arc::new(Semaphore::new(CLIENTS_PER_HOST)),
            idle: Arc::new(Mutex::new(vec![connection])),
            unlock: hash.into(),
        })
    }

    /// Sends the calls together, on a connection that nobody else uses meanwhile.
    async fn ask<T: FromRedisValue>(&self, calls: &Pipeline) -> Result<T> {
        // The semaphore is never closed.
        let _place = self.places.acquire().await;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => open(self.port).await?,
        };
        let answer = calls.query_async(&mut connection).await?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(answer)
    }

    /// Sends the call, and waits until one replica has confirmed it too.
    async fn replicated<T: FromRedisValue>(&self, call: redis::Cmd) -> Result<T> {
        let mut calls = Pipeline::with_capacity(2);
        calls.add_command(call).cmd("WAIT").arg(1).arg(millis(PATIENCE));
        let (answer, replicas): (T, u64) = self.ask(&calls).await?;
        if replicas == 0 { Err(Error::other("no replica has it")) } else { Ok(answer) }
    }
}

/// A mark that no other lock or session has: all clients of a cluster are in this process.
fn next_mark() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{:016x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Locks for RedisHost {
    async fn lock(&self, name: String) -> Result<Held> {
        let id = next_mark();
        let mut set = redis::cmd("SET");
        set.arg(&name).arg(&id).arg("NX").arg("PX").arg(millis(HOST_TTL));
        let taken: Option<String> = self.replicated(set).await?;
        // No client waits in these rows: each has its own locks.
        taken.map(|_| Held { name, id }).ok_or_else(|| Error::other("somebody else holds the lock"))
    }

    async fn unlock(&self, held: Held) -> Result<()> {
        let mut call = redis::cmd("EVALSHA");
        call.arg(&*self.unlock).arg(1).arg(held.name).arg(held.id);
        let deleted: u64 = self.replicated(call).await?;
        if deleted == 1 { Ok(()) } else { Err(Error::other("the lock was lost")) }
    }
}

impl Host for RedisHost {
    async fn write(&self, writer: usize) -> Result<()> {
        let mut set = redis::cmd("SET");
        set.arg(format!("write/{writer:08}")).arg(&[b'v'; 240]);
        self.replicated(set).await
    }

    async fn open_session(&self, ttl: Duration) -> Result<String> {
        // A keep-alive takes its time to live from the name.
        let session = format!("session/{}/{}", next_mark(), millis(ttl));
        let mut set = redis::cmd("SET");
        set.arg(&session).arg("").arg("PX").arg(millis(ttl));
        let () = self.replicated(set).await?;
        Ok(session)
    }

    async fn keep_alive(&self, sessions: &[String]) -> Result<u64> {
        let mut calls = Pipeline::with_capacity(sessions.len());
        for session in sessions {
            let (_, ttl_ms) = session.rsplit_once('/').ok_or_else(|| Error::other("not a session"))?;
            calls.cmd("PEXPIRE").arg(session).arg(ttl_ms);
        }
        let kept: Vec<u64> = self.ask(&calls).await?;
        Ok(kept.into_iter().map(|kept| 1 - kept.min(1)).sum())
    }
}
