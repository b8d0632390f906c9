//! Log entries: stamped batches of requests.

use crate::cluster::{self, RaiseLevel};
use crate::level::LEVEL_MIN;
use crate::{Actor, Command, Namespace, SessionId};

/// The leader's time when it appended an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Cluster time, in milliseconds. Time never goes back: a value below the state's `now` counts as `now`.
    pub now_ms: u64,
    /// The leader's wall clock, in milliseconds since the Unix epoch. It is for people and decides nothing.
    pub wall_ms: u64,
}

/// One log entry: the requests that were proposed together, in order. Without requests it only advances cluster time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// When the leader appended the entry.
    pub stamp: Stamp,
    /// The requests, applied in order; request `i` has ordinal `i`.
    pub requests: Vec<Request>,
}

impl Entry {
    /// The level that the cluster must have reached before this entry is proposed: the highest of its requests.
    #[must_use]
    pub fn level(&self) -> u32 {
        Request::highest_level(&self.requests)
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

/// The level of requests that name a principal.
const ACTOR_LEVEL: u32 = 2;

/// A command, with who asks for it and the key by which a retry of it is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The retry key. Without it the command is executed each time it appears.
    pub dedup: Option<Retry>,
    /// Who asks. The node that accepted the request has checked the credential; whether the actor may is decided when the request is applied.
    pub actor: Actor,
    /// The command.
    pub command: Command,
}

impl Request {
    /// Makes a request of a node from a command and an optional retry key.
    pub fn new(dedup: Option<Retry>, command: impl Into<Command>) -> Self {
        Self { dedup, actor: Actor::Node, command: command.into() }
    }

    /// Makes it the request of an actor.
    #[must_use]
    pub fn by(self, actor: Actor) -> Self {
        Self { actor, ..self }
    }

    /// The level that the cluster must have reached before these requests are proposed together.
    #[must_use]
    pub fn highest_level(requests: &[Self]) -> u32 {
        requests.iter().map(Self::level).max().unwrap_or(LEVEL_MIN)
    }

    /// The level that the cluster must have reached before this request is proposed.
    #[must_use]
    pub fn level(&self) -> u32 {
        match self.actor {
            // Builds that do not know actors leave out what the log says of them, and a cluster with such a build enforces nothing.
            Actor::Node | Actor::ANONYMOUS => self.command.level(),
            Actor::Caller { .. } => self.command.level().max(ACTOR_LEVEL),
        }
    }
}

/// How a retry is recognised, and distinguished from another request under the same key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Retry {
    /// The key under which the answer is remembered.
    pub key: DedupKey,
    /// A hash of the encoded command without the call that waits for it. It is equal for equal requests, in every build. The
    /// node that accepts the request computes the hash, and the log carries it.
    pub fingerprint: u64,
}

/// The key of a retry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DedupKey {
    /// The number of the request in its session, which only the owner of the session may use. Answers are remembered for the last
    /// [`crate::retries::Limits::session_window`] sequences of the session.
    Sequence {
        /// The session that makes the request.
        session: SessionId,
        /// Strictly increasing per session, from 1; concurrent requests may arrive in any order.
        sequence: u64,
    },
    /// A key chosen by the caller, whose own it is: the same key of another principal is another key. Answers are remembered for [`crate::retries::Limits::idempotency_retention_ms`] of cluster time and for at
    /// most [`crate::retries::Limits::idempotency_keys_max`] keys; the oldest is forgotten first.
    Idempotency {
        /// The namespace: keys of different namespaces are different keys.
        namespace: Namespace,
        /// The key, as given.
        key: String,
    },
}
