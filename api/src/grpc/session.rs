//! `batuta.v1.SessionService`.

use batuta_proto::v1;
use batuta_proto::v1::session_service_server::SessionService;
use tonic::{Request, Response, Status};

use super::{Front, consistency, context, page};
use crate::service::parse::parse_session_id;
use crate::service::session::{ListRequest, OpenRequest, Session};

pub(super) fn session_message(session: Session) -> v1::Session {
    v1::Session {
        session_id: session.session_id.to_string(),
        namespace: session.namespace.to_string(),
        ttl_ms: session.ttl_ms,
        remaining_ms: session.remaining_ms,
        opened_at: session.opened_at,
        expires_at: session.expires_at,
        metadata: session.metadata,
        locks_held: session.locks_held,
        locks_waiting: session.locks_waiting,
    }
}

#[tonic::async_trait]
impl SessionService for Front {
    async fn open_session(
        &self,
        request: Request<v1::OpenSessionRequest>,
    ) -> Result<Response<v1::OpenSessionResponse>, Status> {
        let context = context(request.metadata(), None)?;
        let v1::OpenSessionRequest { ttl_ms, metadata } = request.into_inner();
        let at = self.service.open_session(&context, OpenRequest { ttl_ms, metadata }).await?;
        let session = Some(session_message(at.value));
        Ok(Response::new(v1::OpenSessionResponse { session, revision: at.revision }))
    }

    async fn keep_alive(
        &self,
        request: Request<v1::KeepAliveRequest>,
    ) -> Result<Response<v1::KeepAliveResponse>, Status> {
        let session = parse_session_id("session_id", &request.get_ref().session_id)?;
        let context = context(request.metadata(), Some(session))?;
        let at = self.service.keep_alive(&context, session).await?;
        Ok(Response::new(v1::KeepAliveResponse {
            session_id: at.value.session_id.to_string(),
            ttl_ms: at.value.ttl_ms,
            revision: at.revision,
        }))
    }

    async fn close_session(
        &self,
        request: Request<v1::CloseSessionRequest>,
    ) -> Result<Response<v1::CloseSessionResponse>, Status> {
        let session = parse_session_id("session_id", &request.get_ref().session_id)?;
        let context = context(request.metadata(), Some(session))?;
        let at = self.service.close_session(&context, session).await?;
        Ok(Response::new(v1::CloseSessionResponse {
            released_locks: at.value.released_locks,
            cancelled_waits: at.value.cancelled_waits,
            revision: at.revision,
        }))
    }

    async fn get_session(
        &self,
        request: Request<v1::GetSessionRequest>,
    ) -> Result<Response<v1::GetSessionResponse>, Status> {
        let session = parse_session_id("session_id", &request.get_ref().session_id)?;
        let context = context(request.metadata(), Some(session))?;
        let consistency = consistency(request.get_ref().consistency)?;
        let at = self.service.get_session(&context, session, consistency).await?;
        let session = Some(session_message(at.value));
        Ok(Response::new(v1::GetSessionResponse { session, revision: at.revision }))
    }

    async fn list_sessions(
        &self,
        request: Request<v1::ListSessionsRequest>,
    ) -> Result<Response<v1::ListSessionsResponse>, Status> {
        let context = context(request.metadata(), None)?;
        let request = request.into_inner();
        let consistency = consistency(request.consistency)?;
        let (limit, cursor) = page(request.limit, request.cursor);
        let at = self.service.list_sessions(&context, &ListRequest { limit, cursor }, consistency).await?;
        Ok(Response::new(v1::ListSessionsResponse {
            sessions: at.value.items.into_iter().map(session_message).collect(),
            next_cursor: at.value.next_cursor.unwrap_or_default(),
            revision: at.revision,
        }))
    }
}
