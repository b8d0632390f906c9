//! The audit never stands in the way, and what it has is whole.

use std::path::Path;

use batuta_api::access::audit;
use batuta_proto::v1;
use batuta_proto::v1::call;
use batuta_tests::{Cluster, SmallDisk, eventually};
use serde_json::{Value, json};

use crate::secure::{Caller, LONG_MS, Secured, done, refused, text};
use crate::streams::Piped;

/// More refusals than wait for a disk.
const REFUSALS: u64 = 80_000;
const CALLS_A_MESSAGE: u64 = 500;
/// The size of the small disk: with room for all lines that wait while it is full.
const DISK_BYTES: u32 = 64 << 20;

/// All lines of an audit.
fn lines(dir: &Path) -> Vec<Value> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = audit::read_page(dir, after, 1_000).expect("the audit");
        found.extend(page.lines.iter().map(|line| -> Value {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
        }));
        after = page.next;
        if page.is_end {
            return found;
        }
    }
}

/// Waits for a line with all these texts.
async fn written(dir: &Path, words: &[&str]) -> Value {
    eventually(&format!("the audit has a line with {words:?}"), || async {
        let fits = |line: &Value| {
            let text = line.to_string();
            words.iter().all(|word| text.contains(word))
        };
        lines(dir).into_iter().find(fits)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_and_refusals_are_on_record() {
    let secured = Secured::start(3).await;
    let dirs: Vec<_> = secured.cluster.nodes.iter().map(|node| node.data_dir.join("audit")).collect();
    let nobody = secured.service("nobody").await.at(secured.follower());
    refused(&nobody.acquire("wanted/lock").await, "permission_denied");
    let bad = nobody.with_key("btk_nonsense");
    refused(&bad.acquire("x").await, "invalid_token");
    // A refusal is on record where it was refused, a change on every node, with its actor.
    let denied =
        written(&dirs[secured.follower], &["denied", "service/nobody", "lock:acquire", "wanted/lock"]).await;
    assert_eq!(denied["front"], "rest", "{denied}");
    written(&dirs[secured.follower], &["auth_failed", "invalid_token"]).await;
    for dir in &dirs {
        written(dir, &["change", "user/root", "service/nobody"]).await;
    }
    // Texts of callers cannot begin a line of their own.
    let forged = "a reason\n{\"seq\":1,\"kind\":\"change\",\"principal\":\"user/nobody\"}\r\n\u{2028}";
    let binding = json!({"subject": "user/root", "role": "viewer", "reason": forged});
    let _ = secured.root.post("/api/v1/access/bindings", binding).await;
    let held = done(secured.root.acquire("forced").await);
    let encoded = forged.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    let force = format!("force=true&fencing_token={}&reason={encoded}", held.number("fencing_token"));
    let _ = secured.root.delete(&format!("/api/v1/locks/forced?{force}")).await;
    for user in ["ann\n{\"kind\":\"change\"}", "ann\u{1b}[2J"] {
        let login = json!({"user": user, "password": "not the right password"});
        assert!(nobody.post("/api/v1/access/login", login).await.status >= 400);
    }
    let agent = [("user-agent", "agent \"} {\"kind\":\"forged\"}"), ("x-request-id", "id-of-this-request")];
    refused(&nobody.send_with("GET", "/api/v1/locks", &agent, None).await, "permission_denied");
    written(&dirs[secured.follower], &["denied", "lock:list"]).await;
    for dir in &dirs {
        let count = audit::verify(dir).expect("the audit").expect("an unbroken chain");
        let found = lines(dir);
        assert_eq!(usize::try_from(count).expect("small"), found.len(), "{}", dir.display());
        assert!(found.iter().all(|line| line["kind"] != "forged"), "{}", dir.display());
    }
    // The API reads the file of the answering node.
    let page = done(secured.root.at(secured.follower()).get("/api/v1/access/audit?limit=1000").await);
    assert!(page.body.to_string().contains("wanted/lock"), "{page:?}");
    refused(&nobody.get("/api/v1/access/audit").await, "permission_denied");
}

/// Makes calls that are refused, as fast as a stream takes them.
async fn be_refused(nobody: &Caller) {
    let mut piped = Piped::open(nobody).await.expect("a stream");
    for first in (0..REFUSALS).step_by(usize::try_from(CALLS_A_MESSAGE).expect("small")) {
        let calls = (first..first + CALLS_A_MESSAGE).map(|call_id| {
            let name = format!("forbidden/{call_id}");
            let get =
                v1::GetLockRequest { name, consistency: v1::Consistency::Stale.into(), ..Default::default() };
            v1::Call { call_id, request: Some(call::Request::GetLock(get)), ..Default::default() }
        });
        let message = v1::PipelineRequest { calls: calls.collect(), ..Default::default() };
        piped.sender.send(message).expect("open");
        for _ in 0..CALLS_A_MESSAGE {
            let (_, answer) = piped.next().await.expect("goes on");
            assert_eq!(answer.expect_err("no right"), "permission_denied");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disk_of_the_audit_stops_nothing() {
    let Some(disk) = SmallDisk::mount(DISK_BYTES.into()) else { return };
    let dir = disk.path().join("audit");
    let set = format!("--set=audit.dir={}", dir.display());
    let secured = Secured::over(Cluster::start_with(1, &[&set]).await).await;
    secured.enforce().await;
    let (owner, _) = secured.editor("owner").await;
    let nobody = secured.service("nobody").await;
    let session = owner.session().await;
    let held = done(owner.acquire("held").await);
    written(&dir, &["change", "service/nobody"]).await;
    // The rest of the disk is taken.
    let filler = disk.path().join("filler");
    let _ = std::fs::write(&filler, vec![0_u8; usize::try_from(DISK_BYTES).expect("fits")]);
    be_refused(&nobody).await;
    // Keep-alives, reads, releases, closes, and changes of access go on.
    done(owner.put(&format!("/api/v1/sessions/{session}/keep-alive"), json!({})).await);
    let extend = json!({"lock_id": text(&held, "lock_id"), "ttl_ms": LONG_MS});
    done(owner.put("/api/v1/locks/held/extend", extend).await);
    done(owner.get("/api/v1/locks/held").await);
    done(owner.acquire("more").await);
    done(owner.delete(&format!("/api/v1/locks/held?lock_id={}", text(&held, "lock_id"))).await);
    done(owner.delete(&format!("/api/v1/sessions/{session}")).await);
    done(secured.root.put("/api/v1/access/services/later", json!({"description": ""})).await);
    assert_eq!(secured.follower().rest.get("/readyz").await.status, 200);
    // With room again, the audit goes on, and says what it lost.
    std::fs::remove_file(&filler).expect("the filler");
    let gap = eventually("the audit says what it lost", || async {
        let _ = nobody.get("/api/v1/locks").await;
        lines(&dir).into_iter().find(|line| line["kind"] == "gap")
    })
    .await;
    println!("{gap}");
    audit::verify(&dir).expect("the audit").expect("an unbroken chain");
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_without_its_directory_stops_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    // A file stands where the directory should be.
    let dir = directory.path().join("audit");
    std::fs::write(&dir, "not a directory").expect("a file");
    let set = format!("--set=audit.dir={}", dir.display());
    let secured = Secured::over(Cluster::start_with(1, &[&set]).await).await;
    secured.enforce().await;
    let (owner, _) = secured.editor("owner").await;
    let session = owner.session().await;
    done(owner.put(&format!("/api/v1/sessions/{session}/keep-alive"), json!({})).await);
    let held = done(owner.acquire("held").await);
    done(owner.delete(&format!("/api/v1/locks/held?lock_id={}", text(&held, "lock_id"))).await);
    std::fs::remove_file(&dir).expect("the file");
    refused(&secured.service("nobody").await.get("/api/v1/locks").await, "permission_denied");
    written(&dir, &["denied", "service/nobody"]).await;
    audit::verify(&dir).expect("the audit").expect("an unbroken chain");
}
