//! Wrong clocks: a small C library (`clock/clock.c`) is preloaded into the nodes and answers `clock_gettime` as a control file says.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::time::{ClockId, clock_gettime};

use crate::error::{Error, Result};

/// Builds the C library, and returns its path.
///
/// # Errors
/// When there is no C compiler.
pub fn build() -> Result<PathBuf> {
    let exe = std::env::current_exe().map_err(Error::io("the harness's own path"))?;
    let library = exe.with_file_name("libjepsen-clock.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("clock/clock.c");
    let failed = |said: String| Error::Tool { command: format!("cc {}", source.display()), said };
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"])
        .arg(&library)
        .arg(&source)
        .arg("-ldl")
        .output()
        .map_err(|error| failed(format!("{error}: wrong clocks need a C compiler (gcc)")))?;
    if output.status.success() {
        Ok(library)
    } else {
        Err(failed(String::from_utf8_lossy(&output.stderr).into()))
    }
}

/// How far a node's clocks are wrong. By default they are right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wrong {
    /// Offset of the wall clock, in milliseconds.
    pub wall_ms: i64,
    /// How much faster all clocks run, in millionths; negative when slower.
    pub rate_ppm: i64,
}

/// The clocks of one node.
#[derive(Debug)]
pub struct Clock {
    file: File,
    /// The path of the control file.
    pub path: PathBuf,
    wrong: Wrong,
    version: u64,
    since_ns: i64,
    gained_ns: i64,
}

fn now_ns() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

impl Clock {
    /// Creates the control file, with clocks that are right.
    ///
    /// # Errors
    /// When the control file cannot be created.
    pub fn create(path: PathBuf) -> Result<Self> {
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path);
        let file = file.map_err(Error::io(path.display().to_string()))?;
        let mut clock =
            Self { file, path, wrong: Wrong::default(), version: 0, since_ns: now_ns(), gained_ns: 0 };
        clock.set(Wrong::default())?;
        Ok(clock)
    }

    /// Sets how far the clocks are wrong.
    ///
    /// # Errors
    /// When the control file cannot be written.
    pub fn set(&mut self, wrong: Wrong) -> Result<()> {
        let now_ns = now_ns();
        self.gained_ns += (now_ns - self.since_ns) / 1000 * self.wrong.rate_ppm / 1000;
        (self.since_ns, self.wrong) = (now_ns, wrong);
        let fields = [wrong.wall_ms * 1_000_000, wrong.rate_ppm, self.since_ns, self.gained_ns];
        let bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_ne_bytes()).collect();
        let write = |offset, bytes: &[u8]| {
            self.file.write_all_at(bytes, offset).map_err(Error::io(self.path.display().to_string()))
        };
        write(0, &(self.version + 1).to_ne_bytes())?;
        write(8, &bytes)?;
        write(0, &(self.version + 2).to_ne_bytes())?;
        self.version += 2;
        Ok(())
    }
}
