//! The types this crate supplies to openraft.

use std::fmt;
use std::sync::Arc;

use batuta_statemachine::{Entry, Outcome};
use bytes::Bytes;

openraft::declare_raft_types!(
    /// Batuta's types for openraft: node ids are numbers, at most one leader per term (Raft section 5.2).
    pub(crate) TypeConfig:
        D = LogEntry,
        R = AppliedEntry,
        NodeId = u64,
        Node = Member,
        Term = u64,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>,
);

pub(crate) type Raft = openraft::Raft<TypeConfig, crate::machine::Machine>;
pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
pub(crate) type RaftEntry = openraft::alias::EntryOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<u64, Member>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;

/// Addresses of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// host:port for the other nodes.
    pub peer: String,
    /// `http://host:port` of the REST API.
    pub rest: String,
    /// `http://host:port` of the gRPC API.
    pub grpc: String,
    /// `ws://host:port` of the WebSocket API.
    pub ws: String,
}

/// A member, as stored in the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Member {
    /// The member's stable name.
    pub(crate) name: String,
    /// The member's addresses.
    pub(crate) addresses: Addresses,
}

/// An entry of the state machine together with its encoding, which is made once for the log and all
/// followers.
#[derive(Clone)]
pub(crate) struct LogEntry {
    pub(crate) entry: Arc<Entry>,
    pub(crate) bytes: Bytes,
}

impl fmt::Debug for LogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogEntry({} requests, {} bytes)", self.entry.requests.len(), self.bytes.len())
    }
}

impl fmt::Display for LogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The result of applying an entry.
#[derive(Debug, Clone, Default)]
pub(crate) struct AppliedEntry {
    pub(crate) revision: u64,
    pub(crate) now_ms: u64,
    pub(crate) wall_ms: u64,
    pub(crate) outcomes: Vec<Outcome>,
    /// For each outcome, the revision of the effect it reports.
    pub(crate) revisions: Vec<u64>,
}
