//! The commands `batuta elect …`, which campaign for, hold, show and follow the leadership of elections.

mod campaign;
mod observe;
pub(crate) mod render;
mod run;

use batuta_client::Client;
use batuta_client::v1::{GetElectionRequest, ListElectionsRequest, ProclaimRequest, ResignRequest};
use clap::{Args, Subcommand};

pub(crate) use self::observe::run as observe;
pub(crate) use self::run::run;
use crate::failure::{Failure, exit};
use crate::output::Answer;
use crate::reading::{Page, Read};

/// The subcommands of `batuta elect`.
#[derive(Subcommand, Debug)]
pub enum ElectCommand {
    /// Stands as a candidate, and prints the candidate id and the fencing token once elected.
    ///
    /// Without --session the leadership lasts for --ttl, unless `batuta lock extend` with the candidate id renews it.
    #[command(after_help = "Examples:
  batuta elect campaign shop --value 10.0.0.1:8080 --ttl 1m
  batuta elect campaign shop --session \"$session\" --wait 10s")]
    Campaign(campaign::CampaignArgs),
    /// Runs a command while this candidate leads, and ends the command if the leadership is lost.
    ///
    /// Waits until this candidate is elected. The command has `BATUTA_ELECTION_NAME`, `BATUTA_ELECTION_TOKEN` and
    /// `BATUTA_CANDIDATE_ID` in its environment, and runs in its own process group. TERM, INT, HUP, QUIT, USR1, USR2 and
    /// CONT are forwarded to it, unless they were ignored (nohup). A command that reads from the terminal needs
    /// --foreground. When the leadership is lost, the group gets TERM, and KILL after --grace, counted from the loss; the
    /// exit code is then 75, whatever the exit code of the command. The command is ended in the same way when batuta
    /// itself is killed. When the candidate is not elected, nothing runs, and the exit code is 73.
    #[command(after_help = "Examples:
  batuta elect run shop --value \"$(hostname)\" -- ./serve.sh
  batuta elect run shop --wait 0 -- sh -c 'serve --fencing-token \"$BATUTA_ELECTION_TOKEN\"'")]
    Run(run::RunArgs),
    /// Replaces the value of the leader; observers see the change.
    #[command(after_help = "Example:
  batuta elect proclaim \"$BATUTA_ELECTION_NAME\" 10.0.0.1:8081 --token \"$BATUTA_ELECTION_TOKEN\"")]
    Proclaim {
        /// The election.
        name: String,
        /// The new value.
        value: String,
        #[command(flatten)]
        leadership: Leadership,
    },
    /// Gives up the leadership. The next candidate is elected at once.
    Resign {
        /// The election.
        name: String,
        #[command(flatten)]
        leadership: Leadership,
    },
    /// Shows an election: its leader and candidates.
    Get {
        /// The election.
        name: String,
        /// Show the next candidates: `next_candidates_cursor` of the previous answer.
        #[arg(long, value_name = "CURSOR", default_value = "", hide_default_value = true)]
        candidates_cursor: String,
        #[command(flatten)]
        read: Read,
    },
    /// Lists the elections that have a leader or candidates, in order of their names.
    List {
        /// Only elections whose name starts with this prefix.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        prefix: String,
        #[command(flatten)]
        page: Page,
        #[command(flatten)]
        read: Read,
    },
    /// Prints the leader, then every change of the leader or its value, one per line, until it is stopped.
    Observe(observe::ObserveArgs),
}

/// The leadership under which a command acts.
#[derive(Args, Debug)]
pub struct Leadership {
    /// The fencing token of the leader.
    #[arg(long)]
    token: u64,
    /// The session that the leadership must belong to; another one's is left alone.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    session: String,
}

pub(crate) async fn answer(client: &Client, command: ElectCommand) -> Result<Answer, Failure> {
    match command {
        ElectCommand::Campaign(args) => campaign::answer(client, args).await,
        ElectCommand::Run(_) | ElectCommand::Observe(_) => {
            let message = "`elect run` and `elect observe` do not answer like other commands";
            Err(Failure::new(exit::INTERNAL, "internal", message))
        }
        ElectCommand::Proclaim { name, value, leadership: Leadership { token, session } } => {
            let request = ProclaimRequest { name, fencing_token: token, session_id: session, value };
            let answer = client.proclaim(request).await?;
            let leader = answer.leader.ok_or_else(|| Failure::without("the leader"))?;
            Ok(render::led(&leader, answer.revision))
        }
        ElectCommand::Resign { name, leadership: Leadership { token, session } } => {
            let request = ResignRequest { name, fencing_token: token, session_id: session };
            Ok(render::resigned(&client.resign(request).await?))
        }
        ElectCommand::Get { name, candidates_cursor, read } => {
            let request = GetElectionRequest { name, consistency: read.wire(), candidates_cursor };
            let answer = client.election(request).await?;
            let election = answer.election.ok_or_else(|| Failure::without("the election"))?;
            Ok(render::one(&election, answer.revision))
        }
        ElectCommand::List { prefix, page, read } => {
            let (limit, cursor, consistency) = (page.limit, page.cursor, read.wire());
            let request = ListElectionsRequest { prefix, limit, cursor, consistency };
            Ok(render::list(&client.elections(request).await?))
        }
    }
}
