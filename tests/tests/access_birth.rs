//! How a cluster gets its first administrator, one more after a lock-out, and what the audits say about it.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use batuta_tests::{Answer, Cluster, Dev, Rest, eventually, program, written};
use rustix::process::Signal;
use serde_json::{Value, json};

const BOOTSTRAP: &str = "/api/v1/access/bootstrap";

/// Starts nodes that create a secured cluster, with their logs.
async fn secured(count: usize, more: &[&str]) -> Cluster {
    let mut cluster = Cluster::start(0).await;
    cluster.keep_logs();
    for number in 1..=count {
        cluster.add(&format!("n{number}"));
    }
    let more: Vec<&str> = ["--secure"].into_iter().chain(more.iter().copied()).collect();
    for place in 0..count {
        cluster.launch(place, &more);
    }
    for node in &cluster.nodes {
        node.ready().await;
    }
    cluster
}

/// The one file with the bootstrap token of the cluster.
async fn token_file(cluster: &Cluster) -> PathBuf {
    eventually("one node keeps the bootstrap token", || async {
        let files = cluster.nodes.iter().map(|node| node.data_dir.join("bootstrap-token"));
        let files: Vec<PathBuf> = files.filter(|file| file.exists()).collect();
        // The others remove theirs once the cluster is there.
        (files.len() == 1).then(|| files[0].clone())
    })
    .await
}

fn text(file: &Path) -> String {
    std::fs::read_to_string(file).expect("a file").trim_end().to_owned()
}

async fn bootstrap(rest: &Rest, token: &str, admin: &str) -> Answer {
    rest.post(BOOTSTRAP, &json!({"token": token, "admin": admin})).await
}

async fn with_key(rest: &Rest, key: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let header = format!("Bearer {key}");
    rest.try_send(method, path, &[("authorization", &header)], body).await.expect("an answer")
}

fn recover(data_dir: &Path) -> Output {
    let mut command = Command::new(program());
    command.args(["access", "recover"]).arg(format!("--data-dir={}", data_dir.display()));
    command.stdin(Stdio::null()).output().expect("the program runs")
}

/// The token that `access recover` printed.
fn recovered(data_dir: &Path) -> String {
    let output = recover(data_dir);
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).expect("text");
    assert!(printed.starts_with("btb_") && printed.lines().count() == 1, "the token alone");
    printed.trim_end().to_owned()
}

/// The lines of a node's audit.
fn audit(data_dir: &Path) -> Vec<Value> {
    let file = data_dir.join("audit").join("audit-1.jsonl");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    // The last line may be only half written.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

async fn audited(data_dir: &Path, why: &str) -> Value {
    eventually(&format!("the audit says {why:?}"), || async {
        let said = |line: &Value| line["why"].as_str().is_some_and(|words| words.contains(why));
        audit(data_dir).into_iter().find(said)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_bootstraps_at_once_wins() {
    let cluster = secured(3, &[]).await;
    let file = token_file(&cluster).await;
    let mode = std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let token = text(&file);
    let (first, second) = tokio::join!(
        bootstrap(&cluster.nodes[0].rest, &token, "ann"),
        bootstrap(&cluster.nodes[1].rest, &token, "bob"),
    );
    let (won, lost) = if first.status < 300 { (first, second) } else { (second, first) };
    assert!(won.status < 300, "{won:?} {lost:?}");
    assert!((400..500).contains(&lost.status), "{lost:?}");
    let key = won.text("key").to_owned();
    for node in &cluster.nodes {
        let access = with_key(&node.rest, &key, "GET", "/api/v1/access", None).await.expect(200);
        assert_eq!((access.text("mode"), access.number("principals")), ("enforce", 1));
    }
    eventually("the file of the used token is removed", || async { (!file.exists()).then_some(()) }).await;
    for node in &cluster.nodes {
        assert!(!node.log().contains(&token) && !node.log().contains(&key), "the log names the path only");
        let line = audited(&node.data_dir, "token_ended used bootstrap").await;
        assert_eq!((line["kind"].as_str(), line["revision"].is_u64()), (Some("change"), true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secured_cluster_answers_nobody_before_its_administrator() {
    let cluster = secured(1, &[]).await;
    let node = &cluster.nodes[0];
    let token = text(&token_file(&cluster).await);
    let lock = json!({"name": "early", "ttl_ms": 1000});
    for (method, path, body) in [
        ("POST", "/api/v1/locks", Some(&lock)),
        ("GET", "/api/v1/locks", None),
        ("GET", "/api/v1/cluster", None),
        ("GET", "/api/v1/access", None),
        ("PUT", "/api/v1/access/mode", Some(&json!({"mode": "off"}))),
        ("PUT", "/api/v1/access/users/eve", Some(&json!({}))),
    ] {
        let answer = node.rest.send(method, path, body).await;
        assert_eq!((answer.status, answer.code()), (401, "unauthenticated"), "{method} {path}: {answer:?}");
    }
    let who = node.rest.get("/api/v1/access/whoami").await.expect(200);
    assert_eq!(who.text("principal"), "anonymous");
    let _ = node.rest.get("/readyz").await.expect(200);
    let mut wrong = token.clone();
    wrong.replace_range(20..21, if &token[20..21] == "x" { "y" } else { "x" });
    for bad in [wrong.as_str(), "btb_", ""] {
        let answer = bootstrap(&node.rest, bad, "eve").await;
        assert!((400..500).contains(&answer.status), "{answer:?}");
    }
    let answer = with_key(&node.rest, &token, "GET", "/api/v1/locks", None).await;
    assert_eq!(answer.code(), "invalid_token", "a bootstrap token is no key");
    let made = bootstrap(&node.rest, &token, "ann").await;
    assert!(made.status < 300, "wrong tries stand in nobody's way: {made:?}");
    let answer = with_key(&node.rest, made.text("key"), "POST", "/api/v1/locks", Some(&lock)).await;
    let _ = answer.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn given_bootstrap_token_is_used() {
    let directory = tempfile::tempdir().expect("a directory");
    // Only a token that the program made has a valid checksum.
    let donor = Cluster::start(1).await;
    let token = recovered(&donor.nodes[0].data_dir);
    let file = directory.path().join("secret");
    std::fs::write(&file, format!("{token}\n")).expect("a file");
    let given = format!("--set=access.bootstrap_token_file={}", file.display());
    let mut cluster = secured(3, &[&given]).await;
    assert!(cluster.nodes.iter().all(|node| !node.data_dir.join("bootstrap-token").exists()));
    let made = bootstrap(&cluster.nodes[2].rest, &token, "ann").await;
    assert!(made.status < 300, "{made:?}");
    // The secret may be taken away once the cluster is there.
    std::fs::remove_file(&file).expect("the file");
    cluster.nodes[0].stop().await;
    cluster.launch(0, &["--secure", &given]);
    cluster.nodes[0].ready().await;
    let key = made.text("key");
    let _ = with_key(&cluster.nodes[0].rest, key, "GET", "/api/v1/access", None).await.expect(200);
    eventually("no token is left", || async {
        (!cluster.nodes[0].data_dir.join("bootstrap-token").exists()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recovery_makes_the_first_and_another_administrator() {
    let mut cluster = Cluster::start(3).await;
    assert!(cluster.nodes.iter().all(|node| !node.data_dir.join("bootstrap-token").exists()), "nobody asked");
    let replaced = recovered(&cluster.nodes[0].data_dir);
    let token = recovered(&cluster.nodes[1].data_dir);
    let late = bootstrap(&cluster.nodes[0].rest, &replaced, "eve").await;
    assert!((400..500).contains(&late.status), "another token took its place: {late:?}");
    let made = bootstrap(&cluster.nodes[2].rest, &token, "ann").await;
    assert!(made.status < 300, "{made:?}");
    let enforce = json!({"mode": "enforce"});
    let rest = &cluster.nodes[0].rest;
    let _ = with_key(rest, made.text("key"), "PUT", "/api/v1/access/mode", Some(&enforce)).await.expect(200);
    let again = bootstrap(&cluster.nodes[0].rest, &token, "eve").await;
    assert!((400..500).contains(&again.status), "it is used: {again:?}");
    let token = recovered(&cluster.nodes[0].data_dir);
    let bob = bootstrap(&cluster.nodes[0].rest, &token, "bob").await;
    assert!(bob.status < 300, "everybody else is locked out: {bob:?}");
    for node in &cluster.nodes {
        let _ = audited(&node.data_dir, "token_created bootstrap").await;
        let line = audited(&node.data_dir, "access_mode_changed enforce").await;
        assert_eq!(line["principal"], "user/ann", "{line}");
        for file in ["recovery-request", "recovery-answer"] {
            assert!(!node.data_dir.join(file).exists(), "{file}");
        }
    }
    let _ = audited(&cluster.nodes[1].data_dir, "request on this node's disk opened").await;
    // A restart writes no change again.
    let changes = |data_dir: &Path| {
        let lines = audit(data_dir).into_iter().filter(|line| line["kind"] == "change");
        let told: Vec<String> = lines.map(|line| format!("{} {}", line["revision"], line["why"])).collect();
        assert_eq!(told.len(), told.iter().collect::<BTreeSet<_>>().len(), "{told:?}");
        told.len()
    };
    eventually("the changes that made bob are recorded", || async {
        let lines = audit(&cluster.nodes[2].data_dir);
        let of_bob = lines.iter().filter(|line| line.to_string().contains("user/bob"));
        (of_bob.count() >= 3).then_some(())
    })
    .await;
    let before = changes(&cluster.nodes[2].data_dir);
    cluster.nodes[2].stop().await;
    cluster.launch(2, &[]);
    cluster.nodes[2].ready().await;
    let key = bob.text("key");
    let put = json!({"description": "after the restart"});
    let rest = &cluster.nodes[2].rest;
    let _ = with_key(rest, key, "PUT", "/api/v1/access/users/carl", Some(&put)).await;
    eventually("the change after the restart is recorded", || async {
        (changes(&cluster.nodes[2].data_dir) > before).then_some(())
    })
    .await;
    assert_eq!(changes(&cluster.nodes[2].data_dir), before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn recovery_needs_the_disk_of_a_member() {
    let cluster = Cluster::start_listening(1).await;
    let node = &cluster.nodes[0];
    let directory = tempfile::tempdir().expect("a directory");
    let output = recover(directory.path());
    assert!(!output.status.success() && output.stdout.is_empty());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("no data directory of a member"), "{said}");
    // A request that others could have written is not accepted.
    let request = node.data_dir.join("recovery-request");
    let body = json!({"id": "abcDEF012345", "hash": "a5".repeat(32)}).to_string();
    std::fs::write(&request, body).expect("a file");
    std::fs::set_permissions(&request, std::fs::Permissions::from_mode(0o666)).expect("its own file");
    node.says("a request for recovery was not accepted").await;
    assert!(!request.exists() && !node.data_dir.join("recovery-answer").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn recovery_can_be_switched_off() {
    let cluster = Cluster::start_with(1, &["--set=access.recovery=false"]).await;
    let data_dir = &cluster.nodes[0].data_dir;
    let output = recover(data_dir);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("access.recovery is false"), "{said}");
    let line = audited(data_dir, "access.recovery is false").await;
    assert_eq!((line["kind"].as_str(), line["decision"].as_str()), (Some("privileged"), Some("refused")));
}

#[tokio::test(flavor = "multi_thread")]
async fn secured_dev_cluster_has_an_administrator() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut keys = Vec::new();
    // The second start finds the key of the first.
    for arguments in [&["--secure", "--nodes=3"][..], &[]] {
        let mut dev = Dev::start(directory.path(), arguments, Stdio::null(), Stdio::inherit()).await;
        let ready: Value =
            serde_json::from_str(&written(&directory.path().join("ready")).await).expect("JSON");
        let file = PathBuf::from(ready["token_file"].as_str().expect("the file with the key"));
        let mode = std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777;
        assert!(file.is_absolute() && mode == 0o600, "{}: {mode:o}", file.display());
        let key = text(&file);
        for (rest, _) in &dev.nodes {
            let who = with_key(rest, &key, "GET", "/api/v1/access/whoami", None).await.expect(200);
            assert_eq!(who.text("principal"), "user/admin");
            assert_eq!(rest.get("/api/v1/locks").await.code(), "unauthenticated");
        }
        keys.push(key);
        dev.process.signal(Signal::TERM);
        assert_eq!(dev.process.ended().await.code(), Some(0));
        std::fs::remove_file(directory.path().join("ready")).expect("it was written");
    }
    assert_eq!(keys[0], keys[1]);
}
