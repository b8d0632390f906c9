//! openraft's own types as protobuf, and back: votes, log ids, memberships, log entries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use batuta_proto::internal as wire;
use batuta_proto::internal::stored_entry::Payload;
use bytes::Bytes;
use openraft::EntryPayload;
use openraft::vote::RaftLeaderId as _;
use prost::Message as _;

use super::{DecodeError, decode_entry};
use crate::lineage::Lineage;
use crate::types::{
    Addresses, LogEntry, LogId, Member, Membership, RaftEntry, SnapshotMeta, StoredMembership, Vote,
};

type LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>;

pub(crate) fn log_id_to_wire(id: LogId) -> wire::LogId {
    wire::LogId { term: id.leader_id.term, index: id.index }
}

pub(crate) fn log_id(id: wire::LogId) -> LogId {
    LogId::new_term_index(id.term, id.index)
}

pub(crate) fn encode_log_id(id: LogId) -> Bytes {
    log_id_to_wire(id).encode_to_vec().into()
}

pub(crate) fn decode_log_id(bytes: &[u8]) -> Result<LogId, DecodeError> {
    Ok(log_id(wire::LogId::decode(bytes)?))
}

pub(crate) fn vote_to_wire(vote: &Vote) -> wire::RaftVote {
    wire::RaftVote { term: vote.leader_id.term, node_id: vote.leader_id.voted_for, committed: vote.committed }
}

pub(crate) fn vote(vote: Option<wire::RaftVote>) -> Result<Vote, DecodeError> {
    let vote = vote.ok_or(DecodeError::Missing("vote"))?;
    Ok(Vote { leader_id: LeaderId::new(vote.term, vote.node_id), committed: vote.committed })
}

pub(crate) fn encode_vote(vote: &Vote) -> Bytes {
    vote_to_wire(vote).encode_to_vec().into()
}

pub(crate) fn decode_vote(bytes: &[u8]) -> Result<Vote, DecodeError> {
    vote(Some(wire::RaftVote::decode(bytes)?))
}

pub(crate) fn addresses_to_wire(addresses: &Addresses) -> wire::Addresses {
    wire::Addresses {
        peer: addresses.peer.clone(),
        rest: addresses.rest.clone(),
        grpc: addresses.grpc.clone(),
        ws: addresses.ws.clone(),
    }
}

pub(crate) fn addresses(addresses: Option<wire::Addresses>) -> Addresses {
    let wire::Addresses { peer, rest, grpc, ws } = addresses.unwrap_or_default();
    Addresses { peer, rest, grpc, ws }
}

fn membership_to_wire(membership: &Membership) -> wire::Membership {
    let configs = membership.get_joint_config().iter();
    let members = membership.nodes().map(|(node_id, member)| wire::Member {
        node_id: *node_id,
        name: member.name.clone(),
        addresses: Some(addresses_to_wire(&member.addresses)),
    });
    wire::Membership {
        configs: configs.map(|ids| wire::VoterSet { node_ids: ids.iter().copied().collect() }).collect(),
        members: members.collect(),
    }
}

fn membership(membership: wire::Membership) -> Result<Membership, DecodeError> {
    let configs: Vec<BTreeSet<u64>> =
        membership.configs.into_iter().map(|set| set.node_ids.into_iter().collect()).collect();
    let members: BTreeMap<u64, Member> = membership
        .members
        .into_iter()
        .map(|member| (member.node_id, Member { name: member.name, addresses: addresses(member.addresses) }))
        .collect();
    if configs.is_empty() {
        // The membership of a node that does not know any cluster yet.
        return Ok(Membership::default());
    }
    Membership::new(configs, members).map_err(|_| DecodeError::Missing("a voter's addresses"))
}

pub(crate) fn entry_to_wire(entry: &RaftEntry) -> wire::StoredEntry {
    let payload = match &entry.payload {
        EntryPayload::Blank => Payload::Blank(wire::Blank {}),
        EntryPayload::Normal(data) => Payload::Entry(data.bytes.clone()),
        EntryPayload::Membership(members) => Payload::Membership(membership_to_wire(members)),
    };
    wire::StoredEntry { log_id: Some(log_id_to_wire(entry.log_id)), payload: Some(payload) }
}

/// The entry of its wire form, as a build reads it that knows the commands up to a level.
pub(crate) fn entry(stored: wire::StoredEntry, known_level: u32) -> Result<RaftEntry, DecodeError> {
    let payload = match stored.payload.ok_or(DecodeError::Unknown("kind of log entry"))? {
        Payload::Blank(_) => EntryPayload::Blank,
        Payload::Entry(bytes) => {
            let entry = Arc::new(decode_entry(&bytes)?);
            if entry.level() > known_level {
                return Err(DecodeError::Unknown("request"));
            }
            EntryPayload::Normal(LogEntry { entry, bytes })
        }
        Payload::Membership(members) => EntryPayload::Membership(membership(members)?),
    };
    let id = stored.log_id.ok_or(DecodeError::Missing("log id"))?;
    Ok(RaftEntry { log_id: log_id(id), payload })
}

pub(crate) fn snapshot_header_to_wire(meta: &SnapshotMeta, lineage: &Lineage) -> wire::SnapshotHeader {
    wire::SnapshotHeader {
        chain: lineage.chain(),
        term_ends: lineage.term_ends().map(log_id_to_wire).collect(),
        terms_since: Some(lineage.terms_since()),
        last: meta.last_log_id.map(log_id_to_wire),
        membership: Some(wire::StoredMembership {
            log_id: meta.last_membership.log_id().map(log_id_to_wire),
            membership: Some(membership_to_wire(meta.last_membership.membership())),
        }),
    }
}

pub(crate) fn snapshot_header(header: wire::SnapshotHeader) -> Result<(SnapshotMeta, Lineage), DecodeError> {
    let stored = header.membership.ok_or(DecodeError::Missing("membership"))?;
    let members = membership(stored.membership.ok_or(DecodeError::Missing("membership"))?)?;
    let last = header.last.map(log_id);
    let term_ends = header.term_ends.into_iter().map(log_id);
    let lineage = Lineage::restored(last, header.chain, term_ends, header.terms_since);
    let last_membership = StoredMembership::new(stored.log_id.map(log_id), members);
    Ok((SnapshotMeta { last_log_id: last, last_membership }, lineage))
}
