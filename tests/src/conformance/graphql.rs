//! The GraphQL front. Its names are the REST API's in camelCase, its enumerations in capitals.

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

use super::{Driver, Operation, Outcome, Refusal};
use crate::Rest;

/// The GraphQL front of one node.
pub struct GraphqlDriver(pub Rest);

impl Driver for GraphqlDriver {
    fn front(&self) -> &'static str {
        "GraphQL"
    }

    fn knows(&self, operation: &str) -> bool {
        operation != "changes"
    }

    fn call(&self, operation: Operation) -> BoxFuture<'static, Outcome> {
        let rest = self.0.clone();
        Box::pin(async move {
            let query = document(&operation);
            let mut variables = Map::new();
            match camel(&Value::Object(operation.args.clone())) {
                Value::Object(fields) if query.starts_with("query") => variables.extend(fields),
                input => drop(variables.insert("input".to_owned(), input)),
            }
            if let Some(key) = &operation.key {
                variables.insert("key".to_owned(), json!(key));
            }
            let body = json!({"query": query, "variables": variables});
            let answer = rest.try_send("POST", "/graphql", &[], Some(&body)).await?.body;
            match answer["errors"].get(0) {
                None => Ok(snake(&answer["data"]["answer"])),
                Some(error) => Err(refusal(error)),
            }
        })
    }
}

fn refusal(error: &Value) -> Refusal {
    let said = &error["extensions"];
    let Some(code) = said["code"].as_str() else { return Refusal::no_answer(error) };
    Refusal { code: code.to_owned(), field: said["field"].as_str().map(snake_name) }
}

fn document(operation: &Operation) -> String {
    const GRANT: &str = "lockId fencingToken name mode owner count sessionId ttlMs revision";
    let (name, input, answer) = match operation.name.as_str() {
        "open_session" => ("openSession", "OpenSessionInput", "sessionId ttlMs metadata revision"),
        "keep_alive" => {
            return "mutation ($input: KeepAliveInput!) { answer: keepAlive(input: $input) { sessionId revision } }"
                .to_owned();
        }
        "close_session" => ("closeSession", "CloseSessionInput", "releasedLocks cancelledWaits revision"),
        "acquire" => ("acquire", "AcquireInput", GRANT),
        "extend" => ("extend", "ExtendInput", GRANT),
        "release" => ("release", "ReleaseInput", "lockId fencingToken remainingCount revision"),
        "cancel_wait" => ("cancelWait", "CancelWaitInput", "revision"),
        "force_release" => ("forceRelease", "ForceReleaseInput", "lockId revision"),
        "advance_register" => ("advanceRegister", "AdvanceRegisterInput", "highWater revision"),
        "delete_register" => ("deleteRegister", "DeleteRegisterInput", "highWater revision"),
        "check" => {
            let arguments = "$name: String!, $fencingToken: Long!";
            let call =
                "check(name: $name, fencingToken: $fencingToken) { current status newestToken revision }";
            return format!("query ({arguments}) {{ answer: {call} }}");
        }
        "get_lock" => {
            const LOCK: &str = "name waiterCount holders { lockId fencingToken } revision";
            return format!("query ($name: String!) {{ answer: lock(name: $name) {{ {LOCK} }} }}");
        }
        "get_session" => {
            return "query ($sessionId: String!) { answer: session(id: $sessionId) { sessionId remainingMs revision } }"
                .to_owned();
        }
        "explain" => return "query ($name: String!) { answer: explain(name: $name) { summary } }".to_owned(),
        "get_register" => {
            return "query ($name: String!) { answer: register(name: $name) { highWater revision } }"
                .to_owned();
        }
        other => panic!("no field for {other}"),
    };
    let call = format!("{name}(input: $input, idempotencyKey: $key) {{ {answer} }}");
    format!("mutation ($input: {input}!, $key: String) {{ answer: {call} }}")
}

fn camel_name(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| {
        let (initial, rest) = part.split_at(part.len().min(1));
        name + &initial.to_uppercase() + rest
    })
}

fn snake_name(name: &str) -> String {
    name.chars().fold(String::new(), |name, character| {
        if character.is_ascii_uppercase() {
            name + "_" + &character.to_ascii_lowercase().to_string()
        } else {
            name + &character.to_string()
        }
    })
}

fn renamed(value: &Value, name: fn(&str) -> String, word: fn(&str) -> String) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(field, value)| {
                let value = match value {
                    Value::String(text) if field == "mode" || field == "status" => Value::String(word(text)),
                    other => renamed(other, name, word),
                };
                (name(field), value)
            })
            .collect(),
        Value::Array(items) => items.iter().map(|item| renamed(item, name, word)).collect(),
        other => other.clone(),
    }
}

fn camel(value: &Value) -> Value {
    renamed(value, camel_name, str::to_uppercase)
}

fn snake(value: &Value) -> Value {
    renamed(value, snake_name, str::to_lowercase)
}
