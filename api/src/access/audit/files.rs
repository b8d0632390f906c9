//! The files of the audit: opening them, also after a crash, adding lines, and rotating.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::event::Chain;

/// How much of the end of a file is read to find its last line; the whole file if no line is found there.
const TAIL_BYTES: u64 = 1024 * 1024;

/// The day of a line: the date of its `at`.
pub(super) const DATE_LENGTH: usize = 10;

/// The file that is written now.
#[derive(Debug)]
#[allow(clippy::struct_field_names, reason = "`files_max` is the name of the option")]
pub(super) struct Files {
    dir: PathBuf,
    files_max: usize,
    number: u64,
    file: File,
    /// The length of the file up to its last whole line, in bytes.
    pub(super) bytes: u64,
    /// The date of the last line of the file; empty before the first.
    pub(super) date: String,
    /// The last line of this or an earlier file.
    pub(super) chain: Chain,
}

/// The fields of a line that are needed to go on after it.
#[derive(Deserialize)]
struct Stored {
    at: String,
    seq: u64,
}

/// The last whole line of a file.
struct Tail {
    /// Where the line ends, in bytes from the beginning of the file.
    end: u64,
    date: String,
    chain: Chain,
}

impl Files {
    /// Opens the newest file, or makes the first. The second value says how many bytes after the last whole line were cut off.
    ///
    /// # Errors
    /// The directory or its files cannot be read or written.
    pub(super) fn open(dir: &Path, files_max: usize) -> io::Result<(Self, u64)> {
        create_private(dir)?;
        let numbers = numbers(dir)?;
        let mut files = Self {
            dir: dir.to_owned(),
            files_max: files_max.max(1),
            number: numbers.last().copied().unwrap_or(1),
            file: open(&path_of(dir, numbers.last().copied().unwrap_or(1)))?,
            bytes: 0,
            date: String::new(),
            chain: Chain::default(),
        };
        let length = files.file.metadata()?.len();
        let mut cut_bytes = 0;
        if let Some(tail) = tail(&path_of(dir, files.number))? {
            cut_bytes = length.saturating_sub(tail.end);
            (files.bytes, files.date, files.chain) = (tail.end, tail.date, tail.chain);
        } else {
            // The newest file has no line: it was just begun, or all of it is torn.
            cut_bytes += length;
            for number in numbers.iter().rev().skip(1) {
                if let Some(tail) = tail(&path_of(dir, *number))? {
                    files.chain = tail.chain;
                    break;
                }
            }
        }
        if cut_bytes > 0 {
            files.file.set_len(files.bytes)?;
            files.file.sync_all()?;
        }
        Ok((files, cut_bytes))
    }

    /// Adds whole lines, whose last one is that of `chain`.
    ///
    /// # Errors
    /// The lines cannot be written; some of them may be.
    pub(super) fn append(&mut self, lines: &[u8], chain: Chain, date: &str) -> io::Result<()> {
        if let Err(error) = self.file.write_all(lines) {
            // Best effort: what stays behind is found, or cut off, when the file is opened again.
            let _ = self.file.set_len(self.bytes);
            return Err(error);
        }
        self.bytes += u64::try_from(lines.len()).map_err(io::Error::other)?;
        date.clone_into(&mut self.date);
        self.chain = chain;
        Ok(())
    }

    /// Syncs the file, and checks that it is still in its directory: lines in a file that somebody removed are lost.
    ///
    /// # Errors
    /// The file cannot be synced, or was removed.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        let (here, there) = (self.file.metadata()?, fs::metadata(path_of(&self.dir, self.number))?);
        if (here.dev(), here.ino()) == (there.dev(), there.ino()) {
            Ok(())
        } else {
            Err(io::Error::other(format!("{} was replaced", path_of(&self.dir, self.number).display())))
        }
    }

    /// Goes on with the next file, and removes the oldest ones.
    ///
    /// # Errors
    /// The new file cannot be made. Old files that cannot be removed are no error.
    pub(super) fn rotate(&mut self) -> io::Result<()> {
        let number = self.number + 1;
        self.file = open(&path_of(&self.dir, number))?;
        (self.number, self.bytes) = (number, 0);
        self.date.clear();
        let numbers = numbers(&self.dir)?;
        let surplus = numbers.len().saturating_sub(self.files_max);
        for number in &numbers[..surplus] {
            let path = path_of(&self.dir, *number);
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "an old file of the audit cannot be removed");
            }
        }
        Ok(())
    }
}

/// The path of a file.
pub(super) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("audit-{number}.jsonl"))
}

/// The numbers of the files in a directory, the oldest first.
pub(super) fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("audit-")?.strip_suffix(".jsonl"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes the directory, for its owner only.
fn create_private(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if fs::metadata(dir)?.permissions().mode() & 0o077 != 0
        && let Err(error) = fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
    {
        tracing::warn!(dir = %dir.display(), %error, "others may look into the directory of the audit");
    }
    Ok(())
}

/// Opens a file to add to it, and makes sure that its name is on the disk.
fn open(path: &Path) -> io::Result<File> {
    let is_new = !path.exists();
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    if let (true, Some(dir)) = (is_new, path.parent()) {
        File::open(dir)?.sync_all()?;
    }
    Ok(file)
}

/// Finds the last whole line of a file. What follows it was torn.
fn tail(path: &Path) -> io::Result<Option<Tail>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    for window in [TAIL_BYTES, u64::MAX] {
        let begin = length.saturating_sub(window);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(begin))?;
        (&mut file).take(length - begin).read_to_end(&mut bytes)?;
        if let Some(tail) = last_line(&bytes, begin) {
            return Ok(Some(tail));
        }
        if begin == 0 {
            break;
        }
    }
    Ok(None)
}

/// Finds the last whole line in the bytes of a file from `begin` on.
fn last_line(bytes: &[u8], begin: u64) -> Option<Tail> {
    let mut rest = bytes;
    while let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') {
        let line = match rest[..end].iter().rposition(|byte| *byte == b'\n') {
            Some(before) => &rest[before + 1..end],
            // The line may have begun before the bytes.
            None if begin > 0 => return None,
            None => &rest[..end],
        };
        if let Ok(Stored { at, seq }) = serde_json::from_slice(line) {
            let date = at.get(..DATE_LENGTH).unwrap_or_default().to_owned();
            let chain = Chain { seq, hash: Sha256::digest(line).into() };
            return Some(Tail { end: begin + u64::try_from(end + 1).ok()?, date, chain });
        }
        rest = &rest[..end];
    }
    None
}
