//! From a field of the document to a call of the service, and from its answer to the answer of the field.

use std::future::Future;

use async_graphql::Context;
use batuta_statemachine::SessionId;

use super::error;
use crate::ApiError;
use crate::service::{CallContext, Service, parse};

/// What the arguments of a write say beside its input.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// Where the call works.
    pub(super) namespace: String,
    /// How a retry is recognised.
    pub(super) idempotency_key: Option<String>,
    /// Instead of a key: the number of the request in its session.
    pub(super) session_sequence: Option<String>,
}

impl Keys {
    /// The context of a write whose input names this session.
    pub(super) fn context(&self, session: Option<SessionId>) -> Result<CallContext, ApiError> {
        let namespace = parse::parse_namespace("namespace", &self.namespace)?;
        let (key, sequence) = (self.idempotency_key.as_deref(), self.session_sequence.as_deref());
        let dedup = parse::parse_dedup(&namespace, key, sequence, session)?;
        Ok(CallContext { dedup, ..CallContext::in_namespace(namespace) })
    }
}

/// The context of a read, which needs no retry key.
pub(super) fn read_context(namespace: &str) -> Result<CallContext, ApiError> {
    Ok(CallContext::in_namespace(parse::parse_namespace("namespace", namespace)?))
}

/// The service behind the schema.
pub(super) fn service<'a>(ctx: &Context<'a>) -> Result<&'a Service, ApiError> {
    ctx.data::<Service>().map_err(|_| ApiError::Internal("the schema has no service behind it".to_owned()))
}

/// Waits for the answer of a root field. A refusal becomes an error beside a `null`: what the other fields of the same
/// request were answered (a lock that was granted, say) must not be lost with it.
pub(super) async fn answered<T>(
    ctx: &Context<'_>,
    answer: impl Future<Output = Result<T, ApiError>>,
) -> Option<T> {
    match answer.await {
        Ok(value) => Some(value),
        Err(refused) => {
            let refused = error::of(&refused, Some(ctx.item.pos));
            ctx.add_error(ctx.set_error_path(refused));
            None
        }
    }
}
