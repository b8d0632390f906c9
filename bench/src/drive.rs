//! The closed loop: clients that each do one operation after another, and the cost of the operations.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::figures::Figures;
use crate::histogram::Histogram;
use crate::meter::{Meter, Reading};
use crate::metrics::{BYTES, CPU, DIRTIED, ERRORS, GENERATOR, OPS, P50, P99, P999, SERVER_CORES};

/// The phases of a run. The initial phase, 0, is the warm-up.
const MEASURING: u8 = 1;
const ENDED: u8 = 2;
/// A client whose operation failed waits this long, so that errors do not become the load.
const AFTER_ERROR: Duration = Duration::from_millis(20);

/// How long the clients run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// The warm-up, before anything counts.
    pub(crate) warm: Duration,
    /// The measurement.
    pub(crate) measure: Duration,
}

/// State shared by the clients of one run.
#[derive(Default)]
pub(crate) struct Run {
    phase: AtomicU8,
    ops: AtomicU64,
    errors: AtomicU64,
    first_error: Mutex<Option<String>>,
    latency: Histogram,
}

impl Run {
    /// Whether operations count now.
    pub(crate) fn measures(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == MEASURING
    }

    /// Whether the clients should stop.
    fn ended(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == ENDED
    }

    fn failed(&self, error: &Error) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let mut first = self.first_error.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| error.to_string());
    }
}

/// One client. An operation counts when it ended during the measurement. Its duration also counts when it
/// only began then, so that operations longer than the measurement are not missed.
async fn client<O, F>(run: Arc<Run>, mut operation: O)
where
    O: FnMut() -> F + Send,
    F: Future<Output = Result<()>> + Send,
{
    while !run.ended() {
        let counted = run.measures();
        let begun = Instant::now();
        match operation().await {
            Ok(()) => {
                let took = begun.elapsed();
                let done = run.measures();
                if done {
                    run.ops.fetch_add(1, Ordering::Relaxed);
                }
                if done || counted {
                    run.latency.record(took);
                }
            }
            Err(error) => {
                run.failed(&error);
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}

/// Runs one client for each operation of the list, and measures the clients and the servers.
///
/// # Errors
/// When no operation succeeded, or a server is gone. Single failures are counted ([`ERRORS`]).
pub(crate) async fn drive<O, F>(
    run: Arc<Run>,
    meter: &Meter,
    timing: Timing,
    operations: Vec<O>,
) -> Result<Figures>
where
    O: FnMut() -> F + Send + 'static,
    F: Future<Output = Result<()>> + Send + 'static,
{
    let measured = async {
        tokio::time::sleep(timing.measure).await;
        Ok(())
    };
    drive_while(run, meter, timing.warm, operations, measured).await
}

/// As [`drive`], for as long as `measured` takes.
///
/// # Errors
/// As [`drive`], and the errors of `measured`.
pub(crate) async fn drive_while<O, F>(
    run: Arc<Run>,
    meter: &Meter,
    warm: Duration,
    operations: Vec<O>,
    measured: impl Future<Output = Result<()>>,
) -> Result<Figures>
where
    O: FnMut() -> F + Send + 'static,
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut clients = JoinSet::new();
    for operation in operations {
        clients.spawn(client(Arc::clone(&run), operation));
    }
    tokio::time::sleep(warm).await;
    let before = meter.read()?;
    let begun = Instant::now();
    run.phase.store(MEASURING, Ordering::Relaxed);
    let measured = measured.await;
    run.phase.store(ENDED, Ordering::Relaxed);
    let elapsed_s = begun.elapsed().as_secs_f64();
    let used = meter.since(&before)?;
    while let Some(ended) = clients.join_next().await {
        ended.map_err(|error| Error::other(format!("a client broke: {error}")))?;
    }
    measured?;
    let ops = run.ops.load(Ordering::Relaxed);
    let first_error = run.first_error.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(error) = &first_error {
        eprintln!("    {} operations failed, the first: {error}", run.errors.load(Ordering::Relaxed));
    }
    if ops == 0 {
        return Err(Error::other(first_error.unwrap_or_else(|| "nothing was done in time".to_owned())));
    }
    let mut figures = Figures::default();
    costs(&mut figures, ops, elapsed_s, &used);
    latencies(&mut figures, &run.latency);
    figures.set(ERRORS, number(run.errors.load(Ordering::Relaxed)));
    Ok(figures)
}

/// Records the rate of operations and the resources used for them.
pub(crate) fn costs(figures: &mut Figures, ops: u64, elapsed_s: f64, used: &Reading) {
    let count = number(ops);
    figures.set(OPS, count / elapsed_s);
    figures.set(CPU, 1000.0 * used.servers.cpu_s / count);
    figures.set(DIRTIED, number(used.servers.dirtied_bytes) / count);
    if let Some(bytes) = used.disk_bytes {
        figures.set(BYTES, number(bytes) / count);
    }
    figures.set(SERVER_CORES, used.servers.cpu_s / elapsed_s);
    figures.set(GENERATOR, used.generator.cpu_s / elapsed_s);
}

/// Records the percentiles.
pub(crate) fn latencies(figures: &mut Figures, latency: &Histogram) {
    for (metric, part) in [(P50, 0.5), (P99, 0.99), (P999, 0.999)] {
        figures.set(metric, latency.percentile_ms(part));
    }
}

/// Converts a count for calculations.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing { warm: Duration::from_millis(5), measure: Duration::from_millis(50) };

    #[tokio::test]
    async fn operations_and_failures_are_counted() {
        let run = Arc::new(Run::default());
        let operations = (0..4).map(|client| {
            move || async move {
                tokio::time::sleep(Duration::from_millis(2)).await;
                if client == 0 { Err(Error::other("no")) } else { Ok(()) }
            }
        });
        let counts = Arc::clone(&run);
        let measured = async move {
            while counts.ops.load(Ordering::Relaxed) < 10 || counts.errors.load(Ordering::Relaxed) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok(())
        };
        let meter = Meter::default();
        let figures = drive_while(run, &meter, TIMING.warm, operations.collect(), measured).await.unwrap();
        assert!(figures.get(OPS).unwrap() > 0.0);
        assert!(figures.get(ERRORS).unwrap() > 0.0);
        assert!(figures.get(P50).unwrap() >= 2.0);
        assert!(figures.get(P999).unwrap() >= figures.get(P50).unwrap());
    }

    #[tokio::test]
    async fn operation_longer_than_the_measurement_counts() {
        let run = Arc::new(Run::default());
        run.phase.store(MEASURING, Ordering::Relaxed);
        let shared = Arc::clone(&run);
        let operation = move || {
            shared.phase.store(ENDED, Ordering::Relaxed);
            async { Ok(()) }
        };
        client(Arc::clone(&run), operation).await;
        assert_eq!((run.ops.load(Ordering::Relaxed), run.latency.count()), (0, 1));
    }

    #[tokio::test]
    async fn nothing_done_is_an_error() {
        let operation = || async { Err(Error::other("refused")) };
        let found = drive(Arc::default(), &Meter::default(), TIMING, vec![operation]).await;
        assert!(found.unwrap_err().to_string().contains("refused"));
    }
}
