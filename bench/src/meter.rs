//! Measures what processes use, from `/proc`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::error::{Error, Result};

/// The disk that holds a directory, for which the kernel counts written bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Device {
    major: u32,
    minor: u32,
}

impl Device {
    /// The disk of a directory; `None` when its file system has no single disk.
    ///
    /// # Errors
    /// When the directory does not exist.
    pub(crate) fn of(directory: &Path) -> Result<Option<Self>> {
        let device = fs::metadata(directory).map_err(Error::file(directory))?.dev();
        let device = Self { major: rustix::fs::major(device), minor: rustix::fs::minor(device) };
        Ok(device.written_bytes(&disk_stats()?).map(|_| device))
    }

    /// Bytes written to the disk by the whole machine, from the text of `/proc/diskstats`.
    fn written_bytes(self, stats: &str) -> Option<u64> {
        stats.lines().find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let same = fields.first()?.parse() == Ok(self.major) && fields.get(1)?.parse() == Ok(self.minor);
            // Sectors count as 512 bytes here, whatever the disk's own size is.
            if same { fields.get(9)?.parse::<u64>().ok().map(|sectors| sectors * 512) } else { None }
        })
    }
}

fn disk_stats() -> Result<String> {
    fs::read_to_string("/proc/diskstats").map_err(Error::io("/proc/diskstats"))
}

/// What to measure: the server processes, and the disk they write to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    /// The server processes, which must be running.
    pub(crate) pids: Vec<u32>,
    /// The disk; `None` = not measured.
    pub(crate) device: Option<Device>,
}

/// The usage of servers, this process and the disk, up to a point in time or between two.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    /// All servers together.
    pub(crate) servers: Usage,
    /// This process, which is the load generator.
    pub(crate) generator: Usage,
    /// Bytes that reached the disk, whoever wrote them: on an otherwise idle machine, the servers.
    pub(crate) disk_bytes: Option<u64>,
}

impl Meter {
    /// Reads the current usage.
    ///
    /// # Errors
    /// When one of the processes is gone.
    pub(crate) fn read(&self) -> Result<Reading> {
        let disk_bytes = match self.device {
            Some(device) => device.written_bytes(&disk_stats()?),
            None => None,
        };
        Ok(Reading {
            servers: Usage::of(&self.pids)?,
            generator: Usage::of(&[std::process::id()])?,
            disk_bytes,
        })
    }

    /// The usage since `earlier`.
    ///
    /// # Errors
    /// When one of the processes is gone.
    pub(crate) fn since(&self, earlier: &Reading) -> Result<Reading> {
        let now = self.read()?;
        let disk_bytes = now.disk_bytes.zip(earlier.disk_bytes).map(|(now, then)| now.saturating_sub(then));
        let (servers, generator) =
            (now.servers.since(earlier.servers), now.generator.since(earlier.generator));
        Ok(Reading { servers, generator, disk_bytes })
    }
}

/// The resources a set of processes has used since each began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// User and system time, seconds.
    pub(crate) cpu_s: f64,
    /// Bytes of pages that the processes made dirty, according to the kernel. The kernel counts whole folios,
    /// which can be 1 MiB for a write of 300 bytes.
    pub(crate) dirtied_bytes: u64,
}

impl Usage {
    fn of(pids: &[u32]) -> Result<Self> {
        let mut total = Self::default();
        for pid in pids {
            total.cpu_s += cpu_s(&read(*pid, "stat")?, rustix::param::clock_ticks_per_second())?;
            total.dirtied_bytes += field(&read(*pid, "io")?, "write_bytes:")?;
        }
        Ok(total)
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            cpu_s: self.cpu_s - earlier.cpu_s,
            dirtied_bytes: self.dirtied_bytes.saturating_sub(earlier.dirtied_bytes),
        }
    }
}

/// Resident memory of a process, bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    Ok(1024 * field(&read(pid, "status")?, "VmRSS:")?)
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).map_err(Error::io(path))
}

/// CPU seconds from `/proc/PID/stat`. The second field, the program's name in brackets, may contain blanks
/// and brackets.
fn cpu_s(stat: &str, ticks_per_second: u64) -> Result<f64> {
    let odd = || Error::other(format!("not in the format of /proc/PID/stat: {stat}"));
    let (_, fields) = stat.rsplit_once(')').ok_or_else(odd)?;
    // Field 3 follows the name; utime and stime are fields 14 and 15.
    let ticks: Vec<u32> =
        fields.split_whitespace().skip(11).take(2).filter_map(|word| word.parse().ok()).collect();
    let [user, system] = ticks[..] else { return Err(odd()) };
    let ticks_per_second = u32::try_from(ticks_per_second).map_err(|_| odd())?;
    Ok((f64::from(user) + f64::from(system)) / f64::from(ticks_per_second))
}

/// The number after a name at the start of a line.
fn field(text: &str, name: &str) -> Result<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| Error::other(format!("no {name} in {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_parsed() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194304 900 0 3 0 250 150 7 8 20 0 12 0 100 1 2 3";
        assert!((cpu_s(stat, 100).unwrap() - 4.0).abs() < 1e-9);
        assert!(cpu_s("42 (x) S 1", 100).is_err());
        let io = "rchar: 5\nwchar: 6\nwrite_bytes: 4096\ncancelled_write_bytes: 0\n";
        assert_eq!(field(io, "write_bytes:").unwrap(), 4096);
        assert!(field(io, "nothing:").is_err());
        assert_eq!(field("VmRSS:\t  123 kB\n", "VmRSS:").unwrap(), 123);
    }

    #[test]
    fn disk_is_found_by_its_number() {
        let stats = " 254  0 vda 1 2 3 4 5 6 2000 8 0 9 10\n 254  1 vda1 1 2 3 4 5 6 7 8 0 9 10\n";
        let device = |minor| Device { major: 254, minor };
        assert_eq!(device(0).written_bytes(stats), Some(1_024_000));
        assert_eq!(device(1).written_bytes(stats), Some(3584));
        assert_eq!(device(2).written_bytes(stats), None);
    }

    #[test]
    fn use_only_grows() {
        let meter = Meter { pids: vec![std::process::id()], device: None };
        let before = meter.read().unwrap();
        let mut sum = 0_u64;
        let begun = std::time::Instant::now();
        while meter.since(&before).unwrap().servers.cpu_s < 0.02 {
            sum = std::hint::black_box(sum + 1);
            assert!(begun.elapsed().as_secs() < 60);
        }
        assert!(meter.since(&before).unwrap().generator.cpu_s >= 0.02);
        assert!(resident_bytes(std::process::id()).unwrap() > 1 << 20);
    }
}
