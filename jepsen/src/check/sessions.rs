//! Sessions in real time. No session ends before its TTL has passed, counted from the sending of the last answered keep-alive,
//! and without the time in which every node was paused. No session lives much longer while the cluster is healthy. No ended
//! session comes back.

use std::collections::BTreeMap;

use crate::history::{Event, Kind, Operation};
use crate::nemesis::{Fault, Target};

const MS: u64 = 1_000_000;
/// How late a session may end while the cluster is healthy. The documented delay is 20 ms and one commit, and keep-alives are answered up
/// to 500 ms after they arrive; the rest allows for a machine that is busy with the harness.
const LATE_MS: u64 = 1500;
/// How much of a pause of all nodes may count as cluster time: one step of at most the longest election timeout, plus the time to
/// stop and wake the nodes one after the other.
const PAUSE_COUNTS_MS: u64 = 650 + 650;
/// The cluster counts as healthy again this long after a fault.
const SETTLES_MS: u64 = 6000;

#[derive(Default)]
struct Session {
    ttl_ns: u64,
    /// Answered calls that renewed the session, from the time they were sent: (sent, answered).
    renewals: Vec<(u64, u64)>,
    /// Whether an unanswered call may have renewed or ended the session.
    unsure: bool,
    /// When a client asked to close it.
    closing: u64,
    /// Calls that found the session: (sent, answered).
    alive: Vec<(u64, u64)>,
    /// Calls that did not find the session: (sent, answered).
    dead: Vec<(u64, u64)>,
}

/// `ttl_percent`: the part of a TTL that is promised when the nodes' clocks run fast.
pub(super) fn check(events: &[Event], operations: &[Operation], ttl_percent: u64) -> (Vec<String>, String) {
    let sessions = gather(operations);
    let troubles = troubles(events);
    let pauses = pauses_of_all(events);
    let mut problems = Vec::new();
    let (mut ends, mut timely) = (0, 0);
    for (id, session) in &sessions {
        let promised = session.ttl_ns / 100 * ttl_percent;
        let first_dead = session.dead.iter().map(|(_, answered)| *answered).min();
        if let Some(found) = first_dead {
            ends += 1;
            let renewals = session.renewals.iter().filter(|(sent, _)| *sent < found);
            let until = renewals.map(|(sent, _)| sent + promised + stopped(&pauses, *sent, found));
            let until = until.max().unwrap_or_default();
            if found < until.min(session.closing) {
                problems.push(format!("{id} was gone {} ms before its time", (until - found) / MS));
            }
            if let Some((sent, _)) = session.alive.iter().find(|(sent, _)| *sent > found) {
                problems.push(format!("{id} was gone, and there again {} ms later", (sent - found) / MS));
            }
        }
        let Some(answered) = session.renewals.iter().map(|(_, answered)| *answered).max() else { continue };
        let late = answered + session.ttl_ns + LATE_MS * MS;
        for (sent, _) in session.alive.iter().filter(|(sent, _)| *sent > answered) {
            let calm = !troubles.iter().any(|(from, to)| *from < *sent && answered < *to);
            if calm && !session.unsure {
                timely += 1;
                if *sent > late {
                    problems.push(format!(
                        "{id} was there {} ms after its time, and all was well",
                        (sent - late) / MS + LATE_MS
                    ));
                }
            }
        }
    }
    let looked_at =
        format!("{} sessions, {ends} seen gone, {timely} looks at them when all was well", sessions.len());
    (problems, looked_at)
}

fn gather(operations: &[Operation]) -> BTreeMap<String, Session> {
    let mut sessions: BTreeMap<String, Session> = BTreeMap::new();
    for operation in
        operations.iter().filter(|operation| operation.f == "open_session" && operation.end == Kind::Ok)
    {
        let ttl_ns = operation.args["ttl_ms"].as_u64().unwrap_or_default() * MS;
        let renewals = vec![(operation.invoked, operation.returned)];
        let session = Session { ttl_ns, renewals, closing: u64::MAX, ..Session::default() };
        // A retry under a key answers the same session, opened by the first request.
        sessions.entry(operation.answered("session_id").to_owned()).or_insert(session);
    }
    for operation in operations {
        let Some(session) = sessions.get_mut(operation.arg("session_id")) else { continue };
        let times = (operation.invoked, operation.returned);
        match (operation.f.as_str(), operation.end) {
            ("keep_alive", Kind::Ok) => {
                session.renewals.push(times);
                session.alive.push(times);
            }
            ("get_session", Kind::Ok) => session.alive.push(times),
            ("keep_alive", Kind::Info) => session.unsure = true,
            ("close_session", _) => session.closing = session.closing.min(operation.invoked),
            _ => {}
        }
        if operation.end == Kind::Fail && operation.error == "session_not_found" {
            session.dead.push(times);
        }
    }
    sessions
}

/// How long all nodes were paused between two moments.
fn stopped(pauses: &[(u64, u64)], from: u64, to: u64) -> u64 {
    let inside = pauses.iter().filter(|(begun, ended)| from <= *begun && *ended <= to);
    inside.map(|(begun, ended)| (ended - begun).saturating_sub(PAUSE_COUNTS_MS * MS)).sum()
}

/// The periods in which every node was paused.
fn pauses_of_all(events: &[Event]) -> Vec<(u64, u64)> {
    let fault = format!("{:?}", Fault::Pause(Target::All));
    let mut begun = None;
    let mut found = Vec::new();
    for event in events.iter().filter(|event| event.kind == Kind::Nemesis && event.note.contains(&fault)) {
        if event.f == "begins" {
            begun = Some(event.t);
        } else if let Some(begun) = begun.take() {
            found.push((begun, event.t));
        }
    }
    found
}

/// The periods in which a fault is in force or ended only recently.
fn troubles(events: &[Event]) -> Vec<(u64, u64)> {
    let mut active = 0_u64;
    let mut since = 0;
    // Includes the time until the first leader has settled.
    let mut found = vec![(0, SETTLES_MS / 3 * MS)];
    for event in events.iter().filter(|event| event.kind == Kind::Nemesis) {
        if event.f == "begins" {
            if active == 0 {
                since = event.t;
            }
            active += 1;
            continue;
        }
        active = active.saturating_sub(1);
        if active == 0 {
            found.push((since, event.t + SETTLES_MS * MS));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::history::operations;

    /// Counts the problems of calls given as (function, sent, answered, error), in milliseconds, to one session with a TTL of 1000 ms.
    fn problems(list: &[(&str, u64, u64, &str)]) -> usize {
        let mut events = Vec::new();
        for (op, (f, sent, answered, error)) in (0_u64..).zip(list) {
            let args = json!({"ttl_ms": 1000, "session_id": "s"});
            events.push(Event {
                t: sent * MS,
                op: Some(op),
                f: (*f).into(),
                args,
                ..Event::new(Kind::Invoke)
            });
            let kind = if error.is_empty() { Kind::Ok } else { Kind::Fail };
            let value = json!({"session_id": "s"});
            events.push(Event {
                t: answered * MS,
                op: Some(op),
                error: (*error).into(),
                value,
                ..Event::new(kind)
            });
        }
        check(&events, &operations(&events), 100).0.len()
    }

    #[test]
    fn early_late_and_revived_sessions_are_found() {
        let gone = "session_not_found";
        let opened = ("open_session", 10_000, 10_010, "");
        assert_eq!(
            problems(&[opened, ("get_session", 10_500, 10_510, ""), ("get_session", 11_050, 11_060, gone)]),
            0
        );
        assert_eq!(problems(&[opened, ("get_session", 10_900, 10_910, gone)]), 1, "early");
        assert_eq!(
            problems(&[opened, ("keep_alive", 10_500, 10_600, ""), ("get_session", 11_400, 11_410, gone)]),
            1,
            "renewed"
        );
        assert_eq!(
            problems(&[opened, ("get_session", 11_100, 11_110, gone), ("keep_alive", 11_200, 11_210, "")]),
            1,
            "back"
        );
        assert_eq!(problems(&[opened, ("get_session", 13_000, 13_010, "")]), 1, "late");
        assert_eq!(
            problems(&[opened, ("close_session", 10_100, 10_110, ""), ("get_session", 10_200, 10_210, gone)]),
            0
        );
    }

    #[test]
    fn pause_of_all_nodes_does_not_count() {
        let told = |t: u64, f: &str| Event {
            t: t * MS,
            f: f.into(),
            note: format!("{f}: Pause(All) for 15000 ms: n1, n2, n3"),
            ..Event::new(Kind::Nemesis)
        };
        let pauses = pauses_of_all(&[told(1000, "begins"), told(16_000, "ends"), told(20_000, "begins")]);
        assert_eq!(pauses, [(1000 * MS, 16_000 * MS)]);
        let counted = (15_000 - PAUSE_COUNTS_MS) * MS;
        assert_eq!(stopped(&pauses, 500 * MS, 16_010 * MS), counted);
        assert_eq!(stopped(&pauses, 1500 * MS, 16_010 * MS), 0, "sent while the nodes were paused");
    }
}
