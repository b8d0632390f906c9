//! A cluster of `batuta server` processes.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::{Value, json};

use crate::http::Rest;
use crate::{PATIENCE, Ports, eventually};

/// Path of the program under test: `BATUTA_PROGRAM` if set, else a program that is built once per test binary, so that it is never
/// out of date.
///
/// # Panics
/// When the program does not exist or does not build.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(program) = std::env::var_os("BATUTA_PROGRAM") {
            let program = PathBuf::from(program);
            assert!(program.exists(), "BATUTA_PROGRAM is {}, which does not exist", program.display());
            return program;
        }
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "--package", "batuta"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo runs: it runs this test");
        assert!(status.success(), "the program under test does not build");
        let test = std::env::current_exe().expect("a test knows its own path");
        let profile = test.parent().and_then(Path::parent).expect("tests lie in <target>/<profile>/deps");
        let program = profile.join("batuta");
        assert!(program.exists(), "{} was not built", program.display());
        program
    })
}

/// One node of a cluster, running or not.
pub struct Node {
    /// The node's name.
    pub name: String,
    /// The node's data directory.
    pub data_dir: PathBuf,
    /// The node's REST API.
    pub rest: Rest,
    /// Base URL of the node's gRPC API.
    pub grpc: String,
    rest_port: u16,
    grpc_port: u16,
    peer_port: u16,
    child: Option<Child>,
}

impl Node {
    fn pid(&self) -> Option<Pid> {
        self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok()).and_then(Pid::from_raw)
    }

    /// Whether the node's process was started and has ended by itself.
    ///
    /// # Panics
    /// When the kernel no longer knows the process.
    #[must_use]
    pub fn ended(&self) -> bool {
        let looks = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.pid().is_some_and(|pid| waitid(WaitId::Pid(pid), looks).expect("our own child").is_some())
    }

    /// Resident memory of the process, in bytes.
    ///
    /// # Panics
    /// When the process does not run, or the system is not Linux.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let pid = self.pid().expect("a running node").as_raw_nonzero();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process of ours");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        1024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
    }

    /// The process id, while the process runs.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// host:port of the node's gRPC API.
    #[must_use]
    pub fn grpc_address(&self) -> String {
        format!("127.0.0.1:{}", self.grpc_port)
    }

    /// Sends a signal to the process if it runs.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            kill_process(pid, signal).expect("a signal to our own child");
        }
    }

    /// Sends STOP, and waits until every thread of the process is stopped.
    ///
    /// # Panics
    /// When the process does not run.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        let pid = self.pid().expect("a running node");
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid), stopped).expect("our own child");
    }

    /// Sends KILL, and waits until the process is gone.
    ///
    /// # Panics
    /// When the process cannot be waited for.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        if let Some(mut child) = self.child.take() {
            child.wait().expect("our own child");
        }
    }

    /// Sends TERM, and waits until the process is gone. Returns its exit code and how long the stop took.
    ///
    /// # Panics
    /// When the process does not stop in time.
    pub async fn stop(&mut self) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        self.signal(Signal::TERM);
        let mut child = self.child.take().expect("a running node");
        while begun.elapsed() < PATIENCE {
            if let Some(status) = child.try_wait().expect("our own child") {
                return (status.code(), begun.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        child.kill().expect("our own child");
        child.wait().expect("our own child");
        panic!("{} did not stop after TERM", self.name);
    }

    /// Waits until the process has ended by itself, and returns the exit code.
    ///
    /// # Panics
    /// When the process does not end in time.
    pub async fn ends(&mut self) -> Option<i32> {
        eventually(&format!("{} ends", self.name), || async { self.ended().then_some(()) }).await;
        let mut child = self.child.take().expect("a process that was started");
        child.wait().expect("our own child").code()
    }

    /// Waits until the running process has written `what` to its log. The cluster must keep the logs.
    ///
    /// # Panics
    /// When it does not.
    pub async fn says(&self, what: &str) {
        eventually(&format!("{} says {what:?}", self.name), || async {
            self.log().contains(what).then_some(())
        })
        .await;
    }

    /// Everything that the node's processes have written to standard error. Empty unless the cluster keeps the logs.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.data_dir.with_extension("log")
    }

    /// host:port of the node's peer port.
    #[must_use]
    pub fn peer_address(&self) -> String {
        format!("127.0.0.1:{}", self.peer_port)
    }

    /// Waits until the node reports that it is ready.
    ///
    /// # Panics
    /// When the process ends instead. Its standard error is in the output of the test.
    pub async fn ready(&self) {
        eventually(&format!("{} is ready", self.name), || async {
            assert!(!self.ended(), "{} ended before it was ready", self.name);
            let answer = self.rest.try_send("GET", "/readyz", &[], None).await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    /// host:port of the node's REST API.
    #[must_use]
    pub fn rest_address(&self) -> String {
        format!("127.0.0.1:{}", self.rest_port)
    }

    /// URL of the node's WebSocket API, on the REST port.
    #[must_use]
    pub fn ws(&self) -> String {
        format!("ws://127.0.0.1:{}/ws/v1", self.rest_port)
    }

    /// URL of the node's GraphQL API over WebSocket.
    #[must_use]
    pub fn graphql(&self) -> String {
        format!("ws://127.0.0.1:{}/graphql", self.rest_port)
    }

    /// The cluster as this node sees it: the body of `GET /api/v1/cluster`.
    pub async fn status(&self) -> Value {
        self.rest.get("/api/v1/cluster").await.expect(200).body
    }
}

/// A cluster of real processes in a temporary directory.
pub struct Cluster {
    /// The nodes, ordered by name.
    pub nodes: Vec<Node>,
    extra: Vec<String>,
    keeps_logs: bool,
    ports: Ports,
    directory: tempfile::TempDir,
}

impl Cluster {
    /// Like [`Self::start`], but keeps the logs of the nodes.
    pub async fn start_listening(count: usize) -> Self {
        let mut cluster = Self::prepare(count, &[]);
        cluster.keep_logs();
        cluster.launch_all().await;
        cluster
    }

    /// Starts `count` nodes and waits until all are ready.
    pub async fn start(count: usize) -> Self {
        Self::start_with(count, &[]).await
    }

    /// Like [`Self::start`], with additional arguments for every node.
    ///
    /// # Panics
    /// When the machine cannot run the cluster.
    pub async fn start_with(count: usize, extra: &[&str]) -> Self {
        let mut cluster = Self::prepare(count, extra);
        cluster.launch_all().await;
        cluster
    }

    fn prepare(count: usize, extra: &[&str]) -> Self {
        let directory =
            tempfile::Builder::new().prefix("batuta-test-").tempdir().expect("a temporary directory");
        let extra = extra.iter().map(|&word| word.to_owned()).collect();
        let mut cluster =
            Self { nodes: Vec::new(), extra, keeps_logs: false, ports: Ports::default(), directory };
        for i in 1..=count {
            cluster.add(&format!("n{i}"));
        }
        cluster
    }

    async fn launch_all(&mut self) {
        for place in 0..self.nodes.len() {
            self.launch(place, &[]);
        }
        for node in &self.nodes {
            node.ready().await;
        }
    }

    /// Keeps in files what processes started from now on write to standard error, for [`Node::log`].
    pub fn keep_logs(&mut self) {
        self.keeps_logs = true;
    }

    /// Assigns a new peer port to a node that does not run.
    ///
    /// # Panics
    /// When the machine has no free port left.
    pub fn move_peer(&mut self, place: usize) {
        self.nodes[place].peer_port = self.ports.take().expect("a free port");
    }

    /// Swaps the peer ports of two nodes that do not run.
    pub fn trade_peers(&mut self, one: usize, other: usize) {
        let port = self.nodes[one].peer_port;
        self.nodes[one].peer_port = self.nodes[other].peer_port;
        self.nodes[other].peer_port = port;
    }

    /// Copies a node's data for a second process of the same name, with its own ports. Returns the place of the copy.
    ///
    /// # Panics
    /// When the data cannot be copied.
    pub fn copy(&mut self, place: usize) -> usize {
        let copy = self.add(&self.nodes[place].name.clone());
        let data_dir = self.nodes[copy].data_dir.with_extension("copy");
        let (from, to) = (&self.nodes[place].data_dir, &data_dir);
        let status = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
        assert!(status.success(), "the data are copied");
        self.place(copy, data_dir);
        copy
    }

    /// The argument `--peers` with the nodes at these places.
    #[must_use]
    pub fn peers(&self, places: &[usize]) -> String {
        let peers: Vec<String> = places
            .iter()
            .map(|&place| format!("{}={}", self.nodes[place].name, self.nodes[place].peer_address()))
            .collect();
        format!("--peers={}", peers.join(","))
    }

    /// Adds a node that does not run yet, and returns its place.
    ///
    /// # Panics
    /// When the machine has no free port left.
    pub fn add(&mut self, name: &str) -> usize {
        let mut port = || self.ports.take().expect("a free port");
        let (rest_port, grpc_port, peer_port) = (port(), port(), port());
        self.nodes.push(Node {
            name: name.to_owned(),
            data_dir: self.directory.path().join(name),
            rest: Rest::new(&format!("http://127.0.0.1:{rest_port}")),
            grpc: format!("http://127.0.0.1:{grpc_port}"),
            rest_port,
            grpc_port,
            peer_port,
            child: None,
        });
        self.nodes.len() - 1
    }

    /// Sets a node's data directory, for example to one on a small disk. Call it before the node is launched.
    pub fn place(&mut self, place: usize, data_dir: PathBuf) {
        self.nodes[place].data_dir = data_dir;
    }

    /// Starts the process of a node with `--peers`.
    pub fn launch(&mut self, place: usize, more: &[&str]) {
        let peers: Vec<String> =
            self.nodes.iter().map(|node| format!("{}=127.0.0.1:{}", node.name, node.peer_port)).collect();
        let peers = format!("--peers={}", peers.join(","));
        let more: Vec<&str> = [peers.as_str()].into_iter().chain(more.iter().copied()).collect();
        self.spawn(place, &more);
    }

    /// Starts the process of a node that joins through the other nodes.
    pub fn launch_joining(&mut self, place: usize) {
        let others: Vec<String> = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != place)
            .map(|(_, node)| format!("127.0.0.1:{}", node.peer_port))
            .collect();
        let join = format!("--join={}", others.join(","));
        self.spawn(place, &[&join]);
    }

    /// Starts a second process over the node's data, with one more argument. It must end with an error; returns its standard error.
    ///
    /// # Panics
    /// When the second process does start.
    #[must_use]
    pub fn refuses_to_start(&self, place: usize, more: &str) -> String {
        let node = &self.nodes[place];
        let (own, data_dir) =
            (format!("--name={}", node.name), format!("--data-dir={}", node.data_dir.display()));
        let name = if more.starts_with("--name=") { more } else { &own };
        let peers = format!("--peers={}=127.0.0.1:{}", &name["--name=".len()..], node.peer_port);
        let listen = ["--rest=127.0.0.1:0", "--grpc=127.0.0.1:0", "--ws=127.0.0.1:0", "--peer=127.0.0.1:0"];
        let mut command = Command::new(program());
        command.args(["server", name, &data_dir, &peers, "--stop-with-stdin"]).args(listen);
        if more != name {
            command.arg(more);
        }
        // Standard input is closed, so the process stops again if it does start.
        let output = command.stdin(Stdio::null()).output().expect("the program under test runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "it started: {said}");
        said
    }

    /// Starts the process of a node with these arguments, besides its name, directory and addresses.
    ///
    /// # Panics
    /// When the node already runs.
    pub fn spawn(&mut self, place: usize, more: &[&str]) {
        let keeps_logs = self.keeps_logs;
        let node = &mut self.nodes[place];
        assert!(node.child.is_none(), "{} runs already", node.name);
        let log = || {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(node.log_file());
            Stdio::from(file.expect("a log file"))
        };
        let child = Command::new(program())
            .arg("server")
            .arg(format!("--name={}", node.name))
            .arg(format!("--data-dir={}", node.data_dir.display()))
            .arg(format!("--rest=127.0.0.1:{}", node.rest_port))
            .arg(format!("--grpc=127.0.0.1:{}", node.grpc_port))
            .arg("--ws=127.0.0.1:0")
            .arg(format!("--peer=127.0.0.1:{}", node.peer_port))
            .arg("--log-level=warn")
            .args(&self.extra)
            .args(more)
            .arg("--stop-with-stdin")
            .stdin(Stdio::piped())
            .stderr(if keeps_logs { log() } else { Stdio::inherit() })
            .spawn()
            .expect("the program under test runs");
        node.child = Some(child);
    }

    /// Waits until a majority of the running nodes agrees on a leader, and returns its place.
    pub async fn leader(&self) -> usize {
        eventually("a leader", || async {
            for (place, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.child.is_some()) {
                let Ok(answer) = node.rest.try_send("GET", "/api/v1/cluster", &[], None).await else {
                    continue;
                };
                if answer.body["role"] == "leader" && answer.body["ready"] == true {
                    return Some(place);
                }
            }
            None
        })
        .await
    }

    /// Returns the place of a running node that is not the leader.
    ///
    /// # Panics
    /// When only the leader runs.
    pub async fn follower(&self) -> usize {
        let leader = self.leader().await;
        (0..self.nodes.len())
            .find(|&place| place != leader && self.nodes[place].child.is_some())
            .expect("a running follower")
    }

    /// Base URLs of the gRPC APIs of all nodes.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.grpc.clone()).collect()
    }

    /// Takes a lock for an hour through a node, with the lock's name as idempotency key.
    ///
    /// # Panics
    /// When the lock is not granted.
    pub async fn take(&self, place: usize, name: &str) {
        let (key, body) = (format!("take-{name}"), json!({"name": name, "ttl_ms": 3_600_000}));
        let rest = &self.nodes[place].rest;
        let taken = || async { rest.post_with_key("/api/v1/locks", &key, &body).await };
        let answer = eventually(&format!("{name} is granted"), taken).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }

    /// Waits until all running nodes have applied the same entries, then compares their states.
    ///
    /// # Panics
    /// When two nodes at the same applied index have different states.
    pub async fn converged(&self) {
        let hashes = eventually("all nodes applied the same entries", || async {
            let mut seen = Vec::new();
            for node in self.nodes.iter().filter(|node| node.child.is_some()) {
                let answer = node.rest.try_send("GET", "/api/v1/cluster", &[], None).await.ok()?;
                seen.push((
                    answer.body["applied_index"].as_u64()?,
                    answer.body["state_hash"].as_str()?.to_owned(),
                ));
            }
            seen.windows(2).all(|pair| pair[0].0 == pair[1].0).then_some(seen)
        })
        .await;
        assert!(hashes.windows(2).all(|pair| pair[0].1 == pair[1].1), "states differ: {hashes:?}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.kill();
            if std::thread::panicking() && self.keeps_logs {
                eprintln!("{} said:\n{}", node.name, node.log());
            }
        }
    }
}
