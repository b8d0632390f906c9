//! ZooKeeper, with the lock of its own recipes: a sequential node of the session below the lock's node, and a
//! watch on the node before it. In ZooKeeper a session is a connection.

mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use batuta_tests::Ports;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::timeout;

use crate::error::{Error, Result};
use crate::process::{Launch, Servers, one_each};
use crate::system::{Held, Host, Locks, NODES, Name, Setup, System};

use wire::{Body, Kind, NO_NODE, NODE_EXISTS, Pending, Session};

/// The program that runs ZooKeeper.
pub(crate) const JAVA: &str = "java";
/// The class that runs a member of an ensemble.
const MAIN: &str = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
/// How long a session lives without a keep-alive; ZooKeeper grants at most 40 s.
const SESSION_TIMEOUT: Duration = Duration::from_secs(30);
/// Locks acquired and released before anything is measured, so that Java has compiled the hot code.
const WARM_CYCLES: usize = 5_000;
/// Warm-up cycles in flight at once.
const WARM_CLIENTS: usize = 64;
/// How long a server may take that is only asked whether it is up.
const IMPATIENCE: Duration = Duration::from_secs(1);

/// An ensemble of three servers.
pub(crate) struct Zookeeper {
    servers: Servers,
    ports: Vec<u16>,
}

impl System for Zookeeper {
    const NAME: Name = Name::Zookeeper;
    const ROWS: &'static [u8] = &[1, 2, 3, 4, 6, 7];
    type Host = ZookeeperHost;
    type Front = ZookeeperHost;

    async fn start(setup: &Setup) -> Result<Self> {
        let (jar, directory) = (setup.program(Self::NAME)?, setup.directory(Self::NAME)?);
        let mut taken = Ports::default();
        let (clients, peers, elections) =
            (one_each(&mut taken)?, one_each(&mut taken)?, one_each(&mut taken)?);
        let members: Vec<String> = (0..NODES)
            .map(|node| format!("server.{}=127.0.0.1:{}:{}\n", node + 1, peers[node], elections[node]))
            .collect();
        let mut launches = Vec::new();
        for (node, client) in clients.iter().enumerate() {
            let name = format!("n{}", node + 1);
            let data = directory.path().join(&name);
            std::fs::create_dir_all(&data).map_err(Error::file(&data))?;
            let (id, configuration) = (data.join("myid"), directory.path().join(format!("{name}.cfg")));
            std::fs::write(&id, format!("{}\n", node + 1)).map_err(Error::file(&id))?;
            // The times of ZooKeeper's own example; everything else is at its default.
            let words = format!(
                "tickTime=2000\ninitLimit=10\nsyncLimit=5\nmaxClientCnxns=0\nadmin.enableServer=false\ndataDir={}\n\
                 clientPortAddress=127.0.0.1\nclientPort={client}\n{}",
                data.display(),
                members.concat()
            );
            std::fs::write(&configuration, words).map_err(Error::file(&configuration))?;
            let jar = jar.display().to_string();
            let arguments = vec!["-cp".to_owned(), jar, MAIN.to_owned(), configuration.display().to_string()];
            launches.push(Launch { name, program: JAVA.into(), arguments });
        }
        Ok(Self { servers: Servers::start(directory, taken, launches)?, ports: clients })
    }

    async fn warm(&self, leader: usize) -> Result<()> {
        let host = self.connect(leader).await?;
        let cycles = (0..WARM_CYCLES).map(|cycle| {
            let host = &host;
            async move {
                let held = host.lock(format!("warm-{}", cycle % WARM_CLIENTS)).await?;
                host.unlock(held).await
            }
        });
        stream::iter(cycles).buffer_unordered(WARM_CLIENTS).try_collect().await
    }

    fn servers(&mut self) -> &mut Servers {
        &mut self.servers
    }

    async fn leads(&self, node: usize) -> Option<bool> {
        let said = timeout(IMPATIENCE, ask(self.ports[node], b"srvr")).await.ok()?.ok()?;
        said.lines().any(|line| line.starts_with("Mode:")).then(|| said.contains("Mode: leader"))
    }

    async fn connect(&self, node: usize) -> Result<ZookeeperHost> {
        ZookeeperHost::new(self.ports[node]).await
    }

    async fn serves(&self, node: usize) -> Result<()> {
        let read = async {
            let session = Session::open(self.ports[node], SESSION_TIMEOUT).await?;
            children(&session, "nothing").await.map(drop)
        };
        impatiently(read).await
    }
}

async fn impatiently<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(IMPATIENCE, work).await.map_err(|_| Error::other("ZooKeeper does not answer"))?
}

/// The answer to one of ZooKeeper's four-letter commands.
async fn ask(port: u16, command: &[u8]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(command).await?;
    let mut said = String::new();
    stream.read_to_string(&mut said).await?;
    Ok(said)
}

/// A machine with a session. A server closes its connections when it loses its leader; the next call then
/// opens another session.
#[derive(Clone)]
pub(crate) struct ZookeeperHost {
    port: u16,
    session: Arc<Mutex<Arc<Session>>>,
}

impl ZookeeperHost {
    async fn new(port: u16) -> Result<Self> {
        let session = Arc::new(Session::open(port, SESSION_TIMEOUT).await?);
        Ok(Self { port, session: Arc::new(Mutex::new(session)) })
    }

    async fn session(&self) -> Result<Arc<Session>> {
        let mut session = self.session.lock().await;
        if session.has_ended() {
            *session = Arc::new(impatiently(Session::open(self.port, SESSION_TIMEOUT)).await?);
        }
        Ok(Arc::clone(&session))
    }
}

/// Creates the node at the path and the nodes above it, unless they exist.
async fn make(session: &Session, path: &str, data: &[u8]) -> Result<()> {
    let ends = path.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0).chain([path.len()]);
    for end in ends {
        let data = if end == path.len() { data } else { &[] };
        let made = session.send(Kind::Create, &create(&path[..end], data, PERSISTENT));
        // Another client may have been faster.
        let _made_or_there = made.answer_or(&[NODE_EXISTS]).await?;
    }
    Ok(())
}

/// Requests the names of the nodes below the path.
fn list(session: &Session, path: &str) -> Pending {
    session.send(Kind::GetChildren, &Body::of(path).flag(false))
}

/// The current names of the nodes below the named node; empty when there is no such node.
async fn children(session: &Session, name: &str) -> Result<Vec<String>> {
    let path = format!("/{name}");
    // Brings the server up to date with the leader; the server then answers by itself.
    let synced = session.send(Kind::Sync, &Body::of(&path));
    let children = list(session, &path);
    synced.answer().await?;
    match children.answer_or(&[NO_NODE]).await? {
        Ok(mut answer) => answer.texts(),
        Err(_no_node) => Ok(Vec::new()),
    }
}

/// Creates a node of the session in the lock's queue; returns its path and the nodes in the queue.
async fn queue(session: &Session, name: &str) -> Result<(String, Vec<String>)> {
    let parent = format!("/{name}");
    loop {
        let node = create(&format!("{parent}/lock-"), &[], EPHEMERAL | SEQUENTIAL);
        let made = session.send(Kind::Create, &node);
        // Requests are answered in order, so the list contains the new node.
        let children = list(session, &parent);
        match (made.answer_or(&[NO_NODE]).await?, children.answer_or(&[NO_NODE]).await?) {
            (Ok(mut made), Ok(mut children)) => return Ok((made.text()?, children.texts()?)),
            _ => make(session, &parent, &[]).await?,
        }
    }
}

const PERSISTENT: i32 = 0;
const EPHEMERAL: i32 = 1;
const SEQUENTIAL: i32 = 2;

fn create(path: &str, data: &[u8], flags: i32) -> Body {
    const ALL_RIGHTS: i32 = 31;
    // A single rule: everybody may do everything.
    let body = Body::of(path).data(data).number(1).number(ALL_RIGHTS);
    body.data(b"world").data(b"anyone").number(flags)
}

/// The node before `own` in the queue, if there is one. The names end with ten digits that count up.
fn before(own: &str, queue: &[String]) -> Option<String> {
    let own = own.rsplit('/').next().unwrap_or_default();
    queue.iter().filter(|other| other.as_str() < own).max().cloned()
}

impl Locks for ZookeeperHost {
    async fn lock(&self, name: String) -> Result<Held> {
        let session = self.session().await?;
        let (id, mut queue) = queue(&session, &name).await?;
        while let Some(before) = before(&id, &queue) {
            let path = format!("/{name}/{before}");
            let changed = session.changed(&path);
            let there = session.send(Kind::GetData, &Body::of(&path).flag(true));
            if there.answer_or(&[NO_NODE]).await?.is_ok() {
                changed.await.map_err(|_| Error::other("the session ended"))?;
            }
            // The owner of the earlier node may have given up before it held the lock.
            queue = list(&session, &format!("/{name}")).answer().await?.texts()?;
        }
        Ok(Held { name, id })
    }

    async fn unlock(&self, held: Held) -> Result<()> {
        let any_version = Body::of(&held.id).number(-1);
        self.session().await?.send(Kind::Delete, &any_version).answer().await.map(drop)
    }
}

impl Host for ZookeeperHost {
    async fn other_owner(&self) -> Result<Self> {
        Self::new(self.port).await
    }

    async fn write(&self, writer: usize) -> Result<()> {
        let (path, data) = (format!("/write/{writer:08}"), [b'v'; 240]);
        let session = self.session().await?;
        let set = session.send(Kind::SetData, &Body::of(&path).data(&data).number(-1));
        match set.answer_or(&[NO_NODE]).await? {
            Ok(_) => Ok(()),
            Err(_no_node) => make(&session, &path, &data).await,
        }
    }

    async fn read(&self, name: String) -> Result<()> {
        let holders = children(&*self.session().await?, &name).await?;
        if holders.is_empty() { Err(Error::other("the lock is not held")) } else { Ok(()) }
    }

    async fn watch(&self, name: &str, watchers: usize, tell: UnboundedSender<Instant>) -> Result<()> {
        const RECURSIVE: i32 = 1;
        for _ in 0..watchers {
            // A server notifies a session of a change only once, however many of its watches match.
            let watcher = Session::open(self.port, SESSION_TIMEOUT).await?;
            let mut made = watcher.made();
            let request = Body::of(&format!("/{name}")).number(RECURSIVE);
            watcher.send(Kind::AddWatch, &request).answer().await?;
            let (tell, below) = (tell.clone(), format!("/{name}/"));
            tokio::spawn(async move {
                let _session = watcher;
                while let Some(path) = made.recv().await {
                    if path.starts_with(&below) && tell.send(Instant::now()).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predecessor_is_the_next_smaller_node() {
        let queue = ["lock-0000000009", "lock-0000000012", "lock-0000000011"].map(str::to_owned);
        assert_eq!(before("/a/lock-0000000012", &queue).as_deref(), Some("lock-0000000011"));
        assert_eq!(before("/a/lock-0000000009", &queue), None);
    }
}
