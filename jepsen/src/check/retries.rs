//! One key, one answer: every request under a key reports the same effect, whichever client and node it went through.

use std::collections::BTreeMap;

use crate::history::{Kind, Operation};

pub(super) fn check(operations: &[Operation]) -> (Vec<String>, String) {
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in operations.iter().filter(|operation| operation.end == Kind::Ok) {
        if let Some(key) = &operation.key {
            keys.entry(key).or_default().push(operation);
        }
    }
    let mut problems = Vec::new();
    for answers in keys.values() {
        let effect = |operation: &Operation| {
            let (id, session_id) = (operation.acquisition(), operation.answered("session_id"));
            (id.to_owned(), operation.number("fencing_token"), session_id.to_owned())
        };
        if let Some(other) = answers.iter().find(|other| effect(other) != effect(answers[0])) {
            problems.push(format!(
                "one key, two answers:\n  {}\n  {}",
                answers[0].describe(),
                other.describe()
            ));
        }
    }
    let again: u64 = operations
        .iter()
        .filter(|operation| operation.key.is_some())
        .map(|operation| operation.attempts - 1)
        .sum();
    let shared = keys.values().filter(|answers| answers.len() > 1).count();
    (
        problems,
        format!(
            "{} keys, {shared} of them from several clients, {again} attempts after the first",
            keys.len()
        ),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::history::{Event, operations};

    #[test]
    fn different_answer_under_the_same_key_is_found() {
        let problems = |tokens: [u64; 2]| {
            let mut events = Vec::new();
            for (op, token) in (0_u64..).zip(tokens) {
                events.push(Event { op: Some(op), key: Some("k".into()), ..Event::new(Kind::Invoke) });
                let value = json!({ "fencing_token": token });
                events.push(Event { op: Some(op), value, ..Event::new(Kind::Ok) });
            }
            check(&operations(&events)).0.len()
        };
        assert_eq!((problems([4, 4]), problems([4, 5])), (0, 1));
    }
}
