//! Turns a field of a document into a call of the service, and the answer of the call into the answer of the field.

use std::future::Future;

use async_graphql::Context;
use batuta_statemachine::{Namespace, SessionId};

use super::error;
use crate::ApiError;
use crate::service::{CallContext, Client, Service, parse};

/// The arguments of a write besides its input.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// The namespace of the call.
    pub(super) namespace: String,
    /// The retry key: a retry with the same key has the effect once.
    pub(super) idempotency_key: Option<String>,
    /// Instead of a retry key: the number of the request in its session.
    pub(super) session_sequence: Option<String>,
}

impl Keys {
    /// The context of a write whose input names this session.
    pub(super) fn context(
        &self,
        ctx: &Context<'_>,
        session: Option<SessionId>,
    ) -> Result<CallContext, ApiError> {
        let namespace = parse::parse_namespace("namespace", &self.namespace)?;
        let (key, sequence) = (self.idempotency_key.as_deref(), self.session_sequence.as_deref());
        let dedup = parse::parse_dedup(&namespace, key, sequence, session)?;
        Ok(CallContext { dedup, ..client(ctx).context(namespace) })
    }
}

/// The context of a read, which needs no retry key.
pub(super) fn read_context(ctx: &Context<'_>, namespace: &str) -> Result<CallContext, ApiError> {
    Ok(client(ctx).context(parse::parse_namespace("namespace", namespace)?))
}

/// The context of a call about the cluster, which belongs to no namespace.
pub(super) fn cluster_context(ctx: &Context<'_>) -> CallContext {
    client(ctx).context(Namespace::default())
}

/// The client of the request. Without the layer that adds it, it has proved nothing.
fn client(ctx: &Context<'_>) -> Client {
    ctx.data_opt::<Client>().cloned().unwrap_or_default()
}

/// The service behind the schema.
pub(super) fn service<'a>(ctx: &Context<'a>) -> Result<&'a Service, ApiError> {
    ctx.data::<Service>().map_err(|_| ApiError::Internal("the schema has no service behind it".to_owned()))
}

/// Waits for the answer of a root field. A refusal becomes an error next to a `null`, so that the answers of other fields in the
/// same request (a granted lock, for example) are not lost.
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
