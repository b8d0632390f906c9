//! A real process that is killed, and a real disk that loses power: every acknowledged entry is there.
//!
//! The writer is this test binary, started again with `BATUTA_TEST_LOG_DIR` set.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};

use batuta_raft::disk::{Disk, RealDisk};
use batuta_raft::log::{Log, LogOptions};
use bytes::Bytes;

const DIR: &str = "BATUTA_TEST_LOG_DIR";

fn options(existing: bool) -> LogOptions {
    LogOptions { segment_bytes: 256 << 10, segment_bytes_max: 1 << 20, existing }
}

fn open(dir: &Path, existing: bool) -> Log {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(dir).expect("opens"));
    Log::open(disk, options(existing)).expect("opens").0
}

fn payload(index: u64) -> Bytes {
    let length = 50 + usize::try_from(index * 37 % 3000).expect("small");
    let mut bytes = index.to_le_bytes().to_vec();
    bytes.resize(length, u8::try_from(index % 251).expect("small"));
    bytes.into()
}

/// Appends until it is killed, and prints each acknowledged index. The child process of the other tests, not a test of its own.
#[test]
#[ignore = "the child of the other tests"]
fn writer() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(Path::new(&dir)).expect("opens"));
    let (log, inline, _) = Log::open_inline(disk, options(false)).expect("opens");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("starts");
    std::thread::spawn(move || runtime.block_on(inline.run()));
    let mut next = log.state().entries.end;
    let (sender, receiver) = mpsc::channel();
    let mut waiting = 0;
    loop {
        while waiting < 8 {
            let (first, last) = (next, next + 3);
            next = last + 1;
            let sender = sender.clone();
            let entries = (first..=last).map(|index| (index, payload(index))).collect();
            log.append(
                entries,
                Box::new(move |result| sender.send(result.map(|()| last)).expect("it waits")),
            );
            waiting += 1;
        }
        // The disk has failed, so nothing more can be acknowledged.
        let Ok(last) = receiver.recv().expect("answered") else { return };
        waiting -= 1;
        println!("acknowledged {last}");
        if last % 400 == 399 && last > 1000 {
            let sender = sender.clone();
            let upto = last - 1000;
            log.purge(
                upto,
                Bytes::copy_from_slice(&upto.to_le_bytes()),
                Box::new(move |result| {
                    sender.send(result.map(|()| last)).expect("it waits");
                }),
            );
            waiting += 1;
        }
    }
}

fn start(dir: &Path) -> Child {
    Command::new(std::env::current_exe().expect("a test knows its own path"))
        .args(["--exact", "writer", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts")
}

/// The last index that the writer printed, once it has printed `lines` of them.
fn acknowledged(out: &mut impl std::io::BufRead, lines: usize) -> u64 {
    let mut last = 0;
    let said = out.lines().map(|line| line.expect("a line"));
    for line in said.filter(|line| line.contains("acknowledged ")).take(lines) {
        last = index_of(&line).expect("a number");
    }
    last
}

fn index_of(line: &str) -> Option<u64> {
    line.rsplit_once("acknowledged ")?.1.trim().parse().ok()
}

fn check(dir: &Path, acknowledged: u64) {
    let log = open(dir, true);
    let entries = log.state().entries;
    assert!(entries.end > acknowledged, "acknowledged {acknowledged}, the log has {entries:?}");
    let found = log.read(entries.clone(), usize::MAX).expect("reads");
    assert_eq!(found.len() as u64, entries.end - entries.start);
    for (index, bytes) in found {
        assert!(bytes == payload(index), "entry {index} differs");
    }
}

#[test]
fn killed_process_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().expect("a directory");
    for round in 1..10 {
        let mut child = start(dir.path());
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut last = acknowledged(&mut out, round * 60);
        child.kill().expect("our own child");
        child.wait().expect("our own child");
        let mut rest = String::new();
        out.read_to_string(&mut rest).expect("the rest");
        // The kill may have cut the last line: only whole lines count.
        let whole = rest.rsplit_once('\n').map_or("", |(whole, _)| whole);
        last = whole.lines().filter_map(index_of).fold(last, u64::max);
        check(dir.path(), last);
    }
}

/// Runs a program; the error is what it printed.
fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(format!("{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// An ext4 file system on a loop device.
struct Ext4 {
    dir: tempfile::TempDir,
}

impl Ext4 {
    fn make() -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let disk = Self { dir };
        let image = disk.dir.path().join("image");
        std::fs::File::create(&image)
            .and_then(|file| file.set_len(128 << 20))
            .map_err(|error| error.to_string())?;
        std::fs::create_dir(disk.mount_point()).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q", "-F", &image.display().to_string()])?;
        disk.mount()?;
        Ok(disk)
    }

    fn mount_point(&self) -> std::path::PathBuf {
        self.dir.path().join("mounted")
    }

    fn mount(&self) -> Result<(), String> {
        let (image, point) = (self.dir.path().join("image"), self.mount_point());
        run("mount", &["-o", "loop", &image.display().to_string(), &point.display().to_string()]).map(drop)
    }

    fn unmount(&self) -> Result<(), String> {
        run("umount", &[&self.mount_point().display().to_string()]).map(drop)
    }

    /// Cuts the power: nothing reaches the disk any more, not even the file system's journal.
    fn cut(&self) -> Result<(), String> {
        let shutdown = "import fcntl, os, struct, sys\n\
            fd = os.open(sys.argv[1], os.O_RDONLY)\n\
            fcntl.ioctl(fd, 0x8004587D, struct.pack('I', 2))\n";
        run("python3", &["-c", shutdown, &self.mount_point().display().to_string()]).map(drop)
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        // Already unmounted when the test succeeded.
        let _ = self.unmount();
    }
}

#[test]
fn power_cut_under_ext4_loses_nothing_acknowledged() {
    let disk = match Ext4::make() {
        Ok(disk) => disk,
        Err(why) => {
            println!("skipped: no ext4 on a loop device here: {why}");
            return;
        }
    };
    for round in 1..6 {
        let dir = disk.mount_point().join("log");
        let mut child = start(&dir);
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let last = acknowledged(&mut out, round * 80);
        if let Err(why) = disk.cut() {
            child.kill().and_then(|()| child.wait()).expect("our own child");
            println!("skipped: the file system cannot be shut down here: {why}");
            return;
        }
        // The writer ends by itself when its disk fails. Every index it printed until then must be in the log.
        let mut rest = String::new();
        out.read_to_string(&mut rest).expect("the rest");
        let last = rest.lines().filter_map(index_of).fold(last, u64::max);
        child.wait().expect("our own child");
        disk.unmount().expect("unmounts");
        disk.mount().expect("mounts again");
        check(&dir, last);
        std::io::stdout().flush().expect("flushes");
    }
    disk.unmount().expect("unmounts");
}
