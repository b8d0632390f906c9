//! Locks that this process holds.

use std::time::Duration;

use batuta_proto::v1::{
    AcquireRequest, DowngradeRequest, Grant, LockMode, LockRequest, ReleaseRequest, SetMetadataRequest,
};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::held::{GiveBack, Held, Holding, POLL, millis};
use crate::session::{Lease, Loss, SessionState};
use crate::{Client, Error};

/// The locks to take, and how.
#[derive(Debug, Clone)]
pub struct LockOptions {
    /// Locks to take, all or nothing.
    pub locks: Vec<LockRequest>,
    /// The owner's label; empty for none.
    pub owner: String,
    /// How long to queue; zero means answer at once.
    pub wait: Duration,
    /// How long the locks stay closed to others after an involuntary loss.
    pub lock_delay: Duration,
    /// Retry key, with which another process can find the same lock; a fresh one when absent.
    pub key: Option<String>,
    /// How often to check whether the lock was taken away.
    pub poll: Duration,
}

impl LockOptions {
    /// One exclusive lock, without waiting.
    #[must_use]
    pub fn exclusive(name: impl Into<String>) -> Self {
        let lock =
            LockRequest { name: name.into(), mode: LockMode::Exclusive.into(), ..LockRequest::default() };
        Self {
            locks: vec![lock],
            owner: String::new(),
            wait: Duration::ZERO,
            lock_delay: Duration::ZERO,
            key: None,
            poll: POLL,
        }
    }

    pub(crate) fn request(&self) -> AcquireRequest {
        AcquireRequest {
            locks: self.locks.clone(),
            owner: self.owner.clone(),
            wait_ms: millis(self.wait),
            lock_delay_ms: millis(self.lock_delay),
            ..AcquireRequest::default()
        }
    }
}

/// A held lock. Dropping it inside a Tokio runtime releases it in the background; `release` reports whether
/// that worked.
#[derive(Debug)]
pub struct Lock {
    held: Held,
    grant: Grant,
}

impl Client {
    /// Takes a one-shot lock, extended automatically while the guard lives.
    ///
    /// # Errors
    /// `lock_held`, `wait_timeout`, … as the cluster answers.
    pub async fn acquire(&self, options: LockOptions, ttl: Duration) -> Result<Lock, Error> {
        let lease = Lease { sent: Instant::now(), ttl };
        let request = AcquireRequest { ttl_ms: Some(millis(ttl)), ..options.request() };
        let grant = self.acquire_granted(request, options.key.clone()).await?;
        let dated = options.wait.is_zero() && options.key.is_none();
        let held = Held::with_ttl(self, holding(&grant), lease, dated).await?;
        Ok(Lock { held, grant })
    }

    pub(crate) async fn acquire_granted(
        &self,
        request: AcquireRequest,
        key: Option<String>,
    ) -> Result<Grant, Error> {
        let answer = self.acquire_detached(request, key).await?;
        answer.grant.ok_or_else(|| Error::new("internal", "an answer without a grant", false))
    }
}

impl Lock {
    pub(crate) fn of_session(
        client: &Client,
        grant: Grant,
        session: watch::Receiver<SessionState>,
        poll: Duration,
    ) -> Self {
        Self { held: Held::of_session(client, holding(&grant), session, poll), grant }
    }

    /// The fencing token. Send it to the resource with every write.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.grant.fencing_token
    }

    /// The id of this grant.
    #[must_use]
    pub fn lock_id(&self) -> &str {
        &self.grant.lock_id
    }

    /// The whole grant as the cluster answered it.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Resolves with the reason when the lock is lost.
    pub async fn lost(&self) -> Error {
        self.loss().await.reason
    }

    /// Resolves with the reason and the time when the lock is lost.
    pub async fn loss(&self) -> Loss {
        self.held.loss().await
    }

    /// Turns the exclusive locks of the grant into shared ones without letting go of them. The token stays.
    ///
    /// # Errors
    /// `lock_not_held` when it is lost, `mode_mismatch` when it holds semaphores only; otherwise as the cluster answers.
    pub async fn downgrade(&mut self) -> Result<(), Error> {
        let request = DowngradeRequest {
            lock_id: self.grant.lock_id.clone(),
            session_id: self.grant.session_id.clone(),
            ..DowngradeRequest::default()
        };
        let answer = self.held.client().downgrade(request).await?;
        self.changed(answer.grant)
    }

    /// Replaces the free text of the grant; watchers see the change.
    ///
    /// # Errors
    /// `lock_not_held` when it is lost; otherwise as the cluster answers.
    pub async fn set_metadata(&mut self, metadata: impl Into<String>) -> Result<(), Error> {
        let request = SetMetadataRequest {
            lock_id: self.grant.lock_id.clone(),
            session_id: self.grant.session_id.clone(),
            metadata: metadata.into(),
            ..SetMetadataRequest::default()
        };
        let answer = self.held.client().set_metadata(request).await?;
        self.changed(answer.grant)
    }

    fn changed(&mut self, grant: Option<Grant>) -> Result<(), Error> {
        self.grant = grant.ok_or_else(|| Error::new("internal", "an answer without a grant", false))?;
        Ok(())
    }

    /// Releases the lock.
    ///
    /// # Errors
    /// The cluster's refusal, or that no node answered before the deadline.
    pub async fn release(self) -> Result<(), Error> {
        self.held.give_back().await
    }
}

fn holding(grant: &Grant) -> Holding {
    let release = ReleaseRequest { lock_id: grant.lock_id.clone(), ..ReleaseRequest::default() };
    Holding {
        id: grant.lock_id.clone(),
        names: grant.locks.iter().map(|lock| lock.name.clone()).collect(),
        token: grant.fencing_token,
        give_back: GiveBack::Release(release),
    }
}
