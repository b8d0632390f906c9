//! Conversion between the schema's types of locks and the service's.

use std::sync::Arc;

use batuta_statemachine::lock as core;

use super::connection::PageInfo;
use super::lock_types::{
    AcquireInput, Blocker, Check, Explanation, Grant, Lock, LockConnection, LockEdge, LockInput, LockMode,
    LockRequest, Released, TokenStatus, Waiter, WaiterExplanation,
};
use super::long::Long;
use crate::ApiError;
use crate::service::acquire::AcquireRequest;
use crate::service::{At, Page, lock, parse};

impl AcquireInput {
    /// The request of the service; its owner is read on its own, since the retry key may be its session's.
    pub(super) fn request(self, owner: core::Owner) -> Result<AcquireRequest, ApiError> {
        let single = parse::LockText {
            name: self.name.as_deref(),
            mode: self.mode.map(mode_text),
            permits: self.permits,
            capacity: self.capacity,
        };
        let several: Option<Vec<_>> = self.locks.as_ref().map(|locks| locks.iter().map(item).collect());
        Ok(AcquireRequest {
            requests: parse::parse_requested_locks(single, several.as_deref())?,
            owner,
            ttl_ms: self.ttl_ms.map(u64::from),
            wait_ms: self.wait_ms.map_or(0, u64::from),
            lock_delay_ms: self.lock_delay_ms.map_or(0, u64::from),
            reentrant: self.reentrant,
            metadata: self.metadata,
        })
    }
}

fn item(lock: &LockInput) -> parse::LockText<'_> {
    parse::LockText {
        name: Some(&lock.name),
        mode: lock.mode.map(mode_text),
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

impl From<At<lock::GrantInfo>> for Grant {
    fn from(At { revision, value: info }: At<lock::GrantInfo>) -> Self {
        let grant = Arc::unwrap_or_clone(info.grant);
        let locks = locks(grant.requests.into_vec());
        let single = if let [single] = locks.as_slice() { Some(single) } else { None };
        Self {
            lock_id: grant.lock_id.to_string(),
            fencing_token: Long(grant.token),
            namespace: grant.namespace.to_string(),
            name: single.map(|lock| lock.name.clone()),
            mode: single.map(|lock| lock.mode),
            session_id: grant.owner.session.map(|session| session.to_string()),
            owner: grant.owner.label,
            count: Long(grant.count),
            granted_revision: Long(grant.granted_revision),
            granted_at: info.granted_at,
            expires_at: info.expires_at,
            ttl_ms: grant.ttl_ms.map(Long),
            remaining_ms: info.remaining_ms.map(Long),
            lock_delay_ms: Long(grant.lock_delay_ms),
            metadata: grant.metadata.into(),
            locks,
            revision: Long(revision),
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
            queue_position: Long(waiter.queue_position),
            remaining_ms: Long(waiter.remaining_ms),
        }
    }
}

impl From<At<lock::Lock>> for Lock {
    fn from(At { revision, value: lock }: At<lock::Lock>) -> Self {
        let (mode, capacity, permits_free) = match lock.kind {
            None => (None, None, None),
            Some(lock::LockKind::Exclusive) => (Some(LockMode::Exclusive), None, None),
            Some(lock::LockKind::Shared) => (Some(LockMode::Shared), None, None),
            Some(lock::LockKind::Semaphore { capacity, permits_free }) => {
                (Some(LockMode::Semaphore), Some(capacity), Some(permits_free))
            }
        };
        let holders = lock.holders.into_iter().map(|value| Grant::from(At { revision, value }));
        Self {
            name: lock.name.to_string(),
            namespace: lock.namespace.to_string(),
            mode,
            capacity,
            permits_free,
            holders: holders.collect(),
            holder_count: Long(lock.holder_count),
            next_holders_cursor: lock.next_holders_cursor,
            waiters: lock.waiters.into_iter().map(Waiter::from).collect(),
            waiter_count: Long(lock.waiter_count),
            next_waiters_cursor: lock.next_waiters_cursor,
            delayed_ms: lock.delayed_ms.map(Long),
            revision: Long(revision),
        }
    }
}

impl LockConnection {
    /// The page that was asked for with `after`.
    pub(super) fn new(page: At<Page<lock::Lock>>, after: Option<&str>) -> Self {
        let At { revision, value: Page { items, next_cursor } } = page;
        let edge = |value: lock::Lock| LockEdge {
            cursor: parse::name_cursor_text(&value.name),
            node: Lock::from(At { revision, value }),
        };
        let edges: Vec<LockEdge> = items.into_iter().map(edge).collect();
        let ends = edges.first().zip(edges.last());
        let ends = ends.map(|(first, last)| (first.cursor.as_str(), last.cursor.as_str()));
        let page_info = PageInfo::new(after, ends, next_cursor);
        Self { edges, page_info, revision: Long(revision) }
    }
}

impl From<At<lock::Released>> for Released {
    fn from(At { revision, value }: At<lock::Released>) -> Self {
        let lock::Released { lock_id, fencing_token, remaining_count } = value;
        Self {
            lock_id: lock_id.to_string(),
            fencing_token: Long(fencing_token),
            remaining_count: Long(remaining_count),
            revision: Long(revision),
        }
    }
}

impl From<At<lock::Check>> for Check {
    fn from(At { revision, value: check }: At<lock::Check>) -> Self {
        let status = match check.status {
            lock::TokenStatus::Held => TokenStatus::Held,
            lock::TokenStatus::Superseded => TokenStatus::Superseded,
            lock::TokenStatus::NotHeld => TokenStatus::NotHeld,
        };
        Self {
            current: check.current(),
            status,
            newest_token: check.newest_token.map(Long),
            revision: Long(revision),
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
            fencing_token: blocker.fencing_token.map(Long),
            waits_for: blocker.waits_for.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<At<lock::Explanation>> for Explanation {
    fn from(At { revision, value }: At<lock::Explanation>) -> Self {
        let lock::Explanation { lock, waiters, summary } = value;
        let waiters = waiters.into_iter().map(|waiter| WaiterExplanation {
            waiter: waiter.waiter.into(),
            blockers: waiter.blockers.into_iter().map(Blocker::from).collect(),
        });
        Self {
            lock: lock.map(|value| Lock::from(At { revision, value })),
            waiters: waiters.collect(),
            summary,
            revision: Long(revision),
        }
    }
}
