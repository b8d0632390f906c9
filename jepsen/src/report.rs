//! The verdict, for people and for scripts.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::check::{self, Findings};
use crate::error::{Error, Result};
use crate::history;

/// The file that holds what the run was and what it found.
pub const REPORT: &str = "report.txt";
/// The file that holds the history.
pub const HISTORY: &str = "history.jsonl";
/// Problems shown of each check; the first ones say most.
const SHOWN_MAX: usize = 5;

/// Writes the report beside the history and prints it; gives whether everything held.
///
/// # Errors
/// When it can not be written.
pub fn conclude(dir: &Path, heading: &str, findings: &Findings) -> Result<bool> {
    let mut text = format!("{heading}\n");
    for line in &findings.looked_at {
        // Writing to a text can not fail.
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

/// Checks a kept run again.
///
/// # Errors
/// When it is not all there.
pub fn check_again(dir: &Path) -> Result<bool> {
    let events = history::read(&dir.join(HISTORY))?;
    let operations = history::operations(&events);
    let findings = check::check(dir, &events, &operations, 0.0)?;
    conclude(dir, "checked again", &findings)
}
