//! The Rust client keeps its locks while a majority answers, and two holders never rely on one lock at the same time.
//!
//! A client that gets no answer before its deadline must report its lock as lost. It has sent keep-alives during the last two thirds of the
//! TTL. If another client was answered in that time, early enough before the end, this client could have been answered as well.

use std::collections::BTreeMap;

use crate::history::{Event, Kind, Operation};
use crate::workload::{HELD, LOST};

const MS: u64 = 1_000_000;
/// How long a client may need after the first answer of a new leader: it waits an eighth of the time for a silent node before it asks the
/// next one, and keep-alives are answered in batches.
const IN_TIME_MS: u64 = 1000;

/// A period in which a client relies on a lock.
struct Belief<'a> {
    name: &'a str,
    lock_id: &'a str,
    token: u64,
    from: u64,
    until: u64,
}

/// `ttl_percent`: the part of a TTL that is promised when the nodes' clocks run fast. Clients count the whole TTL.
pub(super) fn check(
    events: &[Event],
    operations: &[Operation],
    ttl_percent: u64,
) -> Option<(Vec<String>, String)> {
    let beliefs = beliefs(events, operations);
    let losses: Vec<&Event> = events.iter().filter(|event| event.f == LOST).collect();
    if beliefs.is_empty() && losses.is_empty() {
        return None;
    }
    let mut problems = Vec::new();
    for loss in &losses {
        problems.extend(needless(loss, operations));
    }
    let mut checks = 0;
    if ttl_percent >= 100 {
        problems.extend(overlaps(&beliefs));
        let found;
        (checks, found) = superseded(&beliefs, operations);
        problems.extend(found);
    }
    let began = |event: &&Event| event.kind == Kind::Nemesis && event.f == "begins";
    let faults: Vec<u64> = events.iter().filter(began).map(|event| event.t).collect();
    let through = |belief: &&Belief<'_>| faults.iter().any(|t| belief.from < *t && *t < belief.until);
    let looked_at = format!(
        "{} locks relied on, {} of them while a fault began, {checks} looks at their tokens, {} losses",
        beliefs.len(),
        beliefs.iter().filter(through).count(),
        losses.len()
    );
    Some((problems, looked_at))
}

/// The periods in which clients relied on locks, which end when the client asks to release the lock or reports it as lost.
fn beliefs<'a>(events: &'a [Event], operations: &[Operation]) -> Vec<Belief<'a>> {
    let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
    let mut end = |lock_id, at: u64| {
        let known = ends.entry(lock_id).or_insert(at);
        *known = at.min(*known);
    };
    for operation in operations.iter().filter(|operation| operation.f == "release") {
        end(operation.arg("lock_id"), operation.invoked);
    }
    for loss in events.iter().filter(|event| event.f == LOST) {
        end(text(loss, "lock_id"), number(loss, "since"));
    }
    let last = events.iter().map(|event| event.t).max().unwrap_or_default();
    let held = events.iter().filter(|event| event.f == HELD);
    held.map(|event| {
        let lock_id = text(event, "lock_id");
        let until = ends.get(lock_id).copied().unwrap_or(last);
        Belief {
            name: text(event, "name"),
            lock_id,
            token: number(event, "fencing_token"),
            from: event.t,
            until,
        }
    })
    .collect()
}

fn text<'a>(event: &'a Event, field: &str) -> &'a str {
    event.value[field].as_str().unwrap_or_default()
}

fn number(event: &Event, field: &str) -> u64 {
    event.value[field].as_u64().unwrap_or_default()
}

/// Describes a loss that was avoidable, as an answer to another client shows.
fn needless(loss: &Event, operations: &[Operation]) -> Option<String> {
    let since = number(loss, "since");
    let asked = since.saturating_sub(number(loss, "ttl_ms") * MS / 3 * 2);
    let in_time = since.saturating_sub(IN_TIME_MS * MS);
    let answered = operations.iter().find(|other| {
        other.front != "Rust client"
            && other.end == Kind::Ok
            && asked <= other.invoked
            && other.returned <= in_time
    })?;
    let early = (since - answered.returned) / MS;
    Some(format!(
        "process {} lost {}, though a majority answered {early} ms before: {}; {}",
        loss.p.unwrap_or_default(),
        text(loss, "name"),
        text(loss, "reason"),
        answered.describe()
    ))
}

/// Describes periods in which two clients relied on one lock.
fn overlaps(beliefs: &[Belief<'_>]) -> Vec<String> {
    let mut problems = Vec::new();
    for (place, one) in beliefs.iter().enumerate() {
        for other in beliefs.iter().skip(place + 1).filter(|other| other.name == one.name) {
            if one.from < other.until && other.from < one.until {
                problems.push(format!(
                    "{}: token {} is relied on until {} ms, token {} from {} ms on",
                    one.name,
                    one.token.min(other.token),
                    one.until.min(other.until) / MS,
                    one.token.max(other.token),
                    one.from.max(other.from) / MS
                ));
            }
        }
    }
    problems
}

/// Counts the token checks, and describes tokens that were not the newest, or not held, while their holder relied on them.
fn superseded(beliefs: &[Belief<'_>], operations: &[Operation]) -> (u64, Vec<String>) {
    let (mut checks, mut problems) = (0, Vec::new());
    for look in operations.iter().filter(|look| look.f == "check" && look.end == Kind::Ok) {
        let token = look.args["fencing_token"].as_u64().unwrap_or_default();
        let about = |belief: &&Belief<'_>| belief.name == look.arg("name") && belief.token == token;
        let Some(belief) = beliefs.iter().find(about) else { continue };
        checks += 1;
        if look.answered("status") != "held" && look.returned < belief.until {
            let lock_id = belief.lock_id;
            problems.push(format!("{lock_id} is not held while it is relied on: {}", look.describe()));
        }
    }
    (checks, problems)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::history::operations;

    fn at(ms: u64, event: Event) -> Event {
        Event { t: ms * MS, ..event }
    }

    fn held(ms: u64, lock_id: &str, token: u64) -> Event {
        let value = json!({"name": "a", "lock_id": lock_id, "fencing_token": token, "ttl_ms": 3000});
        at(ms, Event { f: HELD.to_owned(), value, ..Event::new(Kind::Note) })
    }

    fn lost(ms: u64, lock_id: &str) -> Event {
        let value = json!({"name": "a", "lock_id": lock_id, "ttl_ms": 3000, "since": ms * MS});
        at(ms, Event { f: LOST.to_owned(), value, ..Event::new(Kind::Note) })
    }

    fn asked(
        op: u64,
        f: &str,
        args: serde_json::Value,
        front: &str,
        times: (u64, u64),
        status: &str,
    ) -> [Event; 2] {
        let invoke = Event {
            op: Some(op),
            f: f.to_owned(),
            args,
            front: front.to_owned(),
            ..Event::new(Kind::Invoke)
        };
        let value = json!({"status": status});
        let ok = Event { op: Some(op), value, ..Event::new(Kind::Ok) };
        [at(times.0, invoke), at(times.1, ok)]
    }

    fn problems(events: &[Event]) -> usize {
        check(events, &operations(events), 100).expect("keepers").0.len()
    }

    #[test]
    fn loss_counts_if_others_were_answered_in_time() {
        let others = |sent: u64, answered: u64, front: &str| {
            let args = json!({"name": "witness", "fencing_token": 1});
            let mut events = asked(1, "check", args, front, (sent, answered), "not_held").to_vec();
            events.extend([held(1000, "l", 1), lost(9000, "l")]);
            problems(&events)
        };
        assert_eq!(others(7100, 7900, "REST"), 1);
        assert_eq!(others(6900, 7900, "REST"), 0, "sent before the client asked");
        assert_eq!(others(7100, 8100, "REST"), 0, "answered too late to count on");
        assert_eq!(others(7100, 7900, "Rust client"), 0, "not another client");
    }

    #[test]
    fn two_holders_of_one_lock_are_found() {
        let until = |release: u64| {
            let args = json!({"lock_id": "l"});
            let mut events = asked(1, "release", args, "", (release, release + 1), "").to_vec();
            events.extend([held(1000, "l", 1), held(3000, "m", 2)]);
            problems(&events)
        };
        assert_eq!((until(2900), until(3100)), (0, 1));
        assert_eq!(problems(&[held(1000, "l", 1), lost(2900, "l"), held(3000, "m", 2)]), 0);
        assert_eq!(problems(&[held(1000, "l", 1), held(3000, "m", 2), lost(3100, "l")]), 1);
    }

    #[test]
    fn lost_token_that_is_relied_on_is_found() {
        let look = |answered: u64, status: &str| {
            let args = json!({"name": "a", "fencing_token": 1});
            let mut events =
                asked(1, "check", args, "Rust client", (answered - 10, answered), status).to_vec();
            events.extend([held(1000, "l", 1), lost(4000, "l")]);
            problems(&events)
        };
        assert_eq!((look(3000, "held"), look(3000, "superseded"), look(5000, "superseded")), (0, 1, 0));
    }
}
