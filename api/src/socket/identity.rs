//! Follows what the client of a connection proved: when it is about to end by time, and when it no longer holds.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::ApiError;
use crate::error::Code;
use crate::service::{Client, Service};

/// How long before its end a client learns that its credential ends.
const WARN_BEFORE: Duration = Duration::from_secs(30);
/// The longest time until the end is looked at again: a key that is replaced gets an earlier one.
const LOOK_MAX: Duration = Duration::from_secs(10);
/// How long requests in flight may take to be answered once the identity of their client is lost.
pub(crate) const LOST_GRACE: Duration = Duration::from_millis(500);

/// The reason in the close frame of a connection whose client is refused. It begins with the code of the error.
pub(crate) fn refused_reason(code: Code) -> &'static str {
    match code {
        Code::TokenExpired => "token_expired: connect with a new token",
        Code::TokenRevoked => "token_revoked: the credential was deleted",
        Code::PrincipalSuspended => "principal_suspended: ask an administrator",
        other => other.as_str(),
    }
}

/// What became of the identity of a client.
pub(crate) enum IdentityNews {
    /// The credential ends in this time. Told once.
    Expiring { left: Duration },
    /// What the client proved no longer holds: the connection must end. Nothing is told after it.
    Lost(ApiError),
}

/// Follows the identity of one client. An anonymous client has nothing to lose, so that nothing is ever told about it.
pub(crate) struct IdentityWatch {
    service: Service,
    client: Client,
    lost: Pin<Box<dyn Future<Output = ApiError> + Send + Sync>>,
    /// When to look how long the credential lasts; `None` for anonymous clients, and once its end was told.
    look_at: Option<Instant>,
}

impl IdentityWatch {
    pub(crate) fn new(service: &Service, client: &Client) -> Self {
        let (own, whose) = (service.clone(), client.clone());
        let lost = Box::pin(async move { own.identity_lost(whose).await });
        let look_at =
            client.identity().map(|_| next_look(Instant::now(), service.identity_expires_in(client)));
        Self { service: service.clone(), client: client.clone(), lost, look_at }
    }

    /// Waits for the next news. Cancel-safe.
    pub(crate) async fn next(&mut self) -> IdentityNews {
        loop {
            tokio::select! {
                biased;
                error = &mut self.lost => return IdentityNews::Lost(error),
                () = at(self.look_at) => {}
            }
            let left = self.service.identity_expires_in(&self.client);
            if let Some(left) = left.filter(|left| *left <= WARN_BEFORE) {
                self.look_at = None;
                return IdentityNews::Expiring { left };
            }
            self.look_at = Some(next_look(Instant::now(), left));
        }
    }
}

/// When to look at a credential that lasts this long from now on: when it is time to warn, or earlier.
fn next_look(now: Instant, left: Option<Duration>) -> Instant {
    now + left.map_or(LOOK_MAX, |left| left.saturating_sub(WARN_BEFORE).min(LOOK_MAX))
}

/// Resolves at an instant; never without one.
async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_comes_in_time_for_the_warning() {
        let now = Instant::now();
        for (left_s, look_s) in [
            (Some(0), 0),
            (Some(29), 0),
            (Some(30), 0),
            (Some(31), 1),
            (Some(36), 6),
            (Some(3_600), 10),
            (None, 10),
        ] {
            let look = next_look(now, left_s.map(Duration::from_secs)) - now;
            assert_eq!(look, Duration::from_secs(look_s), "{left_s:?}");
        }
    }

    #[test]
    fn reason_begins_with_the_code() {
        for code in [Code::TokenExpired, Code::TokenRevoked, Code::PrincipalSuspended, Code::InvalidToken] {
            assert!(refused_reason(code).starts_with(code.as_str()), "{code}");
        }
    }
}
