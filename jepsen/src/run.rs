//! One run, from the namespaces to the verdict.
//!
//! ```text
//! supervise: makes the namespaces ── starts drive inside the clients' one ── takes the namespaces down, whatever happened
//! drive:     starts the nodes ── workload and nemesis ── heals ── demands recovery ── checks
//! ```

use std::io::Read as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::check::{self, Problem};
use crate::client::Shared;
use crate::cluster::{Cluster, Settings};
use crate::error::{Error, Result};
use crate::history::{self, History, Kind};
use crate::nemesis::{Family, Nemesis, plan};
use crate::report::{self, HISTORY};
use crate::sandbox::Sandbox;
use crate::workload::Workload;

/// How long the cluster may take to work again once everything is mended.
const RECOVER_WITHIN: Duration = Duration::from_mins(1);

/// What a run is.
#[derive(Args, Debug, Clone)]
pub struct RunArgs {
    /// What clients do.
    #[arg(long, value_enum, default_value = "lock")]
    workload: Workload,
    /// What is broken: any of the list, separated by commas; without it nothing is.
    #[arg(long, value_enum, value_delimiter = ',')]
    nemesis: Vec<Family>,
    /// How long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Decides the schedule and what clients do.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Nodes: 3 or 5.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Client processes.
    #[arg(long, default_value_t = 12)]
    processes: u64,
    /// Fewer operations done in a second than this, and the run proves nothing.
    #[arg(long, default_value_t = 10.0)]
    rate_min: f64,
    /// The program under test [default: beside this one].
    #[arg(long)]
    batuta: Option<PathBuf>,
    /// Where runs are kept, each in a directory of its own [default: jepsen beside this program's directory].
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// What `run` tells the process inside.
#[derive(Args, Debug, Clone)]
pub struct DriveArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Whose namespaces.
    #[arg(long)]
    owner: u32,
    /// Places for nodes.
    #[arg(long)]
    places: usize,
    /// The run's directory.
    #[arg(long)]
    dir: PathBuf,
}

/// Makes the namespaces, runs, and takes them down again.
///
/// # Errors
/// When the machine can not do it.
pub fn supervise(args: &RunArgs) -> Result<bool> {
    if args.nodes != 3 && args.nodes != 5 {
        return Err(Error::Usage("--nodes is 3 or 5".to_owned()));
    }
    check::build_referee()?;
    let exe = std::env::current_exe().map_err(Error::io("the harness's own path"))?;
    let beside = |name: &str| exe.with_file_name(name);
    let keep = args.keep.clone().unwrap_or_else(|| beside("../jepsen"));
    let label = format!("{}-{}-{}", args.workload.name(), args.seed, std::process::id());
    let dir = keep.join(label);
    std::fs::create_dir_all(&dir).map_err(Error::io(dir.display().to_string()))?;
    let dir = dir.canonicalize().map_err(Error::io(dir.display().to_string()))?;
    let sandbox = Sandbox::create(args.nodes)?;
    let mut command = Sandbox::inside(&sandbox.clients(), &exe.display().to_string());
    command
        .arg("drive")
        .args(std::env::args_os().skip(2))
        .arg(format!("--owner={}", sandbox.owner))
        .arg(format!("--places={}", sandbox.places))
        .arg(format!("--dir={}", dir.display()))
        .stdin(Stdio::piped());
    let status = command.spawn().and_then(|mut child| {
        // It ends when this does; waiting would close its input at once.
        let _open = child.stdin.take();
        child.wait()
    });
    sandbox.remove();
    match status.map_err(Error::io("running inside the namespace"))?.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        other => Err(Error::Usage(format!("the run was not finished: {other:?}; see {}", dir.display()))),
    }
}

/// The run itself, inside the clients' namespace.
///
/// # Errors
/// When the machine can not do it, or the cluster does not even start.
pub fn drive(args: &DriveArgs) -> Result<bool> {
    std::thread::spawn(end_with_supervisor);
    let runtime = tokio::runtime::Runtime::new().map_err(Error::io("the runtime"))?;
    runtime.block_on(Run::new(args)?.run())
}

/// When the supervisor is gone, nobody will take the namespaces down: end, and the nodes with us.
fn end_with_supervisor() {
    let mut buffer = [0; 16];
    while matches!(std::io::stdin().read(&mut buffer), Ok(1..)) {}
    std::process::exit(3);
}

struct Run {
    args: RunArgs,
    dir: PathBuf,
    sandbox: Sandbox,
    settings: Settings,
}

impl Run {
    fn new(args: &DriveArgs) -> Result<Self> {
        let exe = std::env::current_exe().map_err(Error::io("the harness's own path"))?;
        let batuta = args.run.batuta.clone().unwrap_or_else(|| exe.with_file_name("batuta"));
        if !batuta.exists() {
            let text = format!("{} is not there: cargo build -p batuta, or --batuta PATH", batuta.display());
            return Err(Error::Usage(text));
        }
        Ok(Self {
            args: args.run.clone(),
            dir: args.dir.clone(),
            sandbox: Sandbox { owner: args.owner, places: args.places },
            settings: Settings {
                batuta,
                dir: args.dir.clone(),
                nodes: args.run.nodes,
                snapshot_entries: 1_000_000,
            },
        })
    }

    async fn run(self) -> Result<bool> {
        let heading = format!("jepsen {:?}", std::env::args().skip(2).collect::<Vec<_>>());
        let history = History::create(&self.dir.join(HISTORY))?;
        let mut cluster = Cluster::new(self.sandbox.clone(), self.settings.clone())?;
        for place in cluster.wanted() {
            cluster.start(place)?;
        }
        cluster.ready().await?;
        let shared = Arc::new(Shared {
            history,
            places: self.args.nodes,
            seed: self.args.seed,
            stop: CancellationToken::new(),
        });
        let (problems, cluster) = self.work(cluster, &shared).await?;
        let mut problems = problems;
        problems.extend(self.recover(&cluster, &shared).await);
        shared.history.flush()?;
        drop(cluster);
        let events = history::read(&self.dir.join(HISTORY))?;
        let operations = history::operations(&events);
        let mut findings = check::check(&self.dir, &events, &operations, self.args.rate_min)?;
        findings.problems.extend(problems);
        report::conclude(&self.dir, &heading, &findings)
    }

    /// Workload and nemesis, side by side.
    async fn work(&self, cluster: Cluster, shared: &Arc<Shared>) -> Result<(Vec<Problem>, Cluster)> {
        let length = Duration::from_secs(self.args.seconds);
        let schedule = plan(self.args.seed, self.args.seconds * 1000, &self.args.nemesis, self.args.nodes);
        let mut clients = self.args.workload.start(shared, self.args.processes);
        let (cluster, unexpected) = Nemesis::new(cluster, shared).run(&schedule, length).await?;
        shared.stop.cancel();
        let mut problems: Vec<Problem> =
            unexpected.into_iter().map(|unexpected| Problem::new("nodes", unexpected.0)).collect();
        while let Some(ended) = clients.join_next().await {
            if let Err(error) = ended {
                problems.push(Problem::new("clients", format!("a client process failed: {error}")));
            }
        }
        Ok((problems, cluster))
    }

    /// Everything is mended: the cluster works again, and all nodes have the same state.
    async fn recover(&self, cluster: &Cluster, shared: &Arc<Shared>) -> Vec<Problem> {
        let began = Instant::now();
        shared.history.note(Kind::Note, "everything is mended; all nodes must be ready and alike");
        if let Err(error) = cluster.ready().await {
            return vec![Problem::new("recovery", error.to_string())];
        }
        let observer = cluster.observer();
        loop {
            let mut seen = Vec::new();
            for place in cluster.wanted() {
                let status = observer.status(place).await.unwrap_or(Value::Null);
                seen.push((
                    status["applied_index"].as_u64(),
                    status["state_hash"].as_str().map(str::to_owned),
                ));
            }
            let alike =
                seen.windows(2).all(|pair| pair[0].0 == pair[1].0) && seen.iter().all(|one| one.0.is_some());
            if alike && seen.windows(2).any(|pair| pair[0].1 != pair[1].1) {
                return vec![Problem::new("hashes", format!("states differ: {seen:?}"))];
            }
            if alike {
                let note = format!(
                    "all nodes are alike after {:.1} s: {:?}",
                    began.elapsed().as_secs_f64(),
                    seen[0]
                );
                shared.history.note(Kind::Note, note);
                return Vec::new();
            }
            if began.elapsed() > RECOVER_WITHIN {
                return vec![Problem::new(
                    "recovery",
                    format!("not alike within {RECOVER_WITHIN:?}: {seen:?}"),
                )];
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
