//! `batuta elect run`: leads an election while a command runs.

use std::time::Duration;

use batuta_client::CampaignOptions;
use clap::Args;

use crate::Global;
use crate::duration::parse;
use crate::failure::Failure;
use crate::run::{self, Campaign, CommandArgs, POLL, Wanted};

/// The arguments of `batuta elect run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The election.
    name: String,
    /// The value that the leader publishes, such as its address.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    value: String,
    /// How long to stay a candidate; 0 answers at once [default: until elected].
    #[arg(long, value_name = "DURATION", value_parser = parse)]
    wait: Option<Duration>,
    #[command(flatten)]
    command: CommandArgs,
}

impl RunArgs {
    fn options(&self) -> CampaignOptions {
        CampaignOptions {
            value: self.value.clone(),
            owner: self.command.owner.clone(),
            lock_delay: self.command.lock_delay(),
            poll: POLL,
            ..CampaignOptions::new(self.name.clone())
        }
    }
}

/// Wins the election, runs the command, and resigns.
pub(crate) async fn run(global: &Global, args: RunArgs) -> Result<u8, Failure> {
    let campaign = Campaign::lasting(args.wait, args.options());
    run::run(global, args.command, Wanted::Leadership(campaign)).await
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Line {
        #[command(flatten)]
        args: RunArgs,
    }

    fn parsed(line: &str) -> Result<RunArgs, clap::Error> {
        let words = ["run"].into_iter().chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.args)
    }

    #[test]
    fn every_option_reaches_the_campaign() {
        let args =
            parsed("shop --value a:1 --owner me --grace 3s -- serve --value b").expect("is understood");
        let options = args.options();
        assert_eq!((options.name.as_str(), options.value.as_str()), ("shop", "a:1"));
        assert_eq!((options.owner.as_str(), options.lock_delay), ("me", Duration::from_secs(4)));
        assert_eq!(args.wait, None);
        let args = parsed("shop --wait 0 -- serve").expect("is understood");
        assert_eq!(args.wait, Some(Duration::ZERO));
        for line in ["shop", "shop serve", "-- serve", "shop --mode shared -- serve"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
