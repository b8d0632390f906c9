//! What the log carries: stamped entries of requests.

use crate::cluster::{self, RaiseLevel};
use crate::level::LEVEL_MIN;
use crate::{Command, Namespace, SessionId};

/// The leader's time when it appended an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Cluster time, milliseconds. Apply never lets time go back: a lower value counts as the state's `now`.
    pub now_ms: u64,
    /// The leader's wall clock, milliseconds since the Unix epoch. For people to read; decides nothing.
    pub wall_ms: u64,
}

/// One log entry: everything that was proposed together, in order. Empty = a bare tick of cluster time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// When the leader appended it.
    pub stamp: Stamp,
    /// The requests, applied in order; request `i` has ordinal `i`.
    pub requests: Vec<Request>,
}

impl Entry {
    /// The level that the cluster must have reached before this entry is proposed: the highest of its requests.
    #[must_use]
    pub fn level(&self) -> u32 {
        self.requests.iter().map(Request::level).max().unwrap_or(LEVEL_MIN)
    }

    /// The command of this entry that raises the level of the cluster highest, if one does.
    #[must_use]
    pub fn raises_level(&self) -> Option<&RaiseLevel> {
        let raises = self.requests.iter().filter_map(|request| match &request.command {
            Command::Cluster(cluster::Command::RaiseLevel(raise)) => Some(raise),
            _ => None,
        });
        raises.max_by_key(|raise| raise.level)
    }
}

/// One command and the key under which a retry of it is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Without it the command is executed each time it appears.
    pub dedup: Option<Retry>,
    /// What to do.
    pub command: Command,
}

impl Request {
    /// A command, and how a retry of it is recognised.
    pub fn new(dedup: Option<Retry>, command: impl Into<Command>) -> Self {
        Self { dedup, command: command.into() }
    }

    /// The level that the cluster must have reached before this request is proposed.
    #[must_use]
    pub fn level(&self) -> u32 {
        self.command.level()
    }
}

/// How a retry is recognised, and told from another request under the same key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Retry {
    /// Under what it is remembered.
    pub key: DedupKey,
    /// A hash of the encoded command without the call that waits for it: equal for requests that ask the same, in every build. The
    /// node that takes the request makes the hash; the log carries it.
    pub fingerprint: u64,
}

/// How a retry is recognised.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DedupKey {
    /// The session's own count of its requests. Remembered for the last
    /// [`crate::retries::Limits::session_window`] sequences of the session.
    Sequence {
        /// The session that asks.
        session: SessionId,
        /// Strictly increasing per session, from 1; requests in flight together may arrive in any order.
        sequence: u64,
    },
    /// A key the caller chose. Remembered for [`crate::retries::Limits::idempotency_retention_ms`] of cluster time and at
    /// most [`crate::retries::Limits::idempotency_keys_max`] keys, oldest forgotten first.
    Idempotency {
        /// Keys of different namespaces are different keys.
        namespace: Namespace,
        /// The key as given.
        key: String,
    },
}
