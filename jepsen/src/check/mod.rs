//! Checks the promises that must hold whatever the nemesis broke.

mod access;
mod answers;
mod keepers;
mod logs;
mod order;
mod referee;
mod replay;
mod retries;
mod sessions;
mod stores;
mod story;
mod tokens;
mod watched;

use std::path::Path;

use crate::error::Result;
use crate::history::{Event, Kind, Operation};
use crate::ledger::Ledger;
use crate::watch;

pub use referee::build as build_referee;
pub use stores::NOTE as STORES;

/// The note that says which part of a TTL is promised in this run.
pub const PROMISE: &str = "promise";
/// The note that says up to which revision every watcher must get.
pub const GOAL: &str = "goal";

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The check that found it.
    pub check: &'static str,
    /// The finding, for people.
    pub detail: String,
}

impl Problem {
    /// Makes a problem that a check found.
    #[must_use]
    pub fn new(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, detail: detail.into() }
    }
}

/// The results of the checks, for the report.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The broken promises.
    pub problems: Vec<Problem>,
    /// How much each check compared, for people: a check that compared nothing proves nothing.
    pub looked_at: Vec<String>,
}

impl Findings {
    fn add(&mut self, check: &'static str, problems: Vec<String>, looked_at: &str) {
        self.problems.extend(problems.into_iter().map(|detail| Problem::new(check, detail)));
        self.looked_at.push(format!("{check}: {looked_at}"));
    }
}

/// Checks a run from the files in its directory.
///
/// # Errors
/// When a file is missing, or the referee cannot be run.
pub fn check(dir: &Path, events: &[Event], operations: &[Operation], rate_min: f64) -> Result<Findings> {
    let mut findings = Findings::default();
    let (problems, looked_at) = rate(events, operations, rate_min);
    findings.add("rate", problems, &looked_at);
    let (problems, looked_at) = order::check(operations);
    findings.add("order", problems, &looked_at);
    let (problems, looked_at) = tokens::check(operations);
    findings.add("tokens", problems, &looked_at);
    let (problems, looked_at) = sessions::check(events, operations, ttl_percent(events));
    findings.add("sessions", problems, &looked_at);
    if let Some((problems, looked_at)) = keepers::check(events, operations, ttl_percent(events)) {
        findings.add("keepers", problems, &looked_at);
    }
    if let Some((problems, looked_at)) = access::check(events, operations) {
        findings.add("access", problems, &looked_at);
    }
    let (problems, looked_at) = retries::check(operations);
    findings.add("retries", problems, &looked_at);
    if let Some((problems, looked_at)) = stores::check(events) {
        findings.add("stores", problems, &looked_at);
    }
    let replay = replay::replay(&Ledger::load(dir)?, events, operations);
    findings.add("replay", replay.problems, &replay.looked_at);
    let (problems, looked_at) = story::check(&replay.changes);
    findings.add("story", problems, &looked_at);
    if replay.whole {
        let (problems, looked_at) = watched::check(&watch::load(dir)?, &replay.changes, goal(events));
        findings.add("watch", problems, &looked_at);
    }
    let (problems, looked_at) = logs::check(dir)?;
    findings.add("logs", problems, &looked_at);
    let (problems, looked_at) = referee::check(dir)?;
    findings.add("porcupine", problems, &looked_at);
    Ok(findings)
}

/// The revision up to which every watcher must get.
fn goal(events: &[Event]) -> u64 {
    events
        .iter()
        .filter(|event| event.f == GOAL)
        .filter_map(|event| event.value["revision"].as_u64())
        .max()
        .unwrap_or_default()
}

/// The part of a TTL, in percent, that nodes with fast clocks promise.
fn ttl_percent(events: &[Event]) -> u64 {
    let told = events.iter().filter(|event| event.f == PROMISE);
    told.filter_map(|event| event.value["ttl_percent"].as_u64()).min().unwrap_or(100)
}

/// Checks that the run did enough: an idle run proves nothing.
fn rate(events: &[Event], operations: &[Operation], rate_min: f64) -> (Vec<String>, String) {
    let last = events.iter().map(|event| event.t).max().unwrap_or_default();
    let seconds = std::time::Duration::from_nanos(last).as_secs_f64();
    let count = |kind| operations.iter().filter(|operation| operation.end == kind).count();
    let (ok, fail, info) = (count(Kind::Ok), count(Kind::Fail), count(Kind::Info));
    // A float counts the operations of a run exactly.
    #[expect(clippy::cast_precision_loss, reason = "counts of one run")]
    let per_second = ok as f64 / seconds.max(1.0);
    let looked_at = format!(
        "{ok} done, {fail} refused, {info} unknown in {seconds:.0} s: {per_second:.1} done in a second"
    );
    let mut problems = Vec::new();
    if per_second < rate_min {
        problems.push(format!("{looked_at}; at least {rate_min} are needed for the run to prove anything"));
    }
    (problems, looked_at)
}
