//! The `AsyncAPI` document of the connection, generated from the operations and from the contract shared with REST and GraphQL.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::PATH;
use super::access::AuthAnswer;
use super::frame::Lease;
use super::op::{Beside, Op, ops};
use crate::contract::session::Session;
use crate::contract::watch::{Changes, Progress, SnapshotPage, WatchQuery};
use crate::json::Problem;

/// The schemas that messages refer to, by name.
type Schemas = BTreeMap<String, Value>;

/// The description of an operation in the document.
#[derive(Clone, Copy)]
pub(super) struct Described {
    fields: fn(&mut Schemas) -> Value,
    answer: fn(&mut Schemas) -> Value,
}

impl Described {
    /// Describes an operation whose request has the fields of `Q` and whose answer is `A`.
    pub(super) const fn of<Q: ToSchema, A: ToSchema>() -> Self {
        Self { fields: inline::<Q>, answer: reference::<A> }
    }
}

fn value(schema: RefOr<Schema>) -> Value {
    // A schema consists of strings, numbers and maps with text keys, so its serialization cannot fail.
    serde_json::to_value(schema).expect("a schema is serializable")
}

/// Returns a schema, and adds the schemas that it refers to.
fn inline<T: PartialSchema + ToSchema>(schemas: &mut Schemas) -> Value {
    let mut referred = Vec::new();
    T::schemas(&mut referred);
    schemas.extend(referred.into_iter().map(|(name, schema)| (name, value(schema))));
    value(T::schema())
}

/// Returns a reference to a schema, and adds the schema.
fn reference<T: ToSchema>(schemas: &mut Schemas) -> Value {
    let schema = inline::<T>(schemas);
    let name = T::name().into_owned();
    let reference = json!({ "$ref": format!("#/components/schemas/{name}") });
    schemas.insert(name, schema);
    reference
}

/// Makes a frame: an object with fixed fields and the fields of a schema. Fields in `optional` may be left out.
fn frame(fixed: Value, body: Value, optional: &[&str]) -> Value {
    let mut body = object(body);
    let mut properties = object(fixed);
    let own = properties.keys().cloned().collect::<Vec<_>>();
    let of_body = body.remove("required").and_then(|names| names.as_array().cloned()).unwrap_or_default();
    let of_body = of_body.iter().filter_map(Value::as_str).map(str::to_owned);
    let mut required: Vec<String> = own.into_iter().chain(of_body).collect();
    required.retain(|field| !optional.contains(&field.as_str()));
    required.sort_unstable();
    required.dedup();
    properties.extend(object(body.remove("properties").unwrap_or_default()));
    json!({ "type": "object", "required": required, "properties": properties })
}

/// Makes a frame of a client, in which unknown fields are refused.
fn request(fixed: Value, body: Value, optional: &[&str]) -> Value {
    let mut request = frame(fixed, body, optional);
    request["additionalProperties"] = json!(false);
    request
}

fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(map) = value { map } else { Map::new() }
}

fn id() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": 64 })
}

/// The fields of a request that REST has in the path or in headers, and the names of those that may be left out.
fn fixed(op: &Op) -> (Value, Vec<&'static str>) {
    let mut fixed = json!({ "id": id(), "op": { "const": op.operation.name } });
    let mut optional = Vec::new();
    if op.operation.retry_key {
        let text = "Idempotency key. A request that is repeated with the same key takes effect once.";
        fixed["key"] = json!({ "type": "string", "minLength": 1, "description": text });
        optional.push("key");
    }
    for beside in op.beside {
        match beside {
            Beside::Name | Beside::NameOrNone => {
                fixed["name"] = json!({ "type": "string", "examples": ["orders/42"] });
            }
            Beside::Bound => {
                let text = "Whether the session is closed when the connection ends.";
                fixed["bound"] = json!({ "type": "boolean", "default": false, "description": text });
            }
            Beside::OwnSession => {}
        }
        optional.extend(match beside {
            Beside::Name => None,
            Beside::NameOrNone => Some("name"),
            Beside::Bound => Some("bound"),
            Beside::OwnSession => Some("session_id"),
        });
    }
    (fixed, optional)
}

/// The messages of the connection itself and of watches: name, summary, fields, and answer.
fn own(schemas: &mut Schemas) -> Vec<Asked> {
    let plain = |op: &str, fields: Value, optional: &[&str]| {
        let mut fixed = json!({ "id": id(), "op": { "const": op } });
        object(fields).into_iter().for_each(|(field, schema)| fixed[field] = schema);
        request(fixed, Value::Null, optional)
    };
    let text = || json!({ "type": "string" });
    let session = reference::<Session>(schemas);
    let hello = json!({ "namespace": text(), "session_id": text() });
    let opened = json!({
        "type": "object", "required": ["watch_id", "filtered"],
        "properties": { "watch_id": id(), "filtered": {
            "type": "boolean", "description": "Whether changes may be left out because the caller may not see them.",
        } },
    });
    let token = json!({ "type": "string", "format": "password", "description": "An API key or a login." });
    let proved = reference::<AuthAnswer>(schemas);
    let told = |field: &str| json!({ "type": "object", "required": [field], "properties": { field: { "type": "boolean" } } });
    let query = inline::<WatchQuery>(schemas);
    vec![
        (
            "hello",
            "Sets the namespace and the session of the connection. If sent, it must be the first message.",
            plain("hello", hello, &["namespace", "session_id"]),
            json!({ "type": "object", "required": ["namespace"], "properties": { "namespace": text(), "session": session } }),
        ),
        (
            "auth",
            "Proves who the client of the connection is, or renews that with another token of the same principal.",
            plain("auth", json!({ "token": token }), &[]),
            proved,
        ),
        (
            "ping",
            "Checks that the node answers. With `keep_alive`, it also renews the connection's session, and is answered like `keep_alive`.",
            plain("ping", json!({ "keep_alive": { "type": "boolean", "default": false } }), &["keep_alive"]),
            json!({ "type": "object" }),
        ),
        (
            "cancel",
            "Withdraws an acquire that has not been answered yet.",
            plain("cancel", json!({ "request_id": id() }), &[]),
            told("cancelled"),
        ),
        (
            "watch",
            "Starts a watch, which sends every change after a snapshot, from a revision, or from now on. The id names the watch.",
            request(json!({ "id": id(), "op": { "const": "watch" } }), query, &[]),
            opened,
        ),
        ("unwatch", "Ends a watch.", plain("unwatch", json!({ "watch_id": id() }), &[]), told("unwatched")),
    ]
}

/// The unsolicited frames: name, summary, frame.
fn sent(schemas: &mut Schemas) -> Vec<(&'static str, &'static str, Value)> {
    let kind = |kind: &str| json!({ "type": { "const": kind }, "id": id() });
    let problem = reference::<Problem>(schemas);
    let error = json!({
        "type": { "const": "error" }, "error": problem,
        "id": { "type": ["string", "null"], "description": "Null when the client's frame was not a request." },
    });
    let nodes =
        json!({ "type": "array", "items": { "type": "string", "examples": ["ws://127.0.0.1:8091"] } });
    vec![
        ("error", "A request failed, or a watch ended.", frame(error, Value::Null, &[])),
        (
            "snapshot",
            "A page of the objects that a watch selects, at one revision.",
            frame(kind("snapshot"), inline::<SnapshotPage>(schemas), &[]),
        ),
        (
            "changes",
            "The changes of one revision that a watch selects. A large revision comes in several frames with the same revision.",
            frame(kind("changes"), inline::<Changes>(schemas), &[]),
        ),
        (
            "progress",
            "All changes up to this revision that a watch selects have been sent.",
            frame(kind("progress"), inline::<Progress>(schemas), &[]),
        ),
        (
            "lease",
            "A change of a lease: of a lock or session that the connection owns, or of a lock that it waits for.",
            frame(json!({ "type": { "const": "lease" } }), inline::<Lease>(schemas), &[]),
        ),
        (
            "auth_expiring",
            "The credential of the connection ends soon; `auth` renews it.",
            frame(
                json!({ "type": { "const": "auth_expiring" }, "expires_in_ms": { "type": "integer", "minimum": 0 } }),
                Value::Null,
                &[],
            ),
        ),
        (
            "draining",
            "The node is shutting down; close code 1001 follows.",
            frame(json!({ "type": { "const": "draining" }, "nodes": nodes }), Value::Null, &[]),
        ),
    ]
}

/// A request: its name, a summary, its frame and the schema of its result.
type Asked = (&'static str, &'static str, Value, Value);

/// All requests.
fn asked(schemas: &mut Schemas) -> Vec<Asked> {
    let mut asked = own(schemas);
    for op in ops() {
        let fields = (op.described.fields)(schemas);
        let answer = (op.described.answer)(schemas);
        let (fixed, optional) = fixed(op);
        asked.push((op.operation.name, op.operation.summary, request(fixed, fields, &optional), answer));
    }
    asked
}

fn channel() -> Value {
    json!({ "$ref": "#/channels/connection" })
}

fn message(name: &str) -> Value {
    json!({ "$ref": format!("#/channels/connection/messages/{name}") })
}

/// Makes the messages and the operations of the document.
fn messages_and_operations(schemas: &mut Schemas) -> (Map<String, Value>, Map<String, Value>) {
    let (mut messages, mut operations) = (Map::new(), Map::new());
    let sent = sent(schemas);
    for (name, summary, payload) in &sent {
        messages.insert((*name).to_owned(), json!({ "summary": summary, "payload": payload }));
    }
    for (name, summary, payload, result) in asked(schemas) {
        let reply = format!("{name}_reply");
        let fixed = json!({
            "type": { "const": "reply" }, "id": id(), "result": result,
            "revision": { "type": "integer", "minimum": 0 },
        });
        messages.insert(name.to_owned(), json!({ "summary": summary, "payload": payload }));
        let payload = frame(fixed, Value::Null, &[]);
        messages.insert(reply.clone(), json!({ "summary": "The request succeeded.", "payload": payload }));
        let operation = json!({
            "action": "receive", "summary": summary, "channel": channel(), "messages": [message(name)],
            "reply": { "channel": channel(), "messages": [message(&reply), message("error")] },
        });
        operations.insert(name.to_owned(), operation);
    }
    let told: Vec<Value> = sent.iter().map(|(name, ..)| message(name)).collect();
    let summary = "Unsolicited frames of the server.";
    let tell = json!({ "action": "send", "summary": summary, "channel": channel(), "messages": told });
    operations.insert("tell".to_owned(), tell);
    (messages, operations)
}

/// Returns the document, as in `docs/asyncapi.json`.
#[must_use]
pub fn asyncapi() -> String {
    let mut schemas = Schemas::new();
    let (messages, operations) = messages_and_operations(&mut schemas);
    let listed = messages
        .keys()
        .map(|name| (name.clone(), json!({ "$ref": format!("#/components/messages/{name}") })));
    let listed: Map<String, Value> = listed.collect();
    // A browser cannot set headers, so that it offers its token as a second subprotocol.
    let offers = format!("{}, {}TOKEN", super::SUBPROTOCOL, super::access::BEARER);
    let document = json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Batuta over WebSocket", "version": "1",
            "description": "Locks with fencing tokens, sessions and watches over one connection. In words, with limits and \
                close codes: api-websocket.md. Objects are those of the REST API.",
        },
        "defaultContentType": "application/json",
        "servers": { "own": {
            "host": "127.0.0.1:8081", "protocol": "ws",
            "description": "The WebSocket port. The REST port serves the same path.",
        } },
        "channels": { "connection": {
            "address": PATH, "servers": [{ "$ref": "#/servers/own" }], "messages": listed,
            "bindings": { "ws": { "headers": { "type": "object", "properties": {
                "Sec-WebSocket-Protocol": { "type": "string", "examples": [super::SUBPROTOCOL, offers] },
                "Authorization": { "type": "string", "description": "`Bearer TOKEN`, an API key or a login." },
            } } } },
        } },
        "operations": operations,
        "components": { "messages": messages, "schemas": schemas },
    });
    format!("{document:#}\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Collects all references of the document.
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document: Value = serde_json::from_str(&asyncapi()).expect("JSON");
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 100, "{} references", found.len());
        for reference in found {
            let pointer = reference.strip_prefix('#').expect("of this document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn requests_have_the_fields_that_are_read() {
        let document: Value = serde_json::from_str(&asyncapi()).expect("JSON");
        let required = |op: &str| {
            let payload = &document["components"]["messages"][op]["payload"];
            let mut names: Vec<&str> =
                payload["required"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
            names.sort_unstable();
            names
        };
        for (op, expected) in [
            ("acquire", vec!["id", "op"]),
            ("extend", vec!["id", "lock_id", "op", "ttl_ms"]),
            ("force_release", vec!["fencing_token", "id", "name", "op", "reason"]),
            ("check", vec!["fencing_token", "id", "name", "op"]),
            ("advance_register", vec!["fencing_token", "id", "name", "op"]),
            ("delete_register", vec!["id", "name", "op"]),
            ("open_session", vec!["id", "op", "ttl_ms"]),
            ("auth", vec!["id", "op", "token"]),
            ("who_am_i", vec!["id", "op"]),
            ("keep_alive", vec!["id", "op"]),
            ("close_session", vec!["id", "op"]),
        ] {
            assert_eq!(required(op), expected, "{op}");
        }
    }

    #[test]
    fn docs_asyncapi_json_is_the_document() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/asyncapi.json");
        let document = asyncapi();
        if std::env::var_os("BATUTA_WRITE_DOCS").is_some() {
            std::fs::write(&path, &document).expect("docs/asyncapi.json can be written");
        }
        let written = std::fs::read_to_string(&path).expect("docs/asyncapi.json exists");
        assert!(
            written == document,
            "docs/asyncapi.json is out of date: run BATUTA_WRITE_DOCS=1 cargo test -p batuta-api"
        );
    }
}
