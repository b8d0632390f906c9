//! What requests were answered.

use std::sync::Arc;

use batuta_proto::internal as wire;
use batuta_proto::internal::outcome::Outcome as WireOutcome;
use batuta_proto::internal::rejection::Rejection as WireRejection;
use batuta_proto::internal::reply::Reply as WireReply;
use batuta_statemachine::lock::{Grant, LockRequest, Wait};
use batuta_statemachine::{Outcome, Rejection, ReleaseReason, Reply, SessionEnd, WaitEnd};

use super::lock::{owner, owner_to_wire, request, request_to_wire};
use super::{DecodeError, lock_id, name, namespace, position_to_wire, session_id};

/// The wire form of an outcome.
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

/// The outcome of its wire form.
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
        Reply::SessionOpened { session, ttl_ms, deadline_ms, opened_wall_ms } => {
            WireReply::SessionOpened(wire::SessionOpened {
                session: Some(position_to_wire(session.0)),
                ttl_ms: *ttl_ms,
                deadline_ms: *deadline_ms,
                opened_wall_ms: *opened_wall_ms,
            })
        }
        Reply::KeptAlive(deadlines) => {
            let deadlines =
                deadlines.iter().map(|deadline_ms| wire::SessionDeadline { deadline_ms: *deadline_ms });
            WireReply::KeptAlive(wire::SessionsKeptAlive { deadlines: deadlines.collect() })
        }
        Reply::SessionClosed { released_grants, cancelled_waits } => {
            WireReply::SessionClosed(wire::SessionClosed {
                released_grants: *released_grants,
                cancelled_waits: *cancelled_waits,
            })
        }
        Reply::Granted(grant) => WireReply::Granted(grant_to_wire(grant)),
        Reply::Queued(wait) => WireReply::Queued(wire::Queued {
            lock_id: Some(position_to_wire(wait.lock_id.0)),
            namespace: wait.namespace.to_string(),
            requests: requests_to_wire(&wait.requests),
            owner: Some(owner_to_wire(&wait.owner)),
            deadline_ms: wait.deadline_ms,
            queue_position: wait.queue_position,
        }),
        Reply::WaitCancelled { lock_id } => WireReply::WaitCancelled(position_to_wire(lock_id.0)),
        Reply::Released { lock_id, token, remaining_count } => WireReply::Released(wire::Released {
            lock_id: Some(position_to_wire(lock_id.0)),
            token: *token,
            remaining_count: *remaining_count,
        }),
        Reply::Extended(grant) => WireReply::Extended(grant_to_wire(grant)),
        Reply::RegisterAdvanced { high_water } => WireReply::RegisterAdvanced(*high_water),
        Reply::RegisterDeleted { high_water } => WireReply::RegisterDeleted(*high_water),
        Reply::ClusterInitialised => WireReply::ClusterInitialised(wire::Nothing {}),
        Reply::NodeAllocated { node_id } => WireReply::NodeAllocated(*node_id),
        Reply::LimitsSet => WireReply::LimitsSet(wire::Nothing {}),
        Reply::WaitsWithdrawn { waits } => WireReply::WaitsWithdrawn(*waits),
    }
}

fn reply(reply: WireReply) -> Result<Reply, DecodeError> {
    Ok(match reply {
        WireReply::SessionOpened(opened) => Reply::SessionOpened {
            session: session_id(opened.session)?,
            ttl_ms: opened.ttl_ms,
            deadline_ms: opened.deadline_ms,
            opened_wall_ms: opened.opened_wall_ms,
        },
        WireReply::KeptAlive(kept) => {
            Reply::KeptAlive(kept.deadlines.into_iter().map(|deadline| deadline.deadline_ms).collect())
        }
        WireReply::SessionClosed(closed) => Reply::SessionClosed {
            released_grants: closed.released_grants,
            cancelled_waits: closed.cancelled_waits,
        },
        WireReply::Granted(held) => Reply::Granted(Arc::new(grant(held)?)),
        WireReply::Queued(queued) => Reply::Queued(Wait {
            lock_id: lock_id(queued.lock_id)?,
            namespace: namespace(&queued.namespace)?,
            requests: requests(&queued.requests)?,
            owner: owner(queued.owner.ok_or(DecodeError::Missing("owner"))?)?,
            deadline_ms: queued.deadline_ms,
            queue_position: queued.queue_position,
        }),
        WireReply::WaitCancelled(id) => Reply::WaitCancelled { lock_id: lock_id(Some(id))? },
        WireReply::Released(released) => Reply::Released {
            lock_id: lock_id(released.lock_id)?,
            token: released.token,
            remaining_count: released.remaining_count,
        },
        WireReply::Extended(held) => Reply::Extended(Arc::new(grant(held)?)),
        WireReply::RegisterAdvanced(high_water) => Reply::RegisterAdvanced { high_water },
        WireReply::RegisterDeleted(high_water) => Reply::RegisterDeleted { high_water },
        WireReply::ClusterInitialised(_) => Reply::ClusterInitialised,
        WireReply::NodeAllocated(node_id) => Reply::NodeAllocated { node_id },
        WireReply::LimitsSet(_) => Reply::LimitsSet,
        WireReply::WaitsWithdrawn(waits) => Reply::WaitsWithdrawn { waits },
    })
}

pub(super) fn requests_to_wire(requests: &[LockRequest]) -> Vec<wire::LockRequest> {
    requests.iter().map(request_to_wire).collect()
}

pub(super) fn requests(requests: &[wire::LockRequest]) -> Result<Vec<LockRequest>, DecodeError> {
    requests.iter().map(request).collect()
}

pub(super) fn grant_to_wire(grant: &Grant) -> wire::Grant {
    wire::Grant {
        lock_id: Some(position_to_wire(grant.lock_id.0)),
        namespace: grant.namespace.to_string(),
        requests: requests_to_wire(&grant.requests),
        owner: Some(owner_to_wire(&grant.owner)),
        token: grant.token,
        count: grant.count,
        granted_revision: grant.granted_revision,
        granted_wall_ms: grant.granted_wall_ms,
        ttl_ms: grant.ttl_ms,
        deadline_ms: grant.deadline_ms,
        lock_delay_ms: grant.lock_delay_ms,
        metadata: grant.metadata.to_string(),
    }
}

pub(super) fn grant(grant: wire::Grant) -> Result<Grant, DecodeError> {
    Ok(Grant {
        lock_id: lock_id(grant.lock_id)?,
        namespace: namespace(&grant.namespace)?,
        requests: requests(&grant.requests)?.into(),
        owner: owner(grant.owner.ok_or(DecodeError::Missing("owner"))?)?,
        token: grant.token,
        count: grant.count,
        granted_revision: grant.granted_revision,
        granted_wall_ms: grant.granted_wall_ms,
        ttl_ms: grant.ttl_ms,
        deadline_ms: grant.deadline_ms,
        lock_delay_ms: grant.lock_delay_ms,
        metadata: grant.metadata.into(),
    })
}

pub(super) fn release_reason_to_wire(reason: &ReleaseReason) -> wire::ReleaseReason {
    let (kind, words) = match reason {
        ReleaseReason::Released => (wire::EndKind::Released, String::new()),
        ReleaseReason::Expired => (wire::EndKind::Expired, String::new()),
        ReleaseReason::SessionEnded(SessionEnd::Closed) => (wire::EndKind::SessionClosed, String::new()),
        ReleaseReason::SessionEnded(SessionEnd::Expired) => (wire::EndKind::SessionExpired, String::new()),
        ReleaseReason::Forced { reason } => (wire::EndKind::Forced, reason.clone()),
    };
    wire::ReleaseReason { kind: kind.into(), words }
}

pub(super) fn release_reason(reason: wire::ReleaseReason) -> Result<ReleaseReason, DecodeError> {
    Ok(match reason.kind() {
        wire::EndKind::Released => ReleaseReason::Released,
        wire::EndKind::Expired => ReleaseReason::Expired,
        wire::EndKind::SessionClosed => ReleaseReason::SessionEnded(SessionEnd::Closed),
        wire::EndKind::SessionExpired => ReleaseReason::SessionEnded(SessionEnd::Expired),
        wire::EndKind::Forced => ReleaseReason::Forced { reason: reason.words },
        wire::EndKind::Unspecified
        | wire::EndKind::TimedOut
        | wire::EndKind::Cancelled
        | wire::EndKind::NodeLost => {
            return Err(DecodeError::Unknown("end of a grant"));
        }
    })
}

pub(super) fn wait_end_to_wire(reason: WaitEnd) -> wire::WaitEnd {
    let kind = match reason {
        WaitEnd::TimedOut => wire::EndKind::TimedOut,
        WaitEnd::Cancelled => wire::EndKind::Cancelled,
        WaitEnd::SessionEnded(SessionEnd::Closed) => wire::EndKind::SessionClosed,
        WaitEnd::SessionEnded(SessionEnd::Expired) => wire::EndKind::SessionExpired,
        WaitEnd::NodeLost => wire::EndKind::NodeLost,
    };
    wire::WaitEnd { kind: kind.into() }
}

pub(super) fn wait_end(reason: wire::WaitEnd) -> Result<WaitEnd, DecodeError> {
    Ok(match reason.kind() {
        wire::EndKind::TimedOut => WaitEnd::TimedOut,
        wire::EndKind::Cancelled => WaitEnd::Cancelled,
        wire::EndKind::SessionClosed => WaitEnd::SessionEnded(SessionEnd::Closed),
        wire::EndKind::SessionExpired => WaitEnd::SessionEnded(SessionEnd::Expired),
        wire::EndKind::NodeLost => WaitEnd::NodeLost,
        wire::EndKind::Unspecified
        | wire::EndKind::Released
        | wire::EndKind::Expired
        | wire::EndKind::Forced => {
            return Err(DecodeError::Unknown("end of a wait"));
        }
    })
}

fn rejection_to_wire(rejection: &Rejection) -> WireRejection {
    match rejection {
        Rejection::InvalidArgument { field, problem } => {
            WireRejection::InvalidArgument(wire::InvalidArgument {
                field: field.to_string(),
                problem: problem.clone(),
            })
        }
        Rejection::LimitExceeded { limit, max, remedy } => {
            WireRejection::LimitExceeded(wire::LimitExceeded {
                limit: limit.to_string(),
                max: *max,
                remedy: remedy.to_string(),
            })
        }
        Rejection::SessionNotFound { session } => WireRejection::SessionNotFound(position_to_wire(session.0)),
        Rejection::NamespaceMismatch { session, namespace } => {
            WireRejection::NamespaceMismatch(wire::NamespaceMismatch {
                session: Some(position_to_wire(session.0)),
                namespace: namespace.to_string(),
            })
        }
        Rejection::LockHeld { name, holder_tokens, waiters } => WireRejection::LockHeld(wire::LockHeld {
            name: name.to_string(),
            holder_tokens: holder_tokens.clone(),
            waiters: *waiters,
        }),
        Rejection::LockDelayed { name, remaining_ms } => WireRejection::LockDelayed(wire::LockDelayed {
            name: name.to_string(),
            remaining_ms: *remaining_ms,
        }),
        Rejection::LockNotHeld { lock_id } => WireRejection::LockNotHeld(position_to_wire(lock_id.0)),
        Rejection::ForeignLock { lock_id } => WireRejection::ForeignLock(position_to_wire(lock_id.0)),
        Rejection::AlreadyGranted { lock_id, token } => WireRejection::AlreadyGranted(wire::AlreadyGranted {
            lock_id: Some(position_to_wire(lock_id.0)),
            token: *token,
        }),
        Rejection::GrantEnded { lock_id, reason } => WireRejection::GrantEnded(wire::GrantEnded {
            lock_id: Some(position_to_wire(lock_id.0)),
            reason: Some(release_reason_to_wire(reason)),
        }),
        Rejection::WaitEnded { lock_id, reason } => WireRejection::WaitEnded(wire::WaitEnded {
            lock_id: Some(position_to_wire(lock_id.0)),
            reason: Some(wait_end_to_wire(*reason)),
        }),
        Rejection::Deadlock { cycle } => WireRejection::Deadlock(wire::Deadlock { cycle: cycle.clone() }),
        other => rejection_of_kind_to_wire(other),
    }
}

/// The second half of the variants.
fn rejection_of_kind_to_wire(rejection: &Rejection) -> WireRejection {
    match rejection {
        Rejection::ModeMismatch { name, actual } => WireRejection::ModeMismatch(wire::ModeMismatch {
            name: name.to_string(),
            actual: actual.to_string(),
        }),
        Rejection::CapacityMismatch { name, actual } => {
            WireRejection::CapacityMismatch(wire::CapacityMismatch {
                name: name.to_string(),
                actual: *actual,
            })
        }
        Rejection::OwnedBySession { lock_id, session } => {
            WireRejection::OwnedBySession(wire::OwnedBySession {
                lock_id: Some(position_to_wire(lock_id.0)),
                session: Some(position_to_wire(session.0)),
            })
        }
        Rejection::TokenSuperseded { token, newest } => {
            WireRejection::TokenSuperseded(wire::TokenSuperseded { token: *token, newest: *newest })
        }
        Rejection::RegisterNotFound { name } => WireRejection::RegisterNotFound(name.to_string()),
        Rejection::KeyReused => WireRejection::KeyReused(wire::Nothing {}),
        Rejection::SequenceTooOld { sequence, oldest } => {
            WireRejection::SequenceTooOld(wire::SequenceTooOld { sequence: *sequence, oldest: *oldest })
        }
        Rejection::AlreadyInitialised { cluster_id } => WireRejection::AlreadyInitialised(cluster_id.clone()),
        Rejection::InvalidArgument { .. }
        | Rejection::LimitExceeded { .. }
        | Rejection::SessionNotFound { .. }
        | Rejection::NamespaceMismatch { .. }
        | Rejection::LockHeld { .. }
        | Rejection::LockDelayed { .. }
        | Rejection::LockNotHeld { .. }
        | Rejection::ForeignLock { .. }
        | Rejection::AlreadyGranted { .. }
        | Rejection::GrantEnded { .. }
        | Rejection::WaitEnded { .. }
        | Rejection::Deadlock { .. } => rejection_to_wire(rejection),
    }
}

fn rejection(rejection: WireRejection) -> Result<Rejection, DecodeError> {
    Ok(match rejection {
        WireRejection::InvalidArgument(wire::InvalidArgument { field, problem }) => {
            Rejection::InvalidArgument { field: field.into(), problem }
        }
        WireRejection::LimitExceeded(wire::LimitExceeded { limit, max, remedy }) => {
            Rejection::LimitExceeded { limit: limit.into(), max, remedy: remedy.into() }
        }
        WireRejection::SessionNotFound(id) => Rejection::SessionNotFound { session: session_id(Some(id))? },
        WireRejection::NamespaceMismatch(mismatch) => Rejection::NamespaceMismatch {
            session: session_id(mismatch.session)?,
            namespace: namespace(&mismatch.namespace)?,
        },
        WireRejection::LockHeld(held) => Rejection::LockHeld {
            name: name(&held.name)?,
            holder_tokens: held.holder_tokens,
            waiters: held.waiters,
        },
        WireRejection::LockDelayed(delayed) => {
            Rejection::LockDelayed { name: name(&delayed.name)?, remaining_ms: delayed.remaining_ms }
        }
        WireRejection::LockNotHeld(id) => Rejection::LockNotHeld { lock_id: lock_id(Some(id))? },
        WireRejection::ForeignLock(id) => Rejection::ForeignLock { lock_id: lock_id(Some(id))? },
        WireRejection::AlreadyGranted(granted) => {
            Rejection::AlreadyGranted { lock_id: lock_id(granted.lock_id)?, token: granted.token }
        }
        WireRejection::GrantEnded(ended) => Rejection::GrantEnded {
            lock_id: lock_id(ended.lock_id)?,
            reason: release_reason(ended.reason.ok_or(DecodeError::Missing("reason"))?)?,
        },
        WireRejection::WaitEnded(ended) => Rejection::WaitEnded {
            lock_id: lock_id(ended.lock_id)?,
            reason: wait_end(ended.reason.ok_or(DecodeError::Missing("reason"))?)?,
        },
        WireRejection::Deadlock(wire::Deadlock { cycle }) => Rejection::Deadlock { cycle },
        WireRejection::ModeMismatch(mismatch) => {
            Rejection::ModeMismatch { name: name(&mismatch.name)?, actual: mismatch.actual.into() }
        }
        WireRejection::CapacityMismatch(mismatch) => {
            Rejection::CapacityMismatch { name: name(&mismatch.name)?, actual: mismatch.actual }
        }
        WireRejection::OwnedBySession(owned) => Rejection::OwnedBySession {
            lock_id: lock_id(owned.lock_id)?,
            session: session_id(owned.session)?,
        },
        WireRejection::TokenSuperseded(wire::TokenSuperseded { token, newest }) => {
            Rejection::TokenSuperseded { token, newest }
        }
        WireRejection::RegisterNotFound(register) => Rejection::RegisterNotFound { name: name(&register)? },
        WireRejection::KeyReused(_) => Rejection::KeyReused,
        WireRejection::SequenceTooOld(wire::SequenceTooOld { sequence, oldest }) => {
            Rejection::SequenceTooOld { sequence, oldest }
        }
        WireRejection::AlreadyInitialised(cluster_id) => Rejection::AlreadyInitialised { cluster_id },
    })
}
