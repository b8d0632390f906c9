//! Runs one test, from the namespaces to the verdict.
//!
//! ```text
//! supervise: makes the namespaces ── starts drive inside the clients' namespace ── always removes the namespaces
//! drive:     starts the nodes ── workload and nemesis ── ends all faults ── checks recovery ── checks the history
//! ```

use std::io::Read as _;
use std::path::PathBuf;
use std::process::Stdio;

use crate::check;
use crate::drive::Drive;
use crate::error::{Error, Result};
use crate::nemesis::Family;
use crate::sandbox::{self, Sandbox};
use crate::workload::Workload;
use clap::Args;

/// The parameters of a run.
#[derive(Args, Debug, Clone)]
pub struct RunArgs {
    /// The workload of the clients.
    #[arg(long, value_enum, default_value = "lock")]
    pub workload: Workload,
    /// The faults: any of the list, separated by commas; none by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub nemesis: Vec<Family>,
    /// How long the workload runs, in seconds.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// The seed that decides the schedule and the calls of the clients.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The number of nodes: 3 or 5.
    #[arg(long, default_value_t = 3)]
    pub nodes: usize,
    /// The number of client processes.
    #[arg(long, default_value_t = 12)]
    pub processes: u64,
    /// The number of watchers, spread over the ways to watch.
    #[arg(long, default_value_t = 5)]
    pub watchers: usize,
    /// The fewest completed operations per second with which a run counts as a proof.
    #[arg(long, default_value_t = 3.0)]
    pub rate_min: f64,
    /// The program under test [default: in the directory of this program].
    #[arg(long)]
    pub batuta: Option<PathBuf>,
    /// The directory that keeps the runs, each in its own subdirectory [default: `jepsen` next to the directory of this program].
    #[arg(long)]
    pub keep: Option<PathBuf>,
}

/// The arguments of the process that `run` starts inside the clients' namespace.
#[derive(Args, Debug, Clone)]
pub struct DriveArgs {
    /// The parameters of the run.
    #[command(flatten)]
    pub run: RunArgs,
    /// The process id of the run that owns the namespaces.
    #[arg(long)]
    pub owner: u32,
    /// The number of places for nodes.
    #[arg(long)]
    pub places: usize,
    /// The directory of the run.
    #[arg(long)]
    pub dir: PathBuf,
}

/// Makes the namespaces, runs the test inside, and removes the namespaces.
///
/// # Errors
/// When the machine lacks something the run needs.
pub fn supervise(args: &RunArgs) -> Result<bool> {
    if args.nodes != 3 && args.nodes != 5 {
        return Err(Error::Usage("--nodes is 3 or 5".to_owned()));
    }
    check::build_referee()?;
    sandbox::clean()?;
    let exe = std::env::current_exe().map_err(Error::io("the harness's own path"))?;
    let beside = |name: &str| exe.with_file_name(name);
    let keep = args.keep.clone().unwrap_or_else(|| beside("../jepsen"));
    let label = format!("{}-{}-{}", args.workload.name(), args.seed, std::process::id());
    let dir = keep.join(label);
    std::fs::create_dir_all(&dir).map_err(Error::io(dir.display().to_string()))?;
    let dir = dir.canonicalize().map_err(Error::io(dir.display().to_string()))?;
    // Places for nodes that join.
    let guests = if args.nemesis.contains(&Family::Member) { 2 } else { 0 };
    let sandbox = Sandbox::create(args.nodes + guests)?;
    let mut command = Sandbox::inside(&sandbox.clients(), &exe.display().to_string());
    command
        .arg("drive")
        .args(std::env::args_os().skip(2))
        .arg(format!("--owner={}", sandbox.owner))
        .arg(format!("--places={}", sandbox.places))
        .arg(format!("--dir={}", dir.display()))
        .stdin(Stdio::piped());
    let status = command.spawn().and_then(|mut child| {
        // The child ends when its input closes, so keep the input open: waiting would close it.
        let _open = child.stdin.take();
        child.wait()
    });
    sandbox.remove();
    sandbox::unmount_below(&dir);
    match status.map_err(Error::io("running inside the namespace"))?.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        other => Err(Error::Usage(format!("the run was not finished: {other:?}; see {}", dir.display()))),
    }
}

/// Runs the test inside the clients' namespace.
///
/// # Errors
/// When the machine lacks something the run needs, or the cluster does not even start.
pub fn drive(args: &DriveArgs) -> Result<bool> {
    std::thread::spawn(end_with_supervisor);
    let runtime = tokio::runtime::Runtime::new().map_err(Error::io("the runtime"))?;
    runtime.block_on(Drive::new(args)?.run())
}

/// Ends this process and its nodes when the supervisor has ended, because nothing would remove the namespaces then.
fn end_with_supervisor() {
    let mut buffer = [0; 16];
    while matches!(std::io::stdin().read(&mut buffer), Ok(1..)) {}
    std::process::exit(3);
}
