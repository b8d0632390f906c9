//! Rows 1, 2 and 10: locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{CLIENTS_PER_HOST, Cases, Plan, count, hosts, meter};
use crate::drive::{Run, Timing, drive, number};
use crate::error::Result;
use crate::figures::Figures;
use crate::histogram::Histogram;
use crate::meter::Meter;
use crate::metrics::{HANDOVER_P50, HANDOVER_P99, HANDOVER_P999, JAIN, LEAST};
use crate::system::{Host as _, Locks, System};

/// Runs clients that each acquire and release their own lock; clients of one host share that host.
pub(super) async fn cycles<L: Locks>(
    hosts: &[L],
    clients: usize,
    label: &str,
    meter: &Meter,
    timing: Timing,
) -> Result<Figures> {
    drive(Arc::default(), meter, timing, cycle_operations(hosts, clients, label)).await
}

/// The operations of [`cycles`].
pub(super) fn cycle_operations<L: Locks>(
    hosts: &[L],
    clients: usize,
    label: &str,
) -> Vec<impl FnMut() -> std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send>> + Send + use<L>> {
    (0..clients)
        .map(|client| {
            let (host, name) = (hosts[client % hosts.len()].clone(), format!("{label}-{client}"));
            move || -> std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send>> {
                let (host, name) = (host.clone(), name.clone());
                Box::pin(async move {
                    let held = host.lock(name).await?;
                    host.unlock(held).await
                })
            }
        })
        .collect()
}

/// Row 1: uncontended locks.
pub(super) async fn uncontended<S: System>(
    system: &mut S,
    leader: usize,
    plan: &Plan,
    cases: &mut Cases,
) -> Result<()> {
    for clients in [1, 16, 64, 256, 1024] {
        let hosts = hosts(system, leader, clients).await?;
        let figures = cycles(&hosts, clients, "own", &meter(system, plan), plan.timing).await?;
        cases.add(count(clients, "client"), figures);
    }
    Ok(())
}

/// Row 10: the fronts.
pub(super) async fn fronts<S: System>(
    system: &mut S,
    leader: usize,
    plan: &Plan,
    cases: &mut Cases,
) -> Result<()> {
    for (name, front) in system.fronts(leader).await? {
        let label = name.to_lowercase();
        let meter = meter(system, plan);
        let figures = cycles(&[front], CLIENTS_PER_HOST, &label, &meter, plan.timing).await?;
        cases.add(name.to_owned(), figures);
    }
    Ok(())
}

/// Records of the contenders of a hot lock.
struct Handovers {
    epoch: Instant,
    /// When the last release was sent, nanoseconds since the epoch; 0 before the first.
    released_ns: AtomicU64,
    latency: Histogram,
    served: Vec<AtomicU64>,
}

impl Handovers {
    fn new(contenders: usize) -> Self {
        Self {
            epoch: Instant::now(),
            released_ns: AtomicU64::new(0),
            latency: Histogram::default(),
            served: (0..contenders).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn now_ns(&self) -> u64 {
        // Enough for 584 years.
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn granted(&self, contender: usize) {
        let released_ns = self.released_ns.load(Ordering::Acquire);
        if released_ns > 0 {
            self.latency.record(Duration::from_nanos(self.now_ns().saturating_sub(released_ns)));
        }
        self.served[contender].fetch_add(1, Ordering::Relaxed);
    }

    fn releases(&self) {
        self.released_ns.store(self.now_ns(), Ordering::Release);
    }

    fn note(&self, figures: &mut Figures) {
        for (metric, part) in [(HANDOVER_P50, 0.5), (HANDOVER_P99, 0.99), (HANDOVER_P999, 0.999)] {
            figures.set(metric, self.latency.percentile_ms(part));
        }
        let served: Vec<f64> =
            self.served.iter().map(|count| number(count.load(Ordering::Relaxed))).collect();
        if let Some(fairness) = jain(&served) {
            figures.set(JAIN, fairness);
            let most = served.iter().copied().fold(0.0, f64::max);
            figures.set(LEAST, served.iter().copied().fold(f64::INFINITY, f64::min) / most);
        }
    }
}

/// Jain's index: 1 when all got the same, 1/n when one got everything; `None` when nobody got anything.
fn jain(shares: &[f64]) -> Option<f64> {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    (squares > 0.0).then(|| sum * sum / (number(shares.len() as u64) * squares))
}

/// Row 2: one hot lock.
pub(super) async fn hot<S: System>(
    system: &mut S,
    leader: usize,
    plan: &Plan,
    cases: &mut Cases,
) -> Result<()> {
    for contenders in [16, 64] {
        let connections = hosts(system, leader, contenders).await?;
        let run = Arc::new(Run::default());
        let handovers = Arc::new(Handovers::new(contenders));
        let mut operations = Vec::new();
        for contender in 0..contenders {
            let host = connections[contender % connections.len()].other_owner().await?;
            let (run, handovers) = (Arc::clone(&run), Arc::clone(&handovers));
            let name = format!("hot-{contenders}");
            operations.push(move || {
                let (host, name) = (host.clone(), name.clone());
                let (run, handovers) = (Arc::clone(&run), Arc::clone(&handovers));
                async move {
                    let held = host.lock(name).await?;
                    if run.measures() {
                        handovers.granted(contender);
                    }
                    handovers.releases();
                    host.unlock(held).await
                }
            });
        }
        let mut figures = drive(run, &meter(system, plan), plan.timing, operations).await?;
        handovers.note(&mut figures);
        cases.add(format!("{contenders} contenders"), figures);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fairness_is_between_one_and_one_nth() {
        assert_eq!(jain(&[0.0, 0.0]), None);
        assert!((jain(&[5.0, 5.0, 5.0]).unwrap() - 1.0).abs() < 1e-9);
        assert!((jain(&[9.0, 0.0, 0.0]).unwrap() - 1.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn handover_is_timed_from_the_release() {
        let handovers = Handovers::new(2);
        handovers.granted(0);
        assert_eq!(handovers.latency.count(), 0, "nobody held it before");
        handovers.releases();
        std::thread::sleep(Duration::from_millis(5));
        handovers.granted(1);
        let mut figures = Figures::default();
        handovers.note(&mut figures);
        assert!(figures.get(HANDOVER_P50).unwrap() >= 5.0);
        assert!((figures.get(JAIN).unwrap() - 1.0).abs() < 1e-9);
        assert!((figures.get(LEAST).unwrap() - 1.0).abs() < 1e-9);
    }
}
