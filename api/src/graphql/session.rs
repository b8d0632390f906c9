//! Queries and mutations of sessions.

use async_graphql::{Context, Object};

use super::call::{Keys, answered, read_context, service};
use super::connection::{self, Connection, cost};
use crate::contract::session::{
    CloseSessionAnswer, CloseSessionRequest, KeepAliveAnswer, KeepAliveRequest, OpenSessionRequest, Session,
    SessionAnswer,
};
use crate::service::{Consistency, parse, session};

/// The queries of sessions.
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
    ) -> Option<SessionAnswer> {
        answered(ctx, async {
            let session = parse::parse_session_id("id", &id)?;
            let context = read_context(ctx, &namespace)?;
            Ok(service(ctx)?.get_session(&context, session, consistency).await?.into())
        })
        .await
    }

    /// Lists the sessions of the namespace, oldest first.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn sessions(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Page size: by default 100, at most 1,000.")] first: Option<u32>,
        #[graphql(desc = "A cursor of the same listing.")] after: Option<String>,
        #[graphql(desc = "The consistency of the read.", default)] consistency: Consistency,
        #[graphql(desc = "The namespace to read in.", default = "default")] namespace: String,
    ) -> Option<Connection<Session>> {
        answered(ctx, async {
            let context = read_context(ctx, &namespace)?;
            let page = async {
                let begin = parse::session_cursor(after.as_deref())?;
                let request = session::ListRequest { limit: first, after: begin };
                service(ctx)?.list_sessions(&context, &request, consistency).await
            };
            let page = page.await.map_err(connection::renamed)?;
            let cursor = |session: &_| parse::session_cursor_text(*session);
            Ok(Connection::new(page, after.as_deref(), |view| view.session, cursor, Session::seen))
        })
        .await
    }
}

/// The mutations of sessions.
#[derive(Default)]
pub(super) struct SessionMutation;

#[Object]
impl SessionMutation {
    /// Opens a session: a single keep-alive keeps everything alive that the client owns.
    async fn open_session(
        &self,
        ctx: &Context<'_>,
        input: OpenSessionRequest,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<SessionAnswer> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async {
            let request = session::OpenRequest { ttl_ms: input.ttl_ms.into(), metadata: input.metadata };
            Ok(service(ctx)?.open_session(&keys.context(ctx, None)?, request).await?.into())
        })
        .await
    }

    /// Renews a session. The new TTL counts from when the request was sent.
    async fn keep_alive(
        &self,
        ctx: &Context<'_>,
        input: KeepAliveRequest,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<KeepAliveAnswer> {
        answered(ctx, async {
            let session = parse::parse_session_id("session_id", &input.session_id)?;
            Ok(service(ctx)?.keep_alive(&read_context(ctx, &namespace)?, session).await?.into())
        })
        .await
    }

    /// Ends a session and everything it owns, in one revision.
    async fn close_session(
        &self,
        ctx: &Context<'_>,
        input: CloseSessionRequest,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<CloseSessionAnswer> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async {
            let session = parse::parse_session_id("session_id", &input.session_id)?;
            Ok(service(ctx)?
                .close_session(&keys.context(ctx, Some(session))?, session, input.lock_delay)
                .await?
                .into())
        })
        .await
    }
}
