//! Samples of votes, log ids and memberships, and of the messages between nodes.

use batuta_proto::internal as wire;
use batuta_statemachine::LEVEL;
use prost::Message as _;
use wire::append_response::Result as Appended;
use wire::forward_request::Call;
use wire::forward_response::Result as Forwarded;
use wire::refused::Reason;
use wire::stored_entry::Payload;

use super::Sample;
use crate::codec::consensus;

fn log_id(index: u64) -> wire::LogId {
    wire::LogId { term: 3, index }
}

fn vote() -> wire::RaftVote {
    wire::RaftVote { term: 3, node_id: 1, committed: true }
}

fn position() -> wire::Position {
    wire::Position { index: 7, ordinal: 3 }
}

fn addresses() -> wire::Addresses {
    let on = |port: u16| format!("10.0.0.1:{port}");
    wire::Addresses { peer: on(7000), rest: on(8080), grpc: on(9090), ws: on(8081) }
}

fn member() -> wire::Member {
    wire::Member { node_id: 1, name: "n1".to_owned(), addresses: Some(addresses()) }
}

fn membership() -> wire::Membership {
    wire::Membership { configs: vec![wire::VoterSet { node_ids: vec![1] }], members: vec![member()] }
}

fn applied() -> wire::AppliedChain {
    wire::AppliedChain { last: Some(log_id(8)), chain: u64::MAX }
}

fn acknowledged() -> wire::AcknowledgedBy {
    wire::AcknowledgedBy { node_id: 2, last: Some(log_id(7)) }
}

fn introduction() -> wire::Introduction {
    wire::Introduction {
        name: "n1".to_owned(),
        cluster_id: "c0ffee".to_owned(),
        node_id: 1,
        boot_id: 2,
        running_ms: 3,
        addresses: Some(addresses()),
        ..Default::default()
    }
}

/// Entries as the log stores them and the leader sends them.
fn entries() -> Vec<Sample> {
    let payloads = [
        ("blank", Payload::Blank(wire::Blank {})),
        ("entry", Payload::Entry(vec![8, 5, 16, 7].into())),
        ("membership", Payload::Membership(membership())),
    ];
    let through = |entry: wire::StoredEntry| {
        consensus::entry_to_wire(&consensus::entry(entry, LEVEL).expect("is known")).encode_to_vec()
    };
    let write = move |entry: &wire::StoredEntry| through(entry.clone());
    let read = |bytes: &[u8]| wire::StoredEntry::decode(bytes).expect("decodes");
    let entry = |(name, payload)| {
        let entry = wire::StoredEntry { log_id: Some(log_id(9)), payload: Some(payload) };
        Sample::new(format!("stored_entry/{name}"), "StoredEntry", entry, write, read)
    };
    payloads.into_iter().map(entry).collect()
}

fn replication() -> Vec<Sample> {
    let stored = wire::StoredEntry {
        log_id: Some(log_id(9)),
        payload: Some(Payload::Entry(vec![8, 5, 16, 7].into())),
    };
    let append = wire::AppendRequest {
        vote: Some(vote()),
        previous: Some(log_id(8)),
        entries: vec![stored],
        leader_commit: Some(log_id(8)),
        leader_disk_low: true,
        now_ms: 12,
        acknowledged: Some(log_id(7)),
        applied: Some(applied()),
        members: vec![acknowledged()],
    };
    let answer = |result| wire::AppendResponse {
        result: Some(result),
        applied: Some(applied()),
        members: vec![acknowledged()],
        disk_room: true,
    };
    let success = Appended::Success(wire::Success { matched: Some(log_id(9)), partial: true });
    let conflict = Appended::Conflict(wire::Conflict { at: Some(log_id(9)) });
    let known = wire::AcknowledgedResponse { last: Some(log_id(7)) };
    vec![
        Sample::plain("append/request", "AppendRequest", append),
        Sample::plain("append/success", "AppendResponse", answer(success)),
        Sample::plain("append/conflict", "AppendResponse", answer(conflict)),
        Sample::plain("append/higher_vote", "AppendResponse", answer(Appended::HigherVote(vote()))),
        Sample::plain(
            "acknowledged/request",
            "AcknowledgedRequest",
            wire::AcknowledgedRequest { node_id: 1 },
        ),
        Sample::plain("acknowledged/response", "AcknowledgedResponse", known),
    ]
}

fn elections() -> Vec<Sample> {
    let ask = wire::VoteRequest {
        vote: Some(vote()),
        last: Some(log_id(9)),
        leadership_transfer: true,
        pre_vote: true,
        acknowledged: Some(log_id(7)),
        applied: Some(applied()),
    };
    let answer = wire::VoteResponse {
        vote: Some(vote()),
        granted: true,
        last: Some(log_id(9)),
        applied: Some(applied()),
    };
    let transfer = wire::TransferLeaderRequest { from: Some(vote()), to_node_id: 2, last: Some(log_id(9)) };
    let transferred = wire::TransferLeaderResponse { refused: "no".to_owned() };
    let lost = wire::LeaderLostResponse { lost: true, last: Some(log_id(9)) };
    vec![
        Sample::plain("vote/request", "VoteRequest", ask),
        Sample::plain("vote/response", "VoteResponse", answer),
        Sample::plain("transfer/request", "TransferLeaderRequest", transfer),
        Sample::plain("transfer/response", "TransferLeaderResponse", transferred),
        Sample::plain(
            "leader_lost/request",
            "LeaderLostRequest",
            wire::LeaderLostRequest { vote: Some(vote()) },
        ),
        Sample::plain("leader_lost/response", "LeaderLostResponse", lost),
    ]
}

fn snapshots() -> Vec<Sample> {
    let stored = wire::StoredMembership { log_id: Some(log_id(1)), membership: Some(membership()) };
    let header = wire::SnapshotHeader {
        last: Some(log_id(9)),
        membership: Some(stored),
        chain: Some(5),
        term_ends: vec![log_id(2)],
        terms_since: Some(1),
    };
    let chunk = wire::SnapshotChunk { vote: Some(vote()), bytes_total: 3, data: vec![1, 2, 3].into() };
    let write = |header: &wire::SnapshotHeader| {
        let (meta, lineage) = consensus::snapshot_header(header.clone()).expect("is known");
        consensus::snapshot_header_to_wire(&meta, &lineage).encode_to_vec()
    };
    let read = |bytes: &[u8]| wire::SnapshotHeader::decode(bytes).expect("decodes");
    vec![
        Sample::new("snapshot/header", "SnapshotHeader", header, write, read),
        Sample::plain("snapshot/chunk", "SnapshotChunk", chunk),
        Sample::plain("snapshot/response", "SnapshotResponse", wire::SnapshotResponse { vote: Some(vote()) }),
    ]
}

fn forwarded_calls() -> Vec<Sample> {
    let calls = [
        ("propose", Call::Propose(wire::Proposal { requests: vec![vec![178, 1, 0].into()] })),
        ("keep_alive", Call::KeepAlive(wire::KeepAlives { sessions: vec![position()] })),
        ("read_index", Call::ReadIndex(wire::ReadIndex {})),
        ("remove_member", Call::RemoveMember(2)),
        ("promote_member", Call::PromoteMember(2)),
        ("transfer_to", Call::TransferTo(wire::TransferTo { node_id: Some(2) })),
    ];
    let sample = |(name, call)| {
        let request = wire::ForwardRequest { id: 4, with_ids: vec![5, 6], call: Some(call) };
        let requests = wire::ForwardRequests { requests: vec![request] };
        Sample::plain(format!("forward/request/{name}"), "ForwardRequests", requests)
    };
    calls.into_iter().map(sample).collect()
}

fn forwarded_answers() -> Vec<Sample> {
    let proposed = wire::ProposedAnswer {
        revision: 9,
        now_ms: 10,
        wall_ms: 11,
        outcomes: vec![vec![10, 0].into()],
        outcome_revisions: vec![8],
    };
    let kept = wire::KeptAlives { revision: 9, now_ms: 10, deadlines_ms: vec![0, 12] };
    let mut answers = vec![
        ("proposed".to_owned(), Forwarded::Proposed(proposed)),
        ("kept_alive".to_owned(), Forwarded::KeptAlive(kept)),
        ("read_index".to_owned(), Forwarded::ReadIndex(9)),
        ("transferred".to_owned(), Forwarded::Transferred(2)),
        ("done".to_owned(), Forwarded::Done(wire::DoneAnswer {})),
    ];
    answers.extend((1..).map_while(|number| Reason::try_from(number).ok()).map(|reason| {
        let refused = wire::Refused {
            reason: reason.into(),
            message: "m".to_owned(),
            free_bytes: 1,
            min_bytes: 2,
            node_id: 3,
        };
        (format!("refused_{}", reason.as_str_name().to_lowercase()), Forwarded::Refused(refused))
    }));
    let sample = |(name, result)| {
        let response = wire::ForwardResponse { id: 4, with_ids: vec![5, 6], result: Some(result) };
        let responses = wire::ForwardResponses { responses: vec![response] };
        Sample::plain(format!("forward/response/{name}"), "ForwardResponses", responses)
    };
    answers.into_iter().map(sample).collect()
}

fn identities() -> Vec<Sample> {
    let identified = wire::IdentifyResponse {
        name: "n1".to_owned(),
        cluster_id: "c0ffee".to_owned(),
        node_id: 1,
        addresses: Some(addresses()),
        leader_peer: "10.0.0.2:7000".to_owned(),
        initialised: true,
        boot_id: 2,
        running_ms: 3,
        ..Default::default()
    };
    let greeted = wire::HelloResponse {
        me: Some(introduction()),
        refused: "no".to_owned(),
        membership_index: 4,
        members: vec![member()],
    };
    let adopt = wire::AdoptRequest { cluster_id: "c0ffee".to_owned(), node_id: 1, name: "n1".to_owned() };
    let join = wire::JoinRequest {
        name: "n1".to_owned(),
        addresses: Some(addresses()),
        node_id: 1,
        cluster_id: "c0ffee".to_owned(),
        was_member: true,
        ..Default::default()
    };
    let joined = wire::JoinResponse {
        cluster_id: "c0ffee".to_owned(),
        node_id: 1,
        leader_peer: "10.0.0.2:7000".to_owned(),
        refused: "no".to_owned(),
        ..Default::default()
    };
    let identify = wire::IdentifyRequest { name: "n1".to_owned(), rival: Some(introduction()) };
    let hello = wire::HelloRequest { from: Some(introduction()) };
    let adopted = wire::AdoptResponse { refused: "no".to_owned() };
    let level = 2;
    let version = "0.2.0".to_owned();
    let identified_with_level =
        wire::IdentifyResponse { level, version: version.clone(), ..identified.clone() };
    let hello_with_level = wire::HelloRequest {
        from: Some(wire::Introduction { level, version: version.clone(), ..introduction() }),
    };
    let join_with_level = wire::JoinRequest { level, version, ..join.clone() };
    let joined_too_old = wire::JoinResponse { level_needed: 2, ..joined.clone() };
    vec![
        Sample::plain("identify/response_with_level", "IdentifyResponse", identified_with_level),
        Sample::plain("hello/request_with_level", "HelloRequest", hello_with_level),
        Sample::plain("join/request_with_level", "JoinRequest", join_with_level),
        Sample::plain("join/response_too_old", "JoinResponse", joined_too_old),
        Sample::plain("identify/request", "IdentifyRequest", identify),
        Sample::plain("identify/response", "IdentifyResponse", identified),
        Sample::plain("hello/request", "HelloRequest", hello),
        Sample::plain("hello/response", "HelloResponse", greeted),
        Sample::plain("adopt/request", "AdoptRequest", adopt),
        Sample::plain("adopt/response", "AdoptResponse", adopted),
        Sample::plain("join/request", "JoinRequest", join),
        Sample::plain("join/response", "JoinResponse", joined),
    ]
}

pub(super) fn samples() -> Vec<Sample> {
    let all = [
        entries(),
        replication(),
        elections(),
        snapshots(),
        forwarded_calls(),
        forwarded_answers(),
        identities(),
    ];
    all.into_iter().flatten().collect()
}
