//! What snapshots keep of a session, and what readers see of it.

use crate::{Namespace, SessionId};

/// A session, as snapshots keep it. What it owns follows from the owners of grants and waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Names it.
    pub session: SessionId,
    /// Where it lives.
    pub namespace: Namespace,
    /// Time to live.
    pub ttl_ms: u64,
    /// When it expires.
    pub deadline_ms: u64,
    /// Wall clock at its opening.
    pub opened_wall_ms: u64,
    /// Free text.
    pub metadata: String,
    /// Sequences below this are forgotten.
    pub window_floor: u64,
}

/// An open session, as readers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Names it.
    pub session: SessionId,
    /// Where it lives.
    pub namespace: Namespace,
    /// Time to live without a keep-alive, milliseconds.
    pub ttl_ms: u64,
    /// Cluster time before which it does not expire.
    pub deadline_ms: u64,
    /// Wall clock at its opening, for people.
    pub opened_wall_ms: u64,
    /// Free text of its owner.
    pub metadata: String,
    /// Grants it owns.
    pub grants: u64,
    /// Acquisitions it has queued.
    pub waits: u64,
}
