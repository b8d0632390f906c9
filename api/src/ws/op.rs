//! Requests: the fields of every operation, and what they mean as types of the service.

use batuta_statemachine::lock::By;
use batuta_statemachine::{DedupKey, Name, Namespace, SessionId};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::frame::Request;
use crate::ApiError;
use crate::contract::ReadQuery;
use crate::contract::lock::{
    AcquireRequest as AcquireFields, CheckQuery, ExtendRequest, ForceReleaseRequest, LockQuery,
    ReleaseRequest,
};
use crate::contract::register::{AdvanceRegisterRequest, DeleteRegisterRequest};
use crate::contract::session::{CloseSessionRequest, KeepAliveRequest, OpenSessionRequest};
use crate::contract::watch::WatchQuery;
use crate::json::decode_value;
use crate::service::acquire::AcquireRequest;
use crate::service::lock::{Extend, ForceRelease, LockCursors};
use crate::service::session::OpenRequest;
use crate::service::watch::WatchRequest;
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
    Release(By),
    Extend(Extend),
    ForceRelease(ForceRelease),
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
            What::KeepAlive(own_session(defaults)?)
        }
        "keep_alive" => {
            let KeepAliveRequest { session_id } = decode_fields(with_session(fields, defaults)?)?;
            What::KeepAlive(parse::parse_session_id("session_id", &session_id)?)
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
    let context = CallContext { namespace: defaults.namespace.clone(), ..CallContext::default() };
    Ok(Op::Watch(Box::new(query.read(&context)?)))
}

fn read(op: &str, mut fields: Map<String, Value>) -> Result<What, ApiError> {
    let name = take_name(&mut fields)?;
    if op == "check" {
        let CheckQuery { fencing_token, consistency } = decode_fields(fields)?;
        return Ok(What::Check { name, fencing_token: fencing_token.into(), consistency });
    }
    if op == "get_register" {
        let ReadQuery { consistency } = decode_fields(fields)?;
        return Ok(What::GetRegister { name, consistency });
    }
    let query: LockQuery = decode_fields(fields)?;
    let (cursors, consistency) = (query.cursors()?, query.consistency);
    match op {
        "get_lock" => Ok(What::GetLock { name, cursors, consistency }),
        "explain" => Ok(What::Explain { name, cursors, consistency }),
        _ => Err(unknown_op(op)),
    }
}

fn write(op: &str, mut fields: Map<String, Value>, defaults: &Defaults) -> Result<What, ApiError> {
    match op {
        "open_session" => {
            let bound = match fields.remove("bound") {
                None => false,
                Some(Value::Bool(bound)) => bound,
                Some(_) => return Err(ApiError::invalid("bound", "must be true or false")),
            };
            let OpenSessionRequest { ttl_ms, metadata } = decode_fields(fields)?;
            Ok(What::OpenSession { request: OpenRequest { ttl_ms: ttl_ms.into(), metadata }, bound })
        }
        "close_session" => {
            let CloseSessionRequest { session_id } = decode_fields(with_session(fields, defaults)?)?;
            Ok(What::CloseSession(parse::parse_session_id("session_id", &session_id)?))
        }
        "acquire" => {
            let fields: AcquireFields = decode_fields(fields)?;
            let own_life = fields.ttl_ms.is_some() || fields.session_id.is_some();
            let mut request = fields.read()?;
            // A grant without a session and without a time to live does not exist: it is the connection's session's.
            if !own_life {
                request.owner.session = defaults.session;
            }
            Ok(What::Acquire(request))
        }
        "release" => Ok(What::Release(decode_fields::<ReleaseRequest>(fields)?.read()?)),
        "extend" => Ok(What::Extend(decode_fields::<ExtendRequest>(fields)?.read()?)),
        "force_release" => Ok(What::ForceRelease(decode_fields::<ForceReleaseRequest>(fields)?.read()?)),
        "advance_register" => {
            let AdvanceRegisterRequest { name, fencing_token } = decode_fields(fields)?;
            let name = parse::parse_name("name", &name)?;
            Ok(What::AdvanceRegister { name, fencing_token: fencing_token.into() })
        }
        "delete_register" => {
            let DeleteRegisterRequest { name } = decode_fields(fields)?;
            Ok(What::DeleteRegister { name: parse::parse_name("name", &name)? })
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

/// The fields with the connection's session where they name none.
fn with_session(mut fields: Map<String, Value>, defaults: &Defaults) -> Result<Map<String, Value>, ApiError> {
    if fields.get("session_id").is_none_or(Value::is_null) {
        fields.insert("session_id".to_owned(), Value::String(own_session(defaults)?.to_string()));
    }
    Ok(fields)
}

fn own_session(defaults: &Defaults) -> Result<SessionId, ApiError> {
    let problem = "is required: this connection has no session; see hello and open_session";
    defaults.session.ok_or_else(|| ApiError::invalid("session_id", problem))
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
