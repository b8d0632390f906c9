//! Processes of the program under test, one by one: with their own standard streams and signals.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::http::Rest;
use crate::{Ports, eventually, program};

/// A process that is killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Its status, once it is known.
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, ended: None }
    }

    /// Its id.
    ///
    /// # Panics
    /// Never: the ids of processes are positive.
    #[must_use]
    pub fn pid(&self) -> Pid {
        pid(self.child.id())
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a signal to our own child");
    }

    /// The other ends of its standard output and error.
    ///
    /// # Panics
    /// When they are no pipes, or were taken before.
    pub fn take_output(&mut self) -> (ChildStdout, ChildStderr) {
        let taken = (self.child.stdout.take(), self.child.stderr.take());
        (taken.0.expect("standard output is a pipe"), taken.1.expect("standard error is a pipe"))
    }

    /// Whether it has not ended.
    ///
    /// # Panics
    /// When its status cannot be read.
    pub fn runs(&mut self) -> bool {
        self.ended = self.ended.or(self.child.try_wait().expect("our own child"));
        self.ended.is_none()
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it does not.
    pub async fn ended(&mut self) -> ExitStatus {
        let what = format!("process {} ends", self.child.id());
        eventually(&what, || {
            let status = if self.runs() { None } else { self.ended };
            async move { status }
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.runs() {
            self.child.kill().expect("our own child");
            self.child.wait().expect("our own child");
        }
    }
}

/// The id of a process.
///
/// # Panics
/// When it is 0 or too large.
#[must_use]
pub fn pid(id: u32) -> Pid {
    i32::try_from(id).ok().and_then(Pid::from_raw).expect("the id of a process")
}

/// Whether a process is there and not merely waiting for somebody to ask for its status.
#[must_use]
pub fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

/// Waits until a file has a whole line; gives the text.
///
/// # Panics
/// When it never has.
pub async fn written(path: &Path) -> String {
    eventually(&format!("{} is written", path.display()), || async {
        std::fs::read_to_string(path).ok().filter(|text| text.ends_with('\n'))
    })
    .await
}

/// A node that runs alone.
#[derive(Debug)]
pub struct Alone {
    /// Its process.
    pub process: Process,
    /// Its REST API.
    pub rest: Rest,
    /// URL of its gRPC API.
    pub grpc: String,
    _ports: Ports,
    _directory: tempfile::TempDir,
}

impl Alone {
    /// Starts a node with this standard error and these further arguments and variables, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start(stderr: Stdio, arguments: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        let directory = tempfile::Builder::new().prefix("batuta-test-").tempdir().expect("a directory");
        let mut ports = Ports::default();
        let peer = ports.take().expect("a free port");
        let ready = directory.path().join("ready");
        let mut command = Command::new(program());
        command
            .args(["server", "--name=n1", "--rest=127.0.0.1:0", "--grpc=127.0.0.1:0", "--ws=127.0.0.1:0"])
            .arg(format!("--data-dir={}", directory.path().join("data").display()))
            .arg(format!("--peer=127.0.0.1:{peer}"))
            .arg(format!("--peers=n1=127.0.0.1:{peer}"))
            .arg(format!("--ready-file={}", ready.display()))
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(stderr);
        change(&mut command);
        let process = Process::start(&mut command);
        // The pipe of the caller must not stay open here.
        drop(command);
        let (rest, grpc) = addresses(&ready).await.remove(0);
        Self { process, rest, grpc, _ports: ports, _directory: directory }
    }
}

/// Where the nodes of a ready file answer, REST and gRPC.
///
/// # Panics
/// When the file is never written, or is none.
pub async fn addresses(ready: &Path) -> Vec<(Rest, String)> {
    let text = written(ready).await;
    let ready: Value = serde_json::from_str(&text).expect("JSON");
    let nodes = ready["nodes"].as_array().expect("nodes");
    let address = |node: &Value, api: &str| node[api].as_str().expect("an address").to_owned();
    nodes.iter().map(|node| (Rest::new(&address(node, "rest")), address(node, "grpc"))).collect()
}

/// A cluster of `batuta dev` with any free ports.
#[derive(Debug)]
pub struct Dev {
    /// Its process, which has a child for each node.
    pub process: Process,
    /// REST and gRPC of each node.
    pub nodes: Vec<(Rest, String)>,
    /// The process of each node.
    pub pids: Vec<Pid>,
}

impl Dev {
    /// The command, with its data and its ready file below a directory.
    #[must_use]
    pub fn command(directory: &Path, arguments: &[&str]) -> (Command, PathBuf) {
        let ready = directory.join("ready");
        let mut command = Command::new(program());
        command
            .args(["dev", "--rest-port=0", "--grpc-port=0", "--ws-port=0"])
            .arg(format!("--data-dir={}", directory.join("data").display()))
            .arg(format!("--ready-file={}", ready.display()))
            .args(arguments)
            .stdin(Stdio::null());
        (command, ready)
    }

    /// Starts a cluster and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start(
        directory: &Path,
        arguments: &[&str],
        stdout: impl Into<Stdio>,
        stderr: impl Into<Stdio>,
    ) -> Self {
        let (mut command, ready) = Self::command(directory, arguments);
        let process = Process::start(command.stdout(stdout).stderr(stderr));
        drop(command);
        let nodes = addresses(&ready).await;
        let told: Value = serde_json::from_str(&written(&ready).await).expect("JSON");
        let pids = told["nodes"].as_array().expect("nodes").iter().map(|node| {
            pid(node["pid"].as_u64().and_then(|id| u32::try_from(id).ok()).expect("the id of a process"))
        });
        Self { process, nodes, pids: pids.collect() }
    }
}
