//! Calls of the service, and their answers as JSON: the same documents as over REST.

use batuta_statemachine::SessionId;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;

use super::lease::Follower;
use super::op::{Call, What};
use crate::ApiError;
use crate::contract::lock::{CheckAnswer, ExplainAnswer, GrantAnswer, LockAnswer, ReleaseAnswer};
use crate::contract::register::RegisterAnswer;
use crate::contract::session::{CloseSessionAnswer, KeepAliveAnswer, SessionAnswer};
use crate::service::acquire::{AcquireRequest, Held};
use crate::service::bound::BoundSession;
use crate::service::session::OpenRequest;
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
        held: At<Held>,
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
        What::KeepAlive(session) => done::<KeepAliveAnswer, _>(service.keep_alive(&context, session).await?),
        What::CloseSession(session) => {
            let closed = service.close_session(&context, session).await?;
            Ok(Done { effect: Effect::Closed(session), ..done::<CloseSessionAnswer, _>(closed)? })
        }
        What::Acquire(request) => acquire(&service, &context, request, follower).await,
        What::Release(by) => done::<ReleaseAnswer, _>(service.release(&context, by).await?),
        What::ForceRelease(request) => {
            done::<ReleaseAnswer, _>(service.force_release(&context, request).await?)
        }
        What::Extend(request) => done::<GrantAnswer, _>(service.extend(&context, request).await?),
        What::Check { name, fencing_token, consistency } => {
            done::<CheckAnswer, _>(service.check(&context, &name, fencing_token, consistency).await?)
        }
        What::GetLock { name, cursors, consistency } => {
            done::<LockAnswer, _>(service.get_lock(&context, &name, cursors, consistency).await?)
        }
        What::Explain { name, cursors, consistency } => {
            done::<ExplainAnswer, _>(service.explain(&context, &name, cursors, consistency).await?)
        }
        What::AdvanceRegister { name, fencing_token } => {
            done::<RegisterAnswer, _>(service.advance_register(&context, name, fencing_token).await?)
        }
        What::DeleteRegister { name } => {
            done::<RegisterAnswer, _>(service.delete_register(&context, name).await?)
        }
        What::GetRegister { name, consistency } => {
            done::<RegisterAnswer, _>(service.get_register(&context, name, consistency).await?)
        }
    }
}

async fn open(
    service: &Service,
    context: &CallContext,
    request: OpenRequest,
    bound: bool,
) -> Result<Done, ApiError> {
    let (opened, bound) = if bound {
        let At { revision, clock, value: (view, bound) } =
            service.open_bound_session(context, request).await?;
        (At { revision, clock, value: view }, Some(bound))
    } else {
        (service.open_session(context, request).await?, None)
    };
    let effect = Effect::Opened { session: opened.value.session, ttl_ms: opened.value.ttl_ms, bound };
    Ok(Done { effect, ..done::<SessionAnswer, _>(opened)? })
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
    let effect = Effect::Granted { held: granted.clone(), queued };
    Ok(Done { effect, ..done::<GrantAnswer, _>(granted)? })
}

/// An answer of the contract, made of what the use case answered.
fn done<A: Serialize + From<At<V>>, V>(at: At<V>) -> Result<Done, ApiError> {
    let revision = at.revision;
    let result = serde_json::to_value(A::from(at)).map_err(|error| ApiError::Internal(error.to_string()))?;
    Ok(Done { revision, result, effect: Effect::None })
}
