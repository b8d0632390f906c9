//! Runs scenarios through the REST front.

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::{Driver, Operation, Outcome, Refusal};
use crate::Rest;

/// A driver over the REST front of one node.
pub struct RestDriver(pub Rest);

impl Driver for RestDriver {
    fn front(&self) -> &'static str {
        "REST"
    }

    fn call(&self, operation: Operation) -> BoxFuture<'static, Outcome> {
        let rest = self.0.clone();
        Box::pin(async move {
            if operation.name == "changes" {
                changes(&rest, &operation).await
            } else {
                plain(&rest, &operation).await
            }
        })
    }
}

fn segment(text: &str) -> String {
    text.bytes().fold(String::new(), |encoded, byte| encoded + &format!("%{byte:02X}"))
}

/// The method, path and body of an operation.
fn route(operation: &Operation) -> (&'static str, String, Option<Value>) {
    let body = |without: &[&str]| {
        let mut args = operation.args.clone();
        for field in without {
            args.remove(*field);
        }
        Some(Value::Object(args))
    };
    let query = |fields: &[&str]| {
        let given = fields.iter().filter_map(|field| {
            let value = operation.args.get(*field)?;
            let text = value.as_str().map_or_else(|| value.to_string(), segment);
            Some(format!("{field}={text}"))
        });
        given.collect::<Vec<_>>().join("&")
    };
    let name = segment(operation.text("name"));
    let session = segment(operation.text("session_id"));
    let (lock_id, token) = (segment(operation.text("lock_id")), operation.number("fencing_token"));
    match operation.name.as_str() {
        "open_session" => ("POST", "/api/v1/sessions".to_owned(), body(&[])),
        "keep_alive" => ("PUT", format!("/api/v1/sessions/{session}/keep-alive"), None),
        "close_session" => {
            let lock_delay = operation.flag("lock_delay");
            ("DELETE", format!("/api/v1/sessions/{session}?lock_delay={lock_delay}"), None)
        }
        "get_session" => ("GET", format!("/api/v1/sessions/{session}"), None),
        "acquire" => ("POST", "/api/v1/locks".to_owned(), body(&[])),
        "release" => {
            let query = query(&["lock_id", "fencing_token", "session_id"]);
            ("DELETE", format!("/api/v1/locks/{name}?{query}"), None)
        }
        "downgrade" => ("PUT", format!("/api/v1/locks/{name}/downgrade"), body(&["name"])),
        "set_metadata" => ("PUT", format!("/api/v1/locks/{name}/metadata"), body(&["name"])),
        "resize" => ("PUT", format!("/api/v1/locks/{name}/capacity"), body(&["name"])),
        "extend" => ("PUT", format!("/api/v1/locks/{name}/extend"), body(&["name"])),
        "cancel_wait" => ("DELETE", format!("/api/v1/waits/{lock_id}"), None),
        "check" => ("GET", format!("/api/v1/locks/{name}/check?fencing_token={token}"), None),
        "get_lock" => ("GET", format!("/api/v1/locks/{name}"), None),
        "explain" => ("GET", format!("/api/v1/locks/{name}/explain"), None),
        "force_release" => {
            let reason = segment(operation.text("reason"));
            let query = format!("force=true&fencing_token={token}&reason={reason}");
            ("DELETE", format!("/api/v1/locks/{name}?{query}"), None)
        }
        "campaign" => ("POST", "/api/v1/elections".to_owned(), body(&[])),
        "proclaim" => ("PUT", format!("/api/v1/elections/{name}/value"), body(&["name"])),
        "resign" => {
            let query = query(&["fencing_token", "session_id"]);
            ("DELETE", format!("/api/v1/elections/{name}?{query}"), None)
        }
        "get_election" => ("GET", format!("/api/v1/elections/{name}"), None),
        "advance_register" => ("PUT", format!("/api/v1/registers/{name}"), body(&["name"])),
        "get_register" => ("GET", format!("/api/v1/registers/{name}"), None),
        "delete_register" => ("DELETE", format!("/api/v1/registers/{name}"), None),
        other => panic!("no route for {other}"),
    }
}

async fn plain(rest: &Rest, operation: &Operation) -> Outcome {
    let (method, path, body) = route(operation);
    let headers: Vec<(&str, &str)> =
        operation.key.iter().map(|key| ("idempotency-key", key.as_str())).collect();
    outcome(rest.try_send(method, &path, &headers, body.as_ref()).await?)
}

fn outcome(answer: crate::Answer) -> Outcome {
    if answer.status < 300 {
        return Ok(answer.body);
    }
    let field = answer.body["field"].as_str().map(str::to_owned);
    match answer.code() {
        "" => Err(Refusal::no_answer(format!("HTTP {} without a code", answer.status))),
        code => Err(Refusal { code: code.to_owned(), field, details: answer.body["details"].clone() }),
    }
}

async fn changes(rest: &Rest, operation: &Operation) -> Outcome {
    let (mut next, until) = (operation.number("after") + 1, operation.number("until_revision"));
    let mut kinds = Vec::new();
    while next <= until {
        let texts = ["name", "prefix", "session_id"].map(|field| (field, segment(operation.text(field))));
        let lists = ["areas", "kinds"].map(|field| (field, segment(&operation.texts(field).join(","))));
        let filter: Vec<String> =
            texts.iter().chain(&lists).map(|(field, text)| format!("{field}={text}")).collect();
        let path = format!("/api/v1/watch/poll?from_revision={next}&wait_ms=200&{}", filter.join("&"));
        let answer = outcome(rest.get(&path).await)?;
        for found in answer["changes"].as_array().into_iter().flatten() {
            let within = found["revision"].as_u64().is_some_and(|revision| revision <= until);
            let events = found["events"].as_array().into_iter().flatten().filter(|_| within);
            kinds.extend(events.map(|event| event["kind"].clone()));
        }
        next = answer["next_revision"].as_u64().expect("a revision");
    }
    Ok(json!({ "kinds": kinds }))
}
