//! Answers about elections, as tables and as JSON.

use super::*;

fn leader() -> Leader {
    Leader {
        candidate_id: "l-12.0".to_owned(),
        namespace: "default".to_owned(),
        name: "shop".to_owned(),
        session_id: String::new(),
        owner: "worker-7".to_owned(),
        fencing_token: 17,
        elected_revision: 12,
        elected_at: "2026-11-24T04:00:00.000Z".to_owned(),
        ttl_ms: Some(30_000),
        remaining_ms: Some(29_000),
        expires_at: "2026-11-24T04:00:30.000Z".to_owned(),
        lock_delay_ms: 0,
        value: "10.0.0.7:80".to_owned(),
    }
}

fn election() -> Election {
    let candidate = Candidate {
        candidate_id: "l-13.0".to_owned(),
        session_id: "s-3".to_owned(),
        owner: "job".to_owned(),
        queue_position: 0,
        remaining_ms: 4_000,
    };
    Election {
        name: "shop".to_owned(),
        namespace: "default".to_owned(),
        leader: Some(leader()),
        candidates: vec![candidate],
        candidate_count: 3,
        delayed_ms: None,
        next_candidates_cursor: "c7".to_owned(),
    }
}

fn leader_expected() -> Value {
    json!({
        "candidate_id": "l-12.0", "namespace": "default", "name": "shop", "session_id": "", "owner": "worker-7",
        "fencing_token": 17, "elected_revision": 12, "elected_at": "2026-11-24T04:00:00.000Z",
        "ttl_ms": 30_000, "remaining_ms": 29_000, "expires_at": "2026-11-24T04:00:30.000Z",
        "lock_delay_ms": 0, "value": "10.0.0.7:80",
    })
}

#[test]
fn a_leader() {
    let answer = led(&leader(), 12);
    assert_eq!(answer.json, json!({"leader": leader_expected(), "revision": 12}));
    assert_eq!(
        answer.text,
        "candidate_id   l-12.0\n\
         fencing_token  17\n\
         election       shop\n\
         owner          worker-7\n\
         ttl            30s\n\
         expires_at     2026-11-24T04:00:30.000Z\n\
         value          10.0.0.7:80\n\
         revision       12"
    );
}

#[test]
fn a_resignation() {
    let answer =
        resigned(&ResignResponse { candidate_id: "l-12.0".to_owned(), fencing_token: 17, revision: 15 });
    assert_eq!(answer.json, json!({"candidate_id": "l-12.0", "fencing_token": 17, "revision": 15}));
}

#[test]
fn an_election() {
    let answer = one(&election(), 14);
    assert_eq!(
        answer.json,
        json!({
            "election": {
                "name": "shop", "namespace": "default", "leader": leader_expected(),
                "candidates": [{
                    "candidate_id": "l-13.0", "session_id": "s-3", "owner": "job", "queue_position": 0,
                    "remaining_ms": 4_000,
                }],
                "candidate_count": 3, "delayed_ms": null, "next_candidates_cursor": "c7",
            },
            "revision": 14,
        })
    );
    for line in [
        "l-12.0  17     worker-7  29s        2026-11-24T04:00:00.000Z  10.0.0.7:80",
        "l-13.0     job (s-3)  0      4s",
        "(and 2 others; to see them: --candidates-cursor 'c7')",
    ] {
        assert!(answer.text.lines().any(|shown| shown == line), "{line:?} in\n{}", answer.text);
    }
}

#[test]
fn election_without_a_leader() {
    let empty = Election { name: "shop".to_owned(), namespace: "default".to_owned(), ..Election::default() };
    let answer = one(&empty, 14);
    assert_eq!(answer.json["election"]["leader"], Value::Null);
    assert_eq!(
        answer.text,
        "name        shop\nnamespace   default\nleader      nobody\ncandidates  0\nrevision    14"
    );
}

#[test]
fn a_page() {
    let closed = Election {
        name: "till".to_owned(),
        leader: None,
        candidates: Vec::new(),
        delayed_ms: Some(5_000),
        ..election()
    };
    let page = ListElectionsResponse {
        elections: vec![election(), closed],
        next_cursor: "c1".to_owned(),
        revision: 15,
        filtered: false,
    };
    let answer = list(&page);
    let filtered = list(&ListElectionsResponse { filtered: true, ..page });
    assert!(filtered.json["filtered"] == true && filtered.text.contains("filtered: what you may not see"));
    assert_eq!(
        (&answer.json["next_cursor"], answer.json["elections"].as_array().map(Vec::len)),
        (&json!("c1"), Some(2))
    );
    assert_eq!(
        answer.text,
        "NAME  TOKEN  LEADER    VALUE        REMAINING  CANDIDATES  CANDIDATE ID\n\
         shop  17     worker-7  10.0.0.7:80  29s        3           l-12.0\n\
         till  -      -         -            5s         3           -\n\n\
         there is more: --cursor 'c1'"
    );
}
