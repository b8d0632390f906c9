//! `batuta.v1.LockService`.

use batuta_proto::v1;
use batuta_proto::v1::lock_service_server::LockService;
use batuta_statemachine::SessionId;
use batuta_statemachine::lock::{LockRequest, Mode};
use tonic::{Request, Response, Status, Streaming};

use super::{Front, OfSession, calls_of_the_front, consistency, context, page};
use crate::ApiError;
use crate::service::acquire::AcquireRequest;
use crate::service::lock::{
    Blocker, ExtendRequest, ForceReleaseRequest, GrantInfo, ListRequest, Lock, LockCursors, LockKind,
    ReleaseRequest, Released, TokenStatus, Waiter, WaiterExplanation,
};
use crate::service::parse::{
    parse_lock_id, parse_name, parse_optional_name, parse_optional_session_id, parse_owner,
};
use crate::service::{At, CallContext};

fn session_text(session: Option<SessionId>) -> String {
    session.map(|session| session.to_string()).unwrap_or_default()
}

fn lock_request(index: usize, message: &v1::LockRequest) -> Result<LockRequest, ApiError> {
    let field = |name: &str| format!("locks[{index}].{name}");
    let name = parse_name(&field("name"), &message.name)?;
    let mode = match v1::LockMode::try_from(message.mode) {
        Ok(v1::LockMode::Semaphore) => {
            return Ok(LockRequest {
                name,
                mode: Mode::Semaphore { permits: message.permits.max(1), capacity: message.capacity },
            });
        }
        Ok(v1::LockMode::Unspecified | v1::LockMode::Exclusive) => Mode::Exclusive,
        Ok(v1::LockMode::Shared) => Mode::Shared,
        Err(_) => return Err(ApiError::invalid(field("mode"), "must be a value of LockMode")),
    };
    for (given, which) in [(message.permits, "permits"), (message.capacity, "capacity")] {
        if given != 0 {
            return Err(ApiError::invalid(
                field(which),
                "only a semaphore has it; set mode to LOCK_MODE_SEMAPHORE",
            ));
        }
    }
    Ok(LockRequest { name, mode })
}

pub(super) fn released_message(at: &At<Released>) -> v1::ReleaseResponse {
    v1::ReleaseResponse {
        lock_id: at.value.lock_id.to_string(),
        fencing_token: at.value.fencing_token,
        remaining_count: at.value.remaining_count,
        revision: at.revision,
    }
}

pub(super) fn acquire_request(message: v1::AcquireRequest) -> Result<AcquireRequest, ApiError> {
    let requests = message.locks.iter().enumerate().map(|(index, lock)| lock_request(index, lock));
    Ok(AcquireRequest {
        requests: requests.collect::<Result<_, _>>()?,
        owner: parse_owner(&message.session_id, &message.owner)?,
        ttl_ms: message.ttl_ms,
        wait_ms: message.wait_ms,
        lock_delay_ms: message.lock_delay_ms,
        reentrant: message.reentrant,
        metadata: message.metadata,
    })
}

fn request_message(request: &LockRequest) -> v1::LockRequest {
    let (mode, permits, capacity) = match request.mode {
        Mode::Exclusive => (v1::LockMode::Exclusive, 0, 0),
        Mode::Shared => (v1::LockMode::Shared, 0, 0),
        Mode::Semaphore { permits, capacity } => (v1::LockMode::Semaphore, permits, capacity),
    };
    v1::LockRequest { name: request.name.to_string(), mode: mode.into(), permits, capacity }
}

pub(super) fn grant_message(info: GrantInfo) -> v1::Grant {
    let GrantInfo { grant, remaining_ms, granted_at, expires_at } = info;
    v1::Grant {
        lock_id: grant.lock_id.to_string(),
        namespace: grant.namespace.to_string(),
        locks: grant.requests.iter().map(request_message).collect(),
        session_id: session_text(grant.owner.session),
        owner: grant.owner.label.clone(),
        fencing_token: grant.token,
        count: grant.count,
        granted_revision: grant.granted_revision,
        granted_at,
        ttl_ms: grant.ttl_ms,
        remaining_ms,
        expires_at: expires_at.unwrap_or_default(),
        lock_delay_ms: grant.lock_delay_ms,
        metadata: grant.metadata.to_string(),
    }
}

pub(super) fn waiter_message(waiter: Waiter) -> v1::Waiter {
    v1::Waiter {
        lock_id: waiter.lock_id.to_string(),
        locks: waiter.requests.iter().map(request_message).collect(),
        session_id: session_text(waiter.owner.session),
        owner: waiter.owner.label,
        queue_position: waiter.queue_position,
        remaining_ms: waiter.remaining_ms,
    }
}

pub(super) fn lock_message(lock: Lock) -> v1::Lock {
    let (mode, capacity, permits_free) = match lock.kind {
        None => (v1::LockMode::Unspecified, 0, 0),
        Some(LockKind::Exclusive) => (v1::LockMode::Exclusive, 0, 0),
        Some(LockKind::Shared) => (v1::LockMode::Shared, 0, 0),
        Some(LockKind::Semaphore { capacity, permits_free }) => {
            (v1::LockMode::Semaphore, capacity, permits_free)
        }
    };
    v1::Lock {
        name: lock.name.to_string(),
        namespace: lock.namespace.to_string(),
        mode: mode.into(),
        capacity,
        permits_free,
        holders: lock.holders.into_iter().map(grant_message).collect(),
        waiters: lock.waiters.into_iter().map(waiter_message).collect(),
        waiter_count: lock.waiter_count,
        delayed_ms: lock.delayed_ms,
        holder_count: lock.holder_count,
        next_holders_cursor: lock.next_holders_cursor.unwrap_or_default(),
        next_waiters_cursor: lock.next_waiters_cursor.unwrap_or_default(),
    }
}

fn blocker_message(blocker: Blocker) -> v1::Blocker {
    v1::Blocker {
        lock_id: blocker.lock_id.to_string(),
        name: blocker.name.to_string(),
        session_id: session_text(blocker.owner.session),
        owner: blocker.owner.label,
        fencing_token: blocker.fencing_token.unwrap_or(0),
        waits_for: blocker.waits_for.iter().map(ToString::to_string).collect(),
    }
}

fn explanation_message(explanation: WaiterExplanation) -> v1::WaiterExplanation {
    v1::WaiterExplanation {
        waiter: Some(waiter_message(explanation.waiter)),
        blockers: explanation.blockers.into_iter().map(blocker_message).collect(),
    }
}

fn status_message(status: TokenStatus) -> v1::TokenStatus {
    match status {
        TokenStatus::Held => v1::TokenStatus::Held,
        TokenStatus::Superseded => v1::TokenStatus::Superseded,
        TokenStatus::NotHeld => v1::TokenStatus::NotHeld,
    }
}

calls_of_the_front! {
    LockService {
        type HoldStream = super::hold::HoldStream;

        async fn hold(
            &self,
            request: Request<Streaming<v1::HoldRequest>>,
        ) -> Result<Response<Self::HoldStream>, Status> {
            let context = context(request.metadata(), None)?;
            let stream = super::hold::serve(self.service.clone(), context, request.into_inner());
            Ok(Response::new(stream))
        }
    }
    acquire(AcquireRequest) -> AcquireResponse;
    release(ReleaseRequest) -> ReleaseResponse;
    extend(ExtendRequest) -> ExtendResponse;
    cancel_wait(CancelWaitRequest) -> CancelWaitResponse;
    force_release(ForceReleaseRequest) -> ForceReleaseResponse;
    check(CheckRequest) -> CheckResponse;
    get_lock(GetLockRequest) -> GetLockResponse;
    list_locks(ListLocksRequest) -> ListLocksResponse;
    explain(ExplainRequest) -> ExplainResponse;
    advance_register(AdvanceRegisterRequest) -> AdvanceRegisterResponse;
    get_register(GetRegisterRequest) -> GetRegisterResponse;
    delete_register(DeleteRegisterRequest) -> DeleteRegisterResponse;
}

impl OfSession for v1::AcquireRequest {
    fn session(&self) -> Result<Option<SessionId>, ApiError> {
        parse_optional_session_id("session_id", &self.session_id)
    }
}

impl OfSession for v1::ReleaseRequest {}
impl OfSession for v1::ExtendRequest {}
impl OfSession for v1::CancelWaitRequest {}
impl OfSession for v1::ForceReleaseRequest {}
impl OfSession for v1::CheckRequest {}
impl OfSession for v1::GetLockRequest {}
impl OfSession for v1::ListLocksRequest {}
impl OfSession for v1::ExplainRequest {}
impl OfSession for v1::AdvanceRegisterRequest {}
impl OfSession for v1::GetRegisterRequest {}
impl OfSession for v1::DeleteRegisterRequest {}

impl Front {
    pub(super) async fn acquire(
        &self,
        context: &CallContext,
        message: v1::AcquireRequest,
    ) -> Result<v1::AcquireResponse, ApiError> {
        let at = self.service.acquire(context, acquire_request(message)?).await?;
        let grant = Some(grant_message(at.value));
        Ok(v1::AcquireResponse { grant, revision: at.revision })
    }

    pub(super) async fn release(
        &self,
        context: &CallContext,
        message: v1::ReleaseRequest,
    ) -> Result<v1::ReleaseResponse, ApiError> {
        let lock_id = parse_lock_id("lock_id", &message.lock_id)?;
        let name = parse_optional_name("name", &message.name)?;
        let at = self.service.release(context, ReleaseRequest { lock_id, name }).await?;
        Ok(released_message(&at))
    }

    pub(super) async fn extend(
        &self,
        context: &CallContext,
        message: v1::ExtendRequest,
    ) -> Result<v1::ExtendResponse, ApiError> {
        let lock_id = parse_lock_id("lock_id", &message.lock_id)?;
        let name = parse_optional_name("name", &message.name)?;
        let at =
            self.service.extend(context, ExtendRequest { lock_id, name, ttl_ms: message.ttl_ms }).await?;
        let grant = Some(grant_message(at.value));
        Ok(v1::ExtendResponse { grant, revision: at.revision })
    }

    pub(super) async fn cancel_wait(
        &self,
        context: &CallContext,
        message: v1::CancelWaitRequest,
    ) -> Result<v1::CancelWaitResponse, ApiError> {
        let lock_id = parse_lock_id("lock_id", &message.lock_id)?;
        let at = self.service.cancel_wait(context, lock_id).await?;
        Ok(v1::CancelWaitResponse { revision: at.revision })
    }

    pub(super) async fn force_release(
        &self,
        context: &CallContext,
        message: v1::ForceReleaseRequest,
    ) -> Result<v1::ForceReleaseResponse, ApiError> {
        let v1::ForceReleaseRequest { name, fencing_token, reason } = message;
        let name = parse_name("name", &name)?;
        let at =
            self.service.force_release(context, ForceReleaseRequest { name, fencing_token, reason }).await?;
        let lock_id = at.value.lock_id.to_string();
        Ok(v1::ForceReleaseResponse { lock_id, revision: at.revision })
    }

    pub(super) async fn check(
        &self,
        context: &CallContext,
        message: v1::CheckRequest,
    ) -> Result<v1::CheckResponse, ApiError> {
        let name = parse_name("name", &message.name)?;
        let consistency = consistency(message.consistency)?;
        let at = self.service.check(context, &name, message.fencing_token, consistency).await?;
        Ok(v1::CheckResponse {
            current: at.value.current(),
            status: status_message(at.value.status).into(),
            newest_token: at.value.newest_token,
            revision: at.revision,
        })
    }

    pub(super) async fn get_lock(
        &self,
        context: &CallContext,
        message: v1::GetLockRequest,
    ) -> Result<v1::GetLockResponse, ApiError> {
        let name = parse_name("name", &message.name)?;
        let consistency = consistency(message.consistency)?;
        let cursors = LockCursors::of(message.holders_cursor, message.waiters_cursor);
        let at = self.service.get_lock_part(context, &name, &cursors, consistency).await?;
        let lock = Some(lock_message(at.value));
        Ok(v1::GetLockResponse { lock, revision: at.revision })
    }

    pub(super) async fn list_locks(
        &self,
        context: &CallContext,
        message: v1::ListLocksRequest,
    ) -> Result<v1::ListLocksResponse, ApiError> {
        let consistency = consistency(message.consistency)?;
        let session = parse_optional_session_id("session_id", &message.session_id)?;
        let owner = (!message.owner.is_empty()).then_some(message.owner);
        let (limit, cursor) = page(message.limit, message.cursor);
        let list = ListRequest { prefix: message.prefix, session, owner, limit, cursor };
        let at = self.service.list_locks(context, &list, consistency).await?;
        Ok(v1::ListLocksResponse {
            locks: at.value.items.into_iter().map(lock_message).collect(),
            next_cursor: at.value.next_cursor.unwrap_or_default(),
            revision: at.revision,
        })
    }

    pub(super) async fn explain(
        &self,
        context: &CallContext,
        message: v1::ExplainRequest,
    ) -> Result<v1::ExplainResponse, ApiError> {
        let name = parse_name("name", &message.name)?;
        let consistency = consistency(message.consistency)?;
        let cursors = LockCursors::of(message.holders_cursor, message.waiters_cursor);
        let at = self.service.explain_part(context, &name, &cursors, consistency).await?;
        Ok(v1::ExplainResponse {
            lock: at.value.lock.map(lock_message),
            waiters: at.value.waiters.into_iter().map(explanation_message).collect(),
            summary: at.value.summary,
            revision: at.revision,
        })
    }

    pub(super) async fn advance_register(
        &self,
        context: &CallContext,
        message: v1::AdvanceRegisterRequest,
    ) -> Result<v1::AdvanceRegisterResponse, ApiError> {
        let name = parse_name("name", &message.name)?;
        let at = self.service.advance_register(context, name, message.fencing_token).await?;
        Ok(v1::AdvanceRegisterResponse { high_water: at.value.high_water, revision: at.revision })
    }

    pub(super) async fn get_register(
        &self,
        context: &CallContext,
        message: v1::GetRegisterRequest,
    ) -> Result<v1::GetRegisterResponse, ApiError> {
        let name = parse_name("name", &message.name)?;
        let consistency = consistency(message.consistency)?;
        let at = self.service.get_register(context, &name, consistency).await?;
        Ok(v1::GetRegisterResponse { high_water: at.value.high_water, revision: at.revision })
    }

    pub(super) async fn delete_register(
        &self,
        context: &CallContext,
        message: v1::DeleteRegisterRequest,
    ) -> Result<v1::DeleteRegisterResponse, ApiError> {
        let name = parse_name("name", &message.name)?;
        let at = self.service.delete_register(context, name).await?;
        Ok(v1::DeleteRegisterResponse { high_water: at.value.high_water, revision: at.revision })
    }
}
