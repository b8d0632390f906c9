//! Runs scenarios through the GraphQL front. Its names are those of the REST API in camelCase, its enum values in capitals.

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

use super::{Driver, Operation, Outcome, Refusal};
use crate::{GraphqlOperation, Rest};

/// A driver over the GraphQL front of one node.
pub struct GraphqlDriver {
    /// The HTTP client for POST requests.
    pub rest: Rest,
    /// URL of the same front over WebSocket.
    pub socket: String,
    /// Whether all operations go over the socket, not only watches.
    pub socket_only: bool,
}

impl Driver for GraphqlDriver {
    fn front(&self) -> &'static str {
        if self.socket_only { "GraphQL-socket" } else { "GraphQL" }
    }

    fn call(&self, operation: Operation) -> BoxFuture<'static, Outcome> {
        let (rest, socket, socket_only) = (self.rest.clone(), self.socket.clone(), self.socket_only);
        Box::pin(async move {
            if operation.name == "changes" {
                return changes(&socket, &operation).await;
            }
            let query = document(&operation);
            let variables = variables(&query, &operation);
            let answer = if socket_only {
                let asked = GraphqlOperation::try_start(&socket, &query, variables).await;
                let mut asked = asked.map_err(Refusal::no_answer)?;
                asked.answer().await.ok_or_else(|| Refusal::no_answer("the connection ended"))?
            } else {
                let body = json!({"query": query, "variables": variables});
                rest.try_send("POST", "/graphql", &[], Some(&body)).await?.body
            };
            match answer["errors"].get(0) {
                None => Ok(as_rest(&answer["data"]["answer"])),
                Some(error) => Err(refusal(error)),
            }
        })
    }
}

fn variables(query: &str, operation: &Operation) -> Value {
    let mut variables = Map::new();
    match camel(&Value::Object(operation.args.clone())) {
        Value::Object(fields) if query.starts_with("query") => variables.extend(fields),
        input => drop(variables.insert("input".to_owned(), input)),
    }
    if let Some(key) = &operation.key {
        variables.insert("key".to_owned(), json!(key));
    }
    Value::Object(variables)
}

async fn changes(socket: &str, operation: &Operation) -> Outcome {
    const QUERY: &str = "subscription ($areas: [Area!]!, $kinds: [ChangeKind!]!, $name: String!, $prefix: String!,
        $sessionId: String!, $from: Long!) {
        changes(areas: $areas, kinds: $kinds, name: $name, prefix: $prefix, sessionId: $sessionId, fromRevision: $from,
            progressMs: 100) {
            ... on Changes { revision events { kind } } ... on Progress { revision }
        }
    }";
    let until = operation.number("until_revision");
    let words = |field| operation.texts(field).iter().map(|word| word.to_uppercase()).collect::<Vec<_>>();
    let variables = json!({
        "areas": words("areas"), "kinds": words("kinds"), "name": operation.text("name"),
        "prefix": operation.text("prefix"), "sessionId": operation.text("session_id"),
        "from": operation.number("after") + 1,
    });
    let mut asked = GraphqlOperation::start(socket, QUERY, variables).await;
    let mut kinds = Vec::new();
    loop {
        let answer = asked.answer().await.expect("a subscription ends with an error only");
        if let Some(error) = answer["errors"].get(0) {
            return Err(refusal(error));
        }
        let item = &answer["data"]["changes"];
        let revision = item["revision"].as_u64().expect("a revision");
        if revision <= until {
            let events = item["events"].as_array().into_iter().flatten();
            kinds.extend(events.map(|event| event["kind"].as_str().unwrap_or_default().to_lowercase()));
        }
        if revision >= until {
            return Ok(json!({ "kinds": kinds }));
        }
    }
}

fn refusal(error: &Value) -> Refusal {
    let said = &error["extensions"];
    let Some(code) = said["code"].as_str() else { return Refusal::no_answer(error) };
    let field = said["field"].as_str().map(snake_name);
    Refusal { code: code.to_owned(), field, details: as_rest(&said["details"]) }
}

fn document(operation: &Operation) -> String {
    const GRANT: &str = "lockId fencingToken name mode owner count sessionId ttlMs metadata revision";
    const LEADER: &str = "candidateId fencingToken namespace name sessionId owner ttlMs lockDelayMs value";
    const LED: &str =
        "candidateId fencingToken namespace name sessionId owner ttlMs lockDelayMs value revision";
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
        "downgrade" => ("downgrade", "DowngradeInput", GRANT),
        "set_metadata" => ("setMetadata", "SetMetadataInput", GRANT),
        "resize" => ("resize", "ResizeInput", "name capacity permitsHeld revision"),
        "cancel_wait" => ("cancelWait", "CancelWaitInput", "revision"),
        "force_release" => ("forceRelease", "ForceReleaseInput", "lockId revision"),
        "campaign" => ("campaign", "CampaignInput", LED),
        "proclaim" => ("proclaim", "ProclaimInput", LED),
        "resign" => ("resign", "ResignInput", "candidateId fencingToken revision"),
        "get_election" => {
            const CANDIDATES: &str =
                "candidates { candidateId sessionId owner queuePosition } candidateCount";
            let fields = format!("name namespace leader {{ {LEADER} }} {CANDIDATES} delayedMs revision");
            return format!("query ($name: String!) {{ answer: election(name: $name) {{ {fields} }} }}");
        }
        "advance_register" => ("advanceRegister", "AdvanceRegisterInput", "highWater revision"),
        "delete_register" => ("deleteRegister", "DeleteRegisterInput", "highWater revision"),
        "check" => {
            let arguments = "$name: String!, $fencingToken: Long!";
            let call =
                "check(name: $name, fencingToken: $fencingToken) { current status newestToken revision }";
            return format!("query ({arguments}) {{ answer: {call} }}");
        }
        "get_lock" => {
            const LOCK: &str = "name mode waiterCount holders { lockId fencingToken } revision";
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

/// Fields whose values are in capitals here and in lower case in REST.
const ENUMERATIONS: [&str; 4] = ["area", "kind", "mode", "status"];

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
                    Value::String(text) if ENUMERATIONS.contains(&field.as_str()) => {
                        Value::String(word(text))
                    }
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

/// Converts an answer of GraphQL to the spelling of REST.
#[must_use]
pub fn as_rest(value: &Value) -> Value {
    renamed(value, snake_name, str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_converted_to_rest_spelling() {
        let told = json!([{"kind": "LOCK_GRANTED", "lockId": "l-1.0", "grant": {"fencingToken": 3,
            "locks": [{"name": "A/B", "mode": "EXCLUSIVE"}]}}]);
        let rest = json!([{"kind": "lock_granted", "lock_id": "l-1.0", "grant": {"fencing_token": 3,
            "locks": [{"name": "A/B", "mode": "exclusive"}]}}]);
        assert_eq!(as_rest(&told), rest);
    }
}
