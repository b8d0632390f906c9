//! What the log carries: stamped entries of requests.

use crate::cluster::{AllocateNode, InitCluster, SetLimits};
use crate::lock::{
    Acquire, AdvanceRegister, CancelWait, DeleteRegister, Extend, ForceRelease, Release, WithdrawWaits,
};
use crate::session::{CloseSession, KeepAlive, OpenSession};
use crate::{Namespace, SessionId, State};

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
    #[must_use]
    pub fn new(dedup: Option<Retry>, command: Command) -> Self {
        Self { dedup, command }
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
    /// [`crate::Limits::session_window`] sequences of the session.
    Sequence {
        /// The session that asks.
        session: SessionId,
        /// Strictly increasing per session, from 1; requests in flight together may arrive in any order.
        sequence: u64,
    },
    /// A key the caller chose. Remembered for [`crate::Limits::idempotency_retention_ms`] of cluster time and at
    /// most [`crate::Limits::idempotency_keys_max`] keys, oldest forgotten first.
    Idempotency {
        /// Keys of different namespaces are different keys.
        namespace: Namespace,
        /// The key as given.
        key: String,
    },
}

/// Everything that can be asked of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// See [`OpenSession`].
    OpenSession(OpenSession),
    /// See [`KeepAlive`].
    KeepAlive(KeepAlive),
    /// See [`CloseSession`].
    CloseSession(CloseSession),
    /// See [`Acquire`].
    Acquire(Acquire),
    /// See [`CancelWait`].
    CancelWait(CancelWait),
    /// See [`WithdrawWaits`].
    WithdrawWaits(WithdrawWaits),
    /// See [`Release`].
    Release(Release),
    /// See [`Extend`].
    Extend(Extend),
    /// See [`ForceRelease`].
    ForceRelease(ForceRelease),
    /// See [`AdvanceRegister`].
    AdvanceRegister(AdvanceRegister),
    /// See [`DeleteRegister`].
    DeleteRegister(DeleteRegister),
    /// See [`InitCluster`].
    InitCluster(InitCluster),
    /// See [`AllocateNode`].
    AllocateNode(AllocateNode),
    /// See [`SetLimits`].
    SetLimits(SetLimits),
}

impl State {
    /// Whether a request, if it came now, would add an object to the state: a session, an acquisition, a register. What only changes or
    /// removes objects is still accepted when the disk is nearly full, and so is the retry of a request that was executed.
    ///
    /// What is remembered of a request under a key does not count: that memory is bounded, whatever is asked.
    #[must_use]
    pub fn adds(&self, request: &Request) -> bool {
        let known = || request.dedup.as_ref().is_some_and(|retry| self.remembers(&retry.key));
        match &request.command {
            Command::OpenSession(_) => !known(),
            Command::Acquire(acquire) => !acquire.stands_already(self) && !known(),
            Command::AdvanceRegister(advance) => {
                self.register(&advance.namespace, &advance.name).is_none() && !known()
            }
            Command::KeepAlive(_)
            | Command::CloseSession(_)
            | Command::CancelWait(_)
            | Command::WithdrawWaits(_)
            | Command::Release(_)
            | Command::Extend(_)
            | Command::ForceRelease(_)
            | Command::DeleteRegister(_)
            | Command::InitCluster(_)
            | Command::AllocateNode(_)
            | Command::SetLimits(_) => false,
        }
    }
}
