//! Network namespaces: one for each node, one for the clients, and a switch between them.
//!
//! ```text
//!   bj-<pid>-1    bj-<pid>-2    bj-<pid>-3      bj-<pid>-c  (clients, this harness)
//!  10.77.0.1     10.77.0.2     10.77.0.3       10.77.0.100, 10.77.0.200
//!      │             │             │               │
//!      └─────────────┴── bridge ───┴───────────────┘   in bj-<pid>-s
//! ```
//! All addresses exist only inside the namespaces, so runs are isolated from the machine and from each other.
//! The names contain the process id of the run, so that leftovers can be told from namespaces in use.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Error, Result};

/// The address of the clients.
pub const CLIENTS: &str = "10.77.0.100";
/// The address from which the harness observes the nodes; no fault cuts it off.
pub const OBSERVER: &str = "10.77.0.200";
const PREFIX: &str = "bj-";

/// The namespaces of one run.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// The id of the process that made it.
    pub owner: u32,
    /// The number of places for nodes, running or not.
    pub places: usize,
}

/// Runs a program and returns what it printed.
pub(crate) fn tool(program: &str, args: &[&str]) -> Result<String> {
    let command = || format!("{program} {}", args.join(" "));
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::Tool { command: command(), said: error.to_string() })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Tool { command: command(), said })
}

/// The address of the node at a place.
#[must_use]
pub fn address(place: usize) -> String {
    format!("10.77.0.{}", place + 1)
}

impl Sandbox {
    /// Makes the namespaces. After an error, those already made are removed.
    ///
    /// # Errors
    /// When `ip` is missing or fails (it needs root).
    pub fn create(places: usize) -> Result<Self> {
        let sandbox = Self { owner: std::process::id(), places };
        sandbox.build().inspect_err(|_| sandbox.remove())?;
        Ok(sandbox)
    }

    fn build(&self) -> Result<()> {
        let switch = self.switch();
        tool("ip", &["netns", "add", &switch])?;
        tool("ip", &["-n", &switch, "link", "add", "br0", "type", "bridge"])?;
        tool("ip", &["-n", &switch, "link", "set", "br0", "up"])?;
        for place in 0..self.places {
            self.attach(&self.node(place), &[&address(place)], place)?;
        }
        self.attach(&self.clients(), &[CLIENTS, OBSERVER], self.places)
    }

    /// Makes a namespace and connects it to the switch.
    fn attach(&self, namespace: &str, addresses: &[&str], port: usize) -> Result<()> {
        let (switch, port) = (self.switch(), format!("p{port}"));
        tool("ip", &["netns", "add", namespace])?;
        let peer = ["type", "veth", "peer", "name", "eth0", "netns", namespace];
        tool("ip", &[&["-n", &switch, "link", "add", &port][..], &peer].concat())?;
        tool("ip", &["-n", &switch, "link", "set", &port, "master", "br0", "up"])?;
        for address in addresses {
            tool("ip", &["-n", namespace, "address", "add", &format!("{address}/24"), "dev", "eth0"])?;
        }
        tool("ip", &["-n", namespace, "link", "set", "eth0", "up"])?;
        tool("ip", &["-n", namespace, "link", "set", "lo", "up"])?;
        Ok(())
    }

    fn switch(&self) -> String {
        format!("{PREFIX}{}-s", self.owner)
    }

    /// The name of the clients' namespace.
    #[must_use]
    pub fn clients(&self) -> String {
        format!("{PREFIX}{}-c", self.owner)
    }

    /// The name of the namespace of the node at a place.
    #[must_use]
    pub fn node(&self, place: usize) -> String {
        format!("{PREFIX}{}-{}", self.owner, place + 1)
    }

    /// A command that runs a program inside a namespace.
    #[must_use]
    pub fn inside(namespace: &str, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/var/run/netns/{namespace}")).arg("--").arg(program);
        command
    }

    /// Ends every process in the namespaces and removes them. Failures are only printed, because nothing else can be done about
    /// them.
    pub fn remove(&self) {
        for namespace in all().unwrap_or_default() {
            if owner_of(&namespace) == Some(self.owner)
                && let Err(error) = remove_namespace(&namespace)
            {
                eprintln!("jepsen: {error}");
            }
        }
    }
}

fn all() -> Result<Vec<String>> {
    let list = tool("ip", &["netns", "list"])?;
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    Ok(names.filter(|name| name.starts_with(PREFIX)).map(str::to_owned).collect())
}

fn owner_of(namespace: &str) -> Option<u32> {
    namespace.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

fn remove_namespace(namespace: &str) -> Result<()> {
    for pid in tool("ip", &["netns", "pids", namespace])?.split_whitespace() {
        if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw)
            && pid != rustix::process::getpid()
        {
            // The process may already have ended.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    tool("ip", &["netns", "delete", namespace]).map(drop)
}

/// Unmounts the disks that a run left behind, which nothing serves any more.
pub fn unmount_below(dir: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for at in mounts.lines().filter_map(|line| line.split_whitespace().nth(1)) {
        if Path::new(at).starts_with(dir)
            && let Err(error) = tool("umount", &["-l", at])
        {
            eprintln!("jepsen: {error}");
        }
    }
}

/// Removes the namespaces of runs whose process has ended; returns their names.
///
/// # Errors
/// When `ip` is missing or fails.
pub fn clean() -> Result<Vec<String>> {
    let mut removed = Vec::new();
    let mounts = std::fs::read_to_string("/proc/self/mounts").map_err(Error::io("/proc/self/mounts"))?;
    for at in mounts.lines().filter_map(|line| line.strip_prefix("jepsen ")?.split_whitespace().next()) {
        // A disk that nothing serves any more answers with an error.
        if std::fs::metadata(at).is_err() {
            tool("umount", &["-l", at])?;
            removed.push(at.to_owned());
        }
    }
    for namespace in all()? {
        let running = owner_of(&namespace).is_some_and(|owner| {
            let line = std::fs::read(format!("/proc/{owner}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains("jepsen")
        });
        if !running {
            remove_namespace(&namespace)?;
            removed.push(namespace);
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_says_whose_it_is() {
        let sandbox = Sandbox { owner: 4711, places: 3 };
        for name in [sandbox.switch(), sandbox.clients(), sandbox.node(2)] {
            assert_eq!(owner_of(&name), Some(4711), "{name}");
        }
        assert_eq!(owner_of("other"), None);
        assert_eq!(address(2), "10.77.0.3");
    }
}
