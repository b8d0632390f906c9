//! The cluster under test: real `batuta server` processes, each in its own network namespace.

use std::fs::{self, File, OpenOptions};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::access::Key;
use crate::clock::{Clock, Wrong};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::network::Faults;
use crate::proxy::Proxy;
use crate::sandbox::{OBSERVER, Sandbox, address};

/// The ports of every node: REST, gRPC, WebSocket, peers.
pub const PORTS: [u16; 4] = [8080, 9090, 8081, 7070];
/// The port on which a proxy accepts connections for the peer port.
const PROXY_PORT: u16 = 7170;
/// How long a node may take to be ready on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// How long the observer waits for an answer.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// How long the observer waits for the answer to a change.
const CHANGE_WITHIN: Duration = Duration::from_secs(5);

/// Options for starting the nodes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program under test.
    pub batuta: PathBuf,
    /// The directory of the run.
    pub dir: PathBuf,
    /// Number of nodes in `--peers`; places beyond it are for nodes that join later.
    pub nodes: usize,
    /// Log entries between two snapshots.
    pub snapshot_entries: u64,
    /// Whether the nodes' data are on simulated disks of the harness.
    pub disks: bool,
    /// The path of the library for wrong clocks, if it is used.
    pub clocks: Option<PathBuf>,
    /// Whether there are proxies between the nodes.
    pub proxies: bool,
    /// Whether the cluster enforces access from its first entry on.
    pub secured: bool,
}

/// A node of the cluster.
pub struct Node {
    /// The node's name.
    pub name: String,
    /// The node's data directory.
    pub data_dir: PathBuf,
    child: Option<Child>,
    /// Whether the process is stopped by SIGSTOP.
    pub paused: bool,
    /// Whether the node takes part in the cluster, so that it must run when there is no fault.
    pub wanted: bool,
    /// Whether the node is in `--peers`; other nodes join.
    founder: bool,
}

/// A process that ended by itself.
#[derive(Clone, Debug)]
pub struct Exit {
    /// The place of the node.
    pub place: usize,
    /// The exit status, for people.
    pub status: String,
}

/// The nodes of a run and the network between them.
pub struct Cluster {
    /// The network namespaces.
    pub sandbox: Sandbox,
    settings: Settings,
    /// The nodes, by place.
    pub nodes: Vec<Node>,
    /// The faults of the network that are in force.
    faults: Faults,
    observer: Observer,
    disks: Vec<Option<Disk>>,
    clocks: Vec<Option<Clock>>,
    proxies: Vec<Proxy>,
}

/// A client for the nodes' REST API that no fault of the network cuts off.
#[derive(Clone, Debug)]
pub struct Observer {
    http: reqwest::Client,
    /// The administrator's key, in a run with access. Clones of the observer share it.
    key: Arc<OnceLock<Key>>,
}

impl Observer {
    /// Makes an observer inside the clients' namespace.
    ///
    /// # Errors
    /// When no HTTP client can be built.
    pub fn new() -> Result<Self> {
        let usage =
            |error: &dyn std::fmt::Display| Error::Usage(format!("the observer's HTTP client: {error}"));
        let from: IpAddr = OBSERVER.parse().map_err(|error| usage(&error))?;
        let http = reqwest::Client::builder().local_address(from).timeout(LOOK_WITHIN).build();
        Ok(Self { http: http.map_err(|error| usage(&error))?, key: Arc::default() })
    }

    /// Sends this key with every request from now on. Only the first key counts.
    pub fn call_as(&self, key: Key) {
        self.key.get_or_init(|| key);
    }

    /// Sends a GET request to a node's REST API; `None` unless it succeeds.
    pub async fn get(&self, place: usize, path: &str) -> Option<Value> {
        self.send(reqwest::Method::GET, place, path, None).await.ok()
    }

    /// Sends a request to a node's REST API.
    ///
    /// # Errors
    /// The answer of the node if it is an error, or why there was no answer.
    pub async fn send(
        &self,
        method: reqwest::Method,
        place: usize,
        path: &str,
        body: Option<Value>,
    ) -> std::result::Result<Value, String> {
        let url = format!("http://{}:{}{path}", address(place), PORTS[0]);
        let within = if method == reqwest::Method::GET { LOOK_WITHIN } else { CHANGE_WITHIN };
        let mut request = self.http.request(method, url).timeout(within);
        if let Some(key) = self.key.get() {
            request = request.bearer_auth(key.expose());
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let success = answer.status().is_success();
        let text = answer.text().await.map_err(|error| error.to_string())?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        if success { Ok(body) } else { Err(text) }
    }

    /// The cluster as this node sees it.
    pub async fn status(&self, place: usize) -> Option<Value> {
        self.get(place, "/api/v1/cluster").await
    }
}

impl Cluster {
    /// Prepares a cluster without starting its nodes.
    ///
    /// # Errors
    /// When the directory cannot be created.
    pub fn new(sandbox: Sandbox, settings: Settings) -> Result<Self> {
        let mut nodes = Vec::new();
        for place in 0..sandbox.places {
            let name = format!("n{}", place + 1);
            let data_dir = settings.dir.join(&name);
            fs::create_dir_all(&data_dir).map_err(Error::io(data_dir.display().to_string()))?;
            let founder = place < settings.nodes;
            nodes.push(Node { name, data_dir, child: None, paused: false, wanted: founder, founder });
        }
        let (mut disks, mut clocks, mut proxies) = (Vec::new(), Vec::new(), Vec::new());
        for (place, node) in nodes.iter().enumerate() {
            let beside = |what: &str| settings.dir.join(format!("{}.{what}", node.name));
            disks.push(if settings.disks {
                Some(Disk::mount(&node.data_dir, &beside("disk"))?)
            } else {
                None
            });
            clocks.push(if settings.clocks.is_some() { Some(Clock::create(beside("clock"))?) } else { None });
            if settings.proxies {
                let at = |port: u16| format!("{}:{port}", address(place));
                proxies.push(Proxy::start(&sandbox.node(place), &at(PROXY_PORT), &at(PORTS[3]))?);
            }
        }
        let observer = Observer::new()?;
        Ok(Self { sandbox, settings, nodes, faults: Faults::default(), observer, disks, clocks, proxies })
    }

    /// The simulated disk of a node, if disks are used.
    #[must_use]
    pub fn disk(&self, place: usize) -> Option<&Disk> {
        self.disks[place].as_ref()
    }

    /// Sets a node's clocks wrong, if wrong clocks are used.
    ///
    /// # Errors
    /// When the control file cannot be written.
    pub fn set_clock(&mut self, place: usize, wrong: Wrong) -> Result<()> {
        self.clocks[place].as_mut().map_or(Ok(()), |clock| clock.set(wrong))
    }

    /// Delays messages between nodes by up to this long.
    ///
    /// # Errors
    /// When a proxy has ended.
    pub fn delay(&mut self, ms: u64) -> Result<()> {
        self.proxies.iter_mut().try_for_each(|proxy| proxy.delay(ms))
    }

    /// Places without a node that takes part.
    #[must_use]
    pub fn unused(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&place| !self.nodes[place].wanted).collect()
    }

    /// Kills a node and deletes its data. From then on the node joins.
    ///
    /// # Errors
    /// When the files cannot be removed.
    pub fn wipe(&mut self, place: usize) -> Result<()> {
        self.kill(place)?;
        let node = &mut self.nodes[place];
        node.founder = false;
        let failed = || format!("emptying {}", node.data_dir.display());
        for item in fs::read_dir(&node.data_dir).map_err(Error::io(failed()))? {
            let path = item.map_err(Error::io(failed()))?.path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(Error::io(failed()))?;
        }
        Ok(())
    }

    /// Stops a node that has left the cluster for good, and deletes its data.
    ///
    /// # Errors
    /// When the files cannot be removed.
    pub fn retire(&mut self, place: usize) -> Result<()> {
        self.wipe(place)?;
        self.nodes[place].wanted = false;
        Ok(())
    }

    /// Returns the observer.
    #[must_use]
    pub fn observer(&self) -> Observer {
        self.observer.clone()
    }

    /// Places of the nodes that take part in the cluster.
    #[must_use]
    pub fn wanted(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&place| self.nodes[place].wanted).collect()
    }

    /// Names of the nodes at these places, for people.
    #[must_use]
    pub fn names(&self, places: &[usize]) -> String {
        places.iter().map(|&place| self.nodes[place].name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The path of a node's own log.
    #[must_use]
    pub fn log_path(dir: &Path, name: &str) -> PathBuf {
        dir.join(format!("{name}.log"))
    }

    /// Starts a node that does not run.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start(&mut self, place: usize) -> Result<()> {
        if self.nodes[place].child.is_some() {
            return Ok(());
        }
        let (name, at) = (self.nodes[place].name.clone(), address(place));
        let path = Self::log_path(&self.settings.dir, &name);
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log: File = log.map_err(Error::io(path.display().to_string()))?;
        let error_log = log.try_clone().map_err(Error::io(path.display().to_string()))?;
        let mut command =
            Sandbox::inside(&self.sandbox.node(place), &self.settings.batuta.display().to_string());
        command
            .arg("server")
            .arg(format!("--name={name}"))
            .arg(format!("--data-dir={}", self.nodes[place].data_dir.display()))
            .arg(self.company(place));
        for (flag, port) in ["rest", "grpc", "ws", "peer"].iter().zip(PORTS) {
            command.arg(format!("--{flag}={at}:{port}"));
        }
        if let (Some(library), Some(clock)) = (&self.settings.clocks, &self.clocks[place]) {
            command.env("LD_PRELOAD", library).env("JEPSEN_CLOCK", &clock.path);
        }
        if self.settings.proxies {
            command.arg("--set").arg(format!("advertise.peer={at}:{PROXY_PORT}"));
        }
        for setting in [
            "limits.request_timeout_ms=3000".to_owned(),
            "limits.history_changes_max=2000000".to_owned(),
            "limits.history_bytes_max=1073741824".to_owned(),
            "raft.segment_bytes=8388608".to_owned(),
            "storage.disk_free_min_bytes=1048576".to_owned(),
            format!("raft.snapshot_entries={}", self.settings.snapshot_entries),
        ] {
            command.arg("--set").arg(setting);
        }
        if self.settings.secured {
            command.arg("--secure");
        }
        let child = command
            .args(["--insecure", "--log-level=info", "--stop-with-stdin"])
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(error_log)
            .spawn()
            .map_err(Error::io(format!("starting {name}")))?;
        let node = &mut self.nodes[place];
        node.child = Some(child);
        node.wanted = true;
        Ok(())
    }

    /// The argument that names the nodes with which a node forms or joins a cluster.
    fn company(&self, place: usize) -> String {
        let port = if self.settings.proxies { PROXY_PORT } else { PORTS[3] };
        let peer = |place: usize| format!("{}:{port}", address(place));
        if self.nodes[place].founder {
            let peers = (0..self.settings.nodes).map(|place| format!("n{}={}", place + 1, peer(place)));
            return format!("--peers={}", peers.collect::<Vec<_>>().join(","));
        }
        let others = self.wanted().into_iter().filter(|&other| other != place).map(peer);
        format!("--join={}", others.collect::<Vec<_>>().join(","))
    }

    fn signal(&self, place: usize, signal: Signal) -> Result<()> {
        let pid = self.nodes[place].child.as_ref().and_then(|child| i32::try_from(child.id()).ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else { return Ok(()) };
        kill_process(pid, signal)
            .map_err(|errno| Error::io(format!("{signal:?} to {}", self.nodes[place].name))(errno.into()))
    }

    /// Whether the process of a node runs.
    #[must_use]
    pub fn runs(&self, place: usize) -> bool {
        self.nodes[place].child.is_some()
    }

    /// Kills a node with SIGKILL, and returns when the process is gone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&mut self, place: usize) -> Result<()> {
        self.signal(place, Signal::KILL)?;
        let node = &mut self.nodes[place];
        node.paused = false;
        if let Some(mut child) = node.child.take() {
            child.wait().map_err(Error::io(format!("waiting for {}", node.name)))?;
        }
        Ok(())
    }

    /// Pauses a node with SIGSTOP.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn pause(&mut self, place: usize) -> Result<()> {
        self.signal(place, Signal::STOP)?;
        self.nodes[place].paused = self.runs(place);
        Ok(())
    }

    /// Resumes a node with SIGCONT.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn resume(&mut self, place: usize) -> Result<()> {
        self.nodes[place].paused = false;
        self.signal(place, Signal::CONT)
    }

    /// Returns the nodes whose process ended by itself since the last call.
    ///
    /// # Errors
    /// When the status of a process cannot be read.
    pub fn exits(&mut self) -> Result<Vec<Exit>> {
        let mut found = Vec::new();
        for (place, node) in self.nodes.iter_mut().enumerate() {
            let Some(child) = &mut node.child else { continue };
            if let Some(status) =
                child.try_wait().map_err(Error::io(format!("looking after {}", node.name)))?
            {
                node.child = None;
                node.paused = false;
                found.push(Exit { place, status: status.to_string() });
            }
        }
        Ok(found)
    }

    /// Replaces the faults of the network.
    ///
    /// # Errors
    /// When `nft` or `tc` fails.
    pub fn set_faults(&mut self, faults: Faults) -> Result<()> {
        if faults != self.faults {
            faults.apply(&self.sandbox, &self.faults)?;
            self.faults = faults;
        }
        Ok(())
    }

    /// The place of the leader of the newest term for which any node knows a leader; `None` when no node knows one.
    pub async fn leader(&self) -> Option<usize> {
        let mut newest = None;
        for place in self.wanted() {
            if self.nodes[place].paused || !self.runs(place) {
                continue;
            }
            let Some(status) = self.observer.status(place).await else { continue };
            if status["role"] == "leader" {
                newest = newest.max(Some((status["term"].as_u64().unwrap_or_default(), place)));
            }
        }
        newest.map(|(_, place)| place)
    }

    /// Waits until every node that takes part is ready.
    ///
    /// # Errors
    /// [`Error::NotInTime`].
    pub async fn ready(&self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        for place in self.wanted() {
            while self.observer.get(place, "/readyz").await.is_none() {
                if Instant::now() > deadline {
                    let what = format!("{} is ready", self.nodes[place].name);
                    return Err(Error::NotInTime { what, within: READY_WITHIN });
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // End the processes before their disks are unmounted.
        for place in 0..self.nodes.len() {
            if let Err(error) = self.kill(place) {
                eprintln!("jepsen: {error}");
            }
        }
    }
}
