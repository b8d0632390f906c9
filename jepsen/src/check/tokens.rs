//! Fencing tokens rise over the whole cluster, and no two grants have the same one.

use std::collections::BTreeMap;

use crate::history::{Kind, Operation};

pub(super) fn check(operations: &[Operation]) -> (Vec<String>, String) {
    let granted = |operation: &&Operation| operation.f == "acquire" && operation.end == Kind::Ok;
    let mut acquires: Vec<(&Operation, u64)> = operations
        .iter()
        .filter(granted)
        .filter_map(|operation| Some((operation, operation.number("fencing_token")?)))
        .collect();
    let looked_at = format!("{} grants", acquires.len());
    let mut problems = Vec::new();
    let mut owners: BTreeMap<u64, &Operation> = BTreeMap::new();
    for (operation, token) in &acquires {
        if let Some(other) = owners.insert(*token, operation)
            && other.answered("lock_id") != operation.answered("lock_id")
        {
            problems.push(format!(
                "two grants of token {token}:\n  {}\n  {}",
                other.describe(),
                operation.describe()
            ));
        }
    }
    acquires.sort_by_key(|(operation, _)| operation.invoked);
    let mut returned = acquires.clone();
    returned.sort_by_key(|(operation, _)| operation.returned);
    let mut before = returned.into_iter().peekable();
    let mut newest: Option<(&Operation, u64)> = None;
    for (operation, token) in acquires {
        while let Some(earlier) = before.next_if(|(earlier, _)| earlier.returned < operation.invoked) {
            if newest.is_none_or(|(_, newest)| newest < earlier.1) {
                newest = Some(earlier);
            }
        }
        // The same acquisition may be asked for again under its key.
        if let Some((earlier, newest)) = newest
            && token <= newest
            && earlier.answered("lock_id") != operation.answered("lock_id")
            && (operation.key.is_none() || operation.key != earlier.key)
        {
            problems.push(format!(
                "a later grant has a lower token:\n  {}\n  {}",
                earlier.describe(),
                operation.describe()
            ));
        }
    }
    (problems, looked_at)
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
    fn a_token_that_falls_or_comes_twice_is_found() {
        assert_eq!(check(&history(&[(1, 2, 1), (3, 4, 2)])).0.len(), 0);
        assert_eq!(check(&history(&[(1, 4, 2), (2, 3, 1)])).0.len(), 0, "they overlap");
        assert_eq!(check(&history(&[(1, 2, 2), (3, 4, 1)])).0.len(), 1);
        assert_eq!(check(&history(&[(1, 4, 2), (2, 5, 2)])).0.len(), 1);
    }
}
