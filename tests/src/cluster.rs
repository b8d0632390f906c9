//! A cluster of `batuta server` processes.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::{Value, json};

use crate::http::Rest;
use crate::{PATIENCE, Ports, eventually};

/// The program under test: the one that `BATUTA_PROGRAM` names, else one that is built once per test binary, so that it is never an
/// old one.
///
/// # Panics
/// When it is not there or does not build.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(program) = std::env::var_os("BATUTA_PROGRAM") {
            let program = PathBuf::from(program);
            assert!(program.exists(), "BATUTA_PROGRAM is {}, which is not there", program.display());
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
    /// Its name.
    pub name: String,
    /// Where its data lies.
    pub data_dir: PathBuf,
    /// Its REST API.
    pub rest: Rest,
    /// Base URL of its gRPC API.
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

    /// Whether its process was started and has ended by itself.
    ///
    /// # Panics
    /// When the kernel does not know it any more.
    #[must_use]
    pub fn ended(&self) -> bool {
        let looks = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.pid().is_some_and(|pid| waitid(WaitId::Pid(pid), looks).expect("our own child").is_some())
    }

    /// Memory of the process, bytes.
    ///
    /// # Panics
    /// When it does not run, or this is not Linux.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let pid = self.pid().expect("a running node").as_raw_nonzero();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process of ours");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        1024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
    }

    /// The id of its process, while that runs.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// host:port of its gRPC API.
    #[must_use]
    pub fn grpc_address(&self) -> String {
        format!("127.0.0.1:{}", self.grpc_port)
    }

    /// Sends a signal to the process, if it runs.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            kill_process(pid, signal).expect("a signal to our own child");
        }
    }

    /// STOP, and waits until every thread of the process stands still.
    ///
    /// # Panics
    /// When the process does not run.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        let pid = self.pid().expect("a running node");
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid), stopped).expect("our own child");
    }

    /// kill -9, and waits until the process is gone.
    ///
    /// # Panics
    /// When the process can not be waited for.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        if let Some(mut child) = self.child.take() {
            child.wait().expect("our own child");
        }
    }

    /// TERM, and waits until the process is gone; gives its exit code and how long that took.
    ///
    /// # Panics
    /// When it does not stop in time.
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

    /// Waits until its process has ended by itself; gives the exit code.
    ///
    /// # Panics
    /// When it goes on.
    pub async fn ends(&mut self) -> Option<i32> {
        eventually(&format!("{} ends", self.name), || async { self.ended().then_some(()) }).await;
        let mut child = self.child.take().expect("a process that was started");
        child.wait().expect("our own child").code()
    }

    /// Waits until its process, which goes on, has written `what` to its log. The cluster must keep the logs.
    ///
    /// # Panics
    /// When it does not.
    pub async fn says(&self, what: &str) {
        eventually(&format!("{} says {what:?}", self.name), || async {
            self.log().contains(what).then_some(())
        })
        .await;
    }

    /// What its processes have written to standard error, when the cluster keeps it.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.data_dir.with_extension("log")
    }

    /// host:port of its peer port.
    #[must_use]
    pub fn peer_address(&self) -> String {
        format!("127.0.0.1:{}", self.peer_port)
    }

    /// Waits until the node says it is ready.
    ///
    /// # Panics
    /// When its process ends instead; what it said is in the output of the test.
    pub async fn ready(&self) {
        eventually(&format!("{} is ready", self.name), || async {
            assert!(!self.ended(), "{} ended before it was ready", self.name);
            let answer = self.rest.try_send("GET", "/readyz", &[], None).await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    /// host:port of its REST API.
    #[must_use]
    pub fn rest_address(&self) -> String {
        format!("127.0.0.1:{}", self.rest_port)
    }

    /// URL of its WebSocket API, as it is reached on the REST port.
    #[must_use]
    pub fn ws(&self) -> String {
        format!("ws://127.0.0.1:{}/ws/v1", self.rest_port)
    }

    /// URL of its GraphQL API for WebSocket.
    #[must_use]
    pub fn graphql(&self) -> String {
        format!("ws://127.0.0.1:{}/graphql", self.rest_port)
    }

    /// The node's own view of the cluster.
    pub async fn status(&self) -> Value {
        self.rest.get("/api/v1/cluster").await.expect(200).body
    }
}

/// A cluster of real processes in a temporary directory.
pub struct Cluster {
    /// The nodes, in order of their names.
    pub nodes: Vec<Node>,
    extra: Vec<String>,
    keeps_logs: bool,
    ports: Ports,
    directory: tempfile::TempDir,
}

impl Cluster {
    /// As [`Self::start`], with what the nodes say kept.
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

    /// Likewise, with further arguments for every node.
    ///
    /// # Panics
    /// When the machine can not run it.
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

    /// From now on, has what nodes write to standard error kept in files, for [`Node::log`].
    pub fn keep_logs(&mut self) {
        self.keeps_logs = true;
    }

    /// Gives a node that does not run another port for its peers.
    ///
    /// # Panics
    /// When the machine has no port left.
    pub fn move_peer(&mut self, place: usize) {
        self.nodes[place].peer_port = self.ports.take().expect("a free port");
    }

    /// Has two nodes that do not run trade the ports for their peers.
    pub fn trade_peers(&mut self, one: usize, other: usize) {
        let port = self.nodes[one].peer_port;
        self.nodes[one].peer_port = self.nodes[other].peer_port;
        self.nodes[other].peer_port = port;
    }

    /// Copies a node's data for a second process of the same name, with ports of its own; gives its place.
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

    /// `--peers` with the nodes at these places.
    #[must_use]
    pub fn peers(&self, places: &[usize]) -> String {
        let peers: Vec<String> = places
            .iter()
            .map(|&place| format!("{}={}", self.nodes[place].name, self.nodes[place].peer_address()))
            .collect();
        format!("--peers={}", peers.join(","))
    }

    /// Adds a node that does not run yet; gives its place.
    ///
    /// # Panics
    /// When the machine has no port left.
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

    /// Puts a node's data elsewhere (a small disk, for example). Before it is launched.
    pub fn place(&mut self, place: usize, data_dir: PathBuf) {
        self.nodes[place].data_dir = data_dir;
    }

    /// Starts the process of a node as a member of the static set.
    pub fn launch(&mut self, place: usize, more: &[&str]) {
        let peers: Vec<String> =
            self.nodes.iter().map(|node| format!("{}=127.0.0.1:{}", node.name, node.peer_port)).collect();
        let peers = format!("--peers={}", peers.join(","));
        let more: Vec<&str> = [peers.as_str()].into_iter().chain(more.iter().copied()).collect();
        self.spawn(place, &more);
    }

    /// Starts the process of a node that joins through the others.
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

    /// Starts a second process over the node's data, with one more argument, that must end with an error; gives what it said.
    ///
    /// # Panics
    /// When it starts all the same.
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
        // Its standard input has ended: should it start, it stops again.
        let output = command.stdin(Stdio::null()).output().expect("the program under test runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "it started: {said}");
        said
    }

    /// Starts the process of a node with these arguments beside its own name, directory and addresses.
    ///
    /// # Panics
    /// When it runs already.
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

    /// The place of the leader, once there is one that a majority of the running nodes agrees on.
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

    /// A place that is not the leader's.
    ///
    /// # Panics
    /// When only the leader runs.
    pub async fn follower(&self) -> usize {
        let leader = self.leader().await;
        (0..self.nodes.len())
            .find(|&place| place != leader && self.nodes[place].child.is_some())
            .expect("a running follower")
    }

    /// gRPC base URLs of all nodes.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.grpc.clone()).collect()
    }

    /// Takes a lock of an hour through a node, under a key of its name.
    ///
    /// # Panics
    /// When it is not granted.
    pub async fn take(&self, place: usize, name: &str) {
        let (key, body) = (format!("take-{name}"), json!({"name": name, "ttl_ms": 3_600_000}));
        let rest = &self.nodes[place].rest;
        let taken = || async { rest.post_with_key("/api/v1/locks", &key, &body).await };
        let answer = eventually(&format!("{name} is granted"), taken).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }

    /// Waits until all running nodes have applied the same entries, and fails when their states then differ.
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
