//! Converts Raft's messages to protobuf and back.

use batuta_proto::internal as wire;
use batuta_proto::internal::append_response::Result as WireAppendResult;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, TransferLeaderRequest, VoteRequest,
    VoteResponse,
};

use tokio::time::Instant;

use crate::codec::DecodeError;
use crate::codec::consensus::{entry, entry_to_wire, log_id, log_id_to_wire, vote, vote_to_wire};
use crate::replica::ClusterClock;
use crate::types::{LogId, TypeConfig};

pub(super) type Append = AppendEntriesRequest<TypeConfig>;
pub(super) type Appended = AppendEntriesResponse<TypeConfig>;
pub(super) type StreamAppended = Result<Option<LogId>, StreamAppendError<TypeConfig>>;

pub(super) fn append_to_wire(request: &Append, clock: &ClusterClock) -> wire::AppendRequest {
    wire::AppendRequest {
        now_ms: clock.message_ms(request.vote.leader_id.term, Instant::now()),
        vote: Some(vote_to_wire(&request.vote)),
        previous: request.prev_log_id.map(log_id_to_wire),
        entries: request.entries.iter().map(entry_to_wire).collect(),
        leader_commit: request.leader_commit.map(log_id_to_wire),
        ..Default::default()
    }
}

/// The request of its wire form, as a build reads it that knows the commands up to a level.
pub(super) fn append(request: wire::AppendRequest, known_level: u32) -> Result<Append, DecodeError> {
    let entry = |stored| entry(stored, known_level);
    Ok(AppendEntriesRequest {
        vote: vote(request.vote)?,
        prev_log_id: request.previous.map(log_id),
        entries: request.entries.into_iter().map(entry).collect::<Result<_, _>>()?,
        leader_commit: request.leader_commit.map(log_id),
    })
}

pub(super) fn appended_to_wire(response: &Appended) -> wire::AppendResponse {
    let result = match response {
        Appended::Success => WireAppendResult::Success(wire::Success::default()),
        Appended::PartialSuccess(matched) => {
            WireAppendResult::Success(wire::Success { matched: matched.map(log_id_to_wire), partial: true })
        }
        Appended::Conflict => WireAppendResult::Conflict(wire::Conflict::default()),
        Appended::HigherVote(higher) => WireAppendResult::HigherVote(vote_to_wire(higher)),
    };
    wire::AppendResponse { result: Some(result), ..Default::default() }
}

pub(super) fn appended(response: &wire::AppendResponse) -> Result<Appended, DecodeError> {
    Ok(match response.result.ok_or(DecodeError::Unknown("append response"))? {
        WireAppendResult::Success(success) if success.partial => {
            Appended::PartialSuccess(success.matched.map(log_id))
        }
        WireAppendResult::Success(_) => Appended::Success,
        WireAppendResult::Conflict(_) => Appended::Conflict,
        WireAppendResult::HigherVote(higher) => Appended::HigherVote(vote(Some(higher))?),
    })
}

pub(super) fn stream_appended_to_wire(result: &StreamAppended) -> wire::AppendResponse {
    let result = match result {
        Ok(matched) => {
            WireAppendResult::Success(wire::Success { matched: matched.map(log_id_to_wire), partial: true })
        }
        Err(StreamAppendError::Conflict(at)) => {
            WireAppendResult::Conflict(wire::Conflict { at: Some(log_id_to_wire(*at)) })
        }
        Err(StreamAppendError::HigherVote(higher)) => WireAppendResult::HigherVote(vote_to_wire(higher)),
    };
    wire::AppendResponse { result: Some(result), ..Default::default() }
}

pub(super) fn stream_appended(response: &wire::AppendResponse) -> Result<StreamAppended, DecodeError> {
    Ok(match response.result.ok_or(DecodeError::Unknown("append response"))? {
        WireAppendResult::Success(success) => Ok(success.matched.map(log_id)),
        WireAppendResult::Conflict(conflict) => {
            let at = conflict.at.ok_or(DecodeError::Missing("the position of a conflict"))?;
            Err(StreamAppendError::Conflict(log_id(at)))
        }
        WireAppendResult::HigherVote(higher) => Err(StreamAppendError::HigherVote(vote(Some(higher))?)),
    })
}

pub(super) fn vote_request_to_wire(request: &VoteRequest<TypeConfig>, pre_vote: bool) -> wire::VoteRequest {
    wire::VoteRequest {
        vote: Some(vote_to_wire(&request.vote)),
        last: request.last_log_id.map(log_id_to_wire),
        leadership_transfer: request.leadership_transfer,
        pre_vote,
        ..Default::default()
    }
}

pub(super) fn vote_request(request: wire::VoteRequest) -> Result<VoteRequest<TypeConfig>, DecodeError> {
    let mut asked = VoteRequest::new(vote(request.vote)?, request.last.map(log_id));
    asked.leadership_transfer = request.leadership_transfer;
    Ok(asked)
}

pub(super) fn vote_response_to_wire(response: &VoteResponse<TypeConfig>) -> wire::VoteResponse {
    wire::VoteResponse {
        vote: Some(vote_to_wire(&response.vote)),
        granted: response.vote_granted,
        last: response.last_log_id.map(log_id_to_wire),
        ..Default::default()
    }
}

pub(super) fn vote_response(response: wire::VoteResponse) -> Result<VoteResponse<TypeConfig>, DecodeError> {
    Ok(VoteResponse::new(vote(response.vote)?, response.last.map(log_id), response.granted))
}

pub(super) fn transfer_to_wire(request: &TransferLeaderRequest<TypeConfig>) -> wire::TransferLeaderRequest {
    wire::TransferLeaderRequest {
        from: Some(vote_to_wire(request.from_leader())),
        to_node_id: *request.to_node_id(),
        last: request.last_log_id().copied().map(log_id_to_wire),
    }
}

pub(super) fn transfer(
    request: wire::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<TypeConfig>, DecodeError> {
    Ok(TransferLeaderRequest::new(vote(request.from)?, request.to_node_id, request.last.map(log_id)))
}
