//! Looking at the data directory of a node from outside.

use std::io;
use std::path::Path;
use std::sync::Arc;

use batuta_proto::internal as wire;
use batuta_statemachine::Entry;
use openraft::EntryPayload;
use prost::Message as _;

use crate::codec::{DecodeError, consensus};
use crate::disk::RealDisk;
use crate::log::{LogError, read_entries};

/// One entry of a node's log, committed or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEntry {
    /// Its index: the revision.
    pub index: u64,
    /// The term it was written in.
    pub term: u64,
    /// What it asks of the state; `None` for entries of the consensus itself.
    pub entry: Option<Arc<Entry>>,
}

/// Why a log can not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The files.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The directory.
    #[error("the log's directory: {0}")]
    Io(#[from] io::Error),
    /// An entry.
    #[error("log entry {index}: {source}")]
    Entry {
        /// Which.
        index: u64,
        /// What is wrong with it.
        source: DecodeError,
    },
}

/// The entries in the log of a node's data directory, from the first that is not purged on. Changes nothing; the node may run.
/// The newest entries may not be committed.
///
/// # Errors
/// [`InspectError`]; on a running node also for what is being written at that moment: ask again then.
pub fn read_log(data_dir: &Path) -> Result<Vec<LoggedEntry>, InspectError> {
    let dir = data_dir.join("log");
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for (index, payload) in read_entries(&RealDisk::open(&dir)?)? {
        let stored = wire::StoredEntry::decode(payload).map_err(DecodeError::from);
        let entry =
            stored.and_then(consensus::entry).map_err(|source| InspectError::Entry { index, source })?;
        let term = entry.log_id.leader_id.term;
        let entry = if let EntryPayload::Normal(data) = entry.payload { Some(data.entry) } else { None };
        found.push(LoggedEntry { index, term, entry });
    }
    Ok(found)
}
