//! What this process knows of levels: its own, those that the other members have told, and why it has to stop.
//!
//! A level stands for the commands that a build knows (`statemachine/src/level.rs`). Every process tells its level in its hellos. The
//! leader raises the level of the cluster once all members have told a higher one, and a command of a level that the cluster has not
//! reached is refused before it is proposed. A process that does not know the level of its cluster stops before it applies anything of
//! that level. See docs/decisions/0032-levels.md.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use batuta_proto::internal as wire;
use batuta_statemachine::cluster::RaiseLevel;
use batuta_statemachine::{LEVEL, LEVEL_MIN, version_of};
use prost::Message as _;
use tokio::sync::Notify;

use crate::codec::DecodeError;
use crate::log::Log;
use crate::types::StoredMembership;

/// Bytes of the log that are read at once when the level is looked for.
const READ_BYTES: usize = 1 << 20;

/// A member is not upgraded: it knows less than its cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cluster has reached level {level}, but this node runs Batuta {own_version}, which knows levels up to {own}: install Batuta \
     {version} or a later version and start this node again with its data. It has applied nothing that it does not know"
)]
pub struct TooNew {
    /// The level of the cluster.
    pub level: u32,
    /// The first version of Batuta with that level.
    pub version: String,
    /// The level of the process.
    pub own: u32,
    /// The version of the process.
    pub own_version: String,
}

/// What a process of a member has told of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// The process: another one may have another level.
    pub(crate) boot_id: u64,
    pub(crate) level: u32,
    /// The version of Batuta that it runs.
    pub(crate) version: String,
}

/// The level of this process and of the other members' processes.
pub(crate) struct Levels {
    own: u32,
    told: Mutex<BTreeMap<u64, Told>>,
    /// Notified when a process of a member tells its level for the first time.
    pub(crate) news: Notify,
    reason: OnceLock<String>,
}

/// The version of Batuta that a process of this level runs.
pub(crate) fn own_version(own: u32) -> &'static str {
    let version = if own < LEVEL { version_of(own) } else { None };
    version.unwrap_or(env!("CARGO_PKG_VERSION"))
}

/// Fails when a process of level `own` does not know what a cluster of this level has in its log.
pub(crate) fn check(own: u32, level: u32, version: &str) -> Result<(), TooNew> {
    if level <= own {
        return Ok(());
    }
    Err(TooNew { level, version: version.to_owned(), own, own_version: own_version(own).to_owned() })
}

impl Levels {
    pub(crate) fn new(own: u32) -> Self {
        Self { own, told: Mutex::default(), news: Notify::new(), reason: OnceLock::new() }
    }

    /// The level of this process.
    pub(crate) fn own(&self) -> u32 {
        self.own
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Told>> {
        // Each change under this lock is a single step.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what the process of another member has told. A process that tells no level has the lowest.
    pub(crate) fn note(&self, node_id: u64, boot_id: u64, level: u32, version: &str) {
        let version = version.chars().take(RaiseLevel::VERSION_BYTES_MAX).collect();
        let told = Told { boot_id, level: level.max(LEVEL_MIN), version };
        if self.all().insert(node_id, told.clone()).is_none_or(|before| before != told) {
            self.news.notify_one();
        }
    }

    /// What the newest process of another member has told, if it has told anything to this process.
    pub(crate) fn told(&self, node_id: u64) -> Option<Told> {
        self.all().get(&node_id).cloned()
    }

    /// Forgets nodes that are no members.
    pub(crate) fn retain(&self, members: &StoredMembership) {
        self.all().retain(|node_id, _| members.get_node(node_id).is_some());
    }

    /// The level that all of these nodes know, this node (`me`) being one of them or not; `None` when one of the others has told none.
    pub(crate) fn lowest(&self, me: u64, members: impl IntoIterator<Item = u64>) -> Option<u32> {
        let told = self.all();
        let level = |node_id| if node_id == me { Some(self.own) } else { Some(told.get(&node_id)?.level) };
        members.into_iter().map(level).try_fold(self.own, |lowest, level| Some(lowest.min(level?)))
    }

    /// Says what a request of a level waits for that the cluster has not reached. `members` are the ids and names of all.
    pub(crate) fn pending(
        &self,
        needed: u32,
        level: u32,
        me: u64,
        members: impl IntoIterator<Item = (u64, String)>,
    ) -> String {
        let behind = |(node_id, name): (u64, String)| match self.told(node_id) {
            _ if node_id == me => (self.own < needed)
                .then(|| format!("{name} (Batuta {}, level {})", own_version(self.own), self.own)),
            None => Some(format!("{name} (has not told its level)")),
            Some(told) if told.level >= needed => None,
            Some(told) if told.version.is_empty() => Some(format!("{name} (level {})", told.level)),
            Some(told) => Some(format!("{name} (Batuta {}, level {})", told.version, told.level)),
        };
        let behind: Vec<String> = members.into_iter().filter_map(behind).collect();
        let version = version_of(needed).unwrap_or(env!("CARGO_PKG_VERSION"));
        let what_to_do = if behind.is_empty() {
            "Every member runs it by now, and the level rises in a moment: send the request again".to_owned()
        } else {
            format!("Not upgraded yet: {}. Upgrade them, then send the request again", behind.join(", "))
        };
        format!(
            "this request needs level {needed}, which every member has once it runs Batuta {version} or later; the cluster is at level \
             {level}, and nothing was done. {what_to_do}"
        )
    }

    /// Notes why this process has to stop. Only the first reason is kept.
    pub(crate) fn stop_because(&self, reason: &impl ToString) {
        // The first reason led to the others.
        let _ = self.reason.set(reason.to_string());
    }

    /// Why this process has to stop, if it has to.
    pub(crate) fn reason(&self) -> Option<String> {
        self.reason.get().cloned()
    }

    /// What this node, which leads, says of a request that only a newer build can have sent.
    pub(crate) fn leader_does_not_know(&self) -> String {
        let (own, own_version) = (self.own, own_version(self.own));
        format!(
            "the leader runs Batuta {own_version}, which knows levels up to {own}, and does not know this request; nothing was done. \
             Upgrade the leader, then send the request again"
        )
    }

    /// What to say of bytes that this build cannot have written.
    pub(crate) fn unknown(&self, error: &DecodeError) -> String {
        let (own, own_version) = (self.own, own_version(self.own));
        format!(
            "{error}. This node runs Batuta {own_version}, which knows levels up to {own}: install the version that the other members run \
             (batuta cluster members shows it) and start this node again with its data. It has applied nothing that it does not know"
        )
    }
}

/// The highest level that an entry of a log raises the cluster to, above this one. Reads the whole log, also entries that this build
/// does not know.
pub(crate) fn raised_in(log: &Log, above: u32) -> Option<RaiseLevel> {
    let mut entries = log.state().entries;
    let mut highest: Option<RaiseLevel> = None;
    while !entries.is_empty() {
        let found = log.read(entries.clone(), READ_BYTES).ok()?;
        entries.start += u64::try_from(found.len()).ok().filter(|count| *count > 0)?;
        let raises = found.into_iter().flat_map(|(_, payload)| raises(&payload));
        let raises = raises.filter(|raise| raise.level > above);
        highest = highest.into_iter().chain(raises).max_by_key(|raise| raise.level);
    }
    highest
}

/// The commands of a stored entry that raise the level.
fn raises(stored: &[u8]) -> Vec<RaiseLevel> {
    let entry = match wire::StoredEntry::decode(stored).map(|stored| stored.payload) {
        Ok(Some(wire::stored_entry::Payload::Entry(bytes))) => wire::Entry::decode(bytes),
        _ => return Vec::new(),
    };
    let raise = |request: wire::Request| match request.command {
        Some(wire::request::Command::RaiseLevel(wire::RaiseLevel { level, version })) => {
            Some(RaiseLevel { level, version })
        }
        _ => None,
    };
    entry.map_or_else(|_| Vec::new(), |entry| entry.requests.into_iter().filter_map(raise).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Vec<(u64, String)> {
        (1..=3).map(|id| (id, format!("n{id}"))).collect()
    }

    #[test]
    fn lowest_level_needs_every_member() {
        let levels = Levels::new(3);
        assert_eq!(levels.lowest(1, [1]), Some(3));
        levels.note(2, 7, 2, "0.2.0");
        assert_eq!(levels.lowest(1, [1, 2, 3]), None, "n3 has told nothing");
        levels.note(3, 8, 4, "0.4.0");
        assert_eq!(levels.lowest(1, [1, 2, 3]), Some(2));
        assert_eq!(levels.lowest(1, [1, 3]), Some(3), "n2 is no member, and this process knows no more");
        levels.note(2, 9, 0, "");
        assert_eq!(levels.lowest(1, [1, 2, 3]), Some(1), "another process of n2, which tells no level");
    }

    #[tokio::test]
    async fn new_processes_are_news() {
        use futures_util::FutureExt as _;

        let levels = Levels::new(2);
        levels.note(2, 7, 1, "0.1.0");
        assert!(levels.news.notified().now_or_never().is_some());
        levels.note(2, 7, 1, "0.1.0");
        assert!(levels.news.notified().now_or_never().is_none(), "it was told before");
        levels.note(2, 8, 1, "0.1.0");
        assert!(levels.news.notified().now_or_never().is_some());
    }

    #[test]
    fn refusal_names_who_is_not_upgraded() {
        let levels = Levels::new(2);
        levels.note(2, 7, 1, "0.1.0");
        let said = levels.pending(2, 1, 1, members());
        for part in ["needs level 2", "is at level 1", "n2 (Batuta 0.1.0, level 1)", "n3 (has not told"] {
            assert!(said.contains(part), "{part} is missing: {said}");
        }
        assert!(!said.contains("n1"), "{said}");
        levels.note(2, 8, 2, "0.2.0");
        levels.note(3, 9, 2, "0.2.0");
        assert!(levels.pending(2, 1, 1, members()).contains("rises in a moment"));
    }

    #[test]
    fn unknown_level_names_the_version() {
        assert_eq!(check(2, 2, "0.2.0"), Ok(()));
        let said = check(1, 2, "0.2.0").expect_err("level 2 is unknown").to_string();
        for part in ["reached level 2", "knows levels up to 1", "install Batuta 0.2.0 or a later version"] {
            assert!(said.contains(part), "{part} is missing: {said}");
        }
    }
}
