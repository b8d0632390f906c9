//! `batuta.v1.LockService`.

use batuta_proto::v1;
use batuta_proto::v1::lock_service_server::LockService;
use batuta_statemachine::SessionId;
use batuta_statemachine::lock::{
    Blocker, Grant, GrantRef, LockKind, LockRequest, Mode, TokenStatus, Wait, WaiterExplanation,
};
use tonic::{Request, Response, Status, Streaming};

use super::hold::{HoldLocks, HoldStream, serve};
use super::{Front, OfSession, calls_of_the_front, consistency, context};
use crate::ApiError;
use crate::contract::lock as contract;
use crate::service::acquire::{AcquireRequest, Held};
use crate::service::lock::{
    Extend, ForceRelease, ListRequest, Lock, LockCursors, LockMode, Released, Resize, SetMetadata,
    grant_named,
};
use crate::service::parse::{
    self, parse_lock_id, parse_name, parse_optional_name, parse_optional_session_id,
};
use crate::service::{At, CallContext, Clock, Page, rfc3339};

pub(super) fn session_text(session: Option<SessionId>) -> String {
    session.map(|session| session.to_string()).unwrap_or_default()
}

/// Permits or capacity; 0 on the wire means not given.
fn given(number: u32) -> Option<u32> {
    (number > 0).then_some(number)
}

fn lock_request(index: usize, message: v1::LockRequest) -> Result<contract::LockRequest, ApiError> {
    let v1::LockRequest { name, mode, permits, capacity } = message;
    let mode = match v1::LockMode::try_from(mode) {
        Ok(v1::LockMode::Unspecified | v1::LockMode::Exclusive) => LockMode::Exclusive,
        Ok(v1::LockMode::Shared) => LockMode::Shared,
        Ok(v1::LockMode::Semaphore) => LockMode::Semaphore,
        Ok(v1::LockMode::Election) => LockMode::Election,
        Err(_) => {
            return Err(ApiError::invalid(format!("locks[{index}].mode"), "must be a value of LockMode"));
        }
    };
    Ok(contract::LockRequest { name, mode, permits: given(permits), capacity: given(capacity) })
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
    let locks = message.locks.into_iter().enumerate().map(|(index, lock)| lock_request(index, lock));
    contract::AcquireRequest {
        locks: Some(locks.collect::<Result<_, _>>()?),
        session_id: Some(message.session_id),
        owner: message.owner,
        ttl_ms: message.ttl_ms.map(Into::into),
        wait_ms: message.wait_ms.into(),
        lock_delay_ms: message.lock_delay_ms.into(),
        reentrant: message.reentrant,
        metadata: message.metadata,
        ..contract::AcquireRequest::default()
    }
    .read()
}

/// The grant that a message names; an empty text and 0 say nothing.
fn grant_ref(lock_id: &str, name: &str, fencing_token: u64, session_id: &str) -> Result<GrantRef, ApiError> {
    let name = parse_optional_name("name", name)?;
    let lock_id = (!lock_id.is_empty()).then_some(lock_id);
    grant_named(name, lock_id, (fencing_token > 0).then_some(fencing_token), Some(session_id))
}

fn request_message(request: &LockRequest) -> v1::LockRequest {
    let (mode, permits, capacity) = match request.mode {
        Mode::Exclusive => (v1::LockMode::Exclusive, 0, 0),
        Mode::Shared => (v1::LockMode::Shared, 0, 0),
        Mode::Semaphore { permits, capacity } => (v1::LockMode::Semaphore, permits, capacity),
        Mode::Election => (v1::LockMode::Election, 0, 0),
    };
    v1::LockRequest { name: request.name.to_string(), mode: mode.into(), permits, capacity }
}

pub(super) fn grant_message(grant: &Grant, clock: Clock) -> v1::Grant {
    v1::Grant {
        lock_id: grant.lock_id.to_string(),
        namespace: grant.namespace.to_string(),
        locks: grant.requests.iter().map(request_message).collect(),
        session_id: session_text(grant.owner.session),
        owner: grant.owner.label.to_string(),
        fencing_token: grant.token,
        count: grant.count,
        granted_revision: grant.granted_revision,
        granted_at: rfc3339(grant.granted_wall_ms),
        ttl_ms: grant.ttl_ms,
        remaining_ms: grant.deadline_ms.map(|deadline_ms| clock.remaining_ms(deadline_ms)),
        expires_at: grant.deadline_ms.map(|deadline_ms| clock.text_of(deadline_ms)).unwrap_or_default(),
        lock_delay_ms: grant.lock_delay_ms,
        metadata: grant.metadata.to_string(),
    }
}

pub(super) fn held_message(at: &At<Held>) -> v1::Grant {
    grant_message(&at.value, at.clock)
}

pub(super) fn waiter_message(wait: &Wait, clock: Clock) -> v1::Waiter {
    v1::Waiter {
        lock_id: wait.lock_id.to_string(),
        locks: wait.requests.iter().map(request_message).collect(),
        session_id: session_text(wait.owner.session),
        owner: wait.owner.label.to_string(),
        queue_position: wait.queue_position,
        remaining_ms: clock.remaining_ms(wait.deadline_ms),
    }
}

pub(super) fn lock_message(lock: &Lock, clock: Clock) -> v1::Lock {
    let Lock { view, next_holders, next_waiters } = lock;
    let (mode, capacity, permits_free) = match view.kind {
        _ if !lock.is_used() => (v1::LockMode::Unspecified, 0, 0),
        LockKind::Exclusive => (v1::LockMode::Exclusive, 0, 0),
        LockKind::Shared => (v1::LockMode::Shared, 0, 0),
        LockKind::Semaphore { capacity, permits_free } => (v1::LockMode::Semaphore, capacity, permits_free),
        LockKind::Election => (v1::LockMode::Election, 0, 0),
    };
    v1::Lock {
        name: view.name.to_string(),
        namespace: view.namespace.to_string(),
        mode: mode.into(),
        capacity,
        permits_free,
        holders: view.holders.iter().map(|grant| grant_message(grant, clock)).collect(),
        waiters: view.waiters.iter().map(|wait| waiter_message(wait, clock)).collect(),
        waiter_count: view.waiter_count,
        delayed_ms: view.delayed_until_ms.map(|until_ms| clock.remaining_ms(until_ms)),
        holder_count: view.holder_count,
        next_holders_cursor: next_holders.map(parse::holders_cursor_text).unwrap_or_default(),
        next_waiters_cursor: next_waiters.map(parse::waiters_cursor_text).unwrap_or_default(),
    }
}

fn blocker_message(blocker: Blocker) -> v1::Blocker {
    v1::Blocker {
        lock_id: blocker.lock_id.to_string(),
        name: blocker.name.to_string(),
        session_id: session_text(blocker.owner.session),
        owner: blocker.owner.label.into(),
        fencing_token: blocker.token.unwrap_or(0),
        waits_for: blocker.waits_for.iter().map(ToString::to_string).collect(),
    }
}

fn explanation_message(explanation: WaiterExplanation, clock: Clock) -> v1::WaiterExplanation {
    v1::WaiterExplanation {
        waiter: Some(waiter_message(&explanation.wait, clock)),
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
        type HoldStream = HoldStream<v1::HoldResponse>;

        async fn hold(
            &self,
            request: Request<Streaming<v1::HoldRequest>>,
        ) -> Result<Response<Self::HoldStream>, Status> {
            let context = context(request.metadata(), request.extensions(), None)?;
            Ok(Response::new(serve::<HoldLocks>(self.service.clone(), context, request.into_inner())))
        }
    }
    acquire(AcquireRequest) -> AcquireResponse;
    release(ReleaseRequest) -> ReleaseResponse;
    downgrade(DowngradeRequest) -> DowngradeResponse;
    set_metadata(SetMetadataRequest) -> SetMetadataResponse;
    resize(ResizeRequest) -> ResizeResponse;
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
impl OfSession for v1::DowngradeRequest {}
impl OfSession for v1::SetMetadataRequest {}
impl OfSession for v1::ResizeRequest {}
impl OfSession for v1::ExtendRequest {}
impl OfSession for v1::CancelWaitRequest {}
impl OfSession for v1::ForceReleaseRequest {}
impl OfSession for v1::CheckRequest {}
impl OfSession for v1::GetLockRequest {}
impl OfSession for v1::ListLocksRequest {}
impl OfSession for v1::ExplainRequest {}

impl Front {
    pub(super) async fn acquire(
        &self,
        context: &CallContext,
        message: v1::AcquireRequest,
    ) -> Result<v1::AcquireResponse, ApiError> {
        let at = self.service.acquire(context, acquire_request(message)?).await?;
        let grant = Some(held_message(&at));
        Ok(v1::AcquireResponse { grant, revision: at.revision })
    }

    pub(super) async fn release(
        &self,
        context: &CallContext,
        message: v1::ReleaseRequest,
    ) -> Result<v1::ReleaseResponse, ApiError> {
        let v1::ReleaseRequest { lock_id, name, fencing_token, session_id } = message;
        let grant = grant_ref(&lock_id, &name, fencing_token, &session_id)?;
        Ok(released_message(&self.service.release(context, grant).await?))
    }

    pub(super) async fn downgrade(
        &self,
        context: &CallContext,
        message: v1::DowngradeRequest,
    ) -> Result<v1::DowngradeResponse, ApiError> {
        let v1::DowngradeRequest { lock_id, name, fencing_token, session_id } = message;
        let grant = grant_ref(&lock_id, &name, fencing_token, &session_id)?;
        let at = self.service.downgrade(context, grant).await?;
        let grant = Some(held_message(&at));
        Ok(v1::DowngradeResponse { grant, revision: at.revision })
    }

    pub(super) async fn set_metadata(
        &self,
        context: &CallContext,
        message: v1::SetMetadataRequest,
    ) -> Result<v1::SetMetadataResponse, ApiError> {
        let v1::SetMetadataRequest { lock_id, name, fencing_token, session_id, metadata } = message;
        let grant = grant_ref(&lock_id, &name, fencing_token, &session_id)?;
        let at = self.service.set_metadata(context, SetMetadata { grant, metadata }).await?;
        let grant = Some(held_message(&at));
        Ok(v1::SetMetadataResponse { grant, revision: at.revision })
    }

    pub(super) async fn resize(
        &self,
        context: &CallContext,
        message: v1::ResizeRequest,
    ) -> Result<v1::ResizeResponse, ApiError> {
        let v1::ResizeRequest { name, capacity } = message;
        let name = parse_name("name", &name)?;
        let at = self.service.resize(context, Resize { name, capacity }).await?;
        Ok(v1::ResizeResponse {
            name: at.value.name.to_string(),
            capacity: at.value.capacity,
            permits_held: at.value.permits_held,
            revision: at.revision,
        })
    }

    pub(super) async fn extend(
        &self,
        context: &CallContext,
        message: v1::ExtendRequest,
    ) -> Result<v1::ExtendResponse, ApiError> {
        let lock_id = parse_lock_id("lock_id", &message.lock_id)?;
        let name = parse_optional_name("name", &message.name)?;
        let at = self.service.extend(context, Extend { lock_id, name, ttl_ms: message.ttl_ms }).await?;
        let grant = Some(held_message(&at));
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
        let at = self.service.force_release(context, ForceRelease { name, fencing_token, reason }).await?;
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
            current: at.value.status == TokenStatus::Held,
            status: status_message(at.value.status).into(),
            newest_token: at.value.newest,
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
        let cursors = LockCursors::read(&message.holders_cursor, &message.waiters_cursor)?;
        let at = self.service.get_lock(context, &name, cursors, consistency).await?;
        let lock = Some(lock_message(&at.value, at.clock));
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
        let (limit, after) = (Some(message.limit), parse::name_cursor(Some(&message.cursor))?);
        let list = ListRequest { prefix: message.prefix, session, owner, limit, after };
        let At { revision, clock, value: Page { items, next, filtered } } =
            self.service.list_locks(context, &list, consistency).await?;
        Ok(v1::ListLocksResponse {
            locks: items.iter().map(|lock| lock_message(lock, clock)).collect(),
            next_cursor: next.as_ref().map(parse::name_cursor_text).unwrap_or_default(),
            filtered,
            revision,
        })
    }

    pub(super) async fn explain(
        &self,
        context: &CallContext,
        message: v1::ExplainRequest,
    ) -> Result<v1::ExplainResponse, ApiError> {
        let name = parse_name("name", &message.name)?;
        let consistency = consistency(message.consistency)?;
        let cursors = LockCursors::read(&message.holders_cursor, &message.waiters_cursor)?;
        let At { revision, clock, value } =
            self.service.explain(context, &name, cursors, consistency).await?;
        Ok(v1::ExplainResponse {
            lock: value.lock.map(|lock| lock_message(&lock, clock)),
            waiters: value.waiters.into_iter().map(|waiter| explanation_message(waiter, clock)).collect(),
            summary: value.summary,
            names_hidden: value.names_hidden,
            revision,
        })
    }
}
