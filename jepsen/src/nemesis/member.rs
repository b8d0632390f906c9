//! Membership changes, made as an operator makes them. Some are refused while other faults are in force, which is recorded.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::run::Nemesis;
use crate::error::Result;
use crate::ledger::Ledger;

/// How often the removal of a node is requested.
const TRIES: u32 = 5;

/// Sends a request to the leader, or to any running node.
async fn ask(
    nemesis: &Nemesis,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> std::result::Result<Value, String> {
    let leader = nemesis.cluster.leader().await;
    let first = nemesis.cluster.wanted().into_iter().find(|&place| nemesis.cluster.runs(place));
    let Some(place) = leader.or(first) else { return Err("nobody runs".to_owned()) };
    nemesis.cluster.observer().send(method, place, path, body).await
}

/// Why not every expected member votes, is ready, and answers the leader; `None` when all do.
pub(super) async fn what_is_missing(nemesis: &Nemesis) -> Option<String> {
    const SILENT_MS_MAX: u64 = 1000;
    let observer = nemesis.cluster.observer();
    let wanted = nemesis.cluster.wanted();
    let Some(leader) = nemesis.cluster.leader().await else { return Some("nobody leads".to_owned()) };
    for &place in &wanted {
        if observer.get(place, "/readyz").await.is_none() {
            return Some(format!("{} is not ready", nemesis.cluster.nodes[place].name));
        }
    }
    let Some(status) = observer.status(leader).await else {
        return Some("the leader does not answer".to_owned());
    };
    let members: Vec<&Value> = status["members"].as_array().into_iter().flatten().collect();
    let silent = |member: &Value| {
        member["last_contact_ms"].as_u64().is_some_and(|silent_ms| silent_ms >= SILENT_MS_MAX)
    };
    if members.len() != wanted.len() || members.iter().any(|member| member["voter"] != true || silent(member))
    {
        return Some(format!("the leader says {members:?}"));
    }
    None
}

/// Removes members; a member that could not be removed stays.
pub(super) async fn leave(nemesis: &mut Nemesis, places: &[usize]) -> Result<()> {
    for &place in places {
        let name = nemesis.cluster.nodes[place].name.clone();
        let path = format!("/api/v1/cluster/members/{name}");
        let mut left = Err(String::new());
        for _ in 0..TRIES {
            left = ask(nemesis, Method::DELETE, &path, None).await;
            if left.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        match left {
            Ok(_) => {
                nemesis.shared.history.note(format!("{name} has left the cluster"));
                nemesis.cluster.retire(place)?;
            }
            Err(why) => nemesis.shared.history.note(format!("{name} could not leave: {why}")),
        }
    }
    Ok(())
}

/// Transfers leadership to the node that the leader chooses.
pub(super) async fn transfer(nemesis: &Nemesis) {
    let outcome = ask(nemesis, Method::POST, "/api/v1/cluster/transfer-leader", Some(json!({}))).await;
    nemesis.shared.history.note(format!("leadership handed over: {outcome:?}"));
}

/// Makes every node take a snapshot and purge its log, after gathering the entries that are purged.
pub(super) async fn snapshots(nemesis: &Nemesis, places: &[usize]) {
    let observer = nemesis.cluster.observer();
    for &place in places {
        let node = &nemesis.cluster.nodes[place];
        let applied = observer.status(place).await.and_then(|status| status["applied_index"].as_u64());
        let Some(applied) = applied else { continue };
        let gathered =
            (0..10).any(|_| Ledger::gather(&nemesis.ledger, &node.name, &node.data_dir, applied).is_ok());
        if !gathered {
            nemesis
                .shared
                .history
                .note(format!("{}: its log cannot be read just now; no snapshot", node.name));
            continue;
        }
        let outcome = observer.send(Method::POST, place, "/api/v1/cluster/snapshot", None).await;
        nemesis.shared.history.note(format!("{} took a snapshot: {outcome:?}", node.name));
    }
}
