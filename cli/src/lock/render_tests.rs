//! Answers about locks, as tables and as JSON.

use super::*;

fn request(name: &str) -> LockRequest {
    LockRequest { name: name.to_owned(), mode: LockMode::Exclusive.into(), permits: 0, capacity: 0 }
}

fn grant() -> Grant {
    Grant {
        lock_id: "l-12.0".to_owned(),
        namespace: "default".to_owned(),
        locks: vec![request("orders/42")],
        session_id: String::new(),
        owner: "worker-7".to_owned(),
        fencing_token: 17,
        count: 1,
        granted_revision: 12,
        granted_at: "2026-11-24T04:00:00.000Z".to_owned(),
        ttl_ms: Some(30_000),
        remaining_ms: Some(29_000),
        expires_at: "2026-11-24T04:00:30.000Z".to_owned(),
        lock_delay_ms: 0,
        metadata: String::new(),
    }
}

fn waiter() -> Waiter {
    Waiter {
        lock_id: "l-13.0".to_owned(),
        locks: vec![request("orders/42"), request("orders/43")],
        session_id: "s-3".to_owned(),
        owner: "job".to_owned(),
        queue_position: 0,
        remaining_ms: 4_000,
    }
}

fn lock() -> Lock {
    Lock {
        name: "orders/42".to_owned(),
        namespace: "default".to_owned(),
        mode: LockMode::Exclusive.into(),
        capacity: 0,
        permits_free: 0,
        holders: vec![grant()],
        waiters: vec![waiter()],
        waiter_count: 3,
        delayed_ms: None,
        holder_count: 1,
        next_holders_cursor: String::new(),
        next_waiters_cursor: "w7".to_owned(),
    }
}

fn grant_expected() -> Value {
    json!({
        "lock_id": "l-12.0", "namespace": "default",
        "locks": [{"name": "orders/42", "mode": "exclusive", "permits": 0, "capacity": 0}],
        "session_id": "", "owner": "worker-7", "fencing_token": 17, "count": 1, "granted_revision": 12,
        "granted_at": "2026-11-24T04:00:00.000Z", "ttl_ms": 30_000, "remaining_ms": 29_000,
        "expires_at": "2026-11-24T04:00:30.000Z", "lock_delay_ms": 0, "metadata": "",
    })
}

#[test]
fn a_grant() {
    let answer = granted(&grant(), 12);
    assert_eq!(answer.json, json!({"grant": grant_expected(), "revision": 12}));
    assert_eq!(
        answer.text,
        "lock_id        l-12.0\n\
         fencing_token  17\n\
         locks          orders/42\n\
         owner          worker-7\n\
         ttl            30s\n\
         expires_at     2026-11-24T04:00:30.000Z\n\
         revision       12"
    );
}

#[test]
fn absent_values_are_null() {
    let of_session = Grant { ttl_ms: None, remaining_ms: None, session_id: "s-1".to_owned(), ..grant() };
    let json = granted(&of_session, 12).json;
    assert_eq!((&json["grant"]["ttl_ms"], &json["grant"]["session_id"]), (&Value::Null, &json!("s-1")));
}

#[test]
fn a_lock() {
    let answer = one(&lock(), 14);
    assert_eq!(
        answer.json,
        json!({
            "lock": {
                "name": "orders/42", "namespace": "default", "mode": "exclusive", "capacity": 0, "permits_free": 0,
                "holders": [grant_expected()],
                "waiters": [{
                    "lock_id": "l-13.0", "session_id": "s-3", "owner": "job", "queue_position": 0,
                    "remaining_ms": 4_000,
                    "locks": [
                        {"name": "orders/42", "mode": "exclusive", "permits": 0, "capacity": 0},
                        {"name": "orders/43", "mode": "exclusive", "permits": 0, "capacity": 0},
                    ],
                }],
                "waiter_count": 3, "delayed_ms": null,
                "holder_count": 1, "next_holders_cursor": "", "next_waiters_cursor": "w7",
            },
            "revision": 14,
        })
    );
    for line in [
        "l-13.0  job (s-3)  0      orders/42, orders/43  4s",
        "(and 2 others; to see them: --waiters-cursor 'w7')",
    ] {
        assert!(answer.text.lines().any(|shown| shown == line), "{line:?} in\n{}", answer.text);
    }
}

#[test]
fn a_page() {
    let semaphore = Lock {
        name: "gpu".to_owned(),
        mode: LockMode::Semaphore.into(),
        capacity: 8,
        permits_free: 3,
        holders: vec![grant(), grant()],
        holder_count: 2,
        waiters: Vec::new(),
        waiter_count: 0,
        ..lock()
    };
    let closed = Lock {
        name: "shut".to_owned(),
        holders: Vec::new(),
        holder_count: 0,
        delayed_ms: Some(5_000),
        ..lock()
    };
    let page = ListLocksResponse {
        locks: vec![semaphore, closed],
        next_cursor: "c1".to_owned(),
        revision: 15,
        filtered: false,
    };
    let answer = list(&page);
    let filtered = list(&ListLocksResponse { filtered: true, ..page });
    assert_eq!((&filtered.json["filtered"], &answer.json["filtered"]), (&json!(true), &json!(false)));
    assert!(filtered.text.contains("\n\nfiltered: what you may not see is left out\n\nthere is more"));
    assert_eq!(
        (&answer.json["next_cursor"], answer.json["locks"].as_array().map(Vec::len)),
        (&json!("c1"), Some(2))
    );
    assert_eq!(
        answer.text,
        "NAME  MODE                    TOKEN  OWNER     REMAINING  WAITERS  LOCK ID\n\
         gpu   semaphore, 3 of 8 free  17 +1  worker-7  29s        0        l-12.0\n\
         shut  exclusive               -      -         5s         3        -\n\n\
         there is more: --cursor 'c1'"
    );
}

#[test]
fn an_explanation() {
    let blocker = Blocker {
        lock_id: "l-12.0".to_owned(),
        name: "orders/42".to_owned(),
        session_id: String::new(),
        owner: "worker-7".to_owned(),
        fencing_token: 17,
        waits_for: vec!["stock".to_owned()],
    };
    let ahead =
        Blocker { fencing_token: 0, waits_for: Vec::new(), lock_id: "l-9.0".to_owned(), ..blocker.clone() };
    let explanation = WaiterExplanation { waiter: Some(waiter()), blockers: vec![blocker, ahead] };
    let answer = explained(&ExplainResponse {
        lock: Some(lock()),
        waiters: vec![explanation],
        summary: "orders/42 is held by worker-7; 3 wait.".to_owned(),
        revision: 16,
        names_hidden: 2,
    });
    assert_eq!(answer.json["waiters"][0]["blockers"][0]["waits_for"], json!(["stock"]));
    assert_eq!(answer.json["waiters"][0]["waiter"]["lock_id"], "l-13.0");
    assert!(answer.text.ends_with("\n\n2 names are hidden: you may not see them"), "{}", answer.text);
    assert_eq!(answer.json["names_hidden"], 2);
    assert!(answer.text.starts_with("orders/42 is held by worker-7; 3 wait.\n\n"), "{}", answer.text);
    let rows: Vec<Vec<&str>> = answer
        .text
        .lines()
        .filter(|line| line.starts_with("l-13.0"))
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    assert_eq!(
        rows,
        [
            ["l-13.0", "job (s-3)", "0", "orders/42", "l-12.0 worker-7", "17", "stock"],
            ["l-13.0", "job (s-3)", "0", "orders/42", "l-9.0 worker-7", "-", "-"],
        ]
    );
}

#[test]
fn a_free_lock_is_explained_too() {
    let answer = explained(&ExplainResponse {
        lock: None,
        waiters: Vec::new(),
        summary: "orders/42 is free.".to_owned(),
        revision: 16,
        names_hidden: 0,
    });
    assert_eq!((answer.text.as_str(), &answer.json["lock"]), ("orders/42 is free.", &Value::Null));
}
