//! The first checker: the whole log once more through the pure state machine. Every answer is compared with what the log
//! says at its revision, every state hash that a node told with the replayed one, every watcher's story with the log's changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use batuta_statemachine::{Applied, Command, Entry, Reply, State, lock};

use super::answers;
use crate::history::{Event, Kind, Operation};
use crate::ledger::Ledger;
use crate::told::Told;

/// What the log says, put together once.
pub(super) struct Replay {
    /// What each revision changed, as watchers are told.
    pub(super) changes: BTreeMap<u64, Vec<Told>>,
    pub(super) problems: Vec<String>,
    pub(super) looked_at: String,
    /// Nothing of the log is missing: what it does not say did not happen.
    pub(super) whole: bool,
}

/// A node's word on its state.
struct Word<'a> {
    node: &'a str,
    hash: &'a str,
}

/// The replay while it goes on.
#[derive(Default)]
struct Replayer<'a> {
    state: State,
    /// Answers that are still to be compared, by revision.
    answers: HashMap<u64, Vec<&'a Operation>>,
    words: BTreeMap<u64, Vec<Word<'a>>>,
    /// Acquisitions of which a client was told that they were not executed, by the mark they carry.
    never: HashMap<&'a str, &'a Operation>,
    /// The acquisitions that came of each mark.
    effects: HashMap<String, BTreeSet<String>>,
    changes: BTreeMap<u64, Vec<Told>>,
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
            self.changes.insert(index, applied.changes.iter().map(Told::from_change).collect());
        }
    }

    /// Which acquisitions came of which request; and whether a client was told that it was not executed.
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

    /// Wrong clocks are to be seen in the log, or they were not wrong.
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
        // A key has its effect once: one mark never gets two acquisitions.
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

/// The hashes that nodes told, by applied index.
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

/// Acquisitions of which a client was told that they were not executed, by the mark they carry.
fn not_executed(operations: &[Operation]) -> HashMap<&str, &Operation> {
    let mut marks: HashMap<&str, u64> = HashMap::new();
    for operation in operations {
        *marks.entry(operation.arg("metadata")).or_default() += 1;
    }
    let told = ["no_leader", "overloaded", "shutting_down", "unreachable", "disk_full"];
    operations
        .iter()
        .filter(|operation| operation.f == "acquire" && operation.end == Kind::Fail)
        .filter(|operation| told.contains(&operation.error.as_str()) && marks[operation.arg("metadata")] == 1)
        .map(|operation| (operation.arg("metadata"), operation))
        .collect()
}
