//! Replays the whole log through the pure state machine. Compares every answer with the log at its revision, every
//! state hash that a node reported with the replayed state, and the changes that every watcher saw with those of the log.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use batuta_statemachine::{Applied, Command, Entry, Reply, State, lock};

use super::answers;
use crate::history::{Event, Kind, Operation};
use crate::ledger::Ledger;
use crate::watch_event::WatchEvent;

/// The result of replaying the log.
pub(super) struct Replay {
    /// The changes of each revision, as watchers see them.
    pub(super) changes: BTreeMap<u64, Vec<WatchEvent>>,
    pub(super) problems: Vec<String>,
    pub(super) looked_at: String,
    /// Whether the log has no gap, so that nothing happened that it does not contain.
    pub(super) whole: bool,
}

/// A node's report of its state.
struct Word<'a> {
    node: &'a str,
    hash: &'a str,
}

/// A replay in progress.
#[derive(Default)]
struct Replayer<'a> {
    state: State,
    /// Answers not yet compared, by revision.
    answers: HashMap<u64, Vec<&'a Operation>>,
    words: BTreeMap<u64, Vec<Word<'a>>>,
    /// Acquisitions that a client was told were not executed, by their mark.
    never: HashMap<&'a str, &'a Operation>,
    /// The acquisitions with each mark.
    effects: HashMap<String, BTreeSet<String>>,
    changes: BTreeMap<u64, Vec<WatchEvent>>,
    problems: Vec<String>,
    compared: u64,
    hashes: u64,
    wall_ms: u64,
    wall_jumps: u64,
}

pub(super) fn replay(ledger: &Ledger, events: &[Event], operations: &[Operation]) -> Replay {
    let mut replayer = Replayer {
        words: words(events),
        never: not_executed(operations),
        problems: ledger.differences.clone(),
        ..Replayer::default()
    };
    for operation in operations.iter().filter(|operation| operation.end == Kind::Ok) {
        match operation.revision() {
            Some(revision) => replayer.answers.entry(revision).or_default().push(operation),
            None => replayer.problems.push(format!("an answer without a revision: {}", operation.describe())),
        }
    }
    let mut expected = None;
    let mut whole = true;
    for (&index, decided) in ledger.entries() {
        if let Some(expected) = expected.filter(|expected| *expected != index) {
            let hole = format!("entries {expected} to {} of the log were not gathered", index - 1);
            replayer.problems.push(format!("{hole}: nothing behind them can be compared"));
            whole = false;
            break;
        }
        expected = Some(index + 1);
        replayer.apply(index, decided.entry.as_deref());
    }
    replayer.finish(ledger, whole)
}

impl Replayer<'_> {
    fn apply(&mut self, index: u64, entry: Option<&Entry>) {
        let applied = if let Some(entry) = entry {
            let applied = self.state.apply(index, entry);
            self.note_effects(index, entry, &applied);
            self.look_at_the_wall(entry.stamp.wall_ms);
            applied
        } else {
            self.state.advance(index);
            Applied::default()
        };
        let at = answers::At { revision: index, entry, applied: &applied, state: &self.state };
        for operation in self.answers.remove(&index).unwrap_or_default() {
            self.compared += 1;
            if let Err(problem) = answers::compare(operation, &at) {
                self.problems.push(format!("{problem}: {}", operation.describe()));
            }
        }
        for Word { node, hash: told } in self.words.get(&index).into_iter().flatten() {
            self.hashes += 1;
            let hash = format!("{:016x}", self.state.hash());
            if *told != hash {
                self.problems
                    .push(format!("{node} says its state at {index} is {told}; the log gives {hash}"));
            }
        }
        if !applied.changes.is_empty() {
            self.changes.insert(index, applied.changes.iter().map(WatchEvent::from_change).collect());
        }
    }

    /// Records which acquisitions each request caused, and reports those that a client was told were not executed.
    fn note_effects(&mut self, index: u64, entry: &Entry, applied: &Applied) {
        for (request, outcome) in entry.requests.iter().zip(&applied.outcomes) {
            let Command::Lock(lock::Command::Acquire(acquire)) = &request.command else { continue };
            if let Some(operation) = self.never.get(acquire.metadata.as_str()) {
                let told = "its client was told that it was not executed";
                self.problems.push(format!("{told}, entry {index} has it: {}", operation.describe()));
            }
            let lock_id = match outcome {
                Ok(Reply::Lock(lock::Reply::Acquired(lock::Acquired::Granted(grant)))) => grant.lock_id,
                Ok(Reply::Lock(lock::Reply::Acquired(lock::Acquired::Queued(wait)))) => wait.lock_id,
                _ => continue,
            };
            if !acquire.metadata.is_empty() {
                self.effects.entry(acquire.metadata.clone()).or_default().insert(lock_id.to_string());
            }
        }
    }

    /// Counts jumps of the wall clock, to show that wrong clocks had an effect.
    fn look_at_the_wall(&mut self, wall_ms: u64) {
        const JUMP_MS: u64 = 1500;
        if wall_ms != 0 {
            let jumped = self.wall_ms != 0
                && (wall_ms + JUMP_MS < self.wall_ms || wall_ms > self.wall_ms + 100 * JUMP_MS);
            self.wall_jumps += u64::from(jumped);
            self.wall_ms = wall_ms;
        }
    }

    fn finish(mut self, ledger: &Ledger, whole: bool) -> Replay {
        if let Err(problem) = self.state.validate() {
            self.problems.push(format!("the final state breaks an invariant: {problem}"));
        }
        for operation in self.answers.into_values().flatten().filter(|_| whole) {
            let told = "an answer from a revision that the log does not have";
            self.problems.push(format!("{told}: {}", operation.describe()));
        }
        // A key has its effect once, so one mark never has two acquisitions.
        for (mark, lock_ids) in self.effects.iter().filter(|(_, lock_ids)| lock_ids.len() > 1) {
            self.problems.push(format!("request {mark:?} had its effect more than once: {lock_ids:?}"));
        }
        let terms: BTreeSet<u64> = ledger.entries().values().map(|decided| decided.term).collect();
        let looked_at = format!(
            "{} entries of {} terms, {} answers compared, {} state hashes, {} acquisitions that must not be there, {} jumps of the wall clock",
            ledger.entries().len(),
            terms.len(),
            self.compared,
            self.hashes,
            self.never.len(),
            self.wall_jumps,
        );
        Replay { changes: self.changes, problems: self.problems, looked_at, whole }
    }
}

/// The state hashes that nodes reported, by applied index.
fn words(events: &[Event]) -> BTreeMap<u64, Vec<Word<'_>>> {
    let mut words: BTreeMap<u64, Vec<Word<'_>>> = BTreeMap::new();
    for event in events.iter().filter(|event| event.kind == Kind::Status) {
        if let (Some(index), Some(hash)) =
            (event.value["applied_index"].as_u64(), event.value["state_hash"].as_str())
        {
            words.entry(index).or_default().push(Word { node: &event.node, hash });
        }
    }
    words
}

/// Acquisitions that a client was told were not executed, by their mark.
fn not_executed(operations: &[Operation]) -> HashMap<&str, &Operation> {
    let mut marks: HashMap<&str, u64> = HashMap::new();
    for operation in operations {
        *marks.entry(operation.mark()).or_default() += 1;
    }
    let told = ["no_leader", "overloaded", "shutting_down", "unreachable", "disk_full"];
    operations
        .iter()
        .filter(|operation| !operation.mark().is_empty() && operation.end == Kind::Fail)
        .filter(|operation| told.contains(&operation.error.as_str()) && marks[operation.mark()] == 1)
        .map(|operation| (operation.mark(), operation))
        .collect()
}
