//! What clients asked and what they were told. [`crate::verify`] holds it against the history.

use std::collections::BTreeMap;

use batuta_statemachine::{LockId, Name, SessionId};

/// A grant a client was told of.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    pub(crate) lock_id: LockId,
    pub(crate) token: u64,
}

/// A one-shot grant may not expire before this.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) lock_id: LockId,
    /// When the call that was answered began.
    pub(crate) begun_ms: u64,
    pub(crate) ttl_ms: u64,
}

/// A session a client was told of.
#[derive(Clone, Debug)]
pub(crate) struct Renewals {
    pub(crate) ttl_ms: u64,
    /// When the calls that were answered began, and their revisions.
    pub(crate) acknowledged: Vec<(u64, u64)>,
}

/// A read of a lock or a register: the tokens of its holders, or its value.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) who: String,
    pub(crate) revision: u64,
    pub(crate) name: Name,
    pub(crate) seen: Seen,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Tokens, ascending.
    Holders(Vec<u64>),
    Register(Option<u64>),
}

/// What one watch got without a gap: everything after `after` up to `upto`.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) who: String,
    pub(crate) after: u64,
    pub(crate) upto: u64,
    /// Revision and ordinal of each change.
    pub(crate) changes: Vec<(u64, u32)>,
}

#[derive(Clone, Default)]
pub(crate) struct Ledger {
    /// The newest revision anybody was told.
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
}
