//! What a command needs while it runs: a lock, or the leadership of an election.

use std::time::Duration;

use batuta_client::{CampaignOptions, Election, Error, Lock, LockOptions, Loss, Session};

/// How long one campaign lasts when there is no end to the wait. A cluster allows an hour by default.
const CAMPAIGN: Duration = Duration::from_mins(10);

/// The kinds of what a command needs, with the words for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A lock.
    Lock,
    /// The leadership of an election.
    Leadership,
}

impl Kind {
    /// What is held.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Lock => "the lock",
            Self::Leadership => "the leadership",
        }
    }

    /// The words of the command line.
    pub(super) fn command(self) -> &'static str {
        match self {
            Self::Lock => "lock run",
            Self::Leadership => "elect run",
        }
    }
}

/// What is taken for a command.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    /// The lock of this name.
    Lock { name: String, options: LockOptions },
    /// The leadership of an election.
    Leadership(Campaign),
}

/// A campaign for a command.
#[derive(Debug, Clone)]
pub(crate) struct Campaign {
    options: CampaignOptions,
    /// Whether to stand again when a campaign has timed out.
    again: bool,
}

impl Campaign {
    /// A campaign that lasts this long, or until the candidate is elected.
    pub(crate) fn lasting(wait: Option<Duration>, options: CampaignOptions) -> Self {
        let options = CampaignOptions { wait: wait.unwrap_or(CAMPAIGN), ..options };
        Self { options, again: wait.is_none() }
    }

    async fn win(&self, session: &Session) -> Result<Election, Error> {
        loop {
            match session.campaign(self.options.clone()).await {
                Err(error) if self.stands_again(&error) => {}
                ended => return ended,
            }
        }
    }

    fn stands_again(&self, error: &Error) -> bool {
        self.again && error.code == "wait_timeout"
    }
}

impl Wanted {
    /// The kind, for messages.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Lock { .. } => Kind::Lock,
            Self::Leadership(_) => Kind::Leadership,
        }
    }

    /// Names what is wanted, for messages.
    pub(super) fn subject(&self) -> String {
        match self {
            Self::Lock { name, .. } => name.clone(),
            Self::Leadership(campaign) => format!("the leadership of {}", campaign.options.name),
        }
    }

    /// Takes it with this session.
    pub(super) async fn take(&self, session: &Session) -> Result<Kept, Error> {
        match self {
            Self::Lock { name, options } => {
                let lock = session.acquire(options.clone()).await?;
                Ok(Kept::Lock { name: name.clone(), lock })
            }
            Self::Leadership(campaign) => campaign.win(session).await.map(Kept::Leadership),
        }
    }
}

/// What a command has while it runs.
#[derive(Debug)]
pub(super) enum Kept {
    /// A lock, and its name.
    Lock { name: String, lock: Lock },
    /// The leadership of an election.
    Leadership(Election),
}

impl Kept {
    /// Resolves when it is lost.
    pub(super) async fn loss(&self) -> Loss {
        match self {
            Self::Lock { lock, .. } => lock.loss().await,
            Self::Leadership(election) => election.loss().await,
        }
    }

    /// Gives it back.
    pub(super) async fn give_back(self) -> Result<(), Error> {
        match self {
            Self::Lock { lock, .. } => lock.release().await,
            Self::Leadership(election) => election.resign().await,
        }
    }

    /// The variables by which the command knows what it has.
    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Lock { name, lock } => variables(Kind::Lock, name, lock.token(), lock.lock_id()),
            Self::Leadership(election) => {
                variables(Kind::Leadership, election.name(), election.token(), election.candidate_id())
            }
        }
    }
}

fn variables(kind: Kind, name: &str, token: u64, id: &str) -> Vec<(&'static str, String)> {
    let names = match kind {
        Kind::Lock => ["BATUTA_LOCK_NAME", "BATUTA_LOCK_TOKEN", "BATUTA_LOCK_ID"],
        Kind::Leadership => ["BATUTA_ELECTION_NAME", "BATUTA_ELECTION_TOKEN", "BATUTA_CANDIDATE_ID"],
    };
    names.into_iter().zip([name.to_owned(), token.to_string(), id.to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_knows_what_it_has() {
        let lock = variables(Kind::Lock, "orders/42", 17, "l-12.0");
        assert_eq!(
            lock,
            [
                ("BATUTA_LOCK_NAME", "orders/42".to_owned()),
                ("BATUTA_LOCK_TOKEN", "17".to_owned()),
                ("BATUTA_LOCK_ID", "l-12.0".to_owned()),
            ]
        );
        let leadership = variables(Kind::Leadership, "shop", 18, "l-13.0");
        assert_eq!(
            leadership,
            [
                ("BATUTA_ELECTION_NAME", "shop".to_owned()),
                ("BATUTA_ELECTION_TOKEN", "18".to_owned()),
                ("BATUTA_CANDIDATE_ID", "l-13.0".to_owned()),
            ]
        );
    }

    #[test]
    fn only_a_timeout_is_followed_by_another_campaign() {
        let error = |code: &str| Error {
            code: code.to_owned(),
            message: String::new(),
            retryable: true,
            field: None,
            details: std::collections::BTreeMap::new(),
        };
        let campaign = |wait| Campaign::lasting(wait, CampaignOptions::new("shop"));
        assert!(campaign(None).stands_again(&error("wait_timeout")));
        assert!(!campaign(None).stands_again(&error("wait_cancelled")));
        assert!(!campaign(Some(Duration::from_secs(1))).stands_again(&error("wait_timeout")));
        assert_eq!(campaign(Some(Duration::ZERO)).options.wait, Duration::ZERO);
    }
}
