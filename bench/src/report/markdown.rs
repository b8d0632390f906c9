//! Writes the reports as Markdown tables.

use std::fmt::Write as _;

use super::{Circumstances, Measured, OURS, RowReport};
use crate::figures::{Figures, Metric, Spread, spread};
use crate::limit::{Limit, Rate};
use crate::machine::Machine;
use crate::metrics::{OPS, P50, P99};

/// Formats a number with about three significant digits and separated thousands.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    if size >= 1000.0 {
        let digits = format!("{value:.0}");
        let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |rest| ("-", rest));
        let groups: Vec<&str> = digits
            .as_bytes()
            .rchunks(3)
            .rev()
            // Digits are ASCII.
            .map(|group| std::str::from_utf8(group).unwrap_or_default())
            .collect();
        return format!("{sign}{}", groups.join(","));
    }
    match size {
        0.0 => "0".to_owned(),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn cell(spread: Option<Spread>) -> String {
    match spread {
        None => "–".to_owned(),
        Some(Spread { min, median, max }) if short(min) == short(max) => short(median),
        Some(Spread { min, median, max }) => format!("{} ({}–{})", short(median), short(min), short(max)),
    }
}

fn machine_line(machine: &Machine) -> String {
    format!(
        "{}; {}; {} GiB; Linux {}; {}; commit {}; load average before: {}",
        machine.measured_at,
        machine.processors,
        machine.memory_gib,
        machine.kernel,
        machine.disk,
        machine.commit,
        machine.load_before
    )
}

/// The page of a row.
pub(super) fn row(report: &RowReport, circumstances: &Circumstances, name: &str) -> String {
    let row = report.row;
    let pairs = report.cases.iter().flat_map(|case| case.runs.values()).map(Vec::len).max().unwrap_or(0);
    let measured = |system: &str| report.cases.iter().any(|case| case.runs.contains_key(system));
    let systems: Vec<String> = circumstances
        .systems
        .iter()
        .filter(|(name, _)| measured(name))
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let mut page = format!("# {}. {}\n\n{}\n\n", row.number, row.title, row.method);
    if !circumstances.release {
        page += "**From a debug build: these figures are meaningless.**\n\n";
    }
    let columns = row.columns;
    // Writing to a String cannot fail.
    let _ = writeln!(
        page,
        "{}. {}. runs of each in turn: {pairs}, {} s a case; median (smallest–largest); ratios are taken run by run.\n",
        systems.join(", "),
        machine_line(&circumstances.machine),
        circumstances.seconds
    );
    let _ = writeln!(page, "![{}]({name}.svg)\n", row.chart.title);
    page += "| | |";
    for column in columns {
        let _ = write!(page, " {} |", column.title);
    }
    page += "\n|---|---|";
    page += &"---:|".repeat(columns.len());
    page.push('\n');
    for case in &report.cases {
        for (system, _) in &circumstances.systems {
            if let Some(runs) = case.runs.get(system) {
                page += &line(&case.name, system, columns, |metric| of(runs, metric));
            }
        }
        for peer in circumstances.peers() {
            page += &ratios(case, peer, columns).unwrap_or_default();
        }
    }
    page += &list("Failed runs, which have no figures from the failure on", &report.failures);
    page += &list("Notes on the runs", &report.notes);
    page
}

fn list(heading: &str, items: &[String]) -> String {
    if items.is_empty() {
        return String::new();
    }
    let items: Vec<String> = items.iter().map(|item| format!("- {item}\n")).collect();
    format!("\n{heading}:\n\n{}", items.concat())
}

fn of(runs: &[Option<Figures>], metric: &Metric) -> Option<Spread> {
    let there: Vec<Figures> = runs.iter().flatten().cloned().collect();
    spread(&there, metric)
}

fn ratios(case: &Measured, peer: &str, columns: &[&Metric]) -> Option<String> {
    let any = columns.iter().any(|metric| case.ratio(peer, metric).is_some());
    let both = format!("**{OURS} / {peer}**");
    any.then(|| line(&case.name, &both, columns, |metric| case.ratio(peer, metric)))
}

fn line(case: &str, system: &str, columns: &[&Metric], value: impl Fn(&Metric) -> Option<Spread>) -> String {
    let cells: Vec<String> = columns.iter().map(|metric| cell(value(metric))).collect();
    format!("| {case} | {system} | {} |\n", cells.join(" | "))
}

fn rate(rate: &Rate) -> String {
    [rate.per_s, rate.p50_ms, rate.p99_ms].map(short).join(" | ")
}

/// The page of the machine's own limits.
pub(super) fn limit(limit: &Limit, machine: &Machine) -> String {
    let mut page = format!(
        "# The disk's own limit\n\n{}.\n\nA page of 4 KiB is repeatedly written and synced with `fdatasync`, into a file that was \
         zeroed beforehand; by one writer, and by three at once, as with three nodes on one disk.\n\n\
         | writers | syncs/s, all together | p50 ms | p99 ms |\n|---:|---:|---:|---:|\n",
        machine_line(machine)
    );
    for syncs in &limit.syncs {
        let _ = writeln!(page, "| {} | {} |", syncs.writers, rate(&syncs.rate));
    }
    page += "\nGroup commit without anything around it: clients hand records of 256 B to one writer, which appends everything that waits as one \
             piece, syncs once, and answers. One process, no network, no consensus.\n\n\
             | clients | records/s | p50 ms | p99 ms |\n|---:|---:|---:|---:|\n";
    for (clients, figures) in &limit.group_commit {
        let cells = [OPS, P50, P99].map(|metric| figures.get(metric).map_or_else(|| "–".to_owned(), short));
        let _ = writeln!(page, "| {clients} | {} |", cells.join(" | "));
    }
    let cells = rate(&limit.replicated);
    let _ = write!(
        page,
        "\nReplicated writes one after the other: a client, a leader and two followers, each a thread with blocking sockets on loopback that \
         writes a page, syncs it and answers; the leader answers when one follower has answered. No protocol, no consensus, no state: what a cluster \
         on this machine can approach with one client, and in a hand-over of one lock.\n\n\
         | writes/s | p50 ms | p99 ms |\n|---:|---:|---:|\n| {cells} |\n"
    );
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{circumstances, report};

    #[test]
    fn numbers_are_short() {
        for (value, expected) in [
            (0.0, "0"),
            (0.01234, "0.012"),
            (1.0, "1.00"),
            (12.34, "12.3"),
            (123.4, "123"),
            (1234.5, "1,234"),
            (1_234_567.0, "1,234,567"),
            (-1234.0, "-1,234"),
        ] {
            assert_eq!(short(value), expected);
        }
    }

    #[test]
    fn every_table_line_has_every_column() {
        let page = row(&report(), &circumstances(), "row-01");
        let lines: Vec<&str> = page.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(lines.len(), 5, "{page}");
        let columns = |line: &str| line.matches('|').count();
        assert!(lines.iter().all(|line| columns(line) == columns(lines[0])), "{page}");
        assert!(lines[4].contains("5.09 (4.00–6.17)"), "{page}");
        assert!(page.contains("| 64 <clients> | etcd | 150 (100–200) |"), "{page}");
        assert!(page.contains("pair 3, etcd: gone"));
    }
}
