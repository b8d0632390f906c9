//! The state as snapshots keep it.

use batuta_proto::internal as wire;
use batuta_proto::internal::ended_record::Ended as WireEnded;
use batuta_proto::internal::image_record::Record as WireRecord;
use batuta_proto::internal::remembered_reply::Reply as WireRemembered;
use batuta_statemachine::{Ended, ImageHeader, ImageRecord, Limits, LimitsPatch, Position, RememberedReply};

use super::lock::{call, call_to_wire, owner, owner_to_wire};
use super::outcome::{
    grant, grant_to_wire, outcome, outcome_to_wire, release_reason, release_reason_to_wire, requests,
    requests_to_wire, wait_end, wait_end_to_wire,
};
use super::{DecodeError, lock_id, name, namespace, position, position_to_wire, session_id};

/// The wire form of an image's header.
pub(crate) fn image_header_to_wire(header: &ImageHeader) -> wire::ImageHeader {
    let limits = header.limits.values().into_iter();
    wire::ImageHeader {
        revision: header.revision,
        now_ms: header.now_ms,
        wall_ms: header.wall_ms,
        limits: limits.map(|(name, value)| wire::LimitValue { name: name.to_owned(), value }).collect(),
        cluster_id: header.cluster_id.clone(),
        next_node_id: header.next_node_id,
        last_token: header.last_token,
    }
}

/// The header of its wire form.
pub(crate) fn image_header(header: wire::ImageHeader) -> Result<ImageHeader, DecodeError> {
    let values = header.limits.into_iter().map(|limit| (limit.name, limit.value)).collect();
    let limits =
        Limits::default().patched(&LimitsPatch { values }).map_err(|_| DecodeError::Unknown("limit"))?;
    Ok(ImageHeader {
        revision: header.revision,
        now_ms: header.now_ms,
        wall_ms: header.wall_ms,
        limits,
        cluster_id: header.cluster_id,
        next_node_id: header.next_node_id,
        last_token: header.last_token,
    })
}

/// The wire form of an image's record.
pub(crate) fn image_record_to_wire(record: &ImageRecord) -> wire::ImageRecord {
    let record = match record {
        ImageRecord::Grant(held) => WireRecord::Grant(grant_to_wire(held)),
        ImageRecord::Delay { namespace, name, capacity, until_ms } => WireRecord::Delay(wire::DelayRecord {
            namespace: namespace.to_string(),
            name: name.to_string(),
            capacity: *capacity,
            until_ms: *until_ms,
        }),
        ImageRecord::Register { namespace, name, high_water } => WireRecord::Register(wire::RegisterRecord {
            namespace: namespace.to_string(),
            name: name.to_string(),
            high_water: *high_water,
        }),
        ImageRecord::Ended { lock_id, ended } => WireRecord::Ended(wire::EndedRecord {
            lock_id: Some(position_to_wire(lock_id.0)),
            ended: Some(match ended {
                Ended::Grant(reason) => WireEnded::Grant(release_reason_to_wire(reason)),
                Ended::Wait(reason) => WireEnded::Wait(wait_end_to_wire(*reason)),
            }),
        }),
        ImageRecord::Sequence { session, sequence, fingerprint, revision, reply } => {
            WireRecord::Sequence(wire::SequenceRecord {
                session: Some(position_to_wire(session.0)),
                sequence: *sequence,
                fingerprint: *fingerprint,
                revision: *revision,
                reply: Some(remembered_to_wire(reply)),
            })
        }
        ImageRecord::Idempotency { namespace, key, fingerprint, position, at_ms, reply } => {
            WireRecord::Idempotency(wire::IdempotencyRecord {
                namespace: namespace.to_string(),
                key: key.clone(),
                fingerprint: *fingerprint,
                position: Some(position_to_wire(*position)),
                at_ms: *at_ms,
                reply: Some(remembered_to_wire(reply)),
            })
        }
        ImageRecord::Unconfirmed { lock_id, calls, at_ms } => {
            WireRecord::Unconfirmed(wire::UnconfirmedRecord {
                lock_id: Some(position_to_wire(lock_id.0)),
                calls: calls.iter().map(call_to_wire).collect(),
                at_ms: *at_ms,
            })
        }
        ImageRecord::Session { .. } | ImageRecord::Wait { .. } => owner_record_to_wire(record),
    };
    wire::ImageRecord { record: Some(record) }
}

/// The wire form of a session or a wait.
fn owner_record_to_wire(record: &ImageRecord) -> WireRecord {
    match record.clone() {
        ImageRecord::Session {
            session,
            namespace,
            ttl_ms,
            deadline_ms,
            opened_wall_ms,
            metadata,
            window_floor,
        } => WireRecord::Session(wire::SessionRecord {
            session: Some(position_to_wire(session.0)),
            namespace: namespace.to_string(),
            ttl_ms,
            deadline_ms,
            opened_wall_ms,
            metadata,
            window_floor,
        }),
        ImageRecord::Wait {
            lock_id,
            namespace,
            requests,
            owner,
            ttl_ms,
            lock_delay_ms,
            metadata,
            deadline_ms,
            calls,
        } => WireRecord::Wait(wire::WaitRecord {
            lock_id: Some(position_to_wire(lock_id.0)),
            namespace: namespace.to_string(),
            requests: requests_to_wire(&requests),
            owner: Some(owner_to_wire(&owner)),
            ttl_ms,
            lock_delay_ms,
            metadata,
            deadline_ms,
            calls: calls.iter().map(call_to_wire).collect(),
        }),
        other => unreachable!("{other:?} has its own arm in image_record_to_wire"),
    }
}

/// The record of its wire form.
pub(crate) fn image_record(record: wire::ImageRecord) -> Result<ImageRecord, DecodeError> {
    Ok(match record.record.ok_or(DecodeError::Unknown("record"))? {
        WireRecord::Session(record) => ImageRecord::Session {
            session: session_id(record.session)?,
            namespace: namespace(&record.namespace)?,
            ttl_ms: record.ttl_ms,
            deadline_ms: record.deadline_ms,
            opened_wall_ms: record.opened_wall_ms,
            metadata: record.metadata,
            window_floor: record.window_floor,
        },
        WireRecord::Grant(held) => ImageRecord::Grant(grant(held)?),
        WireRecord::Wait(record) => ImageRecord::Wait {
            lock_id: lock_id(record.lock_id)?,
            namespace: namespace(&record.namespace)?,
            requests: requests(&record.requests)?,
            owner: owner(record.owner.ok_or(DecodeError::Missing("owner"))?)?,
            ttl_ms: record.ttl_ms,
            lock_delay_ms: record.lock_delay_ms,
            metadata: record.metadata,
            deadline_ms: record.deadline_ms,
            calls: record.calls.into_iter().map(call).collect(),
        },
        WireRecord::Unconfirmed(record) => ImageRecord::Unconfirmed {
            lock_id: lock_id(record.lock_id)?,
            calls: record.calls.into_iter().map(call).collect(),
            at_ms: record.at_ms,
        },
        WireRecord::Delay(record) => ImageRecord::Delay {
            namespace: namespace(&record.namespace)?,
            name: name(&record.name)?,
            capacity: record.capacity,
            until_ms: record.until_ms,
        },
        WireRecord::Register(record) => ImageRecord::Register {
            namespace: namespace(&record.namespace)?,
            name: name(&record.name)?,
            high_water: record.high_water,
        },
        WireRecord::Ended(record) => ImageRecord::Ended {
            lock_id: lock_id(record.lock_id)?,
            ended: match record.ended.ok_or(DecodeError::Unknown("end"))? {
                WireEnded::Grant(reason) => Ended::Grant(release_reason(reason)?),
                WireEnded::Wait(reason) => Ended::Wait(wait_end(reason)?),
            },
        },
        WireRecord::Sequence(record) => ImageRecord::Sequence {
            session: session_id(record.session)?,
            sequence: record.sequence,
            fingerprint: record.fingerprint,
            revision: record.revision,
            reply: remembered(record.reply)?,
        },
        WireRecord::Idempotency(record) => ImageRecord::Idempotency {
            namespace: namespace(&record.namespace)?,
            key: record.key,
            fingerprint: record.fingerprint,
            position: entry_position(record.position)?,
            at_ms: record.at_ms,
            reply: remembered(record.reply)?,
        },
    })
}

fn entry_position(at: Option<wire::Position>) -> Result<Position, DecodeError> {
    position(at, "the position of a remembered request")
}

fn remembered_to_wire(reply: &RememberedReply) -> wire::RememberedReply {
    wire::RememberedReply {
        reply: Some(match reply {
            RememberedReply::Outcome(answer) => WireRemembered::Outcome(outcome_to_wire(answer)),
            RememberedReply::Acquisition(lock_id) => WireRemembered::Acquisition(position_to_wire(lock_id.0)),
        }),
    }
}

fn remembered(reply: Option<wire::RememberedReply>) -> Result<RememberedReply, DecodeError> {
    match reply.and_then(|reply| reply.reply).ok_or(DecodeError::Unknown("remembered reply"))? {
        WireRemembered::Outcome(answer) => outcome(answer).map(RememberedReply::Outcome),
        WireRemembered::Acquisition(id) => lock_id(Some(id)).map(RememberedReply::Acquisition),
    }
}
