//! Records the calls of clients and the answers they got. [`crate::verify`] compares it with the history.

use std::collections::BTreeMap;

use batuta_statemachine::{Actor, LockId, Name, SessionId};

use crate::access::WORKERS;

/// A grant that a client was told of.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    pub(crate) lock_id: LockId,
    pub(crate) token: u64,
}

/// A one-shot grant and the earliest time at which it may expire.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) lock_id: LockId,
    /// When the answered call began, in milliseconds.
    pub(crate) begun_ms: u64,
    pub(crate) ttl_ms: u64,
}

/// A session that a client was told of.
#[derive(Clone, Debug)]
pub(crate) struct Renewals {
    pub(crate) ttl_ms: u64,
    /// For each answered call: when it began, in milliseconds, and its revision.
    pub(crate) acknowledged: Vec<(u64, u64)>,
}

/// A read of a lock, an election or a register, and what it showed.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) who: String,
    /// Who asked, as access knows it.
    pub(crate) actor: Actor,
    pub(crate) revision: u64,
    pub(crate) name: Name,
    pub(crate) seen: Seen,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The tokens of the holders, ascending.
    Holders(Vec<u64>),
    /// The token and the value of the leader, if there is one.
    Leaders(Vec<(u64, String)>),
    Register(Option<u64>),
}

/// The changes that one watch got without a gap: everything after `after` up to `upto`.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) who: String,
    pub(crate) after: u64,
    pub(crate) upto: u64,
    /// The revision and ordinal of each change.
    pub(crate) changes: Vec<(u64, u32)>,
}

#[derive(Clone, Default)]
pub(crate) struct Ledger {
    /// The newest revision that any client was told.
    pub(crate) revision: u64,
    pub(crate) calls: u64,
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    pub(crate) linearizable_reads: u64,
    pub(crate) granted: Vec<Granted>,
    pub(crate) released: Vec<LockId>,
    /// Grants that were given another text.
    pub(crate) changed: Vec<(LockId, String)>,
    pub(crate) lives: Vec<Life>,
    pub(crate) sessions: BTreeMap<SessionId, Renewals>,
    pub(crate) closed: Vec<SessionId>,
    pub(crate) registers: Vec<(Name, u64)>,
    pub(crate) reads: Vec<Read>,
    pub(crate) watched: Vec<Watched>,
    /// How often a right was taken away.
    pub(crate) takings: u64,
    /// For each worker whose right was taken away, which is acknowledged, and not given back: the number of the taking.
    taken: [Option<u64>; WORKERS],
}

impl Ledger {
    /// Notes that the revocation of a worker's right is acknowledged.
    pub(crate) fn take_right(&mut self, worker: usize) {
        self.takings += 1;
        self.taken[worker] = Some(self.takings);
    }

    /// Notes that the right of a worker may be back.
    pub(crate) fn return_right(&mut self, worker: usize) {
        self.taken[worker] = None;
    }

    /// The taking after which a worker has no right now.
    pub(crate) fn taken(&self, worker: usize) -> Option<u64> {
        self.taken[worker]
    }
}
