//! Revocations: once a right is taken away and that is acknowledged, no call that begins afterwards is answered, on any node, until the right is
//! about to come back.

use std::collections::BTreeMap;

use crate::access::{SECURED, worker_of};
use crate::history::{Event, Kind, Operation};
use crate::workload::ADMIN;

/// A time without the right, in nanoseconds: from the acknowledgement of its end until its return was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Without {
    from: u64,
    until: u64,
}

/// Checks a run; `None` when it is one without access.
pub(super) fn check(events: &[Event], operations: &[Operation]) -> Option<(Vec<String>, String)> {
    if !events.iter().any(|event| event.f == SECURED) {
        return None;
    }
    let revoked = revoked(operations);
    let spans = revoked.values().map(Vec::len).sum::<usize>();
    let mut problems: Vec<String> = refused_changes(operations).collect();
    if spans == 0 {
        problems.push("no right was taken away, so the run proves nothing".to_owned());
    }
    let (mut answered, mut refused) = (0_u64, 0_u64);
    for operation in operations.iter().filter(|operation| needs_right(operation)) {
        let spans = revoked.get(&worker_of(operation.process)).map(Vec::as_slice).unwrap_or_default();
        let within =
            spans.iter().any(|span| span.from < operation.invoked && operation.returned < span.until);
        match operation.end {
            Kind::Ok if within => {
                problems.push(format!("answered after its right was taken away: {}", operation.describe()));
            }
            Kind::Ok => answered += 1,
            Kind::Fail if within => refused += 1,
            _ => {}
        }
    }
    let looked_at =
        format!("{spans} times without a right: {refused} calls refused, and {answered} answered in between");
    Some((problems, looked_at))
}

/// Whether a call is refused wherever it is made when its caller has lost its rights. To keep alive, to release and to close, ownership may be
/// enough, or the node's own state.
fn needs_right(operation: &Operation) -> bool {
    operation.process < ADMIN
        && matches!(operation.f.as_str(), "acquire" | "open_session" | "get_lock")
        && operation.args["consistency"] != "stale"
}

/// For each worker, the times without a right.
fn revoked(operations: &[Operation]) -> BTreeMap<u64, Vec<Without>> {
    let mut revoked: BTreeMap<u64, Vec<Without>> = BTreeMap::new();
    for operation in operations.iter().filter(|operation| operation.process == ADMIN) {
        let spans = revoked.entry(operation.args["worker"].as_u64().unwrap_or_default()).or_default();
        match (operation.f.as_str(), operation.end) {
            ("take_right", Kind::Ok) => {
                spans.push(Without { from: operation.returned, until: u64::MAX });
            }
            // Whatever its end: it may take effect as soon as it is asked for.
            ("return_right", _) => {
                if let Some(last) = spans.last_mut() {
                    last.until = last.until.min(operation.invoked);
                }
            }
            _ => {}
        }
    }
    revoked
}

/// The administrator may make every change that it makes.
fn refused_changes(operations: &[Operation]) -> impl Iterator<Item = String> {
    let of_admin = operations.iter().filter(|operation| operation.process == ADMIN);
    of_admin
        .filter(|operation| operation.end == Kind::Fail)
        .map(|operation| format!("the administrator was refused: {}", operation.describe()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn operation(
        process: u64,
        f: &str,
        args: Value,
        (invoked, returned): (u64, u64),
        end: Kind,
    ) -> Operation {
        Operation {
            op: 0,
            process,
            f: f.to_owned(),
            node: String::new(),
            front: String::new(),
            args,
            key: None,
            attempts: 1,
            invoked,
            returned,
            end,
            value: Value::Null,
            error: String::new(),
        }
    }

    fn admin(f: &str, times: (u64, u64), end: Kind) -> Operation {
        operation(ADMIN, f, json!({"worker": 1}), times, end)
    }

    fn read(process: u64, times: (u64, u64), end: Kind) -> Operation {
        operation(process, "get_lock", json!({"name": "a"}), times, end)
    }

    fn problems(calls: &[Operation]) -> usize {
        let secured = Event { f: SECURED.to_owned(), ..Event::new(Kind::Note) };
        let (problems, _) = check(&[secured], calls).unwrap();
        problems.len()
    }

    #[test]
    fn run_without_access_is_not_checked() {
        assert_eq!(check(&[], &[read(1, (1, 2), Kind::Ok)]), None);
    }

    #[test]
    fn answer_without_a_right_is_found() {
        let taken = admin("take_right", (10, 20), Kind::Ok);
        assert_eq!(problems(&[taken.clone(), read(4, (21, 30), Kind::Ok)]), 1);
        // Begun before the acknowledgement, by another worker, or refused.
        assert_eq!(problems(&[taken.clone(), read(4, (19, 30), Kind::Ok)]), 0);
        assert_eq!(problems(&[taken.clone(), read(5, (21, 30), Kind::Ok)]), 0);
        assert_eq!(problems(&[taken.clone(), read(4, (21, 30), Kind::Fail)]), 0);
        let release = operation(4, "release", json!({}), (21, 30), Kind::Ok);
        assert_eq!(problems(&[taken, release]), 0);
    }

    #[test]
    fn right_may_be_back_once_it_was_asked_for() {
        let taken = admin("take_right", (10, 20), Kind::Ok);
        let returned = admin("return_right", (40, u64::MAX), Kind::Info);
        assert_eq!(problems(&[taken.clone(), returned.clone(), read(4, (21, 39), Kind::Ok)]), 1);
        assert_eq!(problems(&[taken, returned, read(4, (21, 41), Kind::Ok)]), 0);
    }

    #[test]
    fn run_must_take_a_right_and_admin_is_never_refused() {
        assert_eq!(problems(&[read(4, (21, 30), Kind::Ok)]), 1);
        let taken = admin("take_right", (10, 20), Kind::Ok);
        assert_eq!(problems(&[taken, admin("return_right", (30, 40), Kind::Fail)]), 1);
    }
}
