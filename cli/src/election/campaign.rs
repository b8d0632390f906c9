//! `batuta elect campaign`: stands as a candidate.

use std::time::Duration;

use batuta_client::Client;
use batuta_client::v1::{CampaignRequest, ResignRequest};
use clap::Args;

use super::render;
use crate::duration::{millis, parse};
use crate::failure::Failure;
use crate::output::{Answer, Created};

/// The arguments of `batuta elect campaign`.
#[derive(Args, Debug)]
pub struct CampaignArgs {
    /// The election.
    name: String,
    /// The value that the leader publishes, such as its address.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    value: String,
    /// How long the leadership lasts unless it is renewed [default: 30s; not allowed with --session].
    #[arg(long, value_name = "DURATION", value_parser = parse, conflicts_with = "session")]
    ttl: Option<Duration>,
    /// How long to stay a candidate; 0 answers at once.
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = parse)]
    wait: Duration,
    /// The session that keeps the leader in office: the leadership ends when the session ends.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// A label of the candidate: it distinguishes candidates within a session, and is shown to people.
    #[arg(long, value_name = "LABEL", default_value = "", hide_default_value = true)]
    owner: String,
    /// How long the election stays closed after an involuntary loss of leadership.
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = parse)]
    lock_delay: Duration,
    /// Idempotency key: a retry with the same key gets the same leadership.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

const TTL_DEFAULT: Duration = Duration::from_secs(30);

impl CampaignArgs {
    fn request(&self) -> CampaignRequest {
        let one_shot = self.session.is_none();
        CampaignRequest {
            name: self.name.clone(),
            value: self.value.clone(),
            session_id: self.session.clone().unwrap_or_default(),
            owner: self.owner.clone(),
            ttl_ms: one_shot.then(|| millis(self.ttl.unwrap_or(TTL_DEFAULT))),
            wait_ms: millis(self.wait),
            lock_delay_ms: millis(self.lock_delay),
        }
    }
}

pub(super) async fn answer(client: &Client, args: CampaignArgs) -> Result<Answer, Failure> {
    let (request, keyed) = (args.request(), args.key.is_some());
    let answer = client.campaign_detached(request, args.key).await.map_err(Failure::acquiring)?;
    let leader = answer.leader.ok_or_else(|| Failure::without("the leader"))?;
    let created = Created::Leadership(ResignRequest {
        name: leader.name.clone(),
        fencing_token: leader.fencing_token,
        session_id: leader.session_id.clone(),
    });
    Ok(render::led(&leader, answer.revision).created(created.found_by_key(keyed)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Line {
        #[command(flatten)]
        args: CampaignArgs,
    }

    fn parsed(line: &str) -> Result<CampaignRequest, clap::Error> {
        let words = ["campaign"].into_iter().chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.args.request())
    }

    #[test]
    fn every_option_reaches_the_request() {
        let line = "shop --value a:1 --session s-1 --owner me --wait 10s --lock-delay 2s --key k";
        let expected = CampaignRequest {
            name: "shop".to_owned(),
            value: "a:1".to_owned(),
            session_id: "s-1".to_owned(),
            owner: "me".to_owned(),
            ttl_ms: None,
            wait_ms: 10_000,
            lock_delay_ms: 2_000,
        };
        assert_eq!(parsed(line).expect("is understood"), expected);
        let one_shot = parsed("shop").expect("is understood");
        assert_eq!((one_shot.ttl_ms, one_shot.wait_ms), (Some(30_000), 0));
        assert_eq!(parsed("shop --ttl 5m").expect("is understood").ttl_ms, Some(300_000));
    }

    #[test]
    fn invalid_arguments_are_refused() {
        for line in ["", "a b", "a --ttl 5s --session s-1", "a --wait 5"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
