//! What processes use, from `/proc`.

use std::fs;

use crate::error::{Error, Result};

/// What a set of processes has used since each began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// User and system time, seconds.
    pub(crate) cpu_s: f64,
    /// Bytes they caused to be written to the disk.
    pub(crate) written_bytes: u64,
}

impl Usage {
    /// Of these processes together; they have to run.
    pub(crate) fn of(pids: &[u32]) -> Result<Self> {
        let mut total = Self::default();
        for pid in pids {
            total.cpu_s += cpu_s(&read(*pid, "stat")?, rustix::param::clock_ticks_per_second())?;
            total.written_bytes += field(&read(*pid, "io")?, "write_bytes:")?;
        }
        Ok(total)
    }

    /// Of this process: the load generator.
    pub(crate) fn own() -> Result<Self> {
        Self::of(&[std::process::id()])
    }

    /// What was used from `earlier` to this.
    #[must_use]
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            cpu_s: self.cpu_s - earlier.cpu_s,
            written_bytes: self.written_bytes.saturating_sub(earlier.written_bytes),
        }
    }
}

/// Memory of a process that is in RAM, bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    Ok(1024 * field(&read(pid, "status")?, "VmRSS:")?)
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).map_err(Error::io(path))
}

/// CPU seconds from `/proc/PID/stat`, whose second field, the program's name in brackets, may hold blanks and brackets.
fn cpu_s(stat: &str, ticks_per_second: u64) -> Result<f64> {
    let odd = || Error::other(format!("not as /proc/PID/stat is: {stat}"));
    let (_, fields) = stat.rsplit_once(')').ok_or_else(odd)?;
    // After the name comes field 3; utime and stime are 14 and 15.
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
    fn proc_is_read_as_it_is_written() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194304 900 0 3 0 250 150 7 8 20 0 12 0 100 1 2 3";
        assert!((cpu_s(stat, 100).unwrap() - 4.0).abs() < 1e-9);
        assert!(cpu_s("42 (x) S 1", 100).is_err());
        let io = "rchar: 5\nwchar: 6\nwrite_bytes: 4096\ncancelled_write_bytes: 0\n";
        assert_eq!(field(io, "write_bytes:").unwrap(), 4096);
        assert!(field(io, "nothing:").is_err());
        assert_eq!(field("VmRSS:\t  123 kB\n", "VmRSS:").unwrap(), 123);
    }

    #[test]
    fn use_only_grows() {
        let before = Usage::own().unwrap();
        let mut sum = 0_u64;
        let begun = std::time::Instant::now();
        while begun.elapsed().as_millis() < 50 {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(Usage::own().unwrap().since(before).cpu_s > 0.0);
        assert!(resident_bytes(std::process::id()).unwrap() > 1 << 20);
    }
}
