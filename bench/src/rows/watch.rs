//! Row 6: how fast one change reaches all watchers.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{Cases, Plan, count, meter};
use crate::drive::{costs, latencies};
use crate::error::{Error, Result};
use crate::figures::Figures;
use crate::histogram::Histogram;
use crate::metrics::{LAST_P50, LAST_P99};
use crate::system::{Host as _, Locks as _, System};

/// Watches on one connection.
const WATCHERS_PER_HOST: usize = 100;
/// Least number of changes, whatever time they take.
const ROUNDS_MIN: u32 = 10;
/// A change that has not arrived everywhere after this time is lost.
const LOST_AFTER: Duration = Duration::from_secs(20);

/// Runs one case for each number of watchers.
pub(super) async fn run<S: System>(
    system: &mut S,
    leader: usize,
    plan: &Plan,
    cases: &mut Cases,
) -> Result<()> {
    for watchers in [1, 100, 1000] {
        cases.add(count(watchers, "watcher"), fan_out(system, leader, watchers, plan).await?);
    }
    Ok(())
}

async fn fan_out<S: System>(system: &mut S, leader: usize, watchers: usize, plan: &Plan) -> Result<Figures> {
    let name = format!("watched-{watchers}");
    let (tell, mut arrivals) = mpsc::unbounded_channel();
    let mut hosts = Vec::new();
    for first in (0..watchers).step_by(WATCHERS_PER_HOST) {
        let host = system.connect(leader).await?;
        host.watch(&name, WATCHERS_PER_HOST.min(watchers - first), tell.clone()).await?;
        hosts.push(host);
    }
    let writer = system.connect(leader).await?;
    let (all, last) = (Histogram::default(), Histogram::default());
    let meter = meter(system, plan);
    let mut begun = Instant::now();
    let mut before = None;
    let mut rounds = 0;
    while before.is_none() || rounds < ROUNDS_MIN || begun.elapsed() < plan.timing.measure {
        // The first round is the warm-up.
        let sent = Instant::now();
        let held = writer.lock(name.clone()).await?;
        let mut latest = Duration::ZERO;
        for _ in 0..watchers {
            let arrived = tokio::time::timeout(LOST_AFTER, arrivals.recv()).await;
            let arrived = arrived.ok().flatten().ok_or_else(|| Error::other("a change did not arrive"))?;
            let took = arrived.saturating_duration_since(sent);
            latest = latest.max(took);
            if before.is_some() {
                all.record(took);
            }
        }
        writer.unlock(held).await?;
        if before.is_some() {
            last.record(latest);
            rounds += 1;
        } else {
            before = Some(meter.read()?);
            begun = Instant::now();
        }
    }
    let elapsed_s = begun.elapsed().as_secs_f64();
    let before = before.ok_or_else(|| Error::other("no round was measured"))?;
    let mut figures = Figures::default();
    costs(&mut figures, all.count(), elapsed_s, &meter.since(&before)?);
    latencies(&mut figures, &all);
    figures.set(LAST_P50, last.percentile_ms(0.5));
    figures.set(LAST_P99, last.percentile_ms(0.99));
    Ok(figures)
}
