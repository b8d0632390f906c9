//! Locks over WebSocket.

use batuta_statemachine::Name;
use serde::Serialize;
use tokio::sync::oneshot;

use super::op::{Beside, CallScope, Done, Effect, LeaseOf, Op, done, run};
use crate::ApiError;
use crate::contract::lock::{
    AcquireRequest, CheckAnswer, CheckQuery, DowngradeRequest, ExplainAnswer, ExtendRequest,
    ForceReleaseRequest, GrantAnswer, LockAnswer, LockQuery, ReleaseAnswer, ReleaseRequest, ResizeAnswer,
    ResizeRequest, SetMetadataRequest,
};
use crate::service::acquire::{ACQUIRE, Held, Queued};
use crate::service::lock::{
    CHECK, DOWNGRADE, EXPLAIN, EXTEND, FORCE_RELEASE, GET_LOCK, RELEASE, RESIZE, SET_METADATA,
};
use crate::service::{At, CallContext, Service};

/// The operations of locks.
pub(super) const OPS: &[Op] = &[
    Op::of::<AcquireRequest, GrantAnswer>(&ACQUIRE, |fields| {
        let session = fields.defaults.session;
        let fields: AcquireRequest = fields.read()?;
        let own_life = fields.ttl_ms.is_some() || fields.session_id.is_some();
        let mut request = fields.read()?;
        // Without a session and without a TTL, the connection's session owns the grant.
        if !own_life {
            request.owner.session = session;
        }
        Ok(run(move |scope| async move {
            let names = request.requests.iter().map(|request| request.name.clone()).collect();
            taken::<GrantAnswer, _>(scope, names, |service, context, tell| async move {
                service.acquire_telling(&context, request, tell).await
            })
            .await
        }))
    })
    .leases(LeaseOf::Lock),
    Op::of::<ReleaseRequest, ReleaseAnswer>(&RELEASE, |fields| {
        let grant = fields.read::<ReleaseRequest>()?.read()?;
        Ok(run(|CallScope { service, context, .. }| async move {
            done::<ReleaseAnswer, _>(service.release(&context, grant).await?)
        }))
    }),
    Op::of::<DowngradeRequest, GrantAnswer>(&DOWNGRADE, |fields| {
        let grant = fields.read::<DowngradeRequest>()?.read()?;
        Ok(run(|CallScope { service, context, .. }| async move {
            done::<GrantAnswer, _>(service.downgrade(&context, grant).await?)
        }))
    })
    .with(&[Beside::NameOrNone]),
    Op::of::<SetMetadataRequest, GrantAnswer>(&SET_METADATA, |fields| {
        let request = fields.read::<SetMetadataRequest>()?.read()?;
        Ok(run(|CallScope { service, context, .. }| async move {
            done::<GrantAnswer, _>(service.set_metadata(&context, request).await?)
        }))
    })
    .with(&[Beside::NameOrNone]),
    Op::of::<ResizeRequest, ResizeAnswer>(&RESIZE, |fields| {
        let request = fields.read::<ResizeRequest>()?.read()?;
        Ok(run(|CallScope { service, context, .. }| async move {
            done::<ResizeAnswer, _>(service.resize(&context, request).await?)
        }))
    })
    .with(&[Beside::Name]),
    Op::of::<ExtendRequest, GrantAnswer>(&EXTEND, |fields| {
        let request = fields.read::<ExtendRequest>()?.read()?;
        Ok(run(|CallScope { service, context, .. }| async move {
            done::<GrantAnswer, _>(service.extend(&context, request).await?)
        }))
    })
    .with(&[Beside::NameOrNone]),
    Op::of::<ForceReleaseRequest, ReleaseAnswer>(&FORCE_RELEASE, |fields| {
        let request = fields.read::<ForceReleaseRequest>()?.read()?;
        Ok(run(|CallScope { service, context, .. }| async move {
            done::<ReleaseAnswer, _>(service.force_release(&context, request).await?)
        }))
    }),
    Op::of::<CheckQuery, CheckAnswer>(&CHECK, |mut fields| {
        let name = fields.name()?;
        let CheckQuery { fencing_token, consistency } = fields.read()?;
        Ok(run(move |CallScope { service, context, .. }| async move {
            let token = fencing_token.into();
            done::<CheckAnswer, _>(service.check(&context, &name, token, consistency).await?)
        }))
    })
    .with(&[Beside::Name]),
    Op::of::<LockQuery, LockAnswer>(&GET_LOCK, |mut fields| {
        let name = fields.name()?;
        let query: LockQuery = fields.read()?;
        let (cursors, consistency) = (query.cursors()?, query.consistency);
        Ok(run(move |CallScope { service, context, .. }| async move {
            done::<LockAnswer, _>(service.get_lock(&context, &name, cursors, consistency).await?)
        }))
    })
    .with(&[Beside::Name]),
    Op::of::<LockQuery, ExplainAnswer>(&EXPLAIN, |mut fields| {
        let name = fields.name()?;
        let query: LockQuery = fields.read()?;
        let (cursors, consistency) = (query.cursors()?, query.consistency);
        Ok(run(move |CallScope { service, context, .. }| async move {
            done::<ExplainAnswer, _>(service.explain(&context, &name, cursors, consistency).await?)
        }))
    })
    .with(&[Beside::Name]),
];

/// Tells of a place in the queue, once.
pub(super) type Tell = Box<dyn FnOnce(Queued) + Send>;

/// Takes locks or a leadership with `take`, and notifies the client of its position in the queue while it waits.
pub(super) async fn taken<A, F>(
    scope: CallScope,
    names: Vec<Name>,
    take: impl FnOnce(Service, CallContext, Tell) -> F,
) -> Result<Done, ApiError>
where
    A: Serialize + From<At<Held>>,
    F: Future<Output = Result<At<Held>, ApiError>>,
{
    let CallScope { service, context, follower } = scope;
    let (tell, told) = oneshot::channel();
    let tell = Box::new(|queued| {
        // The receiver is dropped only together with the call.
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
            granted = take(service, context, tell) => granted?,
            () = position => return Err(ApiError::Internal("a follower of a wait ended".to_owned())),
        }
    };
    let effect = Effect::Granted { held: granted.clone(), queued };
    Ok(Done { effect, ..done::<A, _>(granted)? })
}
