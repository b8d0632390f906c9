//! The identity of this node: which member of which cluster. Written once, before the node takes part in
//! anything.

use std::io;
use std::path::{Path, PathBuf};

use crc32c::crc32c;

use super::error::StartError;
use crate::disk::Disk;

const FILE: &str = "identity";
const UNFINISHED: &str = "identity.new";
const FIRST_LINE: &str = "batuta node identity, format 1";

/// How the node entered the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The node creates the cluster together with these members, whose ids count from 1 in this order.
    Founder(Vec<String>),
    /// Other members made the node a member.
    Adopted,
    /// The node joins an existing cluster, and has not found itself in any membership yet. When it does, it
    /// becomes [`Self::Adopted`].
    Joined,
}

/// The identity of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cluster_id: String,
    pub(crate) node_id: u64,
    pub(crate) name: String,
    pub(crate) origin: Origin,
}

impl Identity {
    fn text(&self) -> String {
        let origin = match &self.origin {
            Origin::Founder(names) => format!("founder {}", names.join(" ")),
            Origin::Adopted => "adopted".to_owned(),
            Origin::Joined => "joined".to_owned(),
        };
        format!(
            "{FIRST_LINE}\ncluster_id {}\nnode_id {}\nname {}\norigin {origin}\n",
            self.cluster_id, self.node_id, self.name
        )
    }

    /// Makes the identity durable in the node's data directory.
    pub(crate) fn save(&self, dir: &dyn Disk) -> io::Result<()> {
        let text = self.text();
        let file = dir.create(UNFINISHED)?;
        file.write_at(0, format!("{text}crc32c {:08x}\n", crc32c(text.as_bytes())).as_bytes())?;
        file.sync_data()?;
        dir.rename(UNFINISHED, FILE)?;
        dir.sync_dir()
    }

    /// Notes that the node has found itself in a membership: from now on, a membership without the node means
    /// that it was removed.
    pub(crate) fn note_admitted(dir: &dyn Disk) -> io::Result<()> {
        match Self::load(dir).map_err(io::Error::other)? {
            Some(identity) if identity.origin == Origin::Joined => {
                Self { origin: Origin::Adopted, ..identity }.save(dir)
            }
            _ => Ok(()),
        }
    }

    /// Whether the node may still have to ask for admission.
    pub(crate) fn is_joining(dir: &dyn Disk) -> Result<bool, StartError> {
        Ok(Self::load(dir)?.is_some_and(|identity| identity.origin == Origin::Joined))
    }

    /// Loads the identity from the data directory; `None` for a fresh node.
    pub(crate) fn load(dir: &dyn Disk) -> Result<Option<Self>, StartError> {
        let path = Path::new(&dir.describe()).join(FILE);
        match read(dir) {
            Ok(text) => parse(&text).map(Some).map_err(|what| bad(path, what)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(bad(path, error.to_string())),
        }
    }
}

fn read(dir: &dyn Disk) -> io::Result<String> {
    let file = dir.open(FILE)?;
    let mut bytes = vec![0; usize::try_from(file.size_bytes()?).map_err(io::Error::other)?];
    file.read_at(0, &mut bytes)?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn bad(path: PathBuf, what: impl Into<String>) -> StartError {
    StartError::Identity { path, what: what.into() }
}

fn parse(text: &str) -> Result<Identity, &'static str> {
    let (content, crc) = text.rsplit_once("crc32c ").ok_or("the checksum is missing")?;
    if crc.trim_end() != format!("{:08x}", crc32c(content.as_bytes())) {
        return Err("the checksum is wrong: the file is damaged");
    }
    let mut lines = content.lines();
    if lines.next() != Some(FIRST_LINE) {
        return Err("it has a format this version does not know");
    }
    let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
    let cluster_id = field("cluster_id").ok_or("the cluster id is missing")?;
    let node_id = field("node_id").and_then(|id| id.parse().ok()).ok_or("the node id is missing")?;
    let name = field("name").ok_or("the name is missing")?;
    let origin = field("origin").ok_or("the origin is missing")?;
    let origin = match origin.split_once(' ').unwrap_or((&origin, "")) {
        ("founder", names) => Origin::Founder(names.split(' ').map(str::to_owned).collect()),
        ("adopted", _) => Origin::Adopted,
        ("joined", _) => Origin::Joined,
        _ => return Err("the origin is one that only a newer version knows"),
    };
    Ok(Identity { cluster_id, node_id, name, origin })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimDisk;

    #[test]
    fn admitted_node_does_not_join_again() {
        let disk = SimDisk::new();
        let origin = Origin::Joined;
        let identity = Identity { cluster_id: "c0ffee".into(), node_id: 4, name: "d".into(), origin };
        identity.save(&disk).expect("saves");
        assert!(Identity::is_joining(&disk).expect("loads"));
        Identity::note_admitted(&disk).expect("saves");
        let disk = disk.after_power_cut(|| false);
        assert!(!Identity::is_joining(&disk).expect("loads"));
        let kept = Identity::load(&disk).expect("loads");
        assert_eq!(kept, Some(Identity { origin: Origin::Adopted, ..identity }));
    }

    #[test]
    fn saved_identity_is_loaded_and_damage_is_noticed() {
        let disk = SimDisk::new();
        assert!(Identity::load(&disk).expect("loads").is_none());
        let origin = Origin::Founder(vec!["a".into(), "b".into()]);
        let identity = Identity { cluster_id: "c0ffee".into(), node_id: 7, name: "a".into(), origin };
        identity.save(&disk).expect("saves");
        let disk = disk.after_power_cut(|| false);
        assert_eq!(Identity::load(&disk).expect("loads"), Some(identity));
        let bytes = disk.contents(FILE).expect("is there");
        for at in 0..bytes.len() - 1 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            disk.put(FILE, damaged);
            assert!(Identity::load(&disk).is_err(), "damage at {at} went unnoticed");
        }
    }
}
