//! Follows the leader of one election, through failovers of nodes and gaps in the history.
//!
//! Invariant: what was told last is the leader at the revision of the last item of the watch. When the
//! history is gone, the leader is compared with what was told last, and told only if it differs.

use std::collections::VecDeque;

use batuta_proto::v1::event::Facts;
use batuta_proto::v1::object::Object;
use batuta_proto::v1::{Event, Leader, SnapshotPage};

use crate::watch::{Watch, WatchItem, WatchOptions};
use crate::{Client, Error};

/// The kinds of change that change the leader or its value.
const KINDS: [&str; 3] = ["elected", "proclaimed", "leader_gone"];

/// A change of the leader of an election, or its present leader.
#[derive(Debug, Clone, PartialEq)]
pub enum Observed {
    /// The leader now: what an observer is told first, and again after a gap in the history during which the
    /// leader or its value changed.
    Current {
        /// The revision at which this is true.
        revision: u64,
        /// The leader; `None` when nobody leads.
        leader: Option<Leader>,
    },
    /// A candidate was elected.
    Elected {
        /// The revision of the election.
        revision: u64,
        /// The new leader.
        leader: Leader,
    },
    /// The leader published another value.
    Proclaimed {
        /// The revision of the change.
        revision: u64,
        /// The leader with its new value.
        leader: Leader,
    },
    /// The leader is gone. The next one, if any, is told as elected.
    Gone {
        /// The revision at which it lost or gave up the leadership.
        revision: u64,
        /// The leader as it was.
        leader: Leader,
        /// Why: `released`, `expired`, `forced`, `session_closed` or `session_expired`.
        reason: String,
        /// Of a forced release: the operator's reason.
        words: String,
    },
}

impl Observed {
    /// The leader after the change; `None` when nobody leads.
    #[must_use]
    pub fn leader(&self) -> Option<&Leader> {
        match self {
            Self::Current { leader, .. } => leader.as_ref(),
            Self::Elected { leader, .. } | Self::Proclaimed { leader, .. } => Some(leader),
            Self::Gone { .. } => None,
        }
    }

    /// The revision at which this is true.
    #[must_use]
    pub fn revision(&self) -> u64 {
        match self {
            Self::Current { revision, .. }
            | Self::Elected { revision, .. }
            | Self::Proclaimed { revision, .. }
            | Self::Gone { revision, .. } => *revision,
        }
    }
}

/// Tells who leads an election, in the order of the changes. Dropping it ends the observation.
#[derive(Debug)]
pub struct Observer {
    watch: Watch,
    following: Following,
}

impl Client {
    /// Observes an election. Nothing is sent until the first change is awaited.
    #[must_use]
    pub fn observe(&self, name: impl Into<String>) -> Observer {
        let options = WatchOptions::snapshot().areas(["election"]).kinds(KINDS).name(name);
        Observer { watch: self.watch(options), following: Following::default() }
    }
}

impl Observer {
    /// Returns the present leader first, then every change. Tries one node after another for as long as it
    /// takes. Cancel safe: dropping the future loses nothing.
    ///
    /// # Errors
    /// Failures that another attempt cannot fix, such as `invalid_argument`.
    pub async fn next(&mut self) -> Result<Observed, Error> {
        loop {
            if let Some(observed) = self.following.found.pop_front() {
                return Ok(observed);
            }
            let item = self.watch.next().await?;
            self.following.follow(item);
        }
    }
}

/// What an observer was told last.
#[derive(Debug, Default, PartialEq, Eq)]
enum Told {
    /// It was told nothing yet.
    #[default]
    Nothing,
    /// Nobody leads.
    Nobody,
    /// The token and the value of the leader.
    Leader { token: u64, value: String },
}

impl Told {
    fn of(leader: Option<&Leader>) -> Self {
        match leader {
            Some(leader) => Self::Leader { token: leader.fencing_token, value: leader.value.clone() },
            None => Self::Nobody,
        }
    }
}

/// What an observer knows.
#[derive(Debug, Default)]
struct Following {
    told: Told,
    /// The leader in the pages of a snapshot that is not complete yet.
    in_snapshot: Option<Leader>,
    /// What was not returned yet.
    found: VecDeque<Observed>,
}

impl Following {
    fn follow(&mut self, item: WatchItem) {
        match item {
            WatchItem::Snapshot { revision, first, page } => self.snapshot(revision, first, page),
            WatchItem::Changes { revision, events, .. } => {
                for observed in events.into_iter().filter_map(|event| change(revision, event)) {
                    self.told = Told::of(observed.leader());
                    self.found.push_back(observed);
                }
            }
            WatchItem::Progress { .. } => {}
        }
    }

    fn snapshot(&mut self, revision: u64, first: bool, page: SnapshotPage) {
        if first {
            self.in_snapshot = None;
        }
        for object in page.objects {
            if let Some(Object::Election(election)) = object.object {
                self.in_snapshot = election.leader;
            }
        }
        if !page.last {
            return;
        }
        let leader = self.in_snapshot.take();
        let now = Told::of(leader.as_ref());
        if self.told != now {
            self.told = now;
            self.found.push_back(Observed::Current { revision, leader });
        }
    }
}

/// Reads a change of the leader. Every other change is left out.
fn change(revision: u64, event: Event) -> Option<Observed> {
    let Some(Facts::Election(facts)) = event.facts else { return None };
    let leader = facts.leader?;
    match event.kind.as_str() {
        "elected" => Some(Observed::Elected { revision, leader }),
        "proclaimed" => Some(Observed::Proclaimed { revision, leader }),
        "leader_gone" => Some(Observed::Gone { revision, leader, reason: event.reason, words: facts.words }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use batuta_proto::v1::{self, ElectionFacts};

    use super::*;

    fn leader(token: u64, value: &str) -> Leader {
        Leader { fencing_token: token, value: value.to_owned(), ..Leader::default() }
    }

    fn event(kind: &str, leader: Leader) -> Event {
        let facts = ElectionFacts { leader: Some(leader), ..ElectionFacts::default() };
        Event { kind: kind.to_owned(), facts: Some(Facts::Election(facts)), ..Event::default() }
    }

    fn changes(revision: u64, events: Vec<Event>) -> WatchItem {
        WatchItem::Changes { revision, events, more: false }
    }

    /// A snapshot in two pages; the election is on the first.
    fn snapshot(revision: u64, leader: Option<Leader>) -> [WatchItem; 2] {
        let election = v1::Election { leader, ..v1::Election::default() };
        let object = v1::Object { object: Some(Object::Election(election)) };
        let page = |objects, last| SnapshotPage { objects, last };
        [
            WatchItem::Snapshot { revision, first: true, page: page(vec![object], false) },
            WatchItem::Snapshot { revision, first: false, page: page(Vec::new(), true) },
        ]
    }

    /// What is told about these items.
    fn told(following: &mut Following, items: impl IntoIterator<Item = WatchItem>) -> Vec<String> {
        items.into_iter().for_each(|item| following.follow(item));
        let said = |observed| match observed {
            Observed::Current { revision, leader: None } => format!("{revision} nobody"),
            Observed::Current { revision, leader: Some(leader) } => {
                format!("{revision} current {} {}", leader.fencing_token, leader.value)
            }
            Observed::Elected { revision, leader } => format!("{revision} elected {}", leader.fencing_token),
            Observed::Proclaimed { revision, leader } => format!("{revision} proclaimed {}", leader.value),
            Observed::Gone { revision, reason, .. } => format!("{revision} gone {reason}"),
        };
        following.found.drain(..).map(said).collect()
    }

    #[test]
    fn current_leader_comes_before_changes() {
        let mut following = Following::default();
        assert_eq!(told(&mut following, snapshot(5, Some(leader(3, "a")))), ["5 current 3 a"]);
        let gone = Event { reason: "released".to_owned(), ..event("leader_gone", leader(3, "b")) };
        let items = [
            changes(
                6,
                vec![event("proclaimed", leader(3, "b")), event("leadership_extended", leader(3, "b"))],
            ),
            WatchItem::Progress { revision: 7 },
            changes(8, vec![gone, event("elected", leader(8, "c"))]),
        ];
        assert_eq!(told(&mut following, items), ["6 proclaimed b", "8 gone released", "8 elected 8"]);
    }

    #[test]
    fn empty_election_is_told_as_such() {
        let mut following = Following::default();
        let empty = WatchItem::Snapshot {
            revision: 4,
            first: true,
            page: SnapshotPage { objects: Vec::new(), last: true },
        };
        assert_eq!(told(&mut following, [empty.clone()]), ["4 nobody"]);
        assert_eq!(told(&mut following, [empty]), [""; 0]);
    }

    #[test]
    fn gap_repeats_nothing_that_was_told() {
        let mut following = Following::default();
        told(&mut following, snapshot(5, Some(leader(3, "a"))));
        assert_eq!(told(&mut following, snapshot(90, Some(leader(3, "a")))), [""; 0]);
        assert_eq!(told(&mut following, snapshot(91, Some(leader(3, "b")))), ["91 current 3 b"]);
        assert_eq!(told(&mut following, snapshot(92, Some(leader(80, "b")))), ["92 current 80 b"]);
        assert_eq!(told(&mut following, snapshot(93, None)), ["93 nobody"]);
        told(&mut following, [changes(94, vec![event("elected", leader(94, "c"))])]);
        assert_eq!(told(&mut following, snapshot(99, Some(leader(94, "c")))), [""; 0]);
    }

    #[test]
    fn snapshot_cut_off_starts_anew() {
        let mut following = Following::default();
        let [half, _] = snapshot(5, Some(leader(3, "a")));
        assert_eq!(told(&mut following, [half]), [""; 0]);
        assert_eq!(told(&mut following, snapshot(6, None)), ["6 nobody"]);
    }
}
