//! The commands `batuta cluster …`, which show and change the cluster.

mod join;
mod render;

use std::time::Duration;

use batuta_client::v1::{
    Limit, PromoteMemberRequest, RemoveMemberRequest, SetLimitsRequest, TransferLeaderRequest,
};
use batuta_client::{Client, Error};
use clap::Subcommand;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub(crate) use self::render::{role_name, why};
use crate::Global;
use crate::failure::Failure;
use crate::output::{Answer, fields};

/// When an endpoint does not answer for this long, the next endpoint is asked as well.
const SILENT_MAX: Duration = Duration::from_secs(1);

/// The subcommands of `batuta cluster`.
#[derive(Subcommand, Debug)]
pub enum ClusterCommand {
    /// Shows the cluster as the node at the first endpoint that answers sees it. Works without a leader.
    Status {
        /// Ask every member directly, and show one line for each.
        #[arg(long)]
        all: bool,
    },
    /// Lists the members, as the leader sees them.
    Members,
    /// Prints the command line that makes a new node join.
    ///
    /// This changes nothing: run the printed command on the new node. The node joins as a learner, and becomes a voter
    /// once it has caught up.
    #[command(
        after_help = "Example:\n  batuta cluster join batuta-3 --host 10.0.0.4 --data-dir /var/lib/batuta"
    )]
    Join(join::JoinArgs),
    /// Removes a member: first its vote, then the member.
    Remove {
        /// The member's id or name.
        member: String,
    },
    /// Makes a learner a voter.
    Promote {
        /// The learner's id or name.
        member: String,
    },
    /// Transfers leadership to another member.
    TransferLeader {
        /// The id or name of the next leader [default: the most up-to-date follower].
        member: Option<String>,
    },
    /// Takes a snapshot on the node at the first endpoint, and purges its log.
    Snapshot,
    /// Shows or changes the limits in force.
    Limits {
        #[command(subcommand)]
        command: Option<LimitsCommand>,
    },
}

/// The subcommands of `batuta cluster limits`.
#[derive(Subcommand, Debug)]
pub enum LimitsCommand {
    /// Shows the limits in force.
    Get,
    /// Changes the named limits on all nodes at once; other limits stay as they are.
    #[command(
        after_help = "Example:\n  batuta cluster limits set waiters_per_lock_max=20000 ttl_ms_min=1000"
    )]
    Set {
        /// The limits to change, with their new values.
        #[arg(required = true, value_name = "NAME=VALUE", value_parser = limit)]
        limits: Vec<Limit>,
    },
}

pub(crate) async fn answer(global: &Global, command: ClusterCommand) -> Result<Answer, Failure> {
    match command {
        ClusterCommand::Status { all: false } => {
            let (endpoint, status) = first_status(global).await?;
            Ok(render::status(&endpoint, &status))
        }
        ClusterCommand::Status { all: true } => Ok(render::every(&every_status(global).await?)),
        ClusterCommand::Members => Ok(render::members(&global.connect().await?.members().await?)),
        ClusterCommand::Join(args) => join::answer(&global.connect().await?, &args).await,
        ClusterCommand::Remove { member } => {
            let answer = global.connect().await?.remove_member(RemoveMemberRequest { member }).await?;
            Ok(changed(answer.node_id))
        }
        ClusterCommand::Promote { member } => {
            let answer = global.connect().await?.promote_member(PromoteMemberRequest { member }).await?;
            Ok(changed(answer.node_id))
        }
        ClusterCommand::TransferLeader { member } => {
            let request = TransferLeaderRequest { member: member.unwrap_or_default() };
            let answer = global.connect().await?.transfer_leader(request).await?;
            let text = fields([
                ("leader_id", answer.leader_id.to_string()),
                ("leader_name", answer.leader_name.clone()),
            ]);
            Ok(Answer::new(json!({"leader_id": answer.leader_id, "leader_name": answer.leader_name}), text))
        }
        ClusterCommand::Snapshot => {
            let node = global.node(global.first_endpoint())?;
            let index = node.snapshot().await?.snapshot_index;
            let text = fields([("node", node.url().to_owned()), ("snapshot_index", index.to_string())]);
            Ok(Answer::new(json!({"snapshot_index": index}), text))
        }
        ClusterCommand::Limits { command } => limits(&global.connect().await?, command).await,
    }
}

async fn limits(client: &Client, command: Option<LimitsCommand>) -> Result<Answer, Failure> {
    let (limits, revision) = match command {
        None | Some(LimitsCommand::Get) => {
            let answer = client.limits().await?;
            (answer.limits, answer.revision)
        }
        Some(LimitsCommand::Set { limits }) => {
            let answer = client.set_limits(SetLimitsRequest { limits }).await?;
            (answer.limits, answer.revision)
        }
    };
    Ok(render::limits(&limits, revision))
}

fn changed(node_id: u64) -> Answer {
    Answer::new(json!({"node_id": node_id}), fields([("node_id", node_id.to_string())]))
}

/// Returns the first endpoint that answers, with its answer. The endpoints are asked in order; while an endpoint is silent, the
/// next ones are asked as well.
async fn first_status(global: &Global) -> Result<(String, render::Status), Failure> {
    let pace = (global.timeout / 8).min(SILENT_MAX);
    let mut asked = JoinSet::new();
    let mut endpoints = global.endpoints.iter();
    let mut failed: Option<Error> = None;
    loop {
        if let Some(endpoint) = endpoints.next() {
            let (node, endpoint) = (global.node(endpoint)?, endpoint.clone());
            asked.spawn(async move { (endpoint, node.status().await) });
        }
        let ended = if endpoints.len() == 0 {
            asked.join_next().await
        } else {
            // No answer so far: ask the next endpoint as well.
            let Ok(ended) = timeout(pace, asked.join_next()).await else { continue };
            ended
        };
        match ended {
            // A task ends without an answer only when it panics; the panic is propagated.
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            Some(Ok((endpoint, Ok(status)))) => return Ok((endpoint, status)),
            Some(Ok((_, Err(error)))) => failed = Some(together(failed, error)),
            None => return Err(failed.map_or_else(|| Failure::usage("no endpoint given"), Failure::from)),
        }
    }
}

/// Appends the message of an earlier failure to a newer one.
fn together(before: Option<Error>, mut error: Error) -> Error {
    if let Some(before) = before {
        error.message = format!("{}; {}", error.message, before.message);
    }
    error
}

/// Asks every member that the first answer names about itself.
async fn every_status(global: &Global) -> Result<Vec<render::MemberAnswer>, Failure> {
    let (_, seen) = first_status(global).await?;
    let asked: Vec<_> = seen
        .members
        .into_iter()
        .map(|member| {
            let node = global.node(&member.grpc);
            tokio::spawn(async move {
                let status = match node {
                    Ok(node) => node.status().await.map_err(Failure::from),
                    Err(failure) => Err(failure),
                };
                render::MemberAnswer { member, status }
            })
        })
        .collect();
    let mut answers = Vec::new();
    for asked in asked {
        // A task ends without an answer only when it panics; the panic is propagated.
        answers.push(asked.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())));
    }
    Ok(answers)
}

fn limit(text: &str) -> Result<Limit, String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE, such as ttl_ms_min=1000")?;
    let value = value.parse().map_err(|_| format!("{value:?} is not a whole number"))?;
    Ok(Limit { name: name.to_owned(), value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_name_and_a_number() {
        assert_eq!(limit("ttl_ms_min=1000"), Ok(Limit { name: "ttl_ms_min".to_owned(), value: 1_000 }));
        for text in ["ttl_ms_min", "ttl_ms_min=", "ttl_ms_min=-1", "ttl_ms_min=1s"] {
            assert!(limit(text).is_err(), "{text}");
        }
    }
}
