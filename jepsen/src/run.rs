//! One run, from the namespaces to the verdict.
//!
//! ```text
//! supervise: makes the namespaces ── starts drive inside the clients' one ── takes the namespaces down, whatever happened
//! drive:     starts the nodes ── workload and nemesis ── heals ── demands recovery ── checks
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

/// What a run is.
#[derive(Args, Debug, Clone)]
pub struct RunArgs {
    /// What clients do.
    #[arg(long, value_enum, default_value = "lock")]
    pub workload: Workload,
    /// What is broken: any of the list, separated by commas; without it nothing is.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub nemesis: Vec<Family>,
    /// How long.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// Decides the schedule and what clients do.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Nodes: 3 or 5.
    #[arg(long, default_value_t = 3)]
    pub nodes: usize,
    /// Client processes.
    #[arg(long, default_value_t = 12)]
    pub processes: u64,
    /// Watchers, one after the other over the ways to watch.
    #[arg(long, default_value_t = 5)]
    pub watchers: usize,
    /// Fewer operations done in a second than this, and the run proves nothing.
    #[arg(long, default_value_t = 3.0)]
    pub rate_min: f64,
    /// The program under test [default: beside this one].
    #[arg(long)]
    pub batuta: Option<PathBuf>,
    /// Where runs are kept, each in a directory of its own [default: jepsen beside this program's directory].
    #[arg(long)]
    pub keep: Option<PathBuf>,
}

/// What `run` tells the process inside.
#[derive(Args, Debug, Clone)]
pub struct DriveArgs {
    /// As it was asked for.
    #[command(flatten)]
    pub run: RunArgs,
    /// Whose namespaces.
    #[arg(long)]
    pub owner: u32,
    /// Places for nodes.
    #[arg(long)]
    pub places: usize,
    /// The run's directory.
    #[arg(long)]
    pub dir: PathBuf,
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
    sandbox::clean()?;
    let exe = std::env::current_exe().map_err(Error::io("the harness's own path"))?;
    let beside = |name: &str| exe.with_file_name(name);
    let keep = args.keep.clone().unwrap_or_else(|| beside("../jepsen"));
    let label = format!("{}-{}-{}", args.workload.name(), args.seed, std::process::id());
    let dir = keep.join(label);
    std::fs::create_dir_all(&dir).map_err(Error::io(dir.display().to_string()))?;
    let dir = dir.canonicalize().map_err(Error::io(dir.display().to_string()))?;
    // Room for nodes that join.
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
        // It ends when this does; waiting would close its input at once.
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

/// The run itself, inside the clients' namespace.
///
/// # Errors
/// When the machine can not do it, or the cluster does not even start.
pub fn drive(args: &DriveArgs) -> Result<bool> {
    std::thread::spawn(end_with_supervisor);
    let runtime = tokio::runtime::Runtime::new().map_err(Error::io("the runtime"))?;
    runtime.block_on(Drive::new(args)?.run())
}

/// When the supervisor is gone, nobody will take the namespaces down: end, and the nodes with us.
fn end_with_supervisor() {
    let mut buffer = [0; 16];
    while matches!(std::io::stdin().read(&mut buffer), Ok(1..)) {}
    std::process::exit(3);
}
