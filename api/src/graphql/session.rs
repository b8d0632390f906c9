//! Queries and mutations of sessions.

use async_graphql::{Context, Object};

use super::call::{Consistency, Keys, answered, read_context, service};
use super::connection::{self, cost};
use super::long::Long;
use super::session_types::{
    CloseSessionInput, KeepAliveInput, KeptAlive, OpenSessionInput, Session, SessionClosed, SessionConnection,
};
use crate::service::{parse, session};

/// What can be read of sessions.
#[derive(Default)]
pub(super) struct SessionQuery;

#[Object]
impl SessionQuery {
    /// Reads one session.
    async fn session(
        &self,
        ctx: &Context<'_>,
        id: String,
        #[graphql(default)] consistency: Consistency,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<Session> {
        answered(ctx, async {
            let session = parse::parse_session_id("id", &id)?;
            let context = read_context(&namespace)?;
            Ok(service(ctx)?.get_session(&context, session, consistency.into()).await?.into())
        })
        .await
    }

    /// Lists the sessions of the namespace, oldest first.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn sessions(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Page size, default 100, at most 1,000.")] first: Option<u32>,
        #[graphql(desc = "A cursor of the same listing.")] after: Option<String>,
        #[graphql(desc = "How current the answer must be.", default)] consistency: Consistency,
        #[graphql(desc = "Where it is read.", default = "default")] namespace: String,
    ) -> Option<SessionConnection> {
        answered(ctx, async {
            let request = session::ListRequest { limit: first, cursor: connection::cursor(after) };
            let context = read_context(&namespace)?;
            let page = service(ctx)?.list_sessions(&context, &request, consistency.into()).await;
            Ok(SessionConnection::new(page.map_err(connection::renamed)?, request.cursor.as_deref()))
        })
        .await
    }
}

/// What can be done with sessions.
#[derive(Default)]
pub(super) struct SessionMutation;

#[Object]
impl SessionMutation {
    /// Opens a session: one heartbeat that keeps everything a client owns alive.
    async fn open_session(
        &self,
        ctx: &Context<'_>,
        input: OpenSessionInput,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<Session> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async {
            let request = session::OpenRequest { ttl_ms: input.ttl_ms.into(), metadata: input.metadata };
            Ok(service(ctx)?.open_session(&keys.context(None)?, request).await?.into())
        })
        .await
    }

    /// Renews a session. The new time to live counts from when the request was sent.
    async fn keep_alive(
        &self,
        ctx: &Context<'_>,
        input: KeepAliveInput,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<KeptAlive> {
        answered(ctx, async {
            let session = parse::parse_session_id("session_id", &input.session_id)?;
            let kept = service(ctx)?.keep_alive(&read_context(&namespace)?, session).await?;
            let session::KeptAlive { session_id, ttl_ms } = kept.value;
            Ok(KeptAlive {
                session_id: session_id.to_string(),
                ttl_ms: Long(ttl_ms),
                revision: Long(kept.revision),
            })
        })
        .await
    }

    /// Ends a session and everything it owns, in one revision.
    async fn close_session(
        &self,
        ctx: &Context<'_>,
        input: CloseSessionInput,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<SessionClosed> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async {
            let session = parse::parse_session_id("session_id", &input.session_id)?;
            let closed = service(ctx)?.close_session(&keys.context(Some(session))?, session).await?;
            let session::Closed { released_locks, cancelled_waits } = closed.value;
            Ok(SessionClosed {
                released_locks: Long(released_locks),
                cancelled_waits: Long(cancelled_waits),
                revision: Long(closed.revision),
            })
        })
        .await
    }
}
