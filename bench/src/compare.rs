//! `bench compare`: runs every row, system after system, pair after pair.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use crate::batuta::{Batuta, BatutaSecured};
use crate::drive::Timing;
use crate::error::{Error, Result};
use crate::etcd::Etcd;
use crate::limit;
use crate::machine::Machine;
use crate::meter::Device;
use crate::programs;
use crate::redis::Redis;
use crate::report::{Circumstances, RowReport, write_limit};
use crate::rows::{Case, Cases, Plan, ROWS, run};
use crate::system::{Name, Setup, System};
use crate::zookeeper::Zookeeper;

/// A run that takes longer than this is aborted.
const RUN_MAX: Duration = Duration::from_mins(30);
/// The same limit for rows 8 and 9.
const SIZE_RUN_MAX: Duration = Duration::from_mins(90);

/// Locations of data and reports, for every subcommand.
#[derive(Clone, Debug, Args)]
pub(crate) struct Places {
    /// Directory on the disk to measure, for the servers' data; everything created in it is removed
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench"))]
    data: PathBuf,
    /// Directory for the reports
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/performance"))]
    out: PathBuf,
    /// Seconds that each case runs, after a warm-up of half that time, at most a second
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

impl Places {
    fn make(&self) -> Result<()> {
        if !(0.01..=3600.0).contains(&self.seconds) {
            return Err(Error::other("--seconds must be from 0.01 to 3600"));
        }
        for directory in [&self.data, &self.out] {
            std::fs::create_dir_all(directory).map_err(Error::file(directory))?;
        }
        Ok(())
    }

    fn timing(&self) -> Timing {
        let measure = Duration::from_secs_f64(self.seconds);
        Timing { warm: (measure / 2).min(Duration::from_secs(1)), measure }
    }
}

/// Options of `bench compare`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    places: Places,
    /// Rows, 1 to 10
    #[arg(long, value_delimiter = ',', default_value = "1,2,3,4,5,6,7,8,9,10")]
    rows: Vec<u8>,
    /// Runs of each system, in alternation
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Runs of each system in row 7: one kill each
    #[arg(long, default_value_t = 10)]
    kills: usize,
    /// Most runs of each system in rows 8 and 9: taking a million locks takes minutes
    #[arg(long, default_value_t = 1)]
    size_pairs: usize,
    /// Most locks held in rows 8 and 9; measured at 1000, 10000, 100000 and 1000000
    #[arg(long, default_value_t = 1_000_000)]
    locks_max: usize,
    /// Numbers of live sessions in row 5
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,50000")]
    sessions: Vec<usize>,
    /// Seconds the sessions are observed; without a keep-alive they live two thirds of this
    #[arg(long, default_value_t = 45)]
    session_seconds: u64,
    /// Systems to measure, in this order; not given = zookeeper,etcd,batuta,redis, without zookeeper and
    /// redis when not installed. batuta-secured is batuta with access enforced and a token in every call
    #[arg(long, value_delimiter = ',')]
    systems: Option<Vec<Name>>,
    /// The program batuta, also of batuta-secured; not given = the one beside this program, which cargo run builds first
    #[arg(long)]
    batuta: Option<PathBuf>,
    /// The program etcd; not given = the one built by scripts/bench, or the one on the path
    #[arg(long)]
    etcd: Option<PathBuf>,
    /// The program redis-server; not given = the one installed by scripts/bench, or the one on the path
    #[arg(long)]
    redis: Option<PathBuf>,
    /// ZooKeeper's jar, whose manifest names the other jars it needs; not given = the jar of Debian's package
    #[arg(long)]
    zookeeper: Option<PathBuf>,
}

impl Options {
    /// The program of each system to measure, in the order of their turns.
    ///
    /// # Errors
    /// When the program of a requested system, of etcd or of Batuta is missing.
    fn programs(&self) -> Result<Vec<(Name, PathBuf)>> {
        let mut programs = Vec::new();
        for &system in self.systems.as_deref().unwrap_or(&Name::USUAL) {
            let named = match system {
                Name::Zookeeper => &self.zookeeper,
                Name::Etcd => &self.etcd,
                Name::Batuta | Name::BatutaSecured => &self.batuta,
                Name::Redis => &self.redis,
            };
            let needed = self.systems.is_some() || matches!(system, Name::Etcd | Name::Batuta);
            match programs::find(system, named.clone()) {
                Ok(program) => programs.push((system, program)),
                Err(error) if needed => return Err(error),
                Err(_) => {
                    eprintln!("{system} is not measured: it is not installed (scripts/bench installs it)");
                }
            }
        }
        Ok(programs)
    }
}

/// Measures the disk alone and writes the report.
///
/// # Errors
/// When the disk cannot be measured, or the report cannot be written.
pub(crate) async fn limit(places: &Places) -> Result<()> {
    places.make()?;
    let machine = Machine::here(&places.data)?;
    machine.needs_a_disk()?;
    measure_limit(places, &machine).await
}

async fn measure_limit(places: &Places, machine: &Machine) -> Result<()> {
    eprintln!("limit: the disk alone");
    let limit = limit::measure(&places.data, places.timing()).await?;
    write_limit(&places.out, &limit, machine)
}

/// Measures and writes the reports; a row is written as soon as it is complete.
///
/// # Errors
/// When a program is missing, or a report cannot be written. A failed run is noted in the report.
pub(crate) async fn compare(options: &Options) -> Result<()> {
    options.places.make()?;
    check(options)?;
    let programs = options.programs()?;
    let mut systems = Vec::new();
    for (system, program) in &programs {
        systems.push((system.word(), programs::version(*system, program)?));
    }
    let machine = Machine::here(&options.places.data)?;
    machine.needs_a_disk()?;
    measure_limit(&options.places, &machine).await?;
    let plan = Plan {
        device: Device::of(&options.places.data)?,
        setup: Setup { programs, data: options.places.data.clone() },
        timing: options.places.timing(),
        sessions: options.sessions.clone(),
        session_hold: Duration::from_secs(options.session_seconds),
        locks_max: options.locks_max,
    };
    let release = !cfg!(debug_assertions);
    let circumstances = Circumstances { machine, systems, seconds: options.places.seconds, release };
    let mut failed = 0;
    for group in groups(&options.rows) {
        let reports = measure(&group, options, &plan).await;
        for report in &reports {
            failed += report.failures.len();
            report.write(&options.places.out, &circumstances)?;
        }
    }
    say_where(&options.places.out, failed)
}

fn say_where(out: &Path, failed: usize) -> Result<()> {
    let out = out.canonicalize().map_err(Error::file(out))?;
    eprintln!("reports are in {}", out.display());
    if failed == 0 {
        Ok(())
    } else {
        Err(Error::other(format!("{failed} runs failed; the reports say which")))
    }
}

fn check(options: &Options) -> Result<()> {
    if let Some(row) = options.rows.iter().find(|row| !(1..=10).contains(*row)) {
        return Err(Error::other(format!("there is no row {row}; there are 1 to 10")));
    }
    if [options.pairs, options.size_pairs, options.kills].contains(&0) {
        return Err(Error::other("--pairs, --size-pairs and --kills must be at least 1"));
    }
    if options.session_seconds < 5 || options.sessions.contains(&0) {
        return Err(Error::other("--session-seconds must be at least 5, --sessions at least 1"));
    }
    if options.locks_max < 1000 {
        return Err(Error::other("--locks-max must be at least 1000"));
    }
    Ok(())
}

/// Groups the rows that share their clusters, which are 8 and 9.
fn groups(rows: &[u8]) -> Vec<Vec<u8>> {
    let mut groups: Vec<Vec<u8>> = Vec::new();
    for &row in rows {
        let size = |row: &u8| matches!(row, 8 | 9);
        if groups.iter().flatten().any(|done| *done == row) {
            continue;
        }
        match groups.iter_mut().find(|group| size(&row) && size(&group[0])) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    groups
}

async fn measure(group: &[u8], options: &Options, plan: &Plan) -> Vec<RowReport> {
    let mut reports: Vec<RowReport> =
        ROWS.iter().filter(|row| group.contains(&row.number)).map(RowReport::new).collect();
    let pairs = match group[0] {
        7 => options.kills,
        8 | 9 => options.pairs.min(options.size_pairs),
        _ => options.pairs,
    };
    let systems = plan.setup.programs.iter().map(|(system, _)| *system);
    let systems: Vec<Name> = systems.filter(|system| rows(*system).contains(&group[0])).collect();
    for pair in 0..pairs {
        for &system in &systems {
            let begun = Instant::now();
            let mut cases = Cases::of(group[0]);
            let ended = timed(system, plan, &mut cases).await;
            let (failure, note) = match ended {
                Ok(note) => (None, note),
                Err(error) => (Some(error.to_string()), None),
            };
            let failed = failure.as_ref().map(|error| format!(", failed: {error}")).unwrap_or_default();
            eprintln!(
                "row {group:?}, run {} of {pairs}, {system}: {:.0?}{failed}",
                pair + 1,
                begun.elapsed()
            );
            add(&mut reports, system.word(), pair, cases.done);
            for report in &mut reports {
                let tell = |words: &String| format!("run {}, {system}: {words}", pair + 1);
                report.failures.extend(failure.as_ref().map(tell));
                report.notes.extend(note.as_ref().map(tell));
            }
        }
    }
    reports
}

/// The rows in which a system does the same work as the others.
fn rows(system: Name) -> &'static [u8] {
    match system {
        Name::Zookeeper => Zookeeper::ROWS,
        Name::Etcd => Etcd::ROWS,
        Name::Batuta => Batuta::ROWS,
        Name::BatutaSecured => BatutaSecured::ROWS,
        Name::Redis => Redis::ROWS,
    }
}

async fn timed(system: Name, plan: &Plan, cases: &mut Cases) -> Result<Option<String>> {
    let time = if matches!(cases.row(), 8 | 9) { SIZE_RUN_MAX } else { RUN_MAX };
    let run = async {
        match system {
            Name::Zookeeper => run::<Zookeeper>(plan, cases).await,
            Name::Etcd => run::<Etcd>(plan, cases).await,
            Name::Batuta => run::<Batuta>(plan, cases).await,
            Name::BatutaSecured => run::<BatutaSecured>(plan, cases).await,
            Name::Redis => run::<Redis>(plan, cases).await,
        }
    };
    let late = || Error::other(format!("aborted after {time:?}"));
    tokio::time::timeout(time, run).await.map_err(|_| late())?
}

fn add(reports: &mut [RowReport], system: &'static str, pair: usize, cases: Vec<Case>) {
    for case in cases {
        if let Some(report) = reports.iter_mut().find(|report| report.row.number == case.row) {
            report.add(system, pair, case);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_8_and_9_share_a_group() {
        assert_eq!(groups(&[1, 8, 2, 9, 1]), [vec![1], vec![8, 9], vec![2]]);
        assert_eq!(groups(&[9]), [[9]]);
    }
}
