//! Writes the verdict of a run, for people and for scripts.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::check::{self, Findings};
use crate::error::{Error, Result};
use crate::history::{self, Event, Kind, Operation};

/// The file with the command line of the run and its findings.
pub const REPORT: &str = "report.txt";
/// The file with the history.
pub const HISTORY: &str = "history.jsonl";
/// How many problems of each check are shown; the first ones say most.
const SHOWN_MAX: usize = 5;

/// Writes the report next to the history and prints it. Returns whether every promise held.
///
/// # Errors
/// When the report cannot be written.
pub fn conclude(dir: &Path, heading: &str, findings: &Findings) -> Result<bool> {
    let mut text = format!("{heading}\n");
    for line in &findings.looked_at {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "  {line}");
    }
    let mut shown = std::collections::BTreeMap::new();
    for problem in &findings.problems {
        let count = shown.entry(problem.check).or_insert(0_usize);
        *count += 1;
        if *count <= SHOWN_MAX {
            let _ = writeln!(text, "PROBLEM {}: {}", problem.check, problem.detail);
        }
    }
    for (check, count) in shown.iter().filter(|(_, count)| **count > SHOWN_MAX) {
        let _ = writeln!(text, "PROBLEM {check}: and {} more like these", count - SHOWN_MAX);
    }
    let held = findings.problems.is_empty();
    let verdict = if held { "everything held" } else { "FAILED" };
    let _ = writeln!(text, "VERDICT {verdict}: {}", dir.display());
    let path = dir.join(REPORT);
    fs::write(&path, &text).map_err(Error::io(path.display().to_string()))?;
    print!("{text}");
    Ok(held)
}

/// Writes the operations that the referee's findings are about, with the faults around them, one per line.
///
/// # Errors
/// When the file cannot be written.
pub fn minimal(dir: &Path, events: &[Event], operations: &[Operation], findings: &Findings) -> Result<()> {
    let referee = findings.problems.iter().filter(|problem| problem.check == "porcupine");
    let names: Vec<&str> = referee.filter_map(|problem| problem.detail.split(": ").next()).collect();
    let mut text = String::new();
    for name in names {
        let plain = name.trim_start_matches("register ");
        let locks: Vec<&str> = operations
            .iter()
            .filter(|operation| operation.is_about(plain))
            .map(|operation| operation.answered("lock_id"))
            .filter(|lock_id| !lock_id.is_empty())
            .collect();
        let about = operations
            .iter()
            .filter(|operation| operation.is_about(plain) || locks.contains(&operation.arg("lock_id")));
        let mut lines: Vec<(u64, String)> =
            about.map(|operation| (operation.invoked, operation.describe())).collect();
        let (first, last) = (lines.iter().map(|line| line.0).min(), lines.iter().map(|line| line.0).max());
        let around = first.unwrap_or_default().saturating_sub(5_000_000_000)..=last.unwrap_or_default();
        let faults = events.iter().filter(|event| event.kind == Kind::Nemesis && around.contains(&event.t));
        lines.extend(faults.map(|event| (event.t, format!("--- {}", event.note))));
        lines.sort();
        // Writing to a text cannot fail.
        let _ = writeln!(text, "== {name}");
        for (at, line) in lines {
            let _ = writeln!(text, "{:9.3} {line}", std::time::Duration::from_nanos(at).as_secs_f64());
        }
    }
    if text.is_empty() {
        return Ok(());
    }
    let path = dir.join("minimal.txt");
    fs::write(&path, text).map_err(Error::io(path.display().to_string()))
}

/// Checks a kept run again, and writes a new report.
///
/// # Errors
/// When a file of the run is missing.
pub fn check_again(dir: &Path) -> Result<bool> {
    let events = history::read(&dir.join(HISTORY))?;
    let operations = history::operations(&events);
    let findings = check::check(dir, &events, &operations, 0.0)?;
    minimal(dir, &events, &operations, &findings)?;
    conclude(dir, "checked again", &findings)
}
