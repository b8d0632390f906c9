//! Checks passwords for logins and for changes of passwords.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;

use batuta_statemachine::access::Password;
use batuta_statemachine::{Principal, PrincipalName, State};

use crate::ApiError;
use crate::access::Secret;
use crate::access::audit::{Decision, Event, Kind};
use crate::access::password::{
    Attempt, CheckError, PasswordOptions, Passwords, Phc, Throttle, ThrottleOptions,
};
use crate::service::Service;
use crate::service::admit::Permit;
use crate::service::caller::Client;

/// The limits on checking passwords on this node.
pub(in crate::service) struct Logins {
    options: PasswordOptions,
    /// Made with the first password, because that can fail: then the call fails, and the next one tries again.
    passwords: OnceLock<Passwords>,
    throttle: Throttle,
}

impl Logins {
    pub(in crate::service) fn new(options: PasswordOptions, throttle: ThrottleOptions) -> Self {
        Self { options, passwords: OnceLock::new(), throttle: Throttle::new(throttle) }
    }

    fn passwords(&self) -> Result<&Passwords, ApiError> {
        if let Some(passwords) = self.passwords.get() {
            return Ok(passwords);
        }
        let made = Passwords::new(self.options).map_err(|error| failed(CheckError::Failed(error)))?;
        Ok(self.passwords.get_or_init(|| made))
    }

    /// Begins a check of the password of a user, which counts as failed until it is known to be right.
    ///
    /// # Errors
    /// `rate_limited` after too many failures.
    pub(super) fn begin(&self, user: &PrincipalName, client: Option<&Client>) -> Result<Attempt, ApiError> {
        let ip = client.and_then(Client::ip).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        self.throttle.begin(user, ip).map_err(|throttled| ApiError::RateLimited {
            limit: "failed_logins",
            retry_after_ms: throttled.retry_after_ms,
        })
    }

    /// Whether a password is the stored one. Without a stored one the answer is no, after the same time.
    ///
    /// # Errors
    /// `auth_busy`, `internal`. Then the attempt does not count.
    pub(super) async fn check(
        &self,
        attempt: Attempt,
        password: Secret,
        stored: Option<&Password>,
    ) -> Result<bool, ApiError> {
        let passwords = match self.passwords() {
            Ok(passwords) => passwords,
            Err(error) => {
                attempt.not_checked();
                return Err(error);
            }
        };
        match passwords.check(password, stored.map(|password| password.phc.expose())).await {
            Ok(true) => {
                attempt.succeeded();
                Ok(true)
            }
            Ok(false) => Ok(false),
            Err(error) => {
                attempt.not_checked();
                Err(failed(error))
            }
        }
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// `auth_busy`, `internal`.
    pub(super) async fn hash(&self, password: Secret) -> Result<Phc, ApiError> {
        self.passwords()?.hash(password).await.map_err(failed)
    }
}

fn failed(error: CheckError) -> ApiError {
    match error {
        CheckError::Busy { waiting_max } => ApiError::AuthBusy { waiting_max },
        CheckError::Failed(error) => ApiError::Internal(format!("a password cannot be checked: {error}")),
    }
}

/// What a check of a password needs of a user. It does not keep the state that it was read from, which the check outlives by far.
#[derive(Debug)]
pub(super) struct Account {
    /// The user, if it exists.
    pub(super) user: Option<Principal>,
    pub(super) password: Option<Password>,
    pub(super) suspended: bool,
    /// The revision at which this was true.
    pub(super) revision: u64,
}

impl Account {
    pub(super) fn of(state: &State, principal: &Principal) -> Self {
        let record = state.principal_id(principal).and_then(|id| state.principal(id));
        Self {
            user: record.map(|record| record.principal.clone()),
            password: record.and_then(|record| record.password.clone()),
            suspended: record.is_some_and(|record| record.suspended),
            revision: state.revision(),
        }
    }
}

impl Service {
    /// Writes a refused password into the audit, and returns the error. The name of a user that does not exist is left out: it may be a password
    /// that was typed into the wrong field. What the throttle refuses is not written, so that a flood of guesses does not push out older lines.
    pub(super) fn refuse_password(&self, permit: &Permit, account: &Account, error: ApiError) -> ApiError {
        self.inner.record(|| Event {
            principal: account.user.as_ref().map(Principal::to_string),
            ip: permit.client().and_then(Client::ip),
            front: permit.client().map(Client::front),
            decision: Some(Decision::Refused),
            why: Some(error.code().as_str().to_owned()),
            revision: Some(account.revision),
            ..Event::new(Kind::AuthFailed)
        });
        error
    }
}

#[cfg(test)]
mod tests {
    use batuta_statemachine::Code;
    use batuta_statemachine::access::PasswordHash;

    use super::*;
    use crate::access::password::Cost;

    fn word(text: &str) -> PrincipalName {
        PrincipalName::new(text).unwrap()
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn logins(queue_max: usize) -> Logins {
        let cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };
        Logins::new(PasswordOptions { cost, at_once_max: 1, queue_max }, ThrottleOptions::default())
    }

    async fn stored(logins: &Logins) -> Password {
        let phc = logins.hash(secret("correct horse")).await.unwrap();
        Password { phc: PasswordHash::new(&phc.expose()), version: 3 }
    }

    #[tokio::test]
    async fn failures_are_throttled_until_the_right_password() {
        let logins = logins(4);
        let stored = stored(&logins).await;
        let ann = word("ann");
        for _ in 0..4 {
            let attempt = logins.begin(&ann, None).unwrap();
            assert!(!logins.check(attempt, secret("wrong battery"), Some(&stored)).await.unwrap());
        }
        let attempt = logins.begin(&ann, None).unwrap();
        assert!(logins.check(attempt, secret("correct horse"), Some(&stored)).await.unwrap());
        for _ in 0..5 {
            let attempt = logins.begin(&ann, None).unwrap();
            assert!(!logins.check(attempt, secret("correct horse"), None).await.unwrap());
        }
        let refused = logins.begin(&ann, None).unwrap_err();
        assert_eq!(refused.code(), Code::RateLimited);
        assert!(refused.retry_after_ms().is_some_and(|wait_ms| (1..=10_000).contains(&wait_ms)), "{refused}");
        assert!(logins.begin(&word("bob"), None).is_ok(), "a stranger slows down himself only");
    }

    #[tokio::test]
    async fn busy_node_counts_no_failure() {
        let logins = logins(0);
        let stored = stored(&logins).await;
        let (logins, stored) = (&logins, &stored);
        let check =
            |attempt| async move { logins.check(attempt, secret("wrong battery"), Some(stored)).await };
        // The only place is taken while a check runs, so others are refused at once.
        let attempts: Vec<Attempt> = (0..5).map(|_| logins.begin(&word("ann"), None).unwrap()).collect();
        let results = futures_util::future::join_all(attempts.into_iter().map(check)).await;
        let busy = |result: &&Result<bool, ApiError>| {
            result.as_ref().is_err_and(|error| error.code() == Code::AuthBusy)
        };
        let refused = results.iter().filter(busy).count();
        assert!(refused > 0, "{results:?}");
        for _ in 0..refused {
            assert!(logins.begin(&word("ann"), None).is_ok(), "only checks count");
        }
        assert!(logins.begin(&word("ann"), None).is_err());
    }
}
