//! The ready file: the addresses of the nodes, written once the nodes are ready, for scripts and tests.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The content of a ready file.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Ready {
    /// The id of the cluster.
    pub(crate) cluster_id: String,
    /// The nodes this process runs, in order.
    pub(crate) nodes: Vec<ReadyNode>,
    /// The file with an administrator's key, if this process made one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
}

/// The addresses of one node.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct ReadyNode {
    /// The node's stable name.
    pub(crate) name: String,
    /// Base URL of its REST API.
    pub(crate) rest: String,
    /// Base URL of its gRPC API.
    pub(crate) grpc: String,
    /// Base URL of its WebSocket API.
    pub(crate) ws: String,
    /// URL of its GraphQL API.
    pub(crate) graphql: String,
    /// The node's process id.
    pub(crate) pid: u32,
}

/// Writes the file atomically: a reader sees the whole file or none.
pub(crate) fn write(path: &Path, ready: &Ready) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    serde_json::to_writer(&mut file, ready)?;
    file.write_all(b"\n")?;
    file.persist(path)?;
    Ok(())
}

/// Reads the file; `None` while it does not exist.
pub(crate) fn read(path: &Path) -> io::Result<Option<Ready>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
