//! Clients whose node is silent, down, or not a Batuta node at all: the Rust client and the command line over real processes.

use std::fs::File;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use batuta_client::{Client, LockOptions, WatchItem, WatchOptions, v1};
use batuta_tests::{Cluster, PATIENCE, eventually, program};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

fn batuta(endpoints: &str, words: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(words).env("BATUTA_ENDPOINTS", endpoints).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn ended(mut command: Command) -> Output {
    let output = tokio::task::spawn_blocking(move || command.output());
    tokio::time::timeout(PATIENCE, output).await.expect("ends").expect("waits").expect("runs")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Endpoints of the cluster, starting with the node at this place.
fn endpoints_from(cluster: &Cluster, first: usize) -> String {
    let mut endpoints = cluster.endpoints();
    endpoints.swap(0, first);
    endpoints.join(",")
}

fn end(running: &mut Child) {
    let pid = i32::try_from(running.id()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, Signal::TERM).expect("our own child");
}

async fn holder(cluster: &Cluster, place: usize) -> Option<u64> {
    let answer = cluster.nodes[place].rest.try_send("GET", "/api/v1/locks/job", &[], None).await.ok()?;
    answer.body["holders"][0]["fencing_token"].as_u64()
}

/// Pauses the leader while a command runs under a lock whose TTL is only a little longer than an election. Returns whether the lock
/// survived.
async fn a_short_lock_outlives_a_pause(cluster: &Cluster) -> bool {
    let leader = cluster.leader().await;
    let words = ["lock", "run", "job", "--ttl", "3s", "--lock-delay", "0", "--", "sleep", "600"];
    let mut running = batuta(&endpoints_from(cluster, leader), &words).spawn().expect("runs");
    let other = (leader + 1) % 3;
    let token = eventually("the command holds the lock", || async { holder(cluster, other).await }).await;
    cluster.nodes[leader].signal(Signal::STOP);
    // Much longer than the TTL, and than the others need to elect a leader.
    let until = Instant::now() + Duration::from_secs(12);
    let mut outlived = true;
    while outlived && Instant::now() < until {
        outlived = running.try_wait().expect("our own child").is_none();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    if outlived {
        assert_eq!(holder(cluster, other).await, Some(token), "the same grant");
    }
    cluster.nodes[leader].signal(Signal::CONT);
    if outlived {
        eventually("the node that was paused sees the same holder", || async {
            (holder(cluster, leader).await == Some(token)).then_some(())
        })
        .await;
        end(&mut running);
    }
    let output = tokio::task::spawn_blocking(|| running.wait_with_output()).await;
    let output = output.expect("waits").expect("ends");
    let expected = if outlived { 128 + 15 } else { 75 };
    assert_eq!(output.status.code(), Some(expected), "{}", said(&output));
    eventually("the lock is released", || async { holder(cluster, other).await.is_none().then_some(()) })
        .await;
    outlived
}

/// Whether an event is about this acquisition.
fn is_about(event: &v1::Event, lock_id: &str) -> bool {
    matches!(&event.facts, Some(v1::event::Facts::Lock(facts)) if facts.lock_id == lock_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn short_session_lock_outlives_a_paused_leader() {
    let cluster = Cluster::start(3).await;
    // On a busy machine the election alone may take as long as the TTL.
    for _ in 0..5 {
        if a_short_lock_outlives_a_pause(&cluster).await {
            return cluster.converged().await;
        }
    }
    panic!("the lock was lost each time");
}

/// Like [`a_short_lock_outlives_a_pause`], for a one-shot lock that the Rust client extends.
async fn a_short_guard_outlives_a_pause(cluster: &Cluster) -> bool {
    let leader = cluster.leader().await;
    let client = Client::builder().endpoints(cluster.endpoints()).timeout(PATIENCE).connect().await;
    let client = client.expect("connects");
    let lock = client.acquire(LockOptions::exclusive("job"), Duration::from_secs(3)).await.expect("acquires");
    cluster.nodes[leader].signal(Signal::STOP);
    let outlived = tokio::time::timeout(Duration::from_secs(8), lock.lost()).await.is_err();
    cluster.nodes[leader].signal(Signal::CONT);
    if outlived {
        lock.release().await.expect("a held lock can be released");
    }
    let free = || async { holder(cluster, leader).await.is_none().then_some(()) };
    eventually("nobody holds it", free).await;
    outlived
}

#[tokio::test(flavor = "multi_thread")]
async fn short_one_shot_lock_outlives_a_paused_leader() {
    let cluster = Cluster::start(3).await;
    for _ in 0..5 {
        if a_short_guard_outlives_a_pause(&cluster).await {
            return cluster.converged().await;
        }
    }
    panic!("the lock was lost each time");
}

#[tokio::test(flavor = "multi_thread")]
async fn write_without_an_answer_is_reported_as_unknown() {
    let mut cluster = Cluster::start(1).await;
    let rest = cluster.nodes[0].rest.clone();
    let _ = rest.post("/api/v1/locks", &json!({"name": "job", "ttl_ms": 600_000})).await.expect(201);
    let endpoints = cluster.endpoints().join(",");
    let words = ["--timeout", "2s", "-o", "json", "lock", "acquire", "job", "--wait", "3s"];
    let running = batuta(&endpoints, &words).spawn().expect("runs");
    eventually("the command waits", || async {
        (rest.get("/api/v1/locks/job").await.body["waiter_count"] == 1).then_some(())
    })
    .await;
    cluster.nodes[0].kill();
    let output = tokio::task::spawn_blocking(|| running.wait_with_output());
    let output = tokio::time::timeout(PATIENCE, output).await.expect("ends").expect("waits").expect("ends");
    assert_eq!(output.status.code(), Some(71), "{}", said(&output));
    let error: Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert_eq!((&error["code"], &error["retryable"]), (&json!("outcome_unknown"), &json!(true)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_continue_while_the_first_node_is_paused() {
    let cluster = Cluster::start(3).await;
    let paused = cluster.follower().await;
    let endpoints = endpoints_from(&cluster, paused);
    let client = Client::builder()
        .endpoints(endpoints.split(','))
        .timeout(Duration::from_secs(20))
        .connect()
        .await
        .expect("connects");
    let mut watch = client.watch(WatchOptions::now().areas(["lock"]).progress(Duration::from_millis(200)));
    while !matches!(watch.next().await.expect("watches"), WatchItem::Progress { .. }) {}
    cluster.nodes[paused].signal(Signal::STOP);
    // Each command is a new process that does not know that the node is silent.
    let acquired =
        ended(batuta(&endpoints, &["--timeout", "8s", "-o", "json", "lock", "acquire", "a", "--ttl", "1m"]))
            .await;
    assert!(acquired.status.success(), "{}", said(&acquired));
    let status = ended(batuta(&endpoints, &["--timeout", "8s", "cluster", "status"])).await;
    assert!(status.status.success(), "{}", said(&status));
    let health = ended(batuta(&endpoints, &["--timeout", "8s", "health", "--any"])).await;
    assert!(health.status.success(), "{}", said(&health));
    let session = client.open_session(Duration::from_secs(10)).await.expect("opens");
    let lock = session.acquire(LockOptions::exclusive("job")).await.expect("acquires");
    let seen = tokio::time::timeout(PATIENCE, async {
        loop {
            if let WatchItem::Changes { events, .. } = watch.next().await.expect("watches")
                && events.iter().any(|event| is_about(event, lock.lock_id()))
            {
                return;
            }
        }
    });
    seen.await.expect("the watch continues through another node");
    cluster.nodes[paused].signal(Signal::CONT);
    lock.release().await.expect("releases");
    session.close().await.expect("closes");
    cluster.converged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_at_a_paused_node_continues_at_another() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let other = (leader + 1) % 3;
    let rest = &cluster.nodes[other].rest;
    let held = rest.post("/api/v1/locks", &json!({"name": "job", "ttl_ms": 600_000})).await.expect(201);
    let words = ["lock", "run", "job", "--wait", "10m", "--ttl", "10s", "--", "echo", "done"];
    let running = batuta(&endpoints_from(&cluster, leader), &words).spawn().expect("runs");
    let waiters = async || {
        let answer = rest.try_send("GET", "/api/v1/locks/job", &[], None).await.ok()?;
        answer.body["waiter_count"].as_u64()
    };
    eventually("the command waits", || async { (waiters().await == Some(1)).then_some(()) }).await;
    cluster.nodes[leader].signal(Signal::STOP);
    eventually("the lock is released through another node", || async {
        let path = format!("/api/v1/locks/job?lock_id={}", held.text("lock_id"));
        let answer = rest.try_send("DELETE", &path, &[], None).await.ok()?;
        (answer.status == 200 || answer.code() == "lock_not_held").then_some(())
    })
    .await;
    let output = tokio::task::spawn_blocking(|| running.wait_with_output());
    let output = tokio::time::timeout(PATIENCE, output).await.expect("ends").expect("waits").expect("ends");
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"done\n"[..]), "{}", said(&output));
    cluster.nodes[leader].signal(Signal::CONT);
    cluster.converged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn client_of_one_endpoint_outlives_its_node() {
    let mut cluster = Cluster::start(3).await;
    let only = cluster.leader().await;
    let client = Client::builder()
        .endpoints([cluster.nodes[only].grpc.clone()])
        .timeout(Duration::from_secs(30))
        .connect()
        .await
        .expect("connects");
    let session = client.open_session(Duration::from_secs(10)).await.expect("opens");
    let lock = session.acquire(LockOptions::exclusive("job")).await.expect("acquires");
    cluster.nodes[only].kill();
    let other = session.acquire(LockOptions::exclusive("other")).await.expect("through another member");
    assert!(other.token() > lock.token());
    lock.release().await.expect("releases");
    session.close().await.expect("closes");
    cluster.launch(only, &[]);
    cluster.nodes[only].ready().await;
    cluster.converged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_endpoints_are_reported_as_such() {
    let cluster = Cluster::start(1).await;
    let rest = cluster.nodes[0].rest_address();
    let cases = [
        (rest.as_str(), 69, "not_batuta", "not a gRPC port"),
        ("127.0.0.1:1", 69, "unavailable", "connection refused"),
        ("no-such-host.invalid:9090", 69, "unavailable", "unknown host"),
    ];
    for (endpoint, exit, code, cause) in cases {
        for command in [&["lock", "get", "a"][..], &["cluster", "status"], &["watch"]] {
            let words = [&["--timeout", "3s", "-o", "json"], command].concat();
            let output = ended(batuta(endpoint, &words)).await;
            assert_eq!(output.status.code(), Some(exit), "{endpoint} {command:?}: {}", said(&output));
            let error: Value = serde_json::from_slice(&output.stderr).expect("JSON");
            assert_eq!(error["code"], code, "{error}");
            let message = error["message"].as_str().expect("text");
            assert!(message.contains(endpoint) && message.contains(cause), "{message}");
        }
    }
    for endpoint in ["https://127.0.0.1:1", "ftp://127.0.0.1:1", "127.0.0.1"] {
        let output = ended(batuta(endpoint, &["health"])).await;
        assert_eq!(output.status.code(), Some(2), "{endpoint}: {}", said(&output));
        let message = said(&output);
        assert!(message.contains(endpoint) && message.contains("http://host:port"), "{message}");
        let error = Client::builder().endpoints([endpoint]).connect().await.expect_err("refused");
        assert_eq!(error.code, "invalid_argument", "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn command_line_has_the_errors_of_rest() {
    let cluster = Cluster::start(1).await;
    let (rest, endpoints) = (&cluster.nodes[0].rest, cluster.endpoints().join(","));
    let held = rest.post("/api/v1/locks", &json!({"name": "42", "ttl_ms": 60_000})).await.expect(201);
    let asked = json!({"name": "42", "ttl_ms": 60_000});
    let short = json!({"name": "b", "ttl_ms": 1});
    let cases = [
        (&["lock", "acquire", "42"][..], rest.post("/api/v1/locks", &asked).await),
        (&["lock", "acquire", "b", "--ttl", "1ms"], rest.post("/api/v1/locks", &short).await),
        (&["lock", "get", "7"], rest.get("/api/v1/locks/7").await),
        (&["lock", "release", "l-9.0"], rest.delete("/api/v1/locks/x?lock_id=l-9.0").await),
        (
            &["lock", "cancel", held.text("lock_id")],
            rest.delete(&format!("/api/v1/waits/{}", held.text("lock_id"))).await,
        ),
        (
            &["lock", "force-release", "42", "--token", "900", "--reason", "x"],
            rest.delete("/api/v1/locks/42?force=true&fencing_token=900&reason=x").await,
        ),
    ];
    for (words, expected) in cases {
        let output = ended(batuta(&endpoints, &[&["-o", "json"], words].concat())).await;
        let error: Value =
            serde_json::from_slice(&output.stderr).unwrap_or_else(|_| panic!("{}", said(&output)));
        for field in ["code", "retryable"] {
            assert_eq!(error[field], expected.body[field], "{words:?}: {error}");
        }
        let details = expected.body.get("details").cloned().unwrap_or_else(|| json!({}));
        assert_eq!(error["details"], details, "{words:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lock_that_cannot_be_printed_is_released() {
    let cluster = Cluster::start(1).await;
    let (rest, endpoints) = (&cluster.nodes[0].rest, cluster.endpoints().join(","));
    let full = || Stdio::from(File::options().write(true).open("/dev/full").expect("a full device"));
    let unread = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        Stdio::from(writer)
    };
    let acquire = &["lock", "acquire", "a"][..];
    let open = &["session", "open"][..];
    for (words, stdout) in [(acquire, full()), (acquire, unread()), (open, full()), (open, unread())] {
        let mut command = batuta(&endpoints, words);
        command.stdout(stdout);
        let output = ended(command).await;
        assert_eq!(output.status.code(), Some(74), "{words:?}: {}", said(&output));
        assert!(said(&output).contains("was given back"), "{}", said(&output));
        assert_eq!(rest.get("/api/v1/locks/a").await.status, 404);
        assert_eq!(rest.get("/api/v1/sessions").await.body["sessions"], json!([]));
    }
    let keyed = ["lock", "acquire", "a", "--key", "k"];
    let mut command = batuta(&endpoints, &keyed);
    command.stdout(full());
    let output = ended(command).await;
    assert_eq!(output.status.code(), Some(74), "{}", said(&output));
    let again = ended(batuta(&endpoints, &keyed)).await;
    assert!(again.status.success(), "the retry finds the lock by its key: {}", said(&again));
}
