//! The first checker: the whole log once more through the pure state machine. Every answer is compared with what the log
//! says at its revision, every state hash that a node told with the replayed one, every watcher's story with the log's changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use batuta_statemachine::{Applied, Command, Entry, Reply, State};

use super::answers;
use crate::history::{Event, Kind, Operation};
use crate::ledger::Ledger;
use crate::told::Told;

/// What the log says, put together once.
pub(super) struct Replay {
    /// What each revision changed, as watchers are told.
    pub(super) changes: BTreeMap<u64, Vec<Told>>,
    /// Cluster time of each revision, milliseconds.
    pub(super) now_ms: BTreeMap<u64, u64>,
    pub(super) problems: Vec<String>,
    pub(super) looked_at: String,
}

/// A node's word on its state.
struct Word<'a> {
    node: &'a str,
    hash: &'a str,
}

pub(super) fn replay(ledger: &Ledger, events: &[Event], operations: &[Operation]) -> Replay {
    let mut replay = Replay {
        changes: BTreeMap::new(),
        now_ms: BTreeMap::new(),
        problems: ledger.differences.clone(),
        looked_at: String::new(),
    };
    let mut answers: HashMap<u64, Vec<&Operation>> = HashMap::new();
    for operation in operations.iter().filter(|operation| operation.end == Kind::Ok) {
        match operation.revision() {
            Some(revision) => answers.entry(revision).or_default().push(operation),
            None => replay.problems.push(format!("an answer without a revision: {}", operation.describe())),
        }
    }
    let words = words(events);
    let never = not_executed(operations);
    let (mut state, mut expected) = (State::default(), None);
    let (mut compared, mut hashes) = (0, 0);
    for (&index, decided) in ledger.entries() {
        if expected.is_some_and(|expected| expected != index) {
            let hole = format!(
                "entries {} to {} of the log were not gathered",
                expected.unwrap_or_default(),
                index - 1
            );
            replay.problems.push(format!("{hole}: nothing behind them can be compared"));
            break;
        }
        expected = Some(index + 1);
        let applied = match &decided.entry {
            Some(entry) => {
                replay.problems.extend(executed_all_the_same(index, entry, &never));
                state.apply(index, entry)
            }
            None => {
                state.advance(index);
                Applied::default()
            }
        };
        replay.now_ms.insert(index, state.now_ms());
        let at = answers::At {
            revision: index,
            entry: decided.entry.as_deref(),
            applied: &applied,
            state: &state,
        };
        for operation in answers.remove(&index).unwrap_or_default() {
            compared += 1;
            if let Err(problem) = answers::compare(operation, &at) {
                replay.problems.push(format!("{problem}: {}", operation.describe()));
            }
        }
        for word in words.get(&index).into_iter().flatten() {
            hashes += 1;
            let hash = format!("{:016x}", state.hash());
            if word.hash != hash {
                let Word { node, hash: told } = word;
                replay
                    .problems
                    .push(format!("{node} says its state at {index} is {told}; the log gives {hash}"));
            }
        }
        if !applied.changes.is_empty() {
            replay.changes.insert(index, applied.changes.iter().map(Told::from_change).collect());
        }
    }
    if let Err(problem) = state.validate() {
        replay.problems.push(format!("the final state breaks an invariant: {problem}"));
    }
    for operation in answers.into_values().flatten() {
        replay
            .problems
            .push(format!("an answer from a revision that the log does not have: {}", operation.describe()));
    }
    replay.problems.extend(effects(ledger));
    let terms: BTreeSet<u64> = ledger.entries().values().map(|decided| decided.term).collect();
    replay.looked_at = format!(
        "{} entries of {} terms, {compared} answers compared, {hashes} state hashes, {} acquisitions that must not be there",
        ledger.entries().len(),
        terms.len(),
        never.len()
    );
    replay
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

fn executed_all_the_same(index: u64, entry: &Entry, never: &HashMap<&str, &Operation>) -> Vec<String> {
    let acquires = entry.requests.iter().filter_map(|request| match &request.command {
        Command::Acquire(acquire) => never.get(acquire.metadata.as_str()),
        _ => None,
    });
    acquires
        .map(|operation| {
            format!(
                "its client was told that it was not executed, entry {index} has it: {}",
                operation.describe()
            )
        })
        .collect()
}

/// A key has its effect once: acquisitions with one mark never get two grants.
fn effects(ledger: &Ledger) -> Vec<String> {
    let mut state = State::default();
    let mut granted: HashMap<String, BTreeSet<String>> = HashMap::new();
    for (&index, decided) in ledger.entries() {
        let Some(entry) = &decided.entry else {
            state.advance(index);
            continue;
        };
        let applied = state.apply(index, entry);
        for (request, outcome) in entry.requests.iter().zip(&applied.outcomes) {
            let lock_id = match outcome {
                Ok(Reply::Granted(grant)) => grant.lock_id.to_string(),
                Ok(Reply::Queued(wait)) => wait.lock_id.to_string(),
                _ => continue,
            };
            if let Command::Acquire(acquire) = &request.command
                && !acquire.metadata.is_empty()
            {
                granted.entry(acquire.metadata.clone()).or_default().insert(lock_id);
            }
        }
    }
    let twice = granted.into_iter().filter(|(_, lock_ids)| lock_ids.len() > 1);
    twice
        .map(|(mark, lock_ids)| format!("request {mark} had its effect more than once: {lock_ids:?}"))
        .collect()
}
