//! Elections: campaigning, and the leadership that this process won.

use std::time::Duration;

use batuta_proto::v1::{CampaignRequest, GetElectionRequest, Leader, ProclaimRequest, ResignRequest};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::held::{GiveBack, Held, Holding, POLL, millis};
use crate::session::{Lease, Loss, SessionState};
use crate::{Client, Error};

/// The election to stand in, and how.
#[derive(Debug, Clone)]
pub struct CampaignOptions {
    /// The election.
    pub name: String,
    /// The value that the leader publishes once it is elected, such as its address.
    pub value: String,
    /// The candidate's label; empty for none.
    pub owner: String,
    /// How long to stay a candidate; zero means answer at once.
    pub wait: Duration,
    /// How long the election stays closed after an involuntary loss of leadership.
    pub lock_delay: Duration,
    /// Retry key, with which another process can find the same candidacy; a fresh one when absent.
    pub key: Option<String>,
    /// How often to check whether the leadership was taken away.
    pub poll: Duration,
}

impl CampaignOptions {
    /// Stands in this election without a value and without waiting.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: String::new(),
            owner: String::new(),
            wait: Duration::ZERO,
            lock_delay: Duration::ZERO,
            key: None,
            poll: POLL,
        }
    }

    pub(crate) fn request(&self) -> CampaignRequest {
        CampaignRequest {
            name: self.name.clone(),
            value: self.value.clone(),
            owner: self.owner.clone(),
            wait_ms: millis(self.wait),
            lock_delay_ms: millis(self.lock_delay),
            ..CampaignRequest::default()
        }
    }
}

/// The leadership of an election. Dropping it inside a Tokio runtime resigns in the background; `resign`
/// reports whether that worked.
#[derive(Debug)]
pub struct Election {
    held: Held,
    leader: Leader,
}

impl Client {
    /// Stands as a candidate, and leads under a TTL that is renewed automatically while the guard lives.
    ///
    /// # Errors
    /// `lock_held` when somebody else leads, `wait_timeout`, … as the cluster answers.
    pub async fn campaign(&self, options: CampaignOptions, ttl: Duration) -> Result<Election, Error> {
        let lease = Lease { sent: Instant::now(), ttl };
        let request = CampaignRequest { ttl_ms: Some(millis(ttl)), ..options.request() };
        let leader = self.elected(request, options.key.clone()).await?;
        let dated = options.wait.is_zero() && options.key.is_none();
        let held = Held::with_ttl(self, holding(&leader), lease, dated).await?;
        Ok(Election { held, leader })
    }

    pub(crate) async fn elected(
        &self,
        request: CampaignRequest,
        key: Option<String>,
    ) -> Result<Leader, Error> {
        known(self.campaign_detached(request, key).await?.leader)
    }

    /// Reads who leads an election; `None` when nobody does.
    ///
    /// # Errors
    /// The cluster's refusal, or that no node answered before the deadline.
    pub async fn leader(&self, name: impl Into<String>) -> Result<Option<Leader>, Error> {
        let request = GetElectionRequest { name: name.into(), ..GetElectionRequest::default() };
        Ok(self.election(request).await?.election.and_then(|election| election.leader))
    }
}

impl Election {
    pub(crate) fn of_session(
        client: &Client,
        leader: Leader,
        session: watch::Receiver<SessionState>,
        poll: Duration,
    ) -> Self {
        Self { held: Held::of_session(client, holding(&leader), session, poll), leader }
    }

    /// The fencing token. Send it to the resource with every write.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.leader.fencing_token
    }

    /// The id of the candidacy that was elected.
    #[must_use]
    pub fn candidate_id(&self) -> &str {
        &self.leader.candidate_id
    }

    /// The election.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.leader.name
    }

    /// The value that this leader published last.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.leader.value
    }

    /// The whole leader as the cluster answered it.
    #[must_use]
    pub fn leader(&self) -> &Leader {
        &self.leader
    }

    /// Resolves with the reason when the leadership is lost.
    pub async fn lost(&self) -> Error {
        self.loss().await.reason
    }

    /// Resolves with the reason and the time when the leadership is lost.
    pub async fn loss(&self) -> Loss {
        self.held.loss().await
    }

    /// Replaces the value that this leader publishes; observers see the change.
    ///
    /// # Errors
    /// `token_superseded` when the leadership is lost; otherwise as the cluster answers.
    pub async fn proclaim(&mut self, value: impl Into<String>) -> Result<(), Error> {
        let request = ProclaimRequest {
            name: self.leader.name.clone(),
            fencing_token: self.leader.fencing_token,
            session_id: self.leader.session_id.clone(),
            value: value.into(),
        };
        self.leader = known(self.held.client().proclaim(request).await?.leader)?;
        Ok(())
    }

    /// Gives up the leadership. The next candidate is elected at once.
    ///
    /// # Errors
    /// The cluster's refusal, or that no node answered before the deadline.
    pub async fn resign(self) -> Result<(), Error> {
        self.held.give_back().await
    }
}

fn known(leader: Option<Leader>) -> Result<Leader, Error> {
    leader.ok_or_else(|| Error::new("internal", "an answer without a leader", false))
}

fn holding(leader: &Leader) -> Holding {
    let resignation = ResignRequest {
        name: leader.name.clone(),
        fencing_token: leader.fencing_token,
        session_id: leader.session_id.clone(),
    };
    Holding {
        id: leader.candidate_id.clone(),
        names: vec![leader.name.clone()],
        token: leader.fencing_token,
        give_back: GiveBack::Resign(resignation),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_reaches_the_request() {
        let options = CampaignOptions {
            value: "10.0.0.1:80".to_owned(),
            owner: "a".to_owned(),
            wait: Duration::from_secs(5),
            lock_delay: Duration::from_secs(2),
            ..CampaignOptions::new("shop")
        };
        let expected = CampaignRequest {
            name: "shop".to_owned(),
            value: "10.0.0.1:80".to_owned(),
            session_id: String::new(),
            owner: "a".to_owned(),
            ttl_ms: None,
            wait_ms: 5_000,
            lock_delay_ms: 2_000,
        };
        assert_eq!(options.request(), expected);
    }

    #[test]
    fn leadership_is_given_back_under_its_token() {
        let leader = Leader {
            candidate_id: "l-9.0".to_owned(),
            name: "shop".to_owned(),
            session_id: "s-1".to_owned(),
            fencing_token: 17,
            ..Leader::default()
        };
        let holding = holding(&leader);
        assert_eq!((holding.id.as_str(), holding.token), ("l-9.0", 17));
        assert_eq!(holding.names, ["shop"]);
        let GiveBack::Resign(request) = holding.give_back else { panic!("{holding:?}") };
        let of = (request.name.as_str(), request.fencing_token, request.session_id.as_str());
        assert_eq!(of, ("shop", 17, "s-1"));
    }
}
