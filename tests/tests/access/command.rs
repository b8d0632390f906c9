//! The command line and the Rust client with tokens: from files that are written anew, and never from arguments.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use batuta_tests::{Process, eventually, program};
use serde_json::json;

use crate::secure::{Caller, Secured, done};

const KEY_MS: u64 = 5_000;

/// A program of the command line for a node, without the credentials of whoever runs the tests.
fn batuta(caller: &Caller, home: &Path) -> Command {
    let mut command = Command::new(program());
    command
        .env("BATUTA_ENDPOINTS", &caller.grpc)
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home.join("config"));
    command.env_remove("BATUTA_TOKEN").env_remove("BATUTA_TOKEN_FILE").stdin(Stdio::null());
    command
}

/// Replaces a file at once, as projected tokens are.
fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, format!("{text}\n")).expect("a file");
    std::fs::rename(&new, path).expect("the file");
}

#[tokio::test(flavor = "multi_thread")]
async fn lock_run_reads_its_token_file_again() {
    let secured = Secured::start(3).await;
    secured.editor("worker").await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    let short = secured.key("service/worker", json!({"ttl_ms": KEY_MS})).await;
    put(&file, &short.key);
    let mut run = batuta(&short, directory.path());
    run.env("BATUTA_TOKEN_FILE", &file);
    let mut job = Process::start(run.args(["lock", "run", "rotated", "--ttl", "3s", "--", "sleep", "60"]));
    let holders = async || {
        let answer = secured.root.get("/api/v1/locks/rotated").await;
        (answer.body["holder_count"] == 1).then(|| answer.body["holders"][0]["fencing_token"].clone())
    };
    let token = eventually("the lock is held", &holders).await;
    let long = secured.key("service/worker", json!({})).await;
    put(&file, &long.key);
    // Longer than the key and the session last: without the new key, the lock would be gone.
    tokio::time::sleep(Duration::from_millis(KEY_MS + 5_000)).await;
    assert!(job.runs(), "the command goes on");
    assert_eq!(holders().await, Some(token), "it is the same grant");
    // The secret is in no argument of any process.
    for entry in std::fs::read_dir("/proc").expect("Linux").flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        assert!(!line.contains(&short.key) && !line.contains(&long.key), "{line}");
    }
    // When the key is taken away and no other comes, the command does not go on without its lock.
    for caller in [&short, &long] {
        let _ = secured.root.delete(&format!("/api/v1/access/credentials/{}", caller.credential)).await;
    }
    let status = job.ended().await;
    assert!(!status.success(), "{status:?}");
}

fn run(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("the program runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn command_line_names_what_is_missing() {
    let secured = Secured::start(1).await;
    let directory = tempfile::tempdir().expect("a directory");
    let weak = secured.able("weak", &["lock:read"], &["ok/**"]).await;
    let (code, said) = run(batuta(&weak, directory.path()).args(["lock", "get", "ok/1"]));
    assert_ne!(code, Some(0), "{said}");
    assert!(said.contains("unauthenticated") || said.contains("credential"), "{said}");
    let with =
        |words: &[&str]| run(batuta(&weak, directory.path()).env("BATUTA_TOKEN", &weak.key).args(words));
    let (code, said) = with(&["whoami"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("service/weak"), "{said}");
    let (code, said) = with(&["lock", "acquire", "ok/1"]);
    assert_ne!(code, Some(0), "{said}");
    assert!(said.contains("lock:acquire"), "{said}");
    let (_, said) = with(&["access", "can", "lock:read", "ok/1"]);
    assert!(!said.contains(&weak.key), "the secret is not printed");
    let (code, said) = with(&["access", "explain", "lock:acquire", "ok/1"]);
    assert!(code.is_some() && said.contains("lock:acquire"), "{said}");
    // A file that others can read is taken, one that does not exist is named.
    let missing = directory.path().join("missing");
    let mut command = batuta(&weak, directory.path());
    let (code, said) = run(command.env("BATUTA_TOKEN_FILE", &missing).args(["whoami"]));
    assert_ne!(code, Some(0), "{said}");
    assert!(said.contains("missing"), "{said}");
    done(weak.get("/api/v1/access/whoami").await);
}
