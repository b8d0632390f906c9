//! Fencing tokens rise over the whole cluster, and no two grants have the same token.

use std::collections::BTreeMap;

use crate::history::{Kind, Operation};

/// One acquisition, with all requests for it under its key.
#[derive(Clone, Copy)]
struct Granted<'a> {
    operation: &'a Operation,
    token: u64,
    /// When it was first requested.
    invoked: u64,
    /// When a client was first told of it.
    returned: u64,
}

pub(super) fn check(operations: &[Operation]) -> (Vec<String>, String) {
    let mut problems = Vec::new();
    let mut by_lock: BTreeMap<&str, Granted<'_>> = BTreeMap::new();
    let granted = |operation: &&Operation| {
        matches!(operation.f.as_str(), "acquire" | "campaign") && operation.end == Kind::Ok
    };
    for operation in operations.iter().filter(granted) {
        let Some(token) = operation.number("fencing_token") else { continue };
        let (invoked, returned) = (operation.invoked, operation.returned);
        let found = by_lock.entry(operation.acquisition());
        let granted = found.or_insert(Granted { operation, token, invoked, returned });
        granted.invoked = granted.invoked.min(invoked);
        granted.returned = granted.returned.min(returned);
    }
    let mut owners: BTreeMap<u64, &Operation> = BTreeMap::new();
    for Granted { operation, token, .. } in by_lock.values() {
        if let Some(other) = owners.insert(*token, operation) {
            problems.push(format!(
                "two grants of token {token}:\n  {}\n  {}",
                other.describe(),
                operation.describe()
            ));
        }
    }
    problems.extend(falling(by_lock.values().copied().collect()));
    (problems, format!("{} grants", by_lock.len()))
}

/// Describes grants with a lower token than a grant that was known before they were requested.
fn falling(mut grants: Vec<Granted<'_>>) -> Vec<String> {
    let mut problems = Vec::new();
    grants.sort_by_key(|granted| granted.invoked);
    let mut returned = grants.clone();
    returned.sort_by_key(|granted| granted.returned);
    let mut before = returned.into_iter().peekable();
    let mut newest: Option<Granted<'_>> = None;
    for granted in grants {
        while let Some(earlier) = before.next_if(|earlier| earlier.returned < granted.invoked) {
            if newest.is_none_or(|newest| newest.token < earlier.token) {
                newest = Some(earlier);
            }
        }
        if let Some(newest) = newest
            && granted.token <= newest.token
        {
            let (earlier, later) = (newest.operation.describe(), granted.operation.describe());
            problems.push(format!("a later grant has a lower token:\n  {earlier}\n  {later}"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::history::{Event, operations};

    fn history(list: &[(u64, u64, u64)]) -> Vec<Operation> {
        let mut events = Vec::new();
        for (op, (invoked, returned, token)) in (0_u64..).zip(list) {
            events.push(Event { t: *invoked, op: Some(op), f: "acquire".into(), ..Event::new(Kind::Invoke) });
            let value = json!({"fencing_token": token, "lock_id": format!("l-{op}.0")});
            events.push(Event { t: *returned, op: Some(op), value, ..Event::new(Kind::Ok) });
        }
        operations(&events)
    }

    #[test]
    fn falling_or_repeated_token_is_found() {
        assert_eq!(check(&history(&[(1, 2, 1), (3, 4, 2)])).0.len(), 0);
        assert_eq!(check(&history(&[(1, 4, 2), (2, 3, 1)])).0.len(), 0, "they overlap");
        assert_eq!(check(&history(&[(1, 2, 2), (3, 4, 1)])).0.len(), 1);
        assert_eq!(check(&history(&[(1, 4, 2), (2, 5, 2)])).0.len(), 1);
    }
}
