//! The GraphQL front over a replica of one node: what a user of a GraphQL client would try.

mod support;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use batuta_api::graphql::{self, GraphqlOptions, SocketOptions};
use serde_json::{Value, json};
use support::{Node, eventually};
use tower::ServiceExt;

/// Largest answer that a test reads, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;

const OPEN: GraphqlOptions =
    GraphqlOptions { introspection: true, page: true, socket: SocketOptions::DEFAULT };
const CLOSED: GraphqlOptions =
    GraphqlOptions { introspection: false, page: false, socket: SocketOptions::DEFAULT };

const ACQUIRE: &str = "mutation ($input: AcquireInput!, $key: String, $namespace: String! = \"default\") {
    acquire(input: $input, idempotencyKey: $key, namespace: $namespace) {
        lockId fencingToken namespace name mode locks { name mode permits capacity } sessionId owner count
        grantedRevision grantedAt expiresAt ttlMs remainingMs lockDelayMs metadata revision
    }
}";
const RELEASE: &str = "mutation ($input: ReleaseInput!, $key: String, $namespace: String! = \"default\") {
    release(input: $input, idempotencyKey: $key, namespace: $namespace) {
        lockId fencingToken remainingCount revision
    }
}";
const LOCK: &str = "query ($name: String!) { lock(name: $name) {
    name mode capacity permitsFree waiterCount holders { lockId } waiters { lockId } revision
} }";

struct Api(Router);

/// The status and the body of an answer.
struct Answer(u16, Value);

impl Api {
    fn of(node: &Node) -> Self {
        Self(graphql::router(node.service.clone(), OPEN))
    }

    async fn send(&self, request: Request<Body>) -> (u16, axum::http::HeaderMap, Vec<u8>) {
        let (parts, body) = self.0.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = axum::body::to_bytes(body, ANSWER_BYTES_MAX).await.unwrap();
        (parts.status.as_u16(), parts.headers, bytes.to_vec())
    }

    async fn post(&self, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::post("/graphql");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (status, headers, bytes) = self.send(request.body(body.into()).unwrap()).await;
        assert_eq!(headers["content-type"], "application/json");
        assert!(headers.contains_key("x-request-id"));
        Answer(status, serde_json::from_slice(&bytes).expect("a GraphQL answer"))
    }

    async fn json(&self, body: Value) -> Answer {
        self.post(&[("content-type", "application/json")], body.to_string()).await
    }

    async fn ask(&self, query: &str, variables: Value) -> Answer {
        self.json(json!({"query": query, "variables": variables})).await
    }

    /// Asks for one field and returns it.
    async fn field(&self, query: &str, variables: Value) -> Value {
        self.ask(query, variables).await.ok()
    }

    async fn acquire(&self, input: Value) -> Value {
        self.field(ACQUIRE, json!({"input": input})).await
    }

    /// Takes a one-shot lock, which must be free.
    async fn one_shot(&self, name: &str) -> Value {
        self.acquire(json!({"name": name, "ttlMs": 600_000})).await
    }

    async fn refused(&self, query: &str, variables: Value, code: &str) -> Value {
        self.ask(query, variables).await.refused(200, code)
    }
}

impl Answer {
    /// Returns the only field of an answer without errors, and checks that it has a revision.
    fn ok(self) -> Value {
        let Self(status, mut body) = self;
        assert_eq!((status, body.get("errors")), (200, None), "{body}");
        let fields = body["data"].as_object_mut().expect("data");
        let field = fields.values_mut().next().expect("a field").take();
        assert!(field["revision"].is_u64(), "{field}");
        field
    }

    /// Returns the extensions of the first error, which must have this code.
    fn refused(self, status: u16, code: &str) -> Value {
        let Self(answered, mut body) = self;
        let extensions = body["errors"][0]["extensions"].take();
        assert_eq!((answered, extensions["code"].as_str()), (status, Some(code)), "{body} {extensions}");
        assert!(extensions["retryable"].is_boolean(), "{extensions}");
        assert_eq!(extensions["retryAfterMs"].is_u64(), extensions["retryable"] == true, "{extensions}");
        assert!(body["errors"][0]["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
        extensions
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

#[tokio::test]
async fn lock_is_taken_shown_extended_checked_and_released() {
    let node = Node::start().await;
    let api = Api::of(&node);
    let input = json!({"name": "orders/42", "ttlMs": 600_000, "owner": "worker-7", "metadata": "m"});
    let grant = api.acquire(input).await;
    let (lock_id, token) = (text(&grant["lockId"]).to_owned(), grant["fencingToken"].as_u64().unwrap());
    for (field, value) in [
        ("namespace", json!("default")),
        ("name", json!("orders/42")),
        ("mode", json!("EXCLUSIVE")),
        ("locks", json!([{"name": "orders/42", "mode": "EXCLUSIVE", "permits": null, "capacity": null}])),
        ("owner", json!("worker-7")),
        ("sessionId", json!(null)),
        ("ttlMs", json!(600_000)),
        ("count", json!(1)),
        ("metadata", json!("m")),
    ] {
        assert_eq!(grant[field], value, "{field}");
    }
    assert!(text(&grant["grantedAt"]) < text(&grant["expiresAt"]), "{grant}");

    let shown = api.field(LOCK, json!({"name": "orders/42"})).await;
    assert_eq!(shown["holders"][0]["lockId"], *lock_id);
    let explain = "{ explain(name: \"orders/42\", consistency: STALE) {
        lock { holders { fencingToken } } waiters { blockers { name } } summary revision } }";
    let explained = api.field(explain, json!({})).await;
    assert_eq!(explained["lock"]["holders"][0]["fencingToken"], token);
    assert!(text(&explained["summary"]).contains("worker-7"), "{explained}");

    let extend = "mutation ($input: ExtendInput!) { extend(input: $input) { ttlMs fencingToken revision } }";
    let longer = |name: &str| json!({"input": {"lockId": lock_id, "name": name, "ttlMs": 900_000}});
    let extended = api.field(extend, longer("orders/42")).await;
    assert_eq!((&extended["ttlMs"], &extended["fencingToken"]), (&json!(900_000), &json!(token)));
    api.refused(extend, longer("other"), "lock_not_held").await;

    let check = "query ($token: Long!) {
        check(name: \"orders/42\", fencingToken: $token) { current status newestToken revision } }";
    let checked = api.field(check, json!({"token": token})).await;
    assert_eq!((&checked["current"], &checked["status"]), (&json!(true), &json!("HELD")));
    let checked = api.field(check, json!({"token": token + 1})).await;
    assert_eq!((&checked["status"], &checked["newestToken"]), (&json!("SUPERSEDED"), &json!(token)));

    let released = api.field(RELEASE, json!({"input": {"lockId": lock_id}})).await;
    assert_eq!((&released["fencingToken"], &released["remainingCount"]), (&json!(token), &json!(0)));
    api.refused(LOCK, json!({"name": "orders/42"}), "lock_not_found").await;
    assert_eq!(api.field(check, json!({"token": token})).await["status"], "NOT_HELD");
    node.stop().await;
}

#[tokio::test]
async fn held_lock_is_refused_and_wait_times_out() {
    let node = Node::start().await;
    let api = Api::of(&node);
    let grant = api.one_shot("a").await;
    let input = json!({"input": {"name": "a", "ttlMs": 600_000}});
    let Answer(status, body) = api.ask(ACQUIRE, input.clone()).await;
    assert_eq!((status, &body["data"]), (200, &json!({"acquire": null})));
    assert_eq!(
        (&body["errors"][0]["path"], body["errors"].as_array().unwrap().len()),
        (&json!(["acquire"]), 1)
    );
    let held = Answer(status, body).refused(200, "lock_held");
    assert_eq!(held["details"]["holderTokens"], json!([grant["fencingToken"]]));
    let waiting = json!({"input": {"name": "a", "ttlMs": 600_000, "waitMs": 30}});
    api.refused(ACQUIRE, waiting, "wait_timeout").await;

    let waiting = Api::of(&node);
    let call = tokio::spawn(async move {
        waiting.acquire(json!({"name": "a", "ttlMs": 600_000, "waitMs": 600_000})).await
    });
    let shown = async || api.field(LOCK, json!({"name": "a"})).await;
    eventually("the call is queued", async || shown().await["waiterCount"] == 1).await;
    api.field(RELEASE, json!({"input": {"lockId": grant["lockId"]}})).await;
    let next = call.await.unwrap();
    assert!(next["fencingToken"].as_u64() > grant["fencingToken"].as_u64(), "{next}");
    node.stop().await;
}

#[tokio::test]
async fn wait_ends_by_its_id_or_with_its_caller() {
    let node = Node::start().await;
    let api = Api::of(&node);
    api.one_shot("a").await;
    let wait = || {
        let waiting = Api::of(&node);
        let input = json!({"input": {"name": "a", "ttlMs": 600_000, "waitMs": 600_000}});
        tokio::spawn(async move { waiting.ask(ACQUIRE, input).await })
    };
    let shown = async || api.field(LOCK, json!({"name": "a"})).await;
    let waiters = async |count: u64| shown().await["waiterCount"] == count;
    let call = wait();
    eventually("the call is queued", async || waiters(1).await).await;
    let cancel = "mutation ($id: String!) { cancelWait(input: {lockId: $id}) { revision } }";
    api.field(cancel, json!({"id": shown().await["waiters"][0]["lockId"]})).await;
    call.await.unwrap().refused(200, "wait_cancelled");

    let call = wait();
    eventually("the call is queued", async || waiters(1).await).await;
    call.abort();
    eventually("the wait is withdrawn", async || waiters(0).await).await;
    node.stop().await;
}

#[tokio::test]
async fn refused_call_leaves_other_calls_of_its_request() {
    let node = Node::start().await;
    let api = Api::of(&node);
    let query = "mutation {
        first: acquire(input: {name: \"a\", ttlMs: 600000}) { fencingToken }
        again: acquire(input: {name: \"a\", ttlMs: 600000}) { fencingToken }
        other: acquire(input: {name: \"b\", ttlMs: 600000}) { fencingToken }
    }";
    let Answer(status, body) = api.ask(query, json!({})).await;
    let data = &body["data"];
    assert_eq!((status, &data["again"], &body["errors"][0]["path"]), (200, &json!(null), &json!(["again"])));
    assert!(data["first"]["fencingToken"].as_u64() < data["other"]["fencingToken"].as_u64(), "{body}");
    node.stop().await;
}

#[tokio::test]
async fn release_needs_the_token_of_the_holder() {
    let node = Node::start().await;
    let api = Api::of(&node);
    let token = api.one_shot("a").await["fencingToken"].as_u64().unwrap();
    let by = |token: u64| json!({"input": {"name": "a", "fencingToken": token}});
    let wrong = api.refused(RELEASE, by(token + 1), "token_superseded").await;
    assert_eq!(wrong["details"]["newestToken"], token);
    for (input, field) in [
        (json!({}), "lockId"),
        (json!({"fencingToken": token}), "name"),
        (json!({"lockId": "l-1.0", "fencingToken": token}), "fencingToken"),
        (json!({"lockId": "s-1.0"}), "lockId"),
    ] {
        let refused = api.refused(RELEASE, json!({"input": input}), "invalid_argument").await;
        assert_eq!((&refused["field"], &refused["details"]["field"]), (&json!(field), &json!(field)));
    }
    let keyed = || json!({"input": {"name": "a", "fencingToken": token}, "key": "k"});
    let released = api.field(RELEASE, keyed()).await;
    assert_eq!(api.field(RELEASE, keyed()).await, released, "a retry gets the same answer");
    api.refused(RELEASE, by(token), "token_superseded").await;

    let token = api.one_shot("a").await["fencingToken"].as_u64().unwrap();
    let force =
        "mutation ($input: ForceReleaseInput!) { forceRelease(input: $input) { fencingToken revision } }";
    let input = |token: u64| json!({"input": {"name": "a", "fencingToken": token, "reason": "stuck job"}});
    api.refused(force, input(token - 1), "token_superseded").await;
    assert_eq!(api.field(force, input(token)).await["fencingToken"], token);
    node.stop().await;
}

#[tokio::test]
async fn retry_under_the_same_key_gets_the_same_grant() {
    let node = Node::start().await;
    let api = Api::of(&node);
    let keyed = |name: &str, key: &str| json!({"input": {"name": name, "ttlMs": 600_000}, "key": key});
    let first = api.field(ACQUIRE, keyed("a", "order-42")).await;
    let second = api.field(ACQUIRE, keyed("a", "order-42")).await;
    assert_eq!((&first["lockId"], &first["fencingToken"]), (&second["lockId"], &second["fencingToken"]));
    api.refused(ACQUIRE, keyed("b", "order-42"), "key_reused").await;
    assert_eq!(api.refused(ACQUIRE, keyed("b", ""), "invalid_argument").await["field"], "idempotencyKey");
    node.stop().await;
}

#[tokio::test]
async fn session_owns_locks_and_releases_them_on_close() {
    let node = Node::start().await;
    let api = Api::of(&node);
    let open = "mutation { openSession(input: {ttlMs: 600000, metadata: \"host-3\"}) {
        sessionId namespace ttlMs remainingMs openedAt expiresAt metadata revision } }";
    let opened = api.field(open, json!({})).await;
    assert_eq!((&opened["metadata"], &opened["namespace"]), (&json!("host-3"), &json!("default")));
    let session = text(&opened["sessionId"]).to_owned();

    let acquire = "mutation ($input: AcquireInput!, $sequence: String!) {
        acquire(input: $input, sessionSequence: $sequence) { lockId name locks { name permits } ttlMs count revision } }";
    let locks = json!([{"name": "a"}, {"name": "s", "mode": "SEMAPHORE", "permits": 2, "capacity": 3}]);
    let input = json!({"locks": locks, "sessionId": session});
    let grant = api.field(acquire, json!({"input": input, "sequence": "1"})).await;
    let again = api.field(acquire, json!({"input": input, "sequence": "1"})).await;
    assert_eq!((&grant["lockId"], &grant["locks"][1]["permits"]), (&again["lockId"], &json!(2)));
    assert_eq!((&grant["name"], &grant["ttlMs"]), (&json!(null), &json!(null)), "{grant}");

    let more = json!({"name": "r", "sessionId": session, "reentrant": true, "lockDelayMs": 100});
    api.acquire(more.clone()).await;
    assert_eq!(api.acquire(more).await["count"], 2);

    let counted = api.field(LOCK, json!({"name": "s"})).await;
    assert_eq!(
        (&counted["mode"], &counted["capacity"], &counted["permitsFree"]),
        (&json!("SEMAPHORE"), &json!(3), &json!(1))
    );
    let other = json!({"input": {"name": "s", "mode": "SEMAPHORE", "capacity": 4, "ttlMs": 600_000}});
    assert_eq!(api.refused(ACQUIRE, other, "capacity_mismatch").await["details"]["capacity"], 3);

    let id = json!({"id": session});
    let keep = "mutation ($id: String!) { keepAlive(input: {sessionId: $id}) { sessionId ttlMs revision } }";
    assert_eq!(api.field(keep, id.clone()).await["ttlMs"], 600_000);
    let read = "query ($id: String!) { session(id: $id) { locksHeld locksWaiting revision } }";
    assert_eq!(api.field(read, id.clone()).await["locksHeld"], 2);
    let elsewhere = "mutation ($id: String!) {
        closeSession(input: {sessionId: $id}, namespace: \"other\") { revision } }";
    api.refused(elsewhere, id.clone(), "namespace_mismatch").await;
    let close = "mutation ($id: String!) {
        closeSession(input: {sessionId: $id}) { releasedLocks cancelledWaits revision } }";
    assert_eq!(api.field(close, id.clone()).await["releasedLocks"], 2);
    api.refused(read, id, "session_not_found").await;
    api.refused(LOCK, json!({"name": "a"}), "lock_not_found").await;
    node.stop().await;
}

#[tokio::test]
async fn listings_are_relay_connections() {
    let node = Node::start().await;
    let api = Api::of(&node);
    for name in ["a/1", "a/2", "a/3", "b/1"] {
        api.one_shot(name).await;
    }
    let list = "query ($prefix: String!, $first: Int, $after: String) {
        locks(prefix: $prefix, first: $first, after: $after) {
            edges { node { name } cursor }
            pageInfo { hasNextPage hasPreviousPage startCursor endCursor } revision } }";
    let page = api.field(list, json!({"prefix": "a/", "first": 2})).await;
    let (edges, info) = (&page["edges"], &page["pageInfo"]);
    assert_eq!((&edges[0]["node"]["name"], &edges[1]["node"]["name"]), (&json!("a/1"), &json!("a/2")));
    assert_eq!((&info["hasNextPage"], &info["hasPreviousPage"]), (&json!(true), &json!(false)));
    assert_eq!((&info["startCursor"], &info["endCursor"]), (&edges[0]["cursor"], &edges[1]["cursor"]));
    // A listing continues after any of its edges, not only after the last.
    for (cursor, names) in [(&edges[0]["cursor"], vec!["a/2", "a/3"]), (&info["endCursor"], vec!["a/3"])] {
        let page = api.field(list, json!({"prefix": "a/", "first": 2, "after": cursor})).await;
        let listed =
            page["edges"].as_array().unwrap().iter().map(|edge| text(&edge["node"]["name"]).to_owned());
        assert_eq!(listed.collect::<Vec<_>>(), names);
        assert_eq!(page["pageInfo"]["hasNextPage"], false);
    }
    let empty = api.field(list, json!({"prefix": "c/"})).await;
    assert_eq!((&empty["edges"], &empty["pageInfo"]["endCursor"]), (&json!([]), &json!(null)));
    for (variables, field) in
        [(json!({"prefix": "", "after": "a/1"}), "after"), (json!({"prefix": "", "first": 1001}), "first")]
    {
        assert_eq!(api.refused(list, variables, "invalid_argument").await["field"], field);
    }
    let sessions = "{ locks(sessionId: \"l-1.0\") { revision } }";
    assert_eq!(api.refused(sessions, json!({}), "invalid_argument").await["field"], "sessionId");

    let open = "mutation { one: openSession(input: {ttlMs: 600000}) { sessionId revision }
        two: openSession(input: {ttlMs: 600000}) { sessionId } }";
    let one = api.field(open, json!({})).await["sessionId"].clone();
    let list = "query ($after: String) { sessions(first: 1, after: $after) {
        edges { node { sessionId } cursor } pageInfo { hasNextPage endCursor } revision } }";
    let page = api.field(list, json!({})).await;
    assert_eq!(
        (&page["edges"][0]["node"]["sessionId"], &page["pageInfo"]["hasNextPage"]),
        (&one, &json!(true))
    );
    let rest = api.field(list, json!({"after": page["pageInfo"]["endCursor"]})).await;
    assert_eq!((&rest["edges"][1], &rest["pageInfo"]["hasNextPage"]), (&json!(null), &json!(false)));
    assert_ne!(rest["edges"][0]["node"]["sessionId"], one);
    node.stop().await;
}

#[tokio::test]
async fn namespaces_do_not_see_each_other() {
    let node = Node::start().await;
    let api = Api::of(&node);
    api.one_shot("a").await;
    let input = json!({"name": "a", "ttlMs": 600_000});
    let grant = api.field(ACQUIRE, json!({"input": input, "namespace": "other"})).await;
    assert_eq!(grant["namespace"], "other");
    let by_id = json!({"lockId": grant["lockId"]});
    api.refused(RELEASE, json!({"input": by_id}), "namespace_mismatch").await;
    let bad = json!({"input": by_id, "namespace": "No Such"});
    assert_eq!(api.refused(RELEASE, bad, "invalid_argument").await["field"], "namespace");
    api.field(RELEASE, json!({"input": by_id, "namespace": "other"})).await;
    node.stop().await;
}

#[tokio::test]
async fn a_register_only_rises() {
    let node = Node::start().await;
    let api = Api::of(&node);
    let old = api.one_shot("a").await["fencingToken"].clone();
    let new = api.one_shot("b").await["fencingToken"].clone();
    let read = "{ register(name: \"disks/1\") { highWater revision } }";
    let advance = "mutation ($token: Long!) {
        advanceRegister(input: {name: \"disks/1\", fencingToken: $token}) { highWater revision } }";
    let forget = "mutation { deleteRegister(input: {name: \"disks/1\"}) { highWater revision } }";
    api.refused(read, json!({}), "register_not_found").await;
    assert_eq!(api.field(advance, json!({"token": new})).await["highWater"], new);
    api.refused(advance, json!({"token": old}), "token_superseded").await;
    assert_eq!(api.field(read, json!({})).await["highWater"], new);
    assert_eq!(api.field(forget, json!({})).await["highWater"], new);
    api.refused(forget, json!({}), "register_not_found").await;
    node.stop().await;
}

#[tokio::test]
async fn cluster_is_described_and_limits_are_changed() {
    let node = Node::start().await;
    let api = Api::of(&node);
    let cluster = "{ cluster { role ready leaderName locks stateHash members { name } revision } }";
    let status = api.field(cluster, json!({})).await;
    assert_eq!((&status["role"], &status["ready"]), (&json!("LEADER"), &json!(true)));
    let members = api.field("{ members { members { name role voter } revision } }", json!({})).await;
    assert_eq!(members["members"], json!([{"name": "n1", "role": "LEADER", "voter": true}]));
    let readiness = "{ readiness { ready reason draining leaderName revision } }";
    assert_eq!(api.field(readiness, json!({})).await["leaderName"], "n1");
    for change in ["removeMember", "promoteMember"] {
        let query = format!("mutation {{ {change}(input: {{member: \"nobody\"}}) {{ nodeId revision }} }}");
        assert_eq!(api.refused(&query, json!({}), "unknown_member").await["details"]["member"], "nobody");
    }
    let transfer =
        "mutation { transferLeader(input: {member: \"nobody\"}) { leaderId leaderName revision } }";
    api.refused(transfer, json!({}), "unknown_member").await;
    let snapshot = api.field("mutation { triggerSnapshot { snapshotIndex revision } }", json!({})).await;
    assert!(snapshot["snapshotIndex"].as_u64() > Some(0), "{snapshot}");

    let set = "mutation ($limits: [LimitInput!]!) {
        setLimits(input: {limits: $limits}) { limits { name value } revision } }";
    let limit = json!({"name": "waiters_per_lock_max", "value": 3});
    let limits = api.field(set, json!({"limits": [limit]})).await["limits"].clone();
    assert!(limits.as_array().unwrap().contains(&limit), "{limits}");
    let read = "{ limits(consistency: STALE) { limits { name value } revision } }";
    assert_eq!(api.field(read, json!({})).await["limits"], limits);
    let unknown = json!({"limits": [{"name": "no_such_limit", "value": 3}]});
    api.refused(set, unknown, "invalid_argument").await;

    node.service.drain();
    let draining = api.field(readiness, json!({})).await;
    assert_eq!((&draining["ready"], &draining["draining"]), (&json!(false), &json!(true)));
    node.stop().await;
}

#[tokio::test]
async fn bad_input_names_its_field() {
    let node = Node::start().await;
    let api = Api::of(&node);
    for (input, code, field) in [
        (json!({"name": "a"}), "invalid_argument", "ttlMs"),
        (json!({"ttlMs": 600_000}), "invalid_argument", "name"),
        (json!({"name": "a//b", "ttlMs": 600_000}), "invalid_argument", "name"),
        (json!({"name": "a", "ttlMs": -1}), "invalid_argument", "ttlMs"),
        (json!({"name": "a", "ttlMs": "1000"}), "invalid_argument", "ttlMs"),
        (json!({"name": "a", "mode": "BOTH"}), "invalid_argument", "mode"),
        (json!({"name": "a", "mode": "SEMAPHORE", "ttlMs": 9_000}), "invalid_argument", "capacity"),
        (json!({"locks": [{"name": "a"}, {}], "ttlMs": 9_000}), "invalid_argument", "locks[1].name"),
        (
            json!({"locks": [{"name": "a"}, {"name": ""}], "ttlMs": 9_000}),
            "invalid_argument",
            "locks[1].name",
        ),
        (json!({"name": "a", "locks": [{"name": "b"}], "ttlMs": 9_000}), "invalid_argument", "locks"),
        (json!({"name": "a", "sessionId": "l-1.0"}), "invalid_argument", "sessionId"),
        (json!({"nmae": "a", "ttlMs": 600_000}), "unknown_field", "nmae"),
        (json!({"locks": [{"name": "a", "nmae": "b"}]}), "unknown_field", "locks[0].nmae"),
    ] {
        let refused = api.refused(ACQUIRE, json!({"input": input}), code).await;
        assert_eq!(refused["field"], field, "{input}");
    }
    let literal = "mutation { acquire(input: {name: \"a\", ttlMs: 0.5}) { revision } }";
    assert_eq!(api.refused(literal, json!({}), "invalid_argument").await["field"], "ttlMs");
    assert_eq!(api.refused("{ lock { name } }", json!({}), "invalid_argument").await["field"], "name");
    let unknown = "{ locks(frist: 3) { revision } }";
    assert_eq!(api.refused(unknown, json!({}), "unknown_field").await["field"], "frist");
    let nothing = api.field("{ locks { edges { node { name } } revision } }", json!({})).await;
    assert_eq!(nothing["edges"], json!([]), "refused requests had no effect");
    node.stop().await;
}

#[tokio::test]
async fn wrong_document_is_refused_with_its_location() {
    let node = Node::start().await;
    let api = Api::of(&node);
    for query in [
        "",
        "{ lock(name: \"a\") { name }",
        "{ lock(name: \"a\") { nmae } }",
        "{ members }",
        "query A { members { revision } } query B { members { revision } }",
        "subscription { members { revision } }",
        "query ($name: String!) { members { revision } }",
        "{ members { ...f } } fragment f on MemberList { members { ...g } } fragment g on Member { ...f }",
    ] {
        let Answer(status, body) = api.ask(query, json!({})).await;
        assert_eq!(body.get("data"), None, "nothing is executed of {query}");
        Answer(status, body).refused(200, "invalid_query");
    }
    let named = json!({
        "query": "query A { members { revision } } query B { limits { revision } }", "operationName": "B",
        "variables": null, "extensions": {"a": 1}
    });
    api.json(named).await.ok();
    node.stop().await;
}

#[tokio::test]
async fn a_request_has_bounds() {
    let node = Node::start().await;
    let api = Api::of(&node);
    let roots = |count: usize| {
        let field = |index: usize| format!("a{index}: members {{ revision }} ");
        format!("{{ {} }}", (0..count).map(field).collect::<String>())
    };
    let page = |first: u32| {
        format!("{{ locks(first: {first}) {{ edges {{ node {{ {} }} }} revision }} }}", "a: name ".repeat(60))
    };
    let deep = "{__schema{types{fields{type{fields{type{fields{type{fields{name}}}}}}}}}}";
    let long = format!("{{ members {{ revision }} }} # {}", "-".repeat(64 * 1024));
    let brackets = "[".repeat(60_000);
    let refused = [
        (roots(31), "query_root_fields_max"),
        (page(1_000), "query_complexity_max"),
        ("{a".repeat(13) + &"}".repeat(13), "query_depth_max"),
        (roots(1).replace("revision", &"revision ".repeat(1_000)), "query_fields_max"),
        (deep.to_owned(), "query_introspection_lists_max"),
        (long, "query_bytes_max"),
        (format!("{{ lock(name: {brackets}"), "query_nesting_max"),
    ];
    for (query, limit) in refused {
        let extensions = api.refused(&query, json!({}), "query_too_large").await;
        assert_eq!(extensions["details"]["limit"], limit);
    }
    // The cost is known even when the page size comes from a variable.
    let by_variable =
        page(1).replace("first: 1)", "first: $first)").replacen('{', "query ($first: Int) {", 1);
    api.refused(&by_variable, json!({"first": 1_000}), "query_too_large").await;
    api.field(&by_variable, json!({"first": 10})).await;
    let Answer(status, body) = api.ask(&roots(30), json!({})).await;
    assert_eq!((status, body.get("errors")), (200, None), "{body}");
    assert_eq!(body["data"].as_object().unwrap().len(), 30);
    api.field(&page(100), json!({})).await;
    let wrong = format!("{{ {} }}", "nothing ".repeat(30));
    let Answer(_, body) = api.ask(&wrong, json!({})).await;
    assert_eq!(body["errors"].as_array().unwrap().len(), 20);
    node.stop().await;
}

#[tokio::test]
async fn body_must_be_one_document_as_json() {
    let node = Node::start().await;
    let api = Api::of(&node);
    let query = json!({"query": "{ members { revision } }"});
    let json = [("content-type", "application/json; charset=utf-8")];
    api.post(&json, query.to_string()).await.ok();
    api.post(&[], query.to_string()).await.refused(415, "unsupported_media_type");
    let text = [("content-type", "text/plain")];
    api.post(&text, query.to_string()).await.refused(415, "unsupported_media_type");
    let packed = [json[0], ("content-encoding", "gzip")];
    api.post(&packed, query.to_string()).await.refused(415, "unsupported_media_type");
    api.post(&json, "{\"query\":").await.refused(400, "malformed_body");
    let large = json!({"query": "{ members { revision } }", "variables": {"a": "b".repeat(1 << 20)}});
    api.post(&json, large.to_string()).await.refused(413, "body_too_large");
    let batch = json!([query, query]);
    assert_eq!(api.json(batch).await.refused(422, "invalid_argument")["field"], "body");
    assert_eq!(api.json(json!({})).await.refused(422, "invalid_argument")["field"], "query");
    let variables = json!({"query": "{ members { revision } }", "variables": [1]});
    assert_eq!(api.json(variables).await.refused(422, "invalid_argument")["field"], "variables");
    let unknown = json!({"query": "{ members { revision } }", "varaibles": {}});
    let unknown = api.json(unknown).await.refused(422, "unknown_field");
    assert_eq!(
        (&unknown["field"], &unknown["details"]["suggestion"]),
        (&json!("varaibles"), &json!("variables"))
    );
    for (header, field) in [
        ("batuta-namespace", "namespace"),
        ("idempotency-key", "idempotencyKey"),
        ("batuta-session-sequence", "sessionSequence"),
    ] {
        let headers = [("content-type", "application/json"), (header, "a")];
        let refused = api.post(&headers, query.to_string()).await.refused(422, "invalid_argument");
        assert_eq!(refused["field"], field);
    }
    node.stop().await;
}

#[tokio::test]
async fn answer_has_the_order_of_its_document() {
    let node = Node::start().await;
    let api = Api::of(&node);
    // Slow fields (another thread, a quorum) come before a fast one, so the fields resolve in another order.
    let query =
        json!({"query": "{ z: cluster { revision } y: limits { revision } x: members { revision } }"});
    let request = Request::post("/graphql").header("content-type", "application/json");
    let (_, _, bytes) = api.send(request.body(query.to_string().into()).unwrap()).await;
    let body = String::from_utf8(bytes).unwrap();
    let places = ["\"z\"", "\"y\"", "\"x\""].map(|name| body.find(name).expect("answered"));
    assert!(places.is_sorted(), "{body}");
    node.stop().await;
}

#[tokio::test]
async fn introspection_and_its_page_can_be_disabled() {
    let node = Node::start().await;
    let schema = "{ __schema { queryType { name } types { fields { args { type { ofType { ofType { ofType {
        ofType { ofType { ofType { ofType { ofType { ofType { name } } } } } } } } } } } } } } }";
    let get = |accept: &str| Request::get("/graphql").header("accept", accept).body(Body::empty()).unwrap();
    let page = || get("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");

    let open = Api::of(&node);
    let Answer(status, body) = open.ask(schema, json!({})).await;
    assert_eq!((status, &body["data"]["__schema"]["queryType"]["name"]), (200, &json!("Query")), "{body}");
    let (status, headers, html) = open.send(page()).await;
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, "text/html; charset=utf-8"));
    let html = String::from_utf8(html).unwrap();
    assert!(
        !html.contains("http://") && !html.contains("https://"),
        "the page loads nothing from other hosts"
    );
    assert!(headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    for accept in ["application/json", "*/*", "application/json, text/html;q=0"] {
        let (status, headers, body) = open.send(get(accept)).await;
        assert_eq!(
            (status, headers["content-type"].to_str().unwrap()),
            (405, "application/json"),
            "{accept}"
        );
        Answer(status, serde_json::from_slice(&body).unwrap()).refused(405, "method_not_allowed");
    }

    let (_, rest) = html.split_once("<textarea id=\"query\"").unwrap();
    let (_, rest) = rest.split_once('>').unwrap();
    let Answer(status, body) = open.ask(rest.split_once("</textarea>").unwrap().0, json!({})).await;
    assert_eq!((status, body.get("errors")), (200, None), "the example of the page: {body}");

    let closed = Api(graphql::router(node.service.clone(), CLOSED));
    let Answer(status, body) = closed.ask(schema, json!({})).await;
    assert_eq!(body.get("data"), None);
    Answer(status, body).refused(200, "invalid_query");
    let Answer(_, body) = closed.ask("{ __typename members { __typename } }", json!({})).await;
    assert_eq!(body["data"], json!({"__typename": "Query", "members": {"__typename": "MemberList"}}));
    let (status, headers, body) = closed.send(page()).await;
    assert_eq!((status, headers["allow"].to_str().unwrap()), (405, "POST"));
    Answer(status, serde_json::from_slice(&body).unwrap()).refused(405, "method_not_allowed");
    node.stop().await;
}
