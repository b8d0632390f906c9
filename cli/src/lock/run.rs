//! `batuta lock run`: holds a lock while a command runs.

use std::time::Duration;

use batuta_client::LockOptions;
use clap::Args;

use super::acquire::ModeArgs;
use crate::Global;
use crate::duration::parse;
use crate::failure::Failure;
use crate::run::{self, CommandArgs, POLL, Wanted};

/// The arguments of `batuta lock run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The lock.
    name: String,
    #[command(flatten)]
    mode: ModeArgs,
    /// How long to wait for the lock; 0 answers at once.
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = parse)]
    wait: Duration,
    #[command(flatten)]
    command: CommandArgs,
}

impl RunArgs {
    fn options(&self) -> LockOptions {
        LockOptions {
            locks: vec![self.mode.request(self.name.clone())],
            owner: self.command.owner.clone(),
            wait: self.wait,
            lock_delay: self.command.lock_delay(),
            poll: POLL,
            ..LockOptions::exclusive(self.name.clone())
        }
    }
}

/// Takes the lock, runs the command, and releases the lock.
pub(crate) async fn run(global: &Global, args: RunArgs) -> Result<u8, Failure> {
    let wanted = Wanted::Lock { name: args.name.clone(), options: args.options() };
    run::run(global, args.command, wanted).await
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

    #[test]
    fn every_option_reaches_the_request() {
        let line = "run report --mode shared --wait 10s --owner me --grace 3s -- true --wait 5s";
        let args = Line::try_parse_from(line.split(' ')).expect("is understood").args;
        let options = args.options();
        assert_eq!((options.wait, options.owner.as_str()), (Duration::from_secs(10), "me"));
        assert_eq!((options.locks.len(), options.locks[0].name.as_str()), (1, "report"));
        assert_eq!(options.locks[0].mode(), batuta_client::v1::LockMode::Shared);
        assert_eq!(options.lock_delay, Duration::from_secs(4));
        for line in ["run report", "run report --", "run report true", "run -- true"] {
            assert!(Line::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
