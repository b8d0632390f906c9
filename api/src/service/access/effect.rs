//! What a change of access made, as the caller is shown it.

use std::sync::Arc;

use batuta_raft::Answer;
use batuta_statemachine::State;
use tokio::time::timeout;

use crate::ApiError;
use crate::service::admit::Permit;
use crate::service::caller::{Client, Identity};

/// What a caller is told that has to prove who it is.
pub(in crate::service) const NO_CREDENTIAL: &str =
    "this call needs a credential: send a token (`Authorization: Bearer TOKEN`)";

impl Permit {
    /// Returns a state that has the change of an answer, once this node has applied it. Nothing is decided on it: the change was allowed, even when
    /// it took the right from whoever made it.
    ///
    /// A credential that the change made is good on this node from then on.
    pub(super) async fn effect(&self, answer: &Answer) -> Result<Arc<State>, ApiError> {
        let mut applied = self.applied_revisions();
        let arrives = applied.wait_for(|revision| *revision >= answer.revision);
        // The change is made. Only what it made cannot be shown.
        let unknown = || {
            let waited_ms = u64::try_from(self.timeout().as_millis()).unwrap_or(u64::MAX);
            ApiError::OutcomeUnknown { waited_ms, keyed: self.is_keyed(), lock_id: None }
        };
        match timeout(self.timeout(), arrives).await {
            Ok(Ok(_)) => Ok(self.view()),
            Ok(Err(_)) | Err(_) => Err(unknown()),
        }
    }

    /// What the caller proved.
    pub(super) fn identity(&self) -> Result<&Identity, ApiError> {
        let identity = self.client().and_then(Client::identity);
        identity.ok_or(ApiError::Unauthenticated { problem: NO_CREDENTIAL })
    }
}
