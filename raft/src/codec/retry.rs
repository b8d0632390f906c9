//! The remembered answers of retries as protobuf, as snapshots store them, and back.

use batuta_proto::internal as wire;
use batuta_proto::internal::ended_record::Ended as WireEnded;
use batuta_proto::internal::image_record::Record as WireRecord;
use batuta_proto::internal::remembered_reply::Reply as WireRemembered;
use batuta_statemachine::{Ended, RememberedReply, RetryRecord};

use super::wire::{Claimed, FromWire, ToWire, wire_message};
use super::{DecodeError, outcome, outcome_to_wire};

impl ToWire<wire::RememberedReply> for RememberedReply {
    fn to_wire(&self) -> wire::RememberedReply {
        let reply = match self {
            Self::Outcome(answer) => WireRemembered::Outcome(outcome_to_wire(answer)),
            Self::Acquisition(lock_id) => WireRemembered::Acquisition(lock_id.to_wire()),
        };
        wire::RememberedReply { reply: Some(reply) }
    }
}

impl FromWire<wire::RememberedReply> for RememberedReply {
    fn from_wire(message: wire::RememberedReply, field: &'static str) -> Result<Self, DecodeError> {
        match message.reply.ok_or(DecodeError::Unknown("remembered reply"))? {
            WireRemembered::Outcome(answer) => outcome(answer).map(Self::Outcome),
            WireRemembered::Acquisition(id) => FromWire::from_wire(id, field).map(Self::Acquisition),
        }
    }
}

wire_message! { RememberedReply = RememberedReply }

pub(super) fn record_to_wire(record: &RetryRecord) -> WireRecord {
    match record {
        RetryRecord::Ended { lock_id, ended } => WireRecord::Ended(wire::EndedRecord {
            lock_id: lock_id.to_wire(),
            ended: Some(match ended {
                Ended::Grant(reason) => WireEnded::Grant(reason.to_wire()),
                Ended::Wait(reason) => WireEnded::Wait(reason.to_wire()),
            }),
        }),
        RetryRecord::Sequence { session, sequence, fingerprint, revision, reply } => {
            WireRecord::Sequence(wire::SequenceRecord {
                session: session.to_wire(),
                sequence: *sequence,
                fingerprint: *fingerprint,
                revision: *revision,
                reply: reply.to_wire(),
            })
        }
        RetryRecord::Idempotency { principal, namespace, key, fingerprint, position, at_ms, reply } => {
            WireRecord::Idempotency(wire::IdempotencyRecord {
                namespace: namespace.to_wire(),
                key: key.clone(),
                fingerprint: *fingerprint,
                position: position.to_wire(),
                at_ms: *at_ms,
                reply: reply.to_wire(),
                principal: principal.to_wire(),
            })
        }
    }
}

pub(super) fn record(record: WireRecord) -> Claimed<RetryRecord, WireRecord> {
    Claimed::Here(match record {
        WireRecord::Ended(record) => ended(record),
        WireRecord::Sequence(record) => sequence(record),
        WireRecord::Idempotency(record) => idempotency(record),
        other => return Claimed::Elsewhere(other),
    })
}

fn ended(record: wire::EndedRecord) -> Result<RetryRecord, DecodeError> {
    let wire::EndedRecord { lock_id, ended } = record;
    let ended = match ended.ok_or(DecodeError::Unknown("end"))? {
        WireEnded::Grant(reason) => Ended::Grant(FromWire::from_wire(reason, "reason")?),
        WireEnded::Wait(reason) => Ended::Wait(FromWire::from_wire(reason, "reason")?),
    };
    Ok(RetryRecord::Ended { lock_id: FromWire::from_wire(lock_id, "lock_id")?, ended })
}

fn sequence(record: wire::SequenceRecord) -> Result<RetryRecord, DecodeError> {
    let wire::SequenceRecord { session, sequence, fingerprint, reply, revision } = record;
    Ok(RetryRecord::Sequence {
        session: FromWire::from_wire(session, "session")?,
        sequence,
        fingerprint,
        revision,
        reply: FromWire::from_wire(reply, "reply")?,
    })
}

fn idempotency(record: wire::IdempotencyRecord) -> Result<RetryRecord, DecodeError> {
    let wire::IdempotencyRecord { namespace, key, fingerprint, position, at_ms, reply, principal } = record;
    Ok(RetryRecord::Idempotency {
        principal: FromWire::from_wire(principal, "principal")?,
        namespace: FromWire::from_wire(namespace, "namespace")?,
        key,
        fingerprint,
        position: FromWire::from_wire(position, "position")?,
        at_ms,
        reply: FromWire::from_wire(reply, "reply")?,
    })
}
