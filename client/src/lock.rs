//! Held locks and the ways they end.

use std::time::Duration;

use batuta_proto::v1::{
    AcquireRequest, CheckRequest, DowngradeRequest, ExtendRequest, Grant, LockMode, LockRequest,
    ReleaseRequest, SetMetadataRequest,
};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::call::Call;
use crate::session::{Lease, Loss, SessionState, lost};
use crate::{Client, Error};

/// How often a held lock is checked for a forced release.
const POLL: Duration = Duration::from_secs(2);

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

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A held lock. Dropping it inside a Tokio runtime releases it in the background; `release` reports whether
/// that worked.
#[derive(Debug)]
pub struct Lock {
    client: Client,
    grant: Grant,
    lost: watch::Receiver<Option<Loss>>,
    guard: Option<AbortHandle>,
    held: bool,
}

impl Client {
    /// Takes a one-shot lock, extended automatically while the guard lives.
    ///
    /// # Errors
    /// `lock_held`, `wait_timeout`, … as the cluster answers.
    pub async fn acquire(&self, options: LockOptions, ttl: Duration) -> Result<Lock, Error> {
        let mut lease = Lease { sent: Instant::now(), ttl };
        let request = AcquireRequest { ttl_ms: Some(millis(ttl)), ..options.request() };
        let grant = self.acquire_granted(request, options.key.clone()).await?;
        let (sender, lost) = watch::channel(None);
        // From here on, dropping `lock` releases it if it cannot be handed to the caller.
        let mut lock = Lock { client: self.clone(), grant, lost, guard: None, held: true };
        if !options.wait.is_zero() || options.key.is_some() {
            // After a wait, or under a key that may have been used before, the time of the grant is not known
            // here. The time of a renewal is.
            lease.sent = Instant::now();
            self.extend(extension(lock.lock_id(), ttl)).await?;
        }
        let renewal = renew(self.clone(), lock.lock_id().to_owned(), lease, sender);
        lock.guard = Some(tokio::spawn(renewal).abort_handle());
        Ok(lock)
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
        client: Client,
        grant: Grant,
        session: watch::Receiver<SessionState>,
        poll: Duration,
    ) -> Self {
        let (sender, receiver) = watch::channel(None);
        let watched = (client.clone(), grant.clone());
        let guard = tokio::spawn(async move {
            let loss = tokio::select! {
                loss = lost(session) => loss,
                loss = taken(&watched.0, &watched.1, poll) => loss,
            };
            sender.send_replace(Some(loss));
        })
        .abort_handle();
        Self { client, grant, lost: receiver, guard: Some(guard), held: true }
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
        let mut watched = self.lost.clone();
        match watched.wait_for(Option::is_some).await.map(|loss| loss.clone()) {
            Ok(Some(loss)) => loss,
            Ok(None) | Err(_) => {
                Loss::now(Error::new("lock_not_held", "the lock is no longer watched", false))
            }
        }
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
        let answer = self.client.downgrade(request).await?;
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
        let answer = self.client.set_metadata(request).await?;
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
    pub async fn release(mut self) -> Result<(), Error> {
        self.unguard();
        let request = self.giving_back();
        let answer = self.client.release(request).await;
        self.held = false;
        answer.map(|_| ())
    }
}

impl Lock {
    fn giving_back(&self) -> ReleaseRequest {
        ReleaseRequest { lock_id: self.grant.lock_id.clone(), ..ReleaseRequest::default() }
    }

    fn unguard(&self) {
        if let Some(guard) = &self.guard {
            guard.abort();
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.unguard();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !self.held || self.lost.borrow().is_some() {
            return;
        }
        let client = self.client.clone();
        let request = self.giving_back();
        runtime.spawn(async move {
            if let Err(error) = client.release(request).await {
                tracing::warn!(%error, "releasing a dropped lock failed");
            }
        });
    }
}

fn extension(lock_id: &str, ttl: Duration) -> ExtendRequest {
    ExtendRequest { lock_id: lock_id.to_owned(), name: String::new(), ttl_ms: millis(ttl) }
}

/// Returns when the grant is no longer held. A process that was paused checks late; the loss then counts from
/// when it should have checked.
async fn taken(client: &Client, grant: &Grant, poll: Duration) -> Loss {
    loop {
        let since = Instant::now() + poll;
        sleep_until(since).await;
        for lock in &grant.locks {
            let request = CheckRequest {
                name: lock.name.clone(),
                fencing_token: grant.fencing_token,
                ..CheckRequest::default()
            };
            match client.check(request).await {
                Ok(answer) if answer.current => {}
                Ok(_) => {
                    let message = format!("{} was taken away", lock.name);
                    return Loss { since, reason: Error::new("lock_not_held", message, false) };
                }
                // Not knowing is not losing: the session's own deadline bounds how long this can last.
                Err(error) => tracing::debug!(%error, "check of a held lock failed"),
            }
        }
    }
}

async fn renew(client: Client, lock_id: String, mut lease: Lease, sender: watch::Sender<Option<Loss>>) {
    let loss = loop {
        sleep_until(lease.renew_at()).await;
        let sent = Instant::now();
        // Without randomness there is no key; that is harmless, since a later extension replaces an earlier
        // one.
        let mut call = Call::write().unwrap_or_default();
        call.timeout = Some(lease.deadline().saturating_duration_since(sent));
        let asked = client.pipelined(extension(&lock_id, lease.ttl), call);
        match timeout_at(lease.deadline(), asked).await {
            Ok(Ok(_)) => lease.sent = sent,
            Ok(Err(error)) if error.is_gone() => break Loss::now(error),
            Ok(Err(error)) => {
                tracing::debug!(%error, "extension failed");
                sleep_until(lease.deadline().min(Instant::now() + lease.ttl / 30)).await;
            }
            Err(_) => {
                let reason = Error::new("grant_ended", "no extension was answered in time", false);
                break Loss { since: lease.deadline(), reason };
            }
        }
    };
    sender.send_replace(Some(loss));
}
