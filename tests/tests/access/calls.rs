//! What every operation needs, and a valid request for it over REST, GraphQL and WebSocket. `grpc_calls.rs` has those over gRPC.

use serde_json::{Value, json};

/// What a call needs while access is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing, and it is answered whatever credential is sent.
    Probe,
    /// Nothing, but a bad credential is refused.
    Nothing,
    /// Nothing in the header: the request itself has a secret.
    OwnSecret,
    /// A credential. What it may do depends on what the call names.
    Identity,
    /// A permission.
    Right(&'static str),
}

/// What an operation of the table `api/src/service/operation.rs` needs.
pub(crate) fn need(operation: &str) -> Need {
    match operation {
        "probe" => Need::Probe,
        "readiness" | "connection" | "who_am_i" => Need::Nothing,
        "bootstrap" | "login" => Need::OwnSecret,
        "acquire" => Need::Right("lock:acquire"),
        "resize" => Need::Right("lock:resize"),
        "force_release" => Need::Right("lock:force_release"),
        "check" | "get_lock" | "explain" => Need::Right("lock:read"),
        "list_locks" => Need::Right("lock:list"),
        "campaign" => Need::Right("election:campaign"),
        "get_election" => Need::Right("election:read"),
        "list_elections" => Need::Right("election:list"),
        "open_session" => Need::Right("session:open"),
        "list_sessions" => Need::Right("session:list"),
        "advance_register" => Need::Right("register:advance"),
        "get_register" => Need::Right("register:read"),
        "delete_register" => Need::Right("register:delete"),
        "get_cluster" | "get_limits" => Need::Right("cluster:read"),
        "remove_member" | "promote_member" => Need::Right("cluster:members"),
        "transfer_leader" => Need::Right("cluster:transfer"),
        "trigger_snapshot" => Need::Right("cluster:snapshot"),
        "set_limits" => Need::Right("cluster:limits"),
        "put_principal" | "delete_principal" | "suspend_principal" | "resume_principal" | "put_group"
        | "delete_group" | "put_role" | "delete_role" | "bind" | "extend_binding" | "unbind" => {
            Need::Right("access:write")
        }
        "get_principal" | "list_principals" | "list_groups" | "list_roles" | "list_bindings"
        | "get_access" | "get_access_report" => Need::Right("access:read"),
        "set_access_mode" => Need::Right("access:mode"),
        "read_audit" => Need::Right("access:audit"),
        // One's own grants, sessions, waits, password and keys; with a permission those of others.
        "release" | "extend" | "downgrade" | "set_metadata" | "cancel_wait" | "proclaim" | "resign"
        | "keep_alive" | "close_session" | "get_session" | "watch" | "list_members" | "logout"
        | "check_access" | "set_password" | "create_key" | "rotate_key" | "list_credentials"
        | "delete_credential" => Need::Identity,
        other => panic!("{other} is new: say in tests/tests/access/calls.rs (fn need) what it needs"),
    }
}

/// Ids that belong to nothing.
pub(crate) const NO_SESSION: &str = "s-999999.0";
/// See [`NO_SESSION`].
pub(crate) const NO_LOCK: &str = "l-999999.0";
/// See [`NO_SESSION`].
pub(crate) const NO_BINDING: &str = "b-999999.0";
/// See [`NO_SESSION`].
pub(crate) const NO_CREDENTIAL: &str = "AAAAAAAAAAAA";
/// A good password.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A request over REST: method and path as in the `OpenAPI` document, the operation, the actual path, the body.
pub(crate) struct RestCall(
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) String,
    pub(crate) Option<Value>,
);

fn rest(method: &'static str, path: &'static str, operation: &'static str) -> RestCall {
    let concrete = path
        .replace("{lock_id}", NO_LOCK)
        .replace("{session_id}", NO_SESSION)
        .replace("{member}", "no-such-node")
        .replace("{binding_id}", NO_BINDING)
        .replace("{credential_id}", NO_CREDENTIAL)
        .replace("{name}", "no-such");
    RestCall(method, path, operation, concrete, None)
}

impl RestCall {
    fn of(self, body: Value) -> Self {
        Self(self.0, self.1, self.2, self.3, Some(body))
    }

    fn asking(self, query: &str) -> Self {
        Self(self.0, self.1, self.2, format!("{}?{query}", self.3), self.4)
    }
}

/// All calls over REST.
pub(crate) fn rest_calls() -> Vec<RestCall> {
    let mut calls = data_calls();
    calls.extend(cluster_calls());
    calls.extend(access_calls());
    calls
}

fn data_calls() -> Vec<RestCall> {
    let held = |more: Value| {
        let mut body = json!({"lock_id": NO_LOCK});
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        body
    };
    vec![
        rest("POST", "/api/v1/locks", "acquire").of(json!({"name": "m/rest", "ttl_ms": 1_000})),
        rest("GET", "/api/v1/locks", "list_locks"),
        rest("GET", "/api/v1/locks/{name}", "get_lock"),
        rest("DELETE", "/api/v1/locks/{name}", "release").asking(&format!("lock_id={NO_LOCK}")),
        rest("PUT", "/api/v1/locks/{name}/extend", "extend").of(held(json!({"ttl_ms": 1_000}))),
        rest("PUT", "/api/v1/locks/{name}/downgrade", "downgrade").of(held(json!({}))),
        rest("PUT", "/api/v1/locks/{name}/metadata", "set_metadata").of(held(json!({"metadata": "x"}))),
        rest("PUT", "/api/v1/locks/{name}/capacity", "resize").of(json!({"capacity": 2})),
        rest("GET", "/api/v1/locks/{name}/check", "check").asking("fencing_token=1"),
        rest("GET", "/api/v1/locks/{name}/explain", "explain"),
        rest("DELETE", "/api/v1/waits/{lock_id}", "cancel_wait"),
        rest("POST", "/api/v1/elections", "campaign").of(json!({"name": "m/rest", "ttl_ms": 1_000})),
        rest("GET", "/api/v1/elections", "list_elections"),
        rest("GET", "/api/v1/elections/{name}", "get_election"),
        rest("DELETE", "/api/v1/elections/{name}", "resign").asking("fencing_token=1"),
        rest("PUT", "/api/v1/elections/{name}/value", "proclaim")
            .of(json!({"fencing_token": 1, "value": "x"})),
        rest("PUT", "/api/v1/registers/{name}", "advance_register").of(json!({"fencing_token": 1})),
        rest("GET", "/api/v1/registers/{name}", "get_register"),
        rest("DELETE", "/api/v1/registers/{name}", "delete_register"),
        rest("POST", "/api/v1/sessions", "open_session").of(json!({"ttl_ms": 5_000})),
        rest("GET", "/api/v1/sessions", "list_sessions"),
        rest("GET", "/api/v1/sessions/{session_id}", "get_session"),
        rest("DELETE", "/api/v1/sessions/{session_id}", "close_session"),
        rest("PUT", "/api/v1/sessions/{session_id}/keep-alive", "keep_alive"),
        rest("GET", "/api/v1/watch", "watch").asking("areas=lock"),
        rest("GET", "/api/v1/watch/poll", "watch").asking("areas=lock&wait_ms=0"),
    ]
}

fn cluster_calls() -> Vec<RestCall> {
    vec![
        rest("GET", "/livez", "probe"),
        rest("GET", "/readyz", "probe"),
        rest("GET", "/healthz", "readiness"),
        rest("GET", "/api/v1/cluster", "get_cluster"),
        rest("GET", "/api/v1/cluster/members", "list_members"),
        rest("DELETE", "/api/v1/cluster/members/{member}", "remove_member"),
        rest("POST", "/api/v1/cluster/members/{member}/promote", "promote_member"),
        rest("POST", "/api/v1/cluster/transfer-leader", "transfer_leader")
            .of(json!({"member": "no-such-node"})),
        rest("POST", "/api/v1/cluster/snapshot", "trigger_snapshot"),
        rest("GET", "/api/v1/cluster/limits", "get_limits"),
        rest("PUT", "/api/v1/cluster/limits", "set_limits")
            .of(json!({"limits": [{"name": "waiters_per_lock_max", "value": 10_000}]})),
    ]
}

fn access_calls() -> Vec<RestCall> {
    let bind = json!({"subject": "service/no-such", "role": "viewer", "reason": "a test"});
    let mut calls = vec![
        rest("POST", "/api/v1/access/bootstrap", "bootstrap").of(json!({"token": "btb_x", "admin": "eve"})),
        rest("POST", "/api/v1/access/login", "login").of(json!({"user": "ann", "password": PASSWORD})),
        rest("POST", "/api/v1/access/logout", "logout"),
        rest("GET", "/api/v1/access/whoami", "who_am_i"),
        rest("POST", "/api/v1/access/check", "check_access").of(json!({"permission": "lock:read"})),
        rest("PUT", "/api/v1/access/users/{name}/password", "set_password").of(json!({"password": PASSWORD})),
        rest("PUT", "/api/v1/access/groups/{name}", "put_group").of(json!({"members": []})),
        rest("DELETE", "/api/v1/access/groups/{name}", "delete_group"),
        rest("GET", "/api/v1/access/groups", "list_groups"),
        rest("PUT", "/api/v1/access/roles/{name}", "put_role")
            .of(json!({"rules": [{"permissions": ["access:write"], "names": ["**"]}]})),
        rest("DELETE", "/api/v1/access/roles/{name}", "delete_role"),
        rest("GET", "/api/v1/access/roles", "list_roles"),
        rest("POST", "/api/v1/access/bindings", "bind").of(bind),
        rest("PATCH", "/api/v1/access/bindings/{binding_id}", "extend_binding")
            .of(json!({"ttl_ms": 1_000, "reason": "a test"})),
        rest("DELETE", "/api/v1/access/bindings/{binding_id}", "unbind"),
        rest("GET", "/api/v1/access/bindings", "list_bindings"),
        rest("POST", "/api/v1/access/keys", "create_key")
            .of(json!({"principal": "service/spare", "label": "x"})),
        rest("POST", "/api/v1/access/keys/{credential_id}/rotate", "rotate_key").of(json!({})),
        rest("GET", "/api/v1/access/credentials", "list_credentials").asking("principal=user%2Froot"),
        rest("DELETE", "/api/v1/access/credentials/{credential_id}", "delete_credential"),
        rest("GET", "/api/v1/access", "get_access"),
        rest("PUT", "/api/v1/access/mode", "set_access_mode").of(json!({"mode": "enforce"})),
        rest("GET", "/api/v1/access/report", "get_access_report"),
        rest("POST", "/api/v1/access/report/clear", "get_access_report"),
        rest("GET", "/api/v1/access/audit", "read_audit"),
    ];
    calls.extend(principal_calls());
    calls
}

/// The same calls for users and for services.
fn principal_calls() -> Vec<RestCall> {
    vec![
        rest("GET", "/api/v1/access/users", "list_principals"),
        rest("GET", "/api/v1/access/users/{name}", "get_principal"),
        rest("PUT", "/api/v1/access/users/{name}", "put_principal").of(json!({"description": "x"})),
        rest("POST", "/api/v1/access/users/{name}/suspend", "suspend_principal").of(json!({})),
        rest("POST", "/api/v1/access/users/{name}/resume", "resume_principal"),
        rest("DELETE", "/api/v1/access/users/{name}", "delete_principal"),
        rest("GET", "/api/v1/access/services", "list_principals"),
        rest("GET", "/api/v1/access/services/{name}", "get_principal"),
        rest("PUT", "/api/v1/access/services/{name}", "put_principal").of(json!({"description": "x"})),
        rest("POST", "/api/v1/access/services/{name}/suspend", "suspend_principal").of(json!({})),
        rest("POST", "/api/v1/access/services/{name}/resume", "resume_principal"),
        rest("DELETE", "/api/v1/access/services/{name}", "delete_principal"),
    ]
}

/// A root field of GraphQL: its type, its name, the operation, and the field with arguments and selection.
pub(crate) struct Field(
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) &'static str,
);

/// All root fields.
pub(crate) const FIELDS: &[Field] = &[
    Field("mutation", "acquire", "acquire", r#"acquire(input: {name: "m/g", ttlMs: 1000}) { __typename }"#),
    Field("mutation", "release", "release", r#"release(input: {lockId: "l-999999.0"}) { __typename }"#),
    Field(
        "mutation",
        "forceRelease",
        "force_release",
        r#"forceRelease(input: {name: "m/g", fencingToken: 1, reason: "x"}) { __typename }"#,
    ),
    Field(
        "mutation",
        "extend",
        "extend",
        r#"extend(input: {lockId: "l-999999.0", ttlMs: 1000}) { __typename }"#,
    ),
    Field("mutation", "downgrade", "downgrade", r#"downgrade(input: {lockId: "l-999999.0"}) { __typename }"#),
    Field(
        "mutation",
        "setMetadata",
        "set_metadata",
        r#"setMetadata(input: {lockId: "l-999999.0", metadata: "x"}) { __typename }"#,
    ),
    Field("mutation", "resize", "resize", r#"resize(input: {name: "m/none", capacity: 2}) { __typename }"#),
    Field(
        "mutation",
        "cancelWait",
        "cancel_wait",
        r#"cancelWait(input: {lockId: "l-999999.0"}) { __typename }"#,
    ),
    Field(
        "mutation",
        "campaign",
        "campaign",
        r#"campaign(input: {name: "e/g", ttlMs: 1000}) { __typename }"#,
    ),
    Field(
        "mutation",
        "proclaim",
        "proclaim",
        r#"proclaim(input: {name: "e/none", fencingToken: 1, value: "x"}) { __typename }"#,
    ),
    Field(
        "mutation",
        "resign",
        "resign",
        r#"resign(input: {name: "e/none", fencingToken: 1}) { __typename }"#,
    ),
    Field(
        "mutation",
        "advanceRegister",
        "advance_register",
        r#"advanceRegister(input: {name: "r/g", fencingToken: 1}) { __typename }"#,
    ),
    Field(
        "mutation",
        "deleteRegister",
        "delete_register",
        r#"deleteRegister(input: {name: "r/none"}) { __typename }"#,
    ),
    Field("mutation", "openSession", "open_session", r"openSession(input: {ttlMs: 5000}) { __typename }"),
    Field(
        "mutation",
        "keepAlive",
        "keep_alive",
        r#"keepAlive(input: {sessionId: "s-999999.0"}) { __typename }"#,
    ),
    Field(
        "mutation",
        "closeSession",
        "close_session",
        r#"closeSession(input: {sessionId: "s-999999.0"}) { __typename }"#,
    ),
    Field(
        "mutation",
        "removeMember",
        "remove_member",
        r#"removeMember(input: {member: "no-such-node"}) { __typename }"#,
    ),
    Field(
        "mutation",
        "promoteMember",
        "promote_member",
        r#"promoteMember(input: {member: "no-such-node"}) { __typename }"#,
    ),
    Field(
        "mutation",
        "transferLeader",
        "transfer_leader",
        r#"transferLeader(input: {member: "no-such-node"}) { __typename }"#,
    ),
    Field("mutation", "triggerSnapshot", "trigger_snapshot", "triggerSnapshot { __typename }"),
    Field(
        "mutation",
        "setLimits",
        "set_limits",
        r#"setLimits(input: {limits: [{name: "waiters_per_lock_max", value: 10000}]}) { __typename }"#,
    ),
    Field("query", "lock", "get_lock", r#"lock(name: "m/none") { __typename }"#),
    Field("query", "locks", "list_locks", "locks { __typename }"),
    Field("query", "check", "check", r#"check(name: "m/none", fencingToken: 1) { __typename }"#),
    Field("query", "explain", "explain", r#"explain(name: "m/none") { __typename }"#),
    Field("query", "election", "get_election", r#"election(name: "e/none") { __typename }"#),
    Field("query", "elections", "list_elections", "elections { __typename }"),
    Field("query", "register", "get_register", r#"register(name: "r/none") { __typename }"#),
    Field("query", "session", "get_session", r#"session(id: "s-999999.0") { __typename }"#),
    Field("query", "sessions", "list_sessions", "sessions { __typename }"),
    Field("query", "cluster", "get_cluster", "cluster { __typename }"),
    Field("query", "members", "list_members", "members { __typename }"),
    Field("query", "limits", "get_limits", "limits { __typename }"),
    Field("query", "readiness", "readiness", "readiness { __typename }"),
    Field("query", "whoAmI", "who_am_i", "whoAmI { __typename }"),
    Field("query", "checkAccess", "check_access", r#"checkAccess(permission: "lock:read") { __typename }"#),
    Field("query", "access", "get_access", "access { __typename }"),
    Field("query", "principals", "list_principals", "principals { __typename }"),
    Field("query", "groups", "list_groups", "groups { __typename }"),
    Field("query", "roles", "list_roles", "roles { __typename }"),
    Field("query", "bindings", "list_bindings", "bindings { __typename }"),
    Field(
        "query",
        "credentials",
        "list_credentials",
        r#"credentials(principal: "user/root") { __typename }"#,
    ),
    Field("subscription", "changes", "watch", "changes(areas: [LOCK], progressMs: 100) { __typename }"),
];

/// The operations of WebSocket that only concern the connection itself, or are how its client proves who it is.
pub(crate) const OF_CONNECTION: &[&str] = &["hello", "ping", "cancel", "unwatch", "auth"];

/// A request over WebSocket: the `op`, and the frame. The operation is the `op`, except for those in [`OF_CONNECTION`].
pub(crate) fn frame(op: &str) -> Option<Value> {
    let fields = match op {
        "hello" | "ping" | "list_elections" | "who_am_i" => json!({}),
        "cancel" => json!({"request_id": "none"}),
        "unwatch" => json!({"watch_id": "none"}),
        "auth" => json!({"token": "btk_x"}),
        "open_session" => json!({"ttl_ms": 5_000}),
        "keep_alive" | "close_session" => json!({"session_id": NO_SESSION}),
        "acquire" => json!({"name": "m/ws", "ttl_ms": 1_000}),
        "campaign" => json!({"name": "e/ws", "ttl_ms": 1_000}),
        "release" | "downgrade" => json!({"lock_id": NO_LOCK}),
        "set_metadata" => json!({"lock_id": NO_LOCK, "metadata": "x"}),
        "extend" => json!({"lock_id": NO_LOCK, "ttl_ms": 1_000}),
        "resize" => json!({"name": "m/none", "capacity": 2}),
        "force_release" => json!({"name": "m/none", "fencing_token": 1, "reason": "x"}),
        "check" => json!({"name": "m/none", "fencing_token": 1}),
        "get_lock" | "explain" | "get_election" | "get_register" | "delete_register" => {
            json!({"name": "m/none"})
        }
        "proclaim" => json!({"name": "e/none", "fencing_token": 1, "value": "x"}),
        "resign" => json!({"name": "e/none", "fencing_token": 1}),
        "advance_register" => json!({"name": "r/ws", "fencing_token": 1}),
        "watch" => json!({"areas": "lock"}),
        _ => return None,
    };
    let mut frame = json!({"id": "1", "op": op});
    for (name, value) in fields.as_object().into_iter().flatten() {
        frame[name] = value.clone();
    }
    Some(frame)
}
