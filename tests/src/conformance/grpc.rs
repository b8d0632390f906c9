//! Runs scenarios through the gRPC front: one call at a time through the generated client, or many in one stream.

use std::sync::Arc;
use std::time::Duration;

use batuta_client::{CallOptions, Error, Pipeline, Pipelined, PipelinedWatch};
use batuta_proto::v1;
use batuta_proto::v1::election_service_client::ElectionServiceClient;
use batuta_proto::v1::lock_service_client::LockServiceClient;
use batuta_proto::v1::session_service_client::SessionServiceClient;
use batuta_proto::v1::watch_service_client::WatchServiceClient;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};
use tonic_types::StatusExt as _;

use super::{Driver, Operation, Outcome, Refusal};

/// The gRPC front of one node.
pub struct GrpcDriver(Way);

/// How calls get there.
#[derive(Clone)]
struct Way {
    channel: Channel,
    /// The stream that carries them; `None` = each goes by itself.
    pipeline: Option<Arc<Pipeline>>,
}

impl GrpcDriver {
    /// A driver that makes single calls to the front at a base URL. It connects with the first call.
    ///
    /// # Panics
    /// When `url` is not a URL.
    #[must_use]
    pub fn new(url: &str) -> Self {
        let endpoint = Channel::from_shared(url.to_owned()).expect("a URL");
        let channel = endpoint.connect_timeout(Duration::from_secs(10)).connect_lazy();
        Self(Way { channel, pipeline: None })
    }

    /// Like [`Self::new`], but makes all calls that can share a stream in one stream.
    ///
    /// # Panics
    /// When `url` is not a URL.
    #[must_use]
    pub fn pipelined(url: &str) -> Self {
        let Self(Way { channel, .. }) = Self::new(url);
        let pipeline = Some(Arc::new(Pipeline::over(channel.clone())));
        Self(Way { channel, pipeline })
    }
}

impl Driver for GrpcDriver {
    fn front(&self) -> &'static str {
        if self.0.pipeline.is_some() { "gRPC in one stream" } else { "gRPC" }
    }

    fn call(&self, operation: Operation) -> BoxFuture<'static, Outcome> {
        let way = self.0.clone();
        Box::pin(async move { call(&way, operation).await })
    }
}

impl Way {
    async fn ask<Q, F, R>(&self, operation: &Operation, message: Q, alone: F) -> Result<Q::Answer, Refusal>
    where
        Q: Pipelined,
        F: FnOnce(Channel, Request<Q>) -> R,
        R: Future<Output = Result<Response<Q::Answer>, Status>>,
    {
        let Some(pipeline) = &self.pipeline else {
            let answer = alone(self.channel.clone(), request(operation, message)).await;
            return answer.map(Response::into_inner).map_err(|status| refusal(&status));
        };
        let options = CallOptions { idempotency_key: operation.key.clone(), ..CallOptions::default() };
        pipeline.call(message, &options).await.map_err(refused)
    }

    async fn watch(&self, message: v1::WatchRequest) -> Result<Watching, Refusal> {
        if let Some(pipeline) = &self.pipeline {
            let watch = pipeline.watch(message, &CallOptions::default()).map_err(refused)?;
            return Ok(Watching::Pipelined(watch));
        }
        let watch = WatchServiceClient::new(self.channel.clone()).watch(message).await;
        Ok(Watching::Alone(watch.map_err(|status| refusal(&status))?.into_inner()))
    }
}

/// An open watch, by a single call or in a stream of many.
enum Watching {
    Alone(Streaming<v1::WatchResponse>),
    Pipelined(PipelinedWatch),
}

impl Watching {
    async fn next(&mut self) -> Result<Option<v1::WatchResponse>, Refusal> {
        match self {
            Self::Alone(stream) => stream.message().await.map_err(|status| refusal(&status)),
            Self::Pipelined(watch) => watch.next().await.map(Some).map_err(refused),
        }
    }
}

/// Makes one call of a service, as a single call or in the stream.
macro_rules! ask {
    ($way:expr, $operation:expr, $service:ident.$method:ident, $message:expr) => {
        $way.ask($operation, $message, |channel, request| async move {
            $service::new(channel).$method(request).await
        })
        .await?
    };
}

/// The refusal for an error of the client that is not an answer of Batuta.
fn refused(error: Error) -> Refusal {
    if matches!(error.code.as_str(), "unavailable" | "timeout") {
        return Refusal::no_answer(error);
    }
    error.into()
}

fn refusal(status: &Status) -> Refusal {
    let Some(info) = status.get_details_error_info() else { return Refusal::no_answer(status) };
    let details = info.metadata.into_iter().map(|(name, text)| (name, fact(text))).collect();
    let bad = status.get_details_bad_request();
    let field = bad.and_then(|bad| bad.field_violations.into_iter().next()).map(|violation| violation.field);
    Refusal { code: info.reason, field, details }
}

/// Parses a fact, which is a text in gRPC: numbers and lists are written as JSON.
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
        Some("election") => v1::LockMode::Election,
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

pub(super) fn mode_text(mode: i32) -> &'static str {
    match v1::LockMode::try_from(mode) {
        Ok(v1::LockMode::Shared) => "shared",
        Ok(v1::LockMode::Semaphore) => "semaphore",
        Ok(v1::LockMode::Election) => "election",
        _ => "exclusive",
    }
}

pub(super) fn grant_json(grant: Option<v1::Grant>, revision: u64) -> Value {
    let grant = grant.expect("a grant");
    let single = if let [lock] = grant.locks.as_slice() { Some(lock) } else { None };
    json!({
        "lock_id": grant.lock_id, "fencing_token": grant.fencing_token, "owner": grant.owner, "count": grant.count,
        "session_id": grant.session_id, "ttl_ms": grant.ttl_ms, "revision": revision,
        "name": single.map(|lock| &lock.name), "mode": single.map(|lock| mode_text(lock.mode)), "metadata": grant.metadata,
    })
}

async fn call(way: &Way, operation: Operation) -> Outcome {
    match operation.name.as_str() {
        "open_session" | "keep_alive" | "get_session" | "close_session" => session(way, &operation).await,
        "campaign" | "proclaim" | "resign" | "get_election" => election(way, &operation).await,
        "advance_register" | "get_register" | "delete_register" => register(way, &operation).await,
        "changes" => changes(way, &operation).await,
        _ => lock(way, &operation).await,
    }
}

async fn session(way: &Way, operation: &Operation) -> Outcome {
    let session_id = operation.text("session_id").to_owned();
    match operation.name.as_str() {
        "open_session" => {
            let (ttl_ms, metadata) = (operation.number("ttl_ms"), operation.text("metadata").to_owned());
            let message = v1::OpenSessionRequest { ttl_ms, metadata };
            let answer = ask!(way, operation, SessionServiceClient.open_session, message);
            Ok(opened(answer))
        }
        "keep_alive" => {
            let answer =
                ask!(way, operation, SessionServiceClient.keep_alive, v1::KeepAliveRequest { session_id });
            Ok(json!({"session_id": answer.session_id, "revision": answer.revision}))
        }
        "get_session" => {
            let message = v1::GetSessionRequest { session_id, ..Default::default() };
            let answer = ask!(way, operation, SessionServiceClient.get_session, message);
            let session = answer.session.expect("a session");
            Ok(json!({
                "session_id": session.session_id, "remaining_ms": session.remaining_ms, "revision": answer.revision,
            }))
        }
        _ => {
            let message = v1::CloseSessionRequest { session_id, lock_delay: operation.flag("lock_delay") };
            let answer = ask!(way, operation, SessionServiceClient.close_session, message);
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

async fn register(way: &Way, operation: &Operation) -> Outcome {
    let name = operation.text("name").to_owned();
    let (high_water, revision) = match operation.name.as_str() {
        "advance_register" => {
            let message =
                v1::AdvanceRegisterRequest { name, fencing_token: operation.number("fencing_token") };
            let answer = ask!(way, operation, LockServiceClient.advance_register, message);
            (answer.high_water, answer.revision)
        }
        "get_register" => {
            let message = v1::GetRegisterRequest { name, ..Default::default() };
            let answer = ask!(way, operation, LockServiceClient.get_register, message);
            (answer.high_water, answer.revision)
        }
        _ => {
            let message = v1::DeleteRegisterRequest { name };
            let answer = ask!(way, operation, LockServiceClient.delete_register, message);
            (answer.high_water, answer.revision)
        }
    };
    Ok(json!({ "high_water": high_water, "revision": revision }))
}

async fn election(way: &Way, operation: &Operation) -> Outcome {
    match operation.name.as_str() {
        "campaign" => {
            let answer = ask!(way, operation, ElectionServiceClient.campaign, campaign(operation));
            Ok(led(answer.leader, answer.revision))
        }
        "proclaim" => {
            let answer = ask!(way, operation, ElectionServiceClient.proclaim, proclaim(operation));
            Ok(led(answer.leader, answer.revision))
        }
        "resign" => Ok(resigned(&ask!(way, operation, ElectionServiceClient.resign, resign(operation)))),
        _ => {
            let message =
                v1::GetElectionRequest { name: operation.text("name").to_owned(), ..Default::default() };
            Ok(election_json(ask!(way, operation, ElectionServiceClient.get_election, message)))
        }
    }
}

pub(super) fn campaign(operation: &Operation) -> v1::CampaignRequest {
    v1::CampaignRequest {
        name: operation.text("name").to_owned(),
        value: operation.text("value").to_owned(),
        session_id: operation.text("session_id").to_owned(),
        owner: operation.text("owner").to_owned(),
        ttl_ms: operation.args.get("ttl_ms").and_then(Value::as_u64),
        wait_ms: operation.number("wait_ms"),
        lock_delay_ms: operation.number("lock_delay_ms"),
    }
}

pub(super) fn proclaim(operation: &Operation) -> v1::ProclaimRequest {
    let v1::ResignRequest { name, fencing_token, session_id } = resign(operation);
    v1::ProclaimRequest { name, fencing_token, session_id, value: operation.text("value").to_owned() }
}

pub(super) fn resign(operation: &Operation) -> v1::ResignRequest {
    v1::ResignRequest {
        name: operation.text("name").to_owned(),
        fencing_token: operation.number("fencing_token"),
        session_id: operation.text("session_id").to_owned(),
    }
}

fn leader_json(leader: &v1::Leader) -> Value {
    json!({
        "candidate_id": leader.candidate_id, "fencing_token": leader.fencing_token, "namespace": leader.namespace,
        "name": leader.name, "session_id": leader.session_id, "owner": leader.owner, "ttl_ms": leader.ttl_ms,
        "lock_delay_ms": leader.lock_delay_ms, "value": leader.value,
    })
}

/// The caller as the leader.
pub(super) fn led(leader: Option<v1::Leader>, revision: u64) -> Value {
    let mut answer = leader_json(&leader.expect("a leader"));
    answer["revision"] = json!(revision);
    answer
}

pub(super) fn resigned(answer: &v1::ResignResponse) -> Value {
    json!({
        "candidate_id": answer.candidate_id, "fencing_token": answer.fencing_token, "revision": answer.revision,
    })
}

pub(super) fn election_json(answer: v1::GetElectionResponse) -> Value {
    let election = answer.election.expect("an election");
    let candidate = |candidate: &v1::Candidate| {
        json!({
            "candidate_id": candidate.candidate_id, "session_id": candidate.session_id, "owner": candidate.owner,
            "queue_position": candidate.queue_position,
        })
    };
    json!({
        "name": election.name, "namespace": election.namespace, "leader": election.leader.as_ref().map(leader_json),
        "candidates": election.candidates.iter().map(candidate).collect::<Vec<_>>(),
        "candidate_count": election.candidate_count, "delayed_ms": election.delayed_ms, "revision": answer.revision,
    })
}

async fn lock(way: &Way, operation: &Operation) -> Outcome {
    let (name, lock_id) = (operation.text("name").to_owned(), operation.text("lock_id").to_owned());
    let fencing_token = operation.number("fencing_token");
    match operation.name.as_str() {
        "acquire" => {
            let answer = ask!(way, operation, LockServiceClient.acquire, acquire(operation));
            Ok(grant_json(answer.grant, answer.revision))
        }
        "extend" => {
            let message = v1::ExtendRequest { lock_id, name, ttl_ms: operation.number("ttl_ms") };
            let answer = ask!(way, operation, LockServiceClient.extend, message);
            Ok(grant_json(answer.grant, answer.revision))
        }
        "release" => {
            let answer = ask!(way, operation, LockServiceClient.release, release(operation));
            Ok(released(&answer))
        }
        "downgrade" => {
            let answer = ask!(way, operation, LockServiceClient.downgrade, downgrade(operation));
            Ok(grant_json(answer.grant, answer.revision))
        }
        "set_metadata" => {
            let answer = ask!(way, operation, LockServiceClient.set_metadata, set_metadata(operation));
            Ok(grant_json(answer.grant, answer.revision))
        }
        "resize" => {
            let message = v1::ResizeRequest { name, capacity: capacity(operation) };
            Ok(resized(ask!(way, operation, LockServiceClient.resize, message)))
        }
        "cancel_wait" => {
            let answer =
                ask!(way, operation, LockServiceClient.cancel_wait, v1::CancelWaitRequest { lock_id });
            Ok(json!({"revision": answer.revision}))
        }
        "force_release" => {
            let reason = operation.text("reason").to_owned();
            let message = v1::ForceReleaseRequest { name, fencing_token, reason };
            let answer = ask!(way, operation, LockServiceClient.force_release, message);
            Ok(json!({"lock_id": answer.lock_id, "revision": answer.revision}))
        }
        "check" => {
            let message = v1::CheckRequest { name, fencing_token, ..Default::default() };
            Ok(checked(&ask!(way, operation, LockServiceClient.check, message)))
        }
        "get_lock" => {
            let message = v1::GetLockRequest { name, ..Default::default() };
            let answer = ask!(way, operation, LockServiceClient.get_lock, message);
            let lock = answer.lock.expect("a lock");
            let holder =
                |grant: &v1::Grant| json!({"lock_id": grant.lock_id, "fencing_token": grant.fencing_token});
            Ok(json!({
                "name": lock.name, "mode": mode_text(lock.mode), "waiter_count": lock.waiter_count,
                "revision": answer.revision, "holders": lock.holders.iter().map(holder).collect::<Vec<_>>(),
            }))
        }
        "explain" => {
            let message = v1::ExplainRequest { name, ..Default::default() };
            let mut locks = LockServiceClient::new(way.channel.clone());
            let explained = locks.explain(request(operation, message)).await;
            let answer = explained.map_err(|status| refusal(&status))?.into_inner();
            Ok(json!({"summary": answer.summary}))
        }
        other => panic!("no call for {other}"),
    }
}

pub(super) fn release(operation: &Operation) -> v1::ReleaseRequest {
    v1::ReleaseRequest {
        lock_id: operation.text("lock_id").to_owned(),
        name: operation.text("name").to_owned(),
        fencing_token: operation.number("fencing_token"),
        session_id: operation.text("session_id").to_owned(),
    }
}

pub(super) fn downgrade(operation: &Operation) -> v1::DowngradeRequest {
    let v1::ReleaseRequest { lock_id, name, fencing_token, session_id } = release(operation);
    v1::DowngradeRequest { lock_id, name, fencing_token, session_id }
}

pub(super) fn set_metadata(operation: &Operation) -> v1::SetMetadataRequest {
    let v1::ReleaseRequest { lock_id, name, fencing_token, session_id } = release(operation);
    let metadata = operation.text("metadata").to_owned();
    v1::SetMetadataRequest { lock_id, name, fencing_token, session_id, metadata }
}

pub(super) fn capacity(operation: &Operation) -> u32 {
    u32::try_from(operation.number("capacity")).expect("a capacity")
}

pub(super) fn resized(answer: v1::ResizeResponse) -> Value {
    let v1::ResizeResponse { name, capacity, permits_held, revision } = answer;
    json!({"name": name, "capacity": capacity, "permits_held": permits_held, "revision": revision})
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

async fn changes(way: &Way, operation: &Operation) -> Outcome {
    let until = operation.number("until_revision");
    let message = v1::WatchRequest {
        areas: operation.texts("areas"),
        kinds: operation.texts("kinds"),
        prefix: operation.text("prefix").to_owned(),
        name: operation.text("name").to_owned(),
        session_id: operation.text("session_id").to_owned(),
        from_revision: operation.number("after") + 1,
        progress_ms: 100,
        ..Default::default()
    };
    let mut watching = way.watch(message).await?;
    let mut kinds = Vec::new();
    while let Some(answer) = watching.next().await? {
        let mut more = false;
        if let Some(v1::watch_response::Item::Changes(changes)) = answer.item
            && answer.revision <= until
        {
            kinds.extend(changes.events.into_iter().map(|event| event.kind));
            more = changes.more;
        }
        if answer.revision >= until && !more {
            break;
        }
    }
    Ok(json!({ "kinds": kinds }))
}
