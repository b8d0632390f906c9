//! No secret that was made or sent is in any log, audit, data file or refusal.

use std::path::{Path, PathBuf};

use batuta_proto::v1;
use batuta_proto::v1::hold_request;
use batuta_tests::{Cluster, eventually};
use serde_json::json;

use crate::secure::{Caller, Secured, done, text};
use crate::streams::{Piped, answered, hold, holding, send, ws};

const PASSWORD: &str = "zebra-crossing-at-midnight";
const WRONG: &str = "giraffe-crossing-at-noon";

/// All files under a directory.
fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// What must not be found: each secret, and of tokens also the part that is secret.
fn needles(secrets: &[String]) -> Vec<String> {
    let parts = secrets.iter().flat_map(|secret| {
        let part = secret.rsplit('_').next().filter(|part| part.len() > 20).map(str::to_owned);
        [Some(secret.clone()), part].into_iter().flatten()
    });
    parts.collect()
}

/// A cluster that logs all that it can and audits all that it does.
async fn talkative() -> Secured {
    let mut cluster = Cluster::start_with(0, &["--set=log.level=trace", "--set=audit.level=all"]).await;
    cluster.keep_logs();
    for name in ["n1", "n2", "n3"] {
        cluster.add(name);
    }
    for place in 0..3 {
        cluster.launch(place, &[]);
    }
    for node in &cluster.nodes {
        node.ready().await;
    }
    let secured = Secured::over(cluster).await;
    secured.enforce().await;
    secured
}

/// Uses secrets in every way, and returns them with the text of all answers that must not repeat them.
async fn use_secrets(secured: &Secured) -> (Vec<String>, String) {
    let root = &secured.root;
    let mut told = String::new();
    done(root.put("/api/v1/access/users/ann", json!({"description": "logs in"})).await);
    let password = "/api/v1/access/users/ann/password";
    told.push_str(&done(root.put(password, json!({"password": PASSWORD})).await).body.to_string());
    let far = Caller::anonymous(secured.follower());
    let login = done(far.post("/api/v1/access/login", json!({"user": "ann", "password": PASSWORD})).await);
    let wrong = far.post("/api/v1/access/login", json!({"user": "ann", "password": WRONG})).await;
    let malformed = far.post("/api/v1/access/login", json!({"user": "ann", "password": {"x": WRONG}})).await;
    let unknown =
        far.post("/api/v1/access/login", json!({"user": "ann", "password": WRONG, "passwort": WRONG})).await;
    let short = root.put(password, json!({"password": "shorty-7351"})).await;
    for answer in [wrong, malformed, unknown, short] {
        assert!(answer.status >= 400, "{answer:?}");
        told.push_str(&answer.body.to_string());
    }
    let (worker, _) = secured.editor("worker").await;
    let worker = worker.at(secured.follower());
    let rotated =
        done(root.post(&format!("/api/v1/access/keys/{}/rotate", worker.credential), json!({})).await);
    let new = text(&rotated, "key");
    // Renewed in streams, and used at fronts.
    let piped = Piped::open(&worker).await.expect("a stream");
    piped.sender.send(v1::PipelineRequest { token: new.clone(), ..Default::default() }).expect("open");
    let held = hold(&worker, "held").await;
    let renewal = v1::Authenticate { token: new.clone() };
    held.sender.send(holding(hold_request::Request::Authenticate(renewal))).expect("open");
    let mut socket = ws(&worker).await;
    send(&mut socket, json!({"id": "a", "op": "auth", "token": new})).await;
    answered(&mut socket, "a").await.expect("renewed");
    send(&mut socket, json!({"id": "b", "op": "auth", "token": new, "more": 1})).await;
    told.push_str(&answered(&mut socket, "b").await.expect_err("an unknown field"));
    done(worker.with_key(&new).post("/graphql", json!({"query": "{ members { __typename } }"})).await);
    // Nearly right tokens, whose secrets must not come back either.
    let cut = root.key[..root.key.len() - 1].to_owned();
    let other_id = format!("btk_AAAAAAAAAAAA{}", &root.key[16..]);
    for key in [&cut, &other_id] {
        let refusal = far.with_key(key).get("/api/v1/locks").await;
        assert_eq!(refusal.code(), "invalid_token", "{refusal:?}");
        told.push_str(&refusal.body.to_string());
    }
    for list in ["users", "services", "credentials", "roles", "bindings", "audit", "report"] {
        told.push_str(&done(root.get(&format!("/api/v1/access/{list}")).await).body.to_string());
    }
    let secrets = vec![
        root.key.clone(),
        worker.key.clone(),
        new,
        text(&login, "token"),
        PASSWORD.to_owned(),
        WRONG.to_owned(),
        cut,
    ];
    (secrets, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_written_anywhere() {
    let mut secured = talkative().await;
    let (secrets, told) = use_secrets(&secured).await;
    let needles = needles(&secrets);
    for needle in &needles {
        assert!(!told.contains(needle.as_str()), "an answer repeats a secret");
    }
    // A snapshot writes the whole state, and a stop writes what waits.
    done(secured.root.post("/api/v1/cluster/snapshot", json!({})).await);
    let audit = secured.cluster.nodes[secured.leader].data_dir.join("audit");
    eventually("the audit has lines", || async {
        let mut found = Vec::new();
        files(&audit, &mut found);
        found.iter().any(|path| path.metadata().is_ok_and(|meta| meta.len() > 0)).then_some(())
    })
    .await;
    for node in &mut secured.cluster.nodes {
        node.stop().await;
    }
    let mut found = Vec::new();
    for node in &secured.cluster.nodes {
        files(&node.data_dir, &mut found);
        let log = node.data_dir.with_extension("log");
        assert!(log.metadata().is_ok_and(|meta| meta.len() > 0), "{} has a log", node.name);
        found.push(log);
    }
    assert!(found.len() >= 9, "{found:?}");
    for path in &found {
        let bytes = std::fs::read(path).expect("a file");
        let text = String::from_utf8_lossy(&bytes);
        for needle in &needles {
            assert!(!text.contains(needle.as_str()), "{} has a secret", path.display());
        }
    }
    for node in &secured.cluster.nodes {
        let dir = node.data_dir.join("audit");
        let lines = batuta_api::access::audit::verify(&dir).expect("the audit").expect("an unbroken chain");
        assert!(lines > 0, "{}", node.name);
    }
}
