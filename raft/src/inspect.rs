//! Reads the data directory of a node from outside.

use std::io;
use std::path::Path;
use std::sync::Arc;

use batuta_proto::internal as wire;
use batuta_statemachine::{Entry, LEVEL};
use openraft::EntryPayload;
use prost::Message as _;

use crate::codec::{DecodeError, consensus};
use crate::disk::RealDisk;
use crate::log::{LogError, read_entries};

/// One entry of a node's log, committed or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEntry {
    /// The entry's index, which is its revision.
    pub index: u64,
    /// The term in which it was written.
    pub term: u64,
    /// The state machine's part; `None` for entries of consensus itself.
    pub entry: Option<Arc<Entry>>,
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The log files are damaged or cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log's directory cannot be opened.
    #[error("the log's directory: {0}")]
    Io(#[from] io::Error),
    /// An entry cannot be decoded.
    #[error("log entry {index}: {source}")]
    Entry {
        /// Index of the entry.
        index: u64,
        /// The decoding error.
        source: DecodeError,
    },
}

/// Reads the entries in the log of a node's data directory, starting with the first that is not purged.
/// Changes nothing; the node may be running. The newest entries may not be committed.
///
/// # Errors
/// [`InspectError`]. On a running node, also for data being written at that moment: try again then.
pub fn read_log(data_dir: &Path) -> Result<Vec<LoggedEntry>, InspectError> {
    let dir = data_dir.join("log");
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for (index, payload) in read_entries(&RealDisk::open(&dir)?)? {
        let stored = wire::StoredEntry::decode(payload).map_err(DecodeError::from);
        let entry = stored
            .and_then(|stored| consensus::entry(stored, LEVEL))
            .map_err(|source| InspectError::Entry { index, source })?;
        let term = entry.log_id.leader_id.term;
        let entry = if let EntryPayload::Normal(data) = entry.payload { Some(data.entry) } else { None };
        found.push(LoggedEntry { index, term, entry });
    }
    Ok(found)
}
