//! Single processes of the program under test, with their own standard streams and signals.

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
    /// The exit status, once it is known.
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts the process.
    ///
    /// # Panics
    /// When the process cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, ended: None }
    }

    /// The process id.
    ///
    /// # Panics
    /// Never: the ids of processes are positive.
    #[must_use]
    pub fn pid(&self) -> Pid {
        pid(self.child.id())
    }

    /// Sends a signal to the process.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a signal to our own child");
    }

    /// Takes the reading ends of the standard output and error of the process.
    ///
    /// # Panics
    /// When they are not pipes, or were taken before.
    pub fn take_output(&mut self) -> (ChildStdout, ChildStderr) {
        let taken = (self.child.stdout.take(), self.child.stderr.take());
        (taken.0.expect("standard output is a pipe"), taken.1.expect("standard error is a pipe"))
    }

    /// Whether the process still runs.
    ///
    /// # Panics
    /// When the exit status cannot be read.
    pub fn runs(&mut self) -> bool {
        self.ended = self.ended.or(self.child.try_wait().expect("our own child"));
        self.ended.is_none()
    }

    /// Waits until the process ends by itself.
    ///
    /// # Panics
    /// When the process does not end in time.
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

/// Converts a number to a process id.
///
/// # Panics
/// When the number is 0 or too large.
#[must_use]
pub fn pid(id: u32) -> Pid {
    i32::try_from(id).ok().and_then(Pid::from_raw).expect("the id of a process")
}

/// Whether a process exists and is not a zombie.
#[must_use]
pub fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

/// Waits until a file contains a whole line, and returns its text.
///
/// # Panics
/// When the file never contains a line.
pub async fn written(path: &Path) -> String {
    eventually(&format!("{} is written", path.display()), || async {
        std::fs::read_to_string(path).ok().filter(|text| text.ends_with('\n'))
    })
    .await
}

/// A node that runs alone.
#[derive(Debug)]
pub struct Alone {
    /// The node's process.
    pub process: Process,
    /// The node's REST API.
    pub rest: Rest,
    /// Base URL of the node's gRPC API.
    pub grpc: String,
    _ports: Ports,
    _directory: tempfile::TempDir,
}

impl Alone {
    /// Starts a node with this standard error and these additional arguments and variables, and waits until it is ready.
    ///
    /// # Panics
    /// When the node does not become ready.
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
        // Closes this process's copy of the caller's pipe.
        drop(command);
        let (rest, grpc) = addresses(&ready).await.remove(0);
        Self { process, rest, grpc, _ports: ports, _directory: directory }
    }
}

/// Reads the REST and gRPC addresses of all nodes from a ready file.
///
/// # Panics
/// When the file is never written, or is not a ready file.
pub async fn addresses(ready: &Path) -> Vec<(Rest, String)> {
    let text = written(ready).await;
    let ready: Value = serde_json::from_str(&text).expect("JSON");
    let nodes = ready["nodes"].as_array().expect("nodes");
    let address = |node: &Value, api: &str| node[api].as_str().expect("an address").to_owned();
    nodes.iter().map(|node| (Rest::new(&address(node, "rest")), address(node, "grpc"))).collect()
}

/// A cluster of `batuta dev` on free ports.
#[derive(Debug)]
pub struct Dev {
    /// The process of `batuta dev`, which has a child for each node.
    pub process: Process,
    /// The REST API and the gRPC base URL of each node.
    pub nodes: Vec<(Rest, String)>,
    /// The process id of each node.
    pub pids: Vec<Pid>,
}

impl Dev {
    /// Builds the command, with its data and its ready file in a directory. Also returns the path of the ready file.
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
