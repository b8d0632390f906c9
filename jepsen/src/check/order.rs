//! Compares real-time order with the log's order: a call made after another call was answered must not have an earlier revision.
//! This finds every read that misses a write acknowledged before it. An answer under a key reports an effect that may be as old as the
//! first request under that key.

use std::collections::BTreeMap;

use crate::history::{Kind, Operation};

/// Every write has its own place in the log, so the later of two writes is at a later revision, or later in the same entry.
pub(super) fn check(operations: &[Operation]) -> (Vec<String>, String) {
    let mut answered: Vec<&Operation> = operations
        .iter()
        .filter(|operation| operation.end == Kind::Ok && operation.args["consistency"] != "stale")
        .filter(|operation| operation.revision().is_some())
        .collect();
    let without = operations.iter().filter(|operation| operation.end == Kind::Ok).count() - answered.len();
    let mut first_under: BTreeMap<&str, u64> = BTreeMap::new();
    for operation in operations {
        let Some(key) = &operation.key else { continue };
        let first = first_under.entry(key).or_insert(operation.invoked);
        *first = (*first).min(operation.invoked);
    }
    // The earliest time at which the reported effect may have happened.
    let asked = |operation: &Operation| {
        let first = operation.key.as_deref().and_then(|key| first_under.get(key).copied());
        first.unwrap_or(operation.invoked)
    };
    let mut problems = Vec::new();
    let looked_at = format!("{} answers with a revision, {without} without", answered.len());
    let mut returned = answered.clone();
    returned.sort_by_key(|operation| operation.returned);
    answered.sort_by_key(|operation| asked(operation));
    let mut before = returned.into_iter().peekable();
    let mut newest: Option<&Operation> = None;
    for operation in answered {
        while let Some(earlier) = before.next_if(|earlier| earlier.returned < asked(operation)) {
            if newest.is_none_or(|newest| newest.revision() < earlier.revision()) {
                newest = Some(earlier);
            }
        }
        if let Some(newest) = newest
            && operation.revision() < newest.revision()
        {
            problems.push(format!(
                "asked later, true earlier:\n  {}\n  {}",
                newest.describe(),
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
        for (op, (invoked, returned, revision)) in (0_u64..).zip(list) {
            events.push(Event { t: *invoked, op: Some(op), ..Event::new(Kind::Invoke) });
            let value = json!({ "revision": revision });
            events.push(Event { t: *returned, op: Some(op), value, ..Event::new(Kind::Ok) });
        }
        operations(&events)
    }

    #[test]
    fn answer_under_a_key_may_precede_its_retry() {
        let keyed = |first: u64| {
            let mut list = history(&[(first, first + 1, 10), (5, 6, 12), (7, 8, 10)]);
            for place in [0, 2] {
                list[place].key = Some("k".to_owned());
            }
            check(&list).0.len()
        };
        assert_eq!(keyed(1), 0);
        let mut unasked = history(&[(5, 6, 12), (7, 8, 10)]);
        unasked[1].key = Some("k".to_owned());
        assert_eq!(check(&unasked).0.len(), 1, "no earlier request under the key");
    }

    #[test]
    fn a_stale_answer_is_found() {
        assert_eq!(check(&history(&[(1, 2, 10), (3, 4, 10), (5, 6, 12)])).0.len(), 0);
        assert_eq!(check(&history(&[(1, 5, 10), (3, 6, 9)])).0.len(), 0, "they overlap");
        assert_eq!(check(&history(&[(1, 2, 10), (3, 4, 9)])).0.len(), 1);
    }
}
