//! Reads the audit back, also while it is written.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::str::FromStr;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::event::hex;
use super::files::{numbers, path_of};

/// How many bytes of lines a page has; a single longer line is a page of its own.
const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// A place between two lines, written `FILE:LINES`: the number of a file, and how many of its lines were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// The number of the file.
    pub file: u64,
    /// How many lines of the file are before this place.
    pub lines: u64,
}

/// A text that is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cursor of the audit has the form FILE:LINES, as in 3:120")]
pub struct CursorError;

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.file, self.lines)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (file, lines) = text.split_once(':').ok_or(CursorError)?;
        let number = |digits: &str| digits.parse().map_err(|_| CursorError);
        Ok(Self { file: number(file)?, lines: number(lines)? })
    }
}

/// Some lines of the audit, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The lines, each one JSON object, without their ends.
    pub lines: Vec<String>,
    /// The place after the last line, to be given for the next page. `None` when there is no audit yet.
    pub next: Option<Cursor>,
    /// Whether there was nothing after the last line when the page was read.
    pub is_end: bool,
    /// Whether the file of the given cursor was removed since, so that lines before this page are gone.
    pub is_pruned: bool,
}

/// Reads at most `lines_max` lines after a place, or from the oldest line on. A line that is being written is left out.
///
/// # Errors
/// The directory or its files cannot be read.
pub fn read_page(dir: &Path, after: Option<Cursor>, lines_max: usize) -> io::Result<Page> {
    let numbers = match numbers(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        numbers => numbers?,
    };
    let is_pruned = matches!((after, numbers.first()), (Some(after), Some(oldest)) if after.file < *oldest);
    let mut page = Page { next: after, is_end: true, is_pruned, ..Page::default() };
    let mut bytes = 0;
    for number in numbers.into_iter().filter(|number| after.is_none_or(|after| after.file <= *number)) {
        let Some(mut reader) = open(dir, number)? else { continue };
        let skipped = after.filter(|after| after.file == number).map_or(0, |after| after.lines);
        let mut at = Cursor { file: number, lines: 0 };
        while let Some(line) = next_line(&mut reader)? {
            if at.lines >= skipped {
                bytes += line.len();
                if page.lines.len() >= lines_max || (bytes > PAGE_BYTES_MAX && !page.lines.is_empty()) {
                    page.is_end = false;
                    return Ok(page);
                }
                page.lines.push(String::from_utf8_lossy(&line).into_owned());
            }
            at.lines += 1;
            page.next = page.next.max(Some(at));
        }
    }
    Ok(page)
}

/// The first place at which the audit was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of {}: {problem}", path_of(Path::new(""), *.file).display())]
pub struct Broken {
    /// The number of the file.
    pub file: u64,
    /// The number of the line, counted from 1.
    pub line: u64,
    /// What is wrong.
    pub problem: &'static str,
}

/// The fields of a line that chain it.
#[derive(Deserialize)]
struct Chained {
    seq: u64,
    kind: String,
    prev: String,
}

/// Checks that every line has the hash of the line before it, from the oldest file on. Returns the number of lines, or the first line that does
/// not fit.
///
/// # Errors
/// The directory or its files cannot be read.
pub fn verify(dir: &Path) -> io::Result<Result<u64, Broken>> {
    let (mut count, mut before) = (0, None::<(u64, String)>);
    for file in numbers(dir)? {
        let Some(mut reader) = open(dir, file)? else { continue };
        let mut line = 0;
        while let Some(bytes) = next_line(&mut reader)? {
            (line, count) = (line + 1, count + 1);
            match chained(&bytes, before.as_ref()) {
                Ok(seq) => before = Some((seq, hex(&Sha256::digest(&bytes)))),
                Err(problem) => return Ok(Err(Broken { file, line, problem })),
            }
        }
    }
    Ok(Ok(count))
}

/// Checks a line against the number and the hash of the line before, and returns its own number.
fn chained(line: &[u8], before: Option<&(u64, String)>) -> Result<u64, &'static str> {
    let Chained { seq, kind, prev } =
        serde_json::from_slice(line).map_err(|_| "it is not a line of the audit")?;
    let Some((before, hash)) = before else { return Ok(seq) };
    if prev != *hash {
        return Err("the line before it was changed, or lines were taken out");
    }
    // Numbers are skipped only where a line says so.
    let follows = seq == before + 1 || (seq > *before && matches!(kind.as_str(), "gap" | "torn"));
    if follows { Ok(seq) } else { Err("its number does not follow the number before") }
}

/// Opens a file; `None` when it was removed meanwhile.
fn open(dir: &Path, number: u64) -> io::Result<Option<BufReader<File>>> {
    match File::open(path_of(dir, number)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => Ok(Some(BufReader::new(file?))),
    }
}

/// Reads a whole line without its end; `None` at the end of the file, and before a line that has no end yet.
fn next_line(reader: &mut BufReader<File>) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    Ok((line.pop() == Some(b'\n')).then_some(line))
}
