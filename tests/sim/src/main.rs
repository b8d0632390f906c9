//! `sim`: runs seeds, each in its own process, so that no state is carried from one seed to the next.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const USAGE: &str = "usage: sim --seeds N [--from S] [--jobs J] | sim --seed S [--trace]";

/// A seed that takes longer than this, in real time, counts as hanging.
const SEED_WITHIN: Duration = Duration::from_mins(3);
const LOOK_EVERY: Duration = Duration::from_millis(10);

#[derive(Default)]
struct Arguments {
    seed: Option<u64>,
    trace: bool,
    seeds: Option<u64>,
    from: u64,
    jobs: Option<usize>,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    let mut given = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    while let Some(name) = given.next() {
        let mut number = || -> Result<u64, String> {
            let text = given.next().ok_or_else(|| format!("{name} needs a number"))?;
            text.parse().map_err(|_| format!("{name}: {text} is not a number"))
        };
        match name.as_str() {
            "--seed" => arguments.seed = Some(number()?),
            "--seeds" => arguments.seeds = Some(number()?),
            "--from" => arguments.from = number()?,
            "--jobs" => arguments.jobs = Some(usize::try_from(number()?).map_err(|error| error.to_string())?),
            "--trace" => arguments.trace = true,
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    match arguments() {
        Ok(Arguments { seed: Some(seed), trace, .. }) => one(seed, trace),
        Ok(Arguments { seeds: Some(seeds), from, jobs, .. }) => {
            let processors = std::thread::available_parallelism().map_or(1, usize::from);
            many(from, seeds, jobs.unwrap_or(processors))
        }
        Ok(_) => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
        Err(problem) => {
            eprintln!("sim: {problem}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Runs one seed in this process.
fn one(seed: u64, trace: bool) -> ExitCode {
    if let Ok(filter) = std::env::var("SIM_LOG") {
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .without_time()
            .init();
    }
    // From here on, the operating system's random numbers come from the seed, and its clocks from the simulation.
    mad_turmoil::rand::set_rng(batuta_sim::system_rng(seed));
    // A new thread draws new hash keys, which now come from the seed.
    let running = std::thread::Builder::new().name("sim".into()).stack_size(64 << 20).spawn(move || {
        let _clocks = mad_turmoil::time::SimClocksGuard::init();
        batuta_sim::run(seed, trace)
    });
    let Ok(Ok(report)) = running.map(std::thread::JoinHandle::join) else {
        eprintln!("seed {seed}: the simulation itself failed");
        return ExitCode::from(3);
    };
    println!("seed {seed}: {}", report.summary);
    match report.failure {
        None => ExitCode::SUCCESS,
        Some(failure) => {
            println!("FAILED: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one seed in its own process. Returns whether it passed, and its output.
fn child(program: &Path, seed: u64) -> (bool, String) {
    let again = format!("again: cargo xtask sim --seed {seed} --trace\n");
    let failed = |why: &dyn std::fmt::Display| (false, format!("seed {seed}: {why}\n{again}"));
    let started = Command::new(program).arg("--seed").arg(seed.to_string()).stdout(Stdio::piped()).spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => return failed(&error),
    };
    let output = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        output.map_or(Ok(0), |mut output| output.read_to_string(&mut text)).map(|_| text)
    });
    // The clocks of this program are simulated; only sleeping takes real time.
    for _ in 0..SEED_WITHIN.as_millis() / LOOK_EVERY.as_millis() {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(LOOK_EVERY),
            Ok(Some(status)) => {
                return match reader.join() {
                    Ok(Ok(text)) => (status.success(), text),
                    Ok(Err(error)) => failed(&error),
                    Err(_) => failed(&"its output cannot be read"),
                };
            }
            Err(error) => return failed(&error),
        }
    }
    // Ends the process in any case.
    let _ = child.kill().and_then(|()| child.wait());
    failed(&format!("it did not end within {SEED_WITHIN:?}: some code loops without simulated time passing"))
}

/// Runs seeds, each in its own process, several at a time.
fn many(from: u64, seeds: u64, jobs: usize) -> ExitCode {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            eprintln!("sim: cannot find its own program: {error}");
            return ExitCode::from(3);
        }
    };
    let next = AtomicU64::new(from);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        return;
                    }
                    let (well, text) = child(&program, seed);
                    let mut failed = failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    if !well {
                        failed.push(seed);
                    }
                    // The reader may have closed; the exit code still reports the result.
                    let _ = std::io::stdout().write_all(text.as_bytes());
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if failed.is_empty() {
        println!("sim: {seeds} seeds from {from}, all passed");
        return ExitCode::SUCCESS;
    }
    failed.sort_unstable();
    println!("sim: {} of {seeds} seeds failed: {failed:?}", failed.len());
    ExitCode::FAILURE
}
