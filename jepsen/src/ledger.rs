//! The cluster's log: the committed entries in order, gathered from the data directories of the nodes.
//!
//! Entries are gathered during the run, because nodes purge the entries that their snapshots cover. Two nodes that committed
//! different entries are noticed here at once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use batuta_raft::codec::{decode_entry, encode_entry};
use batuta_raft::{InspectError, read_log};
use batuta_statemachine::Entry;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The name of its file.
pub const FILE: &str = "log.jsonl";

/// A committed entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The term in which it was written.
    pub term: u64,
    /// The entry for the state machine; `None` for entries of consensus itself.
    pub entry: Option<Arc<Entry>>,
}

/// The log as gathered so far.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<u64, Decided>,
    /// Descriptions of entries that differ between nodes.
    pub differences: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    index: u64,
    term: u64,
    /// The entry's bytes in hexadecimal.
    entry: Option<String>,
}

impl Ledger {
    /// The entries, by index.
    #[must_use]
    pub fn entries(&self) -> &BTreeMap<u64, Decided> {
        &self.entries
    }

    /// Adds the entries of a node up to `applied`.
    ///
    /// # Errors
    /// When the node's files cannot be read. On a running node this also happens while they are written.
    pub fn gather(
        ledger: &Mutex<Self>,
        node: &str,
        data_dir: &Path,
        applied: u64,
    ) -> std::result::Result<(), InspectError> {
        let found = read_log(data_dir)?;
        let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        for logged in found.into_iter().filter(|logged| logged.index <= applied) {
            let decided = Decided { term: logged.term, entry: logged.entry };
            match ledger.entries.get(&logged.index) {
                None => drop(ledger.entries.insert(logged.index, decided)),
                Some(known) if *known == decided => {}
                Some(known) => {
                    let difference = format!(
                        "{node} decided entry {} differently: term {} {:?}; elsewhere term {} {:?}",
                        logged.index, decided.term, decided.entry, known.term, known.entry
                    );
                    ledger.differences.push(difference);
                }
            }
        }
        Ok(())
    }

    /// Saves the log to its file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        let failed = || path.display().to_string();
        let file = std::fs::File::create(&path).map_err(Error::io(failed()))?;
        let mut file = std::io::BufWriter::new(file);
        for (index, decided) in &self.entries {
            let entry = decided.entry.as_ref().map(|entry| digits(&encode_entry(entry)));
            let line = Line { index: *index, term: decided.term, entry };
            let line = serde_json::to_string(&line)
                .map_err(|error| Error::File { path: path.clone(), problem: error.to_string() })?;
            writeln!(file, "{line}").map_err(Error::io(failed()))?;
        }
        file.flush().map_err(Error::io(failed()))
    }

    /// Loads a saved log.
    ///
    /// # Errors
    /// When the file does not exist or cannot be read.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let bad = |problem: String| Error::File { path: path.clone(), problem };
        let text = std::fs::read_to_string(&path).map_err(Error::io(path.display().to_string()))?;
        let mut ledger = Self::default();
        for line in text.lines() {
            let line: Line = serde_json::from_str(line).map_err(|error| bad(error.to_string()))?;
            let entry = match &line.entry {
                None => None,
                Some(text) => {
                    let bytes =
                        bytes(text).ok_or_else(|| bad(format!("entry {}: not digits", line.index)))?;
                    Some(Arc::new(decode_entry(&bytes).map_err(|error| bad(error.to_string()))?))
                }
            };
            ledger.entries.insert(line.index, Decided { term: line.term, entry });
        }
        Ok(ledger)
    }
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_their_digits() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(bytes(&digits(&all)), Some(all));
        assert_eq!(bytes("zz"), None);
    }
}
