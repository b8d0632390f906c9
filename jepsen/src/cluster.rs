//! The nodes: real `batuta server` processes, each in its own network namespace.

use std::fs::{self, File, OpenOptions};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::clock::{Clock, Wrong};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::network::Faults;
use crate::proxy::Proxy;
use crate::sandbox::{OBSERVER, Sandbox, address};

/// Ports of every node: REST, gRPC, WebSocket, peers.
pub const PORTS: [u16; 4] = [8080, 9090, 8081, 7070];
/// Where a proxy takes what is for the peer port.
const PROXY_PORT: u16 = 7170;
/// How long a node may take to be ready on a machine that is busy.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// How long the observer waits for an answer.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// How long it waits when it asks for a change.
const CHANGE_WITHIN: Duration = Duration::from_secs(5);

/// How the nodes are started.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program.
    pub batuta: PathBuf,
    /// Where the run keeps what it makes.
    pub dir: PathBuf,
    /// Nodes of the static set; places beyond it are for nodes that join later.
    pub nodes: usize,
    /// Log entries between two snapshots.
    pub snapshot_entries: u64,
    /// Their data lie on disks of the harness.
    pub disks: bool,
    /// The library of wrong clocks.
    pub clocks: Option<PathBuf>,
    /// Proxies stand between them.
    pub proxies: bool,
}

/// One node.
pub struct Node {
    /// Its name.
    pub name: String,
    /// Where its data lie.
    pub data_dir: PathBuf,
    child: Option<Child>,
    /// Stopped by SIGSTOP.
    pub paused: bool,
    /// It takes part in the cluster: it is to run when nothing is wrong.
    pub wanted: bool,
    /// It is in the static set; others join.
    founder: bool,
}

/// How a process ended by itself.
#[derive(Clone, Debug)]
pub struct Exit {
    /// Which node.
    pub place: usize,
    /// How.
    pub status: String,
}

/// The nodes of a run and the network between them.
pub struct Cluster {
    /// The namespaces.
    pub sandbox: Sandbox,
    settings: Settings,
    /// The nodes, by place.
    pub nodes: Vec<Node>,
    /// What is wrong with the network.
    faults: Faults,
    observer: Observer,
    disks: Vec<Option<Disk>>,
    clocks: Vec<Option<Clock>>,
    proxies: Vec<Proxy>,
}

/// A look at the nodes that no fault of the network cuts off.
#[derive(Clone, Debug)]
pub struct Observer {
    http: reqwest::Client,
}

impl Observer {
    /// Looks from inside the clients' namespace.
    ///
    /// # Errors
    /// When no HTTP client can be built.
    pub fn new() -> Result<Self> {
        let usage =
            |error: &dyn std::fmt::Display| Error::Usage(format!("the observer's HTTP client: {error}"));
        let from: IpAddr = OBSERVER.parse().map_err(|error| usage(&error))?;
        let http = reqwest::Client::builder().local_address(from).timeout(LOOK_WITHIN).build();
        Ok(Self { http: http.map_err(|error| usage(&error))? })
    }

    /// A GET of a node's REST API; `None` without an answer of success.
    pub async fn get(&self, place: usize, path: &str) -> Option<Value> {
        self.send(reqwest::Method::GET, place, path, None).await.ok()
    }

    /// A request to a node's REST API.
    ///
    /// # Errors
    /// What it answered, or why it did not.
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
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let success = answer.status().is_success();
        let text = answer.text().await.map_err(|error| error.to_string())?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        if success { Ok(body) } else { Err(text) }
    }

    /// The node's own view of the cluster.
    pub async fn status(&self, place: usize) -> Option<Value> {
        self.get(place, "/api/v1/cluster").await
    }
}

impl Cluster {
    /// A cluster of which nothing runs yet.
    ///
    /// # Errors
    /// When the directory can not be made.
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

    /// The disk of a node, when the harness has disks.
    #[must_use]
    pub fn disk(&self, place: usize) -> Option<&Disk> {
        self.disks[place].as_ref()
    }

    /// Sets a node's clocks wrong, when the harness has clocks.
    ///
    /// # Errors
    /// When they can not be set.
    pub fn set_clock(&mut self, place: usize, wrong: Wrong) -> Result<()> {
        self.clocks[place].as_mut().map_or(Ok(()), |clock| clock.set(wrong))
    }

    /// Holds what nodes tell each other back for up to so long.
    ///
    /// # Errors
    /// When a proxy is gone.
    pub fn delay(&mut self, ms: u64) -> Result<()> {
        self.proxies.iter_mut().try_for_each(|proxy| proxy.delay(ms))
    }

    /// Places that nobody takes.
    #[must_use]
    pub fn unused(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&place| !self.nodes[place].wanted).collect()
    }

    /// The node loses everything it has, and its life with it. From then on it joins.
    ///
    /// # Errors
    /// When the files can not be removed.
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

    /// The node has left: it stops for good, and its data go.
    ///
    /// # Errors
    /// When the files can not be removed.
    pub fn retire(&mut self, place: usize) -> Result<()> {
        self.wipe(place)?;
        self.nodes[place].wanted = false;
        Ok(())
    }

    /// A look at the nodes.
    #[must_use]
    pub fn observer(&self) -> Observer {
        self.observer.clone()
    }

    /// Places of the nodes that take part.
    #[must_use]
    pub fn wanted(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&place| self.nodes[place].wanted).collect()
    }

    /// Names of some places, for people.
    #[must_use]
    pub fn names(&self, places: &[usize]) -> String {
        places.iter().map(|&place| self.nodes[place].name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Where a node's own log goes.
    #[must_use]
    pub fn log_path(dir: &Path, name: &str) -> PathBuf {
        dir.join(format!("{name}.log"))
    }

    /// Starts a node that does not run.
    ///
    /// # Errors
    /// When the process can not be started.
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

    /// Whom a node forms a cluster with.
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

    /// Whether the process of a node is there.
    #[must_use]
    pub fn runs(&self, place: usize) -> bool {
        self.nodes[place].child.is_some()
    }

    /// kill -9; returns when the process is gone.
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

    /// SIGSTOP.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn pause(&mut self, place: usize) -> Result<()> {
        self.signal(place, Signal::STOP)?;
        self.nodes[place].paused = self.runs(place);
        Ok(())
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn resume(&mut self, place: usize) -> Result<()> {
        self.nodes[place].paused = false;
        self.signal(place, Signal::CONT)
    }

    /// Nodes whose process ended by itself since the last call.
    ///
    /// # Errors
    /// When a process can not be asked.
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

    /// Puts faults of the network into force, in place of those before.
    ///
    /// # Errors
    /// When the tools refuse.
    pub fn set_faults(&mut self, faults: Faults) -> Result<()> {
        if faults != self.faults {
            faults.apply(&self.sandbox, &self.faults)?;
            self.faults = faults;
        }
        Ok(())
    }

    /// The place that leads, in the newest term that any node knows a leader of; `None` when nobody says so.
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
        // Before their disks go.
        for place in 0..self.nodes.len() {
            if let Err(error) = self.kill(place) {
                eprintln!("jepsen: {error}");
            }
        }
    }
}
