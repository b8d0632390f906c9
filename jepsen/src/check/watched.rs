//! Watchers: changes arrive in order, none twice and none missing; progress is true; all watchers see the changes of the log.

use std::collections::BTreeMap;

use crate::watch::WatchRecord;
use crate::watch_event::WatchEvent;

/// Compares what watchers received with the changes of the log. Every watcher must have reached `goal`.
pub(super) fn check(
    heard: &[Vec<WatchRecord>],
    log: &BTreeMap<u64, Vec<WatchEvent>>,
    goal: u64,
) -> (Vec<String>, String) {
    let mut problems = Vec::new();
    let (mut revisions, mut moves) = (0, 0);
    for (number, lines) in heard.iter().enumerate() {
        let who = format!("watcher {number}");
        let mut follow = Follow { who, upto: 0, parts: Vec::new(), log, problems: Vec::new() };
        for line in lines {
            match line {
                WatchRecord::Changes { revision, events, more } => {
                    follow.parts.extend(events.iter().cloned());
                    if !more {
                        revisions += 1;
                        follow.changes(*revision);
                    }
                }
                WatchRecord::Progress { revision } => follow.progress(*revision),
                WatchRecord::Connected { after, .. } => {
                    moves += 1;
                    // The revision was incomplete and is sent again.
                    follow.parts.clear();
                    if *after != follow.upto {
                        follow.problem(&format!("went on after {after}, had heard up to {}", follow.upto));
                    }
                }
                WatchRecord::Ended { .. } => {}
            }
        }
        if follow.upto < goal {
            follow.problem(&format!("heard up to {} only, not to {goal}", follow.upto));
        }
        problems.append(&mut follow.problems);
    }
    let looked_at = format!("{} watchers, {revisions} revisions heard, {moves} connections", heard.len());
    (problems, looked_at)
}

struct Follow<'a> {
    who: String,
    /// The watcher has received everything up to this revision.
    upto: u64,
    /// The parts of an incomplete revision.
    parts: Vec<WatchEvent>,
    log: &'a BTreeMap<u64, Vec<WatchEvent>>,
    problems: Vec<String>,
}

impl Follow<'_> {
    fn problem(&mut self, what: &str) {
        self.problems.push(format!("{}: {what}", self.who));
    }

    /// Checks that no change between the last received revision and `revision`, exclusive, was skipped.
    fn skipped(&mut self, revision: u64) {
        let missed: Vec<u64> = if revision > self.upto + 1 {
            self.log.range(self.upto + 1..revision).map(|(missed, _)| *missed).take(3).collect()
        } else {
            Vec::new()
        };
        if !missed.is_empty() {
            self.problem(&format!("was told {revision} after {}; it missed {missed:?}", self.upto));
        }
    }

    fn changes(&mut self, revision: u64) {
        let events = std::mem::take(&mut self.parts);
        if revision <= self.upto {
            self.problem(&format!("was told {revision} after {}: out of order, or twice", self.upto));
            return;
        }
        self.skipped(revision);
        self.upto = revision;
        let log = self.log.get(&revision).map(Vec::as_slice).unwrap_or_default();
        if log != events.as_slice() {
            self.problem(&format!("revision {revision}: it was told {events:?}, the log changed {log:?}"));
        }
    }

    fn progress(&mut self, revision: u64) {
        if !self.parts.is_empty() {
            self.problem(&format!("was told of progress to {revision} within a revision"));
        }
        if revision < self.upto {
            self.problem(&format!("was told of progress to {revision} after {}", self.upto));
            return;
        }
        self.skipped(revision + 1);
        self.upto = revision;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events_of(kind: &str) -> Vec<WatchEvent> {
        vec![WatchEvent { kind: kind.to_owned(), ..WatchEvent::default() }]
    }

    fn changes(revision: u64, kind: &str) -> WatchRecord {
        WatchRecord::Changes { revision, events: events_of(kind), more: false }
    }

    fn problems(heard: Vec<WatchRecord>) -> usize {
        let log = BTreeMap::from([(3, events_of("a")), (5, events_of("b")), (9, events_of("c"))]);
        check(&[heard], &log, 9).0.len()
    }

    #[test]
    fn parts_of_a_revision_are_joined() {
        let log = BTreeMap::from([(3, [events_of("a"), events_of("b")].concat())]);
        let part = |kind, more| WatchRecord::Changes { revision: 3, events: events_of(kind), more };
        let connected = || WatchRecord::Connected { node: "n1".to_owned(), after: 0 };
        let problems = |heard: Vec<WatchRecord>| check(&[heard], &log, 3).0.len();
        assert_eq!(problems(vec![part("a", true), part("b", false)]), 0);
        assert_eq!(problems(vec![part("a", true), connected(), part("a", true), part("b", false)]), 0);
        assert_eq!(problems(vec![part("a", true), connected(), part("b", false)]), 1, "half is missing");
        let never_whole = vec![part("a", true), WatchRecord::Progress { revision: 3 }];
        assert_eq!(problems(never_whole), 2, "progress within a revision, and the revision is missing");
    }

    #[test]
    fn gaps_repeats_and_lies_are_found() {
        let progress = |revision| WatchRecord::Progress { revision };
        assert_eq!(
            problems(vec![changes(3, "a"), progress(4), changes(5, "b"), changes(9, "c"), progress(9)]),
            0
        );
        assert_eq!(problems(vec![changes(3, "a"), changes(9, "c")]), 1, "a gap");
        assert_eq!(
            problems(vec![changes(3, "a"), changes(5, "b"), changes(5, "b"), changes(9, "c")]),
            1,
            "twice"
        );
        assert_eq!(
            problems(vec![changes(3, "a"), progress(7), changes(9, "c")]),
            1,
            "progress that is not true"
        );
        assert_eq!(problems(vec![changes(3, "a"), changes(5, "x"), changes(9, "c")]), 1, "another story");
        assert_eq!(problems(vec![changes(3, "a"), changes(5, "b")]), 1, "the end is missing");
    }
}
