//! Rights that are taken away while they are in use: streams end within a second, and locks go to whoever may still have them.

use std::time::{Duration, Instant};

use batuta_proto::v1;
use batuta_proto::v1::hold_request;
use batuta_tests::eventually;
use serde_json::json;
use tokio::sync::mpsc;

use crate::secure::{Caller, LONG_MS, Secured, done, refused, text};
use crate::streams::{Open, all_end, grpc_watch, hold, holding, piped_watch, sse, subscription, ws_watch};

/// One stream of every kind, at a node that does not lead.
struct Everything {
    streams: Vec<Open>,
    hold: mpsc::UnboundedSender<v1::HoldRequest>,
    pipeline: mpsc::UnboundedSender<v1::PipelineRequest>,
}

impl Everything {
    async fn open(secured: &Secured, caller: &Caller) -> Self {
        let caller = caller.at(secured.follower());
        let name = caller.principal.replace('/', "-");
        let busy = format!("busy/{name}");
        done(secured.root.acquire(&busy).await);
        let waiting = caller.wait_for(&busy);
        secured.root.waiters(&busy, 1).await;
        let waiting = tokio::spawn(async move { waiting.await.expect("no panic").code().to_owned() });
        let held = hold(&caller, &format!("held/{name}")).await;
        let (pipeline, piped) = piped_watch(&caller).await;
        let streams = vec![
            sse(&caller, "areas=lock&progress_ms=100").await,
            grpc_watch(&caller).await,
            piped,
            ws_watch(&caller).await,
            subscription(&caller).await,
            Open::new("waiting acquire", waiting),
            held.open,
        ];
        tokio::time::sleep(Duration::from_millis(300)).await;
        for stream in &streams {
            assert!(!stream.is_over(), "{} ended by itself", stream.what);
        }
        Self { streams, hold: held.sender, pipeline }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_key_ends_every_stream() {
    let secured = Secured::start(3).await;
    let (caller, _) = secured.editor("worker").await;
    let other = secured.key("service/worker", json!({})).await;
    let everything = Everything::open(&secured, &caller).await;
    let kept = grpc_watch(&other.at(secured.follower())).await;
    done(secured.root.delete(&format!("/api/v1/access/credentials/{}", caller.credential)).await);
    all_end("deleted key", everything.streams, |_| &["token_revoked"]).await;
    assert!(!kept.is_over(), "the streams of another key of the same principal go on");
    refused(&caller.get("/api/v1/locks").await, "invalid_token");
    done(other.get("/api/v1/locks").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn suspension_ends_every_stream() {
    let secured = Secured::start(3).await;
    let (caller, _) = secured.editor("worker").await;
    let everything = Everything::open(&secured, &caller).await;
    secured.suspend("service/worker").await;
    let accepted = |what: &str| -> &'static [&'static str] {
        match what {
            // What it owns ends in the same entry.
            "waiting acquire" => &["principal_suspended", "permission_denied"],
            "Hold" => &[
                "principal_suspended",
                "lost: released",
                "lost: forced",
                "lost: expired",
                "lost: permission_denied",
                "lost: principal_suspended",
            ],
            _ => &["principal_suspended"],
        }
    };
    all_end("suspension", everything.streams, accepted).await;
    refused(&caller.get("/api/v1/locks").await, "principal_suspended");
    done(secured.root.post("/api/v1/access/services/worker/resume", json!({})).await);
    done(caller.get("/api/v1/locks").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn unbinding_ends_every_stream() {
    let secured = Secured::start(3).await;
    let (caller, binding) = secured.editor("worker").await;
    let Everything { streams, hold, pipeline: _pipeline } = Everything::open(&secured, &caller).await;
    secured.ungrant(&binding).await;
    // Who it is has not changed, so the lock stays until its time is over; only its renewal is refused.
    hold.send(holding(hold_request::Request::KeepAlive(v1::HoldKeepAlive {}))).expect("open");
    let (waiting, streams): (Vec<Open>, Vec<Open>) =
        streams.into_iter().partition(|stream| stream.what == "waiting acquire");
    all_end("unbinding", streams, |_| &["permission_denied"]).await;
    // A wait is decided again when its turn comes: the right may be back by then.
    assert!(waiting.iter().all(|waiting| !waiting.is_over()));
    let busy = "/api/v1/locks/busy%2Fservice-worker";
    let id = text(&done(secured.root.get(busy).await), "lock_id");
    done(secured.root.delete(&format!("{busy}?lock_id={id}")).await);
    all_end("its turn", waiting, |_| &["permission_denied"]).await;
    refused(&caller.get("/api/v1/locks").await, "permission_denied");
    let lock = "/api/v1/locks/held%2Fservice-worker";
    assert_eq!(done(secured.root.get(lock).await).body["holder_count"], 1);
    // Giving back needs no right.
    let id = text(&done(secured.root.get(lock).await), "lock_id");
    done(caller.delete(&format!("{lock}?lock_id={id}")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn group_role_and_principal_take_their_rights_with_them() {
    let secured = Secured::start(1).await;
    let root = &secured.root;
    let caller = secured.service("worker").await;
    let in_group = json!({"members": ["service/worker"]});
    for how in ["group", "membership", "role", "principal"] {
        secured.role("watches", &["lock:watch", "lock:list"], &["**"]).await;
        done(root.put("/api/v1/access/groups/team", in_group.clone()).await);
        secured.grant("group/team", "watches", json!({})).await;
        eventually("the right is there", || async {
            (caller.get("/api/v1/locks").await.status == 200).then_some(())
        })
        .await;
        let watch = grpc_watch(&caller).await;
        match how {
            "group" => done(root.delete("/api/v1/access/groups/team").await),
            "membership" => done(root.put("/api/v1/access/groups/team", json!({"members": []})).await),
            "role" => {
                let less = json!({"rules": [{"permissions": ["lock:list"], "names": ["**"]}]});
                done(root.put("/api/v1/access/roles/watches", less).await)
            }
            _ => done(root.delete("/api/v1/access/services/worker").await),
        };
        let code: &'static [&'static str] =
            if how == "principal" { &["token_revoked"] } else { &["permission_denied"] };
        all_end(how, vec![watch], |_| code).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn binding_ends_by_its_time() {
    let secured = Secured::start(3).await;
    let caller = secured.service("guest").await;
    secured.grant("service/guest", "editor", json!({"ttl_ms": 3_000, "end_sessions": true})).await;
    let granted = Instant::now();
    let far = caller.at(secured.follower());
    let session = caller.session().await;
    done(caller.post("/api/v1/locks", json!({"name": "by-session", "session_id": session})).await);
    done(caller.acquire("one-shot").await);
    let watch = grpc_watch(&far).await;
    tokio::time::sleep(Duration::from_millis(3_100).saturating_sub(granted.elapsed())).await;
    all_end("a binding that ends", vec![watch], |_| &["permission_denied"]).await;
    refused(&far.get("/api/v1/locks").await, "permission_denied");
    refused(&caller.acquire("more").await, "permission_denied");
    // The binding said that sessions end with it.
    eventually("the session has ended", || async {
        (secured.root.get(&format!("/api/v1/sessions/{session}")).await.code() == "session_not_found")
            .then_some(())
    })
    .await;
    refused(&secured.root.get("/api/v1/locks/by-session").await, "lock_not_found");
    // A binding of the future gives nothing yet.
    let later = json!({"not_before": "2999-01-01T00:00:00Z"});
    secured.grant("service/guest", "viewer", later).await;
    refused(&caller.get("/api/v1/locks").await, "permission_denied");
    // One that is extended goes on.
    let binding = secured.grant("service/guest", "viewer", json!({"ttl_ms": 2_000})).await;
    let longer = json!({"ttl_ms": LONG_MS, "reason": "the work takes longer"});
    let path = format!("/api/v1/access/bindings/{binding}");
    done(secured.root.send_with("PATCH", &path, &[], Some(&longer)).await);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    done(caller.get("/api/v1/locks").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_of_a_suspended_principal_go_to_others_at_once() {
    let secured = Secured::start(3).await;
    let ((one, _), (two, _)) = (secured.editor("one").await, secured.editor("two").await);
    let session = one.session().await;
    done(one.post("/api/v1/locks", json!({"name": "by-session", "session_id": session})).await);
    done(one.acquire("one-shot").await);
    let mut waits = Vec::new();
    for name in ["by-session", "one-shot"] {
        waits.push(two.at(secured.follower()).wait_for(name));
        secured.root.waiters(name, 1).await;
    }
    let from = done(secured.root.get("/api/v1/locks").await).number("revision") + 1;
    secured.suspend("service/one").await;
    let mut revisions = Vec::new();
    for wait in waits {
        revisions.push(done(wait.await.expect("no panic")).number("revision"));
    }
    assert_eq!(revisions[0], revisions[1], "both locks go in one revision");
    let path = format!("/api/v1/watch/poll?from_revision={from}&wait_ms=0");
    let told = done(secured.root.get(&path).await);
    let changes = told.body["changes"].as_array().expect("changes");
    let of_revision =
        changes.iter().find(|changes| changes["revision"] == revisions[0]).expect("the revision");
    let events = of_revision["events"].as_array().expect("events");
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["kind"].as_str()).collect();
    for kind in ["principal_changed", "session_ended", "lock_released", "lock_granted"] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }
    refused(&one.get("/api/v1/locks").await, "principal_suspended");
}

#[tokio::test(flavor = "multi_thread")]
async fn waiter_without_the_right_is_passed_over() {
    let secured = Secured::start(3).await;
    let ((one, binding), (two, _)) = (secured.editor("one").await, secured.editor("two").await);
    let held = done(secured.root.acquire("x").await);
    let first = one.wait_for("x");
    secured.root.waiters("x", 1).await;
    let second = two.wait_for("x");
    secured.root.waiters("x", 2).await;
    secured.ungrant(&binding).await;
    done(secured.root.delete(&format!("/api/v1/locks/x?lock_id={}", text(&held, "lock_id"))).await);
    done(second.await.expect("no panic"));
    refused(&first.await.expect("no panic"), "permission_denied");
    let lock = done(secured.root.get("/api/v1/locks/x").await);
    assert_eq!((&lock.body["holder_count"], &lock.body["waiter_count"]), (&json!(1), &json!(0)), "{lock:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn suspension_can_keep_sessions() {
    let secured = Secured::start(1).await;
    let (one, _) = secured.editor("one").await;
    let session = one.session().await;
    done(one.post("/api/v1/locks", json!({"name": "x", "session_id": session})).await);
    done(secured.root.post("/api/v1/access/services/one/suspend", json!({"keep_sessions": true})).await);
    assert_eq!(done(secured.root.get("/api/v1/locks/x").await).body["holder_count"], 1);
    let path = format!("/api/v1/sessions/{session}/keep-alive");
    refused(&one.put(&path, json!({})).await, "principal_suspended");
    done(secured.root.post("/api/v1/access/services/one/resume", json!({})).await);
    done(one.put(&path, json!({})).await);
}
