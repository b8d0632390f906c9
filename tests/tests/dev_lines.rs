//! The commands that `batuta dev` prints, to be pasted into a shell.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use batuta_tests::{eventually, program};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // `dev` stops its nodes on TERM. If this fails, the test has failed already.
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

async fn line(path: &Path, beginning: &str) -> String {
    eventually(beginning, || async {
        let text = std::fs::read_to_string(path).expect("what it printed");
        let mut lines = text.lines().map(str::trim);
        lines.find(|line| line.starts_with(beginning)).map(str::to_owned)
    })
    .await
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null()).env_remove("BATUTA_ENDPOINTS");
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_node_restarts_with_the_printed_command() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (out, err) = (directory.path().join("out"), directory.path().join("err"));
    let ready = directory.path().join("ready");
    let data = directory.path().join("it's a $HOME");
    let dev = Command::new(program())
        .args(["dev", "--rest-port=0", "--grpc-port=0", "--ws-port=0"])
        .arg(format!("--data-dir={}", data.display()))
        .arg(format!("--ready-file={}", ready.display()))
        .stdin(Stdio::null())
        .stdout(File::create(&out).expect("a file"))
        .stderr(File::create(&err).expect("a file"))
        .spawn()
        .expect("the program under test runs");
    let _dev = Running(dev);
    let export = line(&out, "export BATUTA_ENDPOINTS=").await;
    let nodes: Value = serde_json::from_slice(&std::fs::read(&ready).expect("is ready")).expect("JSON");
    let pid = nodes["nodes"][1]["pid"].as_u64().and_then(|pid| i32::try_from(pid).ok());
    kill_process(pid.and_then(Pid::from_raw).expect("a process id"), Signal::KILL).expect("a node of ours");
    let quoted = program().display();
    let restart = line(&err, &quoted.to_string()).await;
    assert!(restart.contains(r"'\''s a $HOME"), "{restart}");
    let again = shell(&format!("exec {restart}")).stdout(Stdio::null()).spawn().expect("sh runs");
    let again = Running(again);
    eventually("the node is ready again, as another process", || async {
        let text = std::fs::read(data.join("n2.ready")).ok()?;
        let found: Value = serde_json::from_slice(&text).ok()?;
        (found["nodes"][0]["pid"] == again.0.id()).then_some(())
    })
    .await;
    let status = shell(&format!("{export}\n{quoted} cluster status")).output().expect("sh runs");
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    let endpoints = export.trim_start_matches("export BATUTA_ENDPOINTS=");
    assert_eq!(endpoints.split(',').count(), 3, "{export}");
}
