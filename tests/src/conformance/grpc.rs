//! The gRPC front, through the generated client.

use std::time::Duration;

use batuta_proto::v1;
use batuta_proto::v1::lock_service_client::LockServiceClient;
use batuta_proto::v1::session_service_client::SessionServiceClient;
use batuta_proto::v1::watch_service_client::WatchServiceClient;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

use super::{Driver, Operation, Outcome, Refusal};

/// The gRPC front of one node.
pub struct GrpcDriver {
    channel: Channel,
}

impl GrpcDriver {
    /// The front at a base URL; connects when it is first asked.
    ///
    /// # Panics
    /// When the URL is none.
    #[must_use]
    pub fn new(url: &str) -> Self {
        let endpoint = Channel::from_shared(url.to_owned()).expect("a URL");
        Self { channel: endpoint.connect_timeout(Duration::from_secs(10)).connect_lazy() }
    }
}

impl Driver for GrpcDriver {
    fn front(&self) -> &'static str {
        "gRPC"
    }

    fn call(&self, operation: Operation) -> BoxFuture<'static, Outcome> {
        let channel = self.channel.clone();
        Box::pin(async move { call(channel, operation).await.map_err(|status| refusal(&status)) })
    }
}

fn refusal(status: &Status) -> Refusal {
    let Some(info) = status.get_details_error_info() else { return Refusal::no_answer(status) };
    let details = info.metadata.into_iter().map(|(name, text)| (name, fact(text))).collect();
    let bad = status.get_details_bad_request();
    let field = bad.and_then(|bad| bad.field_violations.into_iter().next()).map(|violation| violation.field);
    Refusal { code: info.reason, field, details }
}

/// Facts are texts here: numbers and lists are written as JSON.
pub(super) fn fact(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

fn request<T>(operation: &Operation, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(key) = &operation.key {
        request.metadata_mut().insert("idempotency-key", key.parse().expect("ASCII"));
    }
    request
}

fn lock_request(value: &Value) -> v1::LockRequest {
    let mode = match value["mode"].as_str() {
        Some("shared") => v1::LockMode::Shared,
        Some("semaphore") => v1::LockMode::Semaphore,
        _ => v1::LockMode::Exclusive,
    };
    let number =
        |field: &str| value[field].as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or_default();
    v1::LockRequest {
        name: value["name"].as_str().unwrap_or_default().to_owned(),
        mode: mode.into(),
        permits: number("permits"),
        capacity: number("capacity"),
    }
}

pub(super) fn acquire(operation: &Operation) -> v1::AcquireRequest {
    let args = Value::Object(operation.args.clone());
    let locks = match args["locks"].as_array() {
        Some(locks) => locks.iter().map(lock_request).collect(),
        None => vec![lock_request(&args)],
    };
    v1::AcquireRequest {
        locks,
        session_id: operation.text("session_id").to_owned(),
        owner: operation.text("owner").to_owned(),
        ttl_ms: args["ttl_ms"].as_u64(),
        wait_ms: operation.number("wait_ms"),
        lock_delay_ms: operation.number("lock_delay_ms"),
        reentrant: args["reentrant"] == true,
        metadata: operation.text("metadata").to_owned(),
    }
}

fn mode_text(mode: i32) -> &'static str {
    match v1::LockMode::try_from(mode) {
        Ok(v1::LockMode::Shared) => "shared",
        Ok(v1::LockMode::Semaphore) => "semaphore",
        _ => "exclusive",
    }
}

pub(super) fn grant_json(grant: Option<v1::Grant>, revision: u64) -> Value {
    let grant = grant.expect("a grant");
    let single = if let [lock] = grant.locks.as_slice() { Some(lock) } else { None };
    json!({
        "lock_id": grant.lock_id, "fencing_token": grant.fencing_token, "owner": grant.owner, "count": grant.count,
        "session_id": grant.session_id, "ttl_ms": grant.ttl_ms, "revision": revision,
        "name": single.map(|lock| &lock.name), "mode": single.map(|lock| mode_text(lock.mode)),
    })
}

async fn call(channel: Channel, operation: Operation) -> Result<Value, Status> {
    match operation.name.as_str() {
        "open_session" | "keep_alive" | "get_session" | "close_session" => session(channel, &operation).await,
        "advance_register" | "get_register" | "delete_register" => register(channel, &operation).await,
        "changes" => changes(channel, &operation).await,
        _ => lock(channel, &operation).await,
    }
}

async fn session(channel: Channel, operation: &Operation) -> Result<Value, Status> {
    let mut service = SessionServiceClient::new(channel);
    let session_id = operation.text("session_id").to_owned();
    match operation.name.as_str() {
        "open_session" => {
            let (ttl_ms, metadata) = (operation.number("ttl_ms"), operation.text("metadata").to_owned());
            let message = v1::OpenSessionRequest { ttl_ms, metadata };
            let answer = service.open_session(request(operation, message)).await?.into_inner();
            Ok(opened(answer))
        }
        "keep_alive" => {
            let answer = service.keep_alive(request(operation, v1::KeepAliveRequest { session_id })).await?;
            let answer = answer.into_inner();
            Ok(json!({"session_id": answer.session_id, "revision": answer.revision}))
        }
        "get_session" => {
            let message = v1::GetSessionRequest { session_id, ..Default::default() };
            let answer = service.get_session(request(operation, message)).await?.into_inner();
            let session = answer.session.expect("a session");
            Ok(json!({
                "session_id": session.session_id, "remaining_ms": session.remaining_ms, "revision": answer.revision,
            }))
        }
        _ => {
            let message = v1::CloseSessionRequest { session_id };
            let answer = service.close_session(request(operation, message)).await?.into_inner();
            Ok(closed(answer))
        }
    }
}

pub(super) fn opened(answer: v1::OpenSessionResponse) -> Value {
    let session = answer.session.expect("a session");
    json!({
        "session_id": session.session_id, "ttl_ms": session.ttl_ms, "metadata": session.metadata,
        "revision": answer.revision,
    })
}

pub(super) fn closed(answer: v1::CloseSessionResponse) -> Value {
    json!({
        "released_locks": answer.released_locks, "cancelled_waits": answer.cancelled_waits,
        "revision": answer.revision,
    })
}

async fn register(channel: Channel, operation: &Operation) -> Result<Value, Status> {
    let mut service = LockServiceClient::new(channel);
    let name = operation.text("name").to_owned();
    let (high_water, revision) = match operation.name.as_str() {
        "advance_register" => {
            let message =
                v1::AdvanceRegisterRequest { name, fencing_token: operation.number("fencing_token") };
            let answer = service.advance_register(request(operation, message)).await?.into_inner();
            (answer.high_water, answer.revision)
        }
        "get_register" => {
            let message = v1::GetRegisterRequest { name, ..Default::default() };
            let answer = service.get_register(request(operation, message)).await?.into_inner();
            (answer.high_water, answer.revision)
        }
        _ => {
            let message = v1::DeleteRegisterRequest { name };
            let answer = service.delete_register(request(operation, message)).await?.into_inner();
            (answer.high_water, answer.revision)
        }
    };
    Ok(json!({ "high_water": high_water, "revision": revision }))
}

async fn lock(channel: Channel, operation: &Operation) -> Result<Value, Status> {
    let mut service = LockServiceClient::new(channel);
    let (name, lock_id) = (operation.text("name").to_owned(), operation.text("lock_id").to_owned());
    let fencing_token = operation.number("fencing_token");
    match operation.name.as_str() {
        "acquire" => {
            let answer = service.acquire(request(operation, acquire(operation))).await?.into_inner();
            Ok(grant_json(answer.grant, answer.revision))
        }
        "extend" => {
            let message = v1::ExtendRequest { lock_id, name, ttl_ms: operation.number("ttl_ms") };
            let answer = service.extend(request(operation, message)).await?.into_inner();
            Ok(grant_json(answer.grant, answer.revision))
        }
        "release" => {
            let answer = service.release(request(operation, v1::ReleaseRequest { lock_id, name })).await?;
            Ok(released(answer.get_ref()))
        }
        "cancel_wait" => {
            let answer = service.cancel_wait(request(operation, v1::CancelWaitRequest { lock_id })).await?;
            Ok(json!({"revision": answer.into_inner().revision}))
        }
        "force_release" => {
            let reason = operation.text("reason").to_owned();
            let message = v1::ForceReleaseRequest { name, fencing_token, reason };
            let answer = service.force_release(request(operation, message)).await?.into_inner();
            Ok(json!({"lock_id": answer.lock_id, "revision": answer.revision}))
        }
        "check" => {
            let message = v1::CheckRequest { name, fencing_token, ..Default::default() };
            Ok(checked(service.check(request(operation, message)).await?.get_ref()))
        }
        "get_lock" => {
            let message = v1::GetLockRequest { name, ..Default::default() };
            let answer = service.get_lock(request(operation, message)).await?.into_inner();
            let lock = answer.lock.expect("a lock");
            let holder =
                |grant: &v1::Grant| json!({"lock_id": grant.lock_id, "fencing_token": grant.fencing_token});
            Ok(json!({
                "name": lock.name, "waiter_count": lock.waiter_count, "revision": answer.revision,
                "holders": lock.holders.iter().map(holder).collect::<Vec<_>>(),
            }))
        }
        "explain" => {
            let message = v1::ExplainRequest { name, ..Default::default() };
            let answer = service.explain(request(operation, message)).await?.into_inner();
            Ok(json!({"summary": answer.summary}))
        }
        other => panic!("no call for {other}"),
    }
}

pub(super) fn released(answer: &v1::ReleaseResponse) -> Value {
    json!({
        "lock_id": answer.lock_id, "fencing_token": answer.fencing_token,
        "remaining_count": answer.remaining_count, "revision": answer.revision,
    })
}

pub(super) fn checked(answer: &v1::CheckResponse) -> Value {
    let status = match answer.status() {
        v1::TokenStatus::Held => "held",
        v1::TokenStatus::Superseded => "superseded",
        v1::TokenStatus::NotHeld => "not_held",
        v1::TokenStatus::Unspecified => "unspecified",
    };
    json!({
        "current": answer.current, "status": status, "newest_token": answer.newest_token, "revision": answer.revision,
    })
}

async fn changes(channel: Channel, operation: &Operation) -> Result<Value, Status> {
    let until = operation.number("until_revision");
    let message = v1::WatchRequest {
        jobs: operation.texts("jobs"),
        kinds: operation.texts("kinds"),
        prefix: operation.text("prefix").to_owned(),
        name: operation.text("name").to_owned(),
        session_id: operation.text("session_id").to_owned(),
        from_revision: operation.number("after") + 1,
        progress_ms: 100,
        ..Default::default()
    };
    let mut stream = WatchServiceClient::new(channel).watch(message).await?.into_inner();
    let mut kinds = Vec::new();
    while let Some(answer) = stream.message().await? {
        if let Some(v1::watch_response::Item::Changes(changes)) = answer.item
            && answer.revision <= until
        {
            kinds.extend(changes.events.into_iter().map(|event| event.kind));
        }
        if answer.revision >= until {
            break;
        }
    }
    Ok(json!({ "kinds": kinds }))
}
