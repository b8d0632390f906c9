//! Renders answers about the cluster as tables and as JSON with the names of the API.

use batuta_client::v1::{GetStatusResponse, Limit, ListMembersResponse, Member, MemberRole};
use serde_json::{Value, json};

use crate::duration::human;
use crate::failure::Failure;
use crate::output::{Answer, fields, or_dash, printable, rows};

pub(super) type Status = GetStatusResponse;

/// The answer of a member that was asked directly.
#[derive(Debug)]
pub(super) struct MemberAnswer {
    pub(super) member: Member,
    pub(super) status: Result<Status, Failure>,
}

/// The name of a role in the API.
pub(crate) fn role_name(role: MemberRole) -> &'static str {
    match role {
        MemberRole::Unspecified => "unspecified",
        MemberRole::Leader => "leader",
        MemberRole::Follower => "follower",
        MemberRole::Candidate => "candidate",
        MemberRole::Learner => "learner",
    }
}

/// Why a node is not ready or refuses writes, as the node reports it; empty when nothing is wrong.
pub(crate) fn why(status: &Status) -> String {
    match (&status.not_ready_reason, &status.writes_refused_reason) {
        (not_ready, _) if !not_ready.is_empty() => not_ready.clone(),
        (_, refused) if !refused.is_empty() => format!("writes are refused: {refused}"),
        _ if status.disk_full => "its disk is nearly full".to_owned(),
        _ => String::new(),
    }
}

/// Renders the cluster as one node sees it.
pub(super) fn status(endpoint: &str, status: &Status) -> Answer {
    let leader = status.leader_id.map(|id| format!("{} (id {id})", status.leader_name));
    let ready = if status.ready { "yes".to_owned() } else { format!("no: {}", status.not_ready_reason) };
    let about = fields([
        ("endpoint", endpoint.to_owned()),
        ("cluster_id", status.cluster_id.clone()),
        ("node", format!("{} (id {})", status.node_name, status.node_id)),
        ("role", role_name(status.role()).to_owned()),
        ("ready", ready),
        ("leader", leader.unwrap_or_else(|| "none is known".to_owned())),
        ("term", status.term.to_string()),
        (
            "log",
            format!(
                "last {}, committed {}, applied {}, snapshot {}, purged {}",
                status.last_log_index,
                status.committed_index,
                status.applied_index,
                status.snapshot_index,
                status.purged_index
            ),
        ),
        ("quorum_ack", status.quorum_ack_ms.map(|ms| format!("{ms}ms ago")).unwrap_or_default()),
        ("locks", status.locks.to_string()),
        ("grants", status.grants.to_string()),
        ("waiters", status.waiters.to_string()),
        ("sessions", status.sessions.to_string()),
        ("token_high_water", status.token_high_water.to_string()),
        ("state_hash", status.state_hash.clone()),
        ("disk_full", if status.disk_full { "yes".to_owned() } else { String::new() }),
        ("writes_refused", status.writes_refused_reason.clone()),
        ("uptime", human(status.uptime_ms)),
        ("version", status.version.clone()),
        ("level", status.level.to_string()),
        ("access", status.access_mode.clone()),
    ]);
    Answer::new(status_json(status), format!("{about}\n\n{}", member_table(&status.members)))
}

/// Renders the answers of all members about themselves.
pub(super) fn every(answers: &[MemberAnswer]) -> Answer {
    let table = rows(
        ["NAME", "ID", "ROLE", "READY", "TERM", "LEADER", "APPLIED", "STATE HASH", "WHY NOT"],
        answers.iter().map(|MemberAnswer { member, status }| {
            let node = [member.name.clone(), member.node_id.to_string()];
            let [name, id] = node;
            match status {
                Ok(status) => [
                    name,
                    id,
                    role_name(status.role()).to_owned(),
                    if status.ready { "yes" } else { "no" }.to_owned(),
                    status.term.to_string(),
                    or_dash(status.leader_id.map(|_| &status.leader_name)),
                    status.applied_index.to_string(),
                    status.state_hash.clone(),
                    why(status),
                ],
                Err(failure) => {
                    let absent = || "-".to_owned();
                    [
                        name,
                        id,
                        absent(),
                        "no".to_owned(),
                        absent(),
                        absent(),
                        absent(),
                        absent(),
                        failure.to_string(),
                    ]
                }
            }
        }),
    );
    let nodes = answers.iter().map(|answer| match &answer.status {
        Ok(status) => {
            json!({"member": member_json(&answer.member), "status": status_json(status), "error": null})
        }
        Err(failure) => {
            json!({"member": member_json(&answer.member), "status": null, "error": failure.to_json()})
        }
    });
    Answer::new(json!({"nodes": nodes.collect::<Vec<_>>()}), table)
}

/// Renders the members as the leader sees them.
pub(super) fn members(answer: &ListMembersResponse) -> Answer {
    let json = json!({
        "members": answer.members.iter().map(member_json).collect::<Vec<_>>(),
        "revision": answer.revision,
    });
    Answer::new(json, member_table(&answer.members))
}

/// Renders the limits in force.
pub(super) fn limits(limits: &[Limit], revision: u64) -> Answer {
    let table =
        rows(["LIMIT", "VALUE"], limits.iter().map(|limit| [limit.name.clone(), limit.value.to_string()]));
    let limits = limits.iter().map(|limit| json!({"name": limit.name, "value": limit.value}));
    Answer::new(json!({"limits": limits.collect::<Vec<_>>(), "revision": revision}), table)
}

fn member_table(members: &[Member]) -> String {
    let mut table = rows(
        [
            "NAME",
            "ID",
            "ROLE",
            "VOTER",
            "VERSION",
            "LEVEL",
            "MATCHED",
            "LAST CONTACT",
            "GRPC",
            "REST",
            "PEER",
        ],
        members.iter().map(|member| {
            [
                member.name.clone(),
                member.node_id.to_string(),
                role_name(member.role()).to_owned(),
                if member.voter { "yes" } else { "no" }.to_owned(),
                or_dash(Some(&member.version).filter(|version| !version.is_empty())),
                or_dash(member.level),
                or_dash(member.matched_index),
                or_dash(member.last_contact_ms.map(|ms| format!("{ms}ms ago"))),
                member.grpc.clone(),
                member.rest.clone(),
                member.peer.clone(),
            ]
        }),
    );
    for member in members {
        if let Some(fault) = &member.fault {
            table.extend(["\n", &printable(&member.name), " is not counted: ", &printable(fault)]);
        }
    }
    table
}

fn member_json(member: &Member) -> Value {
    json!({
        "node_id": member.node_id,
        "name": member.name,
        "role": role_name(member.role()),
        "voter": member.voter,
        "rest": member.rest,
        "grpc": member.grpc,
        "ws": member.ws,
        "peer": member.peer,
        "matched_index": member.matched_index,
        "last_contact_ms": member.last_contact_ms,
        "level": member.level,
        "version": member.version,
        "fault": member.fault,
    })
}

fn status_json(status: &Status) -> Value {
    json!({
        "cluster_id": status.cluster_id,
        "node_id": status.node_id,
        "node_name": status.node_name,
        "role": role_name(status.role()),
        "term": status.term,
        "leader_id": status.leader_id,
        "leader_name": status.leader_name,
        "last_log_index": status.last_log_index,
        "committed_index": status.committed_index,
        "applied_index": status.applied_index,
        "snapshot_index": status.snapshot_index,
        "purged_index": status.purged_index,
        "quorum_ack_ms": status.quorum_ack_ms,
        "ready": status.ready,
        "not_ready_reason": status.not_ready_reason,
        "version": status.version,
        "level": status.level,
        "sessions": status.sessions,
        "grants": status.grants,
        "waiters": status.waiters,
        "locks": status.locks,
        "state_hash": status.state_hash,
        "disk_full": status.disk_full,
        "writes_refused_reason": status.writes_refused_reason,
        "uptime_ms": status.uptime_ms,
        "cluster_time_ms": status.cluster_time_ms,
        "token_high_water": status.token_high_water,
        "access_mode": status.access_mode,
        "members": status.members.iter().map(member_json).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::exit;

    fn member() -> Member {
        Member {
            node_id: 2,
            name: "n2".to_owned(),
            role: MemberRole::Follower.into(),
            voter: true,
            rest: "http://b:8080".to_owned(),
            grpc: "http://b:9090".to_owned(),
            ws: "ws://b:8081".to_owned(),
            peer: "b:7070".to_owned(),
            matched_index: Some(41),
            last_contact_ms: None,
            level: Some(2),
            version: "0.2.0".to_owned(),
            fault: None,
        }
    }

    fn member_expected() -> Value {
        json!({
            "node_id": 2, "name": "n2", "role": "follower", "voter": true, "rest": "http://b:8080",
            "grpc": "http://b:9090", "ws": "ws://b:8081", "peer": "b:7070", "matched_index": 41,
            "last_contact_ms": null, "level": 2, "version": "0.2.0", "fault": null,
        })
    }

    #[test]
    fn members_in_both_shapes() {
        let answer =
            members(&ListMembersResponse { members: vec![member()], revision: 9, cluster_id: String::new() });
        assert_eq!(answer.json, json!({"members": [member_expected()], "revision": 9}));
        assert_eq!(
            answer.text,
            "NAME  ID  ROLE      VOTER  VERSION  LEVEL  MATCHED  LAST CONTACT  GRPC           REST           PEER\n\
             n2    2   follower  yes    0.2.0    2      41       -             http://b:9090  http://b:8080  b:7070"
        );
    }

    #[test]
    fn node_without_a_leader_is_shown_as_such() {
        let seen = Status {
            node_id: 2,
            node_name: "n2".to_owned(),
            role: MemberRole::Candidate.into(),
            not_ready_reason: "no leader is known".to_owned(),
            members: vec![member()],
            ..Status::default()
        };
        let answer = status("b:9090", &seen);
        for line in ["ready             no: no leader is known", "leader            none is known"] {
            assert!(answer.text.lines().any(|shown| shown == line), "{line:?} in\n{}", answer.text);
        }
        assert_eq!((&answer.json["leader_id"], &answer.json["role"]), (&Value::Null, &json!("candidate")));
        assert_eq!(answer.json["members"], json!([member_expected()]));
        // The JSON has one key for each field of the message.
        assert_eq!(answer.json.as_object().map(serde_json::Map::len), Some(29));
    }

    #[test]
    fn silent_member_has_its_line() {
        let silent = Failure::new(exit::UNAVAILABLE, "unavailable", "refused");
        let answer = every(&[MemberAnswer { member: member(), status: Err(silent) }]);
        assert!(answer.text.ends_with("refused (unavailable)"), "{}", answer.text);
        assert_eq!(answer.json["nodes"][0]["error"]["code"], "unavailable");
    }

    #[test]
    fn limits_in_both_shapes() {
        let answer = limits(&[Limit { name: "ttl_ms_min".to_owned(), value: 500 }], 9);
        assert_eq!(answer.text, "LIMIT       VALUE\nttl_ms_min  500");
        assert_eq!(answer.json, json!({"limits": [{"name": "ttl_ms_min", "value": 500}], "revision": 9}));
    }
}
