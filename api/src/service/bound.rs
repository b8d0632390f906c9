//! Sessions that are bound to their opener, such as a connection, and end with it.

use batuta_statemachine::{Code, SessionId};
use tokio::time::{Duration, sleep};

use super::session::OpenRequest;
use super::{At, CallContext, Caller, Service};
use crate::ApiError;
use crate::client_work::client_work;
use batuta_statemachine::session::SessionView;

/// How often closing is attempted, and the pause between two attempts. After that the session ends by its TTL.
const CLOSE_TRIES: u32 = 5;
const CLOSE_PAUSE: Duration = Duration::from_millis(500);

/// Closes its session when dropped.
pub struct BoundSession {
    service: Service,
    context: CallContext,
    session: SessionId,
    armed: bool,
}

impl BoundSession {
    /// Drops the duty to close the session: it is already closed, or lives on.
    pub fn settle(mut self) {
        self.armed = false;
    }
}

impl Service {
    /// Opens a session that is closed when the returned value, or this future, is dropped.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn open_bound_session(
        &self,
        context: &CallContext,
        request: OpenRequest,
    ) -> Result<At<(SessionView, BoundSession)>, ApiError> {
        // In its own task, so that no session is left behind when the caller leaves before the session is known.
        let (service, context) = (self.clone(), context.clone());
        let task = self.inner.background.spawn(client_work(async move {
            let opened = service.open_session(&context, request).await?;
            let session = opened.value.session;
            let caller = Caller::Node("close a bound session");
            let context = CallContext { caller, dedup: None, ..context };
            let bound = BoundSession { service, context, session, armed: true };
            Ok(opened.map(|view| (view, bound)))
        }));
        task.await
            .unwrap_or_else(|error| Err(ApiError::Internal(format!("the proposal's task failed: {error}"))))
    }
}

impl Drop for BoundSession {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let (service, context, session) = (self.service.clone(), self.context.clone(), self.session);
        let inner = &self.service.inner;
        inner.background.spawn_on(close(service, context, session), &inner.runtime);
    }
}

async fn close(service: Service, context: CallContext, session: SessionId) {
    for _ in 0..CLOSE_TRIES {
        match service.close_session(&context, session, false).await {
            Ok(_) => return,
            Err(error) if error.code() == Code::SessionNotFound => return,
            Err(error) => tracing::debug!(%session, %error, "closing a bound session: trying again"),
        }
        sleep(CLOSE_PAUSE).await;
    }
    tracing::warn!(%session, "a bound session could not be closed; it ends by its time to live");
}
