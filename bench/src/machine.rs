//! The machine on which the figures were measured.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use crate::error::{Error, Result};

/// The machine, and the time of the measurement.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// Time in UTC.
    pub(crate) measured_at: String,
    /// Model and number of the processors.
    pub(crate) processors: String,
    /// Memory, GiB.
    pub(crate) memory_gib: u64,
    /// Version of the kernel.
    pub(crate) kernel: String,
    /// File system and device of the servers' data.
    pub(crate) disk: String,
    /// Load average when the measurement began, as a warning: the machine should have been idle.
    pub(crate) load_before: String,
    /// Commit of the source tree, followed by `+` if there were uncommitted changes.
    pub(crate) commit: String,
}

impl Machine {
    /// Describes this machine.
    ///
    /// # Errors
    /// When its description cannot be read.
    pub(crate) fn here(data: &Path) -> Result<Self> {
        let processors = read("/proc/cpuinfo")?;
        let model = value(&processors, "model name").unwrap_or("unknown processor");
        let count = processors.lines().filter(|line| line.starts_with("processor")).count();
        let memory = read("/proc/meminfo")?;
        let memory_kib =
            value(&memory, "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        let data = data.canonicalize().map_err(Error::file(data))?;
        let disk = file_system(&read("/proc/mounts")?, &data.display().to_string());
        let load = read("/proc/loadavg")?;
        Ok(Self {
            measured_at: output("date", &["-u", "+%F %H:%M UTC"]).unwrap_or_default(),
            processors: format!("{count} × {model}"),
            memory_gib: memory_kib.unwrap_or_default().div_ceil(1 << 20),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            disk,
            load_before: load.split(' ').next().unwrap_or_default().to_owned(),
            commit: commit(),
        })
    }

    /// Fails when the data would be in memory: a sync would then cost nothing and the figures would be
    /// meaningless.
    pub(crate) fn needs_a_disk(&self) -> Result<()> {
        if ["tmpfs ", "ramfs "].iter().any(|kind| self.disk.starts_with(kind)) {
            return Err(Error::other(format!(
                "the data would be on {}: name a disk's directory with --data",
                self.disk
            )));
        }
        Ok(())
    }
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(Error::io(path))
}

fn commit() -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    let Some(commit) = output("git", &["-C", root, "rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let changed = output("git", &["-C", root, "status", "--porcelain", "--untracked-files=no"]);
    // The reports themselves are written into the tree.
    let changed = changed.is_some_and(|lines| lines.lines().any(|line| !line.contains("docs/performance")));
    if changed { format!("{commit}+") } else { commit }
}

/// The trimmed output of a program; `None` when it cannot be run or fails.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The value of the first `name : value` line.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':')).map(str::trim)
}

/// Type and device of the file system that holds a path, from the lines of `/proc/mounts`.
fn file_system(mounts: &str, path: &str) -> String {
    let mut best = (0, "unknown".to_owned());
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let (Some(device), Some(point), Some(kind)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let below = point == "/" || path == point || path.starts_with(&format!("{point}/"));
        if below && point.len() >= best.0 {
            best = (point.len(), format!("{kind} on {device}"));
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_file_system_counts() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp/disk xfs rw 0 0\n";
        assert_eq!(file_system(mounts, "/home/x"), "ext4 on /dev/vda");
        assert_eq!(file_system(mounts, "/tmp/x"), "tmpfs on tmpfs");
        assert_eq!(file_system(mounts, "/tmp/disk/x"), "xfs on /dev/vdb");
        assert_eq!(file_system(mounts, "/tmpx"), "ext4 on /dev/vda");
    }

    #[test]
    fn values_are_found_by_their_name() {
        assert_eq!(value("a: 1\nmodel name\t: A B\n", "model name"), Some("A B"));
        assert_eq!(value("a: 1\n", "b"), None);
    }

    #[test]
    fn this_machine_says_what_it_is() {
        let machine = Machine::here(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        let memory = Machine { disk: "tmpfs on tmpfs".to_owned(), ..machine.clone() };
        assert!(memory.needs_a_disk().is_err());
        let disk = Machine { disk: "ext4 on /dev/vda".to_owned(), ..memory };
        disk.needs_a_disk().unwrap();
        assert!(machine.memory_gib > 0 && !machine.kernel.is_empty() && machine.disk.contains(" on "));
    }
}
