//! A session that keeps itself alive.
//!
//! The deadline counts on the local monotonic clock from when a keep-alive was *sent*. The cluster renews the
//! session at some later time, so as long as answers arrive, the session never ends in the cluster before it
//! is reported lost here.

use std::time::Duration;

use batuta_proto::v1::{
    AcquireRequest, CampaignRequest, CloseSessionRequest, KeepAliveRequest, OpenSessionRequest,
};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::call::Call;
use crate::election::{CampaignOptions, Election};
use crate::held::millis;
use crate::lock::{Lock, LockOptions};
use crate::{Client, Error};

/// The state of a session as far as the client knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionState {
    /// The cluster renewed the session within its time to live.
    Alive,
    /// The session ended, or may have ended.
    Lost(Loss),
}

/// The loss of a session, lock or leadership, certain or possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// From when on it cannot be relied on. A process that was paused learns of the loss later.
    pub since: Instant,
    /// Why it was lost.
    pub reason: Error,
}

impl Loss {
    pub(crate) fn now(reason: Error) -> Self {
        Self { since: Instant::now(), reason }
    }
}

/// An open session. Dropping it stops the keep-alives; `close` ends it at once.
#[derive(Debug)]
pub struct Session {
    client: Client,
    id: String,
    state: watch::Receiver<SessionState>,
    keeper: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Client {
    /// Opens a session and renews it every third of its time to live.
    ///
    /// # Errors
    /// The cluster's refusal, or that no node answered before the deadline.
    pub async fn open_session(&self, ttl: Duration) -> Result<Session, Error> {
        let sent = Instant::now();
        let request = OpenSessionRequest { ttl_ms: millis(ttl), metadata: String::new() };
        let session = self
            .open_raw_session(request)
            .await?
            .session
            .ok_or_else(|| Error::new("internal", "an answer without a session", false))?;
        let (sender, state) = watch::channel(SessionState::Alive);
        let keeper = keep(self.clone(), session.session_id.clone(), Lease { sent, ttl }, sender);
        let keeper = tokio::spawn(keeper).abort_handle();
        Ok(Session { client: self.clone(), id: session.session_id, state, keeper })
    }
}

impl Session {
    /// The session's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The session's state, as a channel that follows its changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<SessionState> {
        self.state.clone()
    }

    /// Resolves with the reason when the session is lost.
    pub async fn lost(&self) -> Error {
        lost(self.state.clone()).await.reason
    }

    /// Takes locks that live as long as the session.
    ///
    /// # Errors
    /// `lock_held`, `wait_timeout`, `deadlock`, … as the cluster answers.
    pub async fn acquire(&self, options: LockOptions) -> Result<Lock, Error> {
        let request = AcquireRequest { session_id: self.id.clone(), ttl_ms: None, ..options.request() };
        let grant = self.client.acquire_granted(request, options.key.clone()).await?;
        Ok(Lock::of_session(&self.client, grant, self.state.clone(), options.poll))
    }

    /// Stands as a candidate, and leads for as long as the session lives.
    ///
    /// # Errors
    /// `lock_held` when somebody else leads, `wait_timeout`, `deadlock`, … as the cluster answers.
    pub async fn campaign(&self, options: CampaignOptions) -> Result<Election, Error> {
        let request = CampaignRequest { session_id: self.id.clone(), ttl_ms: None, ..options.request() };
        let leader = self.client.elected(request, options.key.clone()).await?;
        Ok(Election::of_session(&self.client, leader, self.state.clone(), options.poll))
    }

    /// Ends the session and everything it owns.
    ///
    /// # Errors
    /// The cluster's refusal, or that no node answered before the deadline.
    pub async fn close(self) -> Result<(), Error> {
        self.keeper.abort();
        let request = CloseSessionRequest { session_id: self.id.clone(), ..CloseSessionRequest::default() };
        self.client.close_session(request).await.map(|_| ())
    }
}

pub(crate) async fn lost(mut state: watch::Receiver<SessionState>) -> Loss {
    loop {
        if let SessionState::Lost(loss) = &*state.borrow_and_update() {
            return loss.clone();
        }
        if state.changed().await.is_err() {
            return Loss::now(Error::new("session_closed", "the session is no longer kept alive", false));
        }
    }
}

/// A time to live and the moment at which it was requested.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lease {
    pub(crate) sent: Instant,
    pub(crate) ttl: Duration,
}

impl Lease {
    pub(crate) fn deadline(self) -> Instant {
        self.sent + self.ttl
    }

    pub(crate) fn renew_at(self) -> Instant {
        self.sent + self.ttl / 3
    }
}

async fn keep(client: Client, session_id: String, mut lease: Lease, state: watch::Sender<SessionState>) {
    let mut refused = None;
    let loss = loop {
        sleep_until(lease.renew_at()).await;
        let sent = Instant::now();
        let left = lease.deadline().saturating_duration_since(sent);
        if left.is_zero() {
            break expired(lease, refused);
        }
        // The call gets all of the remaining time: within it, the call tries one node after another and waits
        // for none alone.
        let call = Call { timeout: Some(left), ..Call::read() };
        let request = KeepAliveRequest { session_id: session_id.clone() };
        let asked = client.pipelined(request, call);
        match timeout_at(lease.deadline(), asked).await {
            Ok(Ok(_)) => (lease.sent, refused) = (sent, None),
            Ok(Err(error)) if error.is_gone() => break Loss::now(error),
            // Not renewed yet: ask again at once while time remains; the call itself paused between attempts.
            Ok(Err(error)) => {
                tracing::debug!(code = error.code, "keep-alive failed");
                refused = error.is_access_refused().then_some(error);
                sleep_until(lease.deadline().min(Instant::now() + lease.ttl / 30)).await;
            }
            Err(_) => break expired(lease, refused),
        }
    };
    state.send_replace(SessionState::Lost(loss));
}

/// The loss at the end of the time to live; `refused` is why the last keep-alive was refused, if it was.
fn expired(lease: Lease, refused: Option<Error>) -> Loss {
    let reason = Error::new("session_expired", "no keep-alive was answered within the time to live", false);
    Loss { since: lease.deadline(), reason: reason.because(refused) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::client_of;

    #[test]
    fn the_deadline_counts_from_the_sending() {
        let sent = Instant::now();
        let lease = Lease { sent, ttl: Duration::from_secs(9) };
        assert_eq!(lease.renew_at() - sent, Duration::from_secs(3));
        assert_eq!(lease.deadline() - sent, Duration::from_secs(9));
        assert_eq!(expired(lease, None).since, lease.deadline());
        let refused = Error::new("permission_denied", "user/ann may not", false);
        let reason = expired(lease, Some(refused)).reason;
        assert_eq!(reason.code, "session_expired");
        assert!(reason.message.ends_with("time to live: user/ann may not (permission_denied)"), "{reason}");
    }

    #[tokio::test]
    async fn unanswered_session_is_lost_at_its_deadline() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("bound").to_string();
        drop(free);
        let client = client_of(&address);
        let lease = Lease { sent: Instant::now(), ttl: Duration::from_millis(300) };
        let (sender, state) = watch::channel(SessionState::Alive);
        tokio::spawn(keep(client, "s-1".to_owned(), lease, sender));
        let loss = lost(state).await;
        assert_eq!((loss.since, loss.reason.code.as_str()), (lease.deadline(), "session_expired"));
        assert!(Instant::now() >= lease.deadline());
    }
}
