//! Writes the measurements as JSON, as a table and as a chart.

mod chart;
mod markdown;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::figures::{Figures, Metric, Spread, ratio};
use crate::limit::Limit;
use crate::machine::Machine;
use crate::rows::{Case, Row};
use crate::system::Name;

/// The system that the others are compared with.
const OURS: &str = Name::Batuta.word();

/// The facts about a measurement that all its reports state.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Circumstances {
    /// The machine and the time.
    pub(crate) machine: Machine,
    /// The systems, in the order they ran, and their versions.
    pub(crate) systems: Vec<(&'static str, String)>,
    /// Seconds each case ran.
    pub(crate) seconds: f64,
    /// Whether the programs are optimised; figures of a debug build are meaningless.
    pub(crate) release: bool,
}

/// A case: the figures of each system in each pair, `None` where the run failed.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    /// The name of the case inside the row.
    pub(crate) name: String,
    /// The runs by system; every list has one item for each pair.
    pub(crate) runs: BTreeMap<&'static str, Vec<Option<Figures>>>,
}

impl Measured {
    /// The ratio Batuta / peer of a metric, pair by pair.
    fn ratio(&self, peer: &str, metric: &Metric) -> Option<Spread> {
        ratio(self.runs.get(OURS)?, self.runs.get(peer)?, metric)
    }
}

impl Circumstances {
    /// The systems that Batuta is compared with.
    fn peers(&self) -> impl Iterator<Item = &'static str> {
        self.systems.iter().map(|(system, _)| *system).filter(|system| *system != OURS)
    }
}

/// A row: its cases and its failures.
pub(crate) struct RowReport {
    /// The row's definition.
    pub(crate) row: &'static Row,
    /// The cases, in the order they were measured.
    pub(crate) cases: Vec<Measured>,
    /// Runs that did not complete, with the reason.
    pub(crate) failures: Vec<String>,
    /// Notes for readers about runs with figures.
    pub(crate) notes: Vec<String>,
}

impl RowReport {
    /// A report without figures.
    pub(crate) fn new(row: &'static Row) -> Self {
        Self { row, cases: Vec::new(), failures: Vec::new(), notes: Vec::new() }
    }

    /// Adds the figures of a system in a pair, counted from 0.
    pub(crate) fn add(&mut self, system: &'static str, pair: usize, case: Case) {
        let place = self.cases.iter().position(|measured| measured.name == case.name).unwrap_or_else(|| {
            self.cases.push(Measured { name: case.name, runs: BTreeMap::new() });
            self.cases.len() - 1
        });
        let runs = self.cases[place].runs.entry(system).or_default();
        runs.resize(runs.len().max(pair + 1), None);
        runs[pair] = Some(case.figures);
    }

    /// Writes `row-NN.json`, `row-NN.md` and `row-NN.svg`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn write(&self, out: &Path, circumstances: &Circumstances) -> Result<()> {
        let name = format!("row-{:02}", self.row.number);
        write_json(out, &name, &self.json(circumstances))?;
        write(&out.join(format!("{name}.md")), &markdown::row(self, circumstances, &name))?;
        write(&out.join(format!("{name}.svg")), &chart::row(self))
    }

    fn json<'a>(&'a self, circumstances: &'a Circumstances) -> Json<'a> {
        let of = |peer, case: &Measured| {
            let ratios =
                self.row.columns.iter().filter_map(|metric| Some((metric.key, case.ratio(peer, metric)?)));
            ratios.collect::<BTreeMap<_, _>>()
        };
        let batuta_to = circumstances.peers().map(|peer| {
            let cases = self.cases.iter().map(|case| (case.name.as_str(), of(peer, case)));
            (peer, cases.filter(|(_, ratios)| !ratios.is_empty()).collect())
        });
        Json {
            row: self.row.number,
            title: self.row.title,
            method: self.row.method,
            circumstances,
            cases: &self.cases,
            batuta_to: batuta_to.collect(),
            failures: &self.failures,
            notes: &self.notes,
        }
    }
}

#[derive(Serialize)]
struct Json<'a> {
    row: u8,
    title: &'a str,
    method: &'a str,
    circumstances: &'a Circumstances,
    cases: &'a [Measured],
    /// The ratios by peer, case and metric.
    batuta_to: BTreeMap<&'a str, BTreeMap<&'a str, BTreeMap<&'a str, Spread>>>,
    failures: &'a [String],
    notes: &'a [String],
}

/// Writes `limit.json` and `limit.md`.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write_limit(out: &Path, limit: &Limit, machine: &Machine) -> Result<()> {
    write_json(out, "limit", &serde_json::json!({ "machine": machine, "limit": limit }))?;
    write(&out.join("limit.md"), &markdown::limit(limit, machine))
}

fn write_json(out: &Path, name: &str, value: &impl Serialize) -> Result<()> {
    write(&out.join(format!("{name}.json")), &(serde_json::to_string_pretty(value)? + "\n"))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Error::file(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::OPS;
    use crate::rows::ROWS;

    pub(super) fn report() -> RowReport {
        let mut report = RowReport::new(&ROWS[0]);
        for (system, pair, value) in
            [("etcd", 0, 100.0), ("batuta", 0, 400.0), ("etcd", 1, 200.0), ("batuta", 1, 1234.5)]
        {
            let mut figures = Figures::default();
            figures.set(OPS, value);
            report.add(system, pair, Case { row: 1, name: "64 <clients>".to_owned(), figures });
        }
        report.failures.push("pair 3, etcd: gone".to_owned());
        report
    }

    pub(super) fn circumstances() -> Circumstances {
        let machine = Machine::here(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        let systems = vec![("etcd", "3.6".to_owned()), ("batuta", "0.1".to_owned())];
        Circumstances { machine, systems, seconds: 5.0, release: true }
    }

    #[test]
    fn a_row_is_written_whole() {
        let out = tempfile::tempdir().unwrap();
        report().write(out.path(), &circumstances()).unwrap();
        let text = fs::read_to_string(out.path().join("row-01.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let ratio = &json["batuta_to"]["etcd"]["64 <clients>"]["ops_per_s"];
        assert_eq!(ratio["min"], 4.0);
        assert_eq!(json["cases"][0]["runs"]["batuta"][1]["ops_per_s"], 1234.5);
        for name in ["row-01.md", "row-01.svg"] {
            assert!(fs::metadata(out.path().join(name)).unwrap().len() > 0);
        }
    }

    #[test]
    fn failed_pair_keeps_its_place() {
        let mut report = RowReport::new(&ROWS[0]);
        report.add("etcd", 1, Case { row: 1, name: "a".to_owned(), figures: Figures::default() });
        let runs = &report.cases[0].runs["etcd"];
        assert!(runs.len() == 2 && runs[0].is_none() && runs[1].is_some());
    }
}
