//! Renders elections, leaders and candidates as tables and as JSON with the names of the API.

use batuta_client::v1::{Candidate, Election, Leader, ListElectionsResponse, ResignResponse};
use serde_json::{Value, json};

use crate::duration::human;
use crate::output::{Answer, fields, more, or_dash, owner, partial, printable, rows};
use crate::reading::Page;

/// Renders a leader that was just elected, or has just published a value.
pub(super) fn led(leader: &Leader, revision: u64) -> Answer {
    let text = fields([
        ("candidate_id", leader.candidate_id.clone()),
        ("fencing_token", leader.fencing_token.to_string()),
        ("election", leader.name.clone()),
        ("session_id", leader.session_id.clone()),
        ("owner", leader.owner.clone()),
        ("ttl", leader.ttl_ms.map(human).unwrap_or_default()),
        ("expires_at", leader.expires_at.clone()),
        ("value", leader.value.clone()),
        ("revision", revision.to_string()),
    ]);
    Answer::new(json!({"leader": leader_json(leader), "revision": revision}), text)
}

/// Renders a resignation.
pub(super) fn resigned(answer: &ResignResponse) -> Answer {
    let json = json!({
        "candidate_id": answer.candidate_id,
        "fencing_token": answer.fencing_token,
        "revision": answer.revision,
    });
    let text = fields([
        ("candidate_id", answer.candidate_id.clone()),
        ("fencing_token", answer.fencing_token.to_string()),
        ("revision", answer.revision.to_string()),
    ]);
    Answer::new(json, text)
}

/// Renders a page of elections.
pub(super) fn list(answer: &ListElectionsResponse) -> Answer {
    let table = rows(
        ["NAME", "TOKEN", "LEADER", "VALUE", "REMAINING", "CANDIDATES", "CANDIDATE ID"],
        answer.elections.iter().map(|election| {
            let leader = election.leader.as_ref();
            [
                election.name.clone(),
                or_dash(leader.map(|leader| leader.fencing_token)),
                or_dash(leader.map(|leader| owner(&leader.session_id, &leader.owner))),
                or_dash(leader.map(|leader| leader.value.clone()).filter(|value| !value.is_empty())),
                or_dash(leader.and_then(|leader| leader.remaining_ms).or(election.delayed_ms).map(human)),
                election.candidate_count.to_string(),
                or_dash(leader.map(|leader| leader.candidate_id.clone())),
            ]
        }),
    );
    let json = json!({
        "elections": answer.elections.iter().map(election_json).collect::<Vec<_>>(),
        "next_cursor": answer.next_cursor,
        "revision": answer.revision,
        "filtered": answer.filtered,
    });
    Answer::new(json, table + partial(answer.filtered) + &Page::more(&answer.next_cursor))
}

/// Renders one election with its leader and first candidates.
pub(super) fn one(election: &Election, revision: u64) -> Answer {
    let nobody = if election.leader.is_none() { "nobody" } else { "" };
    let mut text = fields([
        ("name", election.name.clone()),
        ("namespace", election.namespace.clone()),
        ("leader", nobody.to_owned()),
        ("closed_for", election.delayed_ms.map(human).unwrap_or_default()),
        ("candidates", election.candidate_count.to_string()),
        ("revision", revision.to_string()),
    ]);
    if let Some(leader) = &election.leader {
        text += "\n\n";
        text += &rows(
            ["LEADER", "TOKEN", "OWNER", "REMAINING", "SINCE", "VALUE"],
            [[
                leader.candidate_id.clone(),
                leader.fencing_token.to_string(),
                owner(&leader.session_id, &leader.owner),
                or_dash(leader.remaining_ms.map(human)),
                leader.elected_at.clone(),
                leader.value.clone(),
            ]],
        );
    }
    text += &standing(election);
    Answer::new(json!({"election": election_json(election), "revision": revision}), text)
}

fn standing(election: &Election) -> String {
    let candidates = &election.candidates;
    if candidates.is_empty() {
        return String::new();
    }
    let table = rows(
        ["CANDIDATE", "OWNER", "AHEAD", "REMAINING"],
        candidates.iter().map(|candidate| {
            [
                candidate.candidate_id.clone(),
                owner(&candidate.session_id, &candidate.owner),
                candidate.queue_position.to_string(),
                human(candidate.remaining_ms),
            ]
        }),
    );
    let cursor = &election.next_candidates_cursor;
    let more = more(candidates.len(), election.candidate_count, "--candidates-cursor", cursor);
    format!("\n\n{table}{more}")
}

/// What a line about a leader says: its election, token, owner and value.
pub(crate) fn leader_parts(leader: &Leader) -> Vec<String> {
    let mut parts = vec![printable(&leader.name), format!("token {}", leader.fencing_token)];
    if !leader.owner.is_empty() {
        parts.push(printable(&leader.owner));
    }
    if !leader.value.is_empty() {
        parts.push(format!("value {}", printable(&leader.value)));
    }
    parts
}

pub(crate) fn election_json(election: &Election) -> Value {
    json!({
        "name": election.name,
        "namespace": election.namespace,
        "leader": election.leader.as_ref().map(leader_json),
        "candidates": election.candidates.iter().map(candidate_json).collect::<Vec<_>>(),
        "candidate_count": election.candidate_count,
        "delayed_ms": election.delayed_ms,
        "next_candidates_cursor": election.next_candidates_cursor,
    })
}

pub(crate) fn leader_json(leader: &Leader) -> Value {
    json!({
        "candidate_id": leader.candidate_id,
        "namespace": leader.namespace,
        "name": leader.name,
        "session_id": leader.session_id,
        "owner": leader.owner,
        "fencing_token": leader.fencing_token,
        "elected_revision": leader.elected_revision,
        "elected_at": leader.elected_at,
        "ttl_ms": leader.ttl_ms,
        "remaining_ms": leader.remaining_ms,
        "expires_at": leader.expires_at,
        "lock_delay_ms": leader.lock_delay_ms,
        "value": leader.value,
    })
}

pub(crate) fn candidate_json(candidate: &Candidate) -> Value {
    json!({
        "candidate_id": candidate.candidate_id,
        "session_id": candidate.session_id,
        "owner": candidate.owner,
        "queue_position": candidate.queue_position,
        "remaining_ms": candidate.remaining_ms,
    })
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
