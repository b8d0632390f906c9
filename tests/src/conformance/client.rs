//! Runs scenarios through the Rust client.

use std::sync::Arc;
use std::time::Duration;

use batuta_client::{Client, Error, WatchItem, WatchOptions, v1};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::grpc::{
    acquire, campaign, capacity, checked, closed, downgrade, election_json, grant_json, led, mode_text,
    opened, proclaim, release, released, resign, resigned, resized, set_metadata,
};
use super::{Driver, Operation, Outcome, Refusal};

/// A driver over the Rust client, which is given the address of one node.
pub struct ClientDriver {
    endpoint: String,
    client: Arc<OnceCell<Client>>,
}

impl ClientDriver {
    /// Makes a client of the node at a gRPC base URL. It connects with the first call.
    #[must_use]
    pub fn new(endpoint: &str) -> Self {
        Self { endpoint: endpoint.to_owned(), client: Arc::default() }
    }
}

impl Driver for ClientDriver {
    fn front(&self) -> &'static str {
        "Rust client"
    }

    fn call(&self, operation: Operation) -> BoxFuture<'static, Outcome> {
        let (endpoint, client) = (self.endpoint.clone(), Arc::clone(&self.client));
        Box::pin(async move {
            let connect = || async { Client::builder().endpoints([endpoint]).connect().await };
            let client = client.get_or_init(|| async { connect().await.expect("connects") }).await;
            call(client, operation).await.map_err(Refusal::from)
        })
    }
}

async fn call(client: &Client, operation: Operation) -> Result<Value, Error> {
    match operation.name.as_str() {
        "acquire" => {
            let answer = client.acquire_detached(acquire(&operation), operation.key).await?;
            return Ok(grant_json(answer.grant, answer.revision));
        }
        "campaign" => {
            let answer = client.campaign_detached(campaign(&operation), operation.key).await?;
            return Ok(led(answer.leader, answer.revision));
        }
        "changes" => return changes(client, &operation).await,
        other => assert!(operation.key.is_none(), "the client makes the key of {other} itself"),
    }
    let text = |field: &str| operation.text(field).to_owned();
    let (name, lock_id, session_id) = (text("name"), text("lock_id"), text("session_id"));
    let fencing_token = operation.number("fencing_token");
    match operation.name.as_str() {
        "open_session" => {
            let request =
                v1::OpenSessionRequest { ttl_ms: operation.number("ttl_ms"), metadata: text("metadata") };
            client.open_raw_session(request).await.map(opened)
        }
        "keep_alive" => {
            let answer = client.keep_alive(v1::KeepAliveRequest { session_id }).await?;
            Ok(json!({"session_id": answer.session_id}))
        }
        "close_session" => {
            let lock_delay = operation.flag("lock_delay");
            client.close_session(v1::CloseSessionRequest { session_id, lock_delay }).await.map(closed)
        }
        "release" => Ok(released(&client.release(release(&operation)).await?)),
        "downgrade" => {
            let answer = client.downgrade(downgrade(&operation)).await?;
            Ok(grant_json(answer.grant, answer.revision))
        }
        "set_metadata" => {
            let answer = client.set_metadata(set_metadata(&operation)).await?;
            Ok(grant_json(answer.grant, answer.revision))
        }
        "proclaim" => {
            let answer = client.proclaim(proclaim(&operation)).await?;
            Ok(led(answer.leader, answer.revision))
        }
        "resign" => Ok(resigned(&client.resign(resign(&operation)).await?)),
        "resize" => {
            let request = v1::ResizeRequest { name, capacity: capacity(&operation) };
            client.resize(request).await.map(resized)
        }
        "extend" => {
            let request = v1::ExtendRequest { lock_id, name, ttl_ms: operation.number("ttl_ms") };
            let answer = client.extend(request).await?;
            Ok(grant_json(answer.grant, answer.revision))
        }
        "cancel_wait" => {
            let answer = client.cancel(v1::CancelWaitRequest { lock_id }).await?;
            Ok(json!({"revision": answer.revision}))
        }
        "force_release" => {
            let request = v1::ForceReleaseRequest { name, fencing_token, reason: text("reason") };
            let answer = client.force_release(request).await?;
            Ok(json!({"lock_id": answer.lock_id, "revision": answer.revision}))
        }
        _ => read(client, &operation, name, fencing_token).await,
    }
}

async fn read(
    client: &Client,
    operation: &Operation,
    name: String,
    fencing_token: u64,
) -> Result<Value, Error> {
    match operation.name.as_str() {
        "check" => {
            let request = v1::CheckRequest { name, fencing_token, ..Default::default() };
            Ok(checked(&client.check(request).await?))
        }
        "get_lock" => {
            let answer = client.lock(v1::GetLockRequest { name, ..Default::default() }).await?;
            let lock = answer.lock.expect("a lock");
            Ok(json!({
                "name": lock.name, "mode": mode_text(lock.mode), "waiter_count": lock.waiter_count,
            }))
        }
        "get_election" => {
            let request = v1::GetElectionRequest { name, ..Default::default() };
            Ok(election_json(client.election(request).await?))
        }
        "explain" => {
            let answer = client.explain(v1::ExplainRequest { name, ..Default::default() }).await?;
            Ok(json!({"summary": answer.summary}))
        }
        "advance_register" => {
            let request = v1::AdvanceRegisterRequest { name, fencing_token };
            Ok(json!({"high_water": client.advance_register(request).await?.high_water}))
        }
        "get_register" => {
            let request = v1::GetRegisterRequest { name, ..Default::default() };
            Ok(json!({"high_water": client.register(request).await?.high_water}))
        }
        "delete_register" => {
            let request = v1::DeleteRegisterRequest { name };
            Ok(json!({"high_water": client.delete_register(request).await?.high_water}))
        }
        other => panic!("no call for {other}"),
    }
}

async fn changes(client: &Client, operation: &Operation) -> Result<Value, Error> {
    let until = operation.number("until_revision");
    let mut options = WatchOptions::from_revision(operation.number("after") + 1)
        .areas(operation.texts("areas"))
        .kinds(operation.texts("kinds"))
        .progress(Duration::from_millis(100));
    for field in ["prefix", "name", "session_id"] {
        let text = operation.text(field);
        options = match field {
            _ if text.is_empty() => options,
            "prefix" => options.prefix(text),
            "name" => options.name(text),
            _ => options.session(text),
        };
    }
    let mut watch = client.watch(options);
    let mut kinds = Vec::new();
    loop {
        let revision = match watch.next().await? {
            WatchItem::Changes { revision, events, more } if revision <= until => {
                kinds.extend(events.into_iter().map(|event| event.kind));
                if more {
                    continue;
                }
                revision
            }
            WatchItem::Changes { revision, .. } | WatchItem::Progress { revision } => revision,
            WatchItem::Snapshot { .. } => panic!("no snapshot was asked for"),
        };
        if revision >= until {
            return Ok(json!({ "kinds": kinds }));
        }
    }
}
