//! The report of mode `observe`: which calls would be denied, by whom, for what.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use batuta_statemachine::{Name, Namespace, Permission};

/// The most lines of a report. Denials beyond them are counted together.
const LINES_MAX: usize = 10_000;

/// What a line of the report counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// The principal, in words.
    pub principal: String,
    /// The permission that it lacks.
    pub permission: Permission,
    /// The namespace.
    pub namespace: Namespace,
    /// The first segment of the name with `/**`, or the name when it has one segment; `None` for calls without a name.
    pub names: Option<String>,
}

/// Counts calls that would be denied. The counts are kept in memory and end with the process.
#[derive(Debug, Default)]
pub struct Report(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    lines: BTreeMap<Missing, u64>,
    others: u64,
}

impl Report {
    /// Counts a call that would be denied.
    pub fn count(
        &self,
        principal: String,
        permission: Permission,
        namespace: &Namespace,
        name: Option<&Name>,
    ) {
        let names = name.map(|name| match name.as_str().split_once('/') {
            Some((first, _)) => format!("{first}/**"),
            None => name.to_string(),
        });
        let missing = Missing { principal, permission, namespace: namespace.clone(), names };
        let mut counts = self.counts();
        if counts.lines.len() >= LINES_MAX && !counts.lines.contains_key(&missing) {
            counts.others += 1;
        } else {
            *counts.lines.entry(missing).or_default() += 1;
        }
    }

    /// The lines with their counts, in order, and the number of denials that no line counts.
    #[must_use]
    pub fn lines(&self) -> (Vec<(Missing, u64)>, u64) {
        let counts = self.counts();
        (counts.lines.iter().map(|(missing, count)| (missing.clone(), *count)).collect(), counts.others)
    }

    /// Begins again: what was counted until now is forgotten.
    pub fn clear(&self) {
        *self.counts() = Counts::default();
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // No code that holds the lock can panic halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_are_counted_by_first_segment_and_bounded() {
        let report = Report::default();
        let namespace = Namespace::default();
        let count = |name: &str| {
            let name = Name::new(name).unwrap();
            report.count("user/ann".to_owned(), Permission::LockRead, &namespace, Some(&name));
        };
        count("orders/1");
        count("orders/2/x");
        count("orders");
        let (lines, others) = report.lines();
        let shown: Vec<(Option<&str>, u64)> =
            lines.iter().map(|(missing, count)| (missing.names.as_deref(), *count)).collect();
        assert_eq!((shown, others), (vec![(Some("orders"), 1), (Some("orders/**"), 2)], 0));
        for number in 0..LINES_MAX {
            count(&format!("n{number}"));
        }
        count("orders/3");
        let (lines, others) = report.lines();
        assert_eq!((lines.len(), others), (LINES_MAX, 2));
        report.clear();
        assert_eq!(report.lines(), (Vec::new(), 0));
    }
}
