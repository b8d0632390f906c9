//! `batuta health`: asks nodes whether they are ready.

use batuta_client::v1::GetStatusResponse;
use batuta_client::{Error, Node};
use clap::Args;
use serde_json::{Value, json};

use crate::Global;
use crate::cluster::{role_name, why};
use crate::failure::{Failure, exit};
use crate::output::{Answer, rows};

/// The arguments of `batuta health`.
#[derive(Args, Debug)]
pub struct HealthArgs {
    /// Succeed when at least one of the endpoints is ready.
    #[arg(long)]
    any: bool,
}

/// An endpoint with its status, or with the reason why there is none.
type NodeAnswer = (String, Result<GetStatusResponse, Failure>);

/// Asks every endpoint directly, so that a node that is not ready cannot hide behind one that is.
pub(crate) async fn answer(global: &Global, args: HealthArgs) -> Answer {
    let asked: Vec<_> = global
        .endpoints
        .iter()
        .cloned()
        .map(|endpoint| {
            let node = global.node(&endpoint);
            tokio::spawn(async move {
                let status = match node {
                    Ok(node) => status(&node).await.map_err(Failure::from),
                    Err(failure) => Err(failure),
                };
                (endpoint, status)
            })
        })
        .collect();
    let mut answers = Vec::new();
    for (asked, endpoint) in asked.into_iter().zip(&global.endpoints) {
        answers.push(asked.await.unwrap_or_else(|error| {
            (endpoint.clone(), Err(Failure::new(exit::INTERNAL, "internal", error.to_string())))
        }));
    }
    judged(&answers, args.any)
}

/// Asks a node for its status. A node tells everybody whether it is ready, but not everybody why.
async fn status(node: &Node) -> Result<GetStatusResponse, Error> {
    match node.status().await {
        Err(error) if error.is_access_refused() => Ok(seen_from_outside(node.is_ready().await?)),
        status => status,
    }
}

fn seen_from_outside(ready: bool) -> GetStatusResponse {
    let why = if ready { "" } else { "the node does not tell why without the permission cluster:read" };
    GetStatusResponse { ready, not_ready_reason: why.to_owned(), ..GetStatusResponse::default() }
}

fn judged(answers: &[NodeAnswer], any: bool) -> Answer {
    let is_ready = |(_, status): &NodeAnswer| status.as_ref().is_ok_and(|status| status.ready);
    let ready = if any { answers.iter().any(is_ready) } else { answers.iter().all(is_ready) };
    let table = rows(
        ["ENDPOINT", "NODE", "READY", "ROLE", "WHY"],
        answers.iter().map(|(endpoint, status)| match status {
            Ok(status) => [
                endpoint.clone(),
                status.node_name.clone(),
                if status.ready { "yes" } else { "no" }.to_owned(),
                role_name(status.role()).to_owned(),
                why(status),
            ],
            Err(failure) => {
                [endpoint.clone(), "-".to_owned(), "no".to_owned(), "-".to_owned(), failure.to_string()]
            }
        }),
    );
    let nodes: Vec<Value> = answers.iter().map(node_json).collect();
    let answer = Answer::new(json!({"ready": ready, "nodes": nodes}), table);
    answer.exit(if ready { exit::DONE } else { exit::NO })
}

fn node_json((endpoint, status): &NodeAnswer) -> Value {
    match status {
        Ok(status) => json!({
            "endpoint": endpoint,
            "ready": status.ready,
            "not_ready_reason": status.not_ready_reason,
            "writes_refused_reason": status.writes_refused_reason,
            "disk_full": status.disk_full,
            "node_id": status.node_id,
            "node_name": status.node_name,
            "role": role_name(status.role()),
            "error": null,
        }),
        Err(failure) => json!({
            "endpoint": endpoint,
            "ready": false,
            "not_ready_reason": failure.message,
            "writes_refused_reason": null,
            "disk_full": null,
            "node_id": null,
            "node_name": null,
            "role": null,
            "error": failure.to_json(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use batuta_client::v1::MemberRole;

    use super::*;

    fn answered(ready: bool) -> NodeAnswer {
        let status = GetStatusResponse {
            node_id: 1,
            node_name: "n1".to_owned(),
            role: MemberRole::Follower.into(),
            ready,
            not_ready_reason: if ready { "" } else { "no leader" }.to_owned(),
            ..GetStatusResponse::default()
        };
        ("a:1".to_owned(), Ok(status))
    }

    fn silent() -> NodeAnswer {
        ("b:2".to_owned(), Err(Failure::new(exit::UNAVAILABLE, "unavailable", "refused")))
    }

    #[test]
    fn all_must_be_ready_unless_any_is_enough() {
        for (nodes, all, any) in [
            (vec![answered(true)], 0, 0),
            (vec![answered(false)], 1, 1),
            (vec![silent()], 1, 1),
            (vec![answered(true), silent()], 1, 0),
            (vec![answered(false), answered(true)], 1, 0),
            (vec![answered(true), answered(true)], 0, 0),
        ] {
            assert_eq!((judged(&nodes, false).exit, judged(&nodes, true).exit), (all, any), "{nodes:?}");
        }
    }

    #[test]
    fn refused_writes_do_not_spoil_it() {
        let (endpoint, status) = answered(true);
        let reason = "the disk of the leader, n2, is nearly full".to_owned();
        let status = status.map(|status| GetStatusResponse { writes_refused_reason: reason, ..status });
        let answer = judged(&[(endpoint, status)], false);
        assert_eq!(answer.exit, 0);
        assert!(
            answer.text.contains("yes    follower  writes are refused: the disk of the leader"),
            "{}",
            answer.text
        );
        assert_eq!(
            answer.json["nodes"][0]["writes_refused_reason"],
            "the disk of the leader, n2, is nearly full"
        );
    }

    #[test]
    fn stranger_learns_whether_a_node_is_ready() {
        for (ready, exit) in [(true, 0), (false, 1)] {
            let answer = judged(&[("a:1".to_owned(), Ok(seen_from_outside(ready)))], false);
            assert_eq!((answer.exit, answer.text.contains("cluster:read")), (exit, !ready));
        }
    }

    #[test]
    fn says_why() {
        let answer = judged(&[answered(false), silent()], false);
        assert_eq!(
            answer.text,
            "ENDPOINT  NODE  READY  ROLE      WHY\n\
             a:1       n1    no     follower  no leader\n\
             b:2       -     no     -         refused (unavailable)"
        );
        assert_eq!(answer.json["ready"], false);
        assert_eq!(answer.json["nodes"][0]["not_ready_reason"], "no leader");
        assert_eq!(answer.json["nodes"][1]["error"]["code"], "unavailable");
    }
}
