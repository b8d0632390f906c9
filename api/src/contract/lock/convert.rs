//! Converts requests for the use cases, and core views to answers.

use batuta_statemachine::lock::{self as core, GrantRef};
use batuta_statemachine::{Name, SessionId};

use super::{
    AcquireRequest, Blocker, CheckAnswer, DowngradeRequest, ExplainAnswer, ExtendRequest,
    ForceReleaseRequest, Grant, GrantAnswer, ListLocksQuery, Lock, LockAnswer, LockMode, LockPage, LockQuery,
    LockRequest, Long, ReleaseAnswer, ReleaseRequest, ResizeAnswer, ResizeRequest, SetMetadataRequest,
    Waiter, WaiterExplanation,
};
use crate::ApiError;
use crate::service::acquire;
use crate::service::lock::{self as service, LockCursors, grant_named};
use crate::service::{At, Clock, Page, parse, rfc3339};

fn session_text(session: Option<SessionId>) -> Option<String> {
    session.map(|session| session.to_string())
}

impl AcquireRequest {
    /// The request of the use case.
    pub(crate) fn read(self) -> Result<acquire::AcquireRequest, ApiError> {
        let owner = parse::parse_owner(self.session_id.as_deref().unwrap_or_default(), &self.owner)?;
        let single = [self.mode.is_some(), self.permits.is_some(), self.capacity.is_some()];
        let requests = match (self.name, self.locks) {
            (Some(_), Some(_)) => {
                return Err(ApiError::invalid(
                    "locks",
                    "give name for one lock or locks for several, not both",
                ));
            }
            (None, None) => {
                let problem = "is required: give name for one lock or locks for several";
                return Err(ApiError::invalid("name", problem));
            }
            (Some(name), None) => {
                let (permits, capacity) = (self.permits, self.capacity);
                let lock = LockRequest { name, mode: self.mode.unwrap_or_default(), permits, capacity };
                vec![lock.read()?]
            }
            (None, Some(locks)) => {
                let fields = ["mode", "permits", "capacity"];
                if let Some((field, _)) = fields.into_iter().zip(single).find(|(_, given)| *given) {
                    return Err(ApiError::invalid(field, "belongs into each item of locks"));
                }
                let items = locks.iter().enumerate();
                items
                    .map(|(index, lock)| lock.read().map_err(|error| of_item(index, error)))
                    .collect::<Result<_, _>>()?
            }
        };
        Ok(acquire::AcquireRequest {
            requests,
            owner,
            ttl_ms: self.ttl_ms.map(u64::from),
            wait_ms: self.wait_ms.into(),
            lock_delay_ms: self.lock_delay_ms.into(),
            reentrant: self.reentrant,
            metadata: self.metadata,
        })
    }
}

/// Names the offending item of `locks`.
fn of_item(index: usize, error: ApiError) -> ApiError {
    match error {
        ApiError::InvalidArgument { field, problem } => {
            ApiError::InvalidArgument { field: format!("locks[{index}].{field}"), problem }
        }
        other => other,
    }
}

impl LockRequest {
    fn read(&self) -> Result<core::LockRequest, ApiError> {
        let name = parse::parse_name("name", &self.name)?;
        Ok(core::LockRequest { name, mode: self.mode.with(self.permits, self.capacity)? })
    }
}

impl ReleaseRequest {
    /// The request of the use case.
    pub(crate) fn read(self) -> Result<GrantRef, ApiError> {
        let Self { lock_id, name, fencing_token, session_id } = self;
        let name = parse::parse_optional_name("name", name.as_deref().unwrap_or_default())?;
        grant_named(name, lock_id.as_deref(), fencing_token.map(u64::from), session_id.as_deref())
    }
}

impl DowngradeRequest {
    /// The request of the use case.
    pub(crate) fn read(self) -> Result<GrantRef, ApiError> {
        let Self { lock_id, name, fencing_token, session_id } = self;
        ReleaseRequest { lock_id, name, fencing_token, session_id }.read()
    }
}

impl SetMetadataRequest {
    /// The request of the use case.
    pub(crate) fn read(self) -> Result<service::SetMetadata, ApiError> {
        let Self { lock_id, name, fencing_token, session_id, metadata } = self;
        let grant = ReleaseRequest { lock_id, name, fencing_token, session_id }.read()?;
        Ok(service::SetMetadata { grant, metadata })
    }
}

impl ResizeRequest {
    /// The request of the use case.
    pub(crate) fn read(self) -> Result<service::Resize, ApiError> {
        let name = parse::parse_name("name", &self.name)?;
        Ok(service::Resize { name, capacity: self.capacity })
    }
}

impl ForceReleaseRequest {
    /// The request of the use case.
    pub(crate) fn read(self) -> Result<service::ForceRelease, ApiError> {
        let name = parse::parse_name("name", &self.name)?;
        Ok(service::ForceRelease { name, fencing_token: self.fencing_token.into(), reason: self.reason })
    }
}

impl ExtendRequest {
    /// The request of the use case.
    pub(crate) fn read(self) -> Result<service::Extend, ApiError> {
        let lock_id = parse::parse_lock_id("lock_id", &self.lock_id)?;
        let name = parse::parse_optional_name("name", self.name.as_deref().unwrap_or_default())?;
        Ok(service::Extend { lock_id, name, ttl_ms: self.ttl_ms.into() })
    }
}

impl LockQuery {
    /// Reads the cursors of holders and waiters.
    pub(crate) fn cursors(&self) -> Result<LockCursors, ApiError> {
        LockCursors::read(&self.holders_cursor, &self.waiters_cursor)
    }
}

impl ListLocksQuery {
    /// The request of the use case.
    pub(crate) fn read(self) -> Result<service::ListRequest, ApiError> {
        Ok(service::ListRequest {
            prefix: self.prefix,
            session: parse::parse_optional_session_id("session_id", &self.session_id)?,
            owner: self.owner,
            limit: self.limit,
            after: parse::name_cursor(self.cursor.as_deref())?,
        })
    }
}

impl From<&core::LockRequest> for LockRequest {
    fn from(request: &core::LockRequest) -> Self {
        let (permits, capacity) = match request.mode {
            core::Mode::Exclusive | core::Mode::Shared | core::Mode::Election => (None, None),
            core::Mode::Semaphore { permits, capacity } => (Some(permits), Some(capacity)),
        };
        Self { name: request.name.to_string(), mode: request.mode.into(), permits, capacity }
    }
}

fn locks(requests: &[core::LockRequest]) -> Vec<LockRequest> {
    requests.iter().map(LockRequest::from).collect()
}

impl Grant {
    /// Converts a grant as it is at an instant.
    pub(crate) fn seen(grant: &core::Grant, clock: Clock) -> Self {
        let single = if let [single] = &*grant.requests { Some(single) } else { None };
        Self {
            lock_id: grant.lock_id.to_string(),
            fencing_token: Long(grant.token),
            namespace: grant.namespace.to_string(),
            name: single.map(|lock| lock.name.to_string()),
            mode: single.map(|lock| lock.mode.into()),
            locks: locks(&grant.requests),
            session_id: session_text(grant.owner.session),
            owner: grant.owner.label.to_string(),
            count: Long(grant.count),
            granted_revision: Long(grant.granted_revision),
            granted_at: rfc3339(grant.granted_wall_ms),
            expires_at: grant.deadline_ms.map(|deadline_ms| clock.text_of(deadline_ms)),
            ttl_ms: grant.ttl_ms.map(Long),
            remaining_ms: grant.deadline_ms.map(|deadline_ms| Long(clock.remaining_ms(deadline_ms))),
            lock_delay_ms: Long(grant.lock_delay_ms),
            metadata: grant.metadata.to_string(),
        }
    }
}

impl Waiter {
    /// Converts a wait as it is at an instant.
    pub(crate) fn seen(wait: &core::Wait, clock: Clock) -> Self {
        Self {
            lock_id: wait.lock_id.to_string(),
            locks: locks(&wait.requests),
            session_id: session_text(wait.owner.session),
            owner: wait.owner.label.to_string(),
            queue_position: Long(wait.queue_position),
            remaining_ms: Long(clock.remaining_ms(wait.deadline_ms)),
        }
    }
}

impl Lock {
    /// Converts a lock as it is at an instant.
    pub(crate) fn seen(lock: &service::Lock, clock: Clock) -> Self {
        let service::Lock { view, next_holders, next_waiters } = lock;
        let (capacity, permits_free) = match view.kind {
            core::LockKind::Semaphore { capacity, permits_free } if lock.is_used() => {
                (Some(capacity), Some(permits_free))
            }
            _ => (None, None),
        };
        Self {
            name: view.name.to_string(),
            namespace: view.namespace.to_string(),
            mode: lock.is_used().then(|| LockMode::from(view.kind)),
            capacity,
            permits_free,
            holders: view.holders.iter().map(|grant| Grant::seen(grant, clock)).collect(),
            holder_count: Long(view.holder_count),
            next_holders_cursor: next_holders.map(parse::holders_cursor_text),
            waiters: view.waiters.iter().map(|wait| Waiter::seen(wait, clock)).collect(),
            waiter_count: Long(view.waiter_count),
            next_waiters_cursor: next_waiters.map(parse::waiters_cursor_text),
            delayed_ms: view.delayed_until_ms.map(|until_ms| Long(clock.remaining_ms(until_ms))),
        }
    }
}

impl From<At<acquire::Held>> for GrantAnswer {
    fn from(At { revision, clock, value }: At<acquire::Held>) -> Self {
        Self { grant: Grant::seen(&value, clock), revision: Long(revision) }
    }
}

impl From<At<service::Lock>> for LockAnswer {
    fn from(At { revision, clock, value }: At<service::Lock>) -> Self {
        Self { lock: Lock::seen(&value, clock), revision: Long(revision) }
    }
}

impl From<At<Page<service::Lock, Name>>> for LockPage {
    fn from(page: At<Page<service::Lock, Name>>) -> Self {
        let At { revision, clock, value: Page { items, next, filtered } } = page;
        Self {
            locks: items.iter().map(|lock| Lock::seen(lock, clock)).collect(),
            next_cursor: next.as_ref().map(parse::name_cursor_text).unwrap_or_default(),
            filtered,
            revision: Long(revision),
        }
    }
}

impl From<At<service::Released>> for ReleaseAnswer {
    fn from(At { revision, value, .. }: At<service::Released>) -> Self {
        Self {
            lock_id: value.lock_id.to_string(),
            fencing_token: Long(value.fencing_token),
            remaining_count: Long(value.remaining_count),
            revision: Long(revision),
        }
    }
}

impl From<At<service::Resized>> for ResizeAnswer {
    fn from(At { revision, value, .. }: At<service::Resized>) -> Self {
        let service::Resized { name, capacity, permits_held } = value;
        Self { name: name.to_string(), capacity, permits_held, revision: Long(revision) }
    }
}

impl From<At<core::TokenCheck>> for CheckAnswer {
    fn from(At { revision, value, .. }: At<core::TokenCheck>) -> Self {
        Self {
            current: value.status == core::TokenStatus::Held,
            status: value.status.into(),
            newest_token: value.newest.map(Long),
            revision: Long(revision),
        }
    }
}

impl From<core::Blocker> for Blocker {
    fn from(blocker: core::Blocker) -> Self {
        Self {
            lock_id: blocker.lock_id.to_string(),
            name: blocker.name.to_string(),
            session_id: session_text(blocker.owner.session),
            owner: blocker.owner.label.into(),
            fencing_token: blocker.token.map(Long),
            waits_for: blocker.waits_for.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<At<service::Explanation>> for ExplainAnswer {
    fn from(At { revision, clock, value }: At<service::Explanation>) -> Self {
        let service::Explanation { lock, waiters, summary, names_hidden } = value;
        let waiters = waiters.into_iter().map(|explained| WaiterExplanation {
            waiter: Waiter::seen(&explained.wait, clock),
            blockers: explained.blockers.into_iter().map(Blocker::from).collect(),
        });
        Self {
            lock: lock.map(|lock| Lock::seen(&lock, clock)),
            waiters: waiters.collect(),
            names_hidden: Long(names_hidden),
            summary,
            revision: Long(revision),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn fault(body: Value) -> Option<String> {
        let request: AcquireRequest = serde_json::from_value(body).unwrap();
        request.read().err().map(|error| error.field().unwrap().to_owned())
    }

    #[test]
    fn request_names_one_lock_or_several() {
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
