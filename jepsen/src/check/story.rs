//! Checks any sequence of changes, whatever its source: holders are compatible, tokens rise, an ending session takes
//! everything with it, queues are fair. The rules come from the documentation, not from the state machine.

use std::collections::{BTreeMap, BTreeSet};

use crate::watch_event::WatchEvent;

/// A grant that is held.
struct Held {
    session_id: String,
    token: u64,
    names: Vec<(String, String)>,
}

/// An acquisition that waits.
struct Waits {
    session_id: String,
    names: Vec<(String, String)>,
    since: (u64, u64),
}

#[derive(Default)]
struct Story {
    sessions: BTreeSet<String>,
    ended_sessions: BTreeSet<String>,
    held: BTreeMap<String, Held>,
    waits: BTreeMap<String, Waits>,
    last_token: u64,
    registers: BTreeMap<String, u64>,
    problems: Vec<String>,
}

/// Checks the changes of all revisions. Also describes the waits, grants and sessions at the end.
pub(super) fn check(changes: &BTreeMap<u64, Vec<WatchEvent>>) -> (Vec<String>, String) {
    let mut story = Story::default();
    let mut count = 0;
    for (&revision, events) in changes {
        let ended = events.iter().filter(|event| event.kind == "session_ended");
        let ended: Vec<&str> = ended.map(|event| event.session_id.as_str()).collect();
        for event in events {
            count += 1;
            story.apply(revision, event);
        }
        for session_id in ended {
            story.nothing_left(revision, session_id);
        }
    }
    let left = format!(
        "{} grants, {} waits, {} sessions at the end",
        story.held.len(),
        story.waits.len(),
        story.sessions.len()
    );
    (story.problems, format!("{count} changes; {left}"))
}

impl Story {
    fn problem(&mut self, revision: u64, change: &WatchEvent, what: &str) {
        self.problems.push(format!("revision {revision}: {what}: {change:?}"));
    }

    fn apply(&mut self, revision: u64, change: &WatchEvent) {
        let wrong = match change.kind.as_str() {
            "session_opened" => {
                let known = self.ended_sessions.contains(&change.session_id);
                (known || !self.sessions.insert(change.session_id.clone()))
                    .then_some("a session that was there before")
            }
            "session_ended" => {
                self.ended_sessions.insert(change.session_id.clone());
                (!self.sessions.remove(&change.session_id)).then_some("no such session")
            }
            "lock_queued" | "candidate_queued" => self.queued(revision, change),
            "lock_granted" | "elected" => {
                self.granted(revision, change);
                None
            }
            "lock_extended" | "leadership_extended" => {
                (!self.held.contains_key(&change.lock_id)).then_some("extended, but not held")
            }
            "proclaimed" => {
                let token = self.held.get(&change.lock_id).map(|held| held.token);
                (token != Some(change.token)).then_some("proclaimed by somebody who does not lead")
            }
            "lock_released" if change.count > 0 => None,
            "lock_released" | "leader_gone" => {
                self.held.remove(&change.lock_id).is_none().then_some("released, but not held")
            }
            "wait_ended" | "candidate_gone" => {
                self.waits.remove(&change.lock_id).is_none().then_some("a wait ended that was none")
            }
            "register_advanced" | "register_deleted" => self.register(change),
            _ => None,
        };
        if let Some(wrong) = wrong {
            self.problem(revision, change, wrong);
        }
    }

    fn register(&mut self, change: &WatchEvent) -> Option<&'static str> {
        let name = change.names.first().map(|(name, _)| name.clone()).unwrap_or_default();
        if change.kind == "register_deleted" {
            return self.registers.remove(&name).is_none().then_some("no such register");
        }
        let before = self.registers.insert(name, change.token).unwrap_or_default();
        let risen = before < change.token && change.token <= self.last_token;
        (!risen).then_some("a register that did not rise, or a token that was never given")
    }

    /// Whether the owner of the change is a session that exists, or not a session.
    fn has_owner(&self, change: &WatchEvent) -> bool {
        change.session_id.is_empty() || self.sessions.contains(&change.session_id)
    }

    fn queued(&mut self, revision: u64, change: &WatchEvent) -> Option<&'static str> {
        let wait = Waits {
            session_id: change.session_id.clone(),
            names: change.names.clone(),
            since: place(&change.lock_id).unwrap_or((revision, change.ordinal)),
        };
        self.waits.insert(change.lock_id.clone(), wait);
        (!self.has_owner(change)).then_some("queued for a session that is not there")
    }

    fn granted(&mut self, revision: u64, change: &WatchEvent) {
        if !self.has_owner(change) {
            self.problem(revision, change, "granted to a session that is not there");
        }
        if change.count > 1 {
            return;
        }
        if change.token <= self.last_token {
            self.problem(revision, change, "the token did not rise");
        }
        self.last_token = self.last_token.max(change.token);
        for (name, mode) in &change.names {
            let others = self.held.values().flat_map(|held| &held.names).filter(|(held, _)| held == name);
            let excludes = |mode: &str| matches!(mode, "exclusive" | "election");
            let clash = others.filter(|(_, other)| excludes(mode) || excludes(other)).count();
            if clash > 0 {
                self.problem(revision, change, "granted beside a holder that excludes it");
            }
        }
        if let Some(wait) = self.waits.remove(&change.lock_id) {
            self.in_turn(revision, change, &wait);
        }
        let (session_id, names) = (change.session_id.clone(), change.names.clone());
        let held = Held { session_id, token: change.token, names };
        if self.held.insert(change.lock_id.clone(), held).is_some() {
            self.problem(revision, change, "granted twice");
        }
    }

    /// First come, first served: among waits for a single exclusive lock, no earlier wait may still be queued.
    fn in_turn(&mut self, revision: u64, change: &WatchEvent, wait: &Waits) {
        let [(name, mode)] = wait.names.as_slice() else { return };
        let ahead = self.waits.values().filter(|other| match other.names.as_slice() {
            [(other_name, other_mode)] => {
                other_name == name && other_mode == mode && other.since < wait.since
            }
            _ => false,
        });
        if mode != "semaphore" && ahead.count() > 0 {
            self.problem(revision, change, "granted past somebody who waits longer");
        }
    }

    /// Everything that a session owns must end in the revision in which the session ends.
    fn nothing_left(&mut self, revision: u64, session_id: &str) {
        let grants = self.held.iter().filter(|(_, held)| held.session_id == session_id).map(|(id, _)| id);
        let waits = self.waits.iter().filter(|(_, wait)| wait.session_id == session_id).map(|(id, _)| id);
        let left: Vec<&String> = grants.chain(waits).collect();
        if !left.is_empty() {
            self.problems.push(format!("revision {revision}: {session_id} ended and left {left:?} behind"));
        }
    }
}

/// A wait's place in the queue follows from its id, even when it is queued again because its node was lost.
fn place(lock_id: &str) -> Option<(u64, u64)> {
    let (index, ordinal) = lock_id.strip_prefix("l-")?.split_once('.')?;
    Some((index.parse().ok()?, ordinal.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, lock_id: &str, token: u64, session_id: &str) -> WatchEvent {
        let count = u64::from(kind != "lock_released");
        WatchEvent {
            kind: kind.into(),
            lock_id: lock_id.into(),
            token,
            count,
            session_id: session_id.into(),
            names: vec![("a".into(), "exclusive".into())],
            ..WatchEvent::default()
        }
    }

    fn problems(story: Vec<WatchEvent>) -> Vec<String> {
        check(&(1..).zip(story.into_iter().map(|change| vec![change])).collect()).0
    }

    #[test]
    fn a_sound_story_has_no_problems() {
        let story = vec![
            event("session_opened", "", 0, "s"),
            event("lock_granted", "l1", 1, ""),
            event("lock_queued", "l2", 0, "s"),
            event("lock_released", "l1", 1, ""),
            event("lock_granted", "l2", 2, "s"),
            event("lock_released", "l2", 2, "s"),
            event("session_ended", "", 0, "s"),
        ];
        assert_eq!(problems(story), [""; 0]);
    }

    #[test]
    fn wait_that_returns_keeps_its_place() {
        let story = vec![
            event("lock_queued", "l-1.0", 0, ""),
            event("lock_queued", "l-2.0", 0, ""),
            event("wait_ended", "l-1.0", 0, ""),
            event("lock_queued", "l-1.0", 0, ""),
            event("lock_granted", "l-1.0", 1, ""),
        ];
        assert_eq!(problems(story), [""; 0]);
    }

    /// A change of an election.
    fn of_election(kind: &str, lock_id: &str, token: u64) -> WatchEvent {
        let count = u64::from(kind != "leader_gone");
        WatchEvent { count, names: vec![("e".into(), "election".into())], ..event(kind, lock_id, token, "") }
    }

    #[test]
    fn leader_is_alone_and_acts_under_its_token() {
        let story = vec![
            of_election("elected", "l-1.0", 1),
            of_election("candidate_queued", "l-2.0", 0),
            of_election("candidate_queued", "l-3.0", 0),
            of_election("proclaimed", "l-1.0", 1),
            of_election("candidate_gone", "l-2.0", 0),
            of_election("leader_gone", "l-1.0", 1),
            of_election("elected", "l-3.0", 2),
            of_election("leadership_extended", "l-3.0", 2),
        ];
        assert_eq!(problems(story), [""; 0]);
        for story in [
            vec![of_election("elected", "l-1.0", 1), of_election("elected", "l-2.0", 2)],
            vec![of_election("elected", "l-1.0", 1), of_election("proclaimed", "l-1.0", 2)],
            vec![of_election("proclaimed", "l-1.0", 1)],
            vec![of_election("leader_gone", "l-1.0", 1)],
        ] {
            let text = format!("{story:?}");
            assert_eq!(problems(story).len(), 1, "{text}");
        }
    }

    #[test]
    fn broken_rules_are_found() {
        for story in [
            vec![event("lock_granted", "l1", 1, ""), event("lock_granted", "l2", 2, "")],
            vec![
                event("lock_granted", "l1", 2, ""),
                event("lock_released", "l1", 2, ""),
                event("lock_granted", "l2", 1, ""),
            ],
            vec![event("lock_granted", "l1", 1, "s")],
            vec![
                event("session_opened", "", 0, "s"),
                event("lock_granted", "l1", 1, "s"),
                event("session_ended", "", 0, "s"),
            ],
            vec![
                event("session_opened", "", 0, "s"),
                event("session_ended", "", 0, "s"),
                event("session_opened", "", 0, "s"),
            ],
            vec![
                event("lock_queued", "l1", 0, ""),
                event("lock_queued", "l2", 0, ""),
                event("lock_granted", "l2", 1, ""),
            ],
        ] {
            let text = format!("{story:?}");
            assert_eq!(problems(story).len(), 1, "{text}");
        }
    }
}
