//! Reads, token checks and cluster operations through the service, over a replica of one node.

mod support;

use batuta_api::service::Consistency::{Linearizable, Stale};
use batuta_api::service::acquire::AcquireRequest;
use batuta_api::service::cluster::Limit;
use batuta_api::service::lock::{ForceRelease, LockCursors};
use batuta_statemachine::lock::{LockKind, TokenStatus};
use support::{Node, eventually, name, one_shot};

#[tokio::test(flavor = "multi_thread")]
async fn explanation_names_the_blocker() {
    let node = Node::start().await;
    let lock = name("orders/42");
    let free = node.service.explain(&node.context, &lock, LockCursors::default(), Linearizable).await;
    let free = free.expect("explains").value;
    assert!(free.lock.is_none() && free.waiters.is_empty());
    assert_eq!(free.summary, "orders/42 is free: nobody holds it or waits for it.");

    let held = node.service.acquire(&node.context, one_shot("orders/42")).await.expect("free").value;
    let (service, context) = (node.service.clone(), node.context.clone());
    let request = AcquireRequest { wait_ms: 60_000, ..one_shot("orders/42") };
    let call = tokio::spawn(async move { service.acquire(&context, request).await });
    let explain = async || {
        let told = node.service.explain(&node.context, &lock, LockCursors::default(), Linearizable).await;
        told.expect("explains").value
    };
    eventually("the call is queued", async || !explain().await.waiters.is_empty()).await;
    let told = explain().await;
    assert!(told.summary.starts_with("orders/42 is held by \"test\" (token "), "{}", told.summary);
    assert!(told.summary.ends_with("; \"test\" waits."), "{}", told.summary);
    let blocker = &told.waiters[0].blockers[0];
    assert_eq!((blocker.lock_id, blocker.token), (held.lock_id, Some(held.token)));
    assert_eq!(told.lock.expect("is held").view.kind, LockKind::Exclusive);
    call.abort();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forced_release_takes_only_the_seen_grant() {
    let node = Node::start().await;
    let held = node.service.acquire(&node.context, one_shot("a")).await.expect("free").value;
    let force = |fencing_token| ForceRelease { name: name("a"), fencing_token, reason: "stuck".to_owned() };
    let refused =
        node.service.force_release(&node.context, force(held.token + 1)).await.expect_err("another token");
    assert_eq!(refused.code().as_str(), "token_superseded");
    let released = node.service.force_release(&node.context, force(held.token)).await.expect("held").value;
    assert_eq!(released.lock_id, held.lock_id);
    let check =
        node.service.check(&node.context, &name("a"), held.token, Linearizable).await.expect("checks").value;
    assert_eq!((check.status, check.newest), (TokenStatus::NotHeld, None));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_register_only_rises() {
    let node = Node::start().await;
    let old = node.service.acquire(&node.context, one_shot("a")).await.expect("free").value.token;
    let new = node.service.acquire(&node.context, one_shot("b")).await.expect("free").value.token;
    let register = name("files/7");
    let refused = node
        .service
        .get_register(&node.context, register.clone(), Linearizable)
        .await
        .expect_err("is not there");
    assert_eq!(refused.code().as_str(), "register_not_found");
    let raised = node.service.advance_register(&node.context, register.clone(), new).await.expect("rises");
    assert_eq!(raised.value.high_water, new);
    let refused =
        node.service.advance_register(&node.context, register.clone(), old).await.expect_err("is lower");
    assert_eq!(
        (refused.code().as_str(), refused.details()["newest_token"].as_u64()),
        ("token_superseded", Some(new))
    );
    let read =
        node.service.get_register(&node.context, register.clone(), Linearizable).await.expect("is there");
    assert!(read.value.high_water == new && read.revision >= raised.revision);
    let last = node.service.delete_register(&node.context, register).await.expect("is there").value;
    assert_eq!(last.high_water, new);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_and_its_limits_are_shown() {
    let node = Node::start().await;
    let lower = vec![Limit { name: "waiters_per_lock_max".to_owned(), value: 7 }];
    let set = node.service.set_limits(&node.context, lower.clone()).await.expect("sets");
    assert!(set.value.contains(&lower[0]));
    let read = node.service.limits(&node.context, Stale).await.expect("reads");
    assert!(read.value.contains(&lower[0]), "the node that answered has applied the new limit");
    let unknown = vec![Limit { name: "waiters_per_lock_mx".to_owned(), value: 7 }];
    let refused = node.service.set_limits(&node.context, unknown).await.expect_err("no such limit");
    assert_eq!(refused.code().as_str(), "invalid_argument");

    node.service.acquire(&node.context, one_shot("a")).await.expect("free");
    let status = node.service.cluster_status(&node.context, true).await.expect("shows");
    assert_eq!((status.leader_name.as_deref(), status.not_ready), (Some("n1"), None));
    assert_eq!((status.grants, status.locks, status.waiters, status.sessions), (1, 1, 0, 0));
    assert!(status.token_high_water > 0 && status.state_hash.is_some_and(|hash| hash.len() == 16));
    let refused = node.service.remove_member(&node.context, "n9").await.expect_err("no such member");
    assert_eq!(refused.code().as_str(), "unknown_member");
    assert!(refused.to_string().contains("n1"), "{refused}");
    node.stop().await;
}
