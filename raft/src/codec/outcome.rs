//! Outcomes of requests (replies and refusals) as protobuf, and back.

use batuta_proto::internal as wire;
use batuta_proto::internal::outcome::Outcome as WireOutcome;
use batuta_proto::internal::rejection::Rejection as WireRejection;
use batuta_proto::internal::reply::Reply as WireReply;
use batuta_statemachine::{Outcome, Rejection, Reply};

use super::wire::{Claimed, ToWire, claimed};
use super::{DecodeError, access, cluster, lock, register, session};

/// Converts an outcome to its wire form.
pub(crate) fn outcome_to_wire(outcome: &Outcome) -> wire::Outcome {
    wire::Outcome {
        outcome: Some(match outcome {
            Ok(reply) => WireOutcome::Reply(wire::Reply { reply: Some(reply_to_wire(reply)) }),
            Err(rejection) => {
                WireOutcome::Rejection(wire::Rejection { rejection: Some(rejection_to_wire(rejection)) })
            }
        }),
    }
}

/// Converts an outcome from its wire form.
pub(crate) fn outcome(outcome: wire::Outcome) -> Result<Outcome, DecodeError> {
    match outcome.outcome.ok_or(DecodeError::Unknown("outcome"))? {
        WireOutcome::Reply(answer) => reply(answer.reply.ok_or(DecodeError::Unknown("reply"))?).map(Ok),
        WireOutcome::Rejection(answer) => {
            rejection(answer.rejection.ok_or(DecodeError::Unknown("rejection"))?).map(Err)
        }
    }
}

fn reply_to_wire(reply: &Reply) -> WireReply {
    match reply {
        Reply::Session(reply) => session::reply_to_wire(reply),
        Reply::Lock(reply) => lock::reply_to_wire(reply),
        Reply::Register(reply) => register::reply_to_wire(reply),
        Reply::Cluster(reply) => cluster::reply_to_wire(reply),
        Reply::Access(reply) => access::reply_to_wire(reply),
    }
}

fn reply(reply: WireReply) -> Result<Reply, DecodeError> {
    claimed!(
        reply,
        session::reply, lock::reply, register::reply, cluster::reply, access::reply;
        else "reply"
    )
}

fn rejection_to_wire(rejection: &Rejection) -> WireRejection {
    match rejection {
        Rejection::InvalidArgument { field, problem } => {
            WireRejection::InvalidArgument(wire::InvalidArgument {
                field: field.to_wire(),
                problem: problem.clone(),
            })
        }
        Rejection::LimitExceeded { limit, max, remedy } => {
            WireRejection::LimitExceeded(wire::LimitExceeded {
                limit: limit.to_wire(),
                max: *max,
                remedy: remedy.to_wire(),
            })
        }
        Rejection::KeyReused => WireRejection::KeyReused(wire::Nothing {}),
        Rejection::SequenceTooOld { sequence, oldest } => {
            WireRejection::SequenceTooOld(wire::SequenceTooOld { sequence: *sequence, oldest: *oldest })
        }
        Rejection::Session(refusal) => session::refusal_to_wire(refusal),
        Rejection::Lock(refusal) => lock::refusal_to_wire(refusal),
        Rejection::Register(refusal) => register::refusal_to_wire(refusal),
        Rejection::Cluster(refusal) => cluster::refusal_to_wire(refusal),
        Rejection::Access(refusal) => access::refusal_to_wire(refusal),
    }
}

fn rejection(rejection: WireRejection) -> Result<Rejection, DecodeError> {
    claimed!(
        rejection,
        shared_rejection, session::refusal, lock::refusal, register::refusal, cluster::refusal, access::refusal;
        else "rejection"
    )
}

/// Decodes the refusals that belong to no job.
fn shared_rejection(rejection: WireRejection) -> Claimed<Rejection, WireRejection> {
    Claimed::Here(Ok(match rejection {
        WireRejection::InvalidArgument(wire::InvalidArgument { field, problem }) => {
            Rejection::InvalidArgument { field: field.into(), problem }
        }
        WireRejection::LimitExceeded(wire::LimitExceeded { limit, max, remedy }) => {
            Rejection::LimitExceeded { limit: limit.into(), max, remedy: remedy.into() }
        }
        WireRejection::KeyReused(wire::Nothing {}) => Rejection::KeyReused,
        WireRejection::SequenceTooOld(wire::SequenceTooOld { sequence, oldest }) => {
            Rejection::SequenceTooOld { sequence, oldest }
        }
        other => return Claimed::Elsewhere(other),
    }))
}
