//! `batuta.v1.SessionService`.

use batuta_proto::v1;
use batuta_proto::v1::session_service_server::SessionService;
use tonic::{Request, Response, Status};

use batuta_statemachine::SessionId;
use batuta_statemachine::session::SessionView;

use super::{Front, OfSession, calls_of_the_front, consistency, context};
use crate::ApiError;
use crate::service::parse::{self, parse_session_id};
use crate::service::session::{KeptAlive, ListRequest, OpenRequest};
use crate::service::{At, CallContext, Clock, Page, rfc3339};

pub(super) fn session_message(view: SessionView, clock: Clock) -> v1::Session {
    v1::Session {
        session_id: view.session.to_string(),
        namespace: view.namespace.to_string(),
        ttl_ms: view.ttl_ms,
        remaining_ms: clock.remaining_ms(view.deadline_ms),
        opened_at: rfc3339(view.opened_wall_ms),
        expires_at: clock.text_of(view.deadline_ms),
        metadata: view.metadata,
        locks_held: view.grants,
        locks_waiting: view.waits,
    }
}

pub(super) fn kept_message(at: &At<KeptAlive>) -> v1::KeepAliveResponse {
    let KeptAlive { session, ttl_ms } = at.value;
    v1::KeepAliveResponse { session_id: session.to_string(), ttl_ms, revision: at.revision }
}

calls_of_the_front! {
    SessionService {}
    open_session(OpenSessionRequest) -> OpenSessionResponse;
    keep_alive(KeepAliveRequest) -> KeepAliveResponse;
    close_session(CloseSessionRequest) -> CloseSessionResponse;
    get_session(GetSessionRequest) -> GetSessionResponse;
    list_sessions(ListSessionsRequest) -> ListSessionsResponse;
}

macro_rules! of_their_session {
    ($($request:ident)*) => {$(
        impl OfSession for v1::$request {
            fn session(&self) -> Result<Option<SessionId>, ApiError> {
                parse_session_id("session_id", &self.session_id).map(Some)
            }
        }
    )*};
}

of_their_session! { KeepAliveRequest CloseSessionRequest GetSessionRequest }
impl OfSession for v1::OpenSessionRequest {}
impl OfSession for v1::ListSessionsRequest {}

impl Front {
    pub(super) async fn open_session(
        &self,
        context: &CallContext,
        message: v1::OpenSessionRequest,
    ) -> Result<v1::OpenSessionResponse, ApiError> {
        let v1::OpenSessionRequest { ttl_ms, metadata } = message;
        let at = self.service.open_session(context, OpenRequest { ttl_ms, metadata }).await?;
        let session = Some(session_message(at.value, at.clock));
        Ok(v1::OpenSessionResponse { session, revision: at.revision })
    }

    pub(super) async fn keep_alive(
        &self,
        context: &CallContext,
        message: v1::KeepAliveRequest,
    ) -> Result<v1::KeepAliveResponse, ApiError> {
        let session = parse_session_id("session_id", &message.session_id)?;
        Ok(kept_message(&self.service.keep_alive(context, session).await?))
    }

    pub(super) async fn close_session(
        &self,
        context: &CallContext,
        message: v1::CloseSessionRequest,
    ) -> Result<v1::CloseSessionResponse, ApiError> {
        let session = parse_session_id("session_id", &message.session_id)?;
        let at = self.service.close_session(context, session, message.lock_delay).await?;
        Ok(v1::CloseSessionResponse {
            released_locks: at.value.released_locks,
            cancelled_waits: at.value.cancelled_waits,
            revision: at.revision,
        })
    }

    pub(super) async fn get_session(
        &self,
        context: &CallContext,
        message: v1::GetSessionRequest,
    ) -> Result<v1::GetSessionResponse, ApiError> {
        let session = parse_session_id("session_id", &message.session_id)?;
        let consistency = consistency(message.consistency)?;
        let at = self.service.get_session(context, session, consistency).await?;
        let session = Some(session_message(at.value, at.clock));
        Ok(v1::GetSessionResponse { session, revision: at.revision })
    }

    pub(super) async fn list_sessions(
        &self,
        context: &CallContext,
        message: v1::ListSessionsRequest,
    ) -> Result<v1::ListSessionsResponse, ApiError> {
        let consistency = consistency(message.consistency)?;
        let after = parse::session_cursor(Some(&message.cursor))?;
        let list = ListRequest { limit: Some(message.limit), after };
        let At { revision, clock, value: Page { items, next, filtered } } =
            self.service.list_sessions(context, &list, consistency).await?;
        Ok(v1::ListSessionsResponse {
            sessions: items.into_iter().map(|view| session_message(view, clock)).collect(),
            next_cursor: next.map(parse::session_cursor_text).unwrap_or_default(),
            filtered,
            revision,
        })
    }
}
