//! Requests: the fields of every operation, and what they mean as types of the service.

use batuta_statemachine::{DedupKey, LockId, Name, Namespace, SessionId};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::frame::Request;
use crate::ApiError;
use crate::json::lock_dto::{AcquireRequest as AcquireFields, CheckRequest, LockQuery};
use crate::json::session_dto::{NoQuery, ReadQuery};
use crate::json::watch_dto::WatchQuery;
use crate::json::{acquire_request, decode_value};
use crate::service::acquire::AcquireRequest;
use crate::service::lock::{ExtendRequest, ForceReleaseRequest, LockCursors, ReleaseRequest};
use crate::service::session::OpenRequest;
use crate::service::watch::{Filter, FilterText, Start, WatchRequest};
use crate::service::{CallContext, Consistency, parse};

/// What a connection lends to requests that do not say it themselves.
#[derive(Clone, Debug, Default)]
pub(super) struct Defaults {
    pub(super) namespace: Namespace,
    pub(super) session: Option<SessionId>,
}

/// What a request asks for.
#[derive(Debug)]
pub(super) enum Op {
    /// Sets the connection's defaults.
    Hello { namespace: Option<Namespace>, session: Option<SessionId> },
    /// Proves that the other side is there.
    Ping,
    /// Takes a waiting acquire back.
    Cancel { request_id: String },
    /// Ends a watch.
    Unwatch { watch_id: String },
    /// Opens a watch.
    Watch(Box<WatchRequest>),
    /// Calls the service.
    Call(Box<Call>),
}

/// A call of the service and its context.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) context: CallContext,
    pub(super) what: What,
}

/// A call of the service.
#[derive(Debug)]
pub(super) enum What {
    OpenSession { request: OpenRequest, bound: bool },
    KeepAlive(SessionId),
    CloseSession(SessionId),
    Acquire(AcquireRequest),
    Release(ReleaseRequest),
    Extend(ExtendRequest),
    ForceRelease(ForceReleaseRequest),
    Check { name: Name, fencing_token: u64, consistency: Consistency },
    GetLock { name: Name, cursors: LockCursors, consistency: Consistency },
    Explain { name: Name, cursors: LockCursors, consistency: Consistency },
    AdvanceRegister { name: Name, fencing_token: u64 },
    GetRegister { name: Name, consistency: Consistency },
    DeleteRegister { name: Name },
}

/// Every operation there is.
pub(super) const OPS: [&str; 18] = [
    "hello",
    "ping",
    "cancel",
    "watch",
    "unwatch",
    "open_session",
    "keep_alive",
    "close_session",
    "acquire",
    "release",
    "extend",
    "force_release",
    "check",
    "get_lock",
    "explain",
    "advance_register",
    "get_register",
    "delete_register",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HelloFields {
    namespace: Option<String>,
    session_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PingFields {
    #[serde(default)]
    keep_alive: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CancelFields {
    request_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnwatchFields {
    watch_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenSessionFields {
    ttl_ms: u64,
    #[serde(default)]
    metadata: String,
    #[serde(default)]
    bound: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionFields {
    session_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleaseFields {
    lock_id: String,
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtendFields {
    lock_id: String,
    name: Option<String>,
    ttl_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForceReleaseFields {
    fencing_token: u64,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AdvanceFields {
    fencing_token: u64,
}

/// Reads a request; what it does not say comes from the connection.
pub(super) fn decode(request: Request, defaults: &Defaults) -> Result<Op, ApiError> {
    let Request { op, mut fields, .. } = request;
    let what = match op.as_str() {
        "hello" => return hello(fields),
        "cancel" => {
            let CancelFields { request_id } = decode_fields(fields)?;
            return Ok(Op::Cancel { request_id });
        }
        "unwatch" => {
            let UnwatchFields { watch_id } = decode_fields(fields)?;
            return Ok(Op::Unwatch { watch_id });
        }
        "watch" => return watch(fields, defaults),
        "ping" => {
            let PingFields { keep_alive } = decode_fields(fields)?;
            if !keep_alive {
                return Ok(Op::Ping);
            }
            What::KeepAlive(session(None, defaults)?)
        }
        "keep_alive" => {
            let SessionFields { session_id } = decode_fields(fields)?;
            What::KeepAlive(session(session_id.as_deref(), defaults)?)
        }
        "check" | "get_lock" | "explain" | "get_register" => read(&op, fields)?,
        "open_session" | "close_session" | "acquire" | "release" | "extend" | "force_release"
        | "advance_register" | "delete_register" => {
            let dedup = retry_key(&mut fields, &defaults.namespace)?;
            let context = CallContext { namespace: defaults.namespace.clone(), dedup, timeout: None };
            let what = write(&op, fields, defaults)?;
            return Ok(Op::Call(Box::new(Call { context, what })));
        }
        _ => return Err(unknown_op(&op)),
    };
    let context = CallContext { namespace: defaults.namespace.clone(), ..CallContext::default() };
    Ok(Op::Call(Box::new(Call { context, what })))
}

fn hello(fields: Map<String, Value>) -> Result<Op, ApiError> {
    let HelloFields { namespace, session_id } = decode_fields(fields)?;
    let namespace = namespace.map(|text| parse::parse_namespace("namespace", &text)).transpose()?;
    let session = session_id.map(|text| parse::parse_session_id("session_id", &text)).transpose()?;
    Ok(Op::Hello { namespace, session })
}

fn watch(fields: Map<String, Value>, defaults: &Defaults) -> Result<Op, ApiError> {
    let query: WatchQuery = decode_fields(fields)?;
    let text = FilterText { prefix: &query.prefix, name: &query.name, session_id: &query.session_id };
    let namespace = defaults.namespace.clone();
    let filter = Filter::parse(namespace, query.jobs.split(','), query.kinds.split(','), text)?;
    let start = Start::parse(query.from_revision, query.snapshot)?;
    let (consistency, progress_ms) = (query.consistency.into(), query.progress_ms);
    Ok(Op::Watch(Box::new(WatchRequest { filter, start, from_ordinal: 0, consistency, progress_ms })))
}

fn read(op: &str, mut fields: Map<String, Value>) -> Result<What, ApiError> {
    let name = take_name(&mut fields)?;
    if op == "check" {
        let CheckRequest { fencing_token, consistency } = decode_fields(fields)?;
        return Ok(What::Check { name, fencing_token, consistency: consistency.into() });
    }
    if op == "get_register" {
        let ReadQuery { consistency } = decode_fields(fields)?;
        return Ok(What::GetRegister { name, consistency: consistency.into() });
    }
    let LockQuery { consistency, holders_cursor, waiters_cursor } = decode_fields(fields)?;
    let cursors = LockCursors::of(holders_cursor, waiters_cursor);
    let consistency = consistency.into();
    match op {
        "get_lock" => Ok(What::GetLock { name, cursors, consistency }),
        "explain" => Ok(What::Explain { name, cursors, consistency }),
        _ => Err(unknown_op(op)),
    }
}

fn write(op: &str, mut fields: Map<String, Value>, defaults: &Defaults) -> Result<What, ApiError> {
    match op {
        "open_session" => {
            let OpenSessionFields { ttl_ms, metadata, bound } = decode_fields(fields)?;
            Ok(What::OpenSession { request: OpenRequest { ttl_ms, metadata }, bound })
        }
        "close_session" => {
            let SessionFields { session_id } = decode_fields(fields)?;
            Ok(What::CloseSession(session(session_id.as_deref(), defaults)?))
        }
        "acquire" => {
            let fields: AcquireFields = decode_fields(fields)?;
            let own_life = fields.ttl_ms.is_some() || fields.session_id.is_some();
            let mut request = acquire_request(fields)?;
            // A grant without a session and without a time to live does not exist: it is the connection's session's.
            if !own_life {
                request.owner.session = defaults.session;
            }
            Ok(What::Acquire(request))
        }
        "release" => {
            let ReleaseFields { lock_id, name } = decode_fields(fields)?;
            let (lock_id, name) = grant_named(&lock_id, name.as_deref())?;
            Ok(What::Release(ReleaseRequest { lock_id, name }))
        }
        "extend" => {
            let ExtendFields { lock_id, name, ttl_ms } = decode_fields(fields)?;
            let (lock_id, name) = grant_named(&lock_id, name.as_deref())?;
            Ok(What::Extend(ExtendRequest { lock_id, name, ttl_ms }))
        }
        "force_release" => {
            let name = take_name(&mut fields)?;
            let ForceReleaseFields { fencing_token, reason } = decode_fields(fields)?;
            Ok(What::ForceRelease(ForceReleaseRequest { name, fencing_token, reason }))
        }
        "advance_register" => {
            let name = take_name(&mut fields)?;
            let AdvanceFields { fencing_token } = decode_fields(fields)?;
            Ok(What::AdvanceRegister { name, fencing_token })
        }
        "delete_register" => {
            let name = take_name(&mut fields)?;
            let NoQuery {} = decode_fields(fields)?;
            Ok(What::DeleteRegister { name })
        }
        _ => Err(unknown_op(op)),
    }
}

fn decode_fields<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T, ApiError> {
    decode_value(Value::Object(fields))
}

/// The `name` that other fronts have in the path.
fn take_name(fields: &mut Map<String, Value>) -> Result<Name, ApiError> {
    match fields.remove("name") {
        Some(Value::String(text)) => parse::parse_name("name", &text),
        Some(_) => Err(ApiError::invalid("name", "must be a text")),
        None => Err(ApiError::invalid("name", "is required")),
    }
}

fn retry_key(fields: &mut Map<String, Value>, namespace: &Namespace) -> Result<Option<DedupKey>, ApiError> {
    match fields.remove("key") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(key)) if !key.is_empty() => {
            Ok(Some(DedupKey::Idempotency { namespace: namespace.clone(), key }))
        }
        Some(_) => Err(ApiError::invalid("key", "must be a text that is not empty")),
    }
}

fn grant_named(lock_id: &str, name: Option<&str>) -> Result<(LockId, Option<Name>), ApiError> {
    let name = name.map(|text| parse::parse_name("name", text)).transpose()?;
    Ok((parse::parse_lock_id("lock_id", lock_id)?, name))
}

fn session(given: Option<&str>, defaults: &Defaults) -> Result<SessionId, ApiError> {
    match given {
        Some(text) => parse::parse_session_id("session_id", text),
        None => defaults.session.ok_or_else(|| {
            ApiError::invalid(
                "session_id",
                "is required: this connection has no session; see hello and open_session",
            )
        }),
    }
}

fn unknown_op(op: &str) -> ApiError {
    let shown: String = op.chars().take(64).collect();
    ApiError::invalid("op", format!("does not know {shown:?}; there are {}", OPS.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn field_at_fault(frame: Value) -> Option<String> {
        let Value::Object(mut fields) = frame else { panic!("an object") };
        let Some(Value::String(op)) = fields.remove("op") else { panic!("an op") };
        let request = Request { id: "1".to_owned(), op, fields };
        decode(request, &Defaults::default()).err().map(|error| error.field().unwrap_or("?").to_owned())
    }

    #[test]
    fn what_is_wrong_with_a_request_is_named() {
        for (frame, field) in [
            (json!({"op": "aquire"}), Some("op")),
            (json!({"op": "ping"}), None),
            (json!({"op": "ping", "keep_alive": true}), Some("session_id")),
            (json!({"op": "ping", "keepalive": true}), Some("keepalive")),
            (json!({"op": "hello", "namespace": "Ä b"}), Some("namespace")),
            (json!({"op": "open_session"}), Some("ttl_ms")),
            (json!({"op": "open_session", "ttl_ms": 1000, "bound": 1}), Some("bound")),
            (json!({"op": "close_session"}), Some("session_id")),
            (json!({"op": "close_session", "session_id": "s-1.0", "key": ""}), Some("key")),
            (json!({"op": "keep_alive", "session_id": "s-1.0", "key": "k"}), Some("key")),
            (json!({"op": "acquire", "ttl_ms": 1000}), Some("name")),
            (json!({"op": "acquire", "name": "a", "ttl": 1000}), Some("ttl")),
            (json!({"op": "acquire", "name": "a", "ttl_ms": "1"}), Some("ttl_ms")),
            (json!({"op": "acquire", "locks": [{"nam": "a"}]}), Some("locks[0].nam")),
            (json!({"op": "acquire", "name": "a", "ttl_ms": 1000, "key": "k"}), None),
            (json!({"op": "release", "lock_id": "7"}), Some("lock_id")),
            (json!({"op": "extend", "lock_id": "l-1.0"}), Some("ttl_ms")),
            (json!({"op": "force_release", "name": "a", "fencing_token": 1}), Some("reason")),
            (json!({"op": "check", "fencing_token": 1}), Some("name")),
            (json!({"op": "get_lock", "name": "a", "consistency": "stale"}), None),
            (json!({"op": "explain", "name": 1}), Some("name")),
            (json!({"op": "watch", "snapshot": true, "from_revision": 3}), Some("snapshot")),
            (json!({"op": "watch", "jobs": "locks"}), Some("jobs")),
            (json!({"op": "unwatch"}), Some("watch_id")),
            (json!({"op": "cancel", "request": "a"}), Some("request")),
        ] {
            assert_eq!(field_at_fault(frame.clone()).as_deref(), field, "{frame}");
        }
    }

    #[test]
    fn every_op_is_known() {
        for op in OPS {
            assert_ne!(field_at_fault(json!({ "op": op })).as_deref(), Some("op"), "{op}");
        }
    }
}
