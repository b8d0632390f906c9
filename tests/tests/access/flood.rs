//! Many logins at once: memory is bounded, others are served, and nothing tells who exists.

use std::time::{Duration, Instant};

use batuta_tests::Node;
use serde_json::json;

use crate::calls::PASSWORD;
use crate::secure::{Caller, Secured, done};

/// Four hashes at once, as the brief allows.
const GROWTH_BYTES_MAX: u64 = 80 << 20;
/// What connections, buffers and the allocator of a debug build take besides.
const SLACK_BYTES: u64 = 48 << 20;
const USERS: usize = 5;

/// The most memory that the process ever had, in bytes.
fn peak_bytes(node: &Node) -> u64 {
    let id = node.process_id().expect("a running node");
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("a process of ours");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    1024 * line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number")
}

async fn with_users() -> Secured {
    let secured = Secured::start(3).await;
    for number in 0..USERS {
        let path = format!("/api/v1/access/users/user{number}");
        done(secured.root.put(&path, json!({"description": "logs in"})).await);
        done(secured.root.put(&format!("{path}/password"), json!({"password": PASSWORD})).await);
    }
    secured
}

async fn login(caller: &Caller, user: &str, password: &str) -> String {
    let body = json!({"user": user, "password": password});
    caller.post("/api/v1/access/login", body).await.code().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_at_once_cost_bounded_memory() {
    let secured = with_users().await;
    let (busy, _) = secured.editor("busy").await;
    let node = secured.follower();
    let (busy, nobody) = (busy.at(node), Caller::anonymous(node));
    let nobody = Caller { rest: nobody.rest.patient(), ..nobody };
    done(busy.acquire("before").await);
    let before = peak_bytes(node);
    let logins: Vec<_> = (0..200)
        .map(|number| {
            let nobody = nobody.clone();
            let password = if number % 2 == 0 { PASSWORD } else { "not the right password" };
            tokio::spawn(async move { login(&nobody, &format!("user{}", number % USERS), password).await })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    for number in 0..40 {
        let begun = Instant::now();
        done(busy.acquire(&format!("during/{number}")).await);
        slowest = slowest.max(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let mut refusals = std::collections::BTreeMap::new();
    for login in logins {
        *refusals.entry(login.await.expect("no panic")).or_insert(0_u32) += 1;
    }
    println!("200 logins at once: {refusals:?}; the slowest lock took {slowest:?}");
    let wrong: u32 =
        ["invalid_token", "unauthenticated"].iter().filter_map(|code| refusals.remove(*code)).sum();
    assert!(wrong <= 100, "{wrong} right passwords or more were refused as wrong");
    for expected in ["", "auth_busy", "rate_limited"] {
        refusals.remove(expected);
    }
    assert!(refusals.is_empty(), "other refusals: {refusals:?}");
    assert!(slowest < Duration::from_secs(5), "a lock took {slowest:?}");
    let grown = peak_bytes(node).saturating_sub(before);
    println!("the peak grew by {} MiB", grown >> 20);
    assert!(grown < GROWTH_BYTES_MAX + SLACK_BYTES, "{} MiB more", grown >> 20);
    // The node has recovered.
    done(busy.acquire("after").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_user_looks_like_a_known_one() {
    let secured = with_users().await;
    let nobody = Caller::anonymous(secured.follower());
    let try_login = async |user: &str| {
        let begun = Instant::now();
        let body = json!({"user": user, "password": "not the right password"});
        let answer = nobody.post("/api/v1/access/login", body).await;
        (answer, begun.elapsed())
    };
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for number in 0..USERS {
        let (one, took) = try_login(&format!("user{number}")).await;
        let (other, took_other) = try_login(&format!("nobody{number}")).await;
        if [&one, &other].iter().any(|answer| answer.code() == "rate_limited") {
            break;
        }
        assert_eq!((one.status, one.code()), (other.status, other.code()), "{one:?} {other:?}");
        assert_eq!(one.status, 401, "{one:?}");
        let words =
            |answer: &batuta_tests::Answer| answer.body["detail"].as_str().unwrap_or_default().to_owned();
        assert_eq!(
            words(&one).replace(&format!("user{number}"), ""),
            words(&other).replace(&format!("nobody{number}"), "")
        );
        known.push(took);
        unknown.push(took_other);
    }
    assert!(known.len() >= 2, "the throttle left too few logins to compare");
    known.sort();
    unknown.sort();
    let (known, unknown) = (known[known.len() / 2], unknown[unknown.len() / 2]);
    println!("a known user takes {known:?}, an unknown one {unknown:?}");
    assert!(known < 3 * unknown && unknown < 3 * known, "{known:?} and {unknown:?}");
}
