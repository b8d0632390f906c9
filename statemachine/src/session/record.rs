//! A session as stored in snapshots, and as readers see it.

use crate::{Namespace, PrincipalId, SessionId};

/// A session, as snapshots store it. The objects that it owns follow from the owners of grants and waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The id of the session.
    pub session: SessionId,
    /// The namespace of the session.
    pub namespace: Namespace,
    /// The TTL, in milliseconds.
    pub ttl_ms: u64,
    /// The cluster time at which it expires, in milliseconds.
    pub deadline_ms: u64,
    /// The wall clock at its opening, in milliseconds since the Unix epoch.
    pub opened_wall_ms: u64,
    /// The free text of its owner.
    pub metadata: String,
    /// Sequences below this are forgotten.
    pub window_floor: u64,
    /// The principal that opened it.
    pub principal: PrincipalId,
}

/// An open session, as readers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// The id of the session.
    pub session: SessionId,
    /// The namespace of the session.
    pub namespace: Namespace,
    /// The TTL without a keep-alive, in milliseconds.
    pub ttl_ms: u64,
    /// The cluster time before which it does not expire, in milliseconds.
    pub deadline_ms: u64,
    /// The wall clock at its opening, in milliseconds since the Unix epoch, for people.
    pub opened_wall_ms: u64,
    /// The free text of its owner.
    pub metadata: String,
    /// The principal that opened it; [`PrincipalId::ANONYMOUS`] when nobody had to say who they are.
    pub principal: PrincipalId,
    /// The number of grants that it owns.
    pub grants: u64,
    /// The number of acquisitions that it has queued.
    pub waits: u64,
}
