//! Conversion between the wire types of the lock routes and the service's.

use std::sync::Arc;

use batuta_statemachine::lock as core;

use super::lock_dto::{
    AcquireRequest, Blocker, CheckAnswer, ExplainAnswer, Grant, Lock, LockMode, LockRequest, TokenStatus,
    Waiter, WaiterExplanation,
};
use crate::ApiError;
use crate::service::{At, acquire, lock, parse};

/// The service's request of an acquire.
pub(crate) fn acquire_request(request: AcquireRequest) -> Result<acquire::AcquireRequest, ApiError> {
    Ok(acquire::AcquireRequest {
        requests: requested_locks(&request)?,
        owner: parse::parse_owner(request.session_id.as_deref().unwrap_or_default(), &request.owner)?,
        ttl_ms: request.ttl_ms,
        wait_ms: request.wait_ms,
        lock_delay_ms: request.lock_delay_ms,
        reentrant: request.reentrant,
        metadata: request.metadata,
    })
}

/// The locks a request asks for: its `name` or its `locks`.
fn requested_locks(request: &AcquireRequest) -> Result<Vec<core::LockRequest>, ApiError> {
    let single = parse::LockText {
        name: request.name.as_deref(),
        mode: request.mode.map(mode_text),
        permits: request.permits,
        capacity: request.capacity,
    };
    let several: Option<Vec<_>> = request.locks.as_ref().map(|locks| locks.iter().map(item).collect());
    parse::parse_requested_locks(single, several.as_deref())
}

fn item(lock: &LockRequest) -> parse::LockText<'_> {
    parse::LockText {
        name: Some(&lock.name),
        mode: Some(mode_text(lock.mode)),
        permits: lock.permits,
        capacity: lock.capacity,
    }
}

fn mode_text(mode: LockMode) -> &'static str {
    match mode {
        LockMode::Exclusive => "exclusive",
        LockMode::Shared => "shared",
        LockMode::Semaphore => "semaphore",
    }
}

impl From<core::LockRequest> for LockRequest {
    fn from(request: core::LockRequest) -> Self {
        let (mode, permits, capacity) = match request.mode {
            core::Mode::Exclusive => (LockMode::Exclusive, None, None),
            core::Mode::Shared => (LockMode::Shared, None, None),
            core::Mode::Semaphore { permits, capacity } => {
                (LockMode::Semaphore, Some(permits), Some(capacity))
            }
        };
        Self { name: request.name.to_string(), mode, permits, capacity }
    }
}

fn locks(requests: Vec<core::LockRequest>) -> Vec<LockRequest> {
    requests.into_iter().map(LockRequest::from).collect()
}

impl From<lock::GrantInfo> for Grant {
    fn from(info: lock::GrantInfo) -> Self {
        let grant = Arc::unwrap_or_clone(info.grant);
        let locks = locks(grant.requests.into_vec());
        let single = if let [single] = locks.as_slice() { Some(single) } else { None };
        Self {
            lock_id: grant.lock_id.to_string(),
            fencing_token: grant.token,
            namespace: grant.namespace.to_string(),
            name: single.map(|lock| lock.name.clone()),
            mode: single.map(|lock| lock.mode),
            session_id: grant.owner.session.map(|session| session.to_string()),
            owner: grant.owner.label,
            count: grant.count,
            granted_revision: grant.granted_revision,
            granted_at: info.granted_at,
            expires_at: info.expires_at,
            ttl_ms: grant.ttl_ms,
            remaining_ms: info.remaining_ms,
            lock_delay_ms: grant.lock_delay_ms,
            metadata: grant.metadata.into(),
            locks,
        }
    }
}

impl From<lock::Waiter> for Waiter {
    fn from(waiter: lock::Waiter) -> Self {
        Self {
            lock_id: waiter.lock_id.to_string(),
            locks: locks(waiter.requests),
            session_id: waiter.owner.session.map(|session| session.to_string()),
            owner: waiter.owner.label,
            queue_position: waiter.queue_position,
            remaining_ms: waiter.remaining_ms,
        }
    }
}

impl From<lock::Lock> for Lock {
    fn from(lock: lock::Lock) -> Self {
        let (mode, capacity, permits_free) = match lock.kind {
            None => (None, None, None),
            Some(lock::LockKind::Exclusive) => (Some(LockMode::Exclusive), None, None),
            Some(lock::LockKind::Shared) => (Some(LockMode::Shared), None, None),
            Some(lock::LockKind::Semaphore { capacity, permits_free }) => {
                (Some(LockMode::Semaphore), Some(capacity), Some(permits_free))
            }
        };
        Self {
            name: lock.name.to_string(),
            namespace: lock.namespace.to_string(),
            mode,
            capacity,
            permits_free,
            holders: lock.holders.into_iter().map(Grant::from).collect(),
            holder_count: lock.holder_count,
            next_holders_cursor: lock.next_holders_cursor,
            waiters: lock.waiters.into_iter().map(Waiter::from).collect(),
            waiter_count: lock.waiter_count,
            next_waiters_cursor: lock.next_waiters_cursor,
            delayed_ms: lock.delayed_ms,
        }
    }
}

impl From<At<lock::Check>> for CheckAnswer {
    fn from(check: At<lock::Check>) -> Self {
        let status = match check.value.status {
            lock::TokenStatus::Held => TokenStatus::Held,
            lock::TokenStatus::Superseded => TokenStatus::Superseded,
            lock::TokenStatus::NotHeld => TokenStatus::NotHeld,
        };
        Self {
            current: check.value.current(),
            status,
            newest_token: check.value.newest_token,
            revision: check.revision,
        }
    }
}

impl From<lock::Blocker> for Blocker {
    fn from(blocker: lock::Blocker) -> Self {
        Self {
            lock_id: blocker.lock_id.to_string(),
            name: blocker.name.to_string(),
            session_id: blocker.owner.session.map(|session| session.to_string()),
            owner: blocker.owner.label,
            fencing_token: blocker.fencing_token,
            waits_for: blocker.waits_for.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<At<lock::Explanation>> for ExplainAnswer {
    fn from(explanation: At<lock::Explanation>) -> Self {
        let lock::Explanation { lock, waiters, summary } = explanation.value;
        let waiters = waiters.into_iter().map(|waiter| WaiterExplanation {
            waiter: waiter.waiter.into(),
            blockers: waiter.blockers.into_iter().map(Blocker::from).collect(),
        });
        Self {
            lock: lock.map(Lock::from),
            waiters: waiters.collect(),
            summary,
            revision: explanation.revision,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn fault(body: Value) -> Option<String> {
        let request: AcquireRequest = serde_json::from_value(body).unwrap();
        requested_locks(&request).err().map(|error| error.field().unwrap().to_owned())
    }

    #[test]
    fn a_request_names_one_lock_or_several() {
        for (body, field) in [
            (json!({"name": "a"}), None),
            (json!({"locks": [{"name": "a"}, {"name": "b", "mode": "shared"}]}), None),
            (json!({"name": "s", "mode": "semaphore", "capacity": 3}), None),
            (json!({}), Some("name")),
            (json!({"name": "a", "locks": [{"name": "b"}]}), Some("locks")),
            (json!({"locks": [{"name": "a"}], "mode": "shared"}), Some("mode")),
            (json!({"locks": [{"name": "a"}, {"name": "b//c"}]}), Some("locks[1].name")),
            (json!({"locks": [{"name": "a", "mode": "semaphore"}]}), Some("locks[0].capacity")),
            (json!({"name": "a", "permits": 2}), Some("permits")),
        ] {
            assert_eq!(fault(body.clone()).as_deref(), field, "{body}");
        }
    }
}
