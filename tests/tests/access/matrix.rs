//! Every call of every front, as its descriptors list them, without a credential, with a bad one, without the right, and with it.

use std::collections::{BTreeSet, HashMap};

use batuta_proto::v1;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Error;

use crate::calls::{FIELDS, Field, Need, OF_CONNECTION, PASSWORD, RestCall, frame, need, rest_calls};
use crate::grpc_calls::{call_raw, channel_of, methods, pipeline_calls};
use crate::secure::{Caller, Secured, done, field};
use crate::streams::{Piped, Socket, answered, calling, code_of, connect, receive, send};

/// Codes that say that the caller did not prove who it is.
const UNPROVEN: [&str; 4] = ["unauthenticated", "invalid_token", "token_expired", "token_revoked"];
/// Codes that say that the request in the table is wrong.
const UNREADABLE: [&str; 6] = [
    "invalid_argument",
    "unknown_field",
    "malformed_body",
    "path_not_found",
    "method_not_allowed",
    "unsupported_media_type",
];

struct Scene {
    secured: Secured,
    none: Caller,
    /// Sends a key that was good once.
    bad: Caller,
    nobody: Caller,
    everything: Caller,
    /// A caller for each permission, which has only that one.
    able: HashMap<&'static str, Caller>,
}

impl Scene {
    async fn set() -> Self {
        let secured = Secured::start(3).await;
        let follower = secured.follower();
        let nobody = secured.service("nobody").await.at(follower);
        let bad = secured.key("service/nobody", json!({})).await.at(follower);
        let path = format!("/api/v1/access/credentials/{}", bad.credential);
        done(secured.root.delete(&path).await);
        let everything = secured.service("everything").await.at(follower);
        secured.grant("service/everything", "admin", json!({})).await;
        for name in ["spare", "leaver"] {
            secured.service(name).await;
        }
        done(secured.root.put("/api/v1/access/users/ann", json!({"description": "logs in"})).await);
        let password = json!({"password": PASSWORD});
        done(secured.root.put("/api/v1/access/users/ann/password", password).await);
        let none = Caller::anonymous(follower);
        Self { none, bad, nobody, everything, able: HashMap::new(), secured }
    }

    /// Whoever has the right to a call, and no other right than needed.
    async fn right(&mut self, need: Need) -> Caller {
        let Need::Right(permission) = need else { return self.everything.clone() };
        if !self.able.contains_key(permission) {
            let name = format!("only-{}", permission.replace(':', "."));
            let caller = self.secured.able(&name, &[permission], &["**"]).await;
            self.able.insert(permission, caller.at(self.secured.follower()));
        }
        self.able[permission].clone()
    }

    /// A key that may be logged out.
    async fn leaver(&self) -> Caller {
        self.secured.key("service/leaver", json!({})).await.at(self.secured.follower())
    }

    /// Makes one call as everybody, and tells what is wrong with the codes.
    async fn judge(
        &mut self,
        what: &str,
        operation: &str,
        call: impl AsyncFn(&Caller) -> String,
    ) -> Vec<String> {
        let need = need(operation);
        let mut wrong = Vec::new();
        let mut check = |who: &str, code: &str, expected: bool| {
            if !expected {
                wrong.push(format!("{what}: {who} is answered {code:?}"));
            }
        };
        let none = call(&self.none).await;
        let bad = call(&self.bad).await;
        let fit = match need {
            Need::Probe => none.is_empty(),
            Need::Nothing => !UNPROVEN.contains(&none.as_str()) && none != "permission_denied",
            Need::OwnSecret => none != "permission_denied" && none != "unauthenticated",
            Need::Identity | Need::Right(_) => none == "unauthenticated",
        };
        check("an anonymous caller", &none, fit);
        check("a bad key", &bad, if need == Need::Probe { bad.is_empty() } else { bad == "invalid_token" });
        if !matches!(need, Need::Identity | Need::Right(_)) {
            return wrong;
        }
        let leaves = operation == "logout";
        let nobody = if leaves { self.leaver().await } else { self.nobody.clone() };
        let nobody = call(&nobody).await;
        let fit = match need {
            Need::Right(_) => nobody == "permission_denied",
            // Only a login can be logged out, and the callers here have keys.
            _ if leaves => nobody == "invalid_argument",
            _ => {
                let owned = ["", "permission_denied", "lock_not_held", "token_superseded"];
                owned.contains(&nobody.as_str()) || nobody.ends_with("_not_found")
            }
        };
        check("a caller without the right", &nobody, fit);
        let right = if leaves { self.leaver().await } else { self.right(need).await };
        let right = call(&right).await;
        let denied =
            UNPROVEN.iter().chain(&UNREADABLE).chain(&["permission_denied"]).any(|code| right == **code);
        check("a caller with the right", &right, !denied || (leaves && right == "invalid_argument"));
        wrong
    }
}

fn all_are_right(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} calls are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Checks that a table has what a document lists, and nothing else.
fn covers(file: &str, listed: &BTreeSet<String>, table: &BTreeSet<String>) {
    let missing: Vec<_> = listed.difference(table).collect();
    let stale: Vec<_> = table.difference(listed).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "add to tests/tests/access/{file} a row with what it needs and a valid request for {missing:?}; remove {stale:?}"
    );
}

/// A path with all its parameters of one name.
fn template(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

async fn rest_code(caller: &Caller, call: &RestCall) -> String {
    let method = call.0.parse().expect("a method");
    let mut request = reqwest::Client::new().request(method, format!("{}{}", caller.base, call.3));
    for (name, value) in caller.headers() {
        request = request.header(name, value);
    }
    if let Some(body) = &call.4 {
        request = request.json(body);
    }
    let response = request.send().await.expect("an answer");
    let status = response.status();
    // A stream of events has no end.
    if status.is_success() {
        return String::new();
    }
    let body: Value = response.json().await.unwrap_or_default();
    body["code"].as_str().map_or_else(|| format!("HTTP {status}"), str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn access_matrix_rest() {
    let mut scene = Scene::set().await;
    let document = done(scene.secured.root.get("/openapi.json").await).body;
    let mut listed = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let methods = methods.as_object().expect("methods").keys();
        listed.extend(methods.map(|method| format!("{} {}", method.to_uppercase(), template(path))));
    }
    let calls = rest_calls();
    let table = calls.iter().map(|call| format!("{} {}", call.0, template(call.1))).collect();
    covers("calls.rs", &listed, &table);
    let mut wrong = Vec::new();
    for call in &calls {
        let what = format!("{} {}", call.0, call.1);
        wrong.extend(scene.judge(&what, call.2, async |caller: &Caller| rest_code(caller, call).await).await);
    }
    all_are_right(&wrong);
}

fn descriptors() -> FileDescriptorSet {
    FileDescriptorSet::decode(v1::FILE_DESCRIPTOR_SET).expect("descriptors")
}

#[tokio::test(flavor = "multi_thread")]
async fn access_matrix_grpc() {
    let mut scene = Scene::set().await;
    let mut listed = BTreeSet::new();
    for service in descriptors().file.iter().flat_map(|file| &file.service) {
        listed.extend(service.method.iter().map(|method| format!("{}/{}", service.name(), method.name())));
    }
    let methods = methods(&scene.none);
    covers("grpc_calls.rs", &listed, &methods.iter().map(|method| method.0.to_owned()).collect());
    let channel = channel_of(&scene.none).await;
    let mut wrong = Vec::new();
    for method in &methods {
        let path = format!("/batuta.v1.{}", method.0);
        let call = async |caller: &Caller| {
            call_raw(&channel, caller, &path, method.2.clone()).await.err().unwrap_or_default()
        };
        wrong.extend(scene.judge(method.0, method.1, call).await);
    }
    all_are_right(&wrong);
}

#[tokio::test(flavor = "multi_thread")]
async fn access_matrix_pipeline() {
    let mut scene = Scene::set().await;
    let descriptors = descriptors();
    let mut messages = descriptors.file.iter().flat_map(|file| &file.message_type);
    let call = messages.find(|message| message.name() == "Call").expect("the message Call");
    let listed = call.field.iter().filter(|field| field.oneof_index.is_some());
    let listed = listed.map(|field| field.name().to_owned()).collect();
    let calls = pipeline_calls();
    covers("grpc_calls.rs", &listed, &calls.iter().map(|call| call.0.to_owned()).collect());
    let mut wrong = Vec::new();
    for (operation, request) in &calls {
        let call = async |caller: &Caller| {
            let mut piped = match Piped::open(caller).await {
                Ok(piped) => piped,
                Err(status) => return code_of(&status),
            };
            piped.sender.send(calling(7, caller, request.clone())).expect("open");
            match piped.next().await {
                Ok((id, answer)) => {
                    assert_eq!(id, 7);
                    answer.err().unwrap_or_default()
                }
                Err(status) => code_of(&status),
            }
        };
        wrong.extend(scene.judge(&format!("Pipeline of {operation}"), operation, call).await);
    }
    all_are_right(&wrong);
}

/// The code of a refused handshake.
fn handshake_code(error: &Error) -> String {
    match error {
        Error::Http(response) if response.status() == 401 => "invalid_token".to_owned(),
        other => other.to_string(),
    }
}

async fn graphql_code(caller: &Caller, field: &Field) -> String {
    let query = format!("{} {{ {} }}", field.0, field.3);
    if field.0 == "subscription" {
        return match connect(caller, &caller.graphql, "graphql-transport-ws").await {
            Ok(socket) => subscription_code(socket, &query).await,
            Err(error) => handshake_code(&error),
        };
    }
    let answer = caller.post("/graphql", json!({"query": query})).await;
    code_in(&answer.body)
}

async fn subscription_code(mut socket: Socket, query: &str) -> String {
    send(&mut socket, json!({"type": "connection_init"})).await;
    let payload = json!({"query": query});
    let _ = receive(&mut socket).await;
    send(&mut socket, json!({"type": "subscribe", "id": "1", "payload": payload})).await;
    match receive(&mut socket).await {
        Ok(frame) => code_in(&json!({"errors": frame["payload"], "frame": frame})),
        Err(reason) => reason,
    }
}

/// The first code in the errors of a GraphQL answer.
fn code_in(answer: &Value) -> String {
    field(&answer["errors"], "code").and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn access_matrix_graphql() {
    const ROOTS: &str = "{ __schema { queryType { fields { name } } mutationType { fields { name } } \
                         subscriptionType { fields { name } } } }";
    let mut scene = Scene::set().await;
    let schema = done(scene.secured.root.post("/graphql", json!({"query": ROOTS})).await).body;
    let mut listed = BTreeSet::new();
    for root in ["query", "mutation", "subscription"] {
        let fields = schema["data"]["__schema"][format!("{root}Type")]["fields"].as_array();
        let fields = fields.unwrap_or_else(|| panic!("{root} in {schema}"));
        listed.extend(
            fields.iter().map(|field| format!("{root} {}", field["name"].as_str().unwrap_or_default())),
        );
    }
    covers("calls.rs", &listed, &FIELDS.iter().map(|field| format!("{} {}", field.0, field.1)).collect());
    let mut wrong = Vec::new();
    for field in FIELDS {
        let call = async |caller: &Caller| graphql_code(caller, field).await;
        wrong.extend(scene.judge(&format!("{} {}", field.0, field.1), field.2, call).await);
    }
    all_are_right(&wrong);
}

async fn ws_code(caller: &Caller, request: &Value) -> String {
    match connect(caller, &caller.ws, "batuta.v1+json").await {
        Ok(mut socket) => {
            send(&mut socket, request.clone()).await;
            answered(&mut socket, "1").await.err().unwrap_or_default()
        }
        Err(error) => handshake_code(&error),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn access_matrix_websocket() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/asyncapi.json");
    let document = std::fs::read_to_string(path).expect("the document");
    let document: Value = serde_json::from_str(&document).expect("JSON");
    let ops = document["operations"].as_object().expect("operations").keys().filter(|op| *op != "tell");
    let ops: BTreeSet<String> = ops.cloned().collect();
    let table = ops.iter().filter(|op| frame(op).is_some()).cloned().collect();
    covers("calls.rs", &ops, &table);
    let mut scene = Scene::set().await;
    let mut wrong = Vec::new();
    for op in &ops {
        let request = frame(op).expect("a row");
        let operation = match op.as_str() {
            // Its answer is about the token in the frame.
            "auth" => "login",
            op if OF_CONNECTION.contains(&op) => "connection",
            op => op,
        };
        let call = async |caller: &Caller| ws_code(caller, &request).await;
        wrong.extend(scene.judge(&format!("op {op}"), operation, call).await);
    }
    all_are_right(&wrong);
}
