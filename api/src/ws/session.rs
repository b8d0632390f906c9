//! Sessions over WebSocket.

use super::op::{Beside, CallScope, Done, Effect, LeaseOf, Op, done, run};
use crate::ApiError;
use crate::contract::session::{
    CloseSessionAnswer, CloseSessionRequest, KeepAliveAnswer, KeepAliveRequest, OpenSessionRequest,
    SessionAnswer,
};
use crate::service::session::{CLOSE_SESSION, KEEP_ALIVE, OPEN_SESSION, OpenRequest};
use crate::service::{At, parse};

/// The operations of sessions.
pub(super) const OPS: &[Op] = &[
    Op::of::<OpenSessionRequest, SessionAnswer>(&OPEN_SESSION, |mut fields| {
        let bound = fields.flag("bound")?;
        let OpenSessionRequest { ttl_ms, metadata } = fields.read()?;
        Ok(run(move |scope| open(scope, OpenRequest { ttl_ms: ttl_ms.into(), metadata }, bound)))
    })
    .with(&[Beside::Bound])
    .leases(LeaseOf::Session),
    Op::of::<KeepAliveRequest, KeepAliveAnswer>(&KEEP_ALIVE, |fields| {
        let KeepAliveRequest { session_id } = fields.with_session()?.read()?;
        let session = parse::parse_session_id("session_id", &session_id)?;
        Ok(run(move |CallScope { service, context, .. }| async move {
            done::<KeepAliveAnswer, _>(service.keep_alive(&context, session).await?)
        }))
    })
    .with(&[Beside::OwnSession]),
    Op::of::<CloseSessionRequest, CloseSessionAnswer>(&CLOSE_SESSION, |fields| {
        let CloseSessionRequest { session_id, lock_delay } = fields.with_session()?.read()?;
        let session = parse::parse_session_id("session_id", &session_id)?;
        Ok(run(move |CallScope { service, context, .. }| async move {
            let closed = service.close_session(&context, session, lock_delay).await?;
            Ok(Done { effect: Effect::Closed(session), ..done::<CloseSessionAnswer, _>(closed)? })
        }))
    })
    .with(&[Beside::OwnSession]),
];

async fn open(scope: CallScope, request: OpenRequest, bound: bool) -> Result<Done, ApiError> {
    let CallScope { service, context, .. } = scope;
    let (opened, bound) = if bound {
        let At { revision, clock, value: (view, bound) } =
            service.open_bound_session(&context, request).await?;
        (At { revision, clock, value: view }, Some(bound))
    } else {
        (service.open_session(&context, request).await?, None)
    };
    let effect = Effect::Opened { session: opened.value.session, ttl_ms: opened.value.ttl_ms, bound };
    Ok(Done { effect, ..done::<SessionAnswer, _>(opened)? })
}
