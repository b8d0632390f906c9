//! Calls of the service, and their answers as JSON: the same documents as over REST.

use batuta_statemachine::SessionId;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;

use super::lease::Follower;
use super::op::{Call, What};
use crate::ApiError;
use crate::json::lock_dto::{
    CheckAnswer, ExplainAnswer, Grant, GrantAnswer, LockAnswer, RegisterAnswer, ReleaseAnswer,
};
use crate::json::session_dto::{CloseSessionAnswer, KeepAliveAnswer, Session, SessionAnswer};
use crate::service::acquire::AcquireRequest;
use crate::service::bound::BoundSession;
use crate::service::lock::{GrantInfo, Register, Released};
use crate::service::session::{Closed, KeptAlive, OpenRequest};
use crate::service::{At, CallContext, Service};

/// What a call means for the connection beside its answer.
pub(super) enum Effect {
    None,
    /// The connection has a session now.
    Opened {
        session: SessionId,
        ttl_ms: u64,
        bound: Option<BoundSession>,
    },
    /// A session is closed.
    Closed(SessionId),
    /// The connection holds a lock.
    Granted {
        grant: Box<GrantInfo>,
        queued: bool,
    },
}

/// A call that was not refused.
pub(super) struct Done {
    pub(super) revision: u64,
    pub(super) result: Value,
    pub(super) effect: Effect,
}

/// Calls the service. `follower` tells the client how a wait goes.
pub(super) async fn call(service: Service, call: Call, follower: Follower) -> Result<Done, ApiError> {
    let Call { context, what } = call;
    match what {
        What::OpenSession { request, bound } => open(&service, &context, request, bound).await,
        What::KeepAlive(session) => {
            let At { revision, value: KeptAlive { session_id, ttl_ms } } =
                service.keep_alive(&context, session).await?;
            done(revision, KeepAliveAnswer { session_id: session_id.to_string(), ttl_ms, revision })
        }
        What::CloseSession(session) => {
            let At { revision, value: Closed { released_locks, cancelled_waits } } =
                service.close_session(&context, session).await?;
            let answer = CloseSessionAnswer { released_locks, cancelled_waits, revision };
            Ok(Done { effect: Effect::Closed(session), ..done(revision, answer)? })
        }
        What::Acquire(request) => acquire(&service, &context, request, follower).await,
        What::Release(request) => released(&service.release(&context, request).await?),
        What::ForceRelease(request) => released(&service.force_release(&context, request).await?),
        What::Extend(request) => {
            let At { revision, value } = service.extend(&context, request).await?;
            done(revision, GrantAnswer { grant: Grant::from(value), revision })
        }
        What::Check { name, fencing_token, consistency } => {
            let checked = service.check(&context, &name, fencing_token, consistency).await?;
            done(checked.revision, CheckAnswer::from(checked))
        }
        What::GetLock { name, cursors, consistency } => {
            let found = service.get_lock_part(&context, &name, &cursors, consistency).await?;
            let At { revision, value } = found;
            done(revision, LockAnswer { lock: value.into(), revision })
        }
        What::Explain { name, cursors, consistency } => {
            let explained = service.explain_part(&context, &name, &cursors, consistency).await?;
            done(explained.revision, ExplainAnswer::from(explained))
        }
        What::AdvanceRegister { name, fencing_token } => {
            register(&service.advance_register(&context, name, fencing_token).await?)
        }
        What::DeleteRegister { name } => register(&service.delete_register(&context, name).await?),
        What::GetRegister { name, consistency } => {
            register(&service.get_register(&context, &name, consistency).await?)
        }
    }
}

async fn open(
    service: &Service,
    context: &CallContext,
    request: OpenRequest,
    bound: bool,
) -> Result<Done, ApiError> {
    let (revision, session, bound) = if bound {
        let At { revision, value: (session, bound) } = service.open_bound_session(context, request).await?;
        (revision, session, Some(bound))
    } else {
        let At { revision, value } = service.open_session(context, request).await?;
        (revision, value, None)
    };
    let effect = Effect::Opened { session: session.session_id, ttl_ms: session.ttl_ms, bound };
    Ok(Done { effect, ..done(revision, SessionAnswer { session: Session::from(session), revision })? })
}

async fn acquire(
    service: &Service,
    context: &CallContext,
    request: AcquireRequest,
    follower: Follower,
) -> Result<Done, ApiError> {
    let names = request.requests.iter().map(|request| request.name.clone()).collect();
    let (tell, told) = oneshot::channel();
    let call = service.acquire_telling(context, request, |queued| {
        // Nobody listens only when the call itself is being dropped.
        let _ = tell.send(queued);
    });
    let mut queued = false;
    let granted = {
        let position = async {
            if let Ok(place) = told.await {
                queued = true;
                follower.position(place, names).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            granted = call => granted?,
            () = position => return Err(ApiError::Internal("a follower of a wait ended".to_owned())),
        }
    };
    let revision = granted.revision;
    let effect = Effect::Granted { grant: Box::new(granted.value.clone()), queued };
    Ok(Done { effect, ..done(revision, GrantAnswer { grant: Grant::from(granted.value), revision })? })
}

fn released(released: &At<Released>) -> Result<Done, ApiError> {
    let At { revision, value: Released { lock_id, fencing_token, remaining_count } } = *released;
    let lock_id = lock_id.to_string();
    done(revision, ReleaseAnswer { lock_id, fencing_token, remaining_count, revision })
}

fn register(register: &At<Register>) -> Result<Done, ApiError> {
    let At { revision, value: Register { high_water } } = *register;
    done(revision, RegisterAnswer { high_water, revision })
}

fn done(revision: u64, answer: impl Serialize) -> Result<Done, ApiError> {
    let result = serde_json::to_value(answer).map_err(|error| ApiError::Internal(error.to_string()))?;
    Ok(Done { revision, result, effect: Effect::None })
}
