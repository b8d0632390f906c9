//! The Rust client and the command line over real processes, through failover.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use batuta_client::{Client, LockOptions};
use batuta_tests::{Cluster, eventually, program};

async fn client(cluster: &Cluster) -> Client {
    Client::builder()
        .endpoints(cluster.endpoints())
        .timeout(Duration::from_secs(30))
        .connect()
        .await
        .expect("connects")
}

fn batuta(cluster: &Cluster, words: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(words).env("BATUTA_ENDPOINTS", cluster.endpoints().join(",")).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn session_and_its_lock_outlive_the_leader() {
    let mut cluster = Cluster::start(3).await;
    let client = client(&cluster).await;
    let session = client.open_session(Duration::from_secs(10)).await.expect("opens");
    let lock = session.acquire(LockOptions::exclusive("job")).await.expect("acquires");
    let token = lock.token();
    let leader = cluster.leader().await;
    cluster.nodes[leader].kill();
    let survivor = cluster.leader().await;
    // A further lock goes through the new leader, and its token is newer.
    let other = session.acquire(LockOptions::exclusive("other")).await.expect("acquires after the failover");
    assert!(other.token() > token);
    let rest = &cluster.nodes[survivor].rest;
    let seen = rest.get("/api/v1/locks/job").await.expect(200);
    assert_eq!(seen.body["holders"][0]["fencing_token"], token, "{seen:?}");
    lock.release().await.expect("releases");
    other.release().await.expect("releases");
    session.close().await.expect("closes");
    assert_eq!(rest.get("/api/v1/locks/job").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn loss_of_a_lock_is_reported() {
    let cluster = Cluster::start(1).await;
    let client = client(&cluster).await;
    let session = client.open_session(Duration::from_secs(30)).await.expect("opens");
    let lock = session.acquire(LockOptions::exclusive("job")).await.expect("acquires");
    let rest = &cluster.nodes[0].rest;
    let path = format!("/api/v1/locks/job?force=true&fencing_token={}&reason=test", lock.token());
    let _ = rest.delete(&path).await.expect(200);
    let loss = tokio::time::timeout(batuta_tests::PATIENCE, lock.lost()).await.expect("the loss is reported");
    assert_eq!(loss.code, "lock_not_held", "{loss:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn command_line_takes_checks_and_releases() {
    let cluster = Cluster::start(3).await;
    let answer = batuta(&cluster, &["-o", "json", "lock", "acquire", "orders/42", "--ttl", "1m"])
        .output()
        .expect("runs");
    assert!(answer.status.success(), "{}", said(&answer));
    let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).expect("JSON");
    let grant = &answer["grant"];
    let lock_id = grant["lock_id"].as_str().expect("an id");
    let token = grant["fencing_token"].to_string();
    let check =
        |token: &str| batuta(&cluster, &["lock", "check", "orders/42", token]).output().expect("runs");
    assert_eq!(check(&token).status.code(), Some(0));
    assert_eq!(check("999").status.code(), Some(1), "not the newest token");
    let busy = batuta(&cluster, &["lock", "acquire", "orders/42"]).output().expect("runs");
    assert_eq!(busy.status.code(), Some(73), "{}", said(&busy));
    let released = batuta(&cluster, &["lock", "release", lock_id]).output().expect("runs");
    assert!(released.status.success(), "{}", said(&released));
    let health = batuta(&cluster, &["health"]).output().expect("runs");
    assert_eq!(health.status.code(), Some(0), "{}", said(&health));
}

#[tokio::test(flavor = "multi_thread")]
async fn lock_run_returns_exit_code_and_stops_on_loss() {
    let cluster = Cluster::start(1).await;
    let words = ["lock", "run", "job", "--", "sh", "-c", "test \"$BATUTA_LOCK_TOKEN\" -ge 1 && exit 7"];
    let ended = batuta(&cluster, &words).output().expect("runs");
    assert_eq!(ended.status.code(), Some(7), "{}", said(&ended));
    let rest = &cluster.nodes[0].rest;
    assert_eq!(rest.get("/api/v1/locks/job").await.status, 404, "given back");

    let words = ["lock", "run", "job", "--grace", "30s", "--", "sleep", "600"];
    let running =
        batuta(&cluster, &words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
    let token = eventually("the command holds the lock", || async {
        rest.get("/api/v1/locks/job").await.body["holders"][0]["fencing_token"].as_u64()
    })
    .await;
    let busy = batuta(&cluster, &["lock", "run", "job", "--", "true"]).output().expect("runs");
    assert_eq!(busy.status.code(), Some(73), "{}", said(&busy));
    let path = format!("/api/v1/locks/job?force=true&fencing_token={token}&reason=test");
    let _ = rest.delete(&path).await.expect(200);
    let lost =
        tokio::task::spawn_blocking(|| running.wait_with_output()).await.expect("waits").expect("ends");
    assert_eq!(lost.status.code(), Some(75), "{}", said(&lost));
}
