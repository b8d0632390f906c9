//! Decodes requests: the operation, its fields, and the defaults of the connection.

use batuta_statemachine::{DedupKey, Name, Namespace, SessionId};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::access::AuthFields;
use super::asyncapi::Described;
use super::frame::Request;
use super::lease::Follower;
use super::{access, election, lock, register, session};
use crate::ApiError;
use crate::access::Secret;
use crate::contract::watch::WatchQuery;
use crate::json::decode_value;
use crate::service::acquire::Held;
use crate::service::bound::BoundSession;
use crate::service::operation::Operation;
use crate::service::watch::WatchRequest;
use crate::service::{At, CallContext, Client, Service, parse};

/// The connection's defaults for fields that a request leaves out.
#[derive(Clone, Debug, Default)]
pub(super) struct Defaults {
    /// Who the connection belongs to.
    pub(super) client: Client,
    pub(super) namespace: Namespace,
    pub(super) session: Option<SessionId>,
}

/// A decoded request.
pub(super) enum Asked {
    /// Sets the connection's defaults.
    Hello { namespace: Option<Namespace>, session: Option<SessionId> },
    /// Proves who the client is, or renews that.
    Auth { token: Secret },
    /// Checks that the node answers.
    Ping,
    /// Withdraws a waiting acquire.
    Cancel { request_id: String },
    /// Ends a watch.
    Unwatch { watch_id: String },
    /// Opens a watch.
    Watch(Box<WatchRequest>),
    /// Calls the service.
    Call(Call),
}

/// A decoded call of the service.
pub(super) struct Call {
    context: CallContext,
    pub(super) lease: LeaseOf,
    run: Run,
}

impl Call {
    /// Makes the call. `follower` notifies the client about a wait.
    pub(super) async fn make(self, service: Service, follower: Follower) -> Result<Done, ApiError> {
        (self.run)(CallScope { service, context: self.context, follower }).await
    }
}

/// Everything a call needs.
pub(super) struct CallScope {
    pub(super) service: Service,
    pub(super) context: CallContext,
    pub(super) follower: Follower,
}

type Run = Box<dyn FnOnce(CallScope) -> BoxFuture<'static, Result<Done, ApiError>> + Send>;

/// The kind of lease that a call may make, which its connection then follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaseOf {
    Nothing,
    Lock,
    Session,
}

/// A field that is not in the contract's request, because REST has it in the path or lacks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    /// `name`, which is required.
    Name,
    /// `name`, which may be left out.
    NameOrNone,
    /// `bound`: whether the session is closed when the connection ends.
    Bound,
    /// The connection's session is the default of `session_id`.
    OwnSession,
}

/// An operation of the API over WebSocket: a line of the job's `OPS`.
pub(super) struct Op {
    pub(super) operation: &'static Operation,
    /// The kind of lease that its answer may make.
    pub(super) lease: LeaseOf,
    /// Its description in the document.
    pub(super) described: Described,
    /// Fields besides those of the contract.
    pub(super) beside: &'static [Beside],
    read: fn(Fields) -> Result<Run, ApiError>,
}

impl Op {
    /// Makes an operation whose request has the fields of `Q` and whose answer is `A`.
    pub(super) const fn of<Q: ToSchema, A: ToSchema>(
        operation: &'static Operation,
        read: fn(Fields) -> Result<Run, ApiError>,
    ) -> Self {
        let described = Described::of::<Q, A>();
        Self { operation, lease: LeaseOf::Nothing, described, beside: &[], read }
    }

    /// Adds fields besides those of `Q`.
    pub(super) const fn with(self, beside: &'static [Beside]) -> Self {
        Self { beside, ..self }
    }

    /// Sets the kind of lease that the answer makes.
    pub(super) const fn leases(self, lease: LeaseOf) -> Self {
        Self { lease, ..self }
    }
}

/// The operations of all jobs.
pub(super) fn ops() -> impl Iterator<Item = &'static Op> {
    [lock::OPS, election::OPS, session::OPS, register::OPS, access::OPS].into_iter().flatten()
}

/// The operations of the connection itself, and of watches, which have many answers.
pub(super) const OWN: [&str; 6] = ["hello", "auth", "ping", "cancel", "watch", "unwatch"];

/// The effect of a call on the connection, besides its answer.
pub(super) enum Effect {
    None,
    /// A session was opened, and becomes that of the connection.
    Opened {
        session: SessionId,
        ttl_ms: u64,
        bound: Option<BoundSession>,
    },
    /// A session was closed.
    Closed(SessionId),
    /// A lock was granted to the connection.
    Granted {
        held: At<Held>,
        queued: bool,
    },
}

/// The result of a successful call.
pub(super) struct Done {
    pub(super) revision: u64,
    pub(super) result: Value,
    pub(super) effect: Effect,
}

/// Converts the answer of a use case to an answer of the contract.
pub(super) fn done<A: Serialize + From<At<V>>, V>(at: At<V>) -> Result<Done, ApiError> {
    let revision = at.revision;
    let result = serde_json::to_value(A::from(at)).map_err(|error| ApiError::Internal(error.to_string()))?;
    Ok(Done { revision, result, effect: Effect::None })
}

/// Boxes the work of an operation whose fields are decoded.
pub(super) fn run<F>(work: impl FnOnce(CallScope) -> F + Send + 'static) -> Run
where
    F: Future<Output = Result<Done, ApiError>> + Send + 'static,
{
    Box::new(|scope| work(scope).boxed())
}

/// The fields of a request, with the defaults of the connection.
pub(super) struct Fields {
    fields: Map<String, Value>,
    pub(super) defaults: Defaults,
}

impl Fields {
    /// Decodes all fields.
    pub(super) fn read<T: DeserializeOwned>(self) -> Result<T, ApiError> {
        decode_fields(self.fields)
    }

    /// Takes the `name` that REST has in the path.
    pub(super) fn name(&mut self) -> Result<Name, ApiError> {
        match self.fields.remove("name") {
            Some(Value::String(text)) => parse::parse_name("name", &text),
            Some(_) => Err(ApiError::invalid("name", "must be a text")),
            None => Err(ApiError::invalid("name", "is required")),
        }
    }

    /// Takes a boolean field, which is false by default.
    pub(super) fn flag(&mut self, field: &str) -> Result<bool, ApiError> {
        match self.fields.remove(field) {
            None => Ok(false),
            Some(Value::Bool(value)) => Ok(value),
            Some(_) => Err(ApiError::invalid(field, "must be true or false")),
        }
    }

    /// Adds the connection's session when the fields name none.
    pub(super) fn with_session(mut self) -> Result<Self, ApiError> {
        if self.fields.get("session_id").is_none_or(Value::is_null) {
            let session = own_session(&self.defaults)?.to_string();
            self.fields.insert("session_id".to_owned(), Value::String(session));
        }
        Ok(self)
    }

    fn retry_key(&mut self) -> Result<Option<DedupKey>, ApiError> {
        match self.fields.remove("key") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(key)) if !key.is_empty() => {
                Ok(Some(DedupKey::Idempotency { namespace: self.defaults.namespace.clone(), key }))
            }
            Some(_) => Err(ApiError::invalid("key", "must be a text that is not empty")),
        }
    }
}

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

/// Decodes a request; the connection provides defaults.
pub(super) fn decode(request: Request, defaults: &Defaults) -> Result<Asked, ApiError> {
    let Request { op, fields, .. } = request;
    match op.as_str() {
        "hello" => hello(fields),
        "auth" => {
            let AuthFields { token } = decode_fields(fields)?;
            Ok(Asked::Auth { token: token.0 })
        }
        "ping" => {
            let PingFields { keep_alive } = decode_fields(fields)?;
            if keep_alive { call("keep_alive", Map::new(), defaults) } else { Ok(Asked::Ping) }
        }
        "cancel" => {
            let CancelFields { request_id } = decode_fields(fields)?;
            Ok(Asked::Cancel { request_id })
        }
        "unwatch" => {
            let UnwatchFields { watch_id } = decode_fields(fields)?;
            Ok(Asked::Unwatch { watch_id })
        }
        "watch" => {
            let query: WatchQuery = decode_fields(fields)?;
            Ok(Asked::Watch(Box::new(query.read(&read_context(defaults))?)))
        }
        op => call(op, fields, defaults),
    }
}

fn call(op: &str, fields: Map<String, Value>, defaults: &Defaults) -> Result<Asked, ApiError> {
    let op = ops().find(|known| known.operation.name == op).ok_or_else(|| unknown_op(op))?;
    let mut fields = Fields { fields, defaults: defaults.clone() };
    let dedup = if op.operation.retry_key { fields.retry_key()? } else { None };
    let context = CallContext { dedup, ..read_context(defaults) };
    Ok(Asked::Call(Call { context, lease: op.lease, run: (op.read)(fields)? }))
}

fn read_context(defaults: &Defaults) -> CallContext {
    defaults.client.context(defaults.namespace.clone())
}

fn hello(fields: Map<String, Value>) -> Result<Asked, ApiError> {
    let HelloFields { namespace, session_id } = decode_fields(fields)?;
    let namespace = namespace.map(|text| parse::parse_namespace("namespace", &text)).transpose()?;
    let session = session_id.map(|text| parse::parse_session_id("session_id", &text)).transpose()?;
    Ok(Asked::Hello { namespace, session })
}

fn decode_fields<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T, ApiError> {
    decode_value(Value::Object(fields))
}

fn own_session(defaults: &Defaults) -> Result<SessionId, ApiError> {
    let problem = "is required: this connection has no session; see hello and open_session";
    defaults.session.ok_or_else(|| ApiError::invalid("session_id", problem))
}

fn unknown_op(op: &str) -> ApiError {
    let shown: String = op.chars().take(64).collect();
    let known: Vec<&str> = OWN.into_iter().chain(ops().map(|op| op.operation.name)).collect();
    ApiError::invalid("op", format!("does not know {shown:?}; there are {}", known.join(", ")))
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
    fn error_names_the_wrong_part_of_a_request() {
        for (frame, field) in [
            (json!({"op": "aquire"}), Some("op")),
            (json!({"op": "ping"}), None),
            (json!({"op": "ping", "keep_alive": true}), Some("session_id")),
            (json!({"op": "ping", "keepalive": true}), Some("keepalive")),
            (json!({"op": "hello", "namespace": "Ä b"}), Some("namespace")),
            (json!({"op": "auth"}), Some("token")),
            (json!({"op": "auth", "token": 7}), Some("token")),
            (json!({"op": "auth", "tokn": "btk_x"}), Some("tokn")),
            (json!({"op": "auth", "token": "btk_x"}), None),
            (json!({"op": "who_am_i", "principal": "user/ann"}), Some("principal")),
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
            (json!({"op": "watch", "areas": "locks"}), Some("areas")),
            (json!({"op": "unwatch"}), Some("watch_id")),
            (json!({"op": "cancel", "request": "a"}), Some("request")),
        ] {
            assert_eq!(field_at_fault(frame.clone()).as_deref(), field, "{frame}");
        }
    }

    #[test]
    fn every_op_is_known() {
        for op in OWN.into_iter().chain(ops().map(|op| op.operation.name)) {
            assert_ne!(field_at_fault(json!({ "op": op })).as_deref(), Some("op"), "{op}");
        }
    }
}
