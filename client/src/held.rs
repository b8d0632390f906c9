//! A grant in the hands of this process: what keeps it, how its loss is noticed, and how it is given back.
//! Locks and leaderships share it.
//!
//! Invariant: a grant that ends by itself is reported lost before the cluster gives it to somebody else. The
//! deadline of a grant with a TTL counts on the local monotonic clock from when its renewal was *sent*; a grant
//! of a session is lost with the session. A grant that an operator takes away is noticed at the next check of a
//! session's grant, or at the next renewal.

use std::time::Duration;

use batuta_proto::v1::{CheckRequest, ExtendRequest, ReleaseRequest, ResignRequest};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::call::Call;
use crate::session::{Lease, Loss, SessionState, lost};
use crate::{Client, Error};

/// How often to check whether a grant was taken away, unless the caller says otherwise.
pub(crate) const POLL: Duration = Duration::from_secs(2);

/// What identifies a grant.
#[derive(Debug, Clone)]
pub(crate) struct Holding {
    /// The id by which the grant is renewed.
    pub(crate) id: String,
    /// The names that are held.
    pub(crate) names: Vec<String>,
    /// The token under which they are held.
    pub(crate) token: u64,
    /// The request that gives the grant back.
    pub(crate) give_back: GiveBack,
}

/// The request that gives a grant back.
#[derive(Debug, Clone)]
pub(crate) enum GiveBack {
    /// Releases locks.
    Release(ReleaseRequest),
    /// Resigns as the leader of an election.
    Resign(ResignRequest),
}

impl GiveBack {
    async fn send(self, client: &Client) -> Result<(), Error> {
        match self {
            Self::Release(request) => client.release(request).await.map(|_| ()),
            Self::Resign(request) => client.resign(request).await.map(|_| ()),
        }
    }
}

/// A grant that is kept and watched. Dropping it inside a Tokio runtime gives it back in the background.
#[derive(Debug)]
pub(crate) struct Held {
    client: Client,
    holding: Holding,
    lost: watch::Receiver<Option<Loss>>,
    keeper: Option<AbortHandle>,
    given_back: bool,
}

impl Held {
    /// Keeps a grant with a TTL of its own by renewing it. `dated` says whether the grant is known to be younger
    /// than the lease. After a wait, or under a key that may have been used before, it is not: the grant is
    /// then renewed first, because the time of a renewal is known.
    ///
    /// # Errors
    /// The renewal failed; the grant is given back.
    pub(crate) async fn with_ttl(
        client: &Client,
        holding: Holding,
        mut lease: Lease,
        dated: bool,
    ) -> Result<Self, Error> {
        let (sender, lost) = watch::channel(None);
        let id = holding.id.clone();
        // From here on, dropping `held` gives the grant back if it cannot be handed to the caller.
        let mut held = Self { client: client.clone(), holding, lost, keeper: None, given_back: false };
        if !dated {
            lease.sent = Instant::now();
            client.extend(extension(&id, lease.ttl)).await?;
        }
        held.keeper = Some(tokio::spawn(renew(client.clone(), id, lease, sender)).abort_handle());
        Ok(held)
    }

    /// Watches a grant that lives as long as a session, and checks every `poll` whether it was taken away.
    pub(crate) fn of_session(
        client: &Client,
        holding: Holding,
        session: watch::Receiver<SessionState>,
        poll: Duration,
    ) -> Self {
        let (sender, receiver) = watch::channel(None);
        let watched = (client.clone(), holding.clone());
        let keeper = tokio::spawn(async move {
            let loss = tokio::select! {
                loss = lost(session) => loss,
                loss = taken(&watched.0, &watched.1, poll) => loss,
            };
            sender.send_replace(Some(loss));
        })
        .abort_handle();
        Self { client: client.clone(), holding, lost: receiver, keeper: Some(keeper), given_back: false }
    }

    /// The client that took the grant.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Resolves with the reason and the time when the grant is lost.
    pub(crate) async fn loss(&self) -> Loss {
        let unwatched = || {
            let message = format!("{} is no longer watched", self.holding.names.join(", "));
            Loss::now(Error::new("lock_not_held", message, false))
        };
        let mut watched = self.lost.clone();
        match watched.wait_for(Option::is_some).await.map(|loss| loss.clone()) {
            Ok(Some(loss)) => loss,
            Ok(None) | Err(_) => unwatched(),
        }
    }

    /// Gives the grant back.
    ///
    /// # Errors
    /// The cluster's refusal, or that no node answered before the deadline.
    pub(crate) async fn give_back(mut self) -> Result<(), Error> {
        self.stop_keeping();
        let answer = self.holding.give_back.clone().send(&self.client).await;
        self.given_back = true;
        answer
    }

    fn stop_keeping(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.abort();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.stop_keeping();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.given_back || self.lost.borrow().is_some() {
            return;
        }
        let (client, give_back) = (self.client.clone(), self.holding.give_back.clone());
        runtime.spawn(async move {
            if let Err(error) = give_back.send(&client).await {
                tracing::warn!(%error, "giving back what was dropped failed");
            }
        });
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn extension(id: &str, ttl: Duration) -> ExtendRequest {
    ExtendRequest { lock_id: id.to_owned(), name: String::new(), ttl_ms: millis(ttl) }
}

/// Returns when the grant is no longer held. A process that was paused checks late; the loss then counts from
/// when it should have checked.
async fn taken(client: &Client, holding: &Holding, poll: Duration) -> Loss {
    loop {
        let since = Instant::now() + poll;
        sleep_until(since).await;
        for name in &holding.names {
            let request =
                CheckRequest { name: name.clone(), fencing_token: holding.token, ..CheckRequest::default() };
            match client.check(request).await {
                Ok(answer) if answer.current => {}
                Ok(_) => {
                    let message = format!("{name} was taken away");
                    return Loss { since, reason: Error::new("lock_not_held", message, false) };
                }
                // Not knowing is not losing: the session's own deadline bounds how long this can last.
                Err(error) => tracing::debug!(%error, "check of a grant failed"),
            }
        }
    }
}

async fn renew(client: Client, id: String, mut lease: Lease, sender: watch::Sender<Option<Loss>>) {
    let mut refused = None;
    let loss = loop {
        sleep_until(lease.renew_at()).await;
        let sent = Instant::now();
        // Without randomness there is no key; that is harmless, since a later extension replaces an earlier
        // one.
        let mut call = Call::write().unwrap_or_default();
        call.timeout = Some(lease.deadline().saturating_duration_since(sent));
        let asked = client.pipelined(extension(&id, lease.ttl), call);
        match timeout_at(lease.deadline(), asked).await {
            Ok(Ok(_)) => (lease.sent, refused) = (sent, None),
            Ok(Err(error)) if error.is_gone() => break Loss::now(error),
            Ok(Err(error)) => {
                tracing::debug!(%error, "extension failed");
                refused = error.is_access_refused().then_some(error);
                sleep_until(lease.deadline().min(Instant::now() + lease.ttl / 30)).await;
            }
            Err(_) => {
                let reason = Error::new("grant_ended", "no extension was answered in time", false);
                break Loss { since: lease.deadline(), reason: reason.because(refused) };
            }
        }
    };
    sender.send_replace(Some(loss));
}

#[cfg(test)]
#[path = "held_tests.rs"]
mod tests;
