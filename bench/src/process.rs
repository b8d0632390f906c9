//! Starts, measures, kills and stops three server processes by pid.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use batuta_tests::Ports;
use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Error, Result};
use crate::system::NODES;

/// How long a server may take to stop when asked to.
const STOP_TIME: Duration = Duration::from_secs(30);

/// Reserves one port for each node.
pub(crate) fn one_each(ports: &mut Ports) -> Result<Vec<u16>> {
    (0..NODES).map(|_| ports.take()).collect::<Result<_, _>>().map_err(Error::io("reserve a port"))
}

/// How to start one server.
pub(crate) struct Launch {
    /// Name in the cluster.
    pub(crate) name: String,
    /// The program.
    pub(crate) program: PathBuf,
    /// Arguments of the program.
    pub(crate) arguments: Vec<String>,
}

struct Server {
    launch: Launch,
    child: Option<Child>,
}

/// The processes of one cluster, their ports, and the directory that holds all their files. Dropping it kills
/// the processes and removes the directory.
pub(crate) struct Servers {
    nodes: Vec<Server>,
    /// Reserved as long as the servers may be restarted.
    _ports: Ports,
    directory: tempfile::TempDir,
}

impl Servers {
    /// Starts all servers, each with the data directory `<directory>/<name>` in its arguments.
    pub(crate) fn start(directory: tempfile::TempDir, ports: Ports, launches: Vec<Launch>) -> Result<Self> {
        let nodes = launches.into_iter().map(|launch| Server { launch, child: None }).collect();
        let mut servers = Self { nodes, _ports: ports, directory };
        for node in 0..servers.nodes.len() {
            servers.launch(node)?;
        }
        Ok(servers)
    }

    /// Starts a server that is not running; its output goes to `<directory>/<name>.log`.
    pub(crate) fn launch(&mut self, node: usize) -> Result<()> {
        let server = &mut self.nodes[node];
        let log = self.directory.path().join(format!("{}.log", server.launch.name));
        let output = File::options().create(true).append(true).open(&log).map_err(Error::file(&log))?;
        let errors = output.try_clone().map_err(Error::file(&log))?;
        let child = Command::new(&server.launch.program)
            .args(&server.launch.arguments)
            // Ends with this process, however that ends, so that a server can watch it.
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(Error::file(&server.launch.program))?;
        server.child = Some(child);
        Ok(())
    }

    /// Process ids of the running servers.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.nodes.iter().filter_map(|server| server.child.as_ref().map(Child::id)).collect()
    }

    /// Sends kill -9 and waits until the process is gone.
    pub(crate) fn kill(&mut self, node: usize) -> Result<()> {
        let Some(mut child) = self.nodes[node].child.take() else { return Ok(()) };
        child.kill().and_then(|()| child.wait()).map_err(Error::io("kill a server"))?;
        Ok(())
    }

    /// Sends TERM and waits until the process is gone; kills it after 30 s.
    pub(crate) async fn stop(&mut self, node: usize) -> Result<()> {
        let Some(child) = self.nodes[node].child.as_mut() else { return Ok(()) };
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM).map_err(|error| Error::io("stop a server")(error.into()))?;
        }
        let begun = Instant::now();
        while begun.elapsed() < STOP_TIME {
            if child.try_wait().map_err(Error::io("wait for a server"))?.is_some() {
                self.nodes[node].child = None;
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.kill(node)
    }

    /// Disk space taken by the cluster's files, bytes.
    pub(crate) fn disk_bytes(&self) -> Result<u64> {
        disk_bytes(self.directory.path())
    }

    /// Fails when a server has ended by itself, with the end of its output.
    pub(crate) fn check(&mut self) -> Result<()> {
        for server in &mut self.nodes {
            let Some(child) = &mut server.child else { continue };
            if let Some(status) = child.try_wait().map_err(Error::io("wait for a server"))? {
                let name = &server.launch.name;
                let log = self.directory.path().join(format!("{name}.log"));
                let said = fs::read_to_string(&log).unwrap_or_default();
                let tail: Vec<&str> = said.lines().rev().take(5).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                return Err(Error::other(format!("{name} ended ({status}): {}", tail.join(" | "))));
            }
        }
        Ok(())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for server in &mut self.nodes {
            if let Some(mut child) = server.child.take() {
                // The process may have ended before; after this it is gone.
                drop(child.kill());
                drop(child.wait());
            }
        }
    }
}

fn disk_bytes(directory: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for item in fs::read_dir(directory).map_err(Error::file(directory))? {
        let path = item.map_err(Error::file(directory))?.path();
        match fs::symlink_metadata(&path) {
            Ok(data) if data.is_dir() => bytes += disk_bytes(&path)?,
            // Blocks count as 512 bytes, whatever the file system's own size is.
            Ok(data) => bytes += data.blocks() * 512,
            // Servers remove files concurrently.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::file(&path)(error)),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Servers {
        let launch =
            Launch { name: "n1".to_owned(), program: "sleep".into(), arguments: vec!["60".to_owned()] };
        Servers::start(tempfile::tempdir().unwrap(), Ports::default(), vec![launch]).unwrap()
    }

    fn runs(pid: u32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists()
    }

    #[tokio::test]
    async fn started_servers_are_stopped() {
        let mut servers = sleeper();
        let pid = servers.pids()[0];
        servers.check().unwrap();
        assert!(runs(pid));
        servers.stop(0).await.unwrap();
        assert!(!runs(pid) && servers.pids().is_empty());
        servers.launch(0).unwrap();
        let again = servers.pids()[0];
        drop(servers);
        assert!(!runs(again));
    }

    #[test]
    fn a_server_that_ended_is_noticed() {
        let mut servers = sleeper();
        servers.nodes[0].launch.arguments = vec!["not a number".to_owned()];
        servers.kill(0).unwrap();
        servers.launch(0).unwrap();
        let begun = Instant::now();
        while servers.check().is_ok() && begun.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let said = servers.check().unwrap_err().to_string();
        assert!(said.starts_with("n1 ended") && said.contains("sleep:"), "{said}");
    }
}
