//! Keeps the peer ports of `batuta dev` next to the data of its nodes, and with them the number of nodes.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

/// One port for each node.
pub(crate) type PeerPorts = Vec<u16>;

/// The file that holds the ports.
const FILE: &str = "dev-peer-ports";
/// More nodes than a cluster may have.
const NODES_MAX: u16 = 9;

/// Why the data cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataError {
    #[error("{path}: {source}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "the data in {path} belong to a cluster of {found} node(s), but --nodes says {wanted}; start it with --nodes {found}, or give a new \
         cluster another --data-dir", path = path.display()
    )]
    OtherNodes { path: PathBuf, found: usize, wanted: u16 },
    #[error(
        "{path} does not hold the ports of the peers, which the members in the same directory know; restore it (a port for each \
         node, separated by spaces), or give a new cluster another --data-dir", path = path.display()
    )]
    Ports { path: PathBuf },
    #[error("the data directory {path} is not UTF-8; choose another one (--data-dir)", path = _0.display())]
    NotUtf8(PathBuf),
    #[error("no free port for the peers between 15000 and 32000; free some, or stop other clusters")]
    NoPort,
}

/// The ports of the peers, so that a restarted cluster finds its members. Data of a different number of nodes
/// than `wanted` is refused; a new cluster has `new` nodes unless another number is wanted.
pub(crate) fn peer_ports(data_dir: &Path, wanted: Option<u16>, new: u16) -> Result<PeerPorts, DataError> {
    let path = data_dir.join(FILE);
    // A directory holds data once one of its nodes has an identity, that is, is a member of a cluster.
    let is_member = |node: &u16| data_dir.join(format!("n{node}")).join("identity").exists();
    let Some(last) = (1..=NODES_MAX).rev().find(is_member) else {
        return choose(&path, wanted.unwrap_or(new));
    };
    let ports = read(&path)?;
    let found = ports.as_ref().map_or(usize::from(last), PeerPorts::len);
    if let Some(wanted) = wanted.filter(|wanted| usize::from(*wanted) != found) {
        return Err(DataError::OtherNodes { path: data_dir.to_owned(), found, wanted });
    }
    // Without the file the members get new ports, and announce them to each other.
    ports.map_or_else(|| choose(&path, last), Ok)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> DataError {
    let path = path.to_owned();
    move |source| DataError::Io { path, source }
}

/// Reads the stored ports; `None` when the file does not exist.
fn read(path: &Path) -> Result<Option<PeerPorts>, DataError> {
    let text = match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path)(error)),
    };
    let ports: Result<PeerPorts, _> = text.split_whitespace().map(str::parse).collect();
    match ports {
        Ok(ports) if !ports.is_empty() => Ok(Some(ports)),
        _ => Err(DataError::Ports { path: path.to_owned() }),
    }
}

fn choose(path: &Path, nodes: u16) -> Result<PeerPorts, DataError> {
    // Below the range from which the kernel takes ports for outgoing connections, so that nobody takes the
    // port before the node binds it.
    let mut found = PeerPorts::new();
    for _ in 0..2000 {
        let mut random = [0_u8; 2];
        getrandom::fill(&mut random).map_err(|error| failed(path)(io::Error::other(error.to_string())))?;
        let port = 15_000 + u16::from_le_bytes(random) % 17_000;
        if !found.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            found.push(port);
        }
        if found.len() == usize::from(nodes) {
            let text: Vec<String> = found.iter().map(u16::to_string).collect();
            std::fs::write(path, text.join(" ")).map_err(failed(path))?;
            return Ok(found);
        }
    }
    Err(DataError::NoPort)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_another_cluster_size_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (path, file) = (directory.path(), directory.path().join(FILE));
        assert_eq!(peer_ports(path, Some(5), 3).unwrap().len(), 5);
        // The chosen ports have no data yet.
        let ports = peer_ports(path, None, 3).unwrap();
        assert_eq!(ports.len(), 3);
        std::fs::create_dir(path.join("n2")).unwrap();
        std::fs::write(path.join("n2").join("identity"), "").unwrap();
        for wanted in [None, Some(3)] {
            assert_eq!(peer_ports(path, wanted, 1).unwrap(), ports);
        }
        for wanted in [1, 5] {
            let error = peer_ports(path, Some(wanted), 3).unwrap_err().to_string();
            for part in ["3 node(s)", &format!("--nodes says {wanted}"), "--nodes 3", "--data-dir"] {
                assert!(error.contains(part), "{part:?} in {error}");
            }
        }
        assert_eq!(read(&file).unwrap().unwrap(), ports, "a refusal changes nothing");
        for damaged in [&b"1 2 x"[..], b"", b"\xff", b"1 2 70000"] {
            std::fs::write(&file, damaged).unwrap();
            assert!(matches!(peer_ports(path, Some(3), 3), Err(DataError::Ports { .. })), "{damaged:?}");
        }
        std::fs::remove_file(&file).unwrap();
        assert!(matches!(peer_ports(path, Some(3), 3), Err(DataError::OtherNodes { found: 2, .. })));
        assert_eq!(peer_ports(path, None, 3).unwrap().len(), 2);
    }
}
